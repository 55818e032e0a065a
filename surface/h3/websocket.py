"""One WebSocket over HTTP/3 (RFC 9220) as an ASGI 3 call; frames by the same kernel as over HTTP/1.1 (ext/ws).

No extension is agreed on. Every end ends the task: a close frame of either side, FIN or reset of the stream, the connection's end, silence.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final

import trio
from aioquic.h3.connection import ErrorCode

from nova.ext import ws
from nova.surface.h3.exchange import LEAVE, App
from nova.surface.h3.stream import Stream, StreamGone

PIECE: Final = 4096  # bytes read at once: they may be 700 frames, a millisecond's worth
FAREWELL: Final = 2.0  # seconds for the peer's close frame after ours
BROKEN: Final = 1006
INTERNAL: Final = 4000


class WebSocket:
    """A WebSocket and its application.

    max_message: bytes. date: makes the value of the Date field. ping: seconds between two of ours, which keep the path open and
    tell a silent peer from a quiet one. silence: seconds without any sign of life after which the peer is gone.
    """

    def __init__(
        self, stream: Stream, scope: dict[str, Any], date: Callable[[], bytes], *, max_message: int, ping: float, silence: float
    ) -> None:
        self._stream, self._scope, self._date = stream, scope, date
        self._reader = ws.FrameReader(max_message=max_message)
        self._messages: deque[dict[str, Any]] = deque()
        self._greeted = False
        self._accepted = False
        self._refused = 0  # status of an HTTP answer instead
        self._closing = False  # our close frame is sent
        self._over: dict[str, Any] | None = None  # the disconnect that the application gets, once it is over
        self._ping, self._silence = ping, silence
        self._heard = trio.current_time()  # the last sign of life

    async def run(self, app: App) -> None:
        """The whole call."""
        async with trio.open_nursery() as nursery:

            def gone() -> None:
                self._end(BROKEN, "")
                nursery.cancel_scope.deadline = trio.current_time() + LEAVE

            self._stream.on_gone = gone
            if self._stream.is_gone:
                gone()
            nursery.start_soon(self._attend)
            code = INTERNAL
            try:
                await app(self._scope, self.receive, self.send)
                code = 1000
            finally:
                if self._accepted and not self._closing and self._over is None:
                    self._close(code, "")
            await self._farewell()
            nursery.cancel_scope.cancel()

    async def receive(self) -> dict[str, Any]:
        if not self._greeted:
            self._greeted = True
            await trio.lowlevel.checkpoint()
            return {"type": "websocket.connect"}
        await trio.lowlevel.checkpoint()
        while not self._messages and self._over is None:
            if self._stream.ended and not self._stream.waiting:
                self._finish(BROKEN, "")
                break
            await self._stream.listen()
            self._read(self._stream.take(PIECE))
        if self._messages:
            return self._messages.popleft()
        assert self._over is not None
        return self._over

    async def send(self, message: Any) -> None:
        """Raises StreamGone (an OSError) when nobody listens any more, RuntimeError when the application breaks the order."""
        kind = message["type"]
        if kind == "websocket.accept":
            if self._accepted or self._refused:
                raise RuntimeError("a WebSocket is accepted once")
            fields = [(bytes(name), bytes(value)) for name, value in message.get("headers", ())]
            if message.get("subprotocol"):
                fields.append((b"sec-websocket-protocol", message["subprotocol"].encode("latin-1")))
            self._accepted = True
            self._stream.head(200, [*fields, (b"date", self._date())])
        elif kind == "websocket.send":
            if not self._accepted:
                raise RuntimeError("accept comes before the first message")
            if self._closing or self._over is not None:
                raise StreamGone("the WebSocket is closed")
            text = message.get("text")
            payload = message["bytes"] if text is None else text.encode()
            await self._stream.send(ws.frame(ws.BINARY if text is None else ws.TEXT, payload))
            return
        elif kind == "websocket.close":
            if self._accepted:
                self._close(int(message.get("code", 1000)), message.get("reason") or "")
            elif not self._refused:
                self._refused = 403
                self._stream.head(403, [(b"date", self._date()), (b"content-length", b"0")], end=True)
                self._end(BROKEN, "")
        elif kind == "websocket.http.response.start":
            self._refused = int(message["status"])
            self._stream.head(self._refused, [*message.get("headers", ()), (b"date", self._date())])
        elif kind == "websocket.http.response.body":
            more = bool(message.get("more_body", False))
            await self._stream.send(bytes(message.get("body", b"")), end=not more)
            if not more:
                self._end(BROKEN, "")
            return
        else:
            raise RuntimeError(f"the message {kind!r} has no place in a WebSocket")
        await trio.lowlevel.checkpoint()

    def fail(self) -> None:
        """The application ended; nothing of the stream may stay."""
        if self._accepted or self._refused:
            self._stream.reset(ErrorCode.H3_REQUEST_CANCELLED)  # nothing, when both halves have ended
        elif not self._stream.is_gone:
            self._stream.head(500, [(b"date", self._date()), (b"content-length", b"0")], end=True)

    def _read(self, data: bytes) -> None:
        self._heard = trio.current_time()
        try:
            found = self._reader.feed(data)
        except ws.FrameError as error:
            self._take(error.messages)
            if self._over is None:
                self._close(error.close_code, error.code)
                self._finish(error.close_code, error.code)
        else:
            self._take(found)

    def _take(self, found: list[tuple[int, bytes, int, bool]]) -> None:
        ping: bytes | None = None  # RFC 6455, 5.5.3: of several the newest is answered
        for opcode, payload, code, _ in found:
            if opcode == ws.TEXT:
                self._messages.append({"type": "websocket.receive", "text": payload.decode()})
            elif opcode == ws.BINARY:
                self._messages.append({"type": "websocket.receive", "bytes": payload})
            elif opcode == ws.PING:
                ping = payload
            elif opcode == ws.CLOSE:
                if not self._closing:
                    self._closing = True
                    self._stream.post(ws.close_frame(0 if code == 1005 else code, payload))
                self._finish(code, payload.decode())
        if ping is not None and not self._closing:
            self._stream.post_if_room(ws.frame(ws.PONG, ping))

    def _close(self, code: int, reason: str) -> None:
        if not self._closing:
            self._closing = True
            self._reader.close_sent()
            self._stream.post(ws.close_frame(code, reason.encode()))

    def _finish(self, code: int, reason: str) -> None:
        """Both sides have said everything: FIN, which stands for the end of the TCP connection (RFC 8441, 5)."""
        self._end(code, reason)
        self._stream.post(b"", end=True)

    def _end(self, code: int, reason: str) -> None:
        if self._over is None:
            self._over = {"type": "websocket.disconnect", "code": code, "reason": reason}

    async def _farewell(self) -> None:
        """After our close frame: read until the peer's, for a moment."""
        with trio.move_on_after(FAREWELL):
            while self._closing and self._over is None:
                self._messages.clear()
                if self._stream.ended and not self._stream.waiting:
                    break
                await self._stream.listen()
                self._read(self._stream.take(PIECE))
        if self._accepted and self._over is None:
            self._finish(BROKEN, "")

    async def _attend(self) -> None:
        """Ping, and give up a peer from which nothing comes; what waits for the application has come."""
        while self._over is None:
            await trio.sleep(self._ping)
            now = trio.current_time()
            if self._stream.waiting or not self._accepted:
                self._heard = now
            if now - self._heard >= self._silence:
                self._stream.reset(ErrorCode.H3_REQUEST_CANCELLED)
                return
            if self._accepted and not self._closing:
                self._stream.post_if_room(ws.frame(ws.PING, b""))
