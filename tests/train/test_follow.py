"""A model follows recordings by its own pointer."""

from dataclasses import replace

import numpy as np
import pytest

from dia.config import PointerConfig
from dia.engine import Engine, Request
from dia.engine.runner import Runner
from dia.sampling import SamplingParams
from dia.text.tokens import encode_text
from dia.train.follow import follow
from dia.train.packing import CodePack, pack_clips
from tests.tiny import tiny_config, tiny_model

TEXTS = ("Hello there, you.", "One more.", "And a third one that is longer.")


@pytest.fixture(scope="module")
def model():
    return tiny_model(tiny_config(audio_length=128, layers=(1, 3), pointer=PointerConfig(layer=0, heads=1)))


def pack_of(codes: list[np.ndarray]) -> CodePack:
    rows = [(text, "voice", clip) for text, clip in zip(TEXTS, codes, strict=True)]
    silence, books = np.zeros((4, 9), np.int16), np.zeros((9, 1024, 4), np.float32)
    return pack_clips(rows, frame_rate_hz=80.0, silence=silence, codebooks=books, codec_hash="abc")


def spoken_by_the_engine(model, text: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Codes of a text, and the byte at which the pointer stood in each frame."""
    ids = encode_text(f"[S1] {text} [S1]")
    engine = Engine(Runner(model, 1))
    ticket = engine.submit(Request(ids, SamplingParams(temperature=1.0, seed=seed), rows=60))
    places = []
    while engine.num_running or engine.num_waiting:
        engine.step()
        places.append(engine._runner.state.pointer[0].item() - 2)
    codes = np.concatenate(list(ticket.frames(engine.step)))
    return codes, np.array(places[: len(codes)]).clip(0)


def test_following_codes_gives_the_places_of_whoever_wrote_them(model, monkeypatch):
    monkeypatch.setattr("dia.train.follow.LOST_IDS", 1000)
    spoken = [spoken_by_the_engine(model, text, seed) for seed, text in enumerate(TEXTS)]
    followed = follow(model, pack_of([codes for codes, _ in spoken]))
    for clip, (_, places) in zip(followed.clips, spoken, strict=True):
        np.testing.assert_allclose(followed.clip_places(clip), places, atol=1e-3)


def test_clips_that_are_lost_stay_spread_evenly_and_are_counted(model, monkeypatch, capsys):
    monkeypatch.setattr("dia.train.follow.LOST_IDS", -1000)
    pack = pack_of([np.zeros((count, 9), np.int16) for count in (20, 10, 30)])
    followed = follow(model, pack)
    assert "3 of 3 clips could not be followed" in capsys.readouterr().err
    for clip in pack.clips:
        np.testing.assert_allclose(followed.clip_places(clip), replace(pack, places=None).clip_places(clip))


def test_a_model_without_a_pointer_cannot_follow():
    with pytest.raises(ValueError, match="pointer"):
        follow(tiny_model(), pack_of([np.zeros((5, 9), np.int16)] * 3))
