"""Fan-out to many sockets: encoded once, gathered when busy, in slices, nobody delayed by a slow one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from secrets import token_hex
from typing import Any

import pytest
import trio

from nova.core.reactor import ChannelRules, WsRules
from nova.ext.ws import PING, TEXT, frame
from tests.core.reactor.served import Clock, until
from tests.core.reactor.talking import JSON, KEY, MSGPACK, House, Talker, house, talk


@asynccontextmanager
async def crowd(h: House, count: int, channel: str = "public:a", **how: Any) -> AsyncIterator[list[Talker]]:
    """So many members of a channel."""
    async with AsyncExitStack() as stack:
        talkers = []
        for _ in range(count):
            talker = await stack.enter_async_context(talk(h.address, **how))
            await talker.join(channel)
            talkers.append(talker)
        yield talkers


async def test_a_publication_is_encoded_once_for_each_form() -> None:
    async with (
        house(rules=WsRules(deflate=True)) as h,
        crowd(h, 10) as a,
        crowd(h, 10, form=MSGPACK) as b,
        crowd(h, 10, deflate=True) as c,
    ):
        text = "the same words again " * 50
        h.hub.publish("public:a", text)
        for talker in (*a, *b, *c):
            assert await talker.publications(1) == [text]
        assert h.stats["ws_encoded"] == 3
        assert h.stats["ws_deliveries"] == 30
        assert all(talker.packed for talker in c)
        assert not any(talker.packed for talker in a)


async def test_sweeps_go_the_way_that_was_asked_for(way: str) -> None:
    async with house() as h, crowd(h, 5) as members:
        h.hub.publish("public:a", 1)
        for talker in members:
            assert await talker.publications(1) == [1]
        await until(lambda: h.reactor.engine.stats()["uring_sends"] == (5 if way == "uring" else 0))  # counted behind the send
        assert h.reactor.engine.stats()["uring_threads"] == (1 if way == "uring" else 0)


async def test_short_publications_are_not_deflated() -> None:
    async with house(rules=WsRules(deflate=True)) as h, crowd(h, 1, deflate=True) as (c,):
        h.hub.publish("public:a", "short")
        assert await c.publications(1) == ["short"]
        assert c.packed == 0


@pytest.mark.parametrize("deflate", [False, True])
@pytest.mark.parametrize("form", [JSON, MSGPACK], ids=["json", "msgpack"])
async def test_a_busy_channel_gathers_publications_in_frames(form: int, deflate: bool) -> None:
    async with house(rules=WsRules(deflate=True)) as h, crowd(h, 5, form=form, deflate=deflate) as members:
        before = [talker.frames for talker in members]
        h.reactor.engine.hold()  # busy by what is published, not by how fast this machine publishes it
        for n in range(1000):
            h.hub.publish("public:a", n)
        h.reactor.engine.let_go()
        for talker, frames in zip(members, before, strict=True):
            assert await talker.publications(1000) == list(range(1000))
            assert talker.frames - frames < 100


def publish_at_once(h: House, items: list[Any]) -> None:
    """The thread hears of all of them together."""
    channel = h.hub.channel("public:a")
    channel.feed(lambda _: None)
    for item in items[:-1]:
        h.hub.publish("public:a", item)
    channel.feed(h.reactor.engine.ws_news)
    h.hub.publish("public:a", items[-1])


@asynccontextmanager
async def busy(count: int) -> AsyncIterator[tuple[House, Clock, Talker]]:
    """A channel that just had so many publications, its one member, which has them, and a clock that stands still."""
    async with house() as h, crowd(h, 1) as (member,):
        clock = Clock(h.reactor)
        publish_at_once(h, list(range(count)))
        assert await member.publications(count) == list(range(count))
        await clock.advance(0.002)
        yield h, clock, member


async def test_a_busy_channel_waits_for_a_tick_from_its_oldest_publication_on() -> None:
    async with busy(100) as (h, clock, member):
        sweeps, frames = h.stats["ws_sweeps"], member.frames
        h.hub.publish("public:a", "first")
        await clock.advance(0)  # it has come
        await clock.advance(0.018)
        h.hub.publish("public:a", "second")
        await clock.advance(0)  # it has come
        await clock.advance(0.001)
        assert h.stats["ws_sweeps"] == sweeps
        await clock.advance(0.001)
        assert await member.publications(2) == ["first", "second"]
        assert (h.stats["ws_sweeps"], member.frames) == (sweeps + 1, frames + 1)


async def test_a_wait_ends_when_the_writer_pauses() -> None:
    async with busy(1000) as (h, clock, member):  # one every half a millisecond
        sweeps = h.stats["ws_sweeps"]
        h.hub.publish("public:a", "first")
        await clock.advance(0)  # it has come
        await clock.advance(0.001)
        h.hub.publish("public:a", "second")
        await clock.advance(0)  # it has come
        await clock.advance(0.002)
        assert h.stats["ws_sweeps"] == sweeps
        await clock.advance(0.001)
        assert await member.publications(2) == ["first", "second"]


async def test_a_burst_makes_no_writer_wait_who_is_slow_himself() -> None:
    async with busy(100) as (h, clock, member):  # a hundred who joined, say
        for n in range(5):
            await clock.advance(0.015)  # 17 ms after the sweep before: 59 a second
            h.hub.publish("public:a", n)
            assert await member.publications(1) == [n]
            await clock.advance(0.002)


async def test_who_waits_for_the_readers_is_not_waited_for() -> None:
    async with busy(100) as (h, clock, member):
        for n in range(3):
            h.hub.publish("public:a", n)
            await clock.advance(0)
            await clock.advance(0.020)
            assert await member.publications(1) == [n]
        for n in range(20):
            h.hub.publish("public:a", n)
            assert await member.publications(1) == [n]
        publish_at_once(h, ["together", "with this"])
        assert await member.publications(2) == ["together", "with this"]
        sweeps = h.stats["ws_sweeps"]
        h.hub.publish("public:a", "again something to wait for")
        await clock.advance(0)  # it has come
        await clock.advance(0.010)
        assert h.stats["ws_sweeps"] == sweeps
        await clock.advance(0.010)
        assert await member.publications(1) == ["again something to wait for"]


async def test_frames_of_many_publications_stay_below_64_kib() -> None:
    async with house(channel=ChannelRules(window_bytes=8 << 20)) as h, crowd(h, 1) as (c,):
        for n in range(200):
            h.hub.publish("public:a", [n, "x" * 5000])
        assert [data[0] for data in await c.publications(200)] == list(range(200))
        assert h.stats["ws_encoded"]
        assert c.frames >= 200 * 5000 // 65536


async def test_threads_share_a_channel() -> None:
    async with house(threads=3) as h, crowd(h, 30) as members:
        for n in range(20):
            h.hub.publish("public:a", n)
        for talker in members:
            assert await talker.publications(20) == list(range(20))
        assert h.hub.channel("public:a").members == 30


async def test_members_that_come_and_go_while_it_is_swept() -> None:
    async with house() as h, crowd(h, 40) as members:
        async with trio.open_nursery() as nursery:

            async def rejoin(talker: Talker) -> None:
                for _ in range(10):
                    await talker.ask(unsubscribe={"channel": "public:a"})
                    await talker.join("public:a")

            for talker in members[:20]:
                nursery.start_soon(rejoin, talker)
            for n in range(200):
                h.hub.publish("public:a", n)
                await trio.lowlevel.checkpoint()
        for talker in members[20:]:
            assert await talker.publications(200) == list(range(200))
        assert h.hub.channel("public:a").members == 40


async def test_members_that_break_off_while_it_is_swept() -> None:
    async with house() as h, crowd(h, 20) as stay:
        async with crowd(h, 20) as leave:
            for n in range(100):
                h.hub.publish("public:a", n)
                if n % 5 == 0:
                    await leave[n // 5].stream.aclose()
        for talker in stay:
            assert await talker.publications(100) == list(range(100))
        await until(lambda: h.hub.channel("public:a").members == 20)


async def test_a_slow_reader_delays_nobody_and_gets_its_rest() -> None:
    async with house(channel=ChannelRules(window_bytes=32 << 20)) as h, crowd(h, 1, window=4096) as (slow,), crowd(h, 3) as fast:
        texts = [token_hex(50_000) for _ in range(100)]
        for text in texts:
            h.hub.publish("public:a", text)
        for talker in fast:
            assert await talker.publications(100) == texts
        assert h.stats["ws_gaps"] == 0
        assert await slow.publications(100) == texts


async def test_a_backlog_holds_one_frame_not_the_window() -> None:
    """What a stalled reader costs is what its socket has not taken of one sweep; everything else is its cursor."""
    from nova.ext.buffer import pinned_bytes

    async with house(channel=ChannelRules(window_items=64, window_bytes=4 << 20)) as h, crowd(h, 10, window=4096):
        before = pinned_bytes()
        for _ in range(500):
            h.hub.publish("public:a", token_hex(10_000))
            await trio.lowlevel.checkpoint()
        await until(lambda: h.stats["ws_sends"] >= 10)
        h.hub.publish("public:a", 1)
        assert pinned_bytes() - before < 10 * 3_000_000


async def test_control_frames_wait_behind_a_half_sent_frame_and_are_not_lost() -> None:
    async with house(channel=ChannelRules(window_bytes=16 << 20)) as h, crowd(h, 1, window=4096) as (c,):
        text = token_hex(2_000_000)
        h.hub.publish("public:a", text)
        await until(lambda: h.stats["ws_sends"] == 1)
        for n in range(5):
            await c.raw(frame(PING, b"%d" % n, key=KEY))
        pongs: list[Any] = []
        while len(pongs) < 5:
            data = await c.stream.receive_some(65536)
            for opcode, payload, _, _ in c.reader.feed(data):
                if opcode == TEXT:
                    assert len(payload) > 4_000_000
                elif opcode == 10:
                    pongs.append(payload)
        assert pongs == [b"0", b"1", b"2", b"3", b"4"]


async def test_two_rooms_are_swept_side_by_side() -> None:
    async with house() as h, crowd(h, 20) as a, crowd(h, 20, "public:b") as b:
        for n in range(50):
            h.hub.publish("public:a", n)
            h.hub.publish("public:b", -n)
        for talker in a:
            assert await talker.publications(50) == list(range(50))
        for talker in b:
            assert await talker.publications(50) == [-n for n in range(50)]


@pytest.mark.slow
async def test_a_room_larger_than_a_turn() -> None:
    async with house() as h, crowd(h, 700) as members:
        for n in range(5):
            h.hub.publish("public:a", n)
        for talker in members:
            assert await talker.publications(5) == list(range(5))
        assert h.stats["ws_deliveries"] == 3500


@pytest.mark.slow
async def test_many_channels_on_one_connection() -> None:
    async with house() as h, talk(h.address) as c:
        names = [f"public:{n}" for n in range(128)]
        for name in names:
            await c.join(name)
        for name in names:
            h.hub.publish(name, name)
        assert sorted(await c.publications(128)) == sorted(names)


async def test_data_as_deep_as_it_may_be_reaches_readers_of_both_forms() -> None:
    data: Any = 1
    for _ in range(32):
        data = [data]
    async with house() as h, crowd(h, 2) as texts, crowd(h, 2, form=MSGPACK) as packs:
        h.hub.publish("public:a", data)
        for talker in (*texts, *packs):
            assert await talker.publications(1) == [data]
        h.hub.publish("public:a", 2)
        for talker in (*texts, *packs):
            assert await talker.publications(1) == [2], "nobody was cut off"
