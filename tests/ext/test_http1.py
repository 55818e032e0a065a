"""The HTTP/1.1 kernel against its oracle, in any split, and at its limits. RFC 9112's own cases: tests/conformance."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nova.ext.http1 import ChunkedBody, head_end, parse_head
from tests.exact import exact
from tests.ext import http1_oracle as oracle

GET = b"GET /live/x/index.m3u8?_HLS_msn=4 HTTP/1.1\r\nHost: example.net\r\nUser-Agent: t\r\n\r\n"

# fmt: off
starts = st.sampled_from([b"", b"", b"", b"\r\n", b"\n", b"\r\n\r\n", b" "])
methods = st.sampled_from([
    b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"PATCH", b"OPTIONS", b"CONNECT", b"get", b"M-SEARCH", b"G(T", b"",
])
targets = st.sampled_from([
    b"/", b"/a?b", b"/a%20b?c=%zz", b"/%4", b"/a#b", b"*", b"http://h/p?q", b"HTTPS://[::1]:8/", b"http://", b"http://u@h/",
    b"h:80", b"/[x]|^?{}`\\", b"/\\", b"/{", b'/"', b"/\x80", b"http://h?x", b"ftp://h/", b"//h/p", b"", b"http://h:99999/", b"a",
])
versions = st.sampled_from([
    *[b" HTTP/1.1\r\n"] * 8, *[b" HTTP/1.0\r\n"] * 2, b" HTTP/1.2\r\n", b" http/1.1\r\n", b" HTTP/1.1 \r\n", b"\r\n",
    b" HTTP/1.1\n",
])
hosts = st.sampled_from([
    *[b"Host: h\r\n"] * 6,
    b"host:  h:80 \r\n", b"Host: a@b\r\n", b"Host: [::1]\r\n", b"Host: a, b\r\n", b"Host:\r\n", b"Host: a/b\r\n", b"",
])
fields = st.sampled_from([
    b"Content-Length: 5\r\n", b"content-length: 05\r\n", b"Content-Length: 5, 5\r\n", b"Content-Length: +5\r\n", b"Content-Length:\r\n",
    b"Transfer-Encoding: chunked\r\n", b"transfer-encoding: CHUNKED \r\n", b"Transfer-Encoding: gzip, chunked\r\n",
    b"Transfer-Encoding: chunked,\r\n", b"Connection: close\r\n", b"Connection: , Keep-Alive ,x\r\n", b"Expect: 100-continue\r\n",
    b"Expect: 1\r\n", b"A: b\r\n", b"A:\tb \t\r\n", b"A : b\r\n", b" folded\r\n", b": x\r\n", b"A: \x00\r\n", b"A: x\ry\r\n",
    b"A: x\n", b"A: \xff\r\n", b"Host: h\r\n", b"Authorization: B t\r\n",
])
# fmt: on
requests = st.builds(
    lambda start, method, target, version, host, rest, cut: start + method + b" " + target + version + host + b"".join(rest) + cut,
    starts,
    methods,
    targets,
    versions,
    hosts,
    st.lists(fields, max_size=4),
    st.just(b"\r\n"),
)  # fmt: skip


def same(data: bytes) -> None:
    """The kernel and the oracle say the same about complete heads."""
    said = parse_head(data)
    wanted = oracle.head(data)
    if wanted is None:
        assert isinstance(said, int)
        return
    assert isinstance(said, dict), data
    assert (said["size"], said["method_text"], said["minor"]) == (wanted.size, wanted.method, wanted.minor)
    assert (said["path"], said["query"], said["host"]) == (wanted.path, wanted.query, wanted.host)
    assert said["content_length"] == wanted.content_length
    assert said["headers"] == wanted.headers
    flags = said["flags"]
    assert isinstance(flags, set)
    assert ("chunked" in flags, "keep-alive" in flags) == (wanted.chunked, wanted.keep_alive)


@given(requests)
def test_head_means_what_the_oracle_says(data: bytes) -> None:
    same(data)


@given(requests, st.integers(0, 200), st.binary(min_size=1, max_size=3))
def test_damaged_head_means_what_the_oracle_says(data: bytes, at: int, damage: bytes) -> None:
    at %= len(data)
    same(data[:at] + damage + data[at + 1 :])


@given(requests)
def test_any_split_of_a_head_gives_the_same_result(data: bytes) -> None:
    whole = parse_head(data)
    for cut in range(len(data)):
        part = parse_head(data[:cut])
        # A part is either not enough, or already as wrong as the whole. It is enough only when the rest is not its own.
        assert part in (0, whole), cut


@given(requests, st.binary(max_size=40))
def test_end_of_head_is_found_from_any_point(data: bytes, more: bytes) -> None:
    if isinstance(head := parse_head(data), dict):
        assert {head_end(data + more, seen) for seen in range(data.index(b"\r\n\r\n") + 4)} == {head["size"]}
        assert all(head_end(data[:cut]) == 0 for cut in range(len(data) - 1))


@pytest.mark.parametrize("garbage", [b"\x16\x03\x01\x02\x00", b"\x03" + bytes(1536), b"\x00", b" GET", b"\n", b"\r\n\r", b"\r\r"])
def test_bytes_that_no_request_begins_with_are_refused_at_once(garbage: bytes) -> None:
    assert head_end(garbage) == -400
    assert parse_head(garbage) == -400


def test_nothing_behind_the_given_bytes_is_read() -> None:
    # Exactly as large as the bytes: the build with the address sanitizer sees a read behind the last one.
    for cut in range(len(GET)):
        assert parse_head(exact(GET[:cut])) == 0


def test_pipelined_request_stays_for_the_next_call() -> None:
    head = parse_head(GET + GET)
    assert isinstance(head, dict)
    assert head["size"] == len(GET)


@pytest.mark.parametrize(("size", "answer"), [(8192, dict), (8193, -414)], ids=["longest target", "too long a target"])
def test_target_length(size: int, answer: object) -> None:
    said = parse_head(b"GET /" + b"a" * (size - 1) + b" HTTP/1.1\r\nHost: h\r\n\r\n")
    assert isinstance(said, dict) if answer is dict else said == answer


@pytest.mark.parametrize("count", [100, 101])
def test_header_count(count: int) -> None:
    said = parse_head(b"GET / HTTP/1.1\r\nHost: h\r\n" + b"A: b\r\n" * (count - 1) + b"\r\n")
    assert isinstance(said, dict) if count == 100 else said == -431


def test_head_that_reaches_the_limit_is_too_large_only_when_it_goes_on() -> None:
    assert isinstance(parse_head(GET, len(GET)), dict)
    assert parse_head(GET, len(GET) - 1) == -431
    assert parse_head(GET[:40], 40) == -414 or parse_head(GET[:40], 40) == -431
    assert parse_head(GET[:20], 20) == -414  # inside the target
    assert parse_head(GET[:19], 20) == 0


def test_recognised_fields_have_their_index_whatever_their_case() -> None:
    names = [
        "range", "if-range", "if-none-match", "if-modified-since", "if-match", "if-unmodified-since", "authorization", "cookie", "origin",
        "user-agent", "upgrade", "sec-websocket-key", "sec-websocket-version", "sec-websocket-protocol", "sec-websocket-extensions",
        "forwarded", "x-forwarded-for", "accept-encoding",
    ]  # fmt: skip
    for spell in (str.lower, str.upper, str.title):
        data = b"GET / HTTP/1.1\r\nHost: h\r\n" + b"".join(f"{spell(name)}: x\r\n".encode() for name in names) + b"\r\n"
        head = parse_head(data)
        assert isinstance(head, dict)
        assert head["indexes"] == {name: i + 1 for i, name in enumerate(names)}
        for name in names:  # a name that is nearly the same is another name
            other = parse_head(data.replace(spell(name).encode(), spell(name).encode()[:-1] + b"_"))
            assert isinstance(other, dict)
            assert name not in other["indexes"]  # type: ignore[operator]


def flags(lines: bytes, start: bytes = b"GET / HTTP/1.1") -> object:
    head = parse_head(start + b"\r\nHost: h\r\n" + lines + b"\r\n")
    assert isinstance(head, dict)
    return head["flags"]


@pytest.mark.parametrize(
    ("value", "accepted"),
    [
        (b"gzip", {"gzip"}), (b"GZIP , br;q=1", {"gzip", "br"}), (b"gzip;q=0", set()), (b"gzip; q=0.000, *", {"br", "zstd"}),
        (b"*", {"gzip", "br", "zstd"}), (b"*;q=0, zstd;q=0.001", {"zstd"}), (b"identity", set()), (b"x-gzip", {"gzip"}),
        (b"", set()), (b"gzip;q=0.5;x=y", {"gzip"}), (b"deflate, gzipped", set()),
    ],
)  # fmt: skip
def test_accept_encoding_respects_weights(value: bytes, accepted: set[str]) -> None:
    assert flags(b"Accept-Encoding: " + value + b"\r\n") == {"keep-alive"} | accepted


def test_websocket_upgrade_needs_both_fields_and_a_get() -> None:
    upgrade, connection = b"Upgrade: h2c, WebSocket\r\n", b"Connection: keep-alive, Upgrade\r\n"
    assert flags(upgrade + connection) == {"keep-alive", "websocket"}
    assert flags(upgrade) == {"keep-alive"}
    assert flags(b"Upgrade: h2c\r\n" + connection) == {"keep-alive", "upgrade"}
    assert flags(upgrade + connection, b"POST / HTTP/1.1") == {"keep-alive", "upgrade"}
    assert flags(upgrade + connection, b"GET / HTTP/1.0") == {"keep-alive"}


def test_expectation_counts_only_with_a_body_to_come() -> None:
    assert flags(b"Expect: 100-Continue\r\nContent-Length: 1\r\n") == {"keep-alive", "expect"}
    assert flags(b"Expect: 100-continue\r\nContent-Length: 0\r\n") == {"keep-alive"}
    assert flags(b"Expect: 100-continue\r\n") == {"keep-alive"}
    assert flags(b"Expect: x\r\nContent-Length: 1\r\n", b"GET / HTTP/1.0") == set()


# --- chunked bodies ---

# fmt: off
sizes = st.sampled_from([b"0", b"1", b"5", b"A", b"00a", b"f" * 15, b"0" * 16, b"", b"-1", b"0x5", b"g"])
extensions = st.sampled_from([
    *[b""] * 8, b";a", b" ;a=b", b';a="q\\"r";b', b"; a = b", b" ", b";", b';a="', b";a b", b";a=\x00", b";\n",
])
ends = st.sampled_from([*[b"\r\n"] * 12, b"\n", b"\r", b"", b"\r\r\n"])
payloads = st.binary(max_size=12)
chunks = st.builds(lambda *parts: b"".join(parts), sizes, extensions, ends, payloads, ends)
good = st.builds(
    lambda extension, payload: b"%x%b\r\n%b\r\n" % (len(payload), extension, payload), extensions, st.binary(min_size=1, max_size=40)
)
tails = st.sampled_from([
    *[b"0\r\n\r\n"] * 4, b"0\r\nA: b\r\nB:\r\n\r\n", b"000;x\r\n\r\n", b"0\r\nA : b\r\n\r\n", b"0\r\n x\r\n\r\n", b"0\r\n\n", b"",
])
bodies = st.builds(
    lambda parts, tail, more: b"".join(parts) + tail + more, st.lists(good | good | good | chunks, max_size=5), tails, payloads
)
# fmt: on


@given(bodies, st.lists(st.integers(1, 12), min_size=1, max_size=30))
def test_body_means_what_the_oracle_says_in_any_split(data: bytes, steps: list[int]) -> None:
    wanted = oracle.chunked(data)
    body, payload, at, answer, step = ChunkedBody(), b"", 0, 0, 0
    while at < len(data) and not answer:
        answer, got, used = body.feed(exact(data[at : at + steps[step % len(steps)]]))
        payload, at, step = payload + got, at + used, step + 1
    if wanted is None:
        assert answer <= 0
    else:
        assert (answer, payload, at) == (1, *wanted)
    whole, everything, _ = ChunkedBody().feed(data)
    assert (whole, everything) == (answer, payload)


def test_body_that_failed_stays_failed() -> None:
    body = ChunkedBody()
    assert body.feed(b"5\r\nhelloX")[0] == -400
    assert body.feed(b"\r\n0\r\n\r\n") == (-400, b"", 0)


def test_extensions_and_trailers_are_bounded_over_the_whole_body() -> None:
    piece = b"1;" + b"a" * 1000 + b"\r\nx\r\n"
    assert ChunkedBody().feed(piece * 16 + b"0\r\n\r\n")[0] == 1
    assert ChunkedBody().feed(piece * 17 + b"0\r\n\r\n")[0] == -400
    trailer = b"A: " + b"b" * 995 + b"\r\n"
    assert ChunkedBody().feed(b"0\r\n" + trailer * 8 + b"\r\n")[0] == 1
    assert ChunkedBody().feed(b"0\r\n" + trailer * 9 + b"\r\n")[0] == -431
    assert ChunkedBody().feed(b"1\r\nx\r\n" * 20_000 + b"0\r\n\r\n")[0] == 1  # small chunks alone are no offence
