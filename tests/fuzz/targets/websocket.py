"""WebSocket: frames against their oracle and in two splits, inflating under its cap, extension offers and upgrades."""

import zlib

from nova.ext import ws_upgrade
from nova.ext.ws import FrameError, FrameReader, close_frame
from nova.ext.ws_deflate import Zip
from tests.conformance.rfc6455.cases import CASES
from tests.exact import exact
from tests.ext import ws_oracle
from tests.ext.ws_oracle import Message, frame
from tests.fuzz.registry import target

ZIP = Zip()
SHORT = [case.data for case in CASES if len(case.data) < 400]
UPGRADE = (
    b"GET /v1/ws HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: a, nova.json.v1\r\nSec-WebSocket-Extensions: permessage-deflate; "
    b'server_max_window_bits="10"; client_max_window_bits\r\n\r\n'
)
OFFERS = [b"permessage-deflate; client_max_window_bits", b'permessage-deflate; server_max_window_bits="1\\0", x; y="z"']


def feed(data: bytes, step: int, client: bool, deflate: bool) -> tuple[list[Message], str | None]:
    reader = FrameReader(client=client, deflate=deflate, max_message=1000)
    messages: list[Message] = []
    for at in range(0, len(data), step):
        try:
            messages += reader.feed(exact(data[at : at + step]))
        except FrameError as error:
            return [*messages, *error.messages], error.code
        assert reader.memory_bytes <= 3000
    return messages, None


FRAME_WORDS = [
    b"\x00\x80", b"\x81\x85", b"\x02\x81", b"\x80\x80", b"\x89\x80", b"\x88\x82", b"\xc1\x81", b"\x82\xfe", b"\x82\xff", b"\xf4\x90",
    bytes(4),
]  # fmt: skip


@target("ws-frames", seeds=[*SHORT, b"".join(SHORT[:8]), frame(1, b"x", rsv=4, key=None), close_frame(1000, b"bye")], words=FRAME_WORDS)
def ws_frames(data: bytes) -> object:
    kinds = []
    for client, deflate in ((False, False), (True, True)):
        said = feed(data, len(data) or 1, client, deflate)
        assert feed(data, data[0] % 13 + 1 if data else 1, client, deflate) == said
        oracle = ws_oracle.Reader(client=client, deflate=deflate, max_message=1000)
        error = oracle.read(data)
        assert said == (oracle.messages, error)
        kinds.append((error, tuple(message[0] for message in said[0][:4])))
    return tuple(kinds)


def deflated(data: bytes) -> bytes:
    stream = zlib.compressobj(6, zlib.DEFLATED, -15)
    return (stream.compress(data) + stream.flush(zlib.Z_SYNC_FLUSH))[:-4]


@target(
    "ws-inflate",
    seeds=[
        *map(deflated, (b"hello", b"ab" * 400, bytes(5000))),
        b"\x00",
        bytes.fromhex("f348cdc9c9070000"),
        b"\x00\x05\x00\xfa\xffHello\x00",
    ],
    words=[b"\x00\x00\xff\xff", b"\x01", b"\x03\x00", b"\x4b\x4c"],
)
def ws_inflate(data: bytes) -> object:
    try:
        inflated = ZIP.inflate(exact(data), max_message=2000)
    except FrameError as error:
        return error.code
    assert len(inflated) <= 2000
    again = ZIP.deflate(exact(inflated))
    assert again is None or ZIP.inflate(again, max_message=2000) == inflated
    return len(inflated).bit_length(), again is None


@target("ws-offer", seeds=OFFERS, words=[b";", b",", b"=", b'"', b"\\", b" ", b"permessage-deflate", b"server_no_context_takeover", b"=15"])
def ws_offer(data: bytes) -> object:
    said, bits, answer = ws_upgrade.offer(exact(data))
    assert 8 <= bits <= 15
    assert (said == 1) == answer.startswith(b"permessage-deflate")
    return said, bits


@target(
    "ws-upgrade",
    seeds=[UPGRADE],
    words=[b"Sec-WebSocket-Key: ", b"Sec-WebSocket-Version: 13\r\n", b"Sec-WebSocket-Protocol: nova.msgpack.v1\r\n", *OFFERS],
)
def upgrade(data: bytes) -> object:
    try:
        said = ws_upgrade.upgrade(exact(data), protocols=ws_upgrade.JSON | ws_upgrade.MSGPACK, default=ws_upgrade.JSON)
    except ValueError:
        return None
    if isinstance(said, int):
        return said
    assert said[0].startswith(b"HTTP/1.1 101 ")
    assert said[0].count(b"\r\n\r\n") == 1
    return said[1:]
