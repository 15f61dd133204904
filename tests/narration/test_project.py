"""Projects: the same bytes after any interruption, one piece again without touching others, rendered in other ways."""

import dataclasses
import json
import os
import shutil
import signal
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from dia.errors import BadCodes, BadParameter, Conflict, NotFinished, NotFound
from dia.media.loudness import integrated_loudness, true_peak
from dia.media.read import read_audio
from dia.narration.delivery import Delivery
from dia.narration.files import locked
from dia.narration.project import MANIFEST, Project
from dia.narration.render import make_segments, render
from dia.narration.run import make_pieces, open_project, redo_piece
from dia.text.wording import Wording
from tests.narration.conftest import PLAY, RATE_HZ, SMALL

if TYPE_CHECKING:
    from dia.model import Dia
    from dia.sampling import SamplingParams


@pytest.fixture(scope="session")
def template(small_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the play, every piece made in one go."""
    from dia.model import Dia

    dia = Dia.from_pretrained(small_bundle, slots=2)
    folder = tmp_path_factory.mktemp("project") / "whole"
    params = dia.defaults.updated(seed=5, max_tokens=36)
    make_pieces(open_project(folder, dia, PLAY, params=params, making=SMALL), dia)
    dia.close()
    return folder


@pytest.fixture
def made(template: Path, tmp_path: Path) -> Project:
    """A copy of it."""
    shutil.copytree(template, tmp_path / "whole")
    return Project.load(tmp_path / "whole")


def all_codes(project: Project) -> list[np.ndarray]:
    return [project.kept(index)[0] for index in range(len(project.pieces))]


def all_segments(project: Project, dia: "Dia", delivery: Delivery | None = None) -> list[np.ndarray]:
    assert dia.codec is not None
    return [samples for samples, _ in make_segments(project, dia.codec, delivery or Delivery())]


def killed_after(dia: "Dia", project: Project, pieces: int) -> None:
    """Make the project in a process of its own, and kill that with no chance to clean up once so many pieces are on
    disk."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons warn of forks beside idle threads
        worker = os.fork()
    if worker == 0:
        make_pieces(project, dia, lambda event: event.stream is not None and time.sleep(0.3))
        os._exit(0)
    give_up = time.monotonic() + 120
    while len(list(project.folder.glob("takes/*.npy"))) < pieces and time.monotonic() < give_up:
        time.sleep(0.02)
    os.kill(worker, signal.SIGKILL)
    status = os.waitpid(worker, 0)[1]
    assert os.WIFSIGNALED(status), "the worker ended before it was killed"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a process that can be killed cheaply")
def test_a_run_killed_twice_ends_with_the_bytes_of_one_that_was_not(
    small: "Dia", made: Project, params: "SamplingParams", tmp_path: Path
):
    folder = tmp_path / "killed"
    for pieces in (1, 3):
        project = open_project(folder, small, PLAY, params=params, making=SMALL, resume=True)
        killed_after(small, project, pieces)
    project = open_project(folder, small, PLAY, params=params, making=SMALL, resume=True)
    # The second kill may fall between the codes of the third piece and the manifest: it then does not count.
    assert 2 <= len(project.pieces) - len(project.missing) < len(project.pieces)
    make_pieces(project, small)
    assert all(np.array_equal(a, b) for a, b in zip(all_codes(project), all_codes(made), strict=True))
    assert project.pieces == made.pieces
    assert small.codec is not None
    for each in (project, made):
        render(each, small.codec, each.folder / "out.m4b")
    assert (project.folder / "out.m4b").read_bytes() == (made.folder / "out.m4b").read_bytes()
    assert not list(folder.rglob("*.part"))


def test_a_piece_made_again_leaves_every_other_sample(small: "Dia", made: Project):
    assert small.codec is not None
    first = render(made, small.codec, made.folder / "a.wav")
    before = read_audio(made.folder / "a.wav", sample_rate_hz=RATE_HZ)
    redo_piece(made, small, 2)
    second = render(made, small.codec, made.folder / "b.wav")
    after = read_audio(made.folder / "b.wav", sample_rate_hz=RATE_HZ)
    assert first.gain_db == second.gain_db
    assert first.starts[:3] == second.starts[:3]
    start, end = first.starts[1], first.starts[2]
    assert np.array_equal(before[:start], after[:start])
    assert np.array_equal(before[end:], after[second.starts[2] :])
    assert not np.array_equal(before[start:end], after[start : second.starts[2]])
    assert len(Project.load(made.folder).pieces[1].takes) == 2


def test_takes_that_the_run_found_bad_are_kept_beside_the_one_that_is_heard(
    small: "Dia", params: "SamplingParams", tmp_path: Path
):
    """Only the best take of a sitting was kept, so nobody could choose another by ear."""
    project = open_project(tmp_path / "p", small, PLAY, params=params, making=dataclasses.replace(SMALL, retakes=2))
    make_pieces(project, small)
    states = Project.load(project.folder).pieces
    assert max(len(state.takes) for state in states) == 3, "no take of the tiny model was bad"
    for state in states:
        problems = [stored.take.badness for stored in state.takes]
        assert state.chosen == problems.index(min(problems))
        assert len({stored.take.seed for stored in state.takes}) == len(state.takes)
        assert all((project.folder / stored.file).is_file() for stored in state.takes)
    number, state = max(enumerate(states, 1), key=lambda entry: len(entry[1].takes))
    assert project.is_as_made
    project.choose(number, 1 if state.chosen else 2)
    assert not project.is_as_made
    project.choose(number, state.chosen + 1)
    assert project.is_as_made
    redo_piece(project, small, number)
    assert not project.is_as_made
    attempts = [stored.take.attempt for stored in project.pieces[number - 1].takes]
    assert len(set(attempts)) == len(attempts)


def test_a_given_seed_repeats_a_take_and_no_seed_brings_a_new_one(small: "Dia", made: Project):
    redo_piece(made, small, 2, seed=77)
    fixed = made.kept(1)[0]
    redo_piece(made, small, 2)
    assert not np.array_equal(made.kept(1)[0], fixed)
    redo_piece(made, small, 2, seed=77)
    assert np.array_equal(made.kept(1)[0], fixed)
    assert made.kept(1)[1].seed == 77


def test_every_word_is_in_one_piece_and_every_piece_on_disk(made: Project):
    said = " ".join(piece.words for piece in made.plan.pieces).split()
    wanted = [word for line in PLAY.replace("[pause:0.5s] ", "").splitlines() for word in line.split()[1:]]
    assert said == wanted
    loaded = Project.load(made.folder)
    assert loaded.pieces == made.pieces and loaded.plan == made.plan and loaded.recipe == made.recipe
    assert {len(set(piece.speakers)) for piece in made.plan.pieces} <= {1, 2}
    assert made.plan.speakers == ("Alice", "Bob", "Carl")


def test_the_programme_has_the_loudness_that_was_asked_for(small: "Dia", made: Project):
    assert small.codec is not None
    for target in (-18.0, -23.0):
        done = render(made, small.codec, made.folder / "out.wav", Delivery(loudness_lufs=target))
        sound = read_audio(made.folder / "out.wav", sample_rate_hz=RATE_HZ)
        assert integrated_loudness(sound, RATE_HZ) == pytest.approx(target, abs=1.0)
        assert done.loudness_lufs == pytest.approx(target, abs=1.0)
        assert true_peak(sound, RATE_HZ) <= -0.5
        assert done.warnings == ()


def test_no_join_steps_further_than_the_pieces_do(small: "Dia", made: Project):
    segments = all_segments(made, small)
    steps = np.concatenate([np.abs(np.diff(samples)) for samples in segments])
    joints = [abs(float(b[0] - a[-1])) for a, b in zip(segments, segments[1:], strict=False)]
    assert max(joints) <= np.percentile(steps, 99.9)


def test_a_piece_made_again_moves_no_speaker_that_was_balanced(small: "Dia", made: Project):
    delivery = Delivery(balance=True)
    first = render(made, small.codec, made.folder / "a.wav", delivery)
    gains = dict(made.balance_db)
    assert set(gains) == {"Alice", "Bob", "Carl"} and any(gains.values())
    redo_piece(made, small, len(made.pieces))
    second = render(Project.load(made.folder), small.codec, made.folder / "b.wav", delivery)
    assert Project.load(made.folder).balance_db == gains
    a, b = (read_audio(made.folder / name, sample_rate_hz=RATE_HZ) for name in ("a.wav", "b.wav"))
    assert first.starts == second.starts and np.array_equal(a[: first.starts[-1]], b[: first.starts[-1]])
    plain = render(made, small.codec, made.folder / "c.wav", Delivery())
    assert plain.num_samples == second.num_samples
    assert not np.array_equal(read_audio(made.folder / "c.wav", sample_rate_hz=RATE_HZ), b)


def test_a_project_of_before_the_dictionary_is_read(made: Project):
    """Its manifest says `normalize` beside the other ways of making pieces."""
    path = made.folder / "manifest.json"
    value = json.loads(path.read_text())
    del value["recipe"]["making"]["wording"], value["balance_db"]
    value["recipe"]["making"]["normalize"] = False
    path.write_text(json.dumps(value))
    assert Project.load(made.folder).recipe.making.wording == Wording(normalize=False)


def test_other_speeds_loudnesses_and_formats_generate_nothing(small: "Dia", made: Project):
    codec = small.codec
    assert codec is not None
    small.close()
    plain = render(made, codec, made.folder / "a.flac")
    fast = render(made, codec, made.folder / "b.flac", Delivery(speed=2.0, speeds={"Bob": 1.0}, loudness_lufs=None))
    bob = sum(phrase.end - phrase.start for phrase in plain.phrases if phrase.speaker == "Bob")
    said = sum(phrase.end - phrase.start for phrase in plain.phrases)
    fast_said = sum(phrase.end - phrase.start for phrase in fast.phrases)
    assert fast_said == pytest.approx(bob + (said - bob) / 2, rel=0.01)
    assert fast.gain_db == 0.0
    with pytest.raises(BadParameter, match="Dora"):
        render(made, codec, made.folder / "c.flac", Delivery(speeds={"Dora": 1.5}))
    assert not (made.folder / "c.flac").exists()


def test_a_project_that_is_not_finished_is_not_rendered(small: "Dia", params: "SamplingParams", tmp_path: Path):
    project = open_project(tmp_path / "p", small, PLAY, params=params, making=SMALL)
    assert small.codec is not None
    with pytest.raises(NotFinished, match="4 of 4"):
        render(project, small.codec, tmp_path / "out.wav")
    with pytest.raises(NotFound):
        redo_piece(project, small, 2)
    with pytest.raises(NotFound, match="no piece 9"):
        redo_piece(project, small, 9)


def test_a_project_goes_on_only_with_the_same_ingredients(small: "Dia", params: "SamplingParams", tmp_path: Path):
    folder = tmp_path / "p"
    project = open_project(folder, small, PLAY, params=params, making=SMALL)
    with pytest.raises(Conflict, match="resume"):
        open_project(folder, small, PLAY, params=params, making=SMALL)
    for text, other, making, name in (
        ("Alice: Other words.", params, SMALL, "another text"),
        (PLAY, params.updated(temperature=0.5), SMALL, "temperature"),
        (PLAY, params.updated(seed=6), SMALL, "seed"),
        (PLAY, params, dataclasses.replace(SMALL, retakes=1), "making"),
    ):
        with pytest.raises(Conflict, match=name):
            open_project(folder, small, text, params=other, making=making, resume=True)
    unseeded = dataclasses.replace(params, seed=None)
    assert open_project(folder, small, PLAY, params=unseeded, making=SMALL, resume=True).recipe == project.recipe
    with locked(folder), pytest.raises(Conflict, match="another process"):
        make_pieces(project, small)


def test_a_damaged_project_says_so(small: "Dia", params: "SamplingParams", tmp_path: Path):
    project = open_project(tmp_path / "p", small, PLAY, params=params, making=SMALL)
    manifest = project.folder / MANIFEST
    good = json.loads(manifest.read_text())
    with pytest.raises(NotFound):
        Project.load(tmp_path / "nowhere")
    for bad in (b"", b"{", b"[]", b'{"version": 99}', json.dumps({**good, "pieces": []}).encode()):
        manifest.write_bytes(bad)
        with pytest.raises(Conflict):
            Project.load(project.folder)
    outside = {"status": "made", "chosen": 0, "takes": [{"file": "../secret.npy", "take": _TAKE}]}
    manifest.write_text(json.dumps({**good, "pieces": [outside, *good["pieces"][1:]]}))
    with pytest.raises(Conflict):
        Project.load(project.folder)
    inside = {**outside, "takes": [{"file": "takes/none.npy", "take": _TAKE}]}
    manifest.write_text(json.dumps({**good, "pieces": [inside, *good["pieces"][1:]]}))
    with pytest.raises(BadCodes, match=r"none\.npy"):
        Project.load(project.folder).kept(0)


_TAKE = {"seed": 1, "attempt": 0, "frames": 2, "edges": [0, 9], "problems": [], "cuts": []}
