"""Clips at further speeds from their codes alone."""

from pathlib import Path

import numpy as np
import pytest

import dia.train.vary
from dia.codec import Codec
from dia.errors import CheckpointMismatch
from dia.hub import BUNDLED
from dia.train.encoding import code_vectors, codec_hash
from dia.train.packing import CodePack, pack_clips
from dia.train.prepare import at_speed
from dia.train.sound import is_held_out
from dia.train.vary import places_at_speed, vary

CODEC_DIR = BUNDLED / "codec"
HELD_OUT = next(text for number in range(1000) if is_held_out(text := f"sentence {number}"))


@pytest.fixture(scope="module")
def codec() -> Codec:
    return Codec.load(CODEC_DIR)


@pytest.fixture(scope="module")
def pack(codec: Codec) -> CodePack:
    rows = []
    for number, text in enumerate(("One.", HELD_OUT, "Three.")):
        times = np.arange(int(0.4 * codec.sample_rate_hz) * (number + 1)) / codec.sample_rate_hz
        rows.append((text, "calm", codec.encode(0.3 * np.sin(2 * np.pi * 150 * times).astype(np.float32))))
    return pack_clips(
        rows,
        frame_rate_hz=codec.frame_rate_hz,
        silence=np.zeros((8, codec.num_codebooks)),
        codebooks=code_vectors(CODEC_DIR),
        codec_hash=codec_hash(CODEC_DIR),
    )


def test_clips_not_held_out_are_there_at_each_speed_as_voices_of_their_own(pack: CodePack, codec: Codec) -> None:
    varied = vary(pack, CODEC_DIR, [0.8, 1.25])
    assert [(clip.text, clip.voice) for clip in varied.clips[3:]] == [
        ("One.", "calm@0.8"),
        ("One.", "calm@1.25"),
        ("Three.", "calm@0.8"),
        ("Three.", "calm@1.25"),
    ]
    for before, after in zip(pack.clips, varied.clips[:3], strict=True):
        np.testing.assert_array_equal(pack.clip_codes(before), varied.clip_codes(after))
        np.testing.assert_array_equal(pack.clip_places(before), varied.clip_places(after))
    expected = codec.encode(at_speed(codec.decode(pack.clip_codes(pack.clips[2])), 1.25))
    np.testing.assert_array_equal(varied.clip_codes(varied.clips[6]), expected)


def test_processes_make_what_one_makes(pack: CodePack, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = vary(pack, CODEC_DIR, [0.9])
    monkeypatch.setattr(dia.train.vary, "FEW_CLIPS", 0)
    together = vary(pack, CODEC_DIR, [0.9], workers=2)
    np.testing.assert_array_equal(alone.codes, together.codes)


def test_places_keep_their_share_of_the_clip() -> None:
    places = np.linspace(0, 50, 101, dtype=np.float32)
    slow, fast = places_at_speed(places, 0.5, 202), places_at_speed(places, 2.0, 50)
    assert (slow[0], slow[-1]) == (0, 50)
    np.testing.assert_allclose(slow[100:102], 25, atol=0.2)
    np.testing.assert_allclose(fast[25], 25, atol=0.5)
    np.testing.assert_array_equal(places_at_speed(places, 1.0, 101), places)


def test_codes_of_another_codec_are_refused(pack: CodePack, tmp_path: Path) -> None:
    foreign = pack_clips(
        [("One.", "calm", pack.clip_codes(pack.clips[0]))],
        frame_rate_hz=pack.frame_rate_hz,
        silence=pack.silence,
        codebooks=pack.codebooks,
        codec_hash="another",
    )
    with pytest.raises(CheckpointMismatch, match="another"):
        vary(foreign, CODEC_DIR, [0.9])
