"""What clients of a running server say and hear over each road: WebSocket on HTTP/1.1, HTTP/2 and HTTP/3, server-sent events, HTTP."""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.settings
import pytest
import trio

from nova.ext import ws
from nova.realtime.client.socket import SocketClosed, open_socket
from tests.serving import Served
from tests.surface.h3.client import Client as H3Client
from tests.surface.h3.client import connect as h3_connect


def token(server: Served, user: str, *scopes: str) -> str:
    command = [sys.executable, "-m", "nova", "token", "--user", user, "--json", "--data", str(server.data)]
    command += list(scopes) if "--ttl" in scopes else [word for scope in scopes for word in ("--scope", scope)]
    return str(json.loads(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout)["token"])


def ask(server: Served, method: str, path: str, body: Any = None, token: str = "") -> Any:
    host, port = server.address("http")
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://{host}:{port}{path}", method=method, data=data, headers=headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read() or b"null")


class Talk:
    """One client, of whatever transport."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket
        self.waiting: list[Any] = []
        self.reason = ""  # of the end

    async def say(self, *commands: Any) -> None:
        await self._socket.send(json.dumps(list(commands) if len(commands) > 1 else commands[0]))

    async def next(self, name: str) -> Any:
        """The next push or reply with this member; others before it are passed."""
        with trio.fail_after(20):
            while True:
                while self.waiting:
                    item = self.waiting.pop(0)
                    if name in item or (name == "error" and "error" in item):
                        return item[name]
                for text in await self._socket.receive():
                    found = json.loads(text)
                    self.waiting += found if isinstance(found, list) else [found]

    async def ask(self, id: int, **command: Any) -> Any:
        await self.say({"id": id, **command})
        with trio.fail_after(20):
            while True:
                for at, item in enumerate(self.waiting):
                    if item.get("id") == id:
                        del self.waiting[at]
                        return item["error"] if "error" in item else item[next(iter(command))]
                for text in await self._socket.receive():
                    found = json.loads(text)
                    self.waiting += found if isinstance(found, list) else [found]

    async def ended(self) -> int:
        with trio.fail_after(20):
            try:
                while True:
                    await self._socket.receive()
            except SocketClosed as closed:
                self.reason = closed.reason
                return closed.code


class H2Socket:
    """A WebSocket in one stream of HTTP/2 (RFC 8441), with just as much of a client as that needs."""

    def __init__(
        self, stream: trio.SSLStream[trio.SocketStream], path: str, subprotocol: str = "nova.json.v1", *, window: int = 65_535
    ) -> None:
        """window: bytes that each stream may send before they are acknowledged."""
        self._stream, self._path, self._subprotocol = stream, path, subprotocol
        self._h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        initial = {h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window}
        self._h2.local_settings = h2.settings.Settings(client=True, initial_values=initial)
        self._reader = ws.FrameReader(client=True)
        self.status = ""
        self.headers: dict[str, str] = {}
        self.early = b""  # what came with the answer's head
        self.ended = False
        self.takes = True  # False: what comes is never acknowledged, and soon nothing may come
        self.pongs = False  # whether pings are answered
        self.reset = trio.Event()
        self._end: SocketClosed | None = None  # behind the last texts

    async def open(self, authority: str) -> None:
        self._h2.initiate_connection()
        await self._flush()
        while not self._h2.remote_settings.enable_connect_protocol:
            await self._events()
        fields = [
            (":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "https"), (":path", self._path), (":authority", authority),
            ("sec-websocket-version", "13"), ("sec-websocket-protocol", self._subprotocol),
        ]  # fmt: skip
        self._h2.send_headers(1, fields)
        await self._flush()
        while not self.status:
            self.early = b"".join(await self._events())

    async def get(self, stream: int, path: str) -> str:
        """The status of another request on this connection."""
        self.status = ""
        fields = [(":method", "GET"), (":scheme", "https"), (":path", path), (":authority", "localhost")]
        self._h2.send_headers(stream, fields, end_stream=True)
        await self._flush()
        with trio.fail_after(30):
            while not self.status:
                await self._events()
        return self.status

    async def pongs_until(self, payload: bytes) -> list[bytes]:
        """Take what comes from now on: the payloads of pongs, up to and with this one."""
        self._h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 65_535})
        await self._flush()
        found: list[bytes] = []
        with trio.fail_after(30):
            while payload not in found:
                for data in await self._events():
                    found += [said for opcode, said, _, _ in self._reader.feed(data) if opcode == ws.PONG]
        return found

    async def answer(self) -> bytes:
        """The body of an answer that refuses."""
        while not self.ended:
            self.early += b"".join(await self._events())
        return self.early

    async def send(self, text: str) -> None:
        self._h2.send_data(1, ws.frame(ws.TEXT, text.encode(), key=b"1234"))
        await self._flush()

    async def receive(self) -> list[str]:
        while True:
            if self._end is not None:
                raise self._end
            texts: list[str] = []
            come, self.early = [self.early] if self.early else await self._events(), b""
            for data in come:
                for opcode, payload, code, _ in self._reader.feed(data):
                    if opcode == ws.CLOSE:
                        self._end = SocketClosed(code, payload.decode())
                    if opcode == ws.TEXT:
                        texts.append(payload.decode())
                    if opcode == ws.PING and self.pongs:
                        self._h2.send_data(1, ws.frame(ws.PONG, payload, key=b"1234"))
                        await self._flush()
            if texts:
                return texts

    async def raw(self, data: bytes) -> None:
        for start in range(0, len(data), 16_384):
            self._h2.send_data(1, data[start : start + 16_384])
        await self._flush()

    async def end(self) -> None:
        """Nothing more comes from here."""
        self._h2.end_stream(1)
        await self._flush()

    async def cut(self) -> None:
        """Until the server has reset the stream; what comes before is not answered."""
        while not self.reset.is_set():
            await self._events()

    async def _events(self) -> list[bytes]:
        data = await self._stream.receive_some(65536)
        if not data:
            raise SocketClosed(1006, "")
        found = []
        for event in self._h2.receive_data(bytes(data)):
            if isinstance(event, h2.events.ResponseReceived):
                self.headers = {bytes(name).decode(): bytes(value).decode() for name, value in event.headers or ()}
                self.status = self.headers[":status"]
            elif isinstance(event, h2.events.DataReceived):
                if self.takes:
                    self._h2.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id or 0)
                if event.stream_id == 1:
                    found.append(bytes(event.data or b""))
            elif isinstance(event, h2.events.StreamEnded):
                self.ended = self.ended or event.stream_id == 1
            elif isinstance(event, h2.events.StreamReset):
                self.reset.set()
        await self._flush()
        return found

    async def _flush(self) -> None:
        data = self._h2.data_to_send()
        if data:
            await self._stream.send_all(data)


class H3Socket:
    """A WebSocket in one stream of HTTP/3 (RFC 9220)."""

    def __init__(self, client: H3Client, path: str) -> None:
        self._client = client
        self._stream, self._answer = client.websocket(path, "nova.json.v1")
        self._reader = ws.FrameReader(client=True)
        self.pongs = False
        self._end: SocketClosed | None = None  # behind the last texts

    async def open(self) -> int:
        await self._answer.until(lambda answer: answer.headers)
        return self._answer.status

    async def send(self, text: str) -> None:
        self._client.send(self._stream, ws.frame(ws.TEXT, text.encode(), key=b"1234"))

    async def receive(self) -> list[str]:
        while True:
            if self._end is not None:
                raise self._end
            await self._answer.until(lambda answer: answer.body or answer.ended or answer.reset is not None)
            data = bytes(self._answer.body)
            self._answer.body.clear()
            if not data:
                raise SocketClosed(1006, "")
            texts: list[str] = []
            for opcode, payload, code, _ in self._reader.feed(data):
                if opcode == ws.CLOSE:
                    self._end = SocketClosed(code, payload.decode())
                if opcode == ws.TEXT:
                    texts.append(payload.decode())
                if opcode == ws.PING and self.pongs:
                    self._client.send(self._stream, ws.frame(ws.PONG, payload, key=b"1234"))
            if texts:
                return texts

    async def raw(self, data: bytes) -> None:
        self._client.send(self._stream, data)

    async def end(self) -> None:
        self._client.send(self._stream, b"", end=True)

    async def cut(self) -> None:
        await self._answer.until(lambda answer: answer.reset is not None)


@asynccontextmanager
async def h2_connect(server: Served) -> AsyncIterator[trio.SSLStream[trio.SocketStream]]:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    async with await trio.open_tcp_stream(*server.address("https")) as plain:
        yield trio.SSLStream(plain, context, server_hostname="localhost")


@asynccontextmanager
async def talk(server: Served, token: str = "", *, over: str = "http/1.1") -> AsyncIterator[Talk]:
    query = f"?access_token={token}" if token else ""
    if over == "http/1.1":
        host, port = server.address("http")
        socket: Any = await open_socket(f"ws://{host}:{port}/v1/ws{query}")
        try:
            yield Talk(socket)
        finally:
            with trio.CancelScope(shield=True), trio.move_on_after(1):
                await socket.close(1000)
        return
    if over == "h3":
        async with h3_connect(server.address("h3"), server.data / "tls" / "cert.pem") as client:
            found = H3Socket(client, f"/v1/ws{query}")
            assert await found.open() == 200
            yield Talk(found)
        return
    async with h2_connect(server) as stream:
        socket = H2Socket(stream, f"/v1/ws{query}")
        await socket.open("localhost:{}".format(server.address("https")[1]))
        assert socket.status == "200"
        yield Talk(socket)


Until = Callable[[bytes], Awaitable[bytes]]


@asynccontextmanager
async def events(server: Served, channels: str, *, over: str, last: str = "", token: str = "") -> AsyncIterator[Until]:
    """Server-sent events over one of the roads. Gives what came up to and with a mark."""
    path, seen = f"/v1/events?channels={channels}" + (f"&access_token={token}" if token else ""), bytearray()
    fields = [("last-event-id", last)] if last else []

    async def until(mark: bytes, more: Callable[[], Awaitable[bytes]]) -> bytes:
        with trio.fail_after(30):
            while mark not in seen:
                seen.extend(await more())
        end = seen.index(mark) + len(mark)
        found = bytes(seen[:end])
        del seen[:end]
        return found

    if over == "h3":
        async with h3_connect(server.address("h3"), server.data / "tls" / "cert.pem") as client:
            _, answer = client.ask(path, fields=[(name.encode(), value.encode()) for name, value in fields])

            async def more() -> bytes:
                await answer.until(lambda answer: answer.body or answer.ended or answer.reset is not None)
                data = bytes(answer.body)
                answer.body.clear()
                assert data, "the answer has ended"
                return data

            yield lambda mark: until(mark, more)
    elif over == "h2":
        async with h2_connect(server) as secure:
            http = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
            http.initiate_connection()
            head = [(":method", "GET"), (":scheme", "https"), (":path", path), (":authority", "localhost")]
            http.send_headers(1, [*head, *fields], end_stream=True)
            await secure.send_all(http.data_to_send())

            async def more() -> bytes:
                data = b""
                for event in http.receive_data(bytes(await secure.receive_some(65536))):
                    assert not isinstance(event, h2.events.StreamEnded | h2.events.ConnectionTerminated)
                    if isinstance(event, h2.events.DataReceived):
                        http.acknowledge_received_data(event.flow_controlled_length or 0, 1)
                        data += bytes(event.data or b"")
                await secure.send_all(http.data_to_send())
                return data

            yield lambda mark: until(mark, more)
    else:
        async with await trio.open_tcp_stream(*server.address("http")) as plain:
            lines = [f"GET {path} HTTP/1.1", "Host: localhost", *(f"{name}: {value}" for name, value in fields), "", ""]
            await plain.send_all("\r\n".join(lines).encode())

            async def more() -> bytes:
                return bytes(await plain.receive_some(65536))

            yield lambda mark: until(mark, more)


OVER = pytest.mark.parametrize("over", ["http/1.1", "h2", "h3"])
# Of what takes seconds of real time: HTTP/2 and HTTP/3 have one server side, so that one of them is enough for every day.
OVER_TIME = pytest.mark.parametrize("over", ["http/1.1", pytest.param("h2", marks=pytest.mark.slow), "h3"])
