"""Which letter a frame speaks: the best path against all paths, and places found in a set whose places are known."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from dia.train.align import BLANK, LETTERS, SPACE, AlignConfig, align, best_path, spelled
from dia.train.commands import app
from dia.train.packing import CodePack, pack_clips
from tests.train.small import WORDS


def test_texts_are_spelled_without_case_and_signs_but_with_their_bytes():
    symbols, places = spelled("  Äh, it's  A!")
    assert "".join(LETTERS[symbol - 1] for symbol in symbols) == "h it's a "
    assert bytes("  Äh, it's  A!", "utf-8")[places[0] : places[0] + 1] == b"h"
    assert places.tolist() == [4, 5, 7, 8, 9, 10, 11, 13, 14]
    assert spelled("42")[0].tolist() == [SPACE]


def slow_middles(scores: np.ndarray, symbols: list[int]) -> np.ndarray:
    best, found = -np.inf, None
    for path in itertools.product([BLANK, *sorted(set(symbols))], repeat=len(scores)):
        runs = [(key, len(list(group))) for key, group in itertools.groupby(path)]
        if [key for key, _ in runs if key != BLANK] != symbols:
            continue
        score = sum(scores[frame, symbol] for frame, symbol in enumerate(path))
        if score > best:
            starts = np.cumsum([0, *(length for _, length in runs)])
            best = score
            found = [start + length / 2 for start, (key, length) in zip(starts, runs, strict=False) if key != BLANK]
    return np.array(found)


@pytest.mark.parametrize("symbols", [[1], [1, 2], [2, 2], [1, 2, 1], [3, 1, 1]])
def test_the_best_path_is_the_best_of_all(symbols):
    rng = np.random.default_rng(len(symbols) + symbols[0])
    scores = np.log(rng.dirichlet(np.ones(4), size=6))
    assert best_path(scores, np.array(symbols)).tolist() == slow_middles(scores, symbols).tolist()


def test_a_text_longer_than_its_sound_has_no_path():
    scores = np.log(np.full((3, 5), 0.2))
    assert np.isnan(best_path(scores, np.array([1, 1, 2]))).all()
    assert not np.isnan(best_path(scores, np.array([1, 2, 3]))).any()


def spoken_pack(clips: int = 160) -> tuple[CodePack, list[np.ndarray]]:
    """Letters of unequal length: a vowel and a space last four frames, others two; codes name their letter."""
    rng = np.random.default_rng(3)
    rows, truth = [], []
    for _ in range(clips):
        text = " ".join(WORDS[int(place)] for place in rng.integers(0, 10, 3))
        lengths = [4 if letter in "aeiou " else 2 for letter in text]
        places = np.repeat(np.arange(len(text)), lengths)
        first = np.array([LETTERS.index(text[place]) for place in places])
        rows.append((text, "voice", np.stack([first, rng.integers(0, 32, len(first))], 1)))
        truth.append(places + 0.5)
    pack = pack_clips(
        rows,
        frame_rate_hz=40.0,
        silence=np.zeros((8, 2)),
        codebooks=rng.normal(size=(2, 32, 4)).astype(np.float32),
        codec_hash="abc",
    )
    return pack, truth


CONFIG = AlignConfig(width=32, layers=1, kernel=3, passes=25, batch_frames=600, peak_rate=1e-2, threads=1)


def test_letters_are_found_where_they_are_spoken():
    pack, truth = spoken_pack()
    aligned = align(pack, CONFIG)

    def error(one: CodePack) -> float:
        return float(
            np.mean([np.abs(one.clip_places(clip) - true).mean() for clip, true in zip(one.clips, truth, strict=True)])
        )

    assert error(aligned) < 0.5
    assert error(aligned) < error(pack)
    for clip in aligned.clips:
        places = aligned.clip_places(clip)
        assert (np.diff(places) >= 0).all()
        assert 0 <= places[0]
        assert places[-1] <= len(clip.text)


def test_a_clip_with_more_letters_than_frames_is_counted_and_spread_evenly(capsys):
    pack, _ = spoken_pack(12)
    clips = (replace(pack.clips[0], text="a" * 300), *pack.clips[1:])
    aligned = align(replace(pack, clips=clips), replace(CONFIG, passes=1))
    assert "1 of 12 clips" in capsys.readouterr().err
    assert np.diff(aligned.clip_places(clips[0])).std() < 1e-3


def test_the_command_adds_places_to_the_file(tmp_path):
    pack, _ = spoken_pack(12)
    path = tmp_path / "codes.safetensors"
    pack.save(path)
    small = [f"--set={name}" for name in ("width=8", "layers=1", "passes=1", "threads=1")]
    assert CliRunner().invoke(app, ["data", "align", str(path), *small]).exit_code == 0
    assert CodePack.open(path).places.shape == (len(pack.codes),)
    assert CliRunner().invoke(app, ["data", "align", str(path), "--set", "nothing=1"]).exit_code != 0
