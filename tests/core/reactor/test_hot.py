"""Hot answers on real sockets: conditions and ranges, ropes from the heap and from memfds, plain and over TLS, fast and slow readers."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any

import pytest
import trio

from nova.core.reactor import Reactor
from nova.ext.buffer import Arena, Buffer, resident_bytes
from nova.ext.tls import TlsContext
from tests.core.reactor.served import Client, Clock, connect, dial, http, reactor, until
from tests.core.reactor.test_tls import Pair, certificate, client_context, tls

ETAG = b'"v1"'
DATE = 784111777  # Sun, 06 Nov 1994 08:49:37 GMT, the example of RFC 9110
STAMP = "Sun, 06 Nov 1994 08:49:37 GMT"
LATER = "Sun, 06 Nov 1994 08:49:38 GMT"
EARLIER = "Sun, 06 Nov 1994 08:49:36 GMT"
BODY = bytes(range(256)) * 4
LINES = b"Content-Type: text/plain\r\nCache-Control: max-age=1\r\n"


def put(made: Reactor, path: bytes = b"/x", body: bytes = BODY, **rest: Any) -> None:
    made.objects.put(path, LINES, [body], etag=rest.pop("etag", ETAG), modified=rest.pop("modified", DATE), **rest)


def memfd_rope(data: bytes) -> list[Buffer]:
    """Slices of two memfds and the heap, some of them neighbours."""
    third = len(data) // 3
    first, last = Arena(third + 8192), Arena(len(data))
    pieces = [first.append(data[: third // 2]), first.append(data[third // 2 : third])]
    return [*pieces, Buffer(data[third : 2 * third]), last.append(data[2 * third :])]


class Seen:
    """An application that no hot request may reach."""

    def __init__(self) -> None:
        self.paths: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.paths.append(scope["path"])
        await send({"type": "http.response.start", "status": 404, "headers": []})
        await send({"type": "http.response.body", "body": b""})


async def test_get_answers_body_headers_etag_and_date_without_the_application() -> None:
    app = Seen()
    async with reactor(http(app)) as (made, [address]), connect(address) as client:
        put(made)
        made.engine.set_clock(unix=DATE)
        status, headers, body = await client.get("/x")
        assert (status, body) == (200, BODY)
        assert headers == {
            "content-type": "text/plain", "cache-control": "max-age=1", "etag": '"v1"', "accept-ranges": "bytes",
            "content-length": "1024", "date": STAMP,
        }
        assert made.engine.stats()["hot"] == 1
        assert (await client.get("/y"))[0] == 404
    assert app.paths == ["/y"]


async def test_head_has_the_length_and_no_body() -> None:
    async with reactor(http()) as (made, [address]), connect(address) as client:
        put(made)
        for field in ("", "Range: bytes=0-9\r\n"):  # a range belongs to GET alone (RFC 9110, 14.2)
            await client.send(f"HEAD /x HTTP/1.1\r\nHost: h\r\n{field}\r\n".encode())
            status, headers, _ = await client.answer(head_only=True)
            assert (status, headers["content-length"]) == (200, "1024")
        assert (await client.get("/x"))[2] == BODY


RANGES = [
    ("bytes=0-0", 206, 0, 1), ("bytes=0-9", 206, 0, 10), ("bytes=10-", 206, 10, 1024), ("bytes=-5", 206, 1019, 1024),
    ("bytes=1000-5000", 206, 1000, 1024), ("bytes=-5000", 206, 0, 1024), ("bytes=1023-1023", 206, 1023, 1024),
    ("bytes=1024-", 416, 0, 0), ("bytes=-0", 416, 0, 0), ("bytes=5-4", 200, 0, 1024), ("lines=1-2", 200, 0, 1024),
    ("bytes=0-1,5-6", 200, 0, 1024), ("bytes=x", 200, 0, 1024),
]


@pytest.mark.parametrize(("value", "wanted", "first", "end"), RANGES)
async def test_range(value: str, wanted: int, first: int, end: int) -> None:
    async with reactor(http()) as (made, [address]), connect(address) as client:
        put(made)
        status, headers, body = await client.get("/x", f"Range: {value}")
        assert status == wanted
        assert body == BODY[first:end]
        if wanted == 206:
            assert headers["content-range"] == f"bytes {first}-{end - 1}/1024"
            assert (headers["etag"], headers["content-type"]) == ('"v1"', "text/plain")
        elif wanted == 416:
            assert headers["content-range"] == "bytes */1024"
        assert (await client.get("/x"))[2] == BODY  # the connection has kept its place


async def test_range_crosses_the_slices_of_a_rope() -> None:
    data = bytes(i * 7 % 251 for i in range(300_000))
    async with reactor(http()) as (made, [address]), connect(address) as client:
        made.objects.put(b"/rope", LINES, memfd_rope(data), etag=ETAG)
        for first, last in ((0, 299_999), (49_999, 50_000), (99_990, 200_010), (150_000, 150_000), (0, 20_000), (199_999, 299_999)):
            status, _, body = await client.get("/rope", f"Range: bytes={first}-{last}")
            assert (status, body) == (206, data[first : last + 1])


CONDITIONS = [
    ("If-None-Match: \"v1\"", 304), ("If-None-Match: W/\"v1\"", 304), ("If-None-Match: \"a\", \"v1\"", 304), ("If-None-Match: *", 304),
    ("If-None-Match: \"v2\"", 200), (f"If-Modified-Since: {STAMP}", 304), (f"If-Modified-Since: {LATER}", 304),
    (f"If-Modified-Since: {EARLIER}", 200), ("If-Modified-Since: yesterday", 200), ("If-Match: \"v1\"", 200), ("If-Match: *", 200),
    ("If-Match: \"v2\"", 412), ("If-Match: W/\"v1\"", 412),
    (f"If-Unmodified-Since: {STAMP}", 200), (f"If-Unmodified-Since: {EARLIER}", 412),
]


@pytest.mark.parametrize(("field", "wanted"), CONDITIONS)
async def test_condition(field: str, wanted: int) -> None:
    async with reactor(http()) as (made, [address]), connect(address) as client:
        put(made)
        status, headers, body = await client.get("/x", field)
        assert status == wanted
        if wanted == 304:
            # RFC 9110, 15.4.5: what a 200 would have said of caching and identity.
            assert (headers["etag"], headers["cache-control"]) == ('"v1"', "max-age=1")
            assert "content-length" not in headers
            assert "date" in headers
        elif wanted == 200:
            assert body == BODY
        else:
            assert headers["content-type"] == "application/problem+json"
        assert (await client.get("/x"))[2] == BODY


async def test_entity_tags_decide_before_dates() -> None:
    async with reactor(http()) as (made, [address]), connect(address) as client:
        put(made)
        assert (await client.get("/x", 'If-None-Match: "v2"', f"If-Modified-Since: {LATER}"))[0] == 200
        assert (await client.get("/x", 'If-Match: "v1"', f"If-Unmodified-Since: {EARLIER}"))[0] == 200
        assert (await client.get("/x", 'If-Match: "v2"', 'If-None-Match: "v1"'))[0] == 412


@pytest.mark.parametrize(
    ("value", "wanted"),
    [('"v1"', 206), ('"v2"', 200), ('W/"v1"', 200), (STAMP, 206), (LATER, 200), ("yesterday", 200)],
)
async def test_if_range_takes_the_part_only_of_the_same_bytes(value: str, wanted: int) -> None:
    async with reactor(http()) as (made, [address]), connect(address) as client:
        put(made)
        status, _, body = await client.get("/x", "Range: bytes=0-9", f"If-Range: {value}")
        assert (status, len(body)) == (wanted, 10 if wanted == 206 else 1024)


async def test_if_range_of_a_wednesday_is_no_weak_tag() -> None:
    async with reactor(http()) as (made, [address]), connect(address) as client:
        put(made, modified=DATE + 3 * 86400)
        assert (await client.get("/x", "Range: bytes=0-9", "If-Range: Wed, 09 Nov 1994 08:49:37 GMT"))[0] == 206


async def test_gzip_goes_to_those_who_take_it_with_a_tag_of_its_own() -> None:
    packed = gzip.compress(BODY)
    async with reactor(http()) as (made, [address]), connect(address) as client:
        put(made, gzip=Buffer(packed))
        _, headers, body = await client.get("/x", "Accept-Encoding: br, gzip")
        assert (headers["content-encoding"], headers["etag"], headers["content-length"]) == ("gzip", '"v1-gz"', str(len(packed)))
        assert gzip.decompress(body) == BODY
        for field in ("Accept-Encoding: br", "Accept-Encoding: gzip;q=0", "X: y"):
            _, headers, body = await client.get("/x", field)
            assert (headers.get("content-encoding"), headers["etag"], body) == (None, '"v1"', BODY)
        assert (await client.get("/x", "Accept-Encoding: gzip", 'If-None-Match: "v1-gz"'))[0] == 304
        # The bytes that a range counts are those of the plain body.
        status, headers, body = await client.get("/x", "Accept-Encoding: gzip", "Range: bytes=0-9")
        assert (status, headers.get("content-encoding"), body) == (206, None, BODY[:10])


async def test_each_version_of_http_says_when_the_connection_ends() -> None:
    async with reactor(http()) as (made, [address]):
        put(made)
        async with connect(address) as client:
            for _ in range(2):
                await client.send(b"GET /x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
                status, headers, body = await client.answer()
                assert (status, headers["connection"], body) == (200, "keep-alive", BODY)
            await client.send(b"GET /x HTTP/1.0\r\n\r\n")
            assert (await client.answer())[1]["connection"] == "close"
            assert await client.to_end() == b""
        async with connect(address) as client:
            assert "connection" not in (await client.get("/x"))[1]
            assert (await client.get("/x", "Connection: close"))[1]["connection"] == "close"
            assert await client.to_end() == b""


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    return certificate(tmp_path_factory.mktemp("hot"), "localhost")


class Way:
    """Plain or TLS, one interface."""

    def __init__(self, pair: Pair | None) -> None:
        self._pair = pair

    def serve(self, **limits: int) -> AbstractAsyncContextManager[tuple[Reactor, list[tuple[str, int]]]]:
        spec = http(Seen(), **limits)
        return reactor(replace(spec, tls=TlsContext(*self._pair)) if self._pair else spec)

    async def client(self, address: tuple[str, int], window: int = 0) -> Client:
        if self._pair is None:
            return Client(await dial(address, window))
        return Client(await tls(address, client_context(self._pair), window=window))


@pytest.fixture(params=["plain", "tls"])
def way(request: pytest.FixtureRequest, pair: Pair) -> Way:
    return Way(pair if request.param == "tls" else None)


async def test_large_bodies_arrive_whole_from_heap_and_memfd(way: Way) -> None:
    data = bytes(range(251)) * 16_000  # 4 MB: several socket buffers
    async with way.serve() as (made, [address]):
        made.objects.put(b"/heap", LINES, [data], etag=ETAG)
        made.objects.put(b"/memfd", LINES, memfd_rope(data), etag=ETAG)
        client = await way.client(address)
        async with client.stream:
            for path in ("/heap", "/memfd", "/heap", "/memfd"):
                assert (await client.get(path))[2] == data


async def test_pipelined_large_bodies_come_whole_and_in_order(way: Way) -> None:
    data = [bytes([i]) * (900_000 + i) for i in range(4)]
    async with way.serve() as (made, [address]):
        for i, body in enumerate(data):
            made.objects.put(b"/%d" % i, LINES, memfd_rope(body) if i % 2 else [body], etag=ETAG)
        client = await way.client(address)
        async with client.stream:
            order = [0, 1, 2, 3, 3, 1, 0, 2, 1, 1]
            await client.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: h\r\n\r\n" % i for i in order))
            for i in order:
                assert (await client.answer())[2] == data[i]


async def test_hundreds_of_pipelined_requests_are_all_answered(way: Way) -> None:
    async with way.serve() as (made, [address]):
        put(made)
        client = await way.client(address)
        async with client.stream, trio.open_nursery() as nursery:
            nursery.start_soon(client.send, b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n" * 700)
            for _ in range(700):
                assert (await client.answer())[2] == BODY


async def test_replaced_body_is_still_sent_whole_to_who_had_begun_it(way: Way) -> None:
    old, new = b"o" * 8_000_000, b"n" * 100
    async with way.serve() as (made, [address]):
        before = resident_bytes()
        made.objects.put(b"/x", LINES, [old], etag=ETAG)
        client = await way.client(address)
        async with client.stream:
            await client.send(b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n")
            await client.until(b"\r\n\r\n")
            made.objects.put(b"/x", LINES, [new], etag=b'"2"')
            assert await client.exactly(len(old)) == old
            assert (await client.get("/x"))[2] == new
            await until(lambda: resident_bytes() < before + 1_000_000)  # the old body is given back


async def test_reader_below_the_least_rate_is_cut_and_one_above_it_is_not(way: Way) -> None:
    body = bytes(24_000_000)
    async with way.serve(body_ms=10_000, min_rate=100_000) as (made, [address]):
        made.objects.put(b"/x", LINES, [body], etag=ETAG)
        clock = Clock(made)
        # With small windows, what is read is what the server has sent, but for a socket's buffer.
        stalled, steady = await way.client(address, 65536), await way.client(address, 65536)
        async with stalled.stream, steady.stream:
            for client in (stalled, steady):
                await client.send(b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n")
                await client.until(b"\r\n\r\n")
            for _ in range(3):
                await steady.exactly(6_000_000)
                await clock.advance(9.0)
            assert made.engine.stats()["timeouts"] == 1
            await steady.exactly(6_000_000)
            with pytest.raises((EOFError, trio.BrokenResourceError)):
                await stalled.exactly(len(body))


async def test_client_that_has_finished_sending_still_gets_all_it_asked_for() -> None:
    body = bytes(6_000_000)
    async with reactor(http()) as (made, [address]), connect(address) as client:
        made.objects.put(b"/x", LINES, [body], etag=ETAG)
        await client.send(b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n" * 3)
        assert isinstance(client.stream, trio.SocketStream)
        await client.stream.send_eof()
        for _ in range(3):
            assert (await client.answer())[2] == body
        assert await client.to_end() == b""
        await until(lambda: made.engine.stats()["connections"] == 0)
