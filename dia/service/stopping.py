"""An ordered stop is no failure: keeps uvicorn from reporting one when it ends connections that are still held open.

Every open tab of the page holds one, so a stop would nearly always look like a crash.
"""

import asyncio
import logging

__all__ = ["hush_stop"]


class _EndedByStop(logging.Filter):
    """Lets everything through but what uvicorn says of the tasks that it cancels at its end."""

    def filter(self, record: logging.LogRecord) -> bool:
        kind = record.exc_info[0] if isinstance(record.exc_info, tuple) else None
        was_cancelled = kind is not None and issubclass(kind, asyncio.CancelledError)
        return not was_cancelled and not str(record.msg).startswith("Cancel %s running task(s)")


def hush_stop() -> None:
    """Call once logging is set up."""
    logger = logging.getLogger("uvicorn.error")
    if not any(isinstance(found, _EndedByStop) for found in logger.filters):
        logger.addFilter(_EndedByStop())
