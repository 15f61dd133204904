"""Piece after piece through the model: prompts, context, seed, expected length, and another take where one is bad.

Everything a pass depends on follows from the plan, the voices, the run's seed and the pieces before it, so a run that
was interrupted goes on as if it had not been.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from dia.errors import BadParameter, CodecFailed, NonFiniteLogits
from dia.narration.casting import unprompted
from dia.narration.context import ANCHOR_BYTES, ANCHOR_S, Room, Said, choose_anchor, choose_recent, context_words
from dia.narration.ends import Ends, end_of_wanted, find_ends
from dia.narration.judge import Problem, badness, count_wrong_words, find_problems
from dia.narration.script import PlannedScript, ReadScript, plan_script
from dia.narration.seeds import piece_seed
from dia.narration.timing import Phrase, find_phrases, place_phrases
from dia.narration.voices import Cast
from dia.text.pace import Pace
from dia.text.plan import Gaps, Limits, Piece, Plan, render_turns
from dia.text.sentences import split_sentences
from dia.text.tokens import count_bytes
from dia.text.wording import Wording

if TYPE_CHECKING:
    from dia.config import DiaConfig
    from dia.engine.request import Priority
    from dia.model import Dia
    from dia.sampling import SamplingParams

__all__ = ["Made", "Making", "Narrator", "Opened", "Passes", "Speaker", "Take", "finite", "least_bad", "plan_for"]

_LONGEST_SHARE, _SPARE_S = 2.2, 1.0  # a pass may take so much more than expected before it is stopped
_SHORT_SENTENCE_S, _ALONE_S = 1.0, 0.25  # a sentence shorter than that takes so much longer, with the pause after it
_SURE_SHARE = 0.8  # of the estimate; room for a piece that takes a quarter longer is never given to context
_LABELS_BYTES = 12  # tags and blanks between transcript and text


class Speaker(Protocol):
    """What is asked of a model: `dia.model.Dia` is one. `stream` gives a `SpeechStream` or what behaves like one."""

    @property
    def sample_rate_hz(self) -> int: ...

    def encode_prompt(self, audio: Any, transcript: str) -> Any: ...

    def stream(
        self, text: str, *, prompt: Any = None, params: Any = None, close_tag: bool = True,
        holds_prompt: bool = True, priority: "Priority" = "interactive", deadline_s: float | None = None,
        adapter: Any = None,
    ) -> Any: ...  # fmt: skip


@dataclass(frozen=True, slots=True)
class Passes:
    """What one pass of a model takes: `text_bytes` of text, `max_frames` of sound, prompt and context included in both;
    `tail_rows` more rows of the decoder than frames, `frame_rate_hz` frames a second; and whether it has learnt sounds
    such as `(laughs)`."""

    text_bytes: int
    max_frames: int
    tail_rows: int
    frame_rate_hz: float
    knows_sounds: bool = True

    @classmethod
    def of(cls, dia: "Dia") -> "Passes":
        return cls.of_config(dia.config, dia.frame_rate_hz)

    @classmethod
    def of_config(cls, config: "DiaConfig", frame_rate_hz: float) -> "Passes":
        data = config.data
        frames = config.max_frames
        return cls(data.text_length, frames, data.audio_length - frames, frame_rate_hz, config.knows_sounds)

    def check(self, params: "SamplingParams") -> None:
        """Refuse a `max_tokens` that a pass does not have, or that holds no frame. Raises BadParameter."""
        rows = params.max_tokens
        most, least = self.max_frames + self.tail_rows, self.tail_rows + 1
        if rows is not None and not least <= rows <= most:
            raise BadParameter(
                f"max_tokens is {rows}; one pass of this model has at least {least} and at most {most}; use such a number"
            )

    def context_room(self, making: "Making") -> Room:
        """For the end of the piece before."""
        frames = min(round(making.context_s * self.frame_rate_hz), self.max_frames // 4)
        return Room(frames, min(making.context_bytes, self.text_bytes // 4))

    @property
    def anchor_room(self) -> Room:
        """For what was first heard of speakers without a prompt."""
        frames = min(round(ANCHOR_S * self.frame_rate_hz), self.max_frames // 4)
        return Room(frames, min(ANCHOR_BYTES, self.text_bytes // 4))


@dataclass(frozen=True, slots=True)
class Making:
    """How pieces are made. What the finished recording sounds like besides is `render.Delivery`.

    Attributes:
        context_s: seconds of the piece before that stand before each piece, 0 to 15.
        context_bytes: most ids of text in them.
        retakes: how often a bad take is made again, 0 to 8.
        close_tag: end each pass with the tag that makes endings cleaner.
        target_s, floor_s, ceiling_s: wished length of a piece.
        wording: how what is written becomes what is sent.
        proofread: the recogniser that hears each take, by name, and has it made again where it hears other words; None:
            none does. Whoever makes pieces brings it along (`Narrator.hear`).
    """

    context_s: float = 6.0
    context_bytes: int = 192
    retakes: int = 2
    close_tag: bool = True
    target_s: float = 12.0
    floor_s: float = 5.0
    ceiling_s: float = 18.0
    wording: Wording = field(default_factory=Wording)
    proofread: str | None = None

    def __post_init__(self) -> None:
        if not (0.0 <= self.context_s <= 15.0 and self.context_bytes >= 0):
            raise BadParameter(f"context is {self.context_s:g} s, {self.context_bytes} bytes; it must be 0 to 15 s")
        if not 0 <= self.retakes <= 8:
            raise BadParameter(f"retakes is {self.retakes}; it must be 0 to 8; each costs the time of a piece")


@dataclass(frozen=True, slots=True)
class Take:
    """What is known of one take of a piece. `edges` are the samples of its waveform between which its phrases stand;
    `wrong_words` is how many words were heard as others, where somebody heard it."""

    seed: int
    attempt: int
    frames: int
    edges: tuple[int, ...]
    problems: tuple[Problem, ...] = ()
    cuts: tuple[str, ...] = ()
    wrong_words: int = 0

    @property
    def badness(self) -> int:
        """0 for a good take; of several the least bad is heard."""
        return badness(self.problems, self.wrong_words)

    def phrases(self, piece: Piece) -> tuple[Phrase, ...]:
        return place_phrases(piece, self.edges) if self.edges else ()


@dataclass(frozen=True, slots=True)
class Made:
    """A take with its codes int16 [frames, channels] and its waveform float32 [samples]."""

    take: Take
    codes: np.ndarray
    waveform: np.ndarray
    warnings: tuple[str, ...] = ()


def plan_for(
    passes: Passes, script: ReadScript, cast: Cast, making: Making, gaps: Gaps | None = None
) -> PlannedScript:
    """The pieces of a script with room for its voices, and for context if there is more than one piece.

    Raises:
        BadScript: a word that no pass can hold. BadParameter: no room beside the voices.
    """

    def planned(frames: int, num_bytes: int) -> PlannedScript:
        limits = Limits(
            max_bytes=passes.text_bytes,
            max_frames=passes.max_frames,
            frame_rate_hz=passes.frame_rate_hz,
            reserved_frames=cast.most_frames + frames,
            reserved_bytes=cast.most_bytes + num_bytes + (_LABELS_BYTES if cast.sounds else 0),
            target_s=making.target_s,
            floor_s=making.floor_s,
            ceiling_s=making.ceiling_s,
        )
        return plan_script(
            script,
            limits=limits,
            paces=cast.paces(),
            prompted=cast.casting or (),
            gaps=gaps,
            knows_sounds=passes.knows_sounds,
            wording=making.wording,
        )

    whole = planned(0, 0)
    if len(whole.plan.pieces) == 1:
        return whole
    rooms = [passes.context_room(making)]
    if any(cast.slot_of(name) is None for name in whole.plan.speakers):
        rooms.append(passes.anchor_room)
    # However short a pass is beside its voices, half of it is for new words.
    frames, num_bytes = passes.max_frames - cast.most_frames, passes.text_bytes - cast.most_bytes
    return planned(
        min(sum(room.max_frames for room in rooms), frames // 2),
        min(sum(room.max_bytes for room in rooms) + _LABELS_BYTES, num_bytes // 2),
    )


@dataclass
class Narrator:
    """Makes the pieces of one plan in order. `accept` what is kept; then the next piece can be begun.

    Attributes:
        seed: of the run; each piece has its own.
        params: sampling; seed and max_tokens of it are bounded by each piece.
        paces: of each speaker, learned from what was accepted.
        remaining_s: how long the run may still take, if there is a limit.
        adapter: with which the model speaks; None: its default.
        hear: gives back the words in float32 samples [samples] of a rate in Hz; None: nobody hears the takes.
    """

    model: Speaker
    passes: Passes
    plan: Plan
    cast: Cast
    making: Making
    seed: int
    params: "SamplingParams"
    priority: "Priority" = "batch"
    paces: dict[str, Pace] = field(default_factory=dict)
    remaining_s: Callable[[], float] | None = None
    adapter: Any = None
    hear: Callable[[np.ndarray, int], str] | None = None
    _history: list[Said] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.paces = {**self.cast.paces(), **self.paces}
        self._needs_anchors = any(self.cast.slot_of(name) is None for name in self.plan.speakers)

    def expected_s(self, piece: Piece) -> float:
        """How long the wanted words of a piece should take, by the paces learned so far."""
        prior = Pace()
        said = [
            self.paces.get(turn.speaker, prior).estimate_s(sentence)
            for turn in piece.turns
            for sentence in split_sentences(turn.text)
        ]
        return sum(seconds + (_ALONE_S if seconds < _SHORT_SENTENCE_S else 0.0) for seconds in said)

    def open(self, piece: Piece, attempt: int = 0, *, seed: int | None = None) -> "Opened":
        """Submit a piece. `seed` is that of the first attempt, where it shall not be the one derived from the run's."""
        codes, words = self._prompt(piece)
        prompt = self.model.encode_prompt(np.concatenate(codes), words) if codes else None
        prompt_frames = 0 if prompt is None else len(prompt.codes)
        frames = self._most_frames(piece, prompt_frames)
        params = self.params.updated(
            seed=self._seed(piece, attempt, seed),
            max_tokens=prompt_frames + frames + self.passes.tail_rows,
        )
        # The closing tag of a text without a carrier depends on the words of its prompt.
        text = piece.text if piece.carrier else render_turns(piece.turns, piece.speakers)
        stream = self.model.stream(
            text,
            prompt=prompt,
            params=params,
            close_tag=self.making.close_tag,
            holds_prompt=False,
            priority=self.priority,
            deadline_s=None if self.remaining_s is None else self.remaining_s(),
            adapter=self.adapter,
        )
        return Opened(piece, stream, attempt, frames, self.expected_s(piece))

    def judge(self, opened: "Opened", waveform: np.ndarray) -> Made:
        """What became of a stream that has ended: the ends of its words, its phrases, its problems."""
        piece, stream, rate = opened.piece, opened.stream, self.model.sample_rate_hz
        carrier, expected_s = piece.carrier, opened.expected_s
        if carrier is not None:
            expected_s += carrier.estimated_s - carrier.wanted_s
        sentences = sum(len(split_sentences(turn.text)) for turn in piece.turns) + (carrier is not None)
        ends = find_ends(waveform, rate, expected_s, sentences)
        is_filled = stream.frames_done >= opened.max_frames
        problems = find_problems(waveform, rate, ends, expected_s, is_filled=is_filled)
        if carrier is not None and ends.end > ends.start:
            end, is_parted = end_of_wanted(waveform, rate, ends, carrier)
            ends = Ends(ends.start, end, ends.cuts)
            problems = tuple(problem for problem in problems if problem != "cut off")  # of words that nobody hears
            if not is_parted:
                problems = (*problems, "run together")
        is_empty = "empty" in problems or ends.end <= ends.start
        phrases = () if is_empty else find_phrases(piece, waveform, rate, ends.start, ends.end)
        edges = (*(phrase.start for phrase in phrases), phrases[-1].end) if phrases else ()
        take = Take(stream.seed, opened.attempt, stream.frames_done, edges, problems, ends.cuts)
        return Made(take, stream.codes, waveform, stream.warnings)

    def takes(
        self,
        piece: Piece,
        *,
        seed: int | None = None,
        first_attempt: int = 0,
        opened: "Opened | None" = None,
        watch: Callable[[Any], None] | None = None,
    ) -> Iterator[Made]:
        """Takes of a piece, each to its end and with another seed, up to the first that has no problems.

        Args:
            seed: of the first take, instead of the derived one.
            first_attempt: number of the first take; later numbers have other seeds.
            opened: the first take, where it is on its way already.
            watch: gets each stream when it begins.
        """
        for attempt in range(first_attempt, first_attempt + self.making.retakes + 1):
            if opened is None:
                opened = self.open(piece, attempt, seed=seed if attempt == first_attempt else None)
            made = self._proofread(piece, self._finished(opened, watch))
            opened = None
            yield made
            if not made.take.problems:
                break

    def _proofread(self, piece: Piece, made: Made) -> Made:
        """The take with what was misread in it, if there is somebody to hear it."""
        take = made.take
        if self.hear is None or not take.edges:
            return made
        heard = self.hear(made.waveform[take.edges[0] : take.edges[-1]], self.model.sample_rate_hz)
        wrong = count_wrong_words(" ".join(turn.text for turn in piece.turns), heard)
        if not wrong:
            return made
        return replace(made, take=replace(take, problems=(*take.problems, "misread"), wrong_words=wrong))

    def accept(self, piece: Piece, codes: np.ndarray, take: Take) -> None:
        """This is how the piece will be heard: learn the paces, remember what later pieces go on from."""
        phrases = take.phrases(piece)
        if not phrases:
            return
        rate = self.model.sample_rate_hz
        for name in piece.speakers:
            own = [phrase for phrase in phrases if phrase.speaker == name]
            length_s = sum(phrase.end - phrase.start for phrase in own) / rate
            if own and length_s > 0 and set(take.problems) <= {"misread"}:
                said = " ".join(phrase.text for phrase in own)
                self.paces[name] = self.paces.get(name, Pace()).learned(said, length_s)
        self._history.append(Said(piece, codes, phrases, round(rate / self.passes.frame_rate_hz)))
        if not self._needs_anchors:
            del self._history[:-1]

    def _finished(self, opened: "Opened", watch: Callable[[Any], None] | None) -> Made:
        with closing(opened.stream) as stream:
            if watch is not None:
                watch(stream)
            try:
                chunks = [finite(chunk, stream.frames_done) for chunk in stream]
            except (NonFiniteLogits, CodecFailed) as error:
                take = Take(stream.seed, opened.attempt, stream.frames_done, (), ("failed",), (str(error),))
                return Made(take, stream.codes, np.zeros(0, np.float32), stream.warnings)
            return self.judge(opened, np.concatenate(chunks) if chunks else np.zeros(0, np.float32))

    def _prompt(self, piece: Piece) -> tuple[list[np.ndarray], str]:
        """Prompts first, then what anchors speakers without one, then the end of the piece before."""
        codes, words = self.cast.prompts_of(piece)
        passes = self.passes
        said = count_bytes(render_turns(piece.turns, piece.speakers)) + count_bytes(words) + 2 * _LABELS_BYTES
        expected = round(piece.estimated_s * passes.frame_rate_hz / _SURE_SHARE)
        left = Room(max(passes.max_frames - sum(map(len, codes)) - expected, 0), max(passes.text_bytes - said, 0))
        wanted = unprompted(piece, self.cast.casting or {})
        anchor = choose_anchor(self._history, piece, wanted, _smaller(left, passes.anchor_room))
        left = _smaller(left.less(anchor), passes.context_room(self.making))
        if any(not sound.words for sound in self.cast.sounds):
            left = Room(0, 0)  # behind a prompt whose words nobody knows, those of a context would be said again
        # A recording of two has both labels taken; nobody else may borrow one.
        names = set(self.cast.casting or {}) if any(sound.has_both for sound in self.cast.sounds) else None
        recent = choose_recent(self._history, piece, left, anchor, names)
        contexts = [context for context in (anchor, recent) if context is not None]
        codes = [*codes, *(context.codes for context in contexts)]
        return codes, f"{words} {context_words(piece, *contexts)}".strip()

    def _most_frames(self, piece: Piece, prompt_frames: int) -> int:
        """After so many new frames a pass is stopped."""
        room = self.passes.max_frames - prompt_frames
        if self.params.max_tokens is not None:
            room = min(room, self.params.max_tokens - self.passes.tail_rows)
        expected_s = max(self.expected_s(piece), piece.estimated_s)
        if piece.carrier is not None:
            expected_s = max(expected_s, piece.carrier.estimated_s)
        return max(1, min(room, round((_LONGEST_SHARE * expected_s + _SPARE_S) * self.passes.frame_rate_hz)))

    def _seed(self, piece: Piece, attempt: int, seed: int | None) -> int:
        return piece_seed(self.seed, piece.index, attempt) if seed is None else seed


@dataclass(frozen=True, slots=True)
class Opened:
    """A piece on its way: at most `max_frames` will come, words of about `expected_s` seconds are expected."""

    piece: Piece
    stream: Any
    attempt: int
    max_frames: int
    expected_s: float


def least_bad(takes: Iterable[Made]) -> Made:
    """The first of those with the smallest problems."""
    return min(takes, key=lambda made: made.take.badness)


def finite(chunk: np.ndarray, frames_done: int) -> np.ndarray:
    """The chunk itself. Raises CodecFailed if a sample of it is no number."""
    if not np.isfinite(chunk).all():
        raise CodecFailed(f"the sound is not finite after {frames_done} frames")
    return chunk


def _smaller(first: Room, second: Room) -> Room:
    return Room(min(first.max_frames, second.max_frames), min(first.max_bytes, second.max_bytes))
