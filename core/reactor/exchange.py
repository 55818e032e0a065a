"""One request that is not hot, as an ASGI 3 call: scope, `receive`, `send`; the answer goes back through the reactor.

The reactor keeps the connection: framing in, keep-alive, deadlines of the peer. Here: the answer's framing, back-pressure both ways,
and what an application gets to hear of a client that left (ASGI HTTP specification 2.4).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import trio

from nova.core.errors import Internal
from nova.core.reactor.refusal import refusal
from nova.ext.buffer import Buffer
from nova.ext.engine import CLOSE, END, EXPECTS_CONTINUE, HAS_CHUNKED_BODY, KEEPS_ALIVE

if TYPE_CHECKING:
    from nova.core.reactor.stream import RawStream
    from nova.ext.engine import Engine

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
App = Callable[[Scope, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]

_WINDOW: Final = 65_536  # bytes of a body that may come up unread
_MARK: Final = 262_144  # bytes sent between two looks at the backlog
_SHARED: Final = 16_384  # bytes of a Buffer from which sharing it is cheaper than a copy
_LEAVE: Final = 5.0  # seconds that an application may still run after its client has left

_STATUS: Final = {status.value: b"HTTP/1.1 %d %s\r\n" % (status.value, status.phrase.encode()) for status in HTTPStatus}


class ClientDisconnected(OSError):
    """`send` after the client has left."""


class Exchange:
    """One request and its answer. The dispatcher calls `body`, `drained` and `closed`; the application runs in `run`."""

    __slots__ = (
        "_asked",
        "_body",
        "_chunked",
        "_conn",
        "_continue",
        "_date",
        "_done",
        "_drained",
        "_engine",
        "_gone",
        "_headers",
        "_heard",
        "_keep",
        "_left",
        "_more",
        "_no_body",
        "_started",
        "_status",
        "_unmarked",
        "cancel",
        "scope",
        "stream",
    )

    def __init__(
        self, engine: Engine, conn: int, scope: Scope, *, method: str, minor: int, flags: int, length: int, date: Callable[[], bytes]
    ) -> None:
        """flags: HeadFlag of ext/http1. length: Content-Length, -1: none. date: makes the Date line."""
        self._engine = engine
        self._date = date
        self._conn = conn
        self.scope = scope
        self.cancel = trio.CancelScope()
        self._body: deque[bytes] = deque()
        self._more = length > 0 or bool(flags & HAS_CHUNKED_BODY)  # more of the request's body is to come
        self._asked = 0  # bytes that the reactor may send up and has not
        self._continue = bool(flags & EXPECTS_CONTINUE)
        self._keep = bool(flags & KEEPS_ALIVE)
        self._chunked = minor == 1  # how to frame an answer of unknown length
        self._no_body = method == "HEAD"
        self._status = 0
        self._headers: Iterable[tuple[bytes, bytes]] = ()
        self._started = False  # the head is sent
        self._done = False  # the answer is complete
        self._gone = False  # the client has left
        self._left = -1  # bytes of the answer still to come, when it has said how many
        self._unmarked = 0
        self.stream: RawStream | None = None  # what has become of the connection after 101
        self._heard: trio.Event | None = None
        self._drained: trio.Event | None = None

    # -- events of the reactor -----------------------------------------------------------------------------------------

    def body(self, data: bytes, last: bool) -> None:
        """A piece of the request's body."""
        self._body.append(data)
        self._asked -= len(data)
        if last:
            self._more = False
        if self._heard is not None:
            self._heard.set()

    def drained(self) -> None:
        """Little of the answer is unsent."""
        if self._drained is not None:
            self._drained.set()

    def closed(self) -> None:
        """The client has left."""
        self._gone = True
        self.cancel.deadline = trio.current_time() + _LEAVE
        if self._heard is not None:
            self._heard.set()
        if self._drained is not None:
            self._drained.set()

    # -- the application's side ----------------------------------------------------------------------------------------

    @property
    def complete(self) -> bool:
        """Whether the answer is whole, or nobody waits for it."""
        return self._done or self._gone

    @property
    def started(self) -> bool:
        return self._started

    async def receive(self) -> Message:
        """`http.request` while there is a body, then `http.disconnect` when the client leaves or the answer is complete."""
        first = self._heard is None
        while True:
            if self._body:
                data = self._body.popleft()
                await trio.lowlevel.checkpoint()
                return {"type": "http.request", "body": data, "more_body": self._more or bool(self._body)}
            if self._gone or self._done:
                await trio.lowlevel.checkpoint()
                return {"type": "http.disconnect"}
            if first and not self._more:
                self._heard = trio.Event()
                await trio.lowlevel.checkpoint()
                return {"type": "http.request", "body": b"", "more_body": False}
            first = False
            self._heard = trio.Event()
            if self._more:
                if self._continue and not self._started:
                    self._continue = False
                    self._engine.go_on(self._conn)
                if self._asked < _WINDOW // 2:
                    self._engine.credit(self._conn, _WINDOW - self._asked)
                    self._asked = _WINDOW
            await self._heard.wait()

    async def send(self, message: Message) -> None:
        """`http.response.start`, then `http.response.body` until one says that it is the last.

        Raises ClientDisconnected when nobody listens any more, RuntimeError when the application breaks the order or its own
        Content-Length.
        """
        kind = message["type"]
        if self._gone:
            await trio.lowlevel.checkpoint()
            raise ClientDisconnected("the client has left")
        if kind == "http.response.start":
            if self._status:
                raise RuntimeError("a response starts once")
            self._status = int(message["status"])
            self._headers = message.get("headers", ())
        elif kind == "nova.response.informational":
            # 1xx before the answer (RFC 9110, 15.2); nobody of HTTP/1.0 knows them.
            if self._chunked and not self._started:
                self._engine.send(self._conn, _lines(int(message["status"]), message["headers"]))
        elif kind == "http.response.body":
            if not self._status or self._done:
                raise RuntimeError("a body comes after the start and before the end of a response")
            await self._send_body(message.get("body", b""), bool(message.get("more_body", False)))
            return
        elif kind != "http.response.debug":
            raise RuntimeError(f"the message {kind!r} has no place in an HTTP response")
        await trio.lowlevel.checkpoint()  # a body that is broken may have come with the head: then its answer is the refusal

    # -- inside --------------------------------------------------------------------------------------------------------

    def switch(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """101: from now on the connection is bytes both ways; the dispatcher makes a stream of it."""
        self._started = self._done = True
        self._engine.send(self._conn, _lines(101, headers))
        self._engine.raw(self._conn)

    def _head(self, body: bytes | Buffer, more: bool) -> bytes:
        status = self._status
        lines = [_STATUS.get(status) or b"HTTP/1.1 %d \r\n" % status]
        length = date = False
        for name, value in self._headers:
            lower = bytes(name).lower()
            if lower == b"content-length":
                length = True
                self._left = int(value)
            elif lower == b"date":
                date = True
            elif lower in (b"transfer-encoding", b"connection", b"keep-alive"):
                continue  # the connection is the reactor's
            lines.append(b"%s: %s\r\n" % (lower, value))
        if status < 200 or status in (204, 304):
            self._no_body = True
            self._left = -1
        elif self._no_body:
            self._left = -1
            if not length and not more:
                lines.append(b"content-length: %d\r\n" % len(body))
        elif not length:
            if not more:
                self._left = len(body)
                lines.append(b"content-length: %d\r\n" % len(body))
            elif self._chunked:
                lines.append(b"transfer-encoding: chunked\r\n")
            else:
                self._keep = False
        if length or not more or self._no_body:
            self._chunked = False
        if not date:
            lines.append(self._date())
        if not self._keep or self._more:
            self._keep = False
            lines.append(b"connection: close\r\n")
        lines.append(b"\r\n")
        return b"".join(lines)

    async def _send_body(self, body: bytes | Buffer, more: bool) -> None:
        if isinstance(body, Buffer):
            if len(body) < _SHARED:
                body = bytes(body)
        else:
            body = bytes(body)
        head = b""
        if not self._started:
            head = self._head(body, more)
            self._started = True
        if self._no_body:
            body = b""
        elif self._left >= 0:
            self._left -= len(body)
            if self._left < 0 or (not more and self._left > 0):
                self._abort()
                raise RuntimeError("the body is not as long as its Content-Length")
        size = len(body)
        if self._chunked and not self._no_body:
            if isinstance(body, Buffer):
                self._engine.send(self._conn, b"%s%x\r\n" % (head, size))
                self._engine.send(self._conn, body)
                head, body = b"", b"\r\n"
            elif body:
                body = b"%x\r\n%s\r\n" % (size, body)
            if not more:
                body += b"0\r\n\r\n"
        flags = 0
        if not more:
            self._done = True
            flags = END if self._keep else END | CLOSE
        if isinstance(body, Buffer) or len(body) > 65_536:
            if head:
                self._engine.send(self._conn, head)
            self._engine.send(self._conn, body, flags)
        elif head or body or flags:
            self._engine.send(self._conn, head + body, flags)
        if self._done:
            if self._heard is not None:
                self._heard.set()
            await trio.lowlevel.checkpoint()
            return
        self._unmarked += size
        if self._unmarked >= _MARK or self._engine.congested(self._conn):
            self._unmarked = 0
            self._drained = trio.Event()
            self._engine.mark(self._conn)
            await self._drained.wait()
            if self._gone:
                raise ClientDisconnected("the client has left")
        else:
            await trio.lowlevel.checkpoint()

    def _abort(self) -> None:
        """A visibly broken end: the client must not take the part for the whole."""
        self._gone = True
        self._engine.close(self._conn)

    def fail(self) -> None:
        """The application ended without a whole answer: 500 when nothing was sent, else a visibly broken end."""
        if self.complete:
            return
        if self._started:
            self._abort()
            return
        self._status, self._headers, body = refusal(Internal())
        head = self._head(body, False)
        self._started = self._done = True
        self._engine.send(self._conn, head + (b"" if self._no_body else body), END if self._keep else END | CLOSE)


def _lines(status: int, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    lines = [_STATUS.get(status) or b"HTTP/1.1 %d \r\n" % status, *(b"%s: %s\r\n" % field for field in headers), b"\r\n"]
    return b"".join(lines)
