"""The small HTTP client against a real socket that behaves well, badly, or not at all."""

import pytest

from nova.core.errors import Deadline, Unavailable
from nova.surface.identity import client
from tests.surface.identity.peer import answer, peer


async def test_an_answer_comes_back_whole() -> None:
    async with peer() as server:
        server.reply = answer(b'{"a":1}', "418 Teapot", "X-A: b")
        got = await client.request("POST", f"{server.url}/p?q=1", headers={"X-Mine": "yes"}, body=b"hello")
        assert (got.status, got.headers["x-a"], got.body) == (418, "b", b'{"a":1}')
        head, _, body = server.requests[0].partition(b"\r\n\r\n")
        assert head.startswith(b"POST /p?q=1 HTTP/1.1\r\n")
        assert b"content-length: 5" in head.lower()
        assert body == b"hello"
        server.reply = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"
        assert (await client.request("GET", server.url)).body == b"abc"


async def test_a_redirect_is_an_answer_and_not_followed() -> None:
    async with peer() as server:
        server.reply = answer(b"", "302 Found", "Location: http://127.0.0.1:1/")
        assert (await client.request("GET", server.url)).status == 302
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    "reply",
    [b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort", b"HTTP/1.1 200 OK\r\n",
     b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70000, answer(b"x" * 2000)],
)  # fmt: skip
async def test_a_broken_or_oversize_answer_is_an_error(reply: bytes) -> None:
    async with peer() as server:
        server.reply = reply
        with pytest.raises(Unavailable):
            await client.request("GET", f"{server.url}/secret", limit=1000)


async def test_a_silent_peer_ends_with_the_deadline() -> None:
    async with peer() as server:
        with pytest.raises(Deadline) as caught:
            await client.request("GET", f"{server.url}/secret", timeout=0.05)
        assert "secret" not in str(caught.value)


async def test_nobody_there_is_unavailable() -> None:
    async with peer() as server:
        url = server.url
    with pytest.raises(Unavailable) as caught:
        await client.request("GET", f"{url}/secret")
    assert "secret" not in str(caught.value)


async def test_https_to_a_peer_without_tls_is_unavailable() -> None:
    async with peer() as server:
        server.reply = answer(b"")
        with pytest.raises(Unavailable):
            await client.request("GET", server.url.replace("http:", "https:"), timeout=5)
