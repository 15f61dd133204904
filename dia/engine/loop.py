"""The loop that owns the device: admits, steps, hands out frames, ends requests.

`step()` does one round and may be driven inline by a consumer or by the engine's own thread (`start`): the same code.
Running requests stand in slots 0 … n-1; when one leaves, the last takes its place.
"""

import logging
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dia.audio import undelay_rows
from dia.engine.request import Request, Ticket
from dia.engine.runner import Runner
from dia.engine.scheduler import Scheduler
from dia.errors import DeadlineExceeded, DiaError, EngineStopped, GenerationFailed, NonFiniteLogits, OutOfMemory

Array = np.ndarray[Any, Any]
_log = logging.getLogger(__name__)

PREFILL_ROWS = 256
"""Rows of a voice prompt read in between two steps, so that running streams do not stall."""


@dataclass(slots=True)
class _Running:
    """Host-side mirror of one slot."""

    ticket: Ticket
    row: int  # last complete row
    filled: int = 0  # rows of the prompt already read in
    given: int = 0  # frames handed out
    rows: list[Array] = field(default_factory=list)  # delayed rows from the prompt's end on

    @property
    def prompt_frames(self) -> int:
        return self.ticket.request.prompt_frames


class Engine:
    """Continuous batching over the runner's slots."""

    def __init__(self, runner: Runner, max_waiting: int | None = None) -> None:
        self._runner = runner
        self._data = runner.model.config.data
        self._scheduler = Scheduler(max_waiting)
        self._running: list[_Running] = []
        self._filling: _Running | None = None
        self._filling_slot = 0
        self._inbox = threading.Condition()
        self._driving = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._dead: DiaError | None = None
        self.steps = 0

    # ---- for everybody ----

    def submit(self, request: Request) -> Ticket:
        """Queue a request.

        Raises:
            QueueFull: too many wait.
            EngineStopped: the engine is shutting down.
        """
        ticket = Ticket(request)
        with self._inbox:
            if self._stopping:
                raise EngineStopped("the engine is shutting down; try again later")
            self._scheduler.add(ticket)
            self._inbox.notify_all()
        return ticket

    @property
    def is_threaded(self) -> bool:
        """Whether the engine runs by itself; if not, a consumer must call `step`."""
        return self._thread is not None

    @property
    def num_running(self) -> int:
        return len(self._running) + (self._filling is not None)

    @property
    def num_waiting(self) -> int:
        return len(self._scheduler)

    @property
    def slots(self) -> int:
        return self._runner.slots

    def position(self, ticket: Ticket) -> int | None:
        """Requests of the same priority before this one; None once it runs."""
        with self._inbox:
            return self._scheduler.position(ticket)

    def start(self) -> None:
        """Run in a thread of its own until `close`."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="dia-engine", daemon=True)
            self._thread.start()

    def close(self, drain_s: float = 0.0) -> None:
        """Refuse new requests, give running ones `drain_s` seconds to finish, fail the rest, stop the thread."""
        with self._inbox:
            self._stopping = True
            self._inbox.notify_all()
        give_up = time.monotonic() + drain_s
        while self._thread is not None and (self.num_running or self.num_waiting) and time.monotonic() < give_up:
            time.sleep(0.01)
        thread, self._thread = self._thread, None
        with self._inbox:
            self._inbox.notify_all()
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout=30)
        with self._driving:
            self._fail_all(EngineStopped("the engine was stopped"))

    # ---- the loop ----

    def _run(self) -> None:
        while self._thread is threading.current_thread():
            with self._inbox:
                idle = not (self._running or self._filling or len(self._scheduler))
                if idle:
                    self._inbox.wait(timeout=0.5)
            try:
                self.step()
            except Exception as error:
                _log.exception("engine step failed")
                with self._driving:
                    self._fail_all(error if isinstance(error, DiaError) else GenerationFailed("internal engine error"))

    def step(self) -> bool:
        """One round: end what was cancelled, admit, read one piece of a prompt in, decode one row for all running.

        Returns whether there was anything to do.
        """
        with self._driving:
            self._reap()
            self._admit()
            self._fill()
            if self._running:
                self._decode()
            return bool(self._running or self._filling)

    def _reap(self) -> None:
        now = time.monotonic()
        with self._inbox:
            for ticket in self._scheduler.waiting():
                if (error := _ended(ticket, now)) is not None:
                    self._scheduler.remove(ticket)
                    ticket.fail(error)
        for index in reversed(range(len(self._running))):
            if (error := _ended(self._running[index].ticket, now)) is not None:
                self._leave(index).ticket.fail(error)
        if self._filling is not None and (error := _ended(self._filling.ticket, now)) is not None:
            self._filling.ticket.fail(error)
            self._filling = None

    def _admit(self) -> None:
        while self._filling is None and len(self._running) < self._runner.slots:
            with self._inbox:
                ticket = self._scheduler.next()
            if ticket is None:
                return
            entry = _Running(ticket, row=ticket.request.prompt_frames)
            slot = len(self._running)
            try:
                self._runner.begin(slot, ticket.request)
            except (RuntimeError, MemoryError) as error:
                ticket.fail(_memory_error(error, ticket))
                continue
            ticket.set_running()
            if entry.prompt_frames:
                self._filling, self._filling_slot = entry, slot
            else:
                self._running.append(entry)

    def _fill(self) -> None:
        entry = self._filling
        if entry is None:
            return
        end = min(entry.filled + PREFILL_ROWS, entry.prompt_frames)
        try:
            self._runner.prefill(self._filling_slot, entry.filled, end)
        except (RuntimeError, MemoryError) as error:
            self._filling = None
            entry.ticket.fail(_memory_error(error, entry.ticket))
            return
        entry.filled = end
        if end == entry.prompt_frames:
            slot = len(self._running)
            if slot != self._filling_slot:
                self._runner.move(self._filling_slot, slot, entry.row + 1, len(entry.ticket.request.text))
            self._running.append(entry)
            self._filling = None

    def _decode(self) -> None:
        running = self._running
        requests = [entry.ticket.request for entry in running]
        result = self._runner.step(
            len(running),
            span=max(entry.row for entry in running) + 1,
            text_span=max(len(request.text) for request in requests),
            top_k=max(request.params.cfg_filter_top_k for request in requests),
        )
        self.steps += 1
        self._deliver(result.packed.numpy(force=True))

    def _deliver(self, packed: Array) -> None:
        """Take one step's rows [n, C + 2] to their tickets."""
        channels = self._data.channels
        for index in reversed(range(len(self._running))):
            entry, row = self._running[index], packed[index]
            eos_row, finite = int(row[channels]), bool(row[channels + 1])
            entry.row += 1
            if not finite:
                self._runner.clear(index)
                message = f"{entry.ticket.request.id}: logits of row {entry.row} are not finite"
                self._leave(index).ticket.fail(NonFiniteLogits(message))
                continue
            entry.rows.append(row[:channels].copy())
            self._hand_out(entry, eos_row)
            if eos_row >= 0 and entry.row - eos_row >= self._data.max_delay - 1:
                self._leave(index).ticket.finish()

    def _hand_out(self, entry: _Running, eos_row: int) -> None:
        """Give the ticket every frame whose last channel has come."""
        ready = len(entry.rows) - self._data.max_delay
        if eos_row >= 0:
            ready = min(ready, eos_row - entry.prompt_frames - 1)
        if ready > entry.given:
            frames = undelay_rows(entry.rows, entry.given, ready, self._data.delay_pattern)
            entry.given = ready
            entry.ticket.put(frames)

    def _leave(self, index: int) -> _Running:
        """Take a request out; the last running one moves into its slot."""
        entry, last = self._running[index], len(self._running) - 1
        if index != last:
            mover = self._running[last]
            self._runner.move(last, index, mover.row + 1, len(mover.ticket.request.text))
            self._running[index] = mover
        self._running.pop()
        return entry

    def _fail_all(self, error: DiaError) -> None:
        with self._inbox:
            waiting = self._scheduler.waiting()
            for ticket in waiting:
                self._scheduler.remove(ticket)
        entries = [entry.ticket for entry in self._running]
        entries += [self._filling.ticket] if self._filling else []
        self._running, self._filling = [], None
        for ticket in (*entries, *waiting):
            ticket.fail(error)


def _ended(ticket: Ticket, now: float) -> DiaError | None:
    """Why a ticket must stop now, if it must."""
    if ticket.is_cancelled:
        return ticket.cancelled_error()
    deadline = ticket.request.deadline
    if deadline is not None and now >= deadline:
        return DeadlineExceeded(f"{ticket.request.id} was not finished by its deadline")
    return None


def _memory_error(error: BaseException, ticket: Ticket) -> DiaError:
    """Out of memory in any of its three spellings becomes `OutOfMemory`; anything else is raised again.

    torch has its own class on CUDA; on the CPU it is a plain RuntimeError from the allocator.
    """
    text = str(error)
    if isinstance(error, MemoryError) or "out of memory" in text or "can't allocate memory" in text:
        return OutOfMemory(f"{ticket.request.id}: no memory left for this request; use a shorter text or fewer slots")
    raise error
