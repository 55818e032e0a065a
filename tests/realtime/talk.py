"""A hub with clients in memory: what they send goes through the same machine as that of a real connection."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import trio
import trio.testing

from nova.core.bus import Bus
from nova.core.clock import FakeClock
from nova.core.errors import NotFound, Unauthenticated
from nova.core.ids import Ids
from nova.core.limits import Networks
from nova.core.values import Rate, Seconds
from nova.ext.values import JSON
from nova.realtime import rules
from nova.realtime.chat.nodes import ChatNodes
from nova.realtime.chat.ports import ChatStore
from nova.realtime.chat.service import Chat
from nova.realtime.chat.store_memory import MemoryStore
from nova.realtime.cluster import Cluster
from nova.realtime.hub import Hub, Scopes
from nova.realtime.limits import Limits
from nova.realtime.ports import Hooks, StreamFacts
from nova.realtime.session import Identity
from nova.realtime.trio_sockets import Abandoned, TrioSockets

SCOPES = Scopes(chat=1, service=2, admin=4)
STREAM = "01890000-0000-7000-8000-000000000001"
PRIVATE = "01890000-0000-7000-8000-000000000002"


class FakeStreams:
    """One public stream of alice and a private one; or none, which another node keeps."""

    def __init__(self, *kept: str) -> None:
        self.kept = kept
        self.watching = 0
        self.hidden = False  # the public one is private now

    async def facts(self, stream: str, user: str | None, *, operator: bool) -> StreamFacts:
        await trio.lowlevel.checkpoint()
        if stream in self.kept and ((stream == STREAM and not self.hidden) or user == "alice" or operator):
            return StreamFacts("alice", "live", self.watching)
        raise NotFound("not_found", "there is no such stream")

    async def here(self, stream: str) -> bool:
        return stream in self.kept

    async def ids(self) -> tuple[str, ...]:
        return self.kept

    def viewers(self, stream: str) -> int:
        return self.watching


@dataclass
class Client:
    """One connection; what the server said is in `said`, in order and one by one."""

    send_in: trio.MemorySendChannel[bytes]
    said: list[Any] = field(default_factory=list)
    frames: int = 0
    closed: tuple[int, str] | None = None
    news: trio.lowlevel.ParkingLot = field(default_factory=trio.lowlevel.ParkingLot)
    used: int = 0
    stuck: trio.Event = field(default_factory=trio.Event)

    def __post_init__(self) -> None:
        self.stuck.set()

    async def say(self, **command: Any) -> None:
        await self.send_in.send(json.dumps(command).encode())

    async def ask(self, id: int, **command: Any) -> Any:
        """The reply's body, or its error. Pushes that come meanwhile stay to be seen by `next`."""
        start = len(self.said)
        await self.say(id=id, **command)
        with trio.fail_after(30):
            while not (found := [item for item in self.said[start:] if item.get("id") == id]):
                assert self.closed is None, self.closed
                await self.news.park()
        reply = found[0]
        return reply.get(next(iter(command))) if "error" not in reply else reply["error"]

    async def next(self, wanted: Any) -> Any:
        """The next thing said that is `wanted`: a name of a push, or a test; what came before it is passed."""
        test = (lambda item: wanted in item) if isinstance(wanted, str) else wanted
        with trio.fail_after(30):
            while True:
                while self.used < len(self.said):
                    self.used += 1
                    if test(self.said[self.used - 1]):
                        return self.said[self.used - 1]
                assert self.closed is None, self.closed
                await self.news.park()

    async def ended(self) -> tuple[int, str]:
        with trio.fail_after(30):
            while self.closed is None:
                await self.news.park()
        return self.closed


class _Wire:
    def __init__(self, client: Client, come: trio.MemoryReceiveChannel[bytes]) -> None:
        self._client, self._come = client, come

    async def receive(self) -> bytes | None:
        try:
            return await self._come.receive()
        except trio.EndOfChannel:
            return None

    async def send(self, frame: bytes) -> None:
        await self._client.stuck.wait()
        found = json.loads(frame)
        self._client.said += found if isinstance(found, list) else [found]
        self._client.frames += 1
        self._client.news.unpark_all()

    async def close(self, code: int, reason: str) -> None:
        self._client.closed = (code, reason)
        self._client.news.unpark_all()


@dataclass
class Node:
    hub: Hub
    sockets: TrioSockets
    clock: FakeClock
    streams: FakeStreams
    nursery: trio.Nursery
    own: Chat
    chats: ChatNodes | None

    async def verify(self, token: str) -> Identity:
        """Tokens of these tests say what they are: `user`, `user/admin`, `user/none`."""
        user, _, scope = token.partition("/")
        if user == "bad":
            raise Unauthenticated("bad_token", "no token")
        scopes = {"": 1, "none": 0, "service": 3, "admin": 5}[scope]
        claims = json.dumps({"sub": user, "name": user.title(), "iat": self.clock.wall(), "jti": f"jti-{user}"}).encode()
        return Identity(user, scopes, claims, self.clock.wall() + 3600, int(self.clock.wall() * 1000), f"jti-{user}")

    async def client(self, user: str | None = None, *, peer: str = "127.0.0.1", form: int = JSON) -> Client:
        """user: as a token in the URL; None: without one, and `connect` was said."""
        send, come = trio.open_memory_channel[bytes](100)
        client = Client(send)
        identity = None if user is None else await self.verify(user)

        async def serve() -> None:
            try:
                await self.sockets.serve(_Wire(client, come), form=form, peer=peer, identity=identity, verify=self.verify)
            except Abandoned:
                client.closed = (1006, "")
            client.closed = client.closed or (1000, "")
            client.news.unpark_all()

        self.nursery.start_soon(serve)
        if user is None:
            await client.ask(2**31 - 1, connect={})
        return client


@asynccontextmanager
async def node(
    *lines: str, public: bool = True, hooks: Hooks | None = None, shared_by: Bus | None = None, clock: FakeClock | None = None,
    most_channels: int = 1000, most_bytes: int = 2**20, kept: tuple[str, ...] = (STREAM, PRIVATE), store: ChatStore | None = None,
) -> AsyncIterator[Node]:  # fmt: skip
    """shared_by: what joins it with others. kept: its streams. store: of their chats."""
    clock = clock or FakeClock()
    sockets, streams = TrioSockets(clock, hooks=hooks), FakeStreams(*kept)
    limits = Limits(Rate(100_000, Seconds(1)), Rate(10_000, Seconds(1)), Networks([]))
    shared = None if shared_by is None else Cluster(shared_by, sockets.node)
    nodes = None if shared_by is None else ChatNodes(shared_by, sockets.node, streams, streams.ids)
    hub = Hub(
        sockets, rules.read(lines), limits, streams if nodes is None else nodes, SCOPES, clock, public=public, hooks=hooks, shared=shared,
        most_channels=most_channels, most_bytes=most_bytes,
    )  # fmt: skip
    sockets.attach(hub)
    own = Chat(hub, store or MemoryStore(), streams, clock, Ids(clock).new)
    hub.attach(own if nodes is None else nodes)
    async with trio.open_nursery() as nursery:
        await nursery.start(hub.run)
        if nodes is not None:
            nodes.attach(own)
            await nursery.start(nodes.run)
        yield Node(hub, sockets, clock, streams, nursery, own, nodes)
        nursery.cancel_scope.cancel()
