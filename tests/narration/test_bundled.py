"""A thousand words on the bundled model: killed twice, resumed, heard by Whisper. Minutes; needs the model and evals' extras."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from dia.errors import MissingExtra
from dia.hub import BUNDLED

if TYPE_CHECKING:
    from dia.model import Dia
    from dia.narration.project import Project

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(7200),
    pytest.mark.skipif(not (BUNDLED / "config.json").is_file(), reason="the bundled model is not here"),
]

SEED = 11
QUESTIONS = (
    "Did you see the {thing} by the {place} this morning?",
    "What do you think of the {thing} that they put in the {place}?",
    "Have you ever walked from the {place} with a {thing} in your hand?",
)
ANSWERS = (
    "Yes, I did, and I was very glad to find it there.",
    "I think it is much too old, but my brother likes it very well.",
    "No, never, but I should like to try it once before the winter comes.",
)
THINGS = ("red boat", "small dog", "green door", "old clock", "paper kite", "silver spoon", "wooden chair", "blue hat")
PLACES = ("river", "station", "garden", "market", "school", "harbour", "bridge", "church", "window", "kitchen", "hill")


def dialogue() -> str:
    """About a thousand words by two speakers, no exchange like another."""
    lines = []
    for number in range(22 * 2):
        question = QUESTIONS[number % 3].format(thing=THINGS[number % 8], place=PLACES[number % 11])
        lines.append(f"[S1] {question} [S2] {ANSWERS[(number * 2) % 3]}")
    return "\n".join(lines)


WORKER = """
import sys
from pathlib import Path
from dia.model import Dia
from dia.narration.run import make_pieces, open_project
dia = Dia.from_pretrained(sys.argv[1])
text = Path(sys.argv[3]).read_text()
params = dia.defaults.updated(seed=int(sys.argv[4]))
make_pieces(open_project(Path(sys.argv[2]), dia, text, params=params, resume=True), dia)
"""


@pytest.fixture(scope="module")
def bundled() -> "Dia":
    from dia.model import Dia

    return Dia.from_pretrained(BUNDLED)


@pytest.fixture(scope="module")
def whole(bundled: "Dia", tmp_path_factory: pytest.TempPathFactory) -> "Project":
    from dia.narration.run import make_pieces, open_project

    folder = tmp_path_factory.mktemp("bundled") / "whole"
    project = open_project(folder, bundled, dialogue(), params=bundled.defaults.updated(seed=SEED))
    make_pieces(project, bundled)
    return project


def test_killed_twice_it_ends_with_the_same_bytes(bundled: "Dia", whole: "Project", tmp_path: Path):
    from dia.narration.project import Project
    from dia.narration.render import render

    script, folder = tmp_path / "script.txt", tmp_path / "killed"
    script.write_text(dialogue())
    count = len(whole.pieces)
    command = [sys.executable, "-c", WORKER, str(BUNDLED), str(folder), str(script), str(SEED)]
    for pieces in (count // 3, 2 * count // 3):
        worker = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])})
        while len(list(folder.glob("takes/*.npy"))) < pieces:
            assert worker.poll() is None, "the worker ended before it was killed"
            time.sleep(0.1)
        worker.send_signal(signal.SIGKILL)
        worker.wait()
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])})
    assert bundled.codec is not None
    files = []
    for project in (whole, Project.load(folder)):
        render(project, bundled.codec, project.folder / "out.flac")
        files.append((project.folder / "out.flac").read_bytes())
    assert files[0] == files[1]


def test_it_is_understood_keeps_its_voice_its_level_and_has_no_clicks(bundled: "Dia", whole: "Project"):
    """Against single passes: word error rate within 3 points, similarity of first and last piece within 0.05."""
    from dia.evals.hearing import load_whisper
    from dia.evals.identity import load_speaker_encoder
    from dia.media.read import read_audio, resample
    from dia.narration.delivery import Delivery
    from dia.narration.render import make_segments, render
    from dia.text.alignment import align, word_error_rate
    from dia.text.words import normalise

    try:
        whisper, encoder = load_whisper(os.cpu_count() or 1), load_speaker_encoder()
    except MissingExtra as missing:
        pytest.skip(str(missing))
    assert bundled.codec is not None
    rate = bundled.sample_rate_hz
    path = whole.folder / "heard.flac"
    rendered = render(whole, bundled.codec, path)
    sound = read_audio(path, sample_rate_hz=rate)
    pieces = [
        resample(sound[start:end], rate, 16_000)
        for start, end in zip(rendered.starts, [*rendered.starts[1:], len(sound)], strict=True)
    ]
    plans = whole.plan.pieces

    def errors(waveform: np.ndarray, words: str) -> object:
        return align(normalise(words), normalise(whisper.hear(waveform).text))

    long_rate = word_error_rate([errors(piece, plan.words) for piece, plan in zip(pieces, plans, strict=True)])  # type: ignore[misc]
    singles = []
    for number, plan in enumerate(plans):
        with bundled.stream(plan.text, params=bundled.defaults.updated(seed=1000 + number)) as stream:
            singles.append((np.concatenate(list(stream)), plan.words))
    single_rate = word_error_rate([errors(resample(made, rate, 16_000), words) for made, words in singles])  # type: ignore[misc]

    voices = [encoder.embed(piece) for piece in pieces]
    within = []
    for piece in pieces:
        half = len(piece) // 2
        within.append(float(encoder.embed(piece[:half]) @ encoder.embed(piece[half:])))
    first_last = float(voices[0] @ voices[-1])

    segments = [samples for samples, _ in make_segments(whole, bundled.codec, Delivery())]
    steps = np.concatenate([np.abs(np.diff(samples)) for samples in segments])
    joints = [abs(float(b[0] - a[-1])) for a, b in zip(segments, segments[1:], strict=False)]
    figures = {
        "pieces": len(pieces),
        "seconds": round(rendered.written.duration_s, 1),
        "word_error_rate": round(long_rate, 4),
        "word_error_rate_of_single_passes": round(single_rate, 4),
        "similarity_first_last": round(first_last, 4),
        "similarity_within_pieces": round(float(np.mean(within)), 4),
        "loudness_lufs": round(rendered.loudness_lufs, 2),
        "largest_joint": round(max(joints), 6),
        "step_percentile_99_9": round(float(np.percentile(steps, 99.9)), 6),
    }
    print(json.dumps(figures))
    assert long_rate <= single_rate + 0.03
    assert first_last >= float(np.mean(within)) - 0.05
    assert max(joints) <= np.percentile(steps, 99.9)
    assert rendered.loudness_lufs == pytest.approx(-18.0, abs=1.0)
