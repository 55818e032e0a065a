"""Errors that need no application: problem details like all others, by the one table."""

import io
import json
import re
from typing import Any

import pytest

from nova.core import errors
from nova.core.log import Log, Sink
from nova.ext.engine import REFUSED
from tests.core.reactor.served import connect, http, reactor, until

MEMBERS = {"type", "title", "status", "detail", "code", "correlation_id"}


async def nobody(scope: Any, receive: Any, send: Any) -> None:
    """Ends without an answer."""


@pytest.mark.parametrize(
    ("head", "status", "code"),
    [
        (b"GET / HTTP/1.1\r\nHost: h\r\nBad Field: x\r\n\r\n", 400, "bad_request"),
        (b"GET / HTTP/1.1\r\nHost: h\r\nX: " + b"x" * 40_000 + b"\r\n\r\n", 431, "head_too_large"),
        (b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501, "unknown_coding"),
        (b"GET / HTTP/2.0\r\nHost: h\r\n\r\n", 505, "unknown_version"),
        (b"GET /" + b"x" * 9_000 + b" HTTP/1.1\r\nHost: h\r\n\r\n", 414, "target_too_long"),
        (b"POST / HTTP/1.1\r\nHost: h\r\nExpect: tea\r\nContent-Length: 3\r\n\r\n", 417, "expectation_failed"),
        (b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", 500, "internal"),
        (b'GET /x HTTP/1.1\r\nHost: h\r\nIf-Match: "other"\r\n\r\n', 412, "precondition_failed"),
        (b"GET /list?_HLS_msn=99 HTTP/1.1\r\nHost: h\r\n\r\n", 400, "bad_request"),
    ],
)
async def test_they_have_every_member_and_the_words_of_the_table(head: bytes, status: int, code: str) -> None:
    async with reactor(http(nobody)) as (made, [address]), connect(address) as client:
        made.objects.put(b"/x", b"Content-Type: text/plain\r\n", [b"body"], etag=b'"this"')
        made.objects.advance(b"/list", 1 << 16)
        await client.send(head)
        got, headers, body = await client.answer()
        problem = json.loads(body)
        assert (got, headers["content-type"], set(problem)) == (status, "application/problem+json", MEMBERS)
        row = errors.TABLE[code]
        assert (problem["type"], problem["title"], problem["code"]) == (errors.type_uri(code), row.title, code)
        assert problem["status"] == status
        assert problem["detail"]
        assert re.fullmatch(r"[A-Za-z0-9._-]{1,64}", problem["correlation_id"])
        assert headers["x-correlation-id"] == problem["correlation_id"]


async def test_what_the_reactor_answers_by_itself_is_logged_with_its_correlation_id(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.StringIO()
    monkeypatch.setattr("nova.core.log._current", Sink(written, format="json"))
    monkeypatch.setattr("nova.core.reactor.reactor._log", Log("nova.reactor"))  # no test before this one has used up its lines
    async with reactor(http(nobody)) as (_, [address]):
        ids = []
        for _ in range(3):
            async with connect(address) as client:
                await client.send(b"GET / HTTP/2.0\r\nHost: h\r\n\r\n")
                ids.append(json.loads((await client.answer())[2])["correlation_id"])
        await until(lambda: written.getvalue().count("http_refused") == 3)
    lines = [json.loads(line) for line in written.getvalue().splitlines() if "http_refused" in line]
    assert [line["correlation_id"] for line in lines] == ids
    assert {(line["status"], line["peer"]) for line in lines} == {(505, "127.0.0.1")}


async def test_a_flood_of_refusals_reaches_trio_some_at_a_time() -> None:
    async with reactor(http(nobody)) as (made, [address]):
        made.engine.set_clock(ms=1_000_000)
        refused: list[tuple[object, ...]] = []
        dispatch = made._dispatch
        made._dispatch = lambda event: refused.append(event) or 0 if event[0] == REFUSED else dispatch(event)  # type: ignore[method-assign]
        for _ in range(100):
            async with connect(address) as client:
                await client.send(b"GET / HTTP/2.0\r\nHost: h\r\n\r\n")
                assert (await client.answer())[0] == 505
        assert len(refused) <= 32
