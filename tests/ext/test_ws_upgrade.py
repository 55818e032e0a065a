"""The WebSocket upgrade: the example of RFC 6455, the offers of RFC 7692, subprotocols, and what is refused."""

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nova.ext import ws_upgrade
from nova.ext.ws_upgrade import E2EE, JSON, MSGPACK, PLAIN, accept, choose, offer
from tests.exact import exact

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="


def head(*lines: bytes, key: bytes = KEY, version: bytes | None = b"13") -> bytes:
    fields = [b"Host: h", b"Upgrade: websocket", b"Connection: keep-alive, Upgrade", b"Sec-WebSocket-Key: " + key]
    if version is not None:
        fields.append(b"Sec-WebSocket-Version: " + version)
    return b"\r\n".join([b"GET /v1/ws HTTP/1.1", *fields, *lines, b"", b""])


def channels(data: bytes) -> tuple[bytes, int, bool, int] | int:
    """As `/v1/ws` answers."""
    return ws_upgrade.upgrade(exact(data), protocols=JSON | MSGPACK, default=JSON)


def agreed(*lines: bytes) -> tuple[int, bool, int, list[bytes]]:
    """(protocol, deflate, window bits, fields of the answer after the accept key)."""
    said = channels(head(*lines))
    assert isinstance(said, tuple), said
    answer, protocol, deflate, bits = said
    first, rest = answer[:-4].split(b"\r\n", 1)
    assert first == b"HTTP/1.1 101 Switching Protocols"
    assert answer.endswith(b"\r\n\r\n")
    fields = rest.split(b"\r\n")
    assert fields[:3] == [b"Upgrade: websocket", b"Connection: Upgrade", b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="]
    return protocol, deflate, bits, fields[3:]


def test_a_bare_upgrade_speaks_json() -> None:
    assert agreed() == (JSON, False, 15, [])


@given(st.binary(min_size=16, max_size=16))
def test_accept_is_what_the_specification_computes(nonce: bytes) -> None:
    key = base64.b64encode(nonce)
    assert accept(key) == base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())


@pytest.mark.parametrize(
    "key", [b"", b"x", KEY[:-1], KEY + b"=", b"dGhlIHNhbXBsZSBub25jZQ=" + b"A", b"dGhlIHNhbXBsZSBub25j!Q==", b"dGhlIHNhbXBsZSBub25jZ\xc3=="]
)
def test_a_key_that_is_not_sixteen_bytes_is_refused(key: bytes) -> None:
    assert channels(head(key=key)) == -400


def test_fields_that_may_come_once_come_once() -> None:
    assert channels(head(b"Sec-WebSocket-Key: " + KEY)) == -400
    assert channels(head(b"Sec-WebSocket-Version: 13")) == -400
    assert channels(head().replace(b"Sec-WebSocket-Key", b"X")) == -400


@pytest.mark.parametrize("version", [None, b"8", b"12", b"14", b"013", b"13, 8", b""])
def test_other_versions_are_told_ours(version: bytes | None) -> None:
    assert channels(head(version=version)) == -426


def test_what_is_no_upgrade_or_has_a_body_is_refused() -> None:
    assert channels(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n") == -400
    assert channels(head(b"Content-Length: 5")) == -400
    assert channels(head(b"Transfer-Encoding: chunked")) == -400
    assert isinstance(channels(head(b"Content-Length: 0")), tuple)


@pytest.mark.parametrize(
    ("lines", "protocol"),
    [
        ([b"Sec-WebSocket-Protocol: nova.json.v1"], JSON),
        ([b"Sec-WebSocket-Protocol: nova.msgpack.v1"], MSGPACK),
        ([b"Sec-WebSocket-Protocol: graphql-ws, nova.msgpack.v1,nova.json.v1"], MSGPACK),
        ([b"Sec-WebSocket-Protocol: nova.e2ee.v1, nova.json.v1"], JSON),
        ([b"Sec-WebSocket-Protocol: x", b"sec-websocket-protocol: , nova.json.v1 ,"], JSON),
    ],
)
def test_the_first_known_subprotocol_is_chosen_and_named(lines: list[bytes], protocol: int) -> None:
    name = next(name for name, bit in ws_upgrade.PROTOCOLS.items() if bit == protocol)
    assert agreed(*lines) == (protocol, False, 15, [b"Sec-WebSocket-Protocol: " + name.encode()])


@pytest.mark.parametrize(
    "names", [b"graphql-ws", b"nova.json.v2", b"NOVA.JSON.V1", b"nova.e2ee.v1", b"nova.json.v1 x", b"nova.json.v1;q=1"]
)
def test_only_unknown_subprotocols_are_refused(names: bytes) -> None:
    assert channels(head(b"Sec-WebSocket-Protocol: " + names)) == -400


def test_routes_speak_what_they_say() -> None:
    assert ws_upgrade.upgrade(head(), protocols=E2EE) == -400  # one must be offered
    said = ws_upgrade.upgrade(head(b"Sec-WebSocket-Protocol: nova.e2ee.v1"), protocols=E2EE)
    assert isinstance(said, tuple)
    assert said[1] == E2EE
    said = ws_upgrade.upgrade(head(b"Sec-WebSocket-Protocol: anything"))  # the echo: whatever is offered is ignored
    assert isinstance(said, tuple)
    assert said[1] == PLAIN
    assert b"Protocol:" not in said[0]
    assert choose(b"a, nova.msgpack.v1", JSON | MSGPACK) == (MSGPACK, True)
    assert choose(b"a", JSON) == (0, True)
    assert choose(b"", JSON) == (0, False)


ANSWER = b"permessage-deflate; server_no_context_takeover; client_no_context_takeover"


@pytest.mark.parametrize(
    ("value", "bits"),
    [
        (b"permessage-deflate", 0),
        (b"permessage-deflate; client_max_window_bits", 0),  # what browsers send
        (b"permessage-deflate; client_max_window_bits=10; server_no_context_takeover", 0),
        (b"permessage-deflate ;\tserver_max_window_bits=12", 12),
        (b'permessage-deflate; server_max_window_bits="9"', 9),
        (b'permessage-deflate; server_max_window_bits="1\\0"', 10),
        (b"permessage-deflate;server_max_window_bits=8", 8),
        (b"x-webkit-deflate-frame, permessage-deflate; client_no_context_takeover", 0),
        (b"permessage-deflate; server_max_window_bits=7, permessage-deflate; server_max_window_bits=11", 11),
        (b"permessage-deflate; mystery, , permessage-deflate", 0),
        (b'permessage-bzip2; x="a"; y, permessage-deflate; server_max_window_bits=15', 15),
        (b"permessage-deflate; server_max_window_bits, permessage-deflate; server_max_window_bits=15", 15),
        (b"permessage-deflate, permessage-deflate; server_max_window_bits=10", 0),
    ],
)
def test_the_first_offer_that_can_be_met_is_accepted(value: bytes, bits: int) -> None:
    answer = ANSWER + (b"; server_max_window_bits=%d" % bits if bits else b"")  # RFC 7692, 7.1.2.1: what was asked for is said
    assert offer(exact(value)) == (1, bits or 15, answer)
    assert agreed(b"Sec-WebSocket-Extensions: " + value) == (JSON, True, bits or 15, [b"Sec-WebSocket-Extensions: " + answer])


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"permessage-bzip2",
        b"PERMESSAGE-DEFLATE",
        b"permessage-deflate; server_max_window_bits",
        b"permessage-deflate; server_max_window_bits=16",
        b"permessage-deflate; server_max_window_bits=08",
        b"permessage-deflate; server_max_window_bits=100000000000000000000000000000000000000",
        b"permessage-deflate; client_max_window_bits=7",
        b"permessage-deflate; server_no_context_takeover=1",
        b"permessage-deflate; client_no_context_takeover; client_no_context_takeover",
        b"permessage-deflate; server_max_window_bits=9; server_max_window_bits=9",
        b"permessage-deflate; unknown",
    ],
)
def test_offers_that_can_not_be_met_are_declined(value: bytes) -> None:
    assert offer(exact(value))[0] == 0
    assert agreed(b"Sec-WebSocket-Extensions: " + value) == (JSON, False, 15, [])


@pytest.mark.parametrize(
    "value",
    [
        b";",
        b"permessage-deflate;",
        b"permessage-deflate; =1",
        b"a b",
        b"permessage-deflate; x=",
        b'a; x="',
        b'a; x="\\',
        b'a; x="b c"',
        b"a/b",
    ],
)
def test_malformed_extensions_fail_the_upgrade(value: bytes) -> None:
    assert offer(exact(value))[0] == -400
    assert channels(head(b"Sec-WebSocket-Extensions: permessage-deflate", b"Sec-WebSocket-Extensions: " + value)) == -400


def test_offers_may_come_in_several_fields() -> None:
    lines = [b"Sec-WebSocket-Extensions: foo", b"Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=9"]
    assert agreed(*lines, b"Sec-WebSocket-Extensions: permessage-deflate")[1:3] == (True, 9)
    said = ws_upgrade.upgrade(head(*lines), deflate=False)
    assert isinstance(said, tuple)
    assert said[2] is False
    assert b"Extensions" not in said[0]
