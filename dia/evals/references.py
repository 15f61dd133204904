"""The voices that takes are compared with: prompts, recordings of each, usual pace; from a corpus or a folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from dia.errors import BadInput, BadParameter
from dia.evals.endings import DEFAULT_PACE
from dia.evals.takes import Take, read_folder, read_rows
from dia.train.manifest import ManifestRow, read_manifest
from dia.train.sound import INDEX_FILE, SoundCorpus, is_held_out

__all__ = [
    "BUILTIN_SPEAKERS",
    "DEFAULT_PAIR",
    "Corpus",
    "Recordings",
    "VoiceReference",
    "open_recordings",
    "parse_voices",
    "read_corpus",
    "read_voices",
]

BUILTIN_SPEAKERS: Mapping[str, str] = {
    "alloy": "af_alloy",
    "echo": "am_liam",
    "fable": "bm_daniel",
    "nova": "af_nova",
    "onyx": "am_onyx",
    "shimmer": "af_aoede",
}
"""Built-in voice and the corpus speaker behind it."""

DEFAULT_PAIR: Mapping[str, str] = {"default_s1": "af_heart", "default_s2": "am_michael"}
"""Voices of S1 and S2 where none is named, and the corpus speakers behind them."""

RECORDINGS = 6
"""Of each voice, for its centroid and the baselines."""

_PROMPT_S = (3.2, 5.5)
_RECORDING_S = (2.0, 8.0)
_LEAST_WORDS = 4
_PROMPT_ENDINGS = (".opus", ".flac", ".wav", ".ogg", ".mp3", ".m4a")


@dataclass(frozen=True, slots=True, eq=False)
class VoiceReference:
    """A voice as it should sound.

    Attributes:
        prompt: a recording with its transcript, to speak with.
        codes: int16 [frames, channels] of the prompt for the model of that hash, where they lie beside the recording.
        recordings: others of the same voice.
        pace: characters a second.
    """

    name: str
    prompt: Take
    recordings: tuple[Take, ...]
    pace: float
    codes: tuple[str, np.ndarray] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Corpus:
    """What judging takes from a corpus: voices by name, and held-out recordings of them as the ceiling."""

    voices: Mapping[str, VoiceReference]
    teacher: tuple[Take, ...]


def parse_voices(pairs: Iterable[str]) -> dict[str, str]:
    """{"nova": "af_nova"} from ["nova=af_nova"].

    Raises:
        BadParameter: not NAME=SPEAKER.
    """
    voices = {}
    for pair in pairs:
        name, equals, speaker = pair.partition("=")
        if not (name and equals and speaker):
            raise BadParameter(f"voice {pair!r} is not NAME=SPEAKER; write for example nova=af_nova")
        voices[name] = speaker
    return voices


@dataclass(frozen=True, slots=True, eq=False)
class Recordings:
    """A training corpus, whichever way it is stored: what is in it, and how some of it is read.

    `read` gives takes in the order of the rows it gets, which must be grouped by file.
    """

    rows: tuple[ManifestRow, ...]
    read: Callable[[Sequence[ManifestRow]], Iterable[Take]]


def open_recordings(path: Path, sample_rate_hz: int) -> Recordings:
    """A manifest (sound files relative to it, decoded whole), or a folder of `dia data prepare` (read in an instant).

    Args:
        sample_rate_hz: of takes from a manifest; a prepared folder has its own.

    Raises:
        BadInput: neither, or unreadable.
    """
    if path.is_dir() and (path / INDEX_FILE).is_file():
        return _prepared(SoundCorpus.open(path))
    manifest = path / "manifest.jsonl" if path.is_dir() else path
    rows = tuple(read_manifest(manifest))
    return Recordings(rows, lambda wanted: read_rows(wanted, manifest.parent, sample_rate_hz))


def _prepared(corpus: SoundCorpus) -> Recordings:
    """Rows whose `start` is the place in the one sound file."""
    rate_hz = corpus.sample_rate_hz
    rows = [
        ManifestRow(
            audio=clip.voice,
            text=clip.text,
            speaker=clip.voice,
            start=clip.offset / rate_hz,
            duration=max(clip.samples, 1) / rate_hz,
        )
        for clip in corpus.clips
    ]
    clips = {(row.audio, row.start): clip for row, clip in zip(rows, corpus.clips, strict=True)}

    def read(wanted: Sequence[ManifestRow]) -> Iterable[Take]:
        for row in wanted:
            clip = clips[_key(row)]
            yield Take(f"{clip.voice}-{row.start:.2f}", clip.text, corpus.waveform(clip), rate_hz, clip.voice)

    return Recordings(tuple(rows), read)


def read_corpus(recordings: Recordings, speakers: Mapping[str, str], teacher_takes: int) -> Corpus:
    """Prompts, references and held-out takes of the named speakers.

    Args:
        speakers: {name of a voice: speaker in the recordings}.
        teacher_takes: how many held-out recordings, over all voices in turn.

    Raises:
        BadParameter: a speaker is not among the recordings, or has too little speech. BadPrompt: unreadable sound.
    """
    rows = recordings.rows
    # Two voices may have one speaker behind them: recordings of it are then called by the first.
    names = {speaker: name for name, speaker in reversed(list(speakers.items()))}
    by_speaker = {speaker: [row for row in rows if row.speaker == speaker] for speaker in speakers.values()}
    prompts = {speaker: _prompt_row(speaker, group) for speaker, group in by_speaker.items()}
    others = {speaker: _reference_rows(group, prompts[speaker]) for speaker, group in by_speaker.items()}
    teacher = _held_out(by_speaker, teacher_takes)
    wanted = [*prompts.values(), *(row for group in others.values() for row in group), *teacher]
    sounds = _read_once(wanted, recordings, names)
    voices = {
        name: VoiceReference(
            name,
            replace(sounds[_key(prompts[speaker])], voice=name),
            tuple(replace(sounds[_key(row)], voice=name) for row in others[speaker]),
            _pace(by_speaker[speaker]),
        )
        for name, speaker in speakers.items()
    }
    return Corpus(voices, tuple(sounds[_key(row)] for row in teacher))


def read_voices(folder: Path, sample_rate_hz: int) -> dict[str, VoiceReference]:
    """Voices from a folder of prompts: NAME.wav (or another format) beside NAME.txt, or NAME.json with its `transcript`.

    Raises: as `read_folder`.
    """
    facts = sorted(folder.glob("*.json"))
    takes = list(
        read_rows([_prompt_of(path) for path in facts], folder, sample_rate_hz)
        if facts
        else read_folder(folder, sample_rate_hz)
    )
    takes = [replace(take, voice=take.name) for take in takes]
    return {
        take.name: VoiceReference(take.name, take, (take,), DEFAULT_PACE, _codes_beside(folder / f"{take.name}.json"))
        for take in takes
    }


def _codes_beside(facts: Path) -> tuple[str, np.ndarray] | None:
    codes = facts.with_suffix(".safetensors")
    if not (facts.is_file() and codes.is_file()):
        return None
    model_hash = json.loads(facts.read_text(encoding="utf-8")).get("model_hash")
    return None if model_hash is None else (str(model_hash), load_file(codes)["codes"])


def _prompt_of(facts: Path) -> ManifestRow:
    """The recording beside a JSON file, with the transcript in it."""
    found = [path for ending in _PROMPT_ENDINGS if (path := facts.with_suffix(ending)).is_file()]
    try:
        transcript = str(json.loads(facts.read_text(encoding="utf-8"))["transcript"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(
            f'{facts.name} holds no transcript ({type(error).__name__}); write {{"transcript": …}}'
        ) from error
    if not found:
        raise BadInput(f"{facts.name} has no recording beside it; put {facts.stem}.opus, .flac or .wav there")
    return ManifestRow(audio=found[0].name, text=transcript)


def _key(row: ManifestRow) -> tuple[str, float]:
    return row.audio, row.start


def _read_once(
    rows: Sequence[ManifestRow], recordings: Recordings, names: Mapping[str, str]
) -> dict[tuple[str, float], Take]:
    """Every row once, grouped by file, with the voice named our way."""
    unique = list({_key(row): row for row in rows}.values())
    unique.sort(key=lambda row: row.audio)
    takes = recordings.read(unique)
    return {_key(row): replace(take, voice=names[row.speaker]) for row, take in zip(unique, takes, strict=True)}


def _seconds(row: ManifestRow) -> float:
    return row.duration or 0.0


def _prompt_row(speaker: str, rows: Sequence[ManifestRow]) -> ManifestRow:
    """The first recording of a length that makes a good prompt, seen in training or not."""
    fitting = [row for row in rows if _PROMPT_S[0] <= _seconds(row) <= _PROMPT_S[1]]
    if not fitting:
        raise BadParameter(
            f"the manifest has no recording of {speaker!r} of {_PROMPT_S[0]} to {_PROMPT_S[1]} s with its duration; name "
            "other speakers with --voice NAME=SPEAKER"
        )
    return fitting[0]


def _reference_rows(rows: Sequence[ManifestRow], prompt: ManifestRow) -> list[ManifestRow]:
    """Recordings spread over the corpus; the prompt and the held-out ones, which are compared with them, left out."""
    fitting = [
        row
        for row in rows
        if _RECORDING_S[0] <= _seconds(row) <= _RECORDING_S[1] and row != prompt and not is_held_out(row.text.strip())
    ]
    stride = max(1, len(fitting) // RECORDINGS)
    return fitting[::stride][:RECORDINGS] or [prompt]


def _held_out(by_speaker: Mapping[str, Sequence[ManifestRow]], count: int) -> list[ManifestRow]:
    """Recordings that training never saw, of four words at least, the voices in turn."""
    queues = [
        [row for row in rows if is_held_out(row.text.strip()) and len(row.text.split()) >= _LEAST_WORDS]
        for rows in by_speaker.values()
    ]
    in_turn = [
        queue[turn] for turn in range(max(map(len, queues), default=0)) for queue in queues if turn < len(queue)
    ]
    return in_turn[:count]


def _pace(rows: Sequence[ManifestRow]) -> float:
    paces = [len(row.text) / _seconds(row) for row in rows if _seconds(row) > 1.0]
    return float(np.median(paces)) if paces else DEFAULT_PACE
