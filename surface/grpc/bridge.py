"""From gRPC's threads to trio and back, in batches.

A thread puts its call into a queue and sleeps; the first of a batch rings trio, which takes all that is there. Bounded by the
threads: each has one call under way. The thread is answered in every case: value, error, deadline, cancellation or shutdown.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final

import trio

from nova.core import errors
from nova.core.guard import guard
from nova.core.log import Log, correlation_id

LONGEST: Final = 30.0  # seconds, for a client that sets no deadline


class Errand:
    """A call on its way to trio and back.

    work: what to do in trio. timeout: seconds until the client gives up; None: LONGEST.
    """

    __slots__ = ("_cancelled", "_done", "_scope", "correlation_id", "error", "finished", "timeout", "value", "work")

    def __init__(self, work: Callable[[], Awaitable[Any]], timeout: float | None, correlation_id: str) -> None:
        self.work = work
        self.timeout = LONGEST if timeout is None else max(0.0, min(timeout, LONGEST))
        self.correlation_id = correlation_id
        self.value: Any = None
        self.error: errors.NovaError | None = errors.Internal()
        self.finished = False
        self._scope: trio.CancelScope | None = None
        self._cancelled = False
        self._done = threading.Lock()
        self._done.acquire()

    def wait(self) -> Any:
        """The thread's side: sleep until trio is done. Raises NovaError."""
        self._done.acquire()
        if self.error is not None:
            raise self.error
        return self.value

    def fail(self, error: errors.NovaError) -> None:
        """It did not run."""
        self.error = error
        self._finish()

    def _finish(self) -> None:
        self.finished = True
        self._done.release()

    async def run(self, log: Log) -> None:
        """Trio's side: do the work within its time."""
        correlation_id.set(self.correlation_id)
        try:
            with trio.CancelScope(deadline=trio.current_time() + self.timeout) as scope:
                self._scope = scope
                if self._cancelled:
                    scope.cancel()
                await guard(log, self._work)
            if scope.cancelled_caught:
                self.error = errors.Deadline("deadline", "the call was cancelled or its deadline has passed")
        except trio.Cancelled:
            self.error = errors.Unavailable("shutting_down", retry_after=1.0)
            raise
        finally:
            self._finish()

    async def _work(self) -> None:
        try:
            self.value = await self.work()
            self.error = None
        except errors.NovaError as error:
            self.error = error
            if isinstance(error, errors.Internal):
                raise  # into the log

    def cancel(self) -> None:
        """Trio's side: the client is gone."""
        self._cancelled = True
        if self._scope is not None:
            self._scope.cancel()


class Bridge:
    """The queue between the threads and one trio run. `serve` owns the tasks of the calls."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._token: trio.lowlevel.TrioToken | None = None
        self._nursery: trio.Nursery | None = None
        self._queue: deque[Callable[[], None]] = deque()
        self._rung = False

    async def serve(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Run the calls that are handed over, until cancelled; those under way end with it."""
        self._token = trio.lowlevel.current_trio_token()
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                task_status.started()
                try:
                    await trio.sleep_forever()
                finally:
                    self._nursery = None  # before the nursery closes: a call that comes while the last ones end is told so
        finally:
            self._drain()

    def do(self, errand: Errand) -> Any:
        """Any thread but trio's: hand over and wait. Raises NovaError."""
        self._hand(lambda: self._start(errand))
        return errand.wait()

    def cancel(self, errand: Errand) -> None:
        """Any thread. Nothing happens when it has ended: grpc tells the end of every call, and trio need not wake for it."""
        if not errand.finished:
            self._hand(errand.cancel)

    def _hand(self, call: Callable[[], None]) -> None:
        self._queue.append(call)
        if self._rung:
            return  # whoever drains takes it along: the flag is cleared before the queue is looked at
        self._rung = True
        try:
            if self._token is None:
                raise trio.RunFinishedError
            self._token.run_sync_soon(self._drain)
        except trio.RunFinishedError:
            self._drain()  # there is no trio any more: everybody in the queue is told so

    def _drain(self) -> None:
        self._rung = False
        while self._queue:
            self._queue.popleft()()

    def _start(self, errand: Errand) -> None:
        if self._nursery is None:
            errand.fail(errors.Unavailable("shutting_down", retry_after=1.0))
        else:
            self._nursery.start_soon(errand.run, self._log)
