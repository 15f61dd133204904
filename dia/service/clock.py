"""Stored times: seconds since 1970 as a float inside, ISO 8601 in UTC with a Z outside. The clock can be replaced."""

import time
from collections.abc import Callable
from datetime import datetime, timezone

Clock = Callable[[], float]

wall_clock: Clock = time.time


def iso_utc(epoch_s: float) -> str:
    """`2026-11-22T09:27:44.997Z`."""
    moment = datetime.fromtimestamp(epoch_s, tz=timezone.utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def iso_utc_or_none(epoch_s: float | None) -> str | None:
    """As `iso_utc`, where a time may not have come yet."""
    return None if epoch_s is None else iso_utc(epoch_s)


def file_stamp(epoch_s: float) -> str:
    """`20261122_092744`, UTC, for file names."""
    return datetime.fromtimestamp(epoch_s, tz=timezone.utc).strftime("%Y%m%d_%H%M%S")
