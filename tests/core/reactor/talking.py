"""Clients that speak the channel protocol over a WebSocket of a reactor, and a hub as small as they need."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgpack
import trio

from nova.core.reactor import Channel, ChannelRules, Command, Listen, Reactor, WebSockets, Who, WsRules
from nova.ext import pushes, values
from nova.ext.token import TokenTable
from nova.ext.ws import BINARY, CLOSE, PING, PONG, TEXT, FrameReader, close_frame, frame
from nova.ext.ws_deflate import Zip
from tests.core.reactor.served import dial, reactor

JSON, MSGPACK = values.JSON, values.MSGPACK
KEY = b"\x11\x22\x33\x44"
URING = [False]  # whether sweeps send by io_uring: each test runs with and without


class Hub:
    """Answers what clients ask; channels are made when somebody asks for them."""

    def __init__(self, ws: WebSockets, rules: ChannelRules) -> None:
        self.ws, self.rules = ws, rules
        self.channels: dict[str, Channel] = {}
        self.seen: list[tuple[int, Who, list[Command]]] = []
        self.ended: list[tuple[int, Who, str, list[str]]] = []
        self.hold = False  # answer nothing for now

    def channel(self, name: str) -> Channel:
        if name not in self.channels:
            self.channels[name] = self.ws.channel(name, "e1", self.rules)
        return self.channels[name]

    def publish(self, name: str, data: Any, *, key: str = "", info: bytes | None = None) -> int:
        channel = self.channel(name)
        channel.publish(channel.offset + 1, json.dumps(data, separators=(",", ":")).encode(), 1_000, info, key)
        return channel.offset

    def commands(self, conn: int, who: Who, commands: list[Command]) -> None:
        self.seen.append((conn, who, commands))
        if not self.hold:
            for command in commands:
                self.answer(conn, command)

    def answer(self, conn: int, command: Command) -> None:
        ws, name = self.ws, command.channel
        if command.reply is not None:
            ws.reply(conn, command.reply)
        elif command.name == "subscribe":
            channel = self.channel(name)
            ws.reply(conn, pushes.subscribed(JSON, command.id, channel.offset, b"e1", False, []))
            ws.subscribe(conn, channel)
        elif command.name == "unsubscribe":
            ws.unsubscribe(conn, self.channel(name))
            ws.reply(conn, pushes.empty(JSON, command.id, 4))
        elif command.name == "publish":
            channel = self.channel(name)
            channel.publish(channel.offset + 1, command.data, 1_000, None, command.conflate_key)
            ws.reply(conn, pushes.published(JSON, command.id, channel.offset, b"e1", False))
        elif command.id:
            ws.reply(conn, pushes.error(JSON, command.id, b"not_yet", b"This is not available yet"))

    def gone(self, conn: int, who: Who, reason: str, channels: list[str]) -> None:
        self.ended.append((conn, who, reason, channels))


class House:
    """A running reactor with a hub."""

    def __init__(self, made: Reactor, address: tuple[str, int], hub: Hub) -> None:
        self.reactor, self.address, self.hub = made, address, hub

    @property
    def stats(self) -> dict[str, int]:
        return self.reactor.websockets.stats()


@asynccontextmanager
async def house(
    *, threads: int = 1, rules: WsRules = WsRules(), channel: ChannelRules = ChannelRules(), tokens: TokenTable | None = None,  # noqa: B008
    **limits: int,
) -> AsyncIterator[House]:  # fmt: skip
    async with reactor(threads=threads, uring=URING[0]) as (made, _):
        made.engine.identity(tokens, None)
        made.websockets.configure(rules)
        hub = Hub(made.websockets, channel)
        made.websockets.serve(hub)
        address = made.listen(Listen("http", "127.0.0.1", 0, websockets=True, limits=limits))
        yield House(made, address, hub)


class Closed(Exception):
    """The server's close frame."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code, self.reason = code, reason


class Talker:
    """One client."""

    def __init__(self, stream: trio.SocketStream, form: int, *, deflate: bool) -> None:
        self.stream, self.form = stream, form
        self.reader = FrameReader(client=True, deflate=deflate, max_message=1 << 24)
        self.zip = Zip()
        self.ready: list[Any] = []  # items not asked for yet
        self.frames = 0
        self.packed = 0  # ... of them deflated
        self.pings = 0
        self.ids = 0

    async def send(self, *commands: dict[str, Any]) -> None:
        """One frame: a command, or several as an array."""
        text = json.dumps(commands[0] if len(commands) == 1 else list(commands)).encode()
        if self.form == MSGPACK:
            await self.raw(frame(BINARY, values.convert(JSON, MSGPACK, text), key=KEY))
        else:
            await self.raw(frame(TEXT, text, key=KEY))

    async def raw(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def item(self) -> Any:
        """The next reply or push. Raises Closed, EOFError."""
        while not self.ready:
            await self.more()
        return self.ready.pop(0)

    async def more(self) -> None:
        with trio.fail_after(10):
            data = await self.stream.receive_some(65536)
        if not data:
            raise EOFError
        for opcode, payload, code, packed in self.reader.feed(data):
            if opcode == PING:
                self.pings += 1
                await self.raw(frame(PONG, payload, key=KEY))
            elif opcode == CLOSE:
                if self.ready:
                    self.ready.append(Closed(code, payload.decode()))
                    return
                raise Closed(code, payload.decode())
            elif opcode in (TEXT, BINARY):
                self.frames += 1
                self.packed += packed
                text = self.zip.inflate(payload, max_message=1 << 24) if packed else payload
                found = msgpack.unpackb(text) if self.form == MSGPACK else json.loads(text)
                self.ready.extend(found if isinstance(found, list) else [found])

    async def ask(self, **command: Any) -> Any:
        """Send one command and read up to its reply; pushes before it are lost."""
        self.ids += 1
        await self.send({"id": self.ids, **command})
        while True:
            item = await self.item()
            if item.get("id") == self.ids:
                return item

    async def join(self, channel: str) -> None:
        assert "subscribe" in await self.ask(subscribe={"channel": channel})

    async def publications(self, count: int) -> list[Any]:
        """Data of so many publications."""
        found: list[Any] = []
        while len(found) < count:
            item = await self.item()
            if isinstance(item, Closed):
                raise item
            if "pub" in item:
                found.append(item["pub"]["data"])
        return found

    async def closed(self) -> Closed:
        """The close frame to come; what comes before it is lost."""
        try:
            while True:
                item = await self.item()
                if isinstance(item, Closed):
                    return item
        except Closed as end:
            return end

    async def leave(self) -> None:
        await self.raw(close_frame(1000, key=KEY))
        await self.closed()


@asynccontextmanager
async def talk(
    address: tuple[str, int], *fields: str, form: int = JSON, query: str = "", connect: bool = True, deflate: bool = False, window: int = 0,
    protocol: str | None = None,
) -> AsyncIterator[Talker]:
    """A client; with `connect` it has connected without a token."""
    if protocol is None:
        protocol = "nova.msgpack.v1" if form == MSGPACK else "nova.json.v1"
    lines = [
        f"GET /v1/ws{query} HTTP/1.1", "Host: 127.0.0.1", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", *([f"Sec-WebSocket-Protocol: {protocol}"] if protocol else []),
        *(["Sec-WebSocket-Extensions: permessage-deflate"] if deflate else []), *fields,
    ]  # fmt: skip
    async with await dial(address, window) as stream:
        await stream.send_all("\r\n".join([*lines, "", ""]).encode())
        head = b""
        while b"\r\n\r\n" not in head:
            with trio.fail_after(10):
                piece = await stream.receive_some(1)  # not a byte of the first frame
            if not piece:
                raise EOFError(head)
            head += piece
        if not head.startswith(b"HTTP/1.1 101 "):
            with trio.fail_after(10):
                head += await stream.receive_some(65536)
            raise ConnectionRefusedError(head.decode())
        talker = Talker(stream, form, deflate=deflate)
        if connect:
            assert "connect" in await talker.ask(connect={})
        yield talker
