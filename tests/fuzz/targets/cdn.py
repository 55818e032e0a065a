"""What origins and clients say to a cache: directives, dictionaries, ranges, and the keys of variants."""

from nova.cdn.cache import fields, ranges
from nova.cdn.cache.freshness import Rules, judge, wish
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
