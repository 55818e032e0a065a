"""Errors that need no application: problem details like all others, by the one table."""

import json
import re
from typing import Any

import pytest

from nova.core import errors
from tests.core.reactor.served import connect, http, reactor

MEMBERS = {"type", "title", "status", "detail", "code", "correlation_id"}


async def nobody(scope: Any, receive: Any, send: Any) -> None:
    """Ends without an answer."""


@pytest.mark.parametrize(
    ("head", "status", "code"),
    [
        (b"GET / HTTP/1.1\r\nHost: h\r\nBad Field: x\r\n\r\n", 400, "bad_request"),
        (b"GET / HTTP/1.1\r\nHost: h\r\nX: " + b"x" * 40_000 + b"\r\n\r\n", 431, "too_large"),
        (b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501, "not_yet"),
        (b"GET / HTTP/2.0\r\nHost: h\r\n\r\n", 505, "bad_request"),
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
