"""Requests that wait: for a name that will be there, for a version of a playlist; how they end, and what they cost."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
import trio

from nova.core.reactor import Reactor
from tests.core.reactor.served import Client, Clock, connect, dial, http, reactor, until
from tests.core.reactor.test_hot import Seen

LIST = b"/live/s/video.m3u8"


def version(msn: int, parts: int = 0) -> int:
    """A playlist whose segment `msn` is being made and has so many parts."""
    return msn << 16 | parts


class Playlists:
    """Renders when asked, as media/ does; counts."""

    def __init__(self, made: Reactor) -> None:
        self._made = made
        self.version = 0
        self.rendered: list[int] = []
        made.on_render(self.render)

    def render(self, path: bytes) -> None:
        self.rendered.append(self.version)
        body = b"v%d.%d" % divmod(self.version, 65536)
        self._made.objects.put(path, b"Content-Type: x\r\n", [body], etag=b'"%d"' % self.version, version=self.version)

    def advance(self, to: int) -> None:
        self.version = to
        if self._made.objects.advance(LIST, to, parts_ahead=3):
            self.render(LIST)


@asynccontextmanager
async def parked(app: Any = None, threads: int = 1, **limits: int) -> AsyncIterator[tuple[Reactor, Playlists, tuple[str, int]]]:
    async with reactor(http(app or Seen(), **limits), threads=threads) as (made, [address]):
        yield made, Playlists(made), address


async def waiting(made: Reactor, count: int) -> None:
    await until(lambda: made.engine.stats()["parked_now"] == count)


async def test_playlist_is_rendered_once_when_the_first_reader_asks() -> None:
    async with parked() as (_, playlists, address), connect(address) as client:
        playlists.advance(version(5, 1))
        assert playlists.rendered == []
        for _ in range(3):
            assert (await client.get(LIST.decode()))[2] == b"v5.1"
        assert playlists.rendered == [version(5, 1)]


@pytest.mark.parametrize(
    ("query", "steps", "body"),
    [
        ("_HLS_msn=4", [], b"v5.1"), ("_HLS_msn=5&_HLS_part=0", [], b"v5.1"),
        ("_HLS_msn=5&_HLS_part=1", [(5, 2)], b"v5.2"), ("_HLS_msn=5&_HLS_part=2", [(5, 2), (5, 3)], b"v5.3"),
        ("_HLS_msn=5", [(5, 2), (5, 3), (6, 0)], b"v6.0"), ("_HLS_msn=6&_HLS_part=0", [(6, 0), (6, 1)], b"v6.1"),
        # RFC 8216bis, 6.2.5.2: a part behind the last one of its segment is the first of the next.
        ("_HLS_msn=5&_HLS_part=3", [(5, 2), (6, 0)], b"v6.0"), ("x=1&_HLS_msn=5&_HLS_part=1&y=2", [(5, 2)], b"v5.2"),
    ],
)
async def test_blocking_reload_waits_for_exactly_its_version(query: str, steps: list[tuple[int, int]], body: bytes) -> None:
    async with parked() as (made, playlists, address), connect(address) as client:
        playlists.advance(version(5, 1))
        await client.send(b"GET %s?%s HTTP/1.1\r\nHost: h\r\n\r\n" % (LIST, query.encode()))
        for step in steps:
            await waiting(made, 1)
            playlists.advance(version(*step))
        assert (await client.answer())[::2] == (200, body)
        assert made.engine.stats()["parked_now"] == 0


@pytest.mark.parametrize(
    "query", ["_HLS_msn=7", "_HLS_msn=5&_HLS_part=4", "_HLS_msn=6&_HLS_part=3", "_HLS_part=1", "_HLS_msn=x", "_HLS_msn=5&_HLS_part=-1",
              "_HLS_msn=99999999999999999", "_HLS_msn=5&_HLS_part=99999999"],
)
async def test_reload_too_far_ahead_or_without_sense_is_400_at_once(query: str) -> None:
    async with parked() as (made, playlists, address), connect(address) as client:
        playlists.advance(version(5, 1))
        for _ in range(2):  # unrendered, then rendered
            assert (await client.get(f"{LIST.decode()}?{query}"))[0] == 400
            assert made.engine.stats()["parked_now"] == 0
            assert (await client.get(LIST.decode()))[2] == b"v5.1"  # it has asked for nothing, so the next one is rendered


async def test_wait_ends_at_its_deadline_with_503_and_the_next_one_has_its_own() -> None:
    async with parked(park_ms=12_000) as (made, playlists, address), connect(address) as client:
        clock = Clock(made)
        playlists.advance(version(5, 1))
        for _ in range(2):
            await client.send(b"GET %s?_HLS_msn=5&_HLS_part=1 HTTP/1.1\r\nHost: h\r\n\r\n" % LIST)
            await waiting(made, 1)
            await clock.advance(11.9)
            assert made.engine.stats()["parked_now"] == 1
            await clock.advance(0.2)
            status, headers, _ = await client.answer()
            assert (status, headers["retry-after"]) == (503, "1")
            assert "connection" not in headers
        await client.send(b"GET %s?_HLS_msn=5&_HLS_part=1 HTTP/1.1\r\nHost: h\r\n\r\n" % LIST)
        await waiting(made, 1)
        playlists.advance(version(5, 2))
        assert (await client.answer())[2] == b"v5.2"


async def test_wait_that_the_application_ended_leaves_no_deadline_to_the_next() -> None:
    """A preload hint that did not come true is 404 of the application; the connection's next wait has its whole time."""
    async with parked(park_ms=12_000) as (made, playlists, address), connect(address) as client:
        clock = Clock(made)
        made.objects.expect(b"/part")
        await client.send(b"GET /part HTTP/1.1\r\nHost: h\r\n\r\n")
        await waiting(made, 1)
        await clock.advance(11)
        made.objects.remove(b"/part")
        assert (await client.answer())[0] == 404
        playlists.advance(version(5, 1))
        await client.send(b"GET %s?_HLS_msn=5&_HLS_part=1 HTTP/1.1\r\nHost: h\r\n\r\n" % LIST)
        await waiting(made, 1)
        await clock.advance(11)
        assert made.engine.stats()["parked_now"] == 1
        playlists.advance(version(5, 2))
        assert (await client.answer())[2] == b"v5.2"


async def test_expected_name_answers_all_who_wait_when_it_is_put() -> None:
    async with parked() as (made, _, address), AsyncExitStack() as stack:
        made.objects.expect(b"/part")
        clients = [await stack.enter_async_context(connect(address)) for _ in range(20)]
        for i, client in enumerate(clients):
            method, field = b"HEAD" if i == 0 else b"GET", b"Range: bytes=1-2\r\n" if i == 1 else b""
            await client.send(b"%s /part HTTP/1.1\r\nHost: h\r\n%s\r\n" % (method, field))
        await waiting(made, 20)
        assert made.objects.waiting(b"/part") == 20
        made.objects.put(b"/part", b"", [b"body"], etag=b'"1"')
        assert (await clients[0].answer(head_only=True))[1]["content-length"] == "4"
        assert (await clients[1].answer())[::2] == (206, b"od")
        for client in clients[2:]:
            assert (await client.answer())[::2] == (200, b"body")


async def test_request_behind_a_parked_one_is_answered_after_it() -> None:
    async with parked() as (made, _, address), connect(address) as client:
        made.objects.expect(b"/part")
        made.objects.put(b"/hot", b"", [b"hot"])
        get = b"GET %s HTTP/1.1\r\nHost: h\r\n\r\n"
        await client.send(get % b"/hot" + get % b"/part" + get % b"/hot" + b"GET /a")
        await waiting(made, 1)
        await client.send(b"pp HTTP/1.1\r\nHost: h\r\n\r\n")
        made.objects.put(b"/part", b"", [b"part"])
        assert [(await client.answer())[::2] for _ in range(4)] == [(200, b"hot"), (200, b"part"), (200, b"hot"), (404, b"")]


async def test_reader_that_leaves_while_parked_is_forgotten() -> None:
    async with parked(threads=2) as (made, _playlists, address):
        made.objects.expect(b"/part")
        streams = [await dial(address) for _ in range(40)]
        for stream in streams:
            await stream.send_all(b"GET /part HTTP/1.1\r\nHost: h\r\n\r\n")
        await waiting(made, 40)
        for stream in streams[::2]:
            await stream.aclose()
        await waiting(made, 20)
        made.objects.put(b"/part", b"", [b"x"])
        for stream in streams[1::2]:
            assert (await Client(stream).answer())[2] == b"x"
            await stream.aclose()
        await until(lambda: made.engine.stats()["connections"] == 0)


async def test_put_while_readers_leave_answers_those_who_stay() -> None:
    """The hand-over of a place from the table to its thread, while its connection closes."""
    async with parked(threads=2) as (made, _, address):
        for round_ in range(15):
            made.objects.expect(b"/part")
            leaving, staying = [await dial(address) for _ in range(10)], [await dial(address) for _ in range(10)]
            for stream in (*leaving, *staying):
                await stream.send_all(b"GET /part HTTP/1.1\r\nHost: h\r\n\r\n")
            await waiting(made, 20)
            for i, stream in enumerate(leaving):
                stream.socket.close()
                if i == round_ % 10:
                    made.objects.put(b"/part", b"", [b"x"])
            for stream in staying:
                assert (await Client(stream).answer())[2] == b"x"
                await stream.aclose()
            made.objects.remove(b"/part")
        await until(lambda: made.engine.stats()["connections"] == 0)
        assert made.engine.stats()["parked_now"] == 0


async def test_thousand_readers_on_two_threads_cost_one_rendering() -> None:
    async with parked(threads=2) as (made, playlists, address), AsyncExitStack() as stack:
        playlists.advance(version(5, 1))
        clients = [await stack.enter_async_context(connect(address)) for _ in range(1000)]
        for client in clients:
            await client.send(b"GET %s?_HLS_msn=5&_HLS_part=1 HTTP/1.1\r\nHost: h\r\n\r\n" % LIST)
        await waiting(made, 1000)
        # The version that is there is rendered for the first, since the readers ask for more: nobody needs it.
        rendered = len(playlists.rendered)
        playlists.advance(version(5, 2))
        for client in clients:
            assert (await client.answer())[2] == b"v5.2"
        assert len(playlists.rendered) == rendered + 1
        per_thread = [made.engine.thread_stats(i)["requests"] for i in range(2)]
        assert sum(per_thread) == 1000


async def test_thousand_readers_of_what_is_not_rendered_ask_once() -> None:
    async with parked(threads=2) as (_made, playlists, address), AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connect(address)) for _ in range(1000)]
        playlists.advance(version(5, 1))
        async with trio.open_nursery() as nursery:
            for client in clients:
                nursery.start_soon(client.send, b"GET %s HTTP/1.1\r\nHost: h\r\n\r\n" % LIST)
        for client in clients:
            assert (await client.answer())[2] == b"v5.1"
        assert playlists.rendered == [version(5, 1)]


async def test_readers_above_the_bound_are_told_to_come_again() -> None:
    async with parked() as (made, _, address), connect(address) as one, connect(address) as two, connect(address) as three:
        made.objects.expect(b"/part")
        made.objects.limit_waiting(2)
        for client in (one, two):
            await client.send(b"GET /part HTTP/1.1\r\nHost: h\r\n\r\n")
        await waiting(made, 2)
        assert (await three.get("/part"))[0] == 503
        made.objects.put(b"/part", b"", [b"x"])
        for client in (one, two):
            assert (await client.answer())[2] == b"x"


async def test_private_name_waits_only_behind_its_session() -> None:
    app = Seen()
    async with parked(app) as (made, _, address), connect(address) as client:
        made.objects.expect(b"/part", private=True)
        assert (await client.get("/part"))[0] == 404
        assert made.engine.stats()["parked_now"] == 0
    assert app.paths == ["/part"]


async def test_drain_answers_who_waits_and_ends() -> None:
    async with parked() as (made, _, address), connect(address) as client:
        made.objects.expect(b"/part")
        await client.send(b"GET /part HTTP/1.1\r\nHost: h\r\n\r\n")
        await waiting(made, 1)
        with trio.fail_after(30):
            await made.drain()
        status, headers, _ = await client.answer()
        assert (status, headers["connection"]) == (503, "close")


async def test_end_of_the_reactor_closes_who_waits() -> None:
    async with parked() as (made, _, address):
        client = Client(await dial(address))
        made.objects.expect(b"/part")
        await client.send(b"GET /part HTTP/1.1\r\nHost: h\r\n\r\n")
        await waiting(made, 1)
    assert await client.to_end() == b""
    assert made.engine.stats()["parked_now"] == 0
    made.objects.put(b"/part", b"", [b"nobody is left"])
    await client.stream.aclose()
