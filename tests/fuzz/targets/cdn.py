"""What origins and clients say to a cache: directives, dictionaries, ranges, and the keys of variants."""

from nova.cdn.cache import fields, ranges
from nova.cdn.cache.freshness import Rules, judge, wish
from nova.cdn.origins.answer import AnswerError, AnswerReader, End, Event
from nova.ext.kept import variant_key
from tests.fuzz.registry import target

NOW = 1_767_225_600.0


@target(
    "cache-control",
    seeds=[b'max-age=10, s-maxage="20", private="a, b", no-store', b"max-age=60;x=1, a=(1 2), b=:aGk=:, c=?0"],
    words=[b"max-age=", b"no-cache", b"private", b"stale-if-error=", b'"', b"\\", b",", b"=", b"(", b")", b";", b"?1"],
)
def cache_control(data: bytes) -> object:
    lines = [line for line in data.split(b"\n") if b"\r" not in line]
    said = [(b"cache-control", line) for line in lines]
    found = judge(
        "GET", said, 200, [*said, *((b"cdn-cache-control", line) for line in lines)], requested_at=NOW, received_at=NOW, rules=Rules()
    )
    assert found.fresh_until - found.born <= fields.MAX_SECONDS
    wish(said)
    return (found.keep, found.why, found.asked, fields.dictionary(lines) is None, len(fields.directives(lines)))


@target("ranges", seeds=[b"bytes=0-1,5-,-3", b"bytes 0-4/10"], words=[b"bytes=", b"-", b",", b"0", b"18446744073709551616"])
def byte_ranges(data: bytes) -> object:
    found = ranges.parse(data, 100)
    for span in found or ():
        assert 0 <= span.first <= span.last < 100
    assert found is None or sum(span.size for span in found) <= 100  # nothing is sent twice
    ranges.content_range(data)
    return None if found is None else len(found)


@target(
    "variants", seeds=[b"accept-encoding\nx-a\n|accept-encoding:gzip, br\nx-a: b  ,c"], words=[b"accept-encoding", b"\n", b":", b",", b" "]
)
def variants(data: bytes) -> object:
    names, _, lines = data.partition(b"|")
    said = [(name.lower(), value.strip(b" \t")) for name, _, value in (line.partition(b":") for line in lines.split(b"\n"))]
    found = variant_key(b"h/a", names, said)
    if found is not None:
        assert found.startswith(b"h/a\0")
        assert len(found) < 2100
    return None if found is None else found.count(b"\x01")


def _read(*pieces: bytes) -> tuple[list[Event], bytes, bool]:
    """Events but for the body, the body in one piece, and whether all of it was an answer."""
    reader, events, body = AnswerReader("GET", conditional=True), list[Event](), b""
    try:
        for piece in pieces:
            for event in reader.feed(piece):
                if isinstance(event, bytes):
                    body += event
                else:
                    events.append(End(False) if isinstance(event, End) else event)  # what stands behind it depends on the split
    except AnswerError:
        return events, body, False
    return events, body, True


@target(
    "origin-answer",
    seeds=[
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nCache-Control: max-age=60\r\n\r\nhello",
        b"HTTP/1.1 103 \r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
        b"Connection: close, x\r\nX: 1\r\n\r\n3;a=b\r\nabc\r\n0\r\nT: t\r\n\r\n",
        b'HTTP/1.0 304 Not Modified\r\nETag: "a"\r\n\r\n',
    ],
    words=[
        b"HTTP/1.1 ",
        b"\r\n",
        b"\r\n\r\n",
        b": ",
        b"Content-Length: ",
        b"Transfer-Encoding: chunked",
        b"Connection: ",
        b"\t",
        b"\0",
        b"\x0b",
        b" \r",
        b"0\r\n\r\n",
    ],
)
def origin_answer(data: bytes) -> object:
    at = data[-1] % len(data) if data else 0
    events, body, good = _read(data)
    again, body_again, good_again = _read(data[:at], data[at:])
    assert (events, good) == (again, good_again)
    if good:
        assert body == body_again
    return (good, *((type(event).__name__, getattr(event, "status", 0)) for event in events), bool(body))
