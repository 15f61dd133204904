"""What stands before a piece: prompts by name, anchors of voices without one, the end of the piece before."""

import numpy as np
import pytest

from dia.errors import BadPrompt, UnknownVoice
from dia.narration.casting import Sound, cast
from dia.narration.context import Room, Said, choose_anchor, choose_recent, context_words
from dia.narration.seeds import piece_seed
from dia.narration.timing import find_phrases
from dia.narration.voices import make_cast
from dia.prompts import VoicePrompt
from dia.text.plan import Limits, Piece
from dia.text.planner import plan

HOP = 100
LIMITS = Limits(1024, 3056, 86.13, target_s=2.0, floor_s=1.0, ceiling_s=4.0)
WIDE = Room(10_000, 1_000)

SCRIPT = """Alice: Good morning to everybody in this room.
Bob: And a good morning to you as well, dear friend.
[pause:1s]
Carl: I should like to say something now. It is short.
[pause:1s]
Alice: Then say it, please, for we have little time."""


@pytest.fixture
def pieces() -> tuple[Piece, ...]:
    return plan(SCRIPT, limits=LIMITS, format="play", short_text="plain").pieces


def said(piece: Piece, frames: int = 60, first: int = 0) -> Said:
    codes = np.repeat(np.arange(first, first + frames)[:, None], 9, axis=1).astype(np.int16)
    waveform = np.zeros(frames * HOP, np.float32)
    return Said(piece, codes, find_phrases(piece, waveform, HOP * 16, 0, len(waveform)), HOP)


def history(pieces: tuple[Piece, ...], count: int) -> list[Said]:
    return [said(piece, first=100 * piece.index) for piece in pieces[:count]]


def test_the_end_of_the_piece_before_is_context(pieces: tuple[Piece, ...]):
    assert [piece.speakers for piece in pieces] == [("Alice",), ("Bob",), ("Carl",), ("Alice",)]
    context = choose_recent(history(pieces, 1), pieces[1], WIDE)
    assert context is not None
    assert context_words(pieces[1], context) == "[S2] Good morning to everybody in this room."
    assert np.array_equal(context.codes[:, 0], np.arange(60))


def test_context_is_cut_at_a_sentence_and_else_at_a_word(pieces: tuple[Piece, ...]):
    before = history(pieces, 3)
    short = choose_recent(before, pieces[3], Room(30, 1_000))
    assert short is not None
    assert [turn.text for turn in short.turns] == ["It is short."]
    assert short.codes[-1, 0] == 259 and len(short.codes) <= 30
    tiny = choose_recent(before, pieces[3], Room(12, 1_000))
    assert tiny is not None and len(tiny.codes) <= 12
    assert "It is short.".endswith(tiny.turns[0].text)
    few_bytes = choose_recent(before, pieces[3], Room(1_000, 15))
    assert few_bytes is not None and [turn.text for turn in few_bytes.turns] == ["It is short."]
    for room in (Room(0, 100), Room(100, 0), Room(1, 1)):
        assert choose_recent(before, pieces[3], room) is None
    assert choose_recent([], pieces[0], WIDE) is None


def test_a_third_speaker_is_never_heard_in_a_piece_of_two():
    both = (
        "Alice: One and two and three and four.\nBob: Five and six.\nCarl: Seven and eight and nine and ten and so.\n"
    )
    pieces = plan(both + "Alice: Yes.\nBob: No, and no again, for a while.", limits=LIMITS, short_text="plain").pieces
    for piece in pieces[1:]:
        context = choose_recent(history(pieces, piece.index), piece, WIDE)
        names = {*piece.speakers, *(turn.speaker for turn in context.turns)} if context else set(piece.speakers)
        assert len(names) <= 2
        assert context is None or context_words(piece, context).startswith(("[S1]", "[S2]"))


def test_the_first_piece_is_the_voice_of_the_rest(pieces: tuple[Piece, ...]):
    before = history(pieces, 3)
    anchor = choose_anchor(before, pieces[3], ["Alice"], WIDE)
    assert anchor is not None
    assert anchor.codes[0, 0] == 0 and anchor.turns[0].speaker == "Alice"
    assert choose_anchor(before[:2], pieces[2], ["Carl"], WIDE) is None
    assert choose_anchor(before, pieces[3], [], WIDE) is None
    assert choose_recent(before[:1], pieces[3], WIDE, anchor) is None
    recent = choose_recent(before, pieces[3], WIDE, anchor)
    assert recent is not None
    words = context_words(pieces[3], anchor, recent)
    assert words.startswith("[S1] Good morning") and "[S2] I should like" in words


def test_speakers_who_never_met_are_anchored_one_by_one(pieces: tuple[Piece, ...]):
    meeting = plan("Bob: So there you are.\nCarl: Here I am.", limits=LIMITS, short_text="plain").pieces[0]
    anchor = choose_anchor(history(pieces, 3), meeting, meeting.speakers, Room(60, 1_000))
    assert anchor is not None
    assert {turn.speaker for turn in anchor.turns} == {"Bob", "Carl"}
    assert len(anchor.codes) <= 60
    assert anchor.piece_indices == {1, 2}


def test_voices_find_their_speakers_and_wrong_names_are_refused():
    voice = VoicePrompt(np.zeros((86, 9), np.int16), "Some words, and more of them.")
    both = VoicePrompt(np.zeros((86, 9), np.int16), "[S1] One. [S2] Two.")
    names = ("Alice", "Bob", "Carl")
    assert make_cast(voice, names, 86.0).casting == {"Alice": "S1"}
    assert make_cast(both, names, 86.0).casting == {"Alice": "S1", "Bob": "S2"}
    three = make_cast({name: voice for name in names}, names, 86.0)
    assert three.casting == {name: name for name in names}
    assert three.most_frames == 2 * 86
    assert set(three.paces()) == set(names)
    assert make_cast({"Carl": voice}, names, 86.0).casting == {"Carl": "Carl"}
    assert make_cast(None, names, 86.0).casting == {}
    with pytest.raises(UnknownVoice, match="Alise"):
        make_cast({"Alise": voice}, names, 86.0)
    with pytest.raises(BadPrompt, match="transcript"):
        make_cast(VoicePrompt(voice.codes, " "), names, 86.0)


def test_more_than_two_prompts_are_used_two_at_a_time(pieces: tuple[Piece, ...]):
    voices = {
        name: VoicePrompt(np.full((9, 9), number, np.int16), f"This is {name}.")
        for number, name in enumerate(("Alice", "Bob", "Carl"))
    }
    known = make_cast(voices, ("Alice", "Bob", "Carl"), 86.0)
    codes, words = known.prompts_of(pieces[2])
    assert words == "[S1] This is Carl." and codes[0][0, 0] == 2
    meeting = plan("Carl: So.\nAlice: Yes.", limits=LIMITS, short_text="plain").pieces[0]
    codes, words = known.prompts_of(meeting)
    assert words == "[S2] This is Alice. [S1] This is Carl."
    assert [int(part[0, 0]) for part in codes] == [0, 2]


def test_slots_of_the_speakers_own_names_win_over_the_order():
    sounds = (Sound("a", "Bob", "x", 1.0), Sound("b", "Alice", "y", 1.0))
    assert cast(["Alice", "Bob", "Carl"], sounds) == {"Alice": "Alice", "Bob": "Bob"}


def test_seeds_differ_by_run_piece_and_attempt():
    seeds = {piece_seed(seed, piece, attempt) for seed in (0, 1) for piece in range(40) for attempt in range(4)}
    assert len(seeds) == 2 * 40 * 4
    assert piece_seed(7, 0) == 7
    assert all(0 <= seed < 2**63 for seed in seeds)
