"""One computation for each name, however many ask: the first one starts it, the others wait, and nobody's leaving ends it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import trio

from nova.core import errors
from nova.core.errors import NovaError
from nova.core.guard import guard
from nova.core.log import Log

T = TypeVar("T")

_log = Log("nova.images")


class _Flight(Generic[T]):
    def __init__(self) -> None:
        self.landed = trio.Event()
        self.value: T | None = None
        self.error: NovaError | None = None


class Flights(Generic[T]):
    """`run` owns the computations; those under way end with it."""

    def __init__(self) -> None:
        self._flights: dict[str, _Flight[T]] = {}
        self._nursery: trio.Nursery | None = None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                task_status.started()
                await trio.sleep_forever()
        finally:
            self._nursery = None

    def __len__(self) -> int:
        return len(self._flights)

    async def get(self, name: str, work: Callable[[], Awaitable[T]]) -> T:
        """What `work` returns, from a computation of that name that is under way, else from a new one. Raises what it raised."""
        flight = self._flights.get(name)
        if flight is None:
            if self._nursery is None:
                raise errors.Unavailable("shutting_down", "no more pictures are made")
            flight = self._flights[name] = _Flight()
            self._nursery.start_soon(guard, _log, self._fly, name, flight, work)
        await flight.landed.wait()
        if flight.error is not None:
            raise errors.of(flight.error.code, flight.error.detail, retry_after=flight.error.retry_after)
        if flight.value is None:
            raise errors.Internal(detail="a computation ended without a result")
        return flight.value

    async def _fly(self, name: str, flight: _Flight[T], work: Callable[[], Awaitable[T]]) -> None:
        try:
            flight.value = await work()
        except NovaError as error:
            flight.error = error
        finally:
            del self._flights[name]
            flight.landed.set()
