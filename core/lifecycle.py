"""Start in order, say ready, drain in the reverse order within the grace time, end with nothing left behind.

A component is a task: it opens what it needs, reports that it is up, and runs until it is cancelled; what it opened it
closes in its own `finally`, under `cleanup`. A later component may use an earlier one for as long as it lives.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, Protocol

import trio

from nova.core.errors import Unavailable
from nova.core.guard import guard
from nova.core.log import Log
from nova.core.values import Seconds

CLEANUP: Final = Seconds(5.0)  # for closing one component after its drain; files and sockets close in milliseconds
FINISH: Final = Seconds(30.0)  # for what a request must not leave half done; a disk and a bucket that are busy, not that hang


class State(Enum):
    """Where the program stands; `/readyz` and `/healthz` read it."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    STOPPED = "stopped"


class Run(Protocol):
    """The task of a component: calls `task_status.started()` when it is up, runs until cancelled."""

    def __call__(self, *, task_status: trio.TaskStatus[Any]) -> Awaitable[None]: ...


@dataclass(frozen=True, slots=True)
class Component:
    """One part of the program.

    drain: stop accepting, then wait until what is in flight has ended; cancelled when the grace time is over.
    """

    name: str
    run: Run
    drain: Callable[[], Awaitable[None]] | None = None


@dataclass(slots=True, eq=False)
class _Running:
    component: Component
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    ended: trio.Event = field(default_factory=trio.Event)


@contextmanager
def cleanup(timeout: float = CLEANUP) -> Iterator[trio.CancelScope]:
    """A scope for clean-up that awaits: shielded from the cancellation that caused it, and with its own time."""
    with trio.move_on_after(timeout, shield=True) as scope:
        yield scope


@contextmanager
def finishing(timeout: float = FINISH) -> Iterator[None]:
    """A scope for what a caller that leaves must not cut in two: shielded as `cleanup` is, and it tells when its time was too short.

    Raises Unavailable: it was. Do the steps in an order in which the same call, made again, finds what is left to do.
    """
    with cleanup(timeout) as scope:
        yield
    if scope.cancelled_caught:
        raise Unavailable(detail=f"This took longer than {timeout:g} seconds and is not finished; ask again.", retry_after=timeout)


class _Status:
    """Passes `started` on, and from then on keeps the component from every cancellation but its own."""

    def __init__(self, outer: trio.TaskStatus[Any], scope: trio.CancelScope) -> None:
        self._outer, self._scope = outer, scope

    def started(self, value: object = None) -> None:
        self._scope.shield = True
        self._outer.started(value)


class Lifecycle:
    """Runs components; each entry is one, or a group that drains together."""

    def __init__(
        self,
        components: Sequence[Component | Sequence[Component]],
        *,
        grace: float,
        log: Log,
        ready: Callable[[], None] = lambda: None,
    ) -> None:
        """grace: seconds for all drains together. ready: called once, when every component is up."""
        self._groups = [[entry] if isinstance(entry, Component) else list(entry) for entry in components]
        self._grace, self._log, self._ready = grace, log, ready
        self._stop = trio.Event()
        self._starting = trio.CancelScope()
        self.state = State.STARTING

    def stop(self) -> None:
        """Begin to drain, or give up starting; `run` returns when all is down. Harmless when called again."""
        self._stop.set()
        self._starting.cancel()

    async def run(self) -> None:
        """Run everything until `stop`, cancellation, or the end of a component.

        A component that fails, while it starts or later, takes the program down in the same order, and its error is
        raised (alone when it is the only one, else in a group). Then, and after a cancellation, nothing is drained.
        """
        running: list[list[_Running]] = []
        try:
            async with trio.open_nursery() as nursery:
                try:
                    with self._starting:
                        await self._start(running, nursery)
                        self.state = State.READY
                        self._ready()
                    await self._stop.wait()
                finally:
                    self.state = State.DRAINING
                    orderly = self._stop.is_set() and not nursery.cancel_scope.cancel_called
                    deadline = trio.current_time() + (self._grace if orderly else 0.0)
                    for started in reversed(running):
                        await self._take_down(started, deadline)
        except BaseExceptionGroup as group:
            raise _sole(group) from None
        finally:
            self.state = State.STOPPED

    async def _start(self, running: list[list[_Running]], nursery: trio.Nursery) -> None:
        for group in self._groups:
            started: list[_Running] = []
            running.append(started)
            for component in group:
                entry = _Running(component)
                started.append(entry)
                await nursery.start(self._own, entry)

    async def _own(self, entry: _Running, *, task_status: trio.TaskStatus[Any]) -> None:
        try:
            with entry.scope:
                await entry.component.run(task_status=_Status(task_status, entry.scope))
                if not self._stop.is_set():
                    raise RuntimeError(f"component {entry.component.name} ended by itself")
        finally:
            entry.ended.set()

    async def _take_down(self, group: Sequence[_Running], deadline: float) -> None:
        with trio.CancelScope(shield=True):
            async with trio.open_nursery() as drains:
                for entry in group:
                    if entry.component.drain is not None and not entry.ended.is_set():
                        drains.start_soon(self._drain, entry.component.name, entry.component.drain, deadline)
            for entry in reversed(group):
                entry.scope.cancel()
                with trio.move_on_after(CLEANUP) as waiting:
                    await entry.ended.wait()
                if waiting.cancelled_caught:
                    self._log.error("component_does_not_end", component=entry.component.name, waited_s=CLEANUP)

    async def _drain(self, name: str, drain: Callable[[], Awaitable[None]], deadline: float) -> None:
        with trio.move_on_at(deadline) as scope:
            # A drain that fails must not keep the others from theirs.
            await guard(self._log.bind(component=name), drain)
        if scope.cancelled_caught and self._stop.is_set():
            self._log.warning("drain_cut_short", component=name, grace_s=self._grace)


def _sole(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The one error within nested groups of one, else the group."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
