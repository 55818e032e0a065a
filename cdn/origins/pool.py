"""Kept connections to one origin, and one exchange over one of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from types import TracebackType
from typing import Self

import trio

from nova.cdn.errors import OriginBroken, OriginError
from nova.cdn.origins.answer import AnswerError, AnswerReader, End, Event, Head, Interim
from nova.cdn.origins.dial import Dialer
from nova.cdn.origins.patience import Patience
from nova.cdn.origins.wire import Wire
from nova.cdn.ports import Informational


class Connection:
    """One connection. used: exchanges that it has carried."""

    def __init__(self, stream: trio.abc.Stream, wire: Wire, now: float) -> None:
        self.stream, self._wire = stream, wire
        self.used = 0
        self.idle_since = now

    def quiet(self) -> bool:
        """Whether nothing has come while nobody asked: the peer has neither closed nor said anything."""
        return self._wire.quiet()

    def send_now(self, data: bytes) -> int:
        """Bytes that went out without waiting, 0 under TLS. Raises BrokenResourceError, ClosedResourceError."""
        return self._wire.send_now(data) if self.stream is self._wire else 0

    def close_now(self) -> None:
        """At once, without a word: an origin's TLS end is not worth a round trip."""
        self._wire.close_now()


class Pool:
    """Connections to one origin. most: open at once; one more waits for `patience` seconds. idle: of them that are kept."""

    def __init__(self, dialer: Dialer, *, most: int, idle: int, keep: float, patience: float) -> None:
        self._dialer = dialer
        self._most, self._room = most, trio.Semaphore(most)
        self._idle: deque[Connection] = deque()
        self._most_idle, self._keep, self._patience = idle, keep, patience
        self._closed = False
        self.opened = 0

    @property
    def busy(self) -> int:
        return self._most - self._room.value

    @property
    def idle(self) -> int:
        return len(self._idle)

    async def take(self, *, fresh: bool = False) -> Lease:
        """A connection of one's own until the lease ends. fresh: not one that was used before.

        Raises OriginError: `origin_busy`, `origin_unreachable`.
        """
        try:
            self._room.acquire_nowait()
        except trio.WouldBlock:
            with trio.move_on_after(self._patience) as scope:
                await self._room.acquire()
            if scope.cancelled_caught:
                raise OriginError(
                    "origin_busy", f"{self._most} connections to {self._dialer.where.host} are in use", retry_after=1.0
                ) from None
        try:
            connection = None if fresh else self._kept()
            if connection is None:
                connection = Connection(*await self._dialer.dial(), trio.current_time())
                self.opened += 1
        except BaseException:
            self._room.release()
            raise
        return Lease(self, connection)

    def _kept(self) -> Connection | None:
        """The one used last: it is the likeliest to live, and the others may age."""
        now = trio.current_time()
        while self._idle:
            connection = self._idle.pop()
            if now - connection.idle_since < self._keep and connection.quiet():
                return connection
            connection.close_now()
        return None

    def give_back(self, connection: Connection, *, reusable: bool) -> None:
        self._room.release()
        if reusable and not self._closed and len(self._idle) < self._most_idle and self._keep > 0:
            connection.idle_since = trio.current_time()
            self._idle.append(connection)
        else:
            connection.close_now()

    def sweep(self) -> None:
        """Close what has been idle for too long, or was closed over there."""
        now = trio.current_time()
        for _ in range(len(self._idle)):
            connection = self._idle.popleft()
            if now - connection.idle_since < self._keep and connection.quiet():
                self._idle.append(connection)
            else:
                connection.close_now()

    def close(self) -> None:
        """Idle connections now, others when they are given back."""
        self._closed = True
        while self._idle:
            self._idle.pop().close_now()


class Lease:
    """A connection for one exchange."""

    def __init__(self, pool: Pool, connection: Connection) -> None:
        self._pool, self.connection = pool, connection
        self._ended = self._spoilt = False

    def spoil(self) -> None:
        """The connection is not used again, also when it was given back already."""
        self._spoilt = True
        if self._ended:
            self.connection.close_now()

    def end(self, *, reusable: bool) -> None:
        """Once; later calls do nothing."""
        if not self._ended:
            self._ended = True
            reusable = reusable and not self._spoilt
            self._pool.give_back(self.connection, reusable=reusable)


class Exchange:
    """One request and its answer on a leased connection. A context manager: leaving ends the lease, complete or not.

    first_byte, idle: seconds until the answer's head, and until the next step of any body. Who waits longer loses the connection.
    conditional: 304 is an answer.
    """

    def __init__(
        self, lease: Lease, method: str, patience: Patience, *, first_byte: float, idle: float, upgrade: bool = False,
        conditional: bool = False,
    ) -> None:  # fmt: skip
        self._lease = lease
        self._stream = lease.connection.stream
        self.reused = lease.connection.used > 0
        lease.connection.used += 1
        self._reader = AnswerReader(method, upgrade=upgrade, conditional=conditional)
        self._patience, self._first_byte, self._idle = patience, first_byte, idle
        self._events: Iterator[Event] = iter(())
        self._ended = False
        self._sending = self._awaited = False
        self._overdue = False
        self.rest = b""
        self.head: Head

    @property
    def begun(self) -> bool:
        """Whether a byte of the answer has come."""
        return self._reader.begun

    @property
    def stream(self) -> trio.abc.Stream:
        return self._stream

    async def send(self, data: bytes) -> None:
        """Raises OriginError: nothing more can be sent; OriginBroken never: an answer may have come nevertheless."""
        try:
            sent = self._lease.connection.send_now(data)
            if sent == len(data):
                return
            taking = _Taking(self)
            self._patience.begin(taking, self._idle)
            try:
                await self._stream.send_all(data[sent:])
            finally:
                self._patience.end(taking, self._idle)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            if self._overdue:
                raise OriginError("origin_timeout", f"nothing was taken for {self._idle:g} s") from None
            raise OriginError("origin_unreachable", "the connection was closed while the request was sent") from error

    def sending(self) -> None:
        """The request has a body: until `sent` the answer has time, for a client that is slow is no origin that is."""
        self._sending = True

    def sent(self) -> None:
        """The body is sent, or will not be: from now on the answer is awaited."""
        self._sending = False
        if self._awaited:
            self._patience.begin(self, self._first_byte)

    async def answer(self, informational: Informational | None) -> Head:
        """The head of the answer. Raises OriginError `origin_timeout`; OriginBroken."""
        self._awaited = True
        if not self._sending:
            self._patience.begin(self, self._first_byte)
        try:
            while True:
                event = self._come() or await self._next()
                if isinstance(event, Head):
                    self.head = event
                    return event
                if isinstance(event, Interim) and informational is not None and event.status != 100:
                    informational(event.status, event.fields)
        except OriginBroken:
            if self._overdue:
                raise OriginError("origin_timeout", f"no answer came within {self._first_byte:g} s") from None
            raise
        finally:
            self._awaited = False
            self._patience.end(self, self._first_byte)

    async def read(self) -> bytes:
        """The next bytes of the body, empty at its clean end. Raises OriginBroken."""
        if self._ended:
            return b""
        event = self._come()  # what came with the head waits for nobody
        if event is None:
            self._patience.begin(self, self._idle)
            try:
                event = await self._next()
            except OriginBroken:
                if self._overdue:
                    raise OriginBroken(f"the answer paused for {self._idle:g} s") from None
                raise
            finally:
                self._patience.end(self, self._idle)
        if isinstance(event, bytes):
            return event
        assert isinstance(event, End)
        self._ended, self.rest = True, event.rest
        if not self.head.upgrade:
            self._lease.end(reusable=event.reusable)
        return b""

    def _come(self) -> Event | None:
        """What the bytes that are here complete. Raises OriginBroken."""
        try:
            return next(self._events, None)
        except AnswerError as error:
            raise OriginBroken(str(error)) from None

    async def _next(self) -> Event:
        while True:
            try:
                data = bytes(await self._stream.receive_some())
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                raise OriginBroken("the connection broke within the answer") from None
            self._events = self._reader.feed(data) if data else self._reader.eof()
            if (event := self._come()) is not None:
                return event

    def overdue(self) -> None:
        """Whoever waits for the peer is told that the connection is closed."""
        self._overdue = True
        self._lease.connection.close_now()

    def spoil(self) -> None:
        """Not all of the request was sent: whatever comes next on this connection would be read as the rest of it."""
        self._lease.spoil()

    def end(self) -> None:
        """Give the connection back when the answer is complete, else up."""
        reusable = False
        if not self._ended and hasattr(self, "head") and not self.head.upgrade:
            with suppress(AnswerError):  # what came with the head may be all of the answer
                reusable = any(isinstance(event, End) and event.reusable for event in self._events)
        self._lease.end(reusable=reusable)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.end()


class _Taking:
    """The peer is to take a part of the request, while its answer may be waited for, too."""

    __slots__ = ("overdue",)

    def __init__(self, exchange: Exchange) -> None:
        self.overdue = exchange.overdue
