"""The one door for blocking calls and for CPU above a millisecond.

Work is sorted into named lanes; a lane has so many threads and so many places to wait. A full lane refuses at once
(`overloaded`): a queue that only grows turns a slow disk into a dead server. The threads are trio's cached ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeVar, cast

import trio

from nova.core import awake, errors

T = TypeVar("T")

Outcome = Literal["ok", "error", "cancelled", "refused"]
Observe = Callable[[str, Outcome, float, float], None]  # lane, outcome, seconds waited, seconds run

RETRY_AFTER: Final = 1.0  # seconds; a lane drains in far less unless its device hangs


@dataclass(frozen=True, slots=True)
class Lane:
    """A kind of work that must not starve the others.

    threads: calls that run at once. queue: calls that may wait beyond them; one more is refused.
    """

    name: str
    threads: int
    queue: int


# Under the GIL two computing threads are the most that leave trio awake (docs/decisions/0010-offload-lanes.md). Calls of
# the other lanes sleep in the kernel, so their number follows what the device takes in parallel.
CPU: Final = Lane("cpu", threads=2, queue=256)
DISK: Final = Lane("disk", threads=8, queue=1024)
SQL: Final = Lane("sql", threads=2, queue=256)
NETWORK: Final = Lane("network", threads=16, queue=512)
LANES: Final = (CPU, DISK, SQL, NETWORK)


@dataclass(frozen=True, slots=True)
class Load:
    """What a lane does now."""

    running: int
    waiting: int


def _unobserved(lane: str, outcome: Outcome, waited: float, ran: float) -> None:
    """Nobody measures."""


class _Queue:
    __slots__ = ("lane", "limiter", "waiting")

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self.limiter = trio.CapacityLimiter(lane.threads)
        self.waiting = 0


class _Place:
    """One call's claim on a thread: trio takes it before the call and gives it back after, even when nobody waits."""

    __slots__ = ("_queue", "started")

    def __init__(self, queue: _Queue) -> None:
        self._queue = queue
        self.started: float | None = None

    async def acquire_on_behalf_of(self, borrower: object) -> None:
        self._queue.waiting += 1
        try:
            await self._queue.limiter.acquire_on_behalf_of(borrower)
        finally:
            self._queue.waiting -= 1
        self.started = trio.current_time()

    def release_on_behalf_of(self, borrower: object) -> None:
        self._queue.limiter.release_on_behalf_of(borrower)


class Offload:
    """Runs calls in threads, lane by lane.

    observe: told about every call when its caller leaves; called in the trio thread, must be short.
    """

    def __init__(self, lanes: Iterable[Lane] = LANES, *, observe: Observe = _unobserved) -> None:
        self._queues = {lane.name: _Queue(lane) for lane in lanes}
        self._observe = observe

    async def run(self, lane: Lane, call: Callable[[], T], *, abandon: bool = False) -> T:
        """Run `call()` in a thread of `lane`; return its value or raise its exception.

        Cancelled while it waits for a thread: the call never starts. Cancelled while it runs: Python cannot stop a
        thread, so the caller stays until the call ends, gets its value, and sees `Cancelled` at its next checkpoint
        (what the call touches stays owned). With `abandon` the caller leaves at once and the result is dropped; the
        thread counts against the lane until it is free.
        Raises Unavailable `overloaded`: every thread and every waiting place of the lane is taken.
        """
        queue = self._queues[lane.name]
        if queue.limiter.available_tokens < 1 and queue.waiting >= queue.lane.queue:
            self._observe(lane.name, "refused", 0.0, 0.0)
            raise errors.Unavailable("overloaded", f"{queue.lane.queue} calls wait for the {lane.name} threads", retry_after=RETRY_AFTER)
        place = _Place(queue)
        asked = trio.current_time()
        outcome: Outcome = "error"

        def run() -> T:
            awake.step_back()
            return call()

        try:
            value = await trio.to_thread.run_sync(
                run,
                abandon_on_cancel=abandon,
                limiter=cast(trio.CapacityLimiter, place),  # trio documents "a limiter-like object"
                thread_name=f"nova-{lane.name}",
            )
            outcome = "ok"
            return value
        except trio.Cancelled:
            outcome = "cancelled"
            raise
        finally:
            left = trio.current_time()
            started = left if place.started is None else place.started
            self._observe(lane.name, outcome, started - asked, left - started)

    def load(self) -> Mapping[str, Load]:
        """Calls that run and that wait, by lane."""
        return {name: Load(queue.limiter.borrowed_tokens, queue.waiting) for name, queue in self._queues.items()}
