"""Who runs next. Pure Python; knows tickets, not tensors."""

from collections import deque
from collections.abc import Callable

from dia.engine.request import Priority, Request, Ticket
from dia.errors import QueueFull

BATCH_SHARE = 4
"""Of so many admissions, one goes to a waiting batch request even while interactive ones wait: nobody starves."""


class Scheduler:
    """A bounded queue per priority: first come, first served within each; interactive before batch, but for one in
    `BATCH_SHARE`."""

    def __init__(self, max_waiting: int | None = None) -> None:
        """`max_waiting`: how many tickets may wait in all; None for no bound."""
        self._max_waiting = max_waiting
        self._queues: dict[Priority, deque[Ticket]] = {"interactive": deque(), "batch": deque()}
        self._in_a_row = 0

    def __len__(self) -> int:
        return sum(len(queue) for queue in self._queues.values())

    def add(self, ticket: Ticket) -> None:
        """Queue a ticket.

        Raises:
            QueueFull: as many wait as may.
        """
        if self._max_waiting is not None and len(self) >= self._max_waiting:
            raise QueueFull(f"{len(self)} requests are waiting, which is the limit; try again later")
        self._queues[ticket.request.priority].append(ticket)

    def next(self, may_run: Callable[[Request], bool] = lambda request: True) -> Ticket | None:
        """Take the ticket whose turn it is; None when nothing waits or that one may not run yet, which lets nobody pass."""
        interactive, batch = self._queues["interactive"], self._queues["batch"]
        is_batch = not interactive or bool(batch and self._in_a_row >= BATCH_SHARE - 1)
        queue = batch if is_batch else interactive
        if queue and not may_run(queue[0].request):
            return None
        self._in_a_row = 0 if is_batch else self._in_a_row + 1
        return queue.popleft() if queue else None

    def gather(self, belongs: Callable[[Request], bool]) -> None:
        """Let those that wait now and belong together go before the others, each queue otherwise in its order."""
        for priority, queue in self._queues.items():
            self._queues[priority] = deque(sorted(queue, key=lambda ticket: not belongs(ticket.request)))

    def put_back(self, ticket: Ticket) -> None:
        """Return a ticket taken by `next` to the head of its queue, whatever the bound."""
        self._queues[ticket.request.priority].appendleft(ticket)

    def position(self, ticket: Ticket) -> int | None:
        """How many tickets of the same priority stand before this one; None when it does not wait."""
        queue = self._queues[ticket.request.priority]
        return queue.index(ticket) if ticket in queue else None

    def waiting(self) -> list[Ticket]:
        """All waiting tickets, interactive first."""
        return [*self._queues["interactive"], *self._queues["batch"]]

    def remove(self, ticket: Ticket) -> None:
        """Take a ticket out of its queue."""
        self._queues[ticket.request.priority].remove(ticket)
