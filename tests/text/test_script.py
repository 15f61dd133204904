"""One pass's text: tags, repairs, closing tag and the budget of bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dia.errors import BadInput, BadParameter, BadScript
from dia.text.repairs import Repairs
from dia.text.script import Prepared, Script, Turn, check_exact, parse_script, prepare
from dia.text.tokens import count_bytes, encode_text

WRITTEN = (
    "[S1] [S2] [s1] [ s2 ] S1: \n \n\n hello world. (laughs) (laugh) (nods) *sighs* **bold** “quoted” — … - * _ ` # "
    "[pause:1s] é 你好 😀 \u200b ( ) [ ] 3.14 [S3] ... \x00"
)
FRAGMENTS = st.sampled_from(WRITTEN.split(" "))
SCRIPTS = st.lists(FRAGMENTS, max_size=12).map(" ".join) | st.text(max_size=40)


def prepared(text, **options):
    return prepare(text, max_bytes=1024, **options)


def test_untagged_text_is_given_to_the_first_speaker():
    result = prepared("Hello there.")
    assert result.text == "[S1] Hello there. [S1]"
    assert result.warnings == ("untagged start of text given to a speaker: 1 ([S1])",)


def test_turns_reach_the_model_as_transcripts_are_written():
    result = prepared("[S1] hello there. [S2] NOBODY TOLD ME.")
    assert result.text == "[S1] Hello there. [S2] Nobody told me. [S1]"
    assert result.warnings == ("words in capitals written small: 3",)
    assert prepared("and on.", transcript="[S1] We went,").text == "[S1] We went, and on. [S1]"
    assert check_exact("[S1] hello THERE", 100).text == "[S1] hello THERE"


def test_sounds_are_counted_for_a_model_that_has_not_learnt_them():
    text, transcript = "[S1] One. (laughs) Two. [S2] (laugh) Three words more. (sighs)", "[S1] (coughs) Before."
    result = prepared(text, transcript=transcript, knows_sounds=False)
    assert result.warnings[-1] == (
        "sounds that this model has not learnt and may read as words (Dia-1.6B performs them): 3 "
        "((laughs) 2 times, (sighs))"
    )
    assert result.text == prepared(text, transcript=transcript).text
    assert not any("learnt" in warning for warning in prepared(text, transcript=transcript).warnings)
    assert prepared("[S1] One. (nods)", knows_sounds=False) == prepared("[S1] One. (nods)")


def test_a_well_formed_dialogue_is_only_closed():
    result = prepared("[S1] One. [S2] Two. [S1] Three.")
    assert result == Prepared("[S1] One. [S2] Two. [S1] Three. [S2]", (), 24)


@pytest.mark.parametrize(
    ("text", "closed"),
    [
        ("[S1] One.", "[S1] One. [S1]"),
        ("[S1] One. [S2] Two.", "[S1] One. [S2] Two. [S1]"),
        ("[S1] One. [S2] Two. [S1] Three.", "[S1] One. [S2] Two. [S1] Three. [S2]"),
    ],
)
def test_the_second_to_last_speaker_closes(text, closed):
    assert prepared(text).text == closed
    assert prepared(text, close_tag=False).text == text
    assert prepared(text).warnings == ()


def test_a_closing_tag_of_the_writer_stays():
    assert prepared("[S1] One. [S2]").text == "[S1] One. [S2]"
    assert prepared("[S1] One. [S2]", close_tag=False).text == "[S1] One. [S2]"
    assert prepared("[S2] One. [S2]").text == "[S1] One. [S1]"


def test_labels_are_exchanged_when_the_second_speaker_starts():
    result = prepared("[S2] Hi. [S1] Ho. [S2] Hu.")
    assert result.text == "[S1] Hi. [S2] Ho. [S1] Hu. [S2]"
    assert result.warnings == ("labels S1 and S2 exchanged, so that the text starts with [S1], turns: 3",)


def test_text_before_the_first_tag_is_spoken():
    assert prepared("Hello. [S2] Hi.").text == "[S1] Hello. [S2] Hi. [S1]"
    assert prepared("Hello. [S1] Hi.").text == "[S1] Hello. Hi. [S1]"


@pytest.mark.parametrize(
    "written", ["[s1] Hi. [s2] Ho.", "[ S1 ]Hi.[S2]: Ho.", "S1: Hi.\nS2: Ho.", "Speaker 1: Hi.\nspeaker 2:Ho."]
)
def test_tags_are_read_in_every_usual_spelling(written):
    result = prepared(written)
    assert result.text == "[S1] Hi. [S2] Ho. [S1]"
    assert result.warnings


def test_respelled_tags_are_named():
    assert prepared("[s1] Hi. [s2] Ho. [s2] Ho.").warnings[0] == (
        "speaker tags respelled: 3 ([s2] to [S2] 2 times, [s1] to [S1])"
    )


def test_neighbouring_turns_of_one_speaker_become_one():
    result = prepared("[S1] One. [S1] Two. [S2] Three.")
    assert result.text == "[S1] One. Two. [S2] Three. [S1]"
    assert result.warnings == ("neighbouring turns of one speaker merged: 1",)


def test_tags_without_words_go_and_their_neighbours_merge():
    result = prepared("[S1] One. [S2] [S1] ... [S1] Two.")
    assert result.text == "[S1] One. Two. [S1]"
    assert result.warnings == ("tags without words removed: 2", "neighbouring turns of one speaker merged: 1")


def test_every_kind_of_repair_is_reported():
    warnings = prepared("“Hi”\n*there*  (laugh) [pause:1s] x").warnings
    assert warnings == (
        "typographic quotes made plain: 2",
        "markup characters removed: 2",
        "line breaks made spaces: 1",
        "runs of spaces made one: 1",
        "pause tags left out, since one pass has no pauses between pieces: 1",
        "nonverbals corrected: 1 ((laugh) to (laughs))",
        "untagged start of text given to a speaker: 1 ([S1])",
    )


def test_many_sounds_on_few_words_are_reported():
    assert prepared("[S1] Ha (laughs) ha (coughs) ha.").warnings == (
        "more than one nonverbal in 8 words, which tends to break speech: 2",
    )
    assert prepared("[S1] Ha (laughs).").warnings == ()


@pytest.mark.parametrize("text", ["", "  \n", "[S1]", "[S1] [S2]", "...", "😀", "\x00", "[pause:1s]", "- * _"])
def test_a_text_with_nothing_to_say_is_refused(text):
    with pytest.raises(BadScript, match="text is empty; there is nothing to say"):
        prepared(text)


@pytest.mark.parametrize("text", ["[S3] Hi.", "[S1] a [S0] b", "S3: Hi.", "[S999999] x"])
def test_a_third_speaker_is_refused(text):
    with pytest.raises(BadScript, match="one pass has the speakers S1 and S2"):
        prepared(text)


def test_the_transcript_stands_before_the_text():
    result = prepared("[S1] Ho.", transcript="[S1] Hi there. [S2] Yes.")
    assert result.text == "[S1] Hi there. [S2] Yes. [S1] Ho. [S2]"
    assert result.num_transcript_bytes == count_bytes("[S1] Hi there. [S2] Yes. ")


def test_the_transcript_and_a_text_by_the_same_speaker_are_one_turn():
    assert prepared("Ho.", transcript="Hi there.").text == "[S1] Hi there. Ho. [S1]"


def test_a_transcript_that_starts_with_the_second_speaker_swaps_both():
    result = prepared("[S1] Ho.", transcript="[S2] Hi.")
    assert result.text == "[S1] Hi. [S2] Ho. [S1]"
    assert result.warnings == ()  # who comes first in a transcript is nothing that the text could change


def test_untagged_text_is_spoken_by_who_starts_the_transcript():
    assert prepared("Ho.", transcript="[S2] Hi.").text == "[S1] Hi. Ho. [S1]"


def test_a_text_of_the_second_speaker_keeps_its_label_behind_a_transcript():
    assert prepared("[S2] Ho.", transcript="[S1] Hi. [S1]").text == "[S1] Hi. [S2] Ho. [S1]"


@pytest.mark.parametrize("transcript", ["", " ", "[S1]"])
def test_a_blank_transcript_is_refused(transcript):
    with pytest.raises(BadScript, match="the prompt's transcript is empty"):
        prepared("Hi.", transcript=transcript)


def test_the_budget_is_met_at_the_limit_and_missed_one_below():
    size = count_bytes("[S1] Grüße. [S1]")
    assert prepare("Grüße.", max_bytes=size + 1).num_bytes == size
    assert prepare("Grüße.", max_bytes=size).num_bytes == size
    with pytest.raises(
        BadScript, match=f"text is {size} bytes with its tags; .* at most {size - 1}; shorten it by 1 bytes"
    ):
        prepare("Grüße.", max_bytes=size - 1)


def test_the_transcript_counts_in_the_budget():
    fitting = prepare("Ho.", transcript="[S2] Hi.", max_bytes=100).num_bytes
    assert prepare("Ho.", transcript="[S2] Hi.", max_bytes=fitting).num_bytes == fitting
    with pytest.raises(BadScript, match="6 of them the prompt's transcript"):
        prepare("Ho.", transcript="[S2] Hi.", max_bytes=fitting - 1)


def test_a_limit_below_one_is_a_bad_parameter():
    with pytest.raises(BadParameter, match="max_bytes is 0"):
        prepare("Hi.", max_bytes=0)
    with pytest.raises(BadParameter):
        check_exact("Hi.", 0)


def test_exact_text_is_taken_byte_for_byte():
    text = " [s1]  “Hi” (laugh)\n[S2] [S2]\t"
    assert check_exact(text, 100) == Prepared(text, (), len(encode_text(text)))


def test_exact_text_is_held_to_the_limit():
    assert check_exact("abc", 3).num_bytes == 3
    with pytest.raises(BadScript, match="text is 4 bytes"):
        check_exact("abcd", 3)


@pytest.mark.parametrize("text", ["", " \n", "a\0b", "\ud800"])
def test_exact_text_that_cannot_be_said_is_refused(text):
    with pytest.raises(BadScript):
        check_exact(text, 100)


def test_a_script_is_swapped_and_back():
    script = Script((Turn(1, "a"), Turn(2, "b")), closing=1)
    assert script.swapped() == Script((Turn(2, "a"), Turn(1, "b")), closing=2)
    assert script.swapped().swapped() == script


@given(SCRIPTS)
def test_any_text_is_prepared_or_refused_with_a_declared_error(text):
    try:
        result = prepared(text)
    except BadInput:
        return
    assert result.text.startswith("[S1] ")
    assert result.num_bytes == count_bytes(result.text)
    script = parse_script(result.text, Repairs())
    assert all(a.speaker != b.speaker for a, b in zip(script.turns, script.turns[1:], strict=False))


@given(SCRIPTS)
def test_preparing_twice_changes_nothing_more(text):
    try:
        once = prepared(text).text
    except BadInput:
        return
    assert prepared(once).text == once
