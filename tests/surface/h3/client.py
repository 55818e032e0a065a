"""An HTTP/3 client of our own on aioquic and trio: what a browser does, and what no browser would."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio
from aioquic.h3.connection import FrameType, H3Connection, Setting
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import ConnectionTerminated, HandshakeCompleted, StopSendingReceived, StreamDataReceived, StreamReset

Address = tuple[str, int]


class Answer:
    """What came on one stream."""

    def __init__(self) -> None:
        self.headers: dict[bytes, bytes] = {}
        self.interim: list[bytes] = []
        self.body = bytearray()
        self.ended = False
        self.reset: int | None = None
        self.stopped: int | None = None
        self.changed = trio.Event()

    @property
    def status(self) -> int:
        return int(self.headers.get(b":status", b"0"))

    def tell(self) -> None:
        self.changed.set()
        self.changed = trio.Event()

    async def until(self, what: Any) -> None:
        """Wait until `what(self)`."""
        while not what(self):
            await self.changed.wait()

    async def whole(self) -> Answer:
        await self.until(lambda a: a.ended or a.reset is not None)
        return self


class _H3(H3Connection):
    """Hears GOAWAY, which aioquic skips, and lets the answer to HEAD have a Content-Length."""

    def __init__(self, quic: QuicConnection) -> None:
        self.goaways: list[bytes] = []
        super().__init__(quic)

    def _check_control_frame_type(self, frame_type: int) -> None:
        super()._check_control_frame_type(frame_type)
        if frame_type == FrameType.GOAWAY:
            self.goaways.append(b"")

    def _check_content_length(self, stream: Any) -> None:
        """Ours to check."""


class Client:
    """One connection. `reading = False` acknowledges and reads nothing more of the answers: a slow reader."""

    def __init__(self, sock: trio.socket.SocketType, quic: QuicConnection) -> None:
        self.socket, self.quic = sock, quic
        self.http: _H3
        self.answers: dict[int, Answer] = {}
        self.ready = trio.Event()
        self.ended: ConnectionTerminated | None = None
        self.over = trio.Event()
        self.deaf = False  # datagrams are thrown away
        self._kick: trio.CancelScope | None = None
        self._kicked = False

    def kick(self) -> None:
        """There is something to send."""
        self._kicked = True
        if self._kick is not None:
            self._kick.cancel()

    async def pump(self) -> None:
        while not self.over.is_set():
            self._kicked = False
            for data, _ in self.quic.datagrams_to_send(trio.current_time()):
                if not self.deaf:
                    await self.socket.send(data)
            timer = self.quic.get_timer()
            data = b""
            if self._kicked:
                continue
            with trio.CancelScope(deadline=float("inf") if timer is None else timer) as self._kick:
                try:
                    data = await self.socket.recv(65536)
                except trio.ClosedResourceError:
                    continue  # it moved
            now = trio.current_time()
            if data and not self.deaf:
                self.quic.receive_datagram(data, ("peer", 1), now)
            if timer is not None and now >= timer:
                self.quic.handle_timer(now)
            while (event := self.quic.next_event()) is not None:
                self._event(event)

    def _event(self, event: Any) -> None:
        if isinstance(event, HandshakeCompleted):
            self.http = _H3(self.quic)
            self.ready.set()
        elif isinstance(event, ConnectionTerminated):
            self.ended = event
            self.over.set()
            self.ready.set()
            for answer in self.answers.values():
                answer.reset = answer.reset if answer.ended else -1
                answer.tell()
        elif isinstance(event, StreamReset | StopSendingReceived) and event.stream_id in self.answers:
            answer = self.answers[event.stream_id]
            if isinstance(event, StreamReset):
                answer.reset = event.error_code
            else:
                answer.stopped = event.error_code
            answer.tell()
        elif isinstance(event, StreamDataReceived):
            for each in self.http.handle_event(event):
                answer = self.answers.setdefault(each.stream_id, Answer())
                if isinstance(each, HeadersReceived):
                    if dict(each.headers).get(b":status", b"").startswith(b"1"):
                        answer.interim.append(dict(each.headers)[b":status"])
                    else:
                        answer.headers = dict(each.headers)
                    answer.ended = each.stream_ended
                elif isinstance(each, DataReceived):
                    answer.body += each.data
                    answer.ended = each.stream_ended
                answer.tell()

    def ask(
        self, path: str, *, method: str = "GET", fields: list[tuple[bytes, bytes]] | None = None, end: bool = True, **pseudo: str
    ) -> tuple[int, Answer]:
        """Send a head; the stream and what will come on it."""
        stream = self.quic.get_next_available_stream_id()
        self.answers[stream] = Answer()
        head = {"method": method, "scheme": "https", "authority": "localhost", "path": path} | pseudo
        self.http.send_headers(stream, [*((f":{k}".encode(), v.encode()) for k, v in head.items() if v), *(fields or [])], end_stream=end)
        self.kick()
        return stream, self.answers[stream]

    def send(self, stream: int, data: bytes, *, end: bool = False) -> None:
        self.http.send_data(stream, data, end)
        self.kick()

    async def get(self, path: str, **more: Any) -> Answer:
        return await self.ask(path, **more)[1].whole()

    @property
    def websockets(self) -> bool:
        return bool((self.http.received_settings or {}).get(Setting.ENABLE_CONNECT_PROTOCOL))

    def websocket(self, path: str, *protocols: str) -> tuple[int, Answer]:
        """An RFC 9220 CONNECT."""
        fields = [(b"sec-websocket-version", b"13")]
        if protocols:
            fields.append((b"sec-websocket-protocol", ", ".join(protocols).encode()))
        return self.ask(path, method="CONNECT", protocol="websocket", fields=fields, end=False)

    async def move(self) -> None:
        """Go on from another port, as after a change of the network."""
        old, self.socket = self.socket, trio.socket.socket(self.socket.family, socket.SOCK_DGRAM)
        await self.socket.connect(old.getpeername())
        self.quic.change_connection_id()
        old.close()

    def close(self) -> None:
        self.quic.close(error_code=0x100)
        self.kick()


@asynccontextmanager
async def connect(address: Address, ca: Path, **changes: Any) -> AsyncIterator[Client]:
    """A connection that speaks h3 with the server at `address`, which proves itself by `ca`; closed at the end."""
    configuration = QuicConfiguration(is_client=True, alpn_protocols=["h3"], server_name="localhost", **changes)
    configuration.load_verify_locations(str(ca))
    sock = trio.socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET, socket.SOCK_DGRAM)
    await sock.connect(address)
    quic = QuicConnection(configuration=configuration)
    quic.connect(("peer", 1), trio.current_time())
    client = Client(sock, quic)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.pump)
            await client.ready.wait()
            yield client
            if client.ended is None:
                quic.close(error_code=0x100)
                for data, _ in quic.datagrams_to_send(trio.current_time()):
                    await client.socket.send(data)
            nursery.cancel_scope.cancel()
    finally:
        client.socket.close()
