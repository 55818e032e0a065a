"""One request over HTTP/3 as an ASGI 3 call: the twin of core/reactor/exchange, for streams."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

import trio
from aioquic.h3.connection import ErrorCode

from nova.core.errors import Internal
from nova.core.reactor.refusal import refusal
from nova.surface.h3.connection import Fields
from nova.surface.h3.stream import Stream

App = Callable[[Any, Any, Any], Awaitable[None]]

LEAVE: Final = 5.0  # seconds that an application may still run after its client has left


class Exchange:
    """A request and its answer.

    date: makes the value of the Date field.
    """

    def __init__(self, stream: Stream, scope: dict[str, Any], date: Callable[[], bytes]) -> None:
        self._stream, self._scope, self._date = stream, scope, date
        self._continue = any(name == b"expect" and value.lower() == b"100-continue" for name, value in scope["headers"])
        self._told = False  # that the request is whole
        self._status = 0
        self._fields: Iterable[tuple[bytes, bytes]] = ()
        self._started = False
        self._done = False
        self._left = -1  # bytes of the answer still to come, when it has said how many
        self._finished = trio.Event()

    async def run(self, app: App) -> None:
        """The whole call. The application is cancelled a while after its client has left."""
        with trio.CancelScope() as scope:

            def gone() -> None:
                scope.deadline = trio.current_time() + LEAVE
                self._finished.set()

            self._stream.on_gone = gone
            if self._stream.is_gone:
                gone()
            await app(self._scope, self.receive, self.send)

    async def receive(self) -> dict[str, Any]:
        """`http.request` while there is a body, then `http.disconnect` when the client leaves or the answer is complete."""
        stream = self._stream
        if not self._told and not self._done:
            if self._continue and not stream.ended and not self._started:
                self._continue = False
                stream.head(100, [])
            try:
                await stream.heard()
            except trio.TooSlowError:
                stream.reset(ErrorCode.H3_REQUEST_INCOMPLETE)
            if not stream.is_gone:
                data = stream.take()
                self._told = stream.ended
                return {"type": "http.request", "body": data, "more_body": not self._told}
        if not (stream.is_gone or self._done):
            await self._finished.wait()
        await trio.lowlevel.checkpoint()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        """`http.response.start`, then `http.response.body` until one says that it is the last.

        Raises StreamGone (an OSError) when nobody listens any more, RuntimeError when the application breaks the order or its own
        Content-Length.
        """
        kind = message["type"]
        if kind == "http.response.start":
            if self._status:
                raise RuntimeError("a response starts once")
            self._status, self._fields = int(message["status"]), message.get("headers", ())
        elif kind == "http.response.body":
            if not self._status or self._done:
                raise RuntimeError("a body comes after the start and before the end of a response")
            await self._send_body(bytes(message.get("body", b"")), bool(message.get("more_body", False)))
            return
        elif kind != "http.response.debug":
            raise RuntimeError(f"the message {kind!r} has no place in an HTTP response")
        await trio.lowlevel.checkpoint()

    def fail(self) -> None:
        """The application ended without a whole answer: 500 when nothing was sent, else a visibly broken end."""
        if self._done or self._stream.is_gone:
            return
        if self._started:
            self._stream.reset()
        else:
            refuse(self._stream, Internal(), self._date(), bodiless=self._bodiless())
        self._done = True

    def _bodiless(self) -> bool:
        return bool(self._scope["method"] == "HEAD")

    def _head(self, size: int, more: bool) -> Fields:
        fields = [(bytes(name).lower(), bytes(value)) for name, value in self._fields]
        names = {name for name, _ in fields}
        if b"content-length" in names:
            self._left = int(dict(fields)[b"content-length"])
        elif not more and self._status >= 200 and self._status not in (204, 304):
            self._left = size
            fields.append((b"content-length", b"%d" % size))
        if b"date" not in names:
            fields.append((b"date", self._date()))
        if self._bodiless() or self._status < 200 or self._status in (204, 304):
            self._left = -1
        return fields

    async def _send_body(self, body: bytes, more: bool) -> None:
        bodiless = self._bodiless() or self._status in (204, 304)
        head = None if self._started else self._head(len(body), more)
        if bodiless:
            body = b""
        elif self._left >= 0:
            self._left -= len(body)
            if self._left < 0 or (not more and self._left > 0):
                self._stream.reset()
                raise RuntimeError("the body is not as long as its Content-Length")
        if head is not None:
            self._started = True
            self._stream.head(self._status, head, end=not more and not body)
            if not more and not body:
                self._end()
                return
        if body or not more:
            if not more:
                self._done = True  # also when it is cancelled: what was sent is an answer, or a reset
            try:
                await self._stream.send(body, end=not more)
            except BaseException:
                self._stream.reset(ErrorCode.H3_REQUEST_CANCELLED)
                raise
        if not more:
            self._end()

    def _end(self) -> None:
        self._done = True
        self._finished.set()


def refuse(stream: Stream, error: Any, date: bytes, *, status: int = 0, bodiless: bool = False) -> None:
    """Answer in the application's stead."""
    code, fields, body = refusal(error)
    stream.head(status or code, [*fields, (b"date", date)], end=bodiless)
    if not bodiless:
        stream.post(body, end=True)
