"""RTMP on the reactor's sockets: when records come up, how players follow, and what a peer can not do."""

from __future__ import annotations

import fcntl
import struct
import termios
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from itertools import pairwise
from typing import NamedTuple

import pytest
import trio

from nova.core.reactor import Feed, Listen, Reactor
from nova.ext import rtmp
from tests.core.reactor.served import Clock, dial, reactor, until

AUDIO, VIDEO, COMMAND = 8, 9, 20
KEY, INTER = b"\x17\x01\0\0\0key", b"\x27\x01\0\0\0inter"
SOUND = b"\xaf\x01sound"


class Record(NamedTuple):
    type: int
    timestamp: int
    payload: bytes


def split(data: bytes) -> list[Record]:
    found, at = [], 0
    while at < len(data):
        size, timestamp, _msid, type_, _flags, _ = struct.unpack_from("<IIIBBH", data, at)
        found.append(Record(type_, timestamp, data[at + 16 : at + 16 + size]))
        at += 16 + size
    assert at == len(data)
    return found


class Handler:
    """Writes down what comes up."""

    def __init__(self) -> None:
        self.conns: list[int] = []
        self.batches: list[list[Record]] = []
        self.ends: list[str] = []
        self.ended: list[int] = []

    def opened(self, conn: int, peer: str) -> None:
        assert peer == "127.0.0.1"
        self.conns.append(conn)

    def records(self, conn: int, data: object) -> None:
        assert conn in self.conns
        self.batches.append(split(bytes(data)))  # type: ignore[call-overload]

    def closed(self, conn: int, reason: str) -> None:
        self.ended.append(conn)
        self.ends.append(reason)


class Peer:
    """A client of the chunk stream."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self._reader = rtmp.ChunkReader(client=True)
        self._records: list[Record] = []
        self.ended = False

    async def _feed(self, data: bytes) -> None:
        records, reply = self._reader.feed(data)
        self._records += split(records)
        if reply:
            await self.stream.send_all(reply)

    async def shake_hands(self) -> Peer:
        await self._feed(b"")
        while not self._reader.handshaken:
            await self._feed(await self._more())
        return self

    async def _more(self) -> bytes:
        with trio.fail_after(10):
            data = await self.stream.receive_some(65536)
        if not data:
            self.ended = True
        return data

    async def message(self, *messages: tuple[int, int, bytes]) -> None:
        await self.stream.send_all(b"".join(rtmp.encode(type_, at, 1, payload, csid=type_) for type_, at, payload in messages))

    async def received(self, count: int) -> list[Record]:
        """The next `count` messages, fewer when the connection ends before."""
        while len(self._records) < count and not self.ended:
            if data := await self._more():
                await self._feed(data)
        found, self._records = self._records[:count], self._records[count:]
        return found


class House:
    def __init__(self, made: Reactor, handler: Handler, address: tuple[str, int]) -> None:
        self.made, self.handler, self.address = made, handler, address
        self.clock: Clock | None = None

    def stop_clock(self) -> None:
        self.clock = Clock(self.made)

    async def advance(self, seconds: float) -> None:
        assert self.clock is not None
        await self.clock.advance(seconds)

    async def wake_at(self, conn: int, timestamp: int) -> None:
        """Returns when the thread knows: frames that come meanwhile are handed up as they come."""
        self.made.wake_at(conn, timestamp)
        turns = self.made.engine.stats()["turns"] + 2

        def turned() -> bool:
            self.made.engine.set_clock(ms=self.clock.ms if self.clock else -1)  # rings the thread's bell
            return bool(self.made.engine.stats()["turns"] > turns)

        await until(turned)

    async def peer(self, window: int = 0) -> Peer:
        return await Peer(await dial(self.address, window)).shake_hands()

    def records(self) -> int:
        found: int = self.made.engine.stats()["records"]
        return found

    async def read(self, count: int) -> None:
        """So many records in all were taken from sockets."""
        await until(lambda: self.records() >= count)

    async def batches(self, count: int) -> list[list[Record]]:
        await until(lambda: len(self.handler.batches) >= count)
        return self.handler.batches


@asynccontextmanager
async def house(threads: int = 1, *, running: bool = False, **limits: int) -> AsyncIterator[House]:
    """running: the clock is the system's. With more than four connections sockets are read once a tick, so it has to move."""
    handler = Handler()
    async with reactor(Listen("rtmp", "127.0.0.1", 0, "rtmp", rtmp=handler, limits=limits), threads=threads) as (made, [address]):
        at = House(made, handler, address)
        if not running:
            at.stop_clock()
        yield at


async def publisher(at: House) -> tuple[Peer, int]:
    """A peer whose command came up; the reactor waits for its frame 1000."""
    peer = await at.peer()
    at.handler.batches.clear()
    await peer.message((COMMAND, 0, b"publish"))
    await at.batches(1)
    await at.wake_at(at.handler.conns[-1], 1000)
    at.handler.batches.clear()
    return peer, at.handler.conns[-1]


async def test_command_comes_up_at_once() -> None:
    async with house() as at:
        peer = await at.peer()
        await peer.message((COMMAND, 5, b"connect"))
        assert await at.batches(1) == [[Record(COMMAND, 5, b"connect")]]


async def test_media_gathers_until_the_awaited_frame_and_comes_up_in_one_batch() -> None:
    async with house() as at:
        peer, conn = await publisher(at)
        frames = [(VIDEO, 900 + 10 * i, INTER + bytes([i])) for i in range(10)]
        for frame in frames:
            await peer.message(frame)
        await at.read(11)
        assert at.handler.batches == []
        await peer.message((VIDEO, 1000, INTER))
        assert await at.batches(1) == [[Record(*frame) for frame in (*frames, (VIDEO, 1000, INTER))]]
        # Until it hears what is awaited next, everything comes up.
        await peer.message((VIDEO, 1010, INTER))
        await at.batches(2)
        await at.wake_at(conn, 1200)
        await peer.message((VIDEO, 1100, INTER))
        await at.read(14)
        assert len(at.handler.batches) == 2


async def test_awaited_time_that_is_there_already_comes_up_with_the_command() -> None:
    async with house() as at:
        peer, conn = await publisher(at)
        await peer.message((VIDEO, 500, INTER))
        await at.read(2)
        await at.wake_at(conn, 400)
        assert await at.batches(1) == [[Record(VIDEO, 500, INTER)]]


async def test_time_stamps_are_compared_across_their_wrap() -> None:
    async with house() as at:
        peer, conn = await publisher(at)
        await at.wake_at(conn, 10)
        await peer.message((VIDEO, 2**32 - 20, INTER), (VIDEO, 5, INTER))
        await at.read(3)
        assert at.handler.batches == []
        await peer.message((VIDEO, 12, INTER))
        assert [record.timestamp for record in (await at.batches(1))[0]] == [2**32 - 20, 5, 12]


@pytest.mark.parametrize("flush", [(VIDEO, 920, KEY), (COMMAND, 0, b"x"), (VIDEO, 0, b"\x17\0\0\0\0config")])
async def test_key_picture_command_and_configuration_do_not_wait(flush: tuple[int, int, bytes]) -> None:
    async with house() as at:
        peer, _ = await publisher(at)
        await peer.message((VIDEO, 910, INTER))
        await at.read(2)
        assert at.handler.batches == []
        await peer.message(flush)
        assert await at.batches(1) == [[Record(VIDEO, 910, INTER), Record(*flush)]]


async def test_sound_counts_only_where_there_is_no_picture() -> None:
    async with house() as at:
        peer, _ = await publisher(at)
        await peer.message((AUDIO, 900, SOUND))
        await at.read(2)
        await peer.message((AUDIO, 1001, SOUND))
        assert len((await at.batches(1))[0]) == 2
        peer, _ = await publisher(at)
        await peer.message((VIDEO, 900, INTER), (AUDIO, 1001, SOUND))
        await at.read(6)
        assert at.handler.batches == []
        await peer.message((VIDEO, 1001, INTER))
        assert len((await at.batches(1))[0]) == 3


async def test_records_wait_a_quarter_of_a_second_at_most() -> None:
    async with house() as at:
        peer, _ = await publisher(at)
        await peer.message((VIDEO, 900, INTER))
        await at.read(2)
        await at.advance(0.2)
        assert at.handler.batches == []
        await at.advance(0.11)  # and one turn of the wheel
        assert await at.batches(1) == [[Record(VIDEO, 900, INTER)]]


async def test_records_above_a_quarter_of_a_mebibyte_do_not_wait() -> None:
    async with house() as at:
        peer, _ = await publisher(at)
        for i in range(6):
            await peer.message((VIDEO, 900 + i, INTER + bytes(50_000)))
        assert sum(len(record.payload) for record in (await at.batches(1))[0]) > 200_000


async def test_reads_of_many_publishers_are_merged_over_a_tick() -> None:
    async with house(running=True) as at:
        peers = [(await publisher(at))[0] for _ in range(6)]
        at.stop_clock()
        await at.advance(0.1)
        seen = at.records()
        await peers[0].message((VIDEO, 0, INTER))
        await at.read(seen + 1)  # the look of this tick
        for round_ in range(5):
            for peer in peers:
                await peer.message((VIDEO, round_, INTER))
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert at.records() == seen + 1
        await at.advance(0.03)
        await at.read(seen + 31)


async def test_what_one_read_left_over_is_told_of_like_the_rest() -> None:
    async with house(running=True) as at:
        peers = [(await publisher(at))[0] for _ in range(6)]
        at.stop_clock()
        await at.advance(0.1)
        seen = at.records()
        await peers[0].message((VIDEO, 0, INTER))
        await at.read(seen + 1)  # the look of this tick
        at.handler.batches.clear()
        # More than a read takes lies in the kernel when the next tick begins, and no later event of the socket says so.
        wire = b"".join(rtmp.encode(VIDEO, i, 1, INTER + bytes(60_000), csid=VIDEO) for i in range(8))
        sock = peers[1].stream.socket
        while wire:
            wire = wire[await sock.send(wire) :]
        await until(lambda: int.from_bytes(fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4)), "little") == 0)
        await at.advance(0.03)
        await at.batches(1)
        await until(lambda: sum(len(batch) for batch in at.handler.batches) == 8)


async def test_listeners_own_bounds_of_messages_and_chunk_streams_hold() -> None:
    async with house(max_message=300_000, max_chunk_streams=4) as at:
        large, _ = await publisher(at)
        await large.message((VIDEO, 1000, KEY + bytes(299_000)))
        await at.batches(1)
        with suppress(trio.BrokenResourceError):  # it closes before it has read all
            await large.message((VIDEO, 1001, KEY + bytes(300_000)))
        await until(lambda: at.handler.ends == ["rtmp_message_size"])
        many, _ = await publisher(at)
        await many.stream.send_all(b"".join(rtmp.encode(VIDEO, 1, 1, INTER, csid=csid) for csid in range(30, 34)))
        await until(lambda: len(at.handler.ends) == 2)
        assert at.handler.ends[1] == "rtmp_chunk_streams"


async def test_peer_that_does_not_shake_hands_is_gone_after_its_time() -> None:
    async with house(handshake_ms=10_000) as at:
        silent, halfway = await dial(at.address), await dial(at.address)
        await halfway.send_all(b"\x03" + bytes(1000))
        await until(lambda: at.made.engine.stats()["bytes_in"] == 1001)
        await until(lambda: len(at.handler.conns) == 2)
        await at.advance(10.1)
        for stream in (silent, halfway):
            assert await stream.receive_some(1) == b""
        await until(lambda: at.handler.ends == ["timeout", "timeout"])


async def test_publisher_that_falls_silent_is_gone_and_its_last_records_came_up_before() -> None:
    async with house(stall_ms=30_000) as at:
        peer, conn = await publisher(at)
        await peer.message((VIDEO, 900, INTER))
        await at.read(2)
        await at.advance(30.1)
        await at.advance(30.1)
        await until(lambda: at.handler.ends == ["timeout"])
        assert at.handler.batches == [[Record(VIDEO, 900, INTER)]]
        assert at.handler.ended == [conn]


async def test_publisher_that_leaves_hands_over_what_it_sent() -> None:
    async with house() as at:
        peer, _ = await publisher(at)
        await peer.message((VIDEO, 900, INTER), (VIDEO, 910, INTER))
        await at.read(3)
        await peer.stream.aclose()
        await until(lambda: at.handler.ends == ["peer"])
        assert at.handler.batches == [[Record(VIDEO, 900, INTER), Record(VIDEO, 910, INTER)]]


@pytest.mark.parametrize("garbage", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01" + bytes(300), b"\x06" + bytes(1536)])
async def test_garbage_for_a_handshake_ends_that_connection_alone(garbage: bytes) -> None:
    async with house() as at:
        peer, _ = await publisher(at)
        stream = await dial(at.address)
        await stream.send_all(garbage)
        await until(lambda: len(at.handler.ends) == 1)
        assert at.handler.ends[0].startswith("rtmp_")
        await peer.message((COMMAND, 1, b"still here"))
        await at.batches(1)


async def test_broken_chunks_end_the_connection_with_the_kernels_reason() -> None:
    async with house() as at:
        peer, _ = await publisher(at)
        await peer.stream.send_all(b"\xc7")  # type 3 first on a chunk stream
        await until(lambda: at.handler.ends != [])
        assert at.handler.ends[0].startswith("rtmp_")


async def test_flood_of_connects_leaves_nothing_behind() -> None:
    async with house(threads=2, running=True, max_conns=64) as at:
        async def flood(i: int) -> None:
            stream = await dial(at.address)
            if i % 3 == 0:
                await stream.send_all(b"\x03" * (i * 7 % 1600))
            if i % 2:
                stream.socket.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, struct.pack("ii", 1, 0))
            stream.socket.close()

        for _ in range(4):
            async with trio.open_nursery() as nursery:
                for i in range(100):
                    nursery.start_soon(flood, i)
        await until(lambda: at.made.engine.stats()["connections"] == 0)
        await until(lambda: len(at.handler.ends) == len(at.handler.conns))
        assert sorted(at.handler.ended) == sorted(at.handler.conns)
        assert len(set(at.handler.conns)) == len(at.handler.conns)


async def test_last_words_reach_a_publisher_that_goes_on_sending() -> None:
    async with house() as at:
        peer, conn = await publisher(at)
        async with trio.open_nursery() as nursery:
            async def pour() -> None:
                try:
                    while True:
                        await peer.message(*[(VIDEO, 900, INTER + bytes(10_000))] * 20)
                except trio.BrokenResourceError:
                    pass

            nursery.start_soon(pour)
            await at.read(100)
            at.made.send(conn, rtmp.encode(COMMAND, 0, 1, b"the key is not valid", csid=3))
            at.made.close(conn, "bad_stream_key")
            assert await peer.received(2) == [Record(COMMAND, 0, b"the key is not valid")]
            assert peer.ended
            nursery.cancel_scope.cancel()
        await until(lambda: at.handler.ends == ["local"])
        await at.advance(2.1)
        await until(lambda: at.made.engine.stats()["connections"] == 0)


# Players


def item(at: int, size: int = 10) -> bytes:
    return rtmp.encode(VIDEO, at, 1, (b"\x17" if at % 100 == 0 else b"\x27") + bytes(size - 1), csid=6)


async def player(at: House, feed: Feed, window: int = 0) -> tuple[Peer, int]:
    peer = await at.peer(window)
    await peer.message((COMMAND, 0, b"play"))
    known = len(at.handler.batches)
    await at.batches(max(known, 1))
    await until(lambda: len(at.handler.batches) == len(at.handler.conns))
    conn = at.handler.conns[-1]
    at.made.follow(conn, feed, rtmp.encode(COMMAND, 0, 1, b"start", csid=3))
    return peer, conn


async def test_player_gets_the_prologue_and_everything_from_the_last_key_item_on() -> None:
    async with house() as at:
        feed = at.made.feed()
        for stamp in (0, 1, 100, 101, 102):
            feed.append(item(stamp), key=stamp % 100 == 0)
        peer, _ = await player(at, feed)
        assert [record.timestamp for record in await peer.received(4)] == [0, 100, 101, 102]
        for stamp in (103, 200, 201):
            feed.append(item(stamp), key=stamp % 100 == 0)
        assert [record.timestamp for record in await peer.received(3)] == [103, 200, 201]
        feed.close()
        assert await peer.received(1) == []
        assert peer.ended
        await until(lambda: at.handler.ends == ["ended"])
        assert feed.readers == 0


async def test_players_on_two_threads_all_follow() -> None:
    async with house(threads=2, running=True) as at:
        feed = at.made.feed()
        feed.append(item(0), key=True)
        players = [(await player(at, feed))[0] for _ in range(12)]
        for peer in players:  # each has joined, at the only key item there is
            assert [record.timestamp for record in await peer.received(2)] == [0, 0]
        async with trio.open_nursery() as nursery:
            async def follow(peer: Peer) -> None:
                assert [record.timestamp for record in await peer.received(300)] == [*range(1, 301)]
                assert await peer.received(1) == []

            for peer in players:
                nursery.start_soon(follow, peer)
            for stamp in range(1, 301):
                feed.append(item(stamp), key=stamp % 100 == 0)
                await trio.lowlevel.checkpoint()
            feed.close()


async def test_slow_player_skips_to_a_later_key_item_and_harms_nobody() -> None:
    async with house() as at:
        feed = at.made.feed(window_items=150, window_bytes=1 << 30)
        feed.append(item(0), key=True)
        slow, fast = (await player(at, feed, window=32768))[0], (await player(at, feed))[0]
        for stamp in range(1, 500):
            feed.append(item(stamp, 40_000), key=stamp % 100 == 0)
            if stamp % 10 == 0:
                assert len(await fast.received(10 if stamp > 10 else 12)) >= 10
        stamps = []
        while not stamps or stamps[-1] != 499:
            stamps += [record.timestamp for record in await slow.received(1)]
        gaps = [(a, b) for a, b in pairwise(stamps[1:]) if b != a + 1]
        assert gaps
        assert all(b % 100 == 0 for _, b in gaps)  # it goes on at key items only
        assert at.made.engine.stats()["followers_skipped"] > 0
        feed.close()


async def test_player_that_takes_nothing_is_cut() -> None:
    async with house(body_ms=10_000, min_rate=1000) as at:
        feed = at.made.feed(window_items=100, window_bytes=64 << 20)
        feed.append(item(0), key=True)
        _peer, conn = await player(at, feed, window=32768)
        for stamp in range(1, 100):
            feed.append(item(stamp, 200_000), key=stamp % 100 == 0)
        await until(lambda: at.made.engine.stats()["bytes_out"] > 100_000)
        for _ in range(3):
            await at.advance(10.1)
        await until(lambda: at.handler.ends == ["slow"])
        assert at.handler.ended == [conn]
        assert feed.readers == 0


async def test_player_that_leaves_is_no_reader_any_more() -> None:
    async with house() as at:
        feed = at.made.feed()
        feed.append(item(0), key=True)
        peers = [(await player(at, feed))[0] for _ in range(3)]
        await until(lambda: feed.readers == 3)
        await peers[1].stream.aclose()
        await until(lambda: feed.readers == 2)
        feed.append(item(1))
        for peer in (peers[0], peers[2]):
            assert len(await peer.received(3)) == 3


async def test_player_can_be_sent_off_while_it_follows() -> None:
    async with house() as at:
        feed = at.made.feed()
        feed.append(item(0, 3_000_000), key=True)
        peer, conn = await player(at, feed, window=32768)
        await until(lambda: feed.readers == 1)
        at.made.close(conn, "stopped")
        await until(lambda: feed.readers == 0)
        feed.append(item(1))
        assert [record.timestamp for record in await peer.received(3)] == [0, 0]
        await until(lambda: at.handler.ends == ["local"])


async def test_drain_ends_publishers_and_players() -> None:
    async with house() as at:
        feed = at.made.feed()
        feed.append(item(0), key=True)
        playing, _ = await player(at, feed)
        publishing = await at.peer()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(at.made.drain)
            assert len(await playing.received(9)) == 2
            assert await publishing.received(1) == []
            for peer in (playing, publishing):
                await peer.stream.aclose()
        assert sorted(at.handler.ends) == ["drain", "drain"]


async def test_end_of_the_reactor_closes_every_connection() -> None:
    async with house(threads=2, running=True) as at:
        peers = [await at.peer() for _ in range(4)]
        # Their handshakes are read whole: closing a socket with bytes left in it resets the connection.
        await until(lambda: at.made.engine.stats()["bytes_in"] == 4 * (1 + 2 * 1536))  # C0, C1, C2
    for peer in peers:
        assert await peer.received(1) == []
        assert peer.ended
        await peer.stream.aclose()


