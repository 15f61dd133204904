"""Single sentences become dialogues: which clips follow each other, their tagged text, and where text meets sound.

A dialogue has one to four turns by two voices that alternate, each turn one to three sentences of one voice. A voice
prompt is nothing else than the first sentence of its speaker, so turns of several sentences are what teaches cloning:
prompt and transcript in front, the same voice behind. The text ends with the tag of the second-to-last speaker, as
texts for the published model do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dia.text.tokens import SPEAKER_TAGS, encode_text
from dia.train.packing import CodeClip, CodePack, Sentence


@dataclass(frozen=True)
class DialogueConfig:
    """How clips are joined; pauses in seconds, `max_duration_s`, `max_bytes` and `max_frames` bound one example.

    `splice_share` of the sentences are the first words of one clip and the last words of another.
    """

    turn_odds: tuple[float, ...] = (0.5, 0.25, 0.15, 0.1)
    sentence_odds: tuple[float, ...] = (0.6, 0.3, 0.1)
    sentence_pause_s: tuple[float, float] = (0.05, 0.25)
    turn_pause_s: tuple[float, float] = (0.1, 0.4)
    max_duration_s: float = 18.0
    max_bytes: int = 420
    max_frames: int | None = None
    splice_share: float = 0.0


@dataclass(frozen=True)
class Span:
    """One sentence: text ids `first_id` … `last_id`-1 are spoken in frames `first_frame` … `last_frame`-1."""

    first_id: int
    last_id: int
    first_frame: int
    last_frame: int


@dataclass(frozen=True)
class Dialogue:
    """An example: text ids, int16 codes [frames, channels], the spans of its sentences in order.

    `places` float32 [frames]: the text id that each frame speaks; in a pause it goes from one sentence to the next.
    """

    ids: tuple[int, ...]
    codes: np.ndarray
    places: np.ndarray
    spans: tuple[Span, ...]

    @property
    def frames(self) -> int:
        return len(self.codes)


def join_turns(
    pack: CodePack,
    turns: Sequence[Sequence[Sentence]],
    config: DialogueConfig,
    rng: np.random.Generator,
) -> Dialogue:
    """Join turns (each some sentences of one voice) with pauses of silence; speakers alternate from S1 on."""
    ids: list[int] = []
    pieces: list[np.ndarray] = []
    spans: list[Span] = []
    places: list[np.ndarray] = []
    frames = 0
    for number, turn in enumerate(turns):
        tag = SPEAKER_TAGS[1 + number % 2]
        for place, sentence in enumerate(turn):
            if pieces:
                pause = _pause(pack, config.turn_pause_s if place == 0 else config.sentence_pause_s, rng)
                pieces.append(pause)
                places.append(np.full(len(pause), np.nan, np.float32))
                frames += len(pause)
            lead = encode_text(f"{' ' if ids else ''}{tag} " if place == 0 else " ")
            spoken = encode_text(sentence.text)
            ids += lead
            spans.append(Span(len(ids), len(ids) + len(spoken), frames, frames + len(sentence.codes)))
            places.append(len(ids) + sentence.places)
            ids += spoken
            pieces.append(sentence.codes)
            frames += len(sentence.codes)
    closing = SPEAKER_TAGS[1 + max(len(turns) - 2, 0) % 2]
    ids += encode_text(f" {closing}")
    return Dialogue(tuple(ids), np.concatenate(pieces), _bridged(np.concatenate(places)), tuple(spans))


SPLICED = (0.25, 0.75)
"""Between which shares of both texts a splice is looked for: what is left of each has words to be heard by."""


def splice(head: Sentence, tail: Sentence, rng: np.random.Generator) -> Sentence | None:
    """The first words of one sentence and the last of another, cut between words; None where there is no such place.

    A small set is learnt by heart sentence by sentence; spliced, its words come in orders that nobody recorded. Both
    are cut near the same share of their text, so that the whole is no longer than the longer of them.
    """
    share = rng.uniform(*SPLICED)
    first, second = (_space_near(sentence.text, share) for sentence in (head, tail))
    if first is None or second is None:
        return None
    cut, begin = int(np.searchsorted(head.places, first)), int(np.searchsorted(tail.places, second))
    front, back = head.text.encode()[:first], tail.text.encode()[second:]
    return Sentence(
        (front + back).decode(),
        np.concatenate([head.codes[:cut], tail.codes[begin:]]),
        np.concatenate([head.places[:cut], tail.places[begin:] - second + first]),
    )


def _space_near(text: str, share: float) -> int | None:
    """Byte of the space between two words that is nearest to this share of the text, within `SPLICED`."""
    data = text.encode()
    spaces = [byte for byte, value in enumerate(data) if value == ord(" ")]
    within = [byte for byte in spaces if SPLICED[0] <= byte / len(data) <= SPLICED[1]]
    return min(within, key=lambda byte: abs(byte - share * len(data)), default=None)


def _bridged(places: np.ndarray) -> np.ndarray:
    known = np.flatnonzero(~np.isnan(places))
    return np.interp(np.arange(len(places)), known, places[known]).astype(np.float32)


def _pause(pack: CodePack, range_s: tuple[float, float], rng: np.random.Generator) -> np.ndarray:
    low, high = (round(seconds * pack.frame_rate_hz) for seconds in range_s)
    count = int(rng.integers(low, high + 1))
    start = int(rng.integers(0, max(1, len(pack.silence) - count)))
    return pack.silence[start : start + count]


class DialogueSampler:
    """Draws dialogues: every clip starts one once per pass over the data, partners are drawn.

    The examples of pass n are a pure function of (seed, n), so that a resumed run sees what an
    uninterrupted one would.
    """

    def __init__(self, pack: CodePack, clips: Sequence[CodeClip], config: DialogueConfig, seed: int) -> None:
        self._pack, self._config, self._seed = pack, config, seed
        self._clips = tuple(clips)
        self._by_voice: dict[str, list[CodeClip]] = {}
        for clip in clips:
            self._by_voice.setdefault(clip.voice, []).append(clip)

    def __len__(self) -> int:
        return len(self._clips)

    def one_pass(self, number: int) -> list[Dialogue]:
        """All dialogues of one pass, shuffled."""
        rng = np.random.default_rng((self._seed, number))
        order = rng.permutation(len(self._clips))
        return [self._draw(self._clips[int(place)], rng) for place in order]

    def _draw(self, first: CodeClip, rng: np.random.Generator) -> Dialogue:
        config = self._config
        turns = 1 + int(rng.choice(len(config.turn_odds), p=config.turn_odds))
        others = sorted(set(self._by_voice) - {first.voice})
        voices = [first.voice, str(rng.choice(others)) if others else first.voice]
        plan: list[list[CodeClip]] = []
        frames, size = 0, 8
        max_frames = round(config.max_duration_s * self._pack.frame_rate_hz)
        if config.max_frames is not None:
            max_frames = min(max_frames, config.max_frames)
        for number in range(turns):
            turn: list[CodeClip] = []
            for _ in range(1 + int(rng.choice(len(config.sentence_odds), p=config.sentence_odds))):
                group = self._by_voice[voices[number % 2]]
                clip = group[int(rng.integers(len(group)))] if plan or turn else first
                cost = len(clip.text.encode("utf-8")) + 6
                pause = round(config.turn_pause_s[1] * self._pack.frame_rate_hz)
                if (plan or turn) and (frames + clip.frames + pause > max_frames or size + cost > config.max_bytes):
                    break
                turn.append(clip)
                frames += clip.frames + pause
                size += cost
            if not turn:
                break
            plan.append(turn)
        return join_turns(self._pack, [[self._sentence(clip, rng) for clip in turn] for turn in plan], config, rng)

    def _sentence(self, clip: CodeClip, rng: np.random.Generator) -> Sentence:
        """The clip's own words, or in a share of the cases its first with another's last."""
        whole = self._pack.sentence(clip)
        if not self._config.splice_share or rng.random() >= self._config.splice_share:
            return whole
        group = self._by_voice[clip.voice]
        other = self._pack.sentence(group[int(rng.integers(len(group)))])
        if len(other.text.encode()) > len(whole.text.encode()) or len(other.codes) > len(whole.codes):
            return whole
        return splice(whole, other, rng) or whole


def expected_places(dialogue: Dialogue, rows: int) -> np.ndarray:
    """Where in the text each decoder row should look, float32 [rows].

    Row t predicts frame t of the first channel; rows behind the last frame look at the closing tag.
    """
    places = np.full(rows, len(dialogue.ids) - 1, np.float32)
    places[: len(dialogue.places)] = dialogue.places
    return places
