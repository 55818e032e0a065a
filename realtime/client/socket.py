"""A WebSocket (RFC 6455) as a client: a trio stream, our own frames (ext/ws), no extensions."""

from __future__ import annotations

import base64
import os
import ssl
from contextlib import suppress
from hashlib import sha1
from typing import Final
from urllib.parse import urlsplit

import trio

from nova.ext import ws

GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
HEAD_MAX: Final = 16_384  # bytes of the answer to the upgrade
MESSAGE_MAX: Final = 8 << 20  # bytes: 128 channels' worth of recovered publications in one frame
FAREWELL: Final = 1.0  # seconds for our close frame, when the network takes nothing any more
PORTS: Final = {"ws": 80, "wss": 443}


class SocketClosed(OSError):
    """The other side has closed, or the connection broke (1006)."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"closed with {code} {reason}".rstrip())
        self.code, self.reason = code, reason


class Socket:
    """One connection with the subprotocol `nova.json.v1`. One task receives; any task sends."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._reader = ws.FrameReader(client=True, binary=False, max_message=MESSAGE_MAX)
        self._sending = trio.Lock()
        self._early = b""
        self._end: tuple[int, str] | None = None  # the peer's close frame, behind its last words

    async def send(self, text: str) -> None:
        """Raises SocketClosed."""
        await self._send(ws.frame(ws.TEXT, text.encode(), key=os.urandom(4)))

    async def receive(self) -> list[str]:
        """The texts that have come, at least one. Raises SocketClosed."""
        texts: list[str] = []
        while not texts:
            if self._end is not None:
                await self.close(1000 if self._end[0] == 1005 else self._end[0])
                raise SocketClosed(*self._end)
            try:
                data, self._early = self._early or await self._stream.receive_some(65_536), b""
            except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                raise SocketClosed(1006, "") from error
            if not data:
                raise SocketClosed(1006, "")
            try:
                found = self._reader.feed(data)
            except ws.FrameError as error:
                found, self._end = error.messages, (error.close_code, error.code)
            for opcode, payload, code, _ in found:
                if opcode == ws.TEXT:
                    texts.append(payload.decode())
                elif opcode == ws.PING:
                    await self._send(ws.frame(ws.PONG, payload, key=os.urandom(4)))
                elif opcode == ws.CLOSE:
                    self._end = (code, payload.decode())
        return texts

    def early(self, data: bytes) -> None:
        """Bytes that came with the answer to the upgrade."""
        self._early = data

    async def close(self, code: int) -> None:
        """Say goodbye, without waiting for the answer."""
        with trio.move_on_after(FAREWELL, shield=True):
            with suppress(SocketClosed):
                await self._send(ws.close_frame(code, key=os.urandom(4)))
            await self._stream.aclose()

    async def _send(self, frame: bytes) -> None:
        async with self._sending:
            try:
                await self._stream.send_all(frame)
            except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                raise SocketClosed(1006, "") from error


async def open_socket(url: str, context: ssl.SSLContext | None = None) -> Socket:
    """Connect and upgrade. Raises SocketClosed (1006: no connection, or not a WebSocket), ValueError: no such URL."""
    parts = urlsplit(url)
    if parts.scheme not in PORTS or not parts.hostname:
        raise ValueError(f"not a WebSocket URL: {parts.scheme}://…")
    port = parts.port or PORTS[parts.scheme]
    try:
        stream: trio.abc.Stream = await trio.open_tcp_stream(parts.hostname, port)
        if parts.scheme == "wss":
            context = context or ssl.create_default_context()
            stream = trio.SSLStream(stream, context, server_hostname=parts.hostname, https_compatible=True)
        try:
            return await _upgraded(
                stream, parts.netloc.rpartition("@")[2], (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            )
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
    except (OSError, trio.BrokenResourceError) as error:
        raise SocketClosed(1006, str(error)) from error


async def _upgraded(stream: trio.abc.Stream, host: str, target: str) -> Socket:
    key = base64.b64encode(os.urandom(16))
    await stream.send_all(
        b"GET %s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: %s\r\nSec-WebSocket-Protocol: nova.json.v1\r\n\r\n" % (target.encode(), host.encode(), key)
    )
    head = b""
    while b"\r\n\r\n" not in head:
        data = await stream.receive_some(4096)
        if not data or len(head) > HEAD_MAX:
            raise SocketClosed(1006, "no answer to the upgrade")
        head += data
    head, _, rest = head.partition(b"\r\n\r\n")
    status, *lines = head.split(b"\r\n")
    fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
    accept = base64.b64encode(sha1(key + GUID, usedforsecurity=False).digest())
    if b" 101" not in status or fields.get(b"sec-websocket-accept") != accept:
        raise SocketClosed(1006, f"the upgrade was answered {status[9:12].decode('latin-1')}")
    socket = Socket(stream)
    socket.early(rest)
    return socket
