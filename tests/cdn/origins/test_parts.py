"""Addresses, requests as bytes, and resumption: the pure parts around origins."""

from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from nova.cdn.errors import OriginError
from nova.cdn.origins import ask
from nova.cdn.origins.addresses import Guard, Kind, kind_of, public_only
from nova.cdn.origins.answer import Head
from nova.cdn.origins.ask import Where
from nova.cdn.origins.dial import Dialer
from nova.cdn.origins.patience import Patience
from nova.cdn.origins.pool import Exchange
from nova.cdn.origins.resume import Resumable, resumable
from nova.cdn.ports import FetchRequest
from nova.core.limits import parse_address
from nova.core.tls.client import ClientTls


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("1.1.1.1", Kind.PUBLIC),
        ("2606:4700::1111", Kind.PUBLIC),
        ("10.1.2.3", Kind.PRIVATE),
        ("192.168.0.1", Kind.PRIVATE),
        ("127.0.0.1", Kind.PRIVATE),
        ("::1", Kind.PRIVATE),
        ("fd00::1", Kind.PRIVATE),
        ("100.64.0.1", Kind.PRIVATE),
        ("169.254.169.254", Kind.SPECIAL),
        ("fe80::1", Kind.SPECIAL),
        ("0.0.0.0", Kind.SPECIAL),
        ("::", Kind.SPECIAL),
        ("224.0.0.1", Kind.SPECIAL),
        ("255.255.255.255", Kind.SPECIAL),
        ("240.0.0.1", Kind.SPECIAL),
        ("::ffff:10.0.0.1", Kind.PRIVATE),
        ("::ffff:169.254.169.254", Kind.SPECIAL),
        ("64:ff9b::a00:1", Kind.PRIVATE),
        ("64:ff9b::a9fe:a9fe", Kind.SPECIAL),
        ("2002:a00:1::", Kind.PRIVATE),
        ("::127.0.0.1", Kind.SPECIAL),
        ("fec0::1", Kind.SPECIAL),
        ("4000::1", Kind.SPECIAL),
    ],
)
def test_addresses_have_a_kind(text: str, kind: Kind) -> None:
    address = parse_address(text)
    assert address is not None
    assert kind_of(address) is kind
    assert public_only([text]) == ([text] if kind is Kind.PUBLIC else [])


def test_a_name_that_was_public_may_not_become_private() -> None:
    guard = Guard(literal=False)
    assert guard.admit(["1.1.1.1", "169.254.169.254"]) == ["1.1.1.1"]
    assert guard.admit(["10.0.0.1", "8.8.8.8"]) == ["8.8.8.8"]
    assert guard.admit(["127.0.0.1"]) == []


def test_a_name_that_was_private_stays_inside() -> None:
    guard = Guard(literal=False)
    assert guard.admit(["10.0.0.1"]) == ["10.0.0.1"]
    assert guard.admit(["10.0.0.2", "169.254.169.254"]) == ["10.0.0.2"]
    assert Guard(literal=False).admit(["169.254.169.254"]) == []


def test_an_address_that_is_written_down_may_be_any() -> None:
    assert Guard(literal=True).admit(["169.254.1.1"]) == ["169.254.1.1"]


@given(st.binary(max_size=30), st.binary(max_size=30), st.binary(max_size=30))
def test_nothing_of_a_request_becomes_another_line(target: bytes, name: bytes, value: bytes) -> None:
    request = FetchRequest("GET", b"/" + target, b"h", ((b"x" + name, value),))
    try:
        written = ask.head(request, Where("http://o"), own_host=False)
    except ValueError:
        return
    lines = written.split(b"\r\n")
    assert lines[3:] == [b"", b""]
    assert b"\n" not in written.replace(b"\r\n", b"")
    assert lines[0].count(b" ") == 2


def test_framing_and_host_are_ours() -> None:
    request = FetchRequest(
        "POST", b"/a", b"h", ((b"content-length", b"9"), (b"transfer-encoding", b"x"), (b"host", b"evil"), (b"connection", b"x"))
    )
    assert (
        ask.head(request, Where("https://o:8443/base/"), own_host=True)
        == b"POST /base/a HTTP/1.1\r\nhost: o:8443\r\ncontent-length: 0\r\n\r\n"
    )


def head(status: int, length: int | None, *fields: tuple[bytes, bytes]) -> Head:
    return Head(status, b"", fields, length)


def test_only_a_strong_tag_and_a_known_length_let_an_answer_go_on() -> None:
    etag = (b"etag", b'"a"')
    assert resumable("GET", head(200, 10, etag)) == Resumable(b'"a"', 0, 9, b"10")
    assert resumable("GET", head(206, 3, etag, (b"content-range", b"bytes 2-4/10"))) == Resumable(b'"a"', 2, 4, b"10")
    for method, said in (
        ("HEAD", head(200, 10, etag)),
        ("GET", head(200, None, etag)),
        ("GET", head(200, 0, etag)),
        ("GET", head(200, 10, (b"etag", b'W/"a"'))),
        ("GET", head(200, 10, etag, etag)),
        ("GET", head(200, 10)),
        ("GET", head(206, 4, etag, (b"content-range", b"bytes 2-4/10"))),
        ("GET", head(206, 3, etag)),
        ("GET", head(404, 3, etag)),
    ):
        assert resumable(method, said) is None


def test_the_rest_is_asked_for_and_nothing_else_is_taken() -> None:
    part = Resumable(b'"a"', 2, 9, b"20")
    request = part.request(FetchRequest("GET", b"/", b"h", ((b"range", b"x"), (b"if-none-match", b"y"), (b"accept", b"z"))), 3)
    assert request.fields == ((b"accept", b"z"), (b"range", b"bytes=5-9"), (b"if-range", b'"a"'))
    etag, span = (b"etag", b'"a"'), (b"content-range", b"bytes 5-9/20")
    assert part.continues(head(206, 5, etag, span), 3)
    assert part.continues(head(206, None, etag, (b"content-range", b"bytes 5-9/*")), 3)
    for other in (
        head(200, 8, etag),
        head(206, 5, (b"etag", b'"b"'), span),
        head(206, 5, span),
        head(206, 5, etag),
        head(206, 4, etag, span),
        head(206, 5, etag, (b"content-range", b"bytes 4-9/20")),
        head(206, 5, etag, (b"content-range", b"bytes 5-9/21")),
    ):
        assert not part.continues(other, 3)


async def test_a_deadline_that_is_over_before_the_first_address_is_no_crash() -> None:
    dialer = Dialer(Where("http://127.0.0.1:1"), timeout=0.0, tls=ClientTls(), keep=10.0)
    with pytest.raises(OriginError):
        await dialer.dial()


class Held:
    """A lease of a connection in memory, whose peer never answers."""

    def __init__(self) -> None:
        self.stream, self.peer = trio.testing.memory_stream_pair()
        self.connection, self.used = self, 0

    def send_now(self, data: bytes) -> int:
        return 0

    def close_now(self) -> None:
        self.stream.receive_stream.close()


async def test_an_answer_has_its_time_once_the_body_is_sent(autojump_clock: trio.testing.MockClock) -> None:
    held: Any = Held()
    patience = Patience()
    exchange = Exchange(held, "POST", patience, first_byte=3, idle=3)

    async def slow_client() -> None:
        for _ in range(10):
            await trio.sleep(1)
            await exchange.send(b"x")
        exchange.sent()

    exchange.sending()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(patience.run)
        nursery.start_soon(slow_client)
        with pytest.raises(OriginError) as caught:
            await exchange.answer(None)
        nursery.cancel_scope.cancel()
    assert (caught.value.code, trio.current_time()) == ("origin_timeout", 13)  # ten seconds of the client, three of the origin
