"""Keys and values that depend on a voice prompt alone, kept from one request to the next.

The unconditional branch sees no text, so what it remembers of a prompt is the same for every request with that voice:
half of the work of reading a prompt in. The conditional half depends on the text through every layer and is not kept.
"""

import hashlib
from collections import OrderedDict
from typing import Any

import numpy as np
import torch

from dia.state import UNCOND, DecoderInferenceState, Place

Array = np.ndarray[Any, Any]

VOICE_CACHE_BYTES = 256 << 20
"""Ten seconds of prompt are 32 MB in 16 bits at full size."""


def voice_key(codes: Array) -> str:
    """A name for prompt codes [P, C]."""
    grid = np.ascontiguousarray(codes, dtype=np.int16)
    return hashlib.sha256(f"{grid.shape}".encode() + grid.tobytes()).hexdigest()


class VoiceCache:
    """The most recently used voices, up to a number of bytes. On the model's device.

    What came only once goes first: each piece of a long script has a prompt of its own, its voice and the end of the piece
    before, that never comes again and must not push out the voices that do.
    """

    def __init__(self, max_bytes: int = VOICE_CACHE_BYTES) -> None:
        self._max_bytes = max_bytes
        self._voices: OrderedDict[str, list[list[torch.Tensor]]] = OrderedDict()  # per layer [2, H, P, …]
        self._came_again: set[str] = set()
        self.hits = 0

    def __len__(self) -> int:
        return len(self._voices)

    @property
    def num_bytes(self) -> int:
        return sum(map(_num_bytes, self._voices.values()))

    @torch.inference_mode()
    def restore(self, key: str, state: DecoderInferenceState, slot: int) -> bool:
        """Write a known voice into a slot's unconditional branch; False where it is not known."""
        voice = self._voices.get(key)
        if voice is None:
            return False
        self._voices.move_to_end(key)
        self._came_again.add(key)
        self.hits += 1
        for cache, stored in zip(state.self_kv, voice, strict=True):
            cache.restore(_place(slot, stored[0].shape[2]), stored)
        return True

    @torch.inference_mode()
    def keep(self, key: str, state: DecoderInferenceState, slot: int, rows: int) -> None:
        """Remember the first `rows` rows of a slot's unconditional branch, unless they alone are more than the limit."""
        if key in self._voices:
            return
        place = _place(slot, rows)
        if sum(tensor[place].nbytes for cache in state.self_kv for tensor in cache.tensors) > self._max_bytes:
            return
        self._voices[key] = [cache.copy(place) for cache in state.self_kv]
        while self.num_bytes > self._max_bytes:
            once = (name for name in self._voices if name != key and name not in self._came_again)
            dropped = next(once, next(iter(self._voices)))
            del self._voices[dropped]
            self._came_again.discard(dropped)

    def clear(self) -> None:
        self._voices.clear()
        self._came_again.clear()


def _place(slot: int, rows: int) -> Place:
    return slice(None), slot, UNCOND, slice(None), slice(rows)


def _num_bytes(voice: list[list[torch.Tensor]]) -> int:
    return sum(tensor.nbytes for layer in voice for tensor in layer)
