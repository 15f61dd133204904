"""The list of sounds, its near misses, and remarks that are not on it."""

import pytest

from dia.text.nonverbals import MARK, NONVERBALS, correct_nonverbals, find_nonverbal


def test_there_are_21_known_sounds():
    assert len(NONVERBALS) == len(set(NONVERBALS)) == 21


@pytest.mark.parametrize("name", NONVERBALS)
def test_a_known_sound_is_left_alone_without_a_word(name):
    corrected = correct_nonverbals(f"Well ({name}) yes.")
    assert corrected.text == f"Well ({name}) yes."
    assert corrected.warnings == ()
    assert MARK.search(corrected.text).group() == f"({name})"


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
    corrected = correct_nonverbals(f"Oh {written} no.")
    assert corrected.text == "Oh (laughs) no."
    assert corrected.warnings == (f"1 nonverbal corrected: {written} to (laughs)",)


def test_equal_corrections_are_counted():
    corrected = correct_nonverbals("(cough) a (cough) b (sigh)")
    assert corrected.text == "(coughs) a (coughs) b (sighs)"
    assert corrected.warnings == ("3 nonverbals corrected: (cough) to (coughs) (2 times), (sigh) to (sighs)",)


def test_unknown_remarks_stay_and_are_counted():
    corrected = correct_nonverbals("(nods) Hm. [looks away] (nods)")
    assert corrected.text == "(nods) Hm. [looks away] (nods)"
    assert corrected.warnings == (
        "3 nonverbals not known to the model and left as written: (nods) (2 times), [looks away]",
    )


def test_only_five_unknown_remarks_are_named():
    corrected = correct_nonverbals(" ".join(f"({word})" for word in ["aa", "bb", "cc", "dd", "ee", "ff", "gg"]))
    assert corrected.warnings[0].endswith("(ee) and 2 more")


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
    assert correct_nonverbals(text) == correct_nonverbals(text).__class__(text, ())
