"""Scores of one take: what the judges say about it, and what its sound and making say themselves."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dia.evals.endings import (
    DEFAULT_PACE,
    audible_frames,
    audible_span_s,
    length_ratio,
    trailing_junk_s,
    word_end_s,
)
from dia.evals.hearing import Heard
from dia.evals.speakers import nearest_voice, similarity
from dia.evals.takes import Take
from dia.text.alignment import Alignment, align
from dia.text.words import normalise

__all__ = ["JUDGE_RATE_HZ", "Judges", "TakeScore", "load_judges", "score_take"]

JUDGE_RATE_HZ = 16_000
"""All three judges listen at this rate: nothing above 8 kHz is judged."""

_TURN = re.compile(r"\[S([12])\]")
_LEAST_TURN_S = 0.4
"""A turn shorter than this holds too little voice to compare."""


@dataclass(frozen=True, slots=True)
class Judges:
    """Three opinions about float32 [samples] at 16 kHz: words, embedding [dimensions], naturalness 1 to 5."""

    hear: Callable[[np.ndarray], Heard]
    embed: Callable[[np.ndarray], np.ndarray]
    rate: Callable[[np.ndarray], float]


@dataclass(frozen=True, slots=True)
class TakeScore:
    """One take judged. None where something does not apply: no voice was asked for, nothing was generated.

    Attributes:
        errors: word errors, at most `words`.
        similarity: cosine with the centroid of the voice that was asked for; in a dialogue the mean of both turns.
        nearest: the most similar of all voices, "" for an empty take; in a dialogue None.
        turn_similarity: cosine between the two turns of a dialogue.
        turns_right: whether each turn of a dialogue is nearer to its own voice than to the other's.
        junk_s: sound after the last word that was asked for. silence_s: quiet at the very end.
    """

    name: str
    text: str
    heard: str
    voice: str | None
    words: int
    errors: int
    mos: float
    similarity: float | None
    nearest: str | None
    turn_similarity: float | None
    turns_right: bool | None
    duration_s: float
    junk_s: float
    silence_s: float
    length_ratio: float
    ended: bool | None
    wall_s: float | None
    cpu_s: float | None


def load_judges(threads: int, cache: Path | None = None) -> Judges:
    """The three public judges.

    Raises:
        MissingExtra: names every package that is missing and how to install all. CheckpointMismatch: damaged weights.
    """
    from dia.evals import hearing, identity, naturalness
    from dia.evals.packages import check_installed

    check_installed((*hearing.MODULES, *identity.MODULES, *naturalness.MODULES))
    return Judges(
        hearing.load_whisper(threads, cache).hear,
        identity.load_speaker_encoder().embed,
        naturalness.load_naturalness().score,
    )


def score_take(
    take: Take, judges: Judges, centroids: Mapping[str, np.ndarray], pace: float = DEFAULT_PACE
) -> TakeScore:
    """Judge one take.

    Args:
        centroids: {voice: embedding}; may be empty, or lack the take's voice.
        pace: usual characters a second of its voice.
    """
    sound = take.at(JUDGE_RATE_HZ)
    audible = audible_frames(sound, JUDGE_RATE_HZ)
    heard = judges.hear(sound) if audible.any() else Heard("", ())
    reference, words, owners = normalise(take.text), *_heard_words(heard)
    alignment = align(reference, words)
    last_end = _last_word_end(alignment, heard, owners, audible)
    begin, end = audible_span_s(audible)
    spoken_text = " ".join(_TURN.sub(" ", take.text).split())
    likeness, nearest, turn_likeness, right = _identity(take, sound, heard, alignment, owners, judges, centroids)
    made = take.generation
    return TakeScore(
        name=take.name,
        text=take.text,
        heard=heard.text,
        voice=take.voice,
        words=alignment.reference_words,
        errors=alignment.clipped_errors,
        mos=judges.rate(sound) if len(sound) else 1.0,
        similarity=likeness,
        nearest=nearest,
        turn_similarity=turn_likeness,
        turns_right=right,
        duration_s=take.duration_s,
        junk_s=trailing_junk_s(last_end, end),
        silence_s=max(0.0, take.duration_s - end),
        length_ratio=length_ratio(end - begin, spoken_text, pace),
        ended=None if made is None else made.ended and len(sound) > 0,
        wall_s=None if made is None else made.wall_s,
        cpu_s=None if made is None else made.cpu_s,
    )


def _heard_words(heard: Heard) -> tuple[list[str], list[int]]:
    """Normalised words, and for each the index of the heard word it comes from."""
    plain = [(word, place) for place, item in enumerate(heard.words) for word in normalise(item.text)]
    joined = normalise(heard.text)
    # Number formats that span words ("10 a.m.") normalise differently word by word: then owners are spread evenly.
    if [word for word, _ in plain] != joined:
        return joined, [min(len(heard.words) - 1, n * len(heard.words) // len(joined)) for n in range(len(joined))]
    return joined, [place for _, place in plain]


def _last_word_end(alignment: Alignment, heard: Heard, owners: list[int], audible: np.ndarray) -> float | None:
    if alignment.last_heard is None:
        return None
    word = heard.words[owners[alignment.last_heard]]
    return word_end_s(audible, word.start_s, word.end_s, sum(map(str.isalnum, word.text)))


def _identity(
    take: Take,
    sound: np.ndarray,
    heard: Heard,
    alignment: Alignment,
    owners: list[int],
    judges: Judges,
    centroids: Mapping[str, np.ndarray],
) -> tuple[float | None, str | None, float | None, bool | None]:
    """(similarity, nearest, similarity of the turns, whether both turns are by the right voice)."""
    if not len(sound):
        # Nothing was said, so it is nobody's voice: that counts against a take whose voice was asked for.
        is_missed = take.voice in centroids and "[S2]" not in take.text
        return (0.0, "", None, None) if is_missed else (None, None, None, None)
    if "[S2]" not in take.text:
        if not centroids:
            return None, None, None, None
        embedding = judges.embed(sound)
        own = centroids.get(take.voice or "")
        likeness = None if own is None else similarity(embedding, own)
        return likeness, nearest_voice(embedding, centroids), None, None
    turns = _two_turns(take.text, sound, heard, alignment, owners)
    if turns is None:
        return None, None, None, None
    first, second = (judges.embed(turn) for turn in turns)
    between = similarity(first, second)
    pair = [centroids.get(name or "") for name in (take.voice, take.second_voice)]
    if pair[0] is None or pair[1] is None:
        return None, None, between, None
    straight = (similarity(first, pair[0]), similarity(second, pair[1]))
    crossed = (similarity(first, pair[1]), similarity(second, pair[0]))
    return float(np.mean(straight)), None, between, straight[0] > crossed[0] and straight[1] > crossed[1]


def _two_turns(
    text: str, sound: np.ndarray, heard: Heard, alignment: Alignment, owners: list[int]
) -> tuple[np.ndarray, np.ndarray] | None:
    """The sound before and after the change of speaker of a two-turn dialogue, or None where it was not heard."""
    turns = [part for part in _TURN.split(text)[2::2] if normalise(part)]
    if len(turns) != 2:
        return None
    border = len(normalise(turns[0]))
    before = [owners[place] for said, place in alignment.pairs if said < border]
    after = [owners[place] for said, place in alignment.pairs if said >= border]
    if not before or not after or before[-1] >= after[0]:
        return None
    cut = round((heard.words[before[-1]].end_s + heard.words[after[0]].start_s) / 2 * JUDGE_RATE_HZ)
    first, second = sound[:cut], sound[cut:]
    least = _LEAST_TURN_S * JUDGE_RATE_HZ
    return (first, second) if min(len(first), len(second)) >= least else None
