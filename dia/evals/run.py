"""One evaluation from its plan to its report: what is spoken, what it is compared with, who judges."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dia.codec import Codec
from dia.errors import BadParameter
from dia.evals.endings import DEFAULT_PACE
from dia.evals.references import DEFAULT_PAIR, Corpus, Recordings, VoiceReference, read_corpus, read_voices
from dia.evals.report import REFERENCE_GROUPS, Report, read_scores
from dia.evals.scoring import JUDGE_RATE_HZ, Judges, TakeScore, score_take
from dia.evals.sentences import refuse_seen
from dia.evals.speakers import Baselines, baselines, centroid
from dia.evals.speaking import Line, cast, fits_two, speak
from dia.evals.takes import Take, read_folder, through_codec, write_take
from dia.model import Dia
from dia.sampling import SamplingParams

__all__ = ["Plan", "judge_folder", "judge_model"]

Say = Callable[[str], None]
"""Takes a line about progress."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure.

    Attributes:
        sentences: spoken by the voices in turn, or each by every voice.
        dialogues: spoken by the model's default voice; a model without one gets the default pair's prompts if they fit.
        recordings: the training corpus: references, ceilings, and the check that no text was trained on.
        speakers: {voice: speaker in the corpus}; empty: no voice is asked for.
        voices: folder of prompts, in place of the corpus's.
        pair: {voice: speaker} of S1 and S2 in the dialogues.
        teacher_takes: recordings judged as a ceiling, and once more through the codec.
        earlier: a report whose ceilings are taken over instead of being measured again.
        keep: folder that gets every take of the model.
    """

    sentences: tuple[str, ...]
    dialogues: tuple[str, ...] = ()
    recordings: Recordings | None = None
    speakers: Mapping[str, str] = field(default_factory=dict)
    voices: Path | None = None
    pair: Mapping[str, str] = field(default_factory=lambda: dict(DEFAULT_PAIR))
    every_voice: bool = False
    teacher_takes: int = 24
    earlier: Path | None = None
    keep: Path | None = None
    seed: int = 0


def judge_model(
    dia: Dia, plan: Plan, params: SamplingParams, judges: Judges, setup: Mapping[str, Any], say: Say
) -> Report:
    """Speak the plan's script and judge it beside its ceilings.

    Raises:
        BadParameter: a text was trained on, or a voice is not in the manifest. BadInput: unreadable files. As `Dia.stream`.
    """
    if plan.recordings is not None:
        refuse_seen([*plan.sentences, *plan.dialogues], (row.text for row in plan.recordings.rows))
    corpus, prompts = _references(plan)
    known, centroids = _identities({**prompts, **corpus.voices}, judges)
    asked = [name for name in (prompts or corpus.voices) if name not in plan.pair]
    lines = cast(plan.sentences, asked, every_voice=plan.every_voice)
    voices = {**corpus.voices, **prompts}
    talks, pair = _talks(dia, plan, voices, centroids)
    scores = _ceilings(plan, corpus, dia.codec, judges, centroids, say)
    paces = {name: voice.pace for name, voice in {**prompts, **corpus.voices}.items()}
    judge = _Judge(judges, _only(centroids, asked) or centroids, paces, say, plan.keep)
    scores["sentences"] = judge.all("sentences", speak(dia, lines, voices, params, plan.seed), len(lines))
    judge = _Judge(judges, centroids, paces, say, plan.keep)
    spoken = (_expecting(take, *pair) for take in speak(dia, talks, voices, params, plan.seed + len(lines)))
    scores["dialogues"] = judge.all("dialogues", spoken, len(talks))
    return Report(setup, scores, known, notes=_notes(plan))


def _talks(
    dia: Dia, plan: Plan, voices: Mapping[str, VoiceReference], centroids: Mapping[str, np.ndarray]
) -> tuple[list[Line], tuple[str | None, str | None]]:
    """The dialogues as lines, and who should be heard in them, where that is known."""
    first, second = plan.pair
    known = first in centroids and second in centroids
    prompted = known and dia.default_voice is None and fits_two(dia, voices[first], voices[second])
    speakers = (first, second) if prompted else (None, None)
    lines = [Line(f"d{number:02}", text, *speakers) for number, text in enumerate(plan.dialogues, 1)]
    return lines, (first, second) if known else (None, None)


def judge_folder(folder: Path, plan: Plan, judges: Judges, codec: Codec | None, say: Say, limit: int | None) -> Report:
    """Judge sound files with transcripts, whoever made them; with a codec also what it makes of them.

    Raises:
        BadInput: no such folder or no transcripts. BadPrompt: unreadable sound. BadParameter: as in `judge_model`.
    """
    corpus, prompts = _references(plan)
    voices = {**prompts, **corpus.voices}
    known, centroids = _identities(voices, judges)
    rate_hz = JUDGE_RATE_HZ if codec is None else codec.sample_rate_hz
    takes = list(read_folder(folder, rate_hz, limit))
    if not takes:
        raise BadParameter(f"{folder.name} holds no take; give a folder of sound files with .txt beside them")
    scores = _ceilings(plan, corpus, codec, judges, centroids, say)
    judge = _Judge(judges, centroids, {name: voice.pace for name, voice in voices.items()}, say, None)
    scores["sentences"] = judge.all("waveforms", takes, len(takes))
    if codec is not None:
        scores["through codec"] = judge.all("through codec", through_codec(takes, codec), len(takes))
    return Report({"waveforms": folder.name}, scores, known, notes=_notes(plan))


def _references(plan: Plan) -> tuple[Corpus, dict[str, VoiceReference]]:
    """The corpus's voices, those of the default pair included, and the folder's prompts, where they are given."""
    prompts = {} if plan.voices is None else read_voices(plan.voices, JUDGE_RATE_HZ)
    if plan.recordings is None:
        return Corpus({}, ()), prompts
    present = {row.speaker for row in plan.recordings.rows}
    pair = {name: speaker for name, speaker in plan.pair.items() if speaker in present and plan.dialogues}
    return read_corpus(plan.recordings, {**plan.speakers, **pair}, plan.teacher_takes), prompts


def _identities(
    voices: Mapping[str, VoiceReference], judges: Judges
) -> tuple[Baselines | None, dict[str, np.ndarray]]:
    if not voices:
        return None, {}
    by_voice = {
        name: np.stack([judges.embed(take.at(JUDGE_RATE_HZ)) for take in voice.recordings])
        for name, voice in voices.items()
    }
    return baselines(by_voice), {name: centroid(rows) for name, rows in by_voice.items()}


def _ceilings(
    plan: Plan,
    corpus: Corpus,
    codec: Codec | None,
    judges: Judges,
    centroids: Mapping[str, np.ndarray],
    say: Say,
) -> dict[str, Sequence[TakeScore]]:
    if plan.earlier is not None:
        earlier, _ = read_scores(plan.earlier)
        return {name: earlier[name] for name in REFERENCE_GROUPS if name in earlier}
    if not corpus.teacher:
        return {}
    judge = _Judge(judges, centroids, {name: voice.pace for name, voice in corpus.voices.items()}, say, None)
    scores: dict[str, Sequence[TakeScore]] = {"teacher": judge.all("teacher", corpus.teacher, len(corpus.teacher))}
    if codec is not None:
        scores["codec"] = judge.all("codec", through_codec(corpus.teacher, codec), len(corpus.teacher))
    return scores


def _only(centroids: Mapping[str, np.ndarray], names: Sequence[str]) -> dict[str, np.ndarray]:
    return {name: centroids[name] for name in names if name in centroids}


def _expecting(take: Take, first: str | None, second: str | None) -> Take:
    """The take with who should be heard in it."""
    return Take(take.name, take.text, take.waveform, take.sample_rate_hz, first, second, take.generation)


@dataclass(frozen=True, slots=True)
class _Judge:
    """Judges with what they compare with."""

    judges: Judges
    centroids: Mapping[str, np.ndarray]
    paces: Mapping[str, float]
    say: Say
    keep: Path | None

    def all(self, group: str, takes: Iterable[Take], count: int) -> list[TakeScore]:
        """Scores of takes as they come, a line about each."""
        scores: list[TakeScore] = []
        for number, take in enumerate(takes, 1):
            if self.keep is not None:
                write_take(take, self.keep)
            began = time.monotonic()
            score = score_take(take, self.judges, self.centroids, self.paces.get(take.voice or "", DEFAULT_PACE))
            scores.append(score)
            self.say(
                f"{group} {number}/{count} {score.errors}/{score.words} wrong, MOS {score.mos:.2f}, "
                f"judged in {time.monotonic() - began:.1f} s: {score.heard}"
            )
        return scores


def _notes(plan: Plan) -> tuple[str, ...]:
    notes = []
    if plan.recordings is None:
        notes.append("no --corpus: no ceilings, and whether the texts were trained on is not known")
    if plan.earlier is not None:
        notes.append(f"ceilings taken over from {plan.earlier.name}")
    return tuple(notes)


def describe(dia: Dia, params: SamplingParams, threads: int, seed: int) -> dict[str, Any]:
    """What a report tells about the model."""
    return {
        "model": Path(dia.name).name,
        "model_hash": dia.model_hash,
        "parameters": dia.num_parameters,
        "device": str(dia.placement.device),
        "threads": threads,
        "sampling": {name: value for name, value in asdict(params).items() if name != "seed"},
        "seed": seed,
    }
