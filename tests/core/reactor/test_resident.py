"""The object table behind HTTP/2: the rules of the I/O threads' answers, by the trio half."""

from __future__ import annotations

import gzip
from typing import Any

import pytest
import trio
import trio.testing

from nova.core.clock import FakeClock
from nova.core.reactor.resident import ResidentObjects
from nova.ext.buffer import Arena, Buffer
from nova.ext.engine import MOST_THREADS, Engine
from nova.ext.object_reader import MISS, ObjectReader
from nova.ext.objects import ObjectTable
from nova.ext.session import SessionKeys
from nova.ext.viewers import Viewers

BODY = bytes(range(256)) * 2000


async def missing(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 404, "headers": []})
    await send({"type": "http.response.body", "body": b"app"})


class House:
    def __init__(self, nursery: trio.Nursery) -> None:
        self.objects, self.viewers, self.clock, self.keys = ObjectTable(), Viewers(), FakeClock(), SessionKeys()
        self.keys.add(1, bytes(32))
        self.rendered: list[bytes] = []
        self.resident = ResidentObjects(self.objects, self.viewers, self.clock, sessions=self.keys, render=self.rendered.append, wait=12.0)
        nursery.start_soon(self.resident.run)
        self.app = self.resident.before(missing)

    async def get(
        self, path: bytes, *fields: tuple[bytes, bytes], method: str = "GET", query: bytes = b""
    ) -> tuple[int, dict[bytes, bytes], bytes]:
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "method": method,
            "path": path.decode(),
            "raw_path": path,
            "query_string": query,
            "headers": list(fields),
            "client": ("192.0.2.1", 5),
        }
        await self.app(scope, None, send)
        return sent[0]["status"], dict(sent[0]["headers"]), b"".join(message["body"] for message in sent[1:])


@pytest.fixture
async def house() -> Any:
    async with trio.open_nursery() as nursery:
        made = House(nursery)
        arena = Arena(1 << 20)
        made.objects.put(
            b"/seg",
            b"Content-Type: video/mp4\r\nCache-Control: max-age=60\r\n",
            [arena.append(BODY[:100_000]), arena.append(BODY[100_000:300_000]), Buffer(BODY[300_000:])],
            etag=b'"s"',
            modified=1000,
            tag=3,
        )
        yield made
        nursery.cancel_scope.cancel()


async def test_whole_head_and_unknown(house: House) -> None:
    status, headers, body = await house.get(b"/seg")
    assert (status, body) == (200, BODY)
    assert (headers[b"content-length"], headers[b"etag"], headers[b"content-type"]) == (b"512000", b'"s"', b"video/mp4")
    status, headers, body = await house.get(b"/seg", method="HEAD")
    assert (status, headers[b"content-length"], body) == (200, b"512000", b"")
    assert (await house.get(b"/nope"))[2] == b"app"
    assert (await house.get(b"/seg", method="POST"))[0] == 404


@pytest.mark.parametrize(
    ("value", "first", "last"),
    [(b"bytes=5-9", 5, 9), (b"bytes=99990-100010", 99990, 100010), (b"bytes=-3", 511997, 511999), (b"bytes=511990-", 511990, 511999)],
)
async def test_ranges_across_the_rope(house: House, value: bytes, first: int, last: int) -> None:
    status, headers, body = await house.get(b"/seg", (b"range", value))
    assert (status, headers[b"content-range"], body) == (206, b"bytes %d-%d/512000" % (first, last), BODY[first : last + 1])


async def test_range_conditions(house: House) -> None:
    assert (await house.get(b"/seg", (b"range", b"bytes=600000-")))[0] == 416
    assert (await house.get(b"/seg", (b"range", b"bytes=0-1"), (b"if-range", b'"other"')))[0] == 200
    assert (await house.get(b"/seg", (b"range", b"bytes=0-1"), (b"if-range", b'"s"')))[0] == 206


async def test_conditions(house: House) -> None:
    status, headers, body = await house.get(b"/seg", (b"if-none-match", b'"x", W/"s"'))
    assert (status, body, b"content-length" in headers) == (304, b"", False)
    assert (await house.get(b"/seg", (b"if-match", b'"x"')))[0] == 412
    assert (await house.get(b"/seg", (b"if-modified-since", b"Thu, 01 Jan 1970 00:16:40 GMT")))[0] == 304
    assert (await house.get(b"/seg", (b"if-unmodified-since", b"Thu, 01 Jan 1970 00:16:39 GMT")))[0] == 412


async def test_gzip_is_chosen_by_accept_encoding(house: House) -> None:
    text = b"#EXTM3U\n" * 100
    house.objects.put(b"/list", b"Content-Type: text/plain\r\nVary: Accept-Encoding\r\n", [text], etag=b'"t"', gzip=gzip.compress(text))
    _status, headers, body = await house.get(b"/list", (b"accept-encoding", b"br, gzip;q=0.5"))
    assert (headers[b"content-encoding"], headers[b"etag"], gzip.decompress(body)) == (b"gzip", b'"t-gz"', text)
    assert (await house.get(b"/list", (b"accept-encoding", b"gzip;q=0.0")))[2] == text
    assert (await house.get(b"/list"))[2] == text


async def test_a_request_waits_for_its_version_and_rendering_is_asked_for_once(house: House) -> None:
    answers: list[int] = []

    async def ask(query: bytes) -> None:
        answers.append((await house.get(b"/list", query=query))[0])

    house.objects.advance(b"/list", (5 << 16) | 1)
    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(ask, b"")
        for _ in range(5):
            nursery.start_soon(ask, b"_HLS_msn=5&_HLS_part=2")
        await trio.testing.wait_all_tasks_blocked()
        assert house.rendered == [b"/list"]
        house.objects.put(b"/list", b"", [b"1"], version=(5 << 16) | 1)
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert len(answers) == 10
        assert house.objects.advance(b"/list", (5 << 16) | 3)
        house.objects.put(b"/list", b"", [b"3"], version=(5 << 16) | 3)
    assert answers == [200] * 15
    for query in (b"_HLS_part=1", b"_HLS_msn=9", b"_HLS_msn=x"):
        assert (await house.get(b"/list", query=query))[0] == 400


async def test_what_was_named_and_never_came_is_unknown(house: House) -> None:
    house.objects.expect(b"/part")
    async with trio.open_nursery() as nursery:

        async def ask() -> None:
            assert (await house.get(b"/part"))[2] == b"app"

        nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        house.objects.remove(b"/part")


async def test_nothing_in_time_is_503(house: House, autojump_clock: trio.testing.MockClock) -> None:
    house.objects.expect(b"/part")
    status, headers, _ = await house.get(b"/part")
    assert (status, headers[b"retry-after"]) == (503, b"1")
    assert house.objects.waiting(b"/part") == 0


async def test_sessions_open_private_objects_and_count_viewers(house: House) -> None:
    house.objects.put(b"/live/abc/x", b"", [b"secret"], tag=7, private=True)
    text = house.keys.mint(b"abc", bytes(16), int(house.clock.wall()) + 60)
    assert (await house.get(b"/live/abc/x"))[0] == 404
    for _ in range(3):
        assert (await house.get(b"/live/~" + text + b"/abc/x"))[2] == b"secret"
    assert (await house.get(b"/live/~" + text + b"/other/x"))[0] == 404
    await house.get(b"/seg")
    assert house.viewers.counts(int(house.clock.wall())) == {7: 1, 3: 1}


def test_trio_has_a_place_beside_as_many_io_threads_as_there_can_be() -> None:
    engine = Engine(MOST_THREADS)
    reader = ObjectReader(engine.objects)
    assert reader.find(b"/nothing")[0] == MISS
    with pytest.raises(ValueError, match="readers"):
        ObjectReader(engine.objects)
