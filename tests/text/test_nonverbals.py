"""The list of sounds, its near misses, and remarks that are not on it."""

import pytest

from dia.text.nonverbals import MARK, NONVERBALS, correct_nonverbals, correct_starred, find_nonverbal
from dia.text.repairs import Repairs


def correct(text):
    repairs = Repairs()
    return correct_nonverbals(correct_starred(text, repairs), repairs), repairs.warnings()


def test_there_are_21_known_sounds():
    assert len(NONVERBALS) == len(set(NONVERBALS)) == 21


@pytest.mark.parametrize("name", NONVERBALS)
def test_a_known_sound_is_left_alone_without_a_word(name):
    text = f"Well ({name}) yes."
    assert correct(text) == (text, ())
    assert MARK.search(text).group() == f"({name})"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("laugh", "laughs"),
        ("Laughing", "laughs"),
        ("laughter", "laughs"),
        ("COUGH", "coughs"),
        ("coughing", "coughs"),
        ("sigh", "sighs"),
        ("sighs deeply", "sighs"),
        ("she sighs", "sighs"),
        ("clear throat", "clears throat"),
        ("clears  Throat", "clears throat"),
        ("clears throat.", "clears throat"),
        ("||laughs", "laughs"),
        ("lau#ghs", "laughs"),
        ('"laugh', "laughs"),
        ("clear's throat", "clears throat"),
        ("clears throta", "clears throat"),
        ("lauhgs", "laughs"),
        ("lauhs", "laughs"),
        ("laughss", "laughs"),
        ("gsaps", "gasps"),
        ("mumble", "mumbles"),
        ("hum", "humming"),
        ("chuckles", "chuckle"),
        ("whistle", "whistles"),
        ("applauds", "applause"),
        ("inhaling", "inhales"),
        ("sneeze", "sneezes"),
    ],
)
def test_a_near_miss_is_the_sound_it_means(written, meant):
    assert find_nonverbal(written) == meant


@pytest.mark.parametrize(
    "written", ["", "nods", "signs", "streams", "smiles", "looks away", "xyz", "bleeps on and on", "sin", "claap clap"]
)
def test_other_words_are_not_taken_for_a_sound(written):
    assert find_nonverbal(written) is None


def test_a_word_between_two_sounds_is_not_guessed():
    """One letter is missing from "singing" as from "sighing"."""
    assert find_nonverbal("siging") is None


@pytest.mark.parametrize("written", ["(laugh)", "[laughs]", "[Laughs]", "*laughs*", "**laughing**", "( laughs )"])
def test_brackets_and_asterisks_become_round_brackets(written):
    assert correct(f"Oh {written} no.") == ("Oh (laughs) no.", (f"nonverbals corrected: 1 ({written} to (laughs))",))


def test_equal_corrections_are_counted():
    text, warnings = correct("(cough) a (cough) b (sigh)")
    assert text == "(coughs) a (coughs) b (sighs)"
    assert warnings == ("nonverbals corrected: 3 ((cough) to (coughs) 2 times, (sigh) to (sighs))",)


def test_unknown_remarks_stay_and_are_counted():
    text, warnings = correct("(nods) Hm. [looks away] (nods)")
    assert text == "(nods) Hm. [looks away] (nods)"
    assert warnings == (
        "remarks in brackets that are no known nonverbal, left as written: 3 ((nods) 2 times, [looks away])",
    )


def test_only_five_unknown_remarks_are_named():
    _, warnings = correct(" ".join(f"({word})" for word in ["aa", "bb", "cc", "dd", "ee", "ff", "gg"]))
    assert warnings[0].endswith("(ee) and 2 more)")


@pytest.mark.parametrize(
    "text",
    [
        "[S1] Hi. [s2] Ho. [ S1 ]",
        "An aside (which is quite a long one) here.",
        "In (2019) and (p. 12).",
        "()",
        "( )",
        "He *really* meant it.",
        "*nods* Hi.",
        "2 * 3 * 4",
        "***",
    ],
)
def test_speaker_tags_asides_numbers_and_emphasis_are_left_alone(text):
    assert correct(text) == (text, ())
