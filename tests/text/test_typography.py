"""Characters that print well, made plain."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dia.text.repairs import Repairs
from dia.text.typography import join_lines, plain_characters, remove_markup


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
