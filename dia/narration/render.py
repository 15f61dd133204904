"""A finished project to one file: codes to sound, tempo, pauses, one loudness, chapters, times of every phrase.

Two passes: segments go to a temporary file and are measured, then gain and limiter on the way into the encoder. Memory
holds one piece at a time, whatever the length of the book.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from dia.errors import Conflict, NotFinished, OutputUnwritable
from dia.media.encode import AudioFileWriter, WrittenAudio, find_format
from dia.media.loudness import block_powers, gated_loudness
from dia.media.writers import Chapter
from dia.narration.balance import SpeakerLevels, balanced
from dia.narration.delivery import Delivery
from dia.narration.drift import Drift, Heard, drifts, hear, pitch_hz, strays
from dia.narration.joins import make_segment
from dia.narration.levels import limit, programme_gain_db
from dia.narration.project import Project
from dia.narration.seeds import piece_seed
from dia.narration.timing import Phrase

if TYPE_CHECKING:
    from dia.codec import Codec

__all__ = ["Rendered", "make_segments", "render"]

_MEASURED_S = 6.0  # of each prompt; enough for the pitch of a voice


@dataclass(frozen=True, slots=True)
class Rendered:
    """A written recording. `phrases` count samples from its start, at `sample_rate_hz`, which is the codec's.

    `starts` are the first samples of the pieces' segments; `loudness_lufs` is what was reached.
    """

    written: WrittenAudio
    sample_rate_hz: int
    num_samples: int
    starts: tuple[int, ...]
    phrases: tuple[Phrase, ...]
    chapters: tuple[Chapter, ...]
    loudness_lufs: float
    gain_db: float
    warnings: tuple[str, ...]
    drifts: tuple[Drift, ...] = ()


def render(
    project: Project,
    codec: "Codec",
    path: Path,
    delivery: Delivery | None = None,
    *,
    format: str | None = None,
    metadata: Mapping[str, str] | None = None,
    output_rate_hz: int | None = None,
    relevel: bool = False,
    watch: Callable[[int], None] | None = None,
) -> Rendered:
    """Write the recording; nothing is generated.

    Args:
        delivery: None is the project's own.
        relevel: measure the loudness again. Else the gain of the first rendering to the same target is kept, so that a
            piece that was made again changes no sample of the others.
        watch: told the number of pieces done.

    Raises:
        NotFinished: pieces are missing. Conflict: the codec is another one. UnknownFormat, BadParameter, BadCodes.
        OutputUnwritable, DiskFull. No half-written file is left.
    """
    delivery = delivery or project.delivery
    _check(project, codec, delivery)
    fmt = find_format(format if format is not None else path.suffix or path.name)
    with _temporary_file(project.folder) as file:
        spool = _Spool(file, codec.sample_rate_hz)
        levels = SpeakerLevels()
        phrases: list[Phrase] = []
        heard: list[list[Heard]] = []
        for number, (samples, spoken) in enumerate(make_segments(project, codec, delivery), 1):
            start = spool.num_samples
            heard.append(hear(samples, codec.sample_rate_hz, spoken))
            phrases += [replace(phrase, start=phrase.start + start, end=phrase.end + start) for phrase in spoken]
            if delivery.balance:
                levels.add(samples, codec.sample_rate_hz, spoken)
            spool.append(samples, spoken)
            if watch is not None:
                watch(number)
        spool.gains_db = _balance(project, levels, relevel=relevel) if delivery.balance else {}
        gain_db = _gain(project, spool, codec.sample_rate_hz, delivery, relevel=relevel)
        chapters = _chapters(project, spool, codec.sample_rate_hz, delivery)
        powers = []
        with AudioFileWriter(
            path,
            codec.sample_rate_hz,
            format=fmt.name,
            metadata=metadata if fmt.holds_metadata else None,
            output_rate_hz=output_rate_hz,
            chapters=chapters if fmt.muxer == "ipod" else (),
        ) as writer:
            for samples in spool:
                final = limit(samples, codec.sample_rate_hz, gain_db, delivery.true_peak_dbtp)
                powers.append(block_powers(final, codec.sample_rate_hz))
                writer.write(final)
    assert writer.result is not None
    loudness = gated_loudness(np.concatenate(powers))
    drifted = drifts([one for piece in heard for one in piece])
    strayed = strays(heard, _prompts_hz(project, codec))
    return Rendered(
        written=writer.result,
        sample_rate_hz=codec.sample_rate_hz,
        num_samples=spool.num_samples,
        starts=tuple(spool.starts),
        phrases=tuple(phrases),
        chapters=tuple(chapters),
        loudness_lufs=loudness,
        gain_db=gain_db,
        warnings=(*map(str, strayed), *_warnings(loudness, delivery, writer.result, drifted)),
        drifts=drifted,
    )


def make_segments(
    project: Project, codec: "Codec", delivery: Delivery
) -> Iterator[tuple[np.ndarray, tuple[Phrase, ...]]]:
    """The segments of all pieces in order, before gain: float32 [samples] and the phrases in each."""
    last = len(project.plan.pieces) - 1
    for piece in project.plan.pieces:
        codes, take = project.kept(piece.index)
        segment = make_segment(
            codec.decode(codes),
            codec.sample_rate_hz,
            take.phrases(piece),
            pause_s=delivery.pause_before(piece),
            pause_after_s=project.plan.pause_after_s if piece.index == last else 0.0,
            speeds=delivery.speeds_of(piece.speakers),
            turn_gap_s=delivery.turn_gap_s,
            longest_silence_s=delivery.longest_silence_s,
            seed=piece_seed(project.recipe.seed, piece.index),
        )
        yield segment.samples, segment.phrases


class _Spool:
    """Segments one after another in a file, read back one at a time, each speaker with his gain of `gains_db`."""

    def __init__(self, file: IO[bytes], sample_rate_hz: int) -> None:
        self._file = file
        self._rate = sample_rate_hz
        self._lengths: list[int] = []
        self._phrases: list[tuple[Phrase, ...]] = []
        self.gains_db: Mapping[str, float] = {}
        self.starts: list[int] = []
        self.num_samples = 0

    def append(self, samples: np.ndarray, phrases: tuple[Phrase, ...]) -> None:
        try:
            self._file.write(samples.astype(np.float32).tobytes())
            self._file.flush()
        except OSError as error:
            raise OutputUnwritable(f"cannot write beside the project: {error.strerror}; make room") from error
        self.starts.append(self.num_samples)
        self._lengths.append(len(samples))
        self._phrases.append(phrases)
        self.num_samples += len(samples)

    def __iter__(self) -> Iterator[np.ndarray]:
        self._file.seek(0)
        for length, phrases in zip(self._lengths, self._phrases, strict=True):
            samples = np.frombuffer(self._file.read(4 * length), np.float32)
            yield balanced(samples, self._rate, phrases, self.gains_db)


def _temporary_file(folder: Path) -> IO[bytes]:
    try:
        return tempfile.TemporaryFile(dir=folder)
    except OSError as error:
        raise OutputUnwritable(f"cannot write in {folder}: {error.strerror}; make it writable") from error


def _check(project: Project, codec: "Codec", delivery: Delivery) -> None:
    delivery.check_names(project.plan.speakers)
    if project.missing:
        raise NotFinished(
            f"{len(project.missing)} of {len(project.pieces)} pieces are not made yet, the first is "
            f"{project.missing[0] + 1}; resume the project first"
        )
    recipe = project.recipe
    if (codec.sample_rate_hz, codec.hop_samples) != (recipe.sample_rate_hz, recipe.hop_samples):
        raise Conflict(
            f"the project's codes are of {recipe.sample_rate_hz} Hz and {recipe.hop_samples} samples a frame, this "
            f"codec has {codec.sample_rate_hz} and {codec.hop_samples}; use the codec of {recipe.model}"
        )


def _prompts_hz(project: Project, codec: "Codec") -> dict[str, float]:
    """The pitch of each speaker's prompt by name, where it holds one speaker alone."""
    cast, frames = project.cast, round(_MEASURED_S * codec.sample_rate_hz / codec.hop_samples)
    slots = {name: slot for name, slot in (cast.casting or {}).items() if name in project.plan.speakers}
    alone = {sound.slot for sound in cast.sounds if not sound.has_both}
    codes = {slot: (cast.codes or {})[slot][:frames] for slot in set(slots.values()) & alone}
    found = {
        slot: pitch_hz(np.asarray(codec.decode(part), dtype=np.float64), codec.sample_rate_hz)
        for slot, part in codes.items()
    }
    return {name: found[slot] for name, slot in slots.items() if slot in found}


def _balance(project: Project, levels: SpeakerLevels, *, relevel: bool) -> dict[str, float]:
    """As at the first such rendering, unless measured again."""
    if relevel or not project.balance_db:
        project.balance_db = levels.gains_db()
        project.save()
    return project.balance_db


def _gain(project: Project, spool: _Spool, sample_rate_hz: int, delivery: Delivery, *, relevel: bool) -> float:
    if delivery.loudness_lufs is None:
        return 0.0
    key = f"{delivery.loudness_lufs:g} LUFS, {delivery.true_peak_dbtp:g} dBTP" + ", balanced" * delivery.balance
    if relevel or key not in project.gain_db:
        project.gain_db[key] = programme_gain_db(
            spool, sample_rate_hz, delivery.loudness_lufs, delivery.true_peak_dbtp
        )
        project.save()
    return project.gain_db[key]


def _chapters(project: Project, spool: _Spool, sample_rate_hz: int, delivery: Delivery) -> list[Chapter]:
    """From heading to heading; what stands before the first one is a chapter too."""
    if not project.headings:
        return []
    first_piece = {piece.turns[0].turn_idx: piece.index for piece in reversed(project.plan.pieces)}
    found = []
    for heading in project.headings:
        piece_idx = first_piece.get(heading.turn_idx)
        if piece_idx is not None:
            pause_s = delivery.pause_before(project.plan.pieces[piece_idx]) if piece_idx else 0.0
            found.append((spool.starts[piece_idx] / sample_rate_hz + pause_s, heading.title))
    if not found or found[0][0] > 0:
        found.insert(0, (0.0, "Beginning"))
    ends = [start for start, _ in found[1:]] + [spool.num_samples / sample_rate_hz]
    return [Chapter(title, start, end) for (start, title), end in zip(found, ends, strict=True)]


def _warnings(
    loudness: float, delivery: Delivery, written: WrittenAudio, drifted: tuple[Drift, ...]
) -> tuple[str, ...]:
    found = [f"the voice drifts: {drift}" for drift in drifted if drift.is_heard]
    target = delivery.loudness_lufs
    if target is not None and not abs(loudness - target) <= 1.0:
        found.append(f"the loudness is {loudness:.1f} LUFS and not {target:g}; measure it again to change every level")
    if written.clipped_samples:
        found.append(f"{written.clipped_samples} samples were louder than full scale and limited")
    return tuple(found)
