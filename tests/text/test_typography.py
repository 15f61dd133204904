"""Characters that print well, made plain."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dia.text.repairs import Repairs
from dia.text.typography import begin_with_capital, join_lines, lower_shouting, plain_characters, remove_markup


def through(function, text):
    repairs = Repairs()
    return function(text, repairs), repairs.warnings()


@pytest.mark.parametrize(
    ("written", "plain", "warning"),
    [
        ("“Hi,” it’s ‘me’", "\"Hi,\" it's 'me'", "typographic quotes made plain: 5"),
        ("«Oui» „ja‟", '"Oui" "ja"', "typographic quotes made plain: 4"),
        ("wait—what", "wait - what", "typographic hyphens and dashes made plain: 1"),
        ("wait — what", "wait - what", "typographic hyphens and dashes made plain: 1"),
        ("1939–1945", "1939-1945", "typographic hyphens and dashes made plain: 1"),
        ('"But—"', '"But-"', "typographic hyphens and dashes made plain: 1"),
        ("well‑known", "well-known", "typographic hyphens and dashes made plain: 1"),
        ("so…", "so...", "ellipsis characters made three dots: 1"),
        ("5\u00a0km\u2009h", "5 km h", "unusual spaces made plain: 2"),
        ("zero\u200bwidth\ufeff", "zerowidth", "invisible characters removed: 2"),
        ("\x1b[31mred\x1b[0m", "red", "terminal escapes removed: 2"),
        ("one\x00two\x07\x01\ud83d", "one two   ", "control characters made spaces: 4"),
        ("hi 😀👍", "hi   ", "emoji removed: 2"),
        ("cafe\u0301", "café", "text brought into composed Unicode form: 1"),
    ],
)
def test_each_kind_of_character_is_made_plain_and_counted(written, plain, warning):
    assert through(plain_characters, written) == (plain, (warning,))


@pytest.mark.parametrize(
    "text", ["Plain - text, \"with\" 'quotes'... 2-3.", "Straße, naïve, 你好, привет", "a\nb", ""]
)
def test_plain_text_and_other_alphabets_are_left_alone(text):
    assert through(plain_characters, text) == (text, ())


def test_every_kind_of_line_break_is_one():
    assert through(plain_characters, "a\r\nb\rc\u2028d\x85e") == ("a\nb\nc\nd\ne", ())


@pytest.mark.parametrize(
    ("marked", "plain", "count"),
    [
        ("*Hello* _there_ **you**", "Hello there you", 6),
        ("a `word` here", "a word here", 2),
        ("## Title\n- one\n* two\n> said\n> > twice\n---\n+ x", "Title\none\ntwo\nsaid\ntwice\n\nx", 7),
        ("***all***", "all", 2),
        ("He said *no*.", "He said no.", 2),
    ],
)
def test_markup_goes_and_the_words_stay(marked, plain, count):
    assert through(remove_markup, marked) == (plain, (f"markup characters removed: {count}",))


@pytest.mark.parametrize("text", ["2 * 3 = 6", "snake_case f**k 5*3", "a - b", "#1 and -5", "well-known", "a * _ b"])
def test_signs_that_are_text_stay(text):
    assert through(remove_markup, text) == (text, ())


def test_lines_are_joined_and_counted():
    assert through(join_lines, "  a \n\n b\tc   d\n") == (
        "a b c d",
        ("line breaks made spaces: 1", "runs of spaces made one: 2"),
    )


@given(st.text(alphabet="ab5 *_`\n-#“’…—\u200b😀\t.,"))
def test_cleaning_twice_changes_nothing_more(text):
    def clean(value):
        return join_lines(remove_markup(plain_characters(value, Repairs()), Repairs()), Repairs())

    once = clean("x " + text)
    assert clean(once) == once


@pytest.mark.parametrize(
    ("written", "begun"),
    [
        ("hello there. how are you?", "Hello there. how are you?"),
        ('"hello," she said.', '"Hello," she said.'),
        ("(laughs) well then.", "(laughs) Well then."),
        ("Hello.", "Hello."),
        ("5 apples", "5 apples"),
        ("ünder", "Ünder"),
        ("ßtrange", "ßtrange"),
        ("...", "..."),
        ("", ""),
    ],
)
def test_a_turn_begins_with_a_capital(written, begun):
    assert begin_with_capital(written) == begun


@pytest.mark.parametrize(
    ("shouted", "said", "words"),
    [
        ("HELLO THERE, HOW ARE YOU?", "hello there, how are you?", 5),
        ("It was UNBELIEVABLE.", "It was unbelievable.", 1),
        ("Wait! STOP IT NOW. I'M TIRED.", "Wait! Stop it now. I'm tired.", 5),
        ("STOP!", "stop!", 1),
        ("The NBA and NASA, I think.", "The NBA and NASA, I think.", 0),
        ("OK", "OK", 0),
        ("Straße", "Straße", 0),
    ],
)
def test_shouted_words_are_small_and_abbreviations_stay(shouted, said, words):
    warnings = (f"words in capitals written small: {words}",) if words else ()
    assert through(lower_shouting, shouted) == (said, warnings)


@given(st.text(max_size=60))
def test_cases_are_changed_once_and_cost_no_byte(text):
    def learnt(words):
        return begin_with_capital(lower_shouting(words, Repairs()))

    once = learnt(text)
    assert learnt(once) == once
    assert len(once.encode("utf-8", "replace")) == len(text.encode("utf-8", "replace"))
