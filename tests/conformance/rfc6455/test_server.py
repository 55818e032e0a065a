"""The cases of RFC 6455 and 7692 against `/v1/echo` of a real server, over sockets: in one go, and in small pieces."""

import os
import socket
import zlib
from collections.abc import Iterator

import pytest

from tests.conformance.rfc6455.cases import BINARY, CASES, CLOSE, CONT, PING, TEXT, Case, close
from tests.ext.ws_oracle import frame
from tests.serving import serve

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
DEFLATE = "permessage-deflate"
LIMIT = 32 << 20


@pytest.fixture(scope="module")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    if other := os.environ.get("NOVA_CONFORMANCE"):
        host, _, port = other.rpartition(":")
        yield host, int(port)
        return
    with serve(tmp_path_factory.mktemp("echo") / "data", realtime__echo="true") as served:
        yield served.address("http")


class Peer:
    """A client that says what it is told, and reads frames."""

    def __init__(self, address: tuple[str, int], *fields: str) -> None:
        self.sock = socket.create_connection(address, timeout=60)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.stream = self.sock.makefile("rb")
        self.say(
            "\r\n".join((
                "GET /v1/echo HTTP/1.1", f"Host: {address[0]}:{address[1]}", "Connection: Upgrade", "Upgrade: websocket",
                "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {KEY}", *fields, "", "",
            )).encode()
        )  # fmt: skip
        self.head = b""
        while not self.head.endswith(b"\r\n\r\n"):
            line = self.stream.readline()
            if not line:
                break
            self.head += line

    def say(self, data: bytes, step: int = 1 << 30) -> None:
        try:
            for at in range(0, len(data), step):
                self.sock.sendall(data[at : at + step])
        except (BrokenPipeError, ConnectionResetError):
            pass  # it has failed the connection: what it said can still be read

    def frame(self) -> tuple[int, bytes] | None:
        """First byte and payload of the next frame; None at the end of the connection."""
        head = self.stream.read(2)
        if len(head) < 2:
            return None
        assert not head[1] & 0x80, "a server does not mask"
        size = head[1]
        if size > 125:
            size = int.from_bytes(self.stream.read(2 if size == 126 else 8), "big")
        return head[0], self.stream.read(size)

    def to_end(self) -> list[tuple[int, bytes]]:
        frames = []
        try:
            while (found := self.frame()) is not None:
                frames.append(found)
        except ConnectionResetError:
            pass
        self.sock.close()
        return frames


def expected(case: Case) -> list[tuple[int, bytes]]:
    """Frames of the echo; behind them the close frame that fails the connection, or the one that the test ends with."""
    frames = [(0x80 | opcode, payload) for opcode, payload in case.messages]
    if case.code:
        frames.append((0x88, case.code.to_bytes(2, "big")))
    elif not frames or frames[-1][0] != 0x88:
        frames.append((0x88, (1000).to_bytes(2, "big")))
    return frames


@pytest.mark.parametrize("step", [1 << 30, 7], ids=["whole", "pieces"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.section} {case.title}")
def test_cases(echo: tuple[str, int], case: Case, step: int) -> None:
    if step == 7 and len(case.data) > 5000:
        step = 1999
    peer = Peer(echo)
    peer.say(case.data, step)
    if not case.code:
        peer.say(close(1000))
    found = [(first, payload[:2] if first == 0x88 else payload) for first, payload in peer.to_end()]
    assert found == expected(case)


def test_the_close_frame_that_fails_a_connection_names_the_rule(echo: tuple[str, int]) -> None:
    peer = Peer(echo)
    peer.say(frame(TEXT, b"x", key=None))
    assert peer.to_end() == [(0x88, b"\x03\xeaws_mask")]


def test_the_server_closes_the_tcp_connection_first(echo: tuple[str, int]) -> None:
    peer = Peer(echo)
    peer.say(close(1000))
    assert peer.frame() == (0x88, b"\x03\xe8")
    assert peer.stream.read(1) == b""


def test_an_invalid_octet_fails_before_the_frame_is_complete(echo: tuple[str, int]) -> None:
    peer = Peer(echo)
    whole = frame(TEXT, b"abc\xff" + bytes(1000))
    peer.say(whole[:20])
    assert peer.to_end()[-1][1][:2] == (1007).to_bytes(2, "big")


def test_a_message_of_32_mib_comes_back(echo: tuple[str, int]) -> None:
    peer = Peer(echo)
    data = os.urandom(1 << 20) * 32
    peer.say(frame(BINARY, data[: 16 << 20], fin=False, key=bytes(4)) + frame(CONT, data[16 << 20 :], key=bytes(4)))
    assert peer.frame() == (0x82, data)
    peer.sock.close()


def test_a_message_above_32_mib_is_told_at_its_head(echo: tuple[str, int]) -> None:
    peer = Peer(echo)
    peer.say(b"\x82\xff" + (LIMIT + 1).to_bytes(8, "big") + bytes(4))
    assert peer.to_end() == [(0x88, b"\x03\xf1ws_size")]


def test_a_reader_that_does_not_read_is_not_read_from(echo: tuple[str, int]) -> None:
    """Backlogs are bounded: the server stops reading, and goes on when the peer takes its messages."""
    peer = Peer(echo)
    peer.sock.settimeout(1)
    data = frame(BINARY, bytes(65536), key=bytes(4))
    sent = 0
    with pytest.raises(TimeoutError):
        while sent < 1000:  # 64 MiB fit into no backlog
            peer.sock.sendall(data)
            sent += 1
    peer.sock.settimeout(20)
    for _ in range(sent):
        assert peer.frame() == (0x82, bytes(65536))
    peer.sock.close()


# -- permessage-deflate (RFC 7692) ------------------------------------------------------------------------------------


def deflated(data: bytes) -> bytes:
    made = zlib.compressobj(wbits=-15)
    return (made.compress(data) + made.flush(zlib.Z_SYNC_FLUSH))[:-4]


def inflated(data: bytes) -> bytes:
    return zlib.decompressobj(wbits=-15).decompress(data + b"\0\0\xff\xff")


def test_without_an_offer_nothing_is_deflated(echo: tuple[str, int]) -> None:
    peer = Peer(echo)
    assert b"Extensions" not in peer.head
    peer.say(frame(TEXT, b"abc" * 1000))
    assert peer.frame() == (0x81, b"abc" * 1000)
    peer.sock.close()


@pytest.mark.parametrize("size", [0, 10, 1000, 65536, 1 << 20])
def test_deflated_messages_come_back_deflated_where_that_is_smaller(echo: tuple[str, int], size: int) -> None:
    peer = Peer(echo, f"Sec-WebSocket-Extensions: {DEFLATE}; client_max_window_bits")
    assert b"permessage-deflate; server_no_context_takeover; client_no_context_takeover" in peer.head
    text = (b"0123456789abcdef" * (size // 16 + 1))[:size]
    for _ in range(2):  # neither side keeps a context
        peer.say(frame(TEXT, deflated(text), rsv=4))
        found = peer.frame()
        assert found is not None
        first, payload = found
        assert (inflated(payload) if first & 0x40 else payload) == text
    peer.say(frame(TEXT, text))
    found = peer.frame()
    assert found is not None
    assert (inflated(found[1]) if found[0] & 0x40 else found[1]) == text
    peer.sock.close()


def test_a_deflated_message_in_fragments_with_a_ping_between(echo: tuple[str, int]) -> None:
    peer = Peer(echo, f"Sec-WebSocket-Extensions: {DEFLATE}")
    data = deflated(b"hello " * 10)
    peer.say(frame(TEXT, data[:5], fin=False, rsv=4) + frame(PING, b"p") + frame(CONT, data[5:]))
    assert peer.frame() == (0x8A, b"p")
    assert peer.frame() == (0x81, b"hello " * 10)
    peer.sock.close()


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\xff\xff\xff", 1007),
        (deflated(b"\xff"), 1007),  # what it inflates to is not UTF-8
        (deflated(b"x" * 5000)[:-1], 1007),
    ],
    ids=["damaged", "not UTF-8", "cut"],
)
def test_wrong_deflated_data_fails_the_connection(echo: tuple[str, int], data: bytes, code: int) -> None:
    peer = Peer(echo, f"Sec-WebSocket-Extensions: {DEFLATE}")
    peer.say(frame(TEXT, data, rsv=4))
    assert peer.to_end()[-1][1][:2] == code.to_bytes(2, "big")


def test_a_deflate_bomb_stops_at_the_limit(echo: tuple[str, int]) -> None:
    peer = Peer(echo, f"Sec-WebSocket-Extensions: {DEFLATE}")
    peer.say(frame(BINARY, deflated(bytes(LIMIT + 1)), rsv=4))
    assert peer.to_end() == [(0x88, b"\x03\xf1ws_size")]


def test_a_narrow_window_is_kept(echo: tuple[str, int]) -> None:
    peer = Peer(echo, f"Sec-WebSocket-Extensions: {DEFLATE}; server_max_window_bits=9")
    assert b"server_max_window_bits=9" in peer.head
    peer.say(frame(TEXT, b"ab" * 300))
    found = peer.frame()
    assert found == (0x81, b"ab" * 300)  # longer than its window: as it is
    peer.say(frame(TEXT, b"ab" * 200))
    found = peer.frame()
    assert found is not None
    assert found[0] == 0xC1
    assert zlib.decompressobj(wbits=-9).decompress(found[1] + b"\0\0\xff\xff") == b"ab" * 200
    peer.sock.close()


# -- the upgrade (section 4) ------------------------------------------------------------------------------------------


def upgrade(address: tuple[str, int], head: str) -> bytes:
    """The answer to a head; `$HOST` stands for the server."""
    with socket.create_connection(address, timeout=60) as peer:
        peer.sendall(head.replace("\n", "\r\n").replace("$HOST", f"{address[0]}:{address[1]}").encode())
        return peer.recv(65536)


FIELDS = "Host: $HOST\nConnection: keep-alive, Upgrade\nUpgrade: websocket\n"


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (f"GET /v1/echo HTTP/1.1\n{FIELDS}Sec-WebSocket-Version: 13\nSec-WebSocket-Key: {KEY}\n\n", 101),
        (f"GET /v1/echo?a=b HTTP/1.1\n{FIELDS}Sec-WebSocket-Version: 13\nSec-WebSocket-Key: {KEY}\n\n", 101),
        (f"GET /v1/echo HTTP/1.1\n{FIELDS}Sec-WebSocket-Version: 8\nSec-WebSocket-Key: {KEY}\n\n", 426),
        (f"GET /v1/echo HTTP/1.1\n{FIELDS}Sec-WebSocket-Key: {KEY}\n\n", 426),
        (f"GET /v1/echo HTTP/1.1\n{FIELDS}Sec-WebSocket-Version: 13\n\n", 400),
        (f"GET /v1/echo HTTP/1.1\n{FIELDS}Sec-WebSocket-Version: 13\nSec-WebSocket-Key: short\n\n", 400),
        (f"GET /v1/echo HTTP/1.1\n{FIELDS}Sec-WebSocket-Version: 13\nSec-WebSocket-Key: {KEY}\nContent-Length: 5\n\nhello", 400),
    ],
)
def test_upgrades(echo: tuple[str, int], head: str, status: int) -> None:
    answer = upgrade(echo, head)
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    if status == 426:
        assert b"\r\nSec-WebSocket-Version: 13\r\n" in answer
    if status == 101:
        assert b"\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in answer


def test_frames_may_come_with_the_head(echo: tuple[str, int]) -> None:
    head = f"GET /v1/echo HTTP/1.1\n{FIELDS}Sec-WebSocket-Version: 13\nSec-WebSocket-Key: {KEY}\n\n"
    head = head.replace("$HOST", "h").replace("\n", "\r\n")
    with socket.create_connection(echo, timeout=60) as peer:
        peer.sendall(head.encode() + frame(TEXT, b"early") + frame(CLOSE))
        data = b""
        while piece := peer.recv(65536):
            data += piece
    assert data.endswith(b"\r\n\r\n\x81\x05early\x88\x00")
