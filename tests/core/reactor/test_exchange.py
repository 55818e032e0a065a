"""Requests that are not hot: ASGI over the reactor, on real sockets."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from nova.core import awake
from nova.core.reactor.exchange import ClientDisconnected
from tests.core.reactor.served import connect, http, reactor, until

Send = Any


async def answer(send: Send, body: bytes, status: int = 200, *headers: tuple[bytes, bytes]) -> None:
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})
    await send({"type": "http.response.body", "body": body})


async def whole_body(receive: Any) -> bytes:
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnected
        body += message["body"]
        if not message["more_body"]:
            return body


async def echo(scope: Any, receive: Any, send: Send) -> None:
    await answer(send, await whole_body(receive))


async def test_scope_tells_method_path_query_and_peer() -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Send) -> None:
        seen.append(scope)
        await answer(send, b"ok")

    async with reactor(http(app)) as (_, [address]), connect(address) as client:
        assert (await client.get("/a%20b?x=1&access_token=secret&y=2", "X-Thing: v"))[2] == b"ok"
    scope = seen[0]
    assert (scope["method"], scope["path"], scope["raw_path"], scope["query_string"]) == ("GET", "/a b", b"/a%20b", b"x=1&y=2")
    assert (b"x-thing", b"v") in scope["headers"]
    assert scope["client"][0] == "127.0.0.1"
    assert scope["server"] == address


async def test_body_with_length_comes_whole_and_connection_lives_on() -> None:
    data = bytes(range(256)) * 2000
    async with reactor(http(echo)) as (_, [address]), connect(address) as client:
        for _ in range(3):
            await client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % len(data) + data)
            status, headers, body = await client.answer()
            assert (status, body) == (200, data)
            assert "connection" not in headers


async def test_chunked_body_comes_whole_in_any_pieces() -> None:
    async with reactor(http(echo)) as (_, [address]), connect(address) as client:
        raw = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nTrailer: t\r\n\r\n"
        for step in (1, 3, len(raw)):
            for at in range(0, len(raw), step):
                await client.send(raw[at : at + step])
            assert (await client.answer())[2] == b"hello world"


async def test_broken_chunk_ends_the_request_and_the_connection() -> None:
    ended: list[str] = []

    async def app(scope: Any, receive: Any, send: Send) -> None:
        try:
            await whole_body(receive)
        except ClientDisconnected:
            ended.append("disconnect")

    async with reactor(http(app)) as (made, [address]), connect(address) as client:
        await client.send(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloXX")
        assert (await client.to_end()).startswith(b"HTTP/1.1 400 ")
        await made.drain()
    assert ended == ["disconnect"]


async def test_answer_of_unknown_length_is_chunked() -> None:
    async def app(scope: Any, receive: Any, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for piece in (b"one", b"", b"two"):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async with reactor(http(app)) as (_, [address]), connect(address) as client:
        status, headers, body = await client.get("/")
        assert (status, headers["transfer-encoding"], body) == (200, "chunked", b"onetwo")
        await client.send(b"GET / HTTP/1.0\r\nHost: h\r\n\r\n")
        status, headers, body = await client.answer()
        assert (headers.get("transfer-encoding"), headers["connection"], body) == (None, "close", b"onetwo")


async def test_pipelined_requests_are_answered_in_order_hot_and_cold() -> None:
    async def app(scope: Any, receive: Any, send: Send) -> None:
        await answer(send, b"cold " + scope["raw_path"])

    async with reactor(http(app)) as (made, [address]), connect(address) as client:
        made.objects.put(b"/hot", b"Content-Type: text/plain\r\n", [b"hot"], etag=b'"1"')
        paths = (b"/1", b"/hot", b"/2", b"/hot", b"/hot", b"/3")
        await client.send(b"".join(b"GET %s HTTP/1.1\r\nHost: h\r\n\r\n" % path for path in paths))
        bodies = [(await client.answer())[2] for _ in range(6)]
    assert bodies == [b"cold /1", b"hot", b"cold /2", b"hot", b"hot", b"cold /3"]


async def test_continue_is_sent_when_the_application_reads() -> None:
    async with reactor(http(echo)) as (_, [address]), connect(address) as client:
        await client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        assert await client.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        await client.send(b"ok")
        assert (await client.answer())[2] == b"ok"


async def test_answer_without_reading_the_body_closes_the_connection() -> None:
    async def app(scope: Any, receive: Any, send: Send) -> None:
        await answer(send, b"no", 413)

    async with reactor(http(app)) as (_, [address]), connect(address) as client:
        await client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\nExpect: 100-continue\r\n\r\n")
        status, headers, body = await client.answer()
        assert (status, headers["connection"], body) == (413, "close", b"no")
        assert await client.to_end() == b""


async def test_client_that_leaves_is_told_to_the_application() -> None:
    told = trio.Event()

    async def app(scope: Any, receive: Any, send: Send) -> None:
        await receive()
        assert (await receive())["type"] == "http.disconnect"
        try:
            await answer(send, b"late")
        except ClientDisconnected:
            told.set()

    async with reactor(http(app)) as (_, [address]):
        async with connect(address) as client:
            await client.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
            await trio.testing.wait_all_tasks_blocked(0.05)
        with trio.fail_after(30):
            await told.wait()


async def test_application_that_fails_answers_500_and_nobody_else_notices() -> None:
    async def app(scope: Any, receive: Any, send: Send) -> None:
        if scope["path"] == "/bad":
            raise ValueError("a bug")
        if scope["path"] == "/half":
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"10")]})
            await send({"type": "http.response.body", "body": b"half", "more_body": True})
            raise ValueError("a bug")
        await answer(send, b"fine")

    async with reactor(http(app)) as (_, [address]), connect(address) as client, connect(address) as other:
        assert (await client.get("/bad"))[0] == 500
        assert (await client.get("/"))[2] == b"fine"
        await client.send(b"GET /half HTTP/1.1\r\nHost: h\r\n\r\n")
        assert (await client.until(b"half")).endswith(b"half")
        assert await client.to_end() == b""
        assert (await other.get("/"))[2] == b"fine"


async def test_slow_reader_holds_the_application_not_the_memory() -> None:
    sent = 0

    async def app(scope: Any, receive: Any, send: Send) -> None:
        nonlocal sent
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % (64 << 20))]})
        for _ in range(1024):
            await send({"type": "http.response.body", "body": bytes(65536), "more_body": True})
            sent += 65536
        await send({"type": "http.response.body", "body": b""})

    async with reactor(http(app)) as (_, [address]), connect(address) as client:
        await client.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        await trio.testing.wait_all_tasks_blocked(0.2)
        assert sent < 16 << 20  # the socket's buffers and one backlog, not the whole
        await client.until(b"\r\n\r\n")
        assert len(await client.exactly(64 << 20)) == 64 << 20


async def test_head_gets_no_body_and_the_length_of_one() -> None:
    async def app(scope: Any, receive: Any, send: Send) -> None:
        await answer(send, b"12345")

    async with reactor(http(app)) as (_, [address]), connect(address) as client:
        await client.send(b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n")
        status, headers, _ = await client.answer(head_only=True)
        assert (status, headers["content-length"]) == (200, "5")
        assert (await client.get("/"))[2] == b"12345"


async def test_tiny_rings_lose_nothing() -> None:
    data = bytes(1 << 20)
    async with reactor(http(echo), event_ring=1 << 18, command_ring=1 << 18) as (_, [address]):
        async def one() -> None:
            async with connect(address) as client:
                for _ in range(2):
                    await client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % len(data) + data)
                    assert (await client.answer())[2] == data

        async with trio.open_nursery() as nursery:
            for _ in range(8):
                nursery.start_soon(one)


async def test_drain_lets_a_request_end_and_refuses_new_connections() -> None:
    go = trio.Event()

    async def app(scope: Any, receive: Any, send: Send) -> None:
        await go.wait()
        await answer(send, b"done")

    async with reactor(http(app)) as (made, [address]), connect(address) as client, connect(address) as idle:
        await client.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        await trio.testing.wait_all_tasks_blocked(0.05)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(made.drain)
            assert await idle.to_end() == b""
            go.set()
            assert (await client.answer())[2] == b"done"
            assert await client.to_end() == b""


async def test_collector_is_told_of_the_requests_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    go, told, under_way = trio.Event(), [], []
    monkeypatch.setattr(awake, "under_way", told.append)

    async def app(scope: Any, receive: Any, send: Send) -> None:
        under_way.append(scope)
        await go.wait()
        await answer(send, b"done")

    async def ask(address: tuple[str, int]) -> None:
        async with connect(address) as client:
            assert (await client.get("/"))[2] == b"done"

    async with reactor(http(app)) as (_, [address]):
        async with trio.open_nursery() as asking:
            for _ in range(130):
                asking.start_soon(ask, address)
            await until(lambda: len(under_way) == 130)
            assert told == [64, 128]
            go.set()
        await until(lambda: told == [64, 128, 128, 64, 0])


async def test_time_before_the_application_asks_is_not_the_clients() -> None:
    """A body that lay waiting is judged from the moment on which it was asked for."""
    async def app(scope: Any, receive: Any, send: Send) -> None:
        await trio.sleep(0.3)
        await answer(send, await whole_body(receive))

    async with reactor(http(app, body_ms=200)) as (_, [address]), connect(address) as client:
        await client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody")
        assert (await client.answer())[::2] == (200, b"body")
