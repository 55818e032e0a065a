"""RTMP chunk stream in plain Python, written from RTMP 1.0 section 5.3 and meant to be read: what ext/rtmp.pyx is compared with."""

import struct
from dataclasses import dataclass, field
from typing import NamedTuple

MEDIA = (8, 9)
KEPT = (8, 9, 15, 17, 18, 20)


class Message(NamedTuple):
    type: int
    timestamp: int
    msid: int
    payload: bytes


class OracleError(Exception):
    pass


def records(data: bytes) -> list[tuple[Message, int]]:
    """What the kernel says, taken apart: messages and their flags."""
    out = []
    while data:
        size, timestamp, msid, kind, flags, zero = struct.unpack_from("<IIIBBH", data)
        assert zero == 0
        assert len(data) >= 16 + size
        out.append((Message(kind, timestamp, msid, data[16 : 16 + size]), flags))
        data = data[16 + size :]
    return out


def basic_header(fmt: int, csid: int, width: int = 0) -> bytes:
    """width: 0 is the shortest form; 2 and 3 force that many bytes (section 5.3.1.1 lets 64 to 319 have two forms)."""
    if csid < 64:
        return bytes((fmt << 6 | csid,))
    if csid < 320 and width != 3:
        return bytes((fmt << 6, csid - 64))
    return bytes((fmt << 6 | 1, csid - 64 & 255, csid - 64 >> 8))


@dataclass
class Writer:
    """Chunks in every form that the specification allows.

    repeats: whether chunks of type 3 carry the extended timestamp (the specification's habit) or not (that of some peers).
    """

    repeats: bool = True
    chunk_size: int = 128
    last: dict[int, tuple[int, int, int, int, int]] = field(default_factory=dict)  # csid -> timestamp, delta, length, type, msid

    def chunks(self, csid: int, message: Message, form: int = 0, width: int = 0) -> list[bytes]:
        """form: the shortest header type to use, when the message allows it."""
        before = self.last.get(csid)
        fmt, value = 0, message.timestamp
        if before is not None and form > 0:
            stamp, delta, length, kind, msid = before
            step = message.timestamp - stamp & 0xFFFFFFFF
            if msid == message.msid:
                fmt, value = 1, step
                if (length, kind) == (len(message.payload), message.type):
                    fmt = min(2, form)
                    # Without the repetition a new message of type 3 cannot be told apart from a continuation of an extended stamp.
                    if step == delta and form == 3:
                        fmt = 3
        self.last[csid] = (message.timestamp, value if fmt != 3 else before[1], len(message.payload), message.type, message.msid)
        extended = struct.pack(">I", value) if value >= 0xFFFFFF else b""
        stamp24 = min(value, 0xFFFFFF).to_bytes(3, "big")
        header = stamp24 + len(message.payload).to_bytes(3, "big") + bytes((message.type,)) + message.msid.to_bytes(4, "little")
        header = header[: (11, 7, 3, 0)[fmt]] + (extended if fmt != 3 or self.repeats else b"")
        pieces = [message.payload[i : i + self.chunk_size] for i in range(0, len(message.payload), self.chunk_size)] or [b""]
        out = [basic_header(fmt, csid, width) + header + pieces[0]]
        out += [basic_header(3, csid, width) + (extended if self.repeats else b"") + piece for piece in pieces[1:]]
        return out


@dataclass
class _Stream:
    timestamp: int = 0
    value: int = 0
    extended: bool = False
    length: int = 0
    type: int = 0
    msid: int = 0
    got: bytes | None = None


class Reader:
    """All bytes at once, after the handshake; messages in order."""

    def __init__(self) -> None:
        self.chunk_size = 128
        self.streams: dict[int, _Stream] = {}

    def read(self, data: bytes) -> list[Message]:
        out: list[Message] = []
        at = 0

        def take(size: int) -> bytes:
            nonlocal at
            if at + size > len(data):
                raise EOFError
            at += size
            return data[at - size : at]

        try:
            while at < len(data):
                first = take(1)[0]
                fmt, csid = first >> 6, first & 63
                if csid == 0:
                    csid = 64 + take(1)[0]
                elif csid == 1:
                    csid = 64 + int.from_bytes(take(2), "little")
                stream = self.streams.get(csid)
                if stream is None:
                    if fmt > 1:
                        raise OracleError("order")
                    stream = _Stream()
                if fmt < 3:
                    if stream.got is not None:
                        raise OracleError("interrupted")
                    header = take((11, 7, 3)[fmt])
                    stream.value = int.from_bytes(header[:3], "big")
                    stream.extended = stream.value == 0xFFFFFF
                    if stream.extended:
                        stream.value = int.from_bytes(take(4), "big")
                    if fmt < 2:
                        stream.length, stream.type = int.from_bytes(header[3:6], "big"), header[6]
                    if fmt == 0:
                        stream.msid = int.from_bytes(header[7:], "little")
                        stream.timestamp = stream.value
                    else:
                        stream.timestamp = stream.timestamp + stream.value & 0xFFFFFFFF
                    self.streams[csid] = stream
                else:
                    expected = {struct.pack(">I", stream.value), struct.pack(">I", stream.timestamp)}
                    if stream.extended and data[at : at + 4] in expected:
                        at += 4
                    if stream.got is None:
                        stream.timestamp = stream.timestamp + stream.value & 0xFFFFFFFF
                got = (stream.got or b"") + take(min(self.chunk_size, stream.length - len(stream.got or b"")))
                stream.got = got
                if len(got) == stream.length:
                    stream.got = None
                    if stream.type == 1:
                        self.chunk_size = int.from_bytes(got[:4], "big")
                    elif stream.type == 2:
                        aborted = self.streams.get(int.from_bytes(got[:4], "big"))
                        if aborted is not None:
                            aborted.got = None
                    elif stream.type in KEPT and got:
                        out.append(Message(stream.type, stream.timestamp, stream.msid, got))
        except EOFError:
            pass
        return out
