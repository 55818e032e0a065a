"""Answers of origins: what h11 reads is read alike, in any split, and what leaves doubt is refused."""

from itertools import pairwise

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nova.cdn.origins.answer import MAX_HEAD, MAX_INTERIM, AnswerError, AnswerReader, End, Event, Head, Interim


def read(data: bytes, method: str = "GET", cuts: tuple[int, ...] = (), *, eof: bool = False, upgrade: bool = False) -> list[Event]:
    reader, events = AnswerReader(method, upgrade=upgrade, conditional=True), list[Event]()
    edges = [0, *sorted({cut % (len(data) + 1) for cut in cuts}), len(data)]
    for begin, end in pairwise(edges):
        events += list(reader.feed(data[begin:end]))
    return events + (list(reader.eof()) if eof else [])


def told(events: list[Event]) -> tuple[list[object], bytes]:
    """Events without their splits."""
    return [event for event in events if not isinstance(event, bytes)], b"".join(event for event in events if isinstance(event, bytes))


HEADS = st.lists(
    st.tuples(st.text("abcXYZ-", min_size=1, max_size=8).map(lambda name: "X-" + name), st.text("ab ,;=\"'é", max_size=12)), max_size=5
)


@given(st.sampled_from([200, 206, 301, 404, 503]), HEADS, st.binary(max_size=300), st.sampled_from(["length", "chunked", "close"]),
       st.lists(st.integers(0, 2000), max_size=8).map(tuple))  # fmt: skip
def test_what_h11_reads_is_read_alike_in_any_split(
    status: int, fields: list[tuple[str, str]], body: bytes, framing: str, cuts: tuple[int, ...]
) -> None:
    lines = [f"HTTP/1.1 {status} Some Reason", *(f"{name}: {value}" for name, value in fields)]
    payload = body
    if framing == "length":
        lines.append(f"Content-Length: {len(body)}")
    elif framing == "chunked":
        lines.append("Transfer-Encoding: chunked")
        payload = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:7], body[7:]) if part) + b"0\r\n\r\n"
    data = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + payload
    theirs = h11.Connection(h11.CLIENT)
    theirs.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
    theirs.send(h11.EndOfMessage())
    theirs.receive_data(data)
    if framing == "close":
        theirs.receive_data(b"")
    head, got = theirs.next_event(), b""
    assert isinstance(head, h11.Response)
    while isinstance(event := theirs.next_event(), h11.Data):
        got += bytes(event.data)
    assert isinstance(event, h11.EndOfMessage)
    heads, ours = told(read(data, cuts=cuts, eof=framing == "close"))
    assert ours == got == body
    assert isinstance(heads[0], Head)
    assert (heads[0].status, heads[0].reason) == (status, b"Some Reason")
    wanted = [(bytes(name), bytes(value)) for name, value in head.headers if name != b"transfer-encoding"]
    assert list(heads[0].fields) == wanted
    assert heads[1:] == [End(framing != "close")]


OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/0.9 200 OK\r\n\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1  200 OK\r\n\r\n",
        b"HTTP/1.1 600 X\r\n\r\n",
        b"\r\nHTTP/1.1 200 OK\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01",
        b"<html>\n<body>",
        OK + b"a\r\n\r\n",
        OK + b"a b: c\r\n\r\n",
        OK + b"a : c\r\n\r\n",
        OK + b" a: c\r\n\r\n",
        OK + b"a: c\r\n d\r\n\r\n",
        OK + b"a: \0\r\n\r\n",
        OK + b"a: b\nc: d\r\n\r\n",
        OK + b"a: b\rc: d\r\n\r\n",
        OK + b": b\r\n\r\n",
        OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
        OK + b"Content-Length: -1\r\n\r\n",
        OK + b"Content-Length: +1\r\n\r\n",
        OK + b"Content-Length: 1 1\r\n\r\n",
        OK + b"Content-Length: 0x1\r\n\r\n",
        OK + b"Content-Length:\r\n\r\n",
        OK + b"Content-Length: 1, 2\r\n\r\n",
        OK + b"Content-Length: 99999999999999999999\r\n\r\n",
        OK + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
        OK + b"Transfer-Encoding: chunked, chunked\r\n\r\n",
        OK + b"Transfer-Encoding: identity\r\n\r\n",
        OK + b"Transfer-Encoding: xchunked\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\nx\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
        OK + b"X: " + b"y" * MAX_HEAD,
        OK + b"X: y\r\n" * 201 + b"\r\n",
        b"HTTP/1.1 101 Switching\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * (MAX_INTERIM + 1),
    ],
)
def test_what_leaves_doubt_is_no_answer(data: bytes) -> None:
    with pytest.raises(AnswerError):
        read(data)
    with pytest.raises(AnswerError):
        read(data, cuts=tuple(range(0, len(data), 1 + len(data) // 50)))


@pytest.mark.parametrize(
    "data",
    [b"", OK, OK + b"Content-Length: 5\r\n\r\nab", OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"],
)
def test_an_end_in_the_middle_is_an_error(data: bytes) -> None:
    with pytest.raises(AnswerError, match="ended"):
        read(data, eof=True)


@pytest.mark.parametrize(
    ("method", "data", "length"),
    [
        ("HEAD", OK + b"Content-Length: 9\r\n\r\n", 0),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", 0),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n", 0),
        ("GET", OK + b"Content-Length: 0\r\n\r\n", 0),
        ("GET", OK + b"Content-Length: 2, 2\r\n\r\nab", 2),
    ],
)
def test_answers_without_a_body_end_with_their_head(method: str, data: bytes, length: int) -> None:
    events, _ = told(read(data, method))
    assert isinstance(events[0], Head)
    assert (events[0].length, events[1:]) == (length, [End(True)])


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 304 Not Modified\r\n\r\nbody",
        OK + b"Content-Length: 2\r\n\r\nabHTTP/1.1 200 OK\r\n",
        OK + b"Content-Length: 0\r\nConnection: a, Close\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\nabcde",
        OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nx",
    ],
)
def test_what_follows_an_answer_is_never_the_next_one(data: bytes) -> None:
    assert read(data)[-1] == End(False)


def test_interim_answers_come_before_the_answer() -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    data = b"HTTP/1.1 100 Continue\r\n\r\n" + early + OK + b"Content-Length: 1\r\n\r\na"
    for cut in range(len(data)):
        events, body = told(read(data, cuts=(cut,)))
        assert [type(event) for event in events] == [Interim, Interim, Head, End]
        assert body == b"a"


def test_fields_of_the_connection_stay_with_it() -> None:
    head = read(OK + b"Connection: X-Hop, content-length\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nX-End: 2\r\nContent-Length: 0\r\n\r\n")[0]
    assert isinstance(head, Head)
    assert head.fields == ((b"x-end", b"2"), (b"content-length", b"0"))


def test_after_an_upgrade_the_bytes_are_the_peers_own() -> None:
    events = read(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nhello", upgrade=True)
    assert isinstance(events[0], Head)
    assert (events[0].upgrade, events[0].fields) == (True, ((b"upgrade", b"x"),))
    assert events[1] == End(False, b"hello")
