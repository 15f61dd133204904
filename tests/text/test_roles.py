"""Asterisks and quotes as narrator and character."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dia.errors import BadParameter
from dia.text.repairs import Repairs
from dia.text.roles import Roleplay, blank_code, blank_thoughts, read_roleplay, split_roles
from dia.text.source import SourceTurn


def voices(text, **options):
    repairs = Repairs()
    turns = split_roles(SourceTurn("Mia", text), Roleplay(**options), repairs)
    return [(turn.speaker, turn.text) for turn in turns], repairs.warnings()


def test_asterisks_are_told_and_the_rest_is_spoken():
    turns, warnings = voices('*She turns around.* Hello there! *A pause.* "Who are you?"')
    assert turns == [
        ("Narrator", "She turns around."),
        ("Mia", "Hello there!"),
        ("Narrator", "A pause."),
        ("Mia", '"Who are you?"'),
    ]
    assert warnings == ()


def test_a_novel_is_told_outside_of_quotes():
    turns, _ = voices("She smiled. “Hello,” she said. “Come in.”", outside="narrator", narrator="Teller")
    assert turns == [
        ("Teller", "She smiled."),
        ("Mia", "“Hello,”"),
        ("Teller", "she said."),
        ("Mia", "“Come in.”"),
    ]


def test_quotes_inside_asterisks_are_spoken():
    turns, _ = voices('*She nods. "Yes," she says.* Go.')
    assert turns == [("Narrator", "She nods."), ("Mia", '"Yes,"'), ("Narrator", "she says."), ("Mia", "Go.")]


def test_skipped_passages_are_reported():
    turns, warnings = voices("*She nods.* Yes. *Really.*", asterisks="skip")
    assert turns == [("Mia", "Yes.")]
    assert warnings == ("passages skipped (asterisks): 2",)


@pytest.mark.parametrize(
    "text", ["I *really* mean it.", "It was *his, too*, you see.", "A **bold** word.", "I *do* and *will* go."]
)
def test_emphasis_inside_a_sentence_stays_with_it(text):
    assert voices(text) == ([("Mia", text)], ())


def test_short_actions_between_sentences_are_told():
    assert voices("Hi. *nods* Go. *waves*")[0] == [
        ("Mia", "Hi."),
        ("Narrator", "nods"),
        ("Mia", "Go."),
        ("Narrator", "waves"),
    ]
    assert voices("*nods slowly*\nOk")[0] == [("Narrator", "nods slowly"), ("Mia", "Ok")]
    assert voices('Well *nods*"Yes"')[0] == [("Mia", "Well"), ("Narrator", "nods"), ("Mia", '"Yes"')]


def test_a_known_sound_belongs_to_the_character():
    assert voices("*laughs* Yes.")[0] == [("Mia", "(laughs) Yes.")]
    assert voices("She goes. *laughs* He stays.", outside="narrator")[0] == [
        ("Narrator", "She goes."),
        ("Mia", "(laughs)"),
        ("Narrator", "He stays."),
    ]
    assert voices('*She (laughs) goes.* "I (sighs) stay."')[0] == [
        ("Narrator", "She (laughs) goes."),
        ("Mia", '"I (sighs) stay."'),
    ]


def test_a_new_paragraph_closes_what_was_left_open():
    assert voices('*He goes\n\nHello "there\n\nOk')[0] == [("Narrator", "He goes"), ("Mia", 'Hello "there\n\nOk')]


def test_only_the_first_part_keeps_the_pause_of_the_turn():
    turn = SourceTurn("Mia", "*She goes home.* Bye.", (3, 9), new_paragraph=True, pause_before_s=1.0)
    first, second = split_roles(turn, Roleplay(), Repairs())
    assert (first.pause_before_s, first.new_paragraph, first.span) == (1.0, True, (3, 9))
    assert (second.pause_before_s, second.new_paragraph, second.span) == (0.0, False, (3, 9))


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("<Think>hm</think>Hi <thinking>oh</thinking>ho", " " * 17 + "Hi " + " " * 23 + "ho"),
        ("Hi <think>never closed", "Hi " + " " * 19),
        ("begun in the template</think>Hi", " " * 29 + "Hi"),
        ("İ<think>x</think>a", "İ" + " " * 16 + "a"),  # a letter that changes its length in lower case
    ],
)
def test_thoughts_become_spaces_of_the_same_length(text, kept):
    repairs = Repairs()
    assert blank_thoughts(text, repairs) == kept
    assert "thoughts and code blocks left out" in repairs.warnings()[0]


def test_code_becomes_spaces_of_the_same_length():
    assert blank_code("Hi ```x``` ho ```open", Repairs()) == "Hi " + " " * 7 + " ho ```open"


def test_roleplay_is_named_or_spelled_out():
    assert read_roleplay("off") is None
    assert read_roleplay("chat") == Roleplay()
    assert read_roleplay("asterisks=skip, outside=narrator") == Roleplay(asterisks="skip", outside="narrator")
    for wrong in ("chats", "stars=skip", "quotes=nobody", ""):
        with pytest.raises(BadParameter, match="chat, novel"):
            read_roleplay(wrong)


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("He said „Ja“ and left.", "„Ja“"),
        ("He said «Oui» and left.", "«Oui»"),
        ("He said “No” and ” left.", "“No”"),
        ("He said 「はい」 and left.", "「はい」"),
        ("It's 'his' and \"hers\" so.", '"hers"'),
    ],
)
def test_quotation_marks_of_other_countries_enclose_speech(text, spoken):
    turns, _ = voices(text, outside="narrator")
    assert [words for speaker, words in turns if speaker == "Mia"] == [spoken]


@given(st.text(alphabet='ab .,*"“”\n'))
def test_no_word_is_lost_between_the_voices(text):
    turns, _ = voices(text, outside="narrator")
    letters = "".join(said for _, said in turns)
    assert [c for c in letters if c in "ab"] == [c for c in text if c in "ab"]
