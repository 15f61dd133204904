"""DAC behind one class: waveform to codes, codes to waveform, whole or as a stream. The sole user of the codec library.

Any `transformers.DacConfig` works; sample rate, hop, codebooks and the decoder's reach are read from it. A codec whose
folder holds measured codebooks (`books.safetensors`, `dia.measured`) encodes by them, any other by its network.

Legend: `T` frames, `C` codebooks (channels).
"""

import json
import math
import os
import shutil
import threading
from collections.abc import Hashable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from dia.dac import DacStream, Past
from dia.device import Placement
from dia.errors import BadCodes, BadPrompt, CheckpointMismatch, CheckpointNotFound
from dia.measured.books import BOOKS_FILE, Books, code_tables
from dia.tensorfile import fold_names, load_pickle
from dia.windows import WindowBatcher

if TYPE_CHECKING:
    from transformers import DacConfig, DacModel

Array = np.ndarray[Any, Any]

FIRST_WINDOW_FRAMES = 8
LARGEST_WINDOW_FRAMES = 64
"""Codes are decoded in windows that double from the first size (sound soon) to the largest (weights read seldom). Where
a window lies depends on nothing but the number of frames before it, so a passage has the same samples whole, streamed,
alone and among others. Two cores of a Sapphire Rapids with other work beside took 1.08 s per second of sound in windows
of 8 frames, 0.72 at 32, 0.64 at 64 and 0.67 at 86; the last two cannot be told apart there, and 64 take less memory."""


def decoder_context_frames(upsampling_ratios: Sequence[int]) -> int:
    """How many frames on each side can influence one frame of sound: the reach of DAC's decoder.

    First convolution 3 frames; each block one input step for its transposed convolution (kernel 2 s, stride s) and
    3 + 9 + 27 output steps for its three dilated residual units; last convolution 3 samples. 10 for the 44.1 kHz model.
    """
    reach, rate = 3.0, 1
    for ratio in upsampling_ratios:
        reach += 1 / rate
        rate *= ratio
        reach += 39 / rate
    return math.ceil(reach + 3 / rate)


class Codec:
    """A neural audio codec with fixed frames: `hop_samples` samples of mono sound are `num_codebooks` codes.

    Attributes:
        sample_rate_hz: of every waveform that goes in or comes out.
        hop_samples: samples per frame.
        num_codebooks: C.
        codebook_size: codes run from 0 to this, exclusive.
        context_frames: frames on each side that a decoded frame depends on.
    """

    def __init__(
        self, model: "DacModel", device: torch.device, books: Books | None = None, *, batches: bool | None = None
    ) -> None:
        """
        Args:
            books: the measured codebooks that the model's quantiser holds, if it is of that kind.
            batches: decode windows of several streams at once (`dia.windows`); None: on CUDA. A sample may then differ in
                its last bits from the one that is decoded alone.
        """
        config = model.config
        self._books = books
        self._model = model.eval().requires_grad_(False).to(device)
        self.device = device
        self.sample_rate_hz = int(config.sampling_rate)
        self.hop_samples = math.prod(config.upsampling_ratios)
        self.num_codebooks = int(config.n_codebooks)
        self.codebook_size = int(config.codebook_size)
        self.context_frames = decoder_context_frames(config.upsampling_ratios)
        batched = device.type == "cuda" if batches is None else batches
        self._batcher = WindowBatcher(self._decode) if batched else None
        self._stream: DacStream | None = None
        self._lock = threading.Lock()

    @property
    def frame_rate_hz(self) -> float:
        """Frames per second of sound."""
        return self.sample_rate_hz / self.hop_samples

    @property
    def weight_bytes(self) -> int:
        """Memory that the weights take."""
        return sum(tensor.nbytes for tensor in self._model.state_dict().values())

    @classmethod
    def load(cls, source: str | os.PathLike[str], placement: Placement | None = None) -> "Codec":
        """A codec from a folder (config.json and weights) or from the original DAC release's single `.pth` file.

        Weights are held in float32 whatever the file's type: the decoder's periodic activations lose audible
        precision in 16 bits.

        Raises:
            CheckpointNotFound: no such folder or file.
            CheckpointMismatch: not a DAC, damaged, tensors missing or unknown, or measured codebooks of another codec.
        """
        device = placement.device if placement else torch.device("cpu")
        path = Path(source)
        if path.is_file():
            return cls(_from_original_file(path), device)
        if not (path / "config.json").is_file():
            raise CheckpointNotFound(f"{path} holds no codec (config.json and model.safetensors of a DacModel)")
        model = _from_folder(path)
        books = Books.open(path / BOOKS_FILE) if (path / BOOKS_FILE).is_file() else None
        if books is not None:
            _require_same_codes(model, books, path.name)
        return cls(model, device, books)

    def encode(self, waveform: Array) -> Array:
        """Codes of a waveform.

        Args:
            waveform: float32 [samples] at `sample_rate_hz`; padded with zeros to whole frames.

        Returns:
            int16 [T, C].

        Raises:
            BadPrompt: not one-dimensional, empty, or with values that are not finite.
        """
        sound = np.asarray(waveform, dtype=np.float32)
        if sound.ndim != 1 or not len(sound):
            raise BadPrompt(f"a waveform must be one row of samples, not of shape {list(sound.shape)}")
        if not np.isfinite(sound).all():
            raise BadPrompt("the waveform holds values that are not finite numbers")
        if self._books is not None:
            return self._books.encode_waveform(sound)
        padded = np.pad(sound, (0, -len(sound) % self.hop_samples))
        with torch.inference_mode():
            codes = self._model.encode(torch.from_numpy(padded).to(self.device)[None, None]).audio_codes
        frames = len(padded) // self.hop_samples
        return codes[0, :, :frames].T.to(torch.int16).cpu().numpy()

    def check(self, codes: Array) -> Array:
        """The codes as a contiguous int64 array [T, C].

        Raises:
            BadCodes: wrong shape, not integers, or out of range; the message has the first bad value and its place.
        """
        grid = np.asarray(codes)
        if grid.ndim != 2 or grid.shape[1] != self.num_codebooks:
            raise BadCodes(f"codes are of shape {list(grid.shape)}; expected [frames, {self.num_codebooks}]")
        if not np.issubdtype(grid.dtype, np.integer):
            raise BadCodes(f"codes are {grid.dtype}; expected integers")
        bad = np.argwhere((grid < 0) | (grid >= self.codebook_size))
        if len(bad):
            frame, channel = (int(i) for i in bad[0])
            raise BadCodes(
                f"code {int(grid[frame, channel])} at frame {frame}, channel {channel} is outside 0 … "
                f"{self.codebook_size - 1} ({len(bad)} such codes)"
            )
        return np.ascontiguousarray(grid, dtype=np.int64)

    def decode(self, codes: Array) -> Array:
        """Sound of codes [T, C]: float32 [T * hop_samples], in windows that join without a seam.

        Where a stride is odd, DAC's decoder ends a few samples short of the last hop.

        Raises:
            BadCodes: see `check`.
        """
        stream = self.stream()
        return np.concatenate([stream.push(codes), stream.flush()])

    def stream(self, *, aside: bool = False) -> "StreamDecoder":
        """A decoder that takes frames as they come; `aside`: it works in a thread of its own (`AsideDecoder`)."""
        return AsideDecoder(self) if aside else StreamDecoder(self)

    def _window(self, codes: Array, past: Past | None, is_last: bool) -> tuple[Array, Past]:
        """Samples that checked codes [T, C] make certain behind a stream's past, and its new past (see `DacStream`)."""
        window = _Window(torch.from_numpy(codes.T.copy()), past, is_last)
        return self._decode([window])[0] if self._batcher is None else self._batcher.decode(window)

    def _decode(self, windows: "Sequence[_Window]") -> list[tuple[Array, Past]]:
        """What becomes of windows of one kind."""
        codes = torch.stack([window.codes for window in windows]).to(self.device)
        pasts = [window.past for window in windows if window.past is not None]
        past = tuple(torch.cat(layer) for layer in zip(*pasts, strict=True)) if pasts else None
        sound, kept = self._decoder().decode(codes, past, windows[0].is_last)
        rows = sound.float().cpu().numpy()
        return [(row, tuple(layer[index : index + 1] for layer in kept)) for index, row in enumerate(rows)]

    def _decoder(self) -> DacStream:
        """Made when it is first needed: who only encodes or trains has the library's layout of the weights."""
        with self._lock:
            self._stream = self._stream or DacStream(self._model)
            return self._stream

    def save(self, folder: Path, dtype: torch.dtype = torch.float32) -> None:
        """Write config.json and model.safetensors, and the measured codebooks if there are any; loadable by `load`."""
        _save(self._model, folder, dtype)
        if self._books is not None:
            self._books.save(folder / BOOKS_FILE)


@dataclass(frozen=True, slots=True, eq=False)
class _Window:
    """Codes int64 [C, T] that come next in a stream with this past."""

    codes: torch.Tensor
    past: Past | None
    is_last: bool

    @property
    def kind(self) -> Hashable:
        """Of those that can be decoded in one batch."""
        return self.codes.shape[-1], self.past is None, self.is_last


class StreamDecoder:
    """Frames in, sound out, equal to decoding the whole: a window is released once its right context is known.

    Each frame is computed once; the decoder's layers remember what they need of those before. Not safe for use by several
    threads at once.
    """

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._coming = np.zeros((0, codec.num_codebooks), dtype=np.int64)  # frames that are in no window yet
        self._past: Past | None = None
        self._early = np.zeros(
            0, dtype=np.float32
        )  # certain samples of the next window: the context is in whole frames
        self._size = FIRST_WINDOW_FRAMES

    def push(self, codes: Array) -> Array:
        """Take frames [n, C]; release all whole windows that cannot change any more, float32 [samples], maybe empty.

        Raises:
            BadCodes: see `Codec.check`.
        """
        self._coming = np.concatenate([self._coming, self._codec.check(codes)])
        pieces = [np.zeros(0, dtype=np.float32)]
        while self.frames_wanted <= 0:
            pieces.append(self._release(self._taken, is_last=False))
        return np.concatenate(pieces)

    def flush(self) -> Array:
        """Release the rest: no more frames will come."""
        if self._past is None and not len(self._coming):
            return self._early
        rest = self._release(len(self._coming), is_last=True)
        self._past, self._size = None, FIRST_WINDOW_FRAMES
        return rest

    def settle(self) -> Array:
        """Sound of frames that were pushed before and is still being made; here there is none."""
        return np.zeros(0, dtype=np.float32)

    @property
    def frames_wanted(self) -> int:
        """How many more frames release the next window."""
        return self._taken - len(self._coming)

    @property
    def _taken(self) -> int:
        """Frames that the next window takes; the first one takes its context, too."""
        return self._size + (self._codec.context_frames if self._past is None else 0)

    def _release(self, frames: int, is_last: bool) -> Array:
        sound, self._past = self._codec._window(self._coming[:frames], self._past, is_last)
        ready = np.concatenate([self._early, sound])
        end = len(ready) if is_last else self._size * self._codec.hop_samples
        self._coming, self._early = self._coming[frames:], ready[end:].copy()
        self._size = min(2 * self._size, LARGEST_WINDOW_FRAMES)
        return ready[:end]


class AsideDecoder(StreamDecoder):
    """A `StreamDecoder` that decodes in a thread of its own while its user makes the next frames.

    The same sound; all but the first window some frames later: `push` gives out what was finished by then, `flush`
    waits for the rest. An error of the thread is raised by the next call.
    """

    def __init__(self, codec: Codec) -> None:
        super().__init__(codec)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="dia-codec")
        self._making: Future[Array] | None = None
        self._waiting: list[Array] = []

    def push(self, codes: Array) -> Array:
        self._waiting.append(self._codec.check(codes))
        if self._making is not None and not self._making.done():
            return np.zeros(0, dtype=np.float32)
        sound = self.settle()
        if sum(map(len, self._waiting)) >= self.frames_wanted:
            frames, self._waiting = np.concatenate(self._waiting), []
            if self._past is None:
                return super().push(frames)
            self._making = self._thread.submit(super().push, frames)
        return sound

    def settle(self) -> Array:
        making, self._making = self._making, None
        return np.zeros(0, dtype=np.float32) if making is None else making.result()

    def flush(self) -> Array:
        pieces, self._waiting = [self.settle(), *map(super().push, self._waiting)], []
        return np.concatenate([*pieces, super().flush()])


# ---- weight files -------------------------------------------------------------------------------------------------


def read_frame_rate_hz(folder: Path) -> float | None:
    """Frames per second of the codec in a folder, from its config.json alone; None where that does not tell."""
    try:
        raw = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return float(raw["sampling_rate"] / math.prod(raw["upsampling_ratios"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def dac_config_44khz() -> "DacConfig":
    """The configuration of the published 44.1 kHz, 8 kbit/s model (descript/dac_44khz)."""
    from transformers import DacConfig

    return DacConfig(sampling_rate=44_100)


def _from_folder(folder: Path) -> "DacModel":
    from safetensors import SafetensorError
    from safetensors.torch import load_file
    from transformers import DacConfig, DacModel

    try:
        config = DacConfig.from_pretrained(folder, local_files_only=True)
        state = load_file(folder / "model.safetensors")
        with torch.device("meta"):
            model = DacModel(config)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise CheckpointMismatch(f"the codec in {folder.name} cannot be read: {str(error)[:300]}") from error
    _fill(model, state, folder.name)
    return model


def _require_same_codes(model: "DacModel", books: Books, name: str) -> None:
    held = np.stack([book.codebook.weight.detach().numpy() for book in cast(Any, model.quantizer.quantizers)])
    meant = code_tables(books)
    # The folder's weights may have been rounded to 16 bits.
    if held.shape != meant.shape or not np.allclose(held, meant, rtol=1e-2, atol=1e-2):
        raise CheckpointMismatch(f"{BOOKS_FILE} in {name} holds other codebooks than the codec beside it")


def _fill(model: "DacModel", state: dict[str, torch.Tensor], name: str) -> None:
    wanted = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    problems = {
        "missing": sorted(set(wanted) - set(state)),
        "unknown": sorted(set(state) - set(wanted)),
        "wrongly shaped": sorted(k for k in set(wanted) & set(state) if wanted[k] != tuple(state[k].shape)),
    }
    found = [f"{len(keys)} {kind}: {fold_names(keys)}" for kind, keys in problems.items() if keys]
    if found:
        raise CheckpointMismatch(f"the weights of the codec in {name} do not fit its config. " + ". ".join(found))
    # Copied, because the last bits of a sum depend on how its factors lie in memory, and in a file they lie anyhow: a codec
    # that is saved and loaded again has to make the same sound.
    model.load_state_dict({key: tensor.to(torch.float32, copy=True) for key, tensor in state.items()}, assign=True)


def _from_original_file(path: Path) -> "DacModel":
    """The original release (descript-audio-codec): `{"state_dict", "metadata": {"kwargs"}}`, weight norm unfolded."""
    from transformers import DacConfig, DacModel

    loaded = load_pickle(path)
    try:
        state, options = loaded["state_dict"], loaded["metadata"]["kwargs"]
        config = DacConfig(
            encoder_hidden_size=options["encoder_dim"],
            downsampling_ratios=list(options["encoder_rates"]),
            decoder_hidden_size=options["decoder_dim"],
            n_codebooks=options["n_codebooks"],
            codebook_size=options["codebook_size"],
            codebook_dim=options["codebook_dim"],
            sampling_rate=options["sample_rate"],
        )
    except (KeyError, TypeError) as error:
        raise CheckpointMismatch(f"{path.name} is not an original DAC file: {error} is not in it") from error
    with torch.device("meta"):
        model = DacModel(config)
    _fill(model, {_new_name(name): tensor for name, tensor in _fold_weight_norm(state).items()}, path.name)
    return model


def _fold_weight_norm(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Replace each pair (weight_g, weight_v) by weight = g * v / |v|, the norm taken over all but the first axis."""
    folded = {}
    for name, tensor in state.items():
        if name.endswith(".weight_v"):
            gain = state[name.removesuffix("_v") + "_g"]
            norm = tensor.flatten(1).norm(dim=1).view(-1, *[1] * (tensor.ndim - 1))
            folded[name.removesuffix("_v")] = gain * tensor / norm
        elif not name.endswith(".weight_g"):
            folded[name] = tensor
    return folded


_UNIT = {"0": "snake1", "1": "conv1", "2": "snake2", "3": "conv2"}


def _new_name(name: str) -> str:
    """A tensor name of the original release in transformers' spelling."""
    part, *rest = name.split(".")
    if part == "encoder":
        return _new_encoder_name(rest)
    if part == "decoder":
        return _new_decoder_name(rest)
    return name


def _new_encoder_name(rest: list[str]) -> str:
    index = int(rest[1])
    if rest[2] != "block":
        return ".".join(["encoder", {0: "conv1", 5: "snake1", 6: "conv2"}[index], *rest[2:]])
    inner = int(rest[3])
    if rest[4] != "block":
        return ".".join(["encoder", "block", str(index - 1), "snake1" if inner == 3 else "conv1", *rest[4:]])
    return ".".join(["encoder", "block", str(index - 1), f"res_unit{inner + 1}", _UNIT[rest[5]], *rest[6:]])


def _new_decoder_name(rest: list[str]) -> str:
    index = int(rest[1])
    if rest[2] != "block":
        return ".".join(["decoder", {0: "conv1", 5: "snake1", 6: "conv2"}[index], *rest[2:]])
    inner = int(rest[3])
    if rest[4] != "block":
        return ".".join(["decoder", "block", str(index - 1), "snake1" if inner == 0 else "conv_t1", *rest[4:]])
    return ".".join(["decoder", "block", str(index - 1), f"res_unit{inner - 1}", _UNIT[rest[5]], *rest[6:]])


def _save(model: "DacModel", folder: Path, dtype: torch.dtype) -> None:
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().cpu().to(dtype).contiguous() for name, tensor in model.state_dict().items()}
    temporary = folder / "model.safetensors.tmp"
    save_file(tensors, temporary, metadata={"format": "pt"})
    model.config.save_pretrained(folder)
    # safetensors makes files that their owner alone can read.
    shutil.copymode(folder / "config.json", temporary)
    os.replace(temporary, folder / "model.safetensors")
