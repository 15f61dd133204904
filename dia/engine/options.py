"""How an engine is set up, and how much memory that takes."""

import math
from dataclasses import dataclass
from typing import get_args

from dia.config import DiaConfig
from dia.device import Placement, free_memory_bytes
from dia.errors import BadParameter
from dia.state import DecoderInferenceState, KVKind

MAX_SLOTS = {"cpu": 16, "mps": 4, "cuda": 64}
"""Requests at once where memory sets no lower limit; beyond it a step takes longer than it gains."""

SLOTS_LIMIT = 4096
"""More is a slip of the pen: no machine has memory for it."""

FREE_SHARE = 0.5
"""Of the memory that is free once the model is loaded, this much may become slots."""


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How the engine of one model is set up. Everything is checked on construction.

    Attributes:
        slots: requests at once; None: from free memory, at most `MAX_SLOTS` for the device.
        memory_limit_gb: weights and slots together never take more (10**9 bytes); None: no limit.
        keep_alive_s: a started engine gives the model's memory back after so many idle seconds and loads it again for
            the next request; None: never.
        max_waiting: requests that may wait; None: any number.
        watchdog_s: a round that takes longer has hung.
        lag: steps launched ahead of reading the first one's result; None: by device.
        kv_cache: "int8" keeps keys and values in 8 bits with one scale a row: slots take a good half of the memory of 16 bits,
            a good quarter of 32. Steps get no faster by it; a slot takes what `bytes_per_slot` says.
        graphs: capture steps as CUDA graphs and replay them; without, and on other devices, each is launched anew.

    Raises:
        BadParameter: a value out of range.
    """

    slots: int | None = None
    memory_limit_gb: float | None = None
    keep_alive_s: float | None = None
    max_waiting: int | None = None
    watchdog_s: float = 60.0
    lag: int | None = None
    kv_cache: KVKind = "full"
    graphs: bool = True

    def __post_init__(self) -> None:
        if self.kv_cache not in get_args(KVKind):
            raise BadParameter(f"kv_cache {self.kv_cache!r} is not known; use {' or '.join(get_args(KVKind))}")
        for name, value, least, most in (
            ("slots", self.slots, 1, SLOTS_LIMIT),
            ("max_waiting", self.max_waiting, 0, math.inf),
            ("lag", self.lag, 0, math.inf),
        ):
            if value is not None and (type(value) is not int or not least <= value <= most):
                limit = "" if most == math.inf else f", at most {most}"
                raise BadParameter(f"{name} is {value!r}; it must be a whole number of at least {least}{limit}")
        for name, amount in (
            ("keep_alive_s", self.keep_alive_s),
            ("memory_limit_gb", self.memory_limit_gb),
            ("watchdog_s", self.watchdog_s),
        ):
            if amount is not None and not (isinstance(amount, (int, float)) and 0 <= amount < math.inf):
                raise BadParameter(f"{name} is {amount!r}; it must be a finite number of at least 0")
        if not self.watchdog_s:
            raise BadParameter("watchdog_s is 0, which every round takes longer than; give seconds, such as 60")


def choose_slots(config: DiaConfig, placement: Placement, options: EngineOptions, weight_bytes: int = 0) -> int:
    """How many requests may run at once: what is asked for, else what half of the free memory holds, at least 1.

    Args:
        weight_bytes: what the model itself takes; counted under `memory_limit_gb`.

    Raises:
        BadParameter: `memory_limit_gb` leaves no room for as many slots as are asked for, or for one.
    """
    data = config.data
    each = DecoderInferenceState.bytes_per_slot(
        config, data.audio_length, data.text_length, placement.dtype, options.kv_cache
    )
    most = options.slots or MAX_SLOTS[placement.device.type]
    if options.slots is None and (free := free_memory_bytes(placement.device)) is not None:
        most = max(1, min(most, int(free * FREE_SHARE) // each))
    if options.memory_limit_gb is None:
        return most
    room = int(options.memory_limit_gb * 1e9) - weight_bytes
    if room < each * (options.slots or 1):
        needed = (weight_bytes + each * (options.slots or 1)) / 1e9
        raise BadParameter(
            f"memory_limit_gb is {options.memory_limit_gb:g}; the weights and {options.slots or 1} slots of "
            f"{each / 1e9:.3g} GB need {needed:.3g}; raise it or ask for fewer slots"
        )
    return min(most, room // each)
