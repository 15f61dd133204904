"""Takes that somebody hears: those with other words than their text are made again, and the least wrong is kept."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from dia.errors import BadParameter, Conflict
from dia.narration.judge import badness, count_wrong_words
from dia.narration.passes import Making
from dia.narration.project import Project
from dia.narration.run import make_pieces, open_project, redo_piece
from tests.narration.conftest import RATE_HZ, SMALL

if TYPE_CHECKING:
    from dia.model import Dia
    from dia.sampling import SamplingParams

TEXT = "[S1] Good morning to you."
PROOFREAD = replace(SMALL, retakes=3, proofread="base")


class Ear:
    """Understands one answer after the other, whatever it hears, and remembers how long that was in seconds."""

    def __init__(self, *answers: str) -> None:
        self.answers, self.heard_s = list(answers), []

    def __call__(self, waveform: np.ndarray, rate_hz: int) -> str:
        assert waveform.dtype == np.float32 and rate_hz == RATE_HZ
        self.heard_s.append(len(waveform) / rate_hz)
        return self.answers[len(self.heard_s) - 1]


def made(
    folder: Path, dia: "Dia", params: "SamplingParams", ear: Ear | None, making: Making = PROOFREAD
) -> tuple[Project, Sequence[str]]:
    project = open_project(folder, dia, TEXT, params=params, making=making)
    return project, make_pieces(project, dia, hear=ear)


@pytest.mark.parametrize(
    ("heard", "wrong"),
    [
        ("Good morning, to you!", 0),
        ("good mourning to you", 1),
        ("to you", 2),
        ("", 4),
        ("a b c d e f g h i", 4),
    ],
)
def test_words_are_counted_however_they_are_written(heard: str, wrong: int):
    assert count_wrong_words(TEXT, heard) == wrong


def test_each_wrong_word_makes_a_take_worse_and_none_makes_it_useless():
    assert badness(("misread",), 1) < badness(("misread",), 2) < badness(("clipped",), 2)
    assert badness(("misread",), 10_000) < badness(("empty",))


def test_the_take_with_the_fewest_wrong_words_is_kept(small: "Dia", params: "SamplingParams", tmp_path: Path):
    ear = Ear("Good evening.", "Good morning to whom?", "Nothing at all here.", "Good evening to you two.")
    project, notes = made(tmp_path / "p", small, params, ear)
    _, take = project.kept(0)
    assert (take.attempt, take.wrong_words) == (1, 1)
    assert "misread" in take.problems
    assert len(ear.heard_s) == 4
    assert min(ear.heard_s) > 0.1
    assert any("words heard as others: 1" in note for note in notes)
    loaded = Project.load(tmp_path / "p")
    assert loaded.kept(0)[1] == take


def test_a_take_that_is_heard_right_has_the_codes_that_it_has_unheard(
    small: "Dia", params: "SamplingParams", tmp_path: Path
):
    heard, _ = made(tmp_path / "heard", small, params, Ear(*["Good morning to you."] * 4))
    unheard, _ = made(tmp_path / "unheard", small, params, None, replace(PROOFREAD, proofread=None))
    assert np.array_equal(heard.kept(0)[0], unheard.kept(0)[0])
    assert heard.kept(0)[1] == unheard.kept(0)[1]


def test_nobody_hears_a_project_that_is_not_to_be_proofread(small: "Dia", params: "SamplingParams", tmp_path: Path):
    ear = Ear()
    made(tmp_path / "p", small, params, ear, SMALL)
    assert not ear.heard_s


def test_a_project_is_proofread_by_one_recogniser_from_its_begin_to_its_end(
    small: "Dia", params: "SamplingParams", tmp_path: Path
):
    project = open_project(tmp_path / "p", small, TEXT, params=params, making=PROOFREAD)
    with pytest.raises(BadParameter, match="heard by base"):
        make_pieces(project, small)
    with pytest.raises(Conflict, match="way of making pieces"):
        open_project(
            tmp_path / "p", small, TEXT, params=params, making=replace(PROOFREAD, proofread="tiny"), resume=True
        )
    make_pieces(project, small, hear=Ear(*["Good morning to you."] * 4))
    with pytest.raises(BadParameter, match="heard by base"):
        redo_piece(project, small, 1)
    before = len(project.pieces[0].takes)
    redo_piece(project, small, 1, hear=Ear(*["Good morning to you."] * 4))
    assert len(project.pieces[0].takes) > before
