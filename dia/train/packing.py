"""The compact training set: all codes in one safetensors file, with the index of clips in its header."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from dia.tensorfile import open_tensors, save_tensors

FORMAT = "dia-codes-1"


@dataclass(frozen=True)
class CodeClip:
    """One utterance as codes; `offset` and `frames` count rows of the pack's code table."""

    text: str
    voice: str
    offset: int
    frames: int


@dataclass(frozen=True)
class Sentence:
    """What a dialogue is joined of: a text, its codes int16 [frames, channels], and in `places` float32 [frames] the
    byte of the text that each frame speaks."""

    text: str
    codes: np.ndarray
    places: np.ndarray


@dataclass(frozen=True)
class CodePack:
    """Clips as codes.

    `codes` int16 [all frames, channels]; `silence` int16 [n, channels], codes of digital silence, for pauses;
    `codebooks` float32 [channels, codes, dim], the codec's code vectors (a start for the model's tables);
    `codec_hash` says which codec made the codes; `places` float32 [all frames], made by `dia data align`, is the byte of
    its clip's text that each frame speaks.
    """

    frame_rate_hz: float
    clips: tuple[CodeClip, ...]
    codes: np.ndarray
    silence: np.ndarray
    codebooks: np.ndarray
    codec_hash: str
    places: np.ndarray | None = None

    @property
    def channels(self) -> int:
        return int(self.codes.shape[1])

    def clip_codes(self, clip: CodeClip) -> np.ndarray:
        """int16 [frames, channels] of one clip."""
        return self.codes[clip.offset : clip.offset + clip.frames]

    def clip_places(self, clip: CodeClip) -> np.ndarray:
        """float32 [frames]: the byte of the clip's text that each frame speaks; spread evenly if nothing was aligned."""
        if self.places is not None:
            return self.places[clip.offset : clip.offset + clip.frames]
        size = len(clip.text.encode("utf-8"))
        return ((np.arange(clip.frames) + 0.5) * (size / clip.frames)).astype(np.float32)

    def sentence(self, clip: CodeClip) -> Sentence:
        """One clip with its codes and places."""
        return Sentence(clip.text, self.clip_codes(clip), self.clip_places(clip))

    def save(self, path: Path) -> None:
        """Write the pack; an interrupted write leaves the old file."""
        header = {
            "frame_rate_hz": repr(self.frame_rate_hz),
            "codec_hash": self.codec_hash,
            "clips": json.dumps([asdict(clip) for clip in self.clips]),
        }
        tensors = {
            "codes": np.ascontiguousarray(self.codes, dtype=np.int16),
            "silence": np.ascontiguousarray(self.silence, dtype=np.int16),
            "codebooks": np.ascontiguousarray(self.codebooks, dtype=np.float16),
        }
        if self.places is not None:
            tensors["places"] = self.places.astype(np.float16)
        save_tensors(path, FORMAT, tensors, header)

    @classmethod
    def open(cls, path: Path) -> CodePack:
        """Read a pack.

        Raises:
            CheckpointNotFound: no such file. CheckpointMismatch: another kind of file.
        """
        with open_tensors(path, FORMAT, "set of codes", "dia data prepare") as (file, header):
            clips = tuple(CodeClip(**row) for row in json.loads(header["clips"]))
            return cls(
                float(header["frame_rate_hz"]),
                clips,
                file.get_tensor("codes"),
                file.get_tensor("silence"),
                file.get_tensor("codebooks").astype(np.float32),
                header["codec_hash"],
                file.get_tensor("places").astype(np.float32) if "places" in file.keys() else None,  # noqa: SIM118
            )


def pack_clips(
    clips: Sequence[tuple[str, str, np.ndarray]],
    *,
    frame_rate_hz: float,
    silence: np.ndarray,
    codebooks: np.ndarray,
    codec_hash: str,
) -> CodePack:
    """Lay (text, voice, codes [frames, channels]) behind one another."""
    index: list[CodeClip] = []
    offset = 0
    for text, voice, codes in clips:
        index.append(CodeClip(text, voice, offset, len(codes)))
        offset += len(codes)
    table = np.concatenate([codes for _, _, codes in clips]).astype(np.int16)
    # Rounded as the file will hold them: a pack just made and the same pack read again start equal models.
    rounded = codebooks.astype(np.float16).astype(np.float32)
    return CodePack(frame_rate_hz, tuple(index), table, silence.astype(np.int16), rounded, codec_hash)
