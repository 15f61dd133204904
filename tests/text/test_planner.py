"""Long scripts into pieces: every word kept, every piece within the limits."""

import random
import re
import time

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dia.errors import BadInput, BadParameter, BadScript
from dia.text.formats import FORMATS
from dia.text.pace import Pace
from dia.text.plan import Gaps, Limits
from dia.text.planner import CARRIER_TEXT, plan, plan_turns
from dia.text.roles import Roleplay
from dia.text.script import TAG, prepare
from dia.text.source import SourceTurn
from dia.text.spoken import as_written
from dia.text.tokens import count_bytes, decode_ids, encode_text
from dia.text.wording import Wording
from tests.text.scripts import MODEL, SMALL, dialogues, mess, monologues, random_script, words

SENTENCE = "The quick brown fox jumps over the lazy dog once more."  # 54 letters: about four seconds
DIALOGUE = " ".join(f"[S{1 + turn % 2}] {SENTENCE}" for turn in range(12))


def planned(text, **options):
    return plan(text, **{"limits": MODEL, **options})


def tags_gone(text):
    return words(re.sub(r"\[pause[^]]*\]|<break[^>]*>", " ", TAG.sub(" ", text)))


def test_a_dialogue_is_cut_after_whole_exchanges():
    made = planned(DIALOGUE)
    assert [piece.cut_before for piece in made.pieces] == ["start", *["exchange"] * (len(made.pieces) - 1)]
    assert all(5 <= piece.estimated_s <= 18 for piece in made.pieces)
    assert all(len(piece.turns) in (2, 4) for piece in made.pieces)
    assert (
        made.pieces[1].text
        == f"[S1] {SENTENCE} [S2] {SENTENCE} [S1] {SENTENCE} [S2] {SENTENCE} [S1]"[: len(made.pieces[1].text)]
    )
    assert made.speakers == ("S1", "S2")
    assert made.warnings == ()


def test_a_monologue_is_cut_after_sentences_and_each_part_keeps_its_speaker():
    made = planned(" ".join([SENTENCE] * 10), default_speaker="Eve")
    assert len(made.pieces) > 2
    assert {piece.cut_before for piece in made.pieces} == {"start", "sentence"}
    assert all(piece.speakers == ("Eve",) and piece.text.startswith("[S1] ") for piece in made.pieces)


def test_paragraphs_are_better_cuts_than_sentences():
    made = planned(f"{SENTENCE} {SENTENCE} {SENTENCE}\n\n{SENTENCE} {SENTENCE}")
    assert [piece.cut_before for piece in made.pieces] == ["start", "paragraph"]
    assert made.pieces[1].pause_before_s == 0.6


def test_a_long_sentence_is_cut_at_clauses_and_without_them_at_words():
    clauses = planned(", ".join(["and then we went on to the next town over the hills"] * 8))
    assert {piece.cut_before for piece in clauses.pieces} == {"start", "clause"}
    only_words = planned(" ".join(["word"] * 100))
    assert {piece.cut_before for piece in only_words.pieces} == {"start", "word"}
    assert only_words.warnings[-1].startswith("cuts between two words, for want of punctuation: ")


def test_a_long_sentence_cut_in_words_does_not_hide_where_the_next_one_begins():
    """The last words of a long sentence were once taken together with the first word of the next one."""
    long_sentence = " ".join(["over the hills"] * 11) + " and so on. "
    made = planned(f"{long_sentence.capitalize()}It {long_sentence}")
    assert [piece.cut_before for piece in made.pieces] == ["start", "sentence"]
    assert made.pieces[1].text.startswith("[S1] It over")


def test_a_text_of_one_piece_is_one_piece():
    made = planned(f"{SENTENCE} {SENTENCE}")
    assert len(made.pieces) == 1
    assert made.pieces[0].text == f"[S1] {SENTENCE} {SENTENCE} [S1]"
    assert made.pieces[0].carrier is None


def test_three_speakers_meet_in_pairs():
    made = planned("\n".join(f"{name}: {SENTENCE}" for name in ["Ann", "Bob", "Cy", "Ann", "Cy", "Bob"]))
    assert made.format == "play"
    assert made.speakers == ("Ann", "Bob", "Cy")
    for piece in made.pieces:
        assert 1 <= len(piece.speakers) <= 2
        assert piece.speakers == tuple(dict.fromkeys(turn.speaker for turn in piece.turns))
        assert piece.text.startswith("[S1] ")


def test_a_pause_is_a_cut_and_its_seconds_are_kept():
    made = planned(f"{SENTENCE} [pause:2s] {SENTENCE} <break time='500ms'/>")
    assert [(piece.cut_before, piece.pause_before_s) for piece in made.pieces] == [("start", 0.0), ("pause", 2.0)]
    assert made.pause_after_s == 0.5
    assert made.estimated_s == pytest.approx(sum(piece.estimated_s for piece in made.pieces) + 2.5)


def test_pauses_in_one_place_add_up_to_a_minute_at_most():
    made = planned(f"[pause:30s] [pause:30s] {SENTENCE}")
    assert (made.pieces[0].cut_before, made.pieces[0].pause_before_s) == ("pause", 60.0)
    with pytest.raises(BadScript, match="add up to 60.5 s; at most 60 s"):
        planned(f"[pause:30s] [pause:30.5s] {SENTENCE}")


def test_a_pause_of_nothing_is_no_cut():
    assert planned("Hello there [pause:0s] my friend.").pieces[0].words == "Hello there my friend."


def test_the_pause_of_a_json_turn_counts():
    made = planned(f'[{{"text": "{SENTENCE}"}}, {{"text": "[pause:1s]{SENTENCE}", "pause_s": 1}}]')
    assert made.pieces[1].pause_before_s == 2.0


def test_gaps_stand_between_pieces_by_what_they_separate():
    made = planned(DIALOGUE, gaps=Gaps(turn_s=0.4))
    assert [piece.pause_before_s for piece in made.pieces] == [0.0, *[0.4] * (len(made.pieces) - 1)]


def test_a_very_short_text_gets_a_carrier_that_can_be_cut_away():
    piece = planned("Yes.").pieces[0]
    assert piece.text == f"[S1] Yes. [S2] {CARRIER_TEXT} [S1]"
    carrier = piece.carrier
    assert decode_ids(encode_text(piece.text)[carrier.start_byte : carrier.end_byte]) == "Yes."
    assert piece.estimated_s == carrier.wanted_s < 2 < 5 < carrier.estimated_s
    assert piece.words == "Yes."
    assert piece.num_bytes == count_bytes(piece.text)


def test_a_short_exchange_is_carried_by_the_other_speaker():
    piece = planned("[S1] Hi. [S2] Ho.").pieces[0]
    assert piece.text == f"[S1] Hi. [S2] Ho. [S1] {CARRIER_TEXT} [S2]"


@pytest.mark.parametrize("options", [{"prompted": ("S1",)}, {"short_text": "plain"}])
def test_with_a_prompt_or_by_wish_short_text_stands_alone(options):
    piece = planned("Yes.", **options).pieces[0]
    assert (piece.text, piece.carrier) == ("[S1] Yes. [S1]", None)


def test_every_short_piece_is_carried_but_those_with_a_prompt():
    """Only the first piece was, and a "No." between two pauses stood alone."""
    text = f"Ann: {SENTENCE} {SENTENCE} [pause:1s]\nBob: No. [pause:1s]\nCy: Yes."
    carried = [piece.carrier is not None for piece in planned(text).pieces]
    assert carried == [False, True, True]
    assert [piece.carrier is not None for piece in planned(text, prompted=("Cy",)).pieces] == [False, True, False]


def test_a_carrier_that_does_not_fit_is_left_out_and_reported():
    for limits in (SMALL, Limits(max_bytes=1024, max_frames=400, frame_rate_hz=86)):
        made = plan("Yes, you are right.", limits=limits)
        assert made.pieces[0].carrier is None
        assert "no room for words to be cut away again" in made.warnings[-1]


def test_only_text_below_two_seconds_is_carried():
    assert planned("x" * 26 + ".").pieces[0].carrier is None
    assert planned("x" * 25 + ".").pieces[0].carrier is not None


def test_a_slower_voice_gets_fewer_words_per_piece():
    slow, fast = (planned(DIALOGUE, paces={"S1": pace, "S2": pace}) for pace in (Pace(9.0), Pace(20.0)))
    assert len(slow.pieces) > len(fast.pieces)
    assert len(planned(DIALOGUE, pace=Pace(9.0)).pieces) == len(slow.pieces)


def test_roleplay_gives_the_narrator_a_voice_of_its_own():
    text = '*She opens the door very slowly.* "Come in, please, and take a seat," she says. ```code```'
    made = planned(text, roleplay=Roleplay(narrator="Teller"), default_speaker="Mia")
    assert made.speakers == ("Teller", "Mia")
    assert made.pieces[0].text.startswith("[S1] She opens the door very slowly. [S2] ")
    assert made.warnings == ("thoughts and code blocks left out: 1",)


def test_roleplay_that_skips_everything_is_refused():
    with pytest.raises(BadScript, match="no turn has words"):
        planned("*She nods.*", roleplay=Roleplay(asterisks="skip"))


def test_stretches_without_words_and_tags_of_another_format_are_reported():
    made = planned(f"[S2] {SENTENCE}\n\n...\n\n{SENTENCE}", format="plain")
    assert made.warnings[-2:] == (
        "speaker tags left out, since the text was read in another format: 1",
        "stretches without words left out: 1",
    )


def test_text_outside_the_latin_alphabet_is_reported_and_cut_between_ideographs():
    made = planned("你好世界" * 40)
    assert len(made.pieces) > 1
    assert "".join(piece.words for piece in made.pieces) == "你好世界" * 40
    assert any(warning.startswith("letters outside the Latin alphabet") for warning in made.warnings)
    assert not planned(f"{SENTENCE} Привет.").warnings


def test_numbers_are_sent_in_words_and_kept_as_written():
    made = planned(f"It costs $5.50, or 7%. {SENTENCE}")
    (turn,) = made.pieces[0].turns
    assert turn.text.startswith("It costs five dollars and fifty cents, or seven percent. The")
    assert turn.written == f"It costs $5.50, or 7%. {SENTENCE}"
    assert made.warnings == (
        "numbers and signs written out in words: 2 ($5.50 as five dollars and fifty cents, 7% as seven percent)",
    )
    assert planned("It costs $5.", wording=Wording(normalize=False)).pieces[0].turns[0].text == "It costs $5."


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("Ok", "Ok."),
        ("Hello there", "Hello there."),
        ("He said:", "He said."),
        ("I was going to -", "I was going to."),
        ("Really?", "Really?"),
        ("Wait...", "Wait..."),
        ("(laughs)", "(laughs)"),
        ("你好", "你好"),
    ],
)
def test_speech_is_sent_with_an_end(text, sent):
    """A model that is sent "Ok" without a full stop may go on for as long as it is let."""
    (turn,) = planned(text).pieces[0].turns
    assert (turn.text, turn.written) == (sent, text)


def test_a_word_that_no_pass_can_hold_is_refused_with_the_numbers():
    for num_bytes in (81, 82):  # with two tags and their spaces, 86 is the limit
        piece = plan("é" * 40 + "x" * (num_bytes - 81) + "!", limits=SMALL).pieces[0]
        assert piece.num_bytes == num_bytes + 4 <= SMALL.piece_bytes == 86
    with pytest.raises(BadScript, match="is 83 bytes, about 3 s; one pass holds 86 bytes"):
        plan("é" * 40 + "xx!", limits=SMALL)
    with pytest.raises(BadScript, match="write it as several words"):
        planned("7" * 100, wording=Wording(normalize=False))


def test_a_long_word_makes_a_piece_above_the_ceiling_and_is_reported():
    made = planned("x" * 300)
    assert made.pieces[0].estimated_s > 18
    assert made.warnings == ("pieces longer than 18 s, of one long word: 1",)


def test_pieces_that_pauses_make_too_short_are_reported():
    made = planned("Hello there. [pause:1s] How are you today?", short_text="plain")
    assert made.warnings[-1] == "pieces shorter than 5 s, between pauses, speakers or byte limits: 2"


def test_lengths_in_warnings_are_rounded():
    """The floor of a model of short passes stood there as 3.26667 s."""
    limits = Limits(512, 588, 40.0)
    made = planned("Hello there. [pause:1s] How are you today?", short_text="plain", limits=limits)
    assert made.warnings[-1] == "pieces shorter than 3.3 s, between pauses, speakers or byte limits: 2"


def test_sounds_are_counted_once_for_a_model_that_has_not_learnt_them():
    text = f"[S1] (laughs) {SENTENCE * 6} [S2] {SENTENCE * 6} (laughs)"
    made = planned(text, knows_sounds=False)
    assert len(made.pieces) > 2
    said = [warning for warning in made.warnings if "learnt" in warning]
    assert len(said) == 1 and said[0].endswith(": 2 ((laughs) 2 times)")
    assert not any("laughs" in piece.text for piece in made.pieces)
    assert made.pieces[-1].turns[-1].written.endswith("(laughs)")
    as_typed = planned(text, knows_sounds=False, wording=Wording(normalize=False))
    assert "(laughs)" in as_typed.pieces[0].text and any("may read as words" in one for one in as_typed.warnings)


def test_each_piece_says_where_its_words_stand():
    text = f"Ann: {SENTENCE} {SENTENCE}\nBob: {SENTENCE} {SENTENCE}\nAnn: {SENTENCE} {SENTENCE}"
    made = planned(text)
    assert made.pieces[0].span[0] == 5
    assert made.pieces[-1].span[1] == len(text)
    assert [turn.turn_idx for piece in made.pieces for turn in piece.turns] == [0, 1, 2]


def test_turns_by_name_are_planned_as_they_are():
    made = plan_turns([SourceTurn("Ann", "Hello there."), SourceTurn("Bob", "Hello to you.")], limits=MODEL)
    assert made.format == "turns"
    assert made.speakers == ("Ann", "Bob")


@pytest.mark.parametrize("text", ["", " \n ", "...", "[pause:1s]", "[S1] [S2]"])
def test_a_script_with_nothing_to_say_is_refused(text):
    with pytest.raises(BadScript, match="nothing to say"):
        planned(text)


def test_an_unreadable_pause_is_refused():
    with pytest.raises(BadScript, match="not understood"):
        planned("Hello [pause:soon] there.")


@given(dialogues | monologues, st.sampled_from([MODEL, SMALL]))
@settings(max_examples=60)
def test_pieces_joined_again_are_the_words_of_the_input(text, limits):
    assume(tags_gone(text))
    made = plan(text, limits=limits)
    assert "".join(words(turn.written) for piece in made.pieces for turn in piece.turns) == tags_gone(text)
    plain = plan(text, limits=limits, wording=Wording(normalize=False))
    assert "".join(words(piece.words) for piece in plain.pieces) == tags_gone(text)


@given(dialogues | monologues, st.sampled_from([MODEL, SMALL]))
@settings(max_examples=60)
def test_every_piece_fits_a_pass_and_needs_no_repair(text, limits):
    assume(tags_gone(text))
    for piece in plan(text, limits=limits).pieces:
        assert piece.num_bytes == count_bytes(piece.text) <= limits.piece_bytes
        assert piece.estimated_s <= limits.longest_s + 1e-3
        assert prepare(piece.text, max_bytes=limits.max_bytes).text == piece.text
        assert len(piece.speakers) <= 2


@given(monologues)
@settings(max_examples=60)
def test_no_piece_is_outside_the_limits_unless_the_whole_is(text):
    assume(tags_gone(text))
    made = planned(text)
    assert all(piece.estimated_s <= 18 for piece in made.pieces)
    if made.estimated_s >= 6:  # gaps count in the whole
        assert all(piece.estimated_s >= 5 - 1e-3 for piece in made.pieces)
    else:
        assert len(made.pieces) == 1


@given(mess | st.text(max_size=60), st.sampled_from(["auto", "auto", *FORMATS]), st.booleans())
@settings(max_examples=150)
def test_any_text_is_planned_or_refused_with_a_declared_error(text, format, is_roleplay):
    roleplay = Roleplay(outside="narrator") if is_roleplay else None
    try:
        made = plan(text, limits=SMALL, format=format, roleplay=roleplay)
    except BadInput:
        return
    for piece in made.pieces:
        assert count_bytes(piece.text) == piece.num_bytes <= SMALL.piece_bytes
        assert piece.text.startswith("[S1] ")


@pytest.mark.parametrize("count", [1_000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_random_scripts_are_planned_within_the_limits_or_refused(count):
    """Of ten thousand scripts none raises anything undeclared, and they take a millisecond or so each."""
    rng = random.Random(7)
    refused, started = 0, time.process_time()
    for _ in range(count):
        text, limits = random_script(rng), rng.choice([MODEL, SMALL])
        roleplay = rng.choice([None, None, Roleplay(outside="narrator")])
        try:
            made = plan(text, limits=limits, roleplay=roleplay, format=rng.choice(["auto", "auto", *FORMATS]))
        except BadInput:
            refused += 1
            continue
        for piece in made.pieces:
            assert piece.num_bytes == count_bytes(piece.text) <= limits.piece_bytes, text
            assert piece.text.startswith("[S1] ") and len(piece.speakers) <= 2, text
            assert prepare(piece.text, max_bytes=limits.max_bytes).text == piece.text, text
            for turn in piece.turns:
                assert as_written(turn.text, turn.spellings) == turn.written
    assert 0.1 * count < refused < 0.9 * count
    assert time.process_time() - started < 0.02 * count


@pytest.mark.parametrize(
    "unit",
    [
        f"[S1] {SENTENCE} [S2] {SENTENCE}\n",
        "word ",
        "a. ",
        "Ann: a\nBob: b\n",
        "*a ",
        "(( ",
        ". ",
        "- \n",
        "— ",
        '"',
        "x     ",
        "[pause:0s]b",
        "<think>a",
        "# a\n",
        "你",
        "|-",
    ],
)
def test_ten_times_the_text_takes_about_ten_times_as_long(unit):
    """Quadratic time would be a hundred times as long; the margin is wide because machines are busy."""

    def seconds(count):
        text = "hello " + unit * count
        started = time.process_time()
        try:
            plan(text, limits=MODEL, roleplay=Roleplay())
        except BadParameter:
            raise
        except BadScript:
            pass
        return time.process_time() - started

    small = min(seconds(400 // len(unit) + 1) for _ in range(3))
    large = min(seconds(4000 // len(unit) + 10) for _ in range(3))
    assert large < max(30 * small, 0.3)
