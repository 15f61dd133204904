"""The loop that owns the device: admits, steps, hands out frames, ends requests.

`step()` does one round and may be driven inline by a consumer or by the engine's own thread (`start`): the same code.
Running requests stand in slots 0 … n-1; when one leaves, the last takes its place. A step is launched and its result
is read up to `Runner.lag` steps later; all device work is queued in one order, so that joining, leaving and moving
between slots may happen while steps are in flight.

Requests with different adapters never run together: when it is the turn of one with another, nobody is admitted until
those that run have ended; then the weights are loaded again with it.
"""

import logging
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from dia.audio import undelay_rows
from dia.engine.request import Request, Ticket
from dia.engine.runner import Runner
from dia.engine.scheduler import Scheduler
from dia.engine.shapes import StepResult, StepShape
from dia.engine.watchdog import Watchdog
from dia.errors import (
    DeadlineExceeded,
    DiaError,
    EngineStopped,
    EngineWedged,
    GenerationFailed,
    NonFiniteLogits,
    OutOfMemory,
)

Array = np.ndarray[Any, Any]
_log = logging.getLogger(__name__)

WATCHDOG_S = 60.0
"""A round that takes longer has hung: at full size on two CPU cores the longest takes a few seconds."""

RECOVERY_STEPS = 500
"""After so many steps without running out of memory one more slot is used again."""

State = Literal["idle", "busy", "wedged", "stopped"]


@dataclass(frozen=True, slots=True)
class Health:
    """How the engine is.

    Attributes:
        state: "wedged" while a round has not come back in time.
        round_s: how long the present round has been under way, seconds; 0 between rounds.
    """

    state: State
    round_s: float
    steps: int
    running: int
    waiting: int
    slots: int
    is_loaded: bool


@dataclass(slots=True, eq=False)
class _Running:
    """Host-side mirror of one slot."""

    ticket: Ticket
    row: int  # last complete row that the host has seen
    launched: int  # last complete row once everything in flight has landed, or beyond it if the request ends before
    filled: int = 0  # rows of the prompt already read in
    given: int = 0  # frames handed out
    gone: bool = False
    rows: list[Array] = field(default_factory=list)  # delayed rows from the prompt's end on

    @property
    def request(self) -> Request:
        return self.ticket.request


@dataclass(frozen=True, slots=True)
class _Flight:
    """A launched step: its result and who stood in its slots."""

    entries: tuple[_Running, ...]
    result: StepResult


class Engine:
    """Continuous batching over the runner's slots."""

    def __init__(
        self,
        runner: Runner,
        max_waiting: int | None = None,
        *,
        keep_alive_s: float | None = None,
        watchdog_s: float = WATCHDOG_S,
    ) -> None:
        """
        Args:
            max_waiting: how many requests may wait; None for no bound.
            keep_alive_s: unload the model after so many idle seconds (threaded, and if the runner can load it again).
            watchdog_s: a round longer than this fails all requests with `EngineWedged` (threaded).
        """
        self._runner = runner
        self._data = runner.config.data
        self._scheduler = Scheduler(max_waiting)
        self._running: list[_Running] = []
        self._filling: _Running | None = None
        self._filling_slot = 0
        self._flights: deque[_Flight] = deque()
        self._inbox = threading.Condition()
        self._driving = threading.Lock()
        self._thread: threading.Thread | None = None
        self._keep_alive_s = keep_alive_s
        self._watchdog = Watchdog(watchdog_s, self._give_up)
        self._stopping = False
        self._slot_limit = runner.slots
        self._calm_steps = 0
        self.steps = 0

    # ---- for everybody ----

    def submit(self, request: Request) -> Ticket:
        """Queue a request.

        Raises:
            QueueFull: too many wait.
            EngineStopped: the engine is shutting down, or a step hangs.
        """
        ticket = Ticket(request)
        with self._inbox:
            if self._stopping:
                raise EngineStopped("the engine is shutting down; try again later")
            if self._watchdog.is_wedged:
                raise EngineStopped("the engine hangs in a step; try again later, or restart it")
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
        """How many requests may run at once; fewer for a while after running out of memory."""
        return self._slot_limit

    @property
    def health(self) -> Health:
        round_s = self._watchdog.round_s
        state: State = "busy" if self.num_running or self.num_waiting else "idle"
        if self._watchdog.is_wedged:
            state = "wedged"
        elif self._stopping:
            state = "stopped"
        loaded = self._runner.is_loaded
        return Health(state, round_s, self.steps, self.num_running, self.num_waiting, self.slots, loaded)

    def position(self, ticket: Ticket) -> int | None:
        """Requests of the same priority before this one; None once it runs."""
        with self._inbox:
            return self._scheduler.position(ticket)

    def start(self) -> None:
        """Run in a thread of its own until `close`."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="dia-engine", daemon=True)
            self._thread.start()
            self._watchdog.start()

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
        hangs = self._watchdog.is_wedged
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout=0.1 if hangs else 30)
        self._watchdog.stop()
        locked = self._driving.acquire(timeout=0.1 if hangs else 30)
        self._fail_all(EngineStopped("the engine was stopped"))
        if locked:
            self._driving.release()

    def unload(self) -> bool:
        """Give back the model's memory if nothing runs or waits; the next request loads it again."""
        with self._driving, self._inbox:
            if self.num_running or self.num_waiting or not self._runner.can_unload:
                return False
            self._flights.clear()
            self._runner.unload()
            return True

    # ---- the loop ----

    def _run(self) -> None:
        idle_since = time.monotonic()
        while self._thread is threading.current_thread():
            with self._inbox:
                idle = not (self._running or self._filling or len(self._scheduler))
                if idle:
                    self._inbox.wait(timeout=0.5)
            if not idle:
                idle_since = time.monotonic()
                self.step()
            elif self._keep_alive_s is not None and time.monotonic() - idle_since > self._keep_alive_s:
                self.unload()

    def step(self) -> bool:
        """One round: end what was cancelled, admit, read one piece of a prompt in, decode one row for all running.

        Returns whether there was anything to do. Never raises: an error ends the requests it concerns.
        """
        with self._driving:
            self._watchdog.begin()
            try:
                self._round()
            except Exception as error:  # noqa: BLE001  # whatever happened concerns these requests, not the engine
                _log.exception("engine step failed")
                self._start_over(error if isinstance(error, DiaError) else GenerationFailed("internal engine error"))
            if self._watchdog.end():
                self._start_over(_wedged())
            return bool(self._running or self._filling)

    def _round(self) -> None:
        self._reap()
        self._admit()
        self._fill()
        if self._running:
            self._decode()

    def _reap(self) -> None:
        now = time.monotonic()
        with self._inbox:
            for ticket in self._scheduler.waiting():
                if (error := _ended(ticket, now)) is not None:
                    self._scheduler.remove(ticket)
                    ticket.fail(error)
        for entry in reversed(self._running):
            if (error := _ended(entry.ticket, now)) is not None:
                self._leave(entry)
                entry.ticket.fail(error)
        if self._filling is not None and (error := _ended(self._filling.ticket, now)) is not None:
            self._filling.ticket.fail(error)
            self._filling = None

    def _admit(self) -> None:
        while self._filling is None and len(self._running) < self._slot_limit:
            with self._inbox:
                ticket = self._scheduler.next(self._may_run)
            if ticket is None:
                return
            frames = ticket.request.prompt_frames
            entry, slot = _Running(ticket, row=frames, launched=frames), len(self._running)
            try:
                self._adapt(ticket.request)
                self._runner.begin(slot, ticket.request)
            except Exception as error:  # noqa: BLE001  # concerns this request alone
                self._refuse(ticket, error)
                continue
            ticket.set_running()
            if frames:
                self._filling, self._filling_slot = entry, slot
            else:
                self._join(entry)

    def _may_run(self, request: Request) -> bool:
        return not self.num_running or request.adapter == self._runner.adapter

    def _adapt(self, request: Request) -> None:
        """Have the request's adapter in the weights; those that wait with the same come next, to share the swap."""
        if request.adapter != self._runner.adapter:
            self._flights.clear()
            with self._inbox:
                self._scheduler.gather(lambda other: other.adapter == request.adapter)
            self._runner.swap(request.adapter)

    def _join(self, entry: _Running) -> None:
        self._runner.activate(len(self._running))
        self._running.append(entry)

    def _fill(self) -> None:
        entry = self._filling
        if entry is None:
            return
        frames = entry.request.prompt_frames
        end = min(entry.filled + self._runner.prefill_rows, frames)
        try:
            self._runner.prefill(self._filling_slot, entry.request, entry.filled, end)
        except Exception as error:  # noqa: BLE001  # concerns this request alone
            self._filling = None
            self._refuse(entry.ticket, error)
            return
        entry.filled = end
        if end == frames:
            slot = len(self._running)
            if slot != self._filling_slot:
                self._runner.move(self._filling_slot, slot, frames + 1, len(entry.request.text))
                self._runner.retire(self._filling_slot)
            self._filling = None
            self._join(entry)

    def _decode(self) -> None:
        """Launch a step, then take in those results that are due."""
        if any(entry.launched < entry.request.rows - 1 for entry in self._running):
            self._launch()
        elif self._flights:  # everybody has ended; the host just has not seen it
            self._land()
        while len(self._flights) > self._runner.lag or (self._flights and self._flights[0].result.is_ready):
            self._land()

    def _launch(self) -> None:
        while self._running:
            try:
                result = self._runner.step(self._shape())
            except Exception as error:
                if not _is_memory_error(error):
                    raise
                self._shed()
                continue
            for entry in self._running:
                entry.launched += 1
            self._flights.append(_Flight(tuple(self._running), result))
            self.steps += 1
            self._calm_steps += 1
            if self._calm_steps % RECOVERY_STEPS == 0:
                self._slot_limit = min(self._slot_limit + 1, self._runner.slots)
            return

    def _shape(self) -> StepShape:
        requests = [entry.request for entry in self._running]
        return StepShape(
            count=len(requests),
            span=max(min(entry.launched + 1, entry.request.rows) for entry in self._running),
            text_span=max(len(request.text) for request in requests),
            top_k=max(request.params.cfg_filter_top_k for request in requests),
            combined=any(request.params.guidance == "combined" for request in requests),
            guided=any(self._runner.config.needs_guidance(request.params.cfg_scale) for request in requests),
        )

    def _land(self) -> None:
        """Take the oldest step's rows to their tickets."""
        flight = self._flights.popleft()
        packed = flight.result.read()
        channels = self._data.channels
        for entry, row in zip(flight.entries, packed, strict=True):
            if entry.gone:
                continue
            eos_row, finite = int(row[channels]), bool(row[channels + 1])
            entry.row += 1
            if not finite:
                self._runner.clear(self._running.index(entry))
                self._leave(entry)
                entry.ticket.fail(NonFiniteLogits(f"{entry.request.id}: logits of row {entry.row} are not finite"))
                continue
            entry.rows.append(row[:channels])
            self._hand_out(entry, eos_row)
            if eos_row >= 0 and entry.row - eos_row >= self._data.max_delay - 1:
                self._leave(entry)
                entry.ticket.finish()

    def _hand_out(self, entry: _Running, eos_row: int) -> None:
        """Give the ticket every frame whose last channel has come."""
        ready = len(entry.rows) - self._data.max_delay
        if eos_row >= 0:
            ready = min(ready, eos_row - entry.request.prompt_frames - 1)
        if ready > entry.given:
            frames = undelay_rows(entry.rows, entry.given, ready, self._data.delay_pattern)
            entry.given = ready
            entry.ticket.put(frames)

    # ---- leaving ----

    def _leave(self, entry: _Running) -> None:
        """Take a request out of its slot; the last running one moves there."""
        index, last = self._running.index(entry), len(self._running) - 1
        if index != last:
            mover = self._running[last]
            rows = min(mover.launched + 1, mover.request.rows)
            self._runner.move(last, index, rows, len(mover.request.text))
            self._running[index] = mover
        self._running.pop()
        self._runner.retire(last)
        entry.gone = True

    def _shed(self) -> None:
        """Out of memory in a step: the newest request ends, the others make the step again with one slot less."""
        entry = self._running[-1]
        self._leave(entry)
        entry.ticket.fail(_no_memory(entry.ticket))
        self._find_memory(len(self._running))

    def _find_memory(self, running: int) -> None:
        _log.warning("out of memory with %d requests running; fewer run at once from now on", running)
        self._slot_limit, self._calm_steps = max(1, running), 0
        self._runner.drop_voices()
        self._runner.release_memory()

    def _refuse(self, ticket: Ticket, error: Exception) -> None:
        """A request could not be put into its slot.

        Without memory it waits, once, until another has left; every other error ends it and concerns nobody else.
        """
        if _is_memory_error(error):
            self._find_memory(len(self._running))
            if self._running and not ticket.was_put_back:
                ticket.was_put_back = True
                with self._inbox:
                    self._scheduler.put_back(ticket)
            else:
                ticket.fail(_no_memory(ticket))
        elif isinstance(error, DiaError):
            ticket.fail(error)
        else:
            _log.error("a request could not begin", exc_info=error)
            ticket.fail(GenerationFailed("internal engine error"))

    def _give_up(self) -> None:
        """Called by the watchdog while a round hangs: nobody shall wait for it."""
        _log.error("a round has not come back for %.0f s; all requests are ended", self._watchdog.limit_s)
        self._fail_tickets(_wedged())

    def _start_over(self, error: DiaError) -> None:
        """End every request after an error that may have left slots in any state; go on with empty ones."""
        self._fail_all(error)
        try:
            self._runner.reset()
        except Exception:  # noqa: BLE001  # a device that is gone stays gone; each request then fails by itself
            _log.exception("the slots could not be emptied")

    def _fail_all(self, error: DiaError) -> None:
        for entry in self._fail_tickets(error):
            entry.gone = True
        self._running, self._filling = [], None
        self._flights.clear()

    def _fail_tickets(self, error: DiaError) -> list[_Running]:
        with self._inbox:
            waiting = self._scheduler.waiting()
            for ticket in waiting:
                self._scheduler.remove(ticket)
        entries = [*self._running, *([self._filling] if self._filling else [])]
        for ticket in (*(entry.ticket for entry in entries), *waiting):
            ticket.fail(error)
        return entries


def _ended(ticket: Ticket, now: float) -> DiaError | None:
    """Why a ticket must stop now, if it must."""
    if ticket.is_cancelled:
        return ticket.cancelled_error()
    deadline = ticket.request.deadline
    if deadline is not None and now >= deadline:
        return DeadlineExceeded(f"{ticket.request.id} was not finished by its deadline")
    return None


def _is_memory_error(error: BaseException) -> bool:
    """Out of memory in any of its three spellings: torch has its own class on CUDA; on the CPU it is a plain
    RuntimeError from the allocator."""
    text = str(error)
    return isinstance(error, MemoryError) or "out of memory" in text or "can't allocate memory" in text


def _no_memory(ticket: Ticket) -> OutOfMemory:
    return OutOfMemory(f"{ticket.request.id}: no memory left for this request; use a shorter text or fewer slots")


def _wedged() -> EngineWedged:
    return EngineWedged("a step of the engine did not come back in time; the request was given up")
