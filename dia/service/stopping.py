"""An ordered stop is no failure, neither in the log nor by its exit code, whatever a tab or a thread still does.

Imported when a server starts, so that nothing else imports uvicorn.
"""

import asyncio
import contextlib
import logging
import os
import sys
import threading
from collections.abc import Iterator

import uvicorn  # noqa: TID253  # see the module's docstring

__all__ = ["OrderlyServer", "end_process", "hush_stop"]


class OrderlyServer(uvicorn.Server):
    """uvicorn raises a signal again that it has obeyed, which makes every ordered stop look like a crash. This does not."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        with super().capture_signals():
            yield
            self._captured_signals.clear()


class _EndedByStop(logging.Filter):
    """Lets everything through but what uvicorn says of the tasks that it cancels at its end.

    Every open tab of the page holds a connection, so a stop would nearly always look like a crash.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        kind = record.exc_info[0] if isinstance(record.exc_info, tuple) else None
        was_cancelled = kind is not None and issubclass(kind, asyncio.CancelledError)
        return not was_cancelled and not str(record.msg).startswith("Cancel %s running task(s)")


def hush_stop() -> None:
    """Call once logging is set up."""
    logger = logging.getLogger("uvicorn.error")
    if not any(isinstance(found, _EndedByStop) for found in logger.filters):
        logger.addFilter(_EndedByStop())


def end_process(code: int = 0) -> None:
    """End the process here and now, once everything is closed. In another thread than the main one nothing happens.

    Python would first take torch's and Gradio's modules to pieces: 5 s on a free core after the last line of the log, a minute
    and a half on a busy machine, where containers are killed after 45 s. And what is left of its threads, such as a
    model's that is still being loaded, it ends in a way that torch's own code takes for an error: it aborts the process.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
