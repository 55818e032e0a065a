"""HTTP/1.1: heads, chunked bodies, field values and queries, against the oracles of tests/ext."""

from nova.ext import proxy_header
from nova.ext.http1 import ChunkedBody, head_end, parse_head
from nova.ext.httpfields import byte_range, etag_match, find_query, format_date, parse_date, remove_query
from tests.conformance.rfc9112.cases import CASES
from tests.exact import exact
from tests.ext import http1_oracle as oracle
from tests.fuzz.registry import target

REQUESTS = [case.request.replace(b"$HOST", b"h:80") for case in CASES if len(case.request) < 4000]
WORDS = [
    b"\r\n", b"\r\n\r\n", b"\r", b"\n", b" ", b"\t", b":", b"\x00", b"\x7f", b"\xff", b"%00", b"%", b"#", b"?", b"@", b"://",
    b"http://", b"[::1]", b"GET ", b"CONNECT ", b"OPTIONS * ", b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", b"Host: h\r\n",
    b"Content-Length: 5\r\n", b"Content-Length: ", b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: ", b"Connection: close\r\n",
    b"Upgrade: websocket\r\n", b"Expect: 100-continue\r\n", b"Accept-Encoding: gzip;q=0, *\r\n", b"Authorization: a\r\n",
    b"X: " + b"y" * 17 + b"\r\n", b"chunked, ", b"5\r\nhello\r\n", b"0\r\n\r\n", b"0\r\nA: b\r\n\r\n", b";a=b", b';a="b"',
    b"ffffffffffffffff",
]  # fmt: skip


@target("http-head", seeds=REQUESTS, words=WORDS)
def http_head(data: bytes) -> object:
    said = parse_head(exact(data), 16384)
    for cut in {len(data) // 3, len(data) // 2, max(0, len(data) - 1)}:
        part = parse_head(exact(data[:cut]), 16384)
        assert part in (0, said), (part, said)
        head_end(exact(data), cut)
    if len(data) <= 16384:
        wanted = oracle.head(data)
        assert isinstance(said, dict) == (wanted is not None), (said, wanted)
    if isinstance(said, int):
        return said
    assert head_end(exact(data)) == said["size"]
    if wanted := oracle.head(data):
        assert (said["path"], said["query"], said["host"], said["headers"]) == (wanted.path, wanted.query, wanted.host, wanted.headers)
        assert said["content_length"] == wanted.content_length
    return frozenset(said["flags"]), said["method"], len(said["headers"])  # type: ignore[call-overload, arg-type]


@target("http-chunked", seeds=[r.partition(b"\r\n\r\n")[2] for r in REQUESTS if b"hunked" in r], words=WORDS)
def http_chunked(data: bytes) -> object:
    whole = ChunkedBody().feed(exact(data))
    body, payload, at = ChunkedBody(), b"", 0
    step = data[0] % 7 + 1 if data else 1
    answer = 0
    while at < len(data) and not answer:
        answer, got, used = body.feed(exact(data[at : at + step]))
        payload, at = payload + got, at + used
    assert (answer, payload, at) == whole
    wanted = oracle.chunked(data) if len(data) < 8000 else None  # below that, no limit of the kernel counts
    if len(data) < 8000:
        assert (answer == 1) == (wanted is not None), (answer, wanted)
    if wanted:
        assert (payload, at) == wanted
    return answer, min(len(payload), 64)


FIELDS = [
    b"bytes=0-5", b"bytes=-5", b"bytes=5-", b"bytes=1-2,3-4", b'"a", W/"b", *', b"Sun, 06 Nov 1994 08:49:37 GMT",
    b"Sunday, 06-Nov-94 08:49:37 GMT", b"Sun Nov  6 08:49:37 1994", b"a=1&to%6ben=2&token", b"_HLS_msn=4&_HLS_part=2",
]  # fmt: skip


@target("http-fields", seeds=FIELDS, words=[*FIELDS, b"&", b"=", b"token", b"%6b", b",", b'"', b"W/", b"99999999999999999999"])
def http_fields(data: bytes) -> object:
    held = exact(data)
    second = parse_date(held, 1_790_000_000)
    assert second == -1 or parse_date(format_date(second), 0) == second
    found = byte_range(held, 1000)
    if isinstance(found, tuple):
        assert 0 <= found[0] <= found[1] < 1000
    left = remove_query(data, b"token")
    assert len(left) <= len(data)
    assert find_query(left, b"token") is None
    return second > 0, found, etag_match(held, b'"a"', True), etag_match(held, b'"a"', False), left == data


@target(
    "proxy-header",
    seeds=[b"PROXY TCP4 203.0.113.7 192.0.2.1 56324 443\r\n", b"PROXY UNKNOWN\r\n", b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c" + bytes(12)],
    words=[b"PROXY ", b"TCP6", b" ::1", b"\r\n\r\n\x00\r\nQUIT\n\x21", b"\x21\x21\x00\x24"],
)
def proxy(data: bytes) -> object:
    try:
        size, source = proxy_header.parse(exact(data))
    except ValueError:
        return "bad"
    assert 0 <= size <= len(data)
    return bool(size), source is not None
