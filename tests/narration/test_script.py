"""Chapters and subtitles: headings begin pieces, every word is shown once, times never overlap."""

from typing import TYPE_CHECKING

from dia.narration.script import CHAPTER_PAUSE_S, plan_script, read_text
from dia.narration.subtitles import make_cues, to_srt, to_vtt
from dia.narration.timing import Phrase
from dia.text.plan import Limits
from dia.text.subtitles import looks_like_subtitles

if TYPE_CHECKING:
    from dia.narration.script import PlannedScript

BOOK = """Some words before it begins.

# One

It was a dark night. Nobody slept.

## Two: the end

Then it was morning.
"""


def planned(text: str) -> "PlannedScript":
    return plan_script(read_text(text), limits=Limits(1024, 3056, 86.13))


def test_headings_begin_pieces_after_a_pause():
    found = planned(BOOK)
    assert [heading.title for heading in found.headings] == ["One", "Two: the end"]
    firsts = {piece.turns[0].turn_idx: piece for piece in found.plan.pieces}
    for heading in found.headings:
        assert firsts[heading.turn_idx].pause_before_s == CHAPTER_PAUSE_S
    said = " ".join(piece.words for piece in found.plan.pieces)
    for word in ["before", "begins", "One", "dark", "slept", "Two", "morning"]:
        assert word in said


def test_plain_books_have_chapters_too_and_talk_of_chapters_is_none():
    text = (
        "Chapter 1\n\nIt began.\n\nCHAPTER II: The rest\n\nThis chapter was long, and he knew it.\n\nEpilogue\n\nSo."
    )
    assert [heading.title for heading in planned(text).headings] == ["Chapter 1", "CHAPTER II: The rest", "Epilogue"]
    assert planned("Part of it was good. Part was not.").headings == ()


def test_a_heading_at_the_start_has_no_pause_before_it():
    assert planned("# One\n\nWords.").plan.pieces[0].pause_before_s == 0.0


LONG = "This is a sentence of many words, " * 8 + "and it ends here."
PHRASES = (
    Phrase("Alice", "Hello.", 0, 0, 4_000),
    Phrase("Alice", "You there & <you>.", 0, 4_000, 9_000),
    Phrase("Bob", LONG, 1, 10_000, 200_000),
)


def test_subtitles_show_every_word_once_in_two_short_lines():
    cues = make_cues(PHRASES, 8_000)
    assert " ".join(cue.text for cue in cues).split() == " ".join(phrase.text for phrase in PHRASES).split()
    assert cues[0].text == "Hello. You there & <you>." and cues[0].end_s == 9_000 / 8_000
    assert all(a.end_s <= b.start_s + 1e-9 for a, b in zip(cues, cues[1:], strict=False))
    srt = to_srt(cues)
    assert srt.startswith("1\n00:00:00,000 --> 00:00:01,125\nAlice: Hello.")
    assert looks_like_subtitles(srt)
    assert (
        max(len(line) for line in srt.splitlines()) <= 42
        and max(len(block.splitlines()) for block in srt.split("\n\n")) <= 2 + 3
    )
    vtt = to_vtt(cues)
    assert vtt.startswith("WEBVTT\n\n00:00:00.000 --> 00:00:01.125\n<v Alice>Hello. You there &amp; &lt;you&gt;.")


def test_one_speaker_and_bare_labels_are_not_named():
    alone = make_cues(PHRASES[:1], 8_000)
    assert "Alice" not in to_srt(alone) + to_vtt(alone)
    tagged = make_cues([Phrase("S1", "One.", 0, 0, 10), Phrase("S2", "Two.", 1, 10, 20)], 8_000)
    assert "S1:" not in to_srt(tagged) and "<v S1>" in to_vtt(tagged)


def test_subtitles_show_numbers_as_the_script_has_them():
    from dia.narration.timing import place_phrases

    text = 'She paid $5.50 on 3/4/2024. "Too much," he said: 12 km?'
    (piece,) = planned(text).plan.pieces
    assert "five dollars and fifty cents" in piece.text and "$" not in piece.text
    phrases = place_phrases(piece, (0, 8_000, 16_000))
    assert [phrase.shown for phrase in phrases] == ["She paid $5.50 on 3/4/2024.", '"Too much," he said: 12 km?']
    assert "She paid $5.50 on 3/4/2024." in to_srt(make_cues(phrases, 8_000))
