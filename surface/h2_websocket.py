"""A WebSocket in a stream of HTTP/2 (RFC 8441): Hypercorn's stream with the frames of our own kernel (ext/ws), as over HTTP/1.1 and HTTP/3.

Hypercorn's own says nothing to a client whose frame breaks the rules, and agrees to compression with a context, which it inflates without
a bound. Here no extension is agreed on, and every end is said: a close frame, then END_STREAM.
"""

from __future__ import annotations

from typing import Any, Final

import hypercorn.protocol.h2
from hypercorn.protocol.events import Body, Data, EndData, Event
from hypercorn.protocol.ws_stream import WSStream
from wsproto.events import BytesMessage, CloseConnection, Ping, TextMessage

from nova.ext import ws

MESSAGE_MAX: Final = 65_536  # bytes


class Stream(WSStream):
    """What Hypercorn makes for an extended CONNECT."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._reader = ws.FrameReader(max_message=MESSAGE_MAX)
        self._closing = False  # our close frame is sent, or on its way
        self._over = False  # the application has been told that nothing more comes
        self._pong: bytes | None = None  # what the newest ping carried, until it is answered

    async def handle(self, event: Event) -> None:
        if isinstance(event, (Body, Data)) and self.handshake.accepted and not self.closed:
            if not self._over:
                await self._read(bytes(event.data))
        else:
            await super().handle(event)

    async def app_send(self, message: Any) -> None:
        if message is None or not self._over:
            await super().app_send(message)

    async def _accept(self, message: Any) -> None:
        self.handshake.extensions = None
        await super()._accept(message)

    async def _send_wsproto_event(self, event: Any) -> None:
        """What Hypercorn has to say."""
        if self._closing:
            return
        if isinstance(event, CloseConnection):
            data = self._close_frame(int(event.code), (event.reason or "").encode())
        elif isinstance(event, TextMessage):
            data = ws.frame(ws.TEXT, event.data.encode())
        elif isinstance(event, BytesMessage):
            data = ws.frame(ws.BINARY, event.data)
        elif isinstance(event, Ping):
            data = ws.frame(ws.PING, b"")
        else:
            raise TypeError(type(event).__name__)
        await self.send(Data(stream_id=self.stream_id, data=data))

    async def _read(self, data: bytes) -> None:
        error: ws.FrameError | None = None
        try:
            found = self._reader.feed(data)
        except ws.FrameError as broken:
            error, found = broken, broken.messages
        for opcode, payload, code, _ in found:
            if opcode == ws.TEXT:
                await self._give({"type": "websocket.receive", "text": payload.decode()})
            elif opcode == ws.BINARY:
                await self._give({"type": "websocket.receive", "bytes": payload})
            elif opcode == ws.PING:
                if self._pong is None:
                    self.task_group.spawn(self._answer_pings)
                self._pong = payload
            elif opcode == ws.CLOSE:
                await self._end(0 if code == 1005 else code, payload)
        if error is not None:
            await self._end(error.close_code, error.code.encode())

    async def _give(self, message: dict[str, Any]) -> None:
        assert self.app_put is not None
        await self.app_put(message)

    async def _end(self, code: int, reason: bytes) -> None:
        """The client has said its last word, or is not listened to any more."""
        if self._over:
            return
        self._over = True
        last = b"" if self._closing else self._close_frame(code, reason)
        # A task of its own: whoever reads the connection must not wait for a client that takes nothing.
        self.task_group.spawn(self._say_last, last)
        await self._give({"type": "websocket.disconnect", "code": code or 1005})

    async def _answer_pings(self) -> None:
        """Of several the newest, once the client has taken what waits for it (RFC 6455, 5.5.3): who takes nothing fills no buffer."""
        protocol: Any = getattr(self.send, "__self__", None)
        payload = None
        while self._pong is not payload and not self._closing:
            payload = self._pong
            assert payload is not None
            await self.send(Data(stream_id=self.stream_id, data=ws.frame(ws.PONG, payload)))
            if (buffer := protocol.stream_buffers.get(self.stream_id)) is not None:
                await buffer.drain()
        self._pong = None

    async def _say_last(self, data: bytes) -> None:
        if data:
            await self.send(Data(stream_id=self.stream_id, data=data))
        await self.send(EndData(stream_id=self.stream_id))

    def _close_frame(self, code: int, reason: bytes) -> bytes:
        self._closing = True
        self._reader.close_sent()
        return ws.close_frame(code, reason)


# Hypercorn has no other place to say which stream it makes.
setattr(hypercorn.protocol.h2, "WSStream", Stream)  # noqa: B010 -- mypy: a class that is imported there is no variable
