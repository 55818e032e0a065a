"""A door with one stream and two keys behind it, and a server on a free port of this machine."""

import struct
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import trio

from nova.core.clock import SystemClock
from nova.core.errors import NovaError
from nova.core.reactor import Listen, Reactor
from nova.ext.tls import TlsContext
from nova.media.rtmp import amf, session
from nova.media.rtmp.server import Grant, RtmpServer, Timeouts
from tests.media.rtmp.twin import MemorySequence, SocketConnections

KEY, OTHER_KEY, STREAM = "sk_first", "sk_second", "0190-stream"


@dataclass
class Recorded:
    """An ingest that keeps what it is given."""

    grant: Grant
    news: trio.Event = field(default_factory=trio.Event)
    values: list[Mapping[str, amf.Value]] = field(default_factory=list)
    records: list[tuple[int, int, int, bytes]] = field(default_factory=list)  # type, timestamp, flags, payload
    ended: str = ""
    refuse: NovaError | None = None

    def metadata(self, values: Mapping[str, amf.Value]) -> None:
        self.values.append(values)
        self._tell()

    def media(self, given: session.Records) -> int | None:
        assert not self.ended
        if self.refuse:
            raise self.refuse
        records = bytes(given)
        while records:
            size, stamp, _, kind, flags, _ = struct.unpack_from("<IIIBBH", records)
            self.records.append((kind, stamp, flags, records[16 : 16 + size]))
            records = records[16 + size :]
        self._tell()
        return self.records[-1][1] + 200

    def end(self, reason: str) -> None:
        assert not self.ended, "ended twice"
        self.ended = reason
        self._tell()

    def _tell(self) -> None:
        self.news.set()
        self.news = trio.Event()

    async def until(self, true: Callable[["Recorded"], object]) -> "Recorded":
        while not true(self):
            await self.news.wait()
        return self


class House:
    """The door, and what tests want to see behind it."""

    def __init__(self) -> None:
        self.keys = {KEY: Grant(STREAM, "k1"), OTHER_KEY: Grant(STREAM, "k2")}
        self.ingests: list[Recorded] = []
        self.ends: list[str] = []
        self.guesses = 0
        self.most_guesses = 1000
        self.refuse: NovaError | None = None
        self.private = False
        self.news = trio.Event()
        self.connections: SocketConnections | None = None
        self.server: RtmpServer[Any]
        self.port = 0

    def authorize(self, app: str, key: str, peer: str) -> Grant | None:
        assert app == "live"
        return self.keys.get(key)

    def publish(self, grant: Grant, peer: str) -> Recorded:
        assert all(ingest.ended for ingest in self.ingests if ingest.grant.stream_id == grant.stream_id), (
            "a publisher that ran before has ended"
        )
        if self.refuse:
            raise self.refuse
        self.ingests.append(Recorded(grant))
        self._tell()
        return self.ingests[-1]

    def playable(self, stream_id: str, peer: str) -> bool:
        return not self.private

    def allowed(self, peer: str) -> bool:
        return self.guesses < self.most_guesses

    def wrong(self, peer: str) -> None:
        self.guesses += 1

    def ended(self, reason: str) -> None:
        self.ends.append(reason)
        self._tell()

    def _tell(self) -> None:
        self.news.set()
        self.news = trio.Event()

    async def ingest(self, number: int = 1) -> Recorded:
        """The ingest of the publisher of that number, once it is there."""
        while len(self.ingests) < number:
            await self.news.wait()
        return self.ingests[number - 1]

    async def end(self, number: int = 1) -> str:
        """Why the connection of that number ended, in the order of their ends."""
        while len(self.ends) < number:
            await self.news.wait()
        return self.ends[number - 1]

    @property
    def url(self) -> str:
        return f"rtmp://127.0.0.1:{self.port}/live"


@asynccontextmanager
async def running(
    timeouts: Timeouts | None = None, chunk_size: int = 4096, *, reactor: bool, tls: TlsContext | None = None
) -> AsyncIterator[House]:
    """A server with a house behind it: on trio's sockets, or on the reactor's (with `tls`: RTMPS)."""
    house = House()
    limits = session.Limits(chunk_size=chunk_size)
    async with trio.open_nursery() as nursery:
        if reactor:
            real = Reactor(SystemClock())
            house.server = RtmpServer(
                house, real, new_sequence=real.feed, guesses=house, limits=limits, timeouts=timeouts, ended=house.ended
            )
            await nursery.start(real.run)
            _, house.port = real.listen(Listen("rtmp", "127.0.0.1", 0, "rtmp", rtmp=house.server, tls=tls))
        else:
            house.connections = sockets = SocketConnections()
            house.server = RtmpServer(
                house, sockets, new_sequence=MemorySequence, guesses=house, limits=limits, timeouts=timeouts, ended=house.ended
            )
            sockets.handler = house.server
            listener = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
            house.port = listener.socket.getsockname()[1]
            nursery.start_soon(sockets.serve, listener)
        with trio.fail_after(30):
            yield house
        nursery.cancel_scope.cancel()
