"""What RFC 6455 asks of a server that reads frames, as a table: bytes in, messages or close code out.

The grouping follows the Autobahn test suite, whose cases of categories 1 to 7 each have their place here. Frames are a client's, so
they are masked. A case with a close code fails the connection with it; one without leaves it open, or closed by the handshake.
`messages` are what an echo server returns: texts and binaries as they are, a pong for a ping, a close frame for a close frame.
"""

from typing import NamedTuple

from tests.ext.ws_oracle import frame

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


class Case(NamedTuple):
    section: str
    title: str
    data: bytes
    messages: tuple[tuple[int, bytes], ...] = ()
    code: int = 0  # the close code that fails the connection, 0: none


def close(code: int, reason: bytes = b"") -> bytes:
    return frame(CLOSE, code.to_bytes(2, "big") + reason)


def fine(section: str, title: str, data: bytes, *messages: tuple[int, bytes]) -> Case:
    return Case(section, title, data, messages)


def wrong(section: str, title: str, data: bytes, code: int = 1002, *messages: tuple[int, bytes]) -> Case:
    return Case(section, title, data, messages, code)


COSMOS = "κόσμε".encode()
SURROGATE = b"\xed\xa0\x80"
BEYOND = b"\xf4\x90\x80\x80"

CASES = [
    # 5.2 Base framing: sizes
    *[
        fine("5.2", f"{name} of {size} bytes", frame(opcode, b"*" * size), (opcode, b"*" * size))
        for size in (0, 1, 125, 126, 127, 128, 65535, 65536)
        for opcode, name in ((TEXT, "text"), (BINARY, "binary"))
    ],
    fine("5.2", "several messages in one go", frame(TEXT, b"a") + frame(BINARY, b"b") + frame(TEXT, b""), (1, b"a"), (2, b"b"), (1, b"")),
    wrong("5.2", "length of 125 in 16 bits", b"\x81\xfe\x00\x7d" + bytes(129)),
    wrong("5.2", "length of 65535 in 64 bits", b"\x82\xff\x00\x00\x00\x00\x00\x00\xff\xff" + bytes(10)),
    wrong("5.2", "length with the highest bit set", b"\x82\xff\x80\x00\x00\x00\x00\x00\x00\x00" + bytes(10)),
    wrong("5.2", "a message above every limit", b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff" + bytes(10), 1009),
    # 5.2 Reserved bits
    *[wrong("5.2", f"reserved bits {rsv} on a text", frame(TEXT, b"x", rsv=rsv)) for rsv in range(1, 8)],
    wrong("5.2", "a reserved bit on a ping", frame(PING, b"x", rsv=4)),
    wrong("5.2", "a reserved bit on a continuation", frame(TEXT, b"x", fin=False) + frame(CONT, b"y", rsv=4)),
    wrong("5.2", "a reserved bit on a close frame", frame(CLOSE, b"", rsv=4)),
    wrong("5.2", "a reserved bit after a message", frame(TEXT, b"a") + frame(PING) + frame(TEXT, b"x", rsv=4), 1002, (1, b"a"), (10, b"")),
    # 5.2 Opcodes
    *[wrong("5.2", f"reserved opcode {opcode}", frame(opcode, b"x")) for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)],
    *[wrong("5.2", f"reserved opcode {opcode} without payload", frame(opcode)) for opcode in (3, 7, 11, 15)],
    # 5.3 Masking
    wrong("5.3", "a frame without a mask", frame(TEXT, b"x", key=None)),
    wrong("5.3", "a close frame without a mask", frame(CLOSE, b"", key=None)),
    fine("5.3", "a mask of zeros", frame(TEXT, b"x", key=bytes(4)), (1, b"x")),
    # 5.4 Fragmentation
    fine("5.4", "two fragments", frame(TEXT, b"ab", fin=False) + frame(CONT, b"cd"), (1, b"abcd")),
    fine("5.4", "empty fragments", frame(TEXT, fin=False) + frame(CONT, fin=False) + frame(CONT), (1, b"")),
    fine("5.4", "text among empty fragments", frame(TEXT, fin=False) + frame(CONT, b"x", fin=False) + frame(CONT), (1, b"x")),
    fine(
        "5.4",
        "a fragment for each byte",
        frame(BINARY, b"a", fin=False) + frame(CONT, b"b", fin=False) * 300 + frame(CONT),
        (2, b"a" + b"b" * 300),
    ),
    fine("5.4", "a ping between fragments", frame(TEXT, b"a", fin=False) + frame(PING, b"p") + frame(CONT, b"b"), (10, b"p"), (1, b"ab")),
    fine(
        "5.4",
        "pings around fragments",
        frame(PING, b"1") + frame(BINARY, b"a", fin=False) + frame(PING, b"2") + frame(CONT, b"b", fin=False) + frame(PONG) + frame(CONT),
        (10, b"1"), (10, b"2"), (2, b"ab"),
    ),
    wrong("5.4", "a continuation of nothing", frame(CONT, b"x")),
    wrong("5.4", "a continuation of nothing, not the last", frame(CONT, b"x", fin=False) + frame(TEXT, b"y")),
    wrong("5.4", "a continuation of a finished message", frame(TEXT, b"a") + frame(CONT, b"b"), 1002, (1, b"a")),
    wrong("5.4", "a text inside a text", frame(TEXT, b"a", fin=False) + frame(TEXT, b"b")),
    wrong("5.4", "a binary inside a text, not the last", frame(TEXT, b"a", fin=False) + frame(BINARY, b"b", fin=False)),
    wrong("5.4", "a fragmented ping", frame(PING, b"x", fin=False) + frame(CONT, b"y")),
    wrong("5.4", "a fragmented pong", frame(PONG, b"", fin=False)),
    wrong("5.4", "a fragmented close frame", frame(CLOSE, b"\x03", fin=False) + frame(CONT, b"\xe8")),
    # 5.5 Control frames
    fine("5.5", "a ping of 125 bytes", frame(PING, b"*" * 125), (10, b"*" * 125)),
    wrong("5.5", "a ping of 126 bytes", frame(PING, b"*" * 126)),
    wrong("5.5", "a pong of 65536 bytes", frame(PONG, bytes(65536))),
    wrong("5.5", "a close frame of 126 bytes", close(1000, b"*" * 124)),
    fine("5.5", "pings of any bytes, in order", frame(PING, b"\0") + frame(PING, b"\xff\xfe"), (10, b"\0"), (10, b"\xff\xfe")),
    fine("5.5", "a pong that nobody asked for", frame(PONG, b"x") + frame(PING, b"y"), (10, b"y")),
    # 5.5.1, 7 Closing
    fine("7.1", "a close frame without a code", frame(CLOSE), (8, b"")),
    fine("7.1", "a close frame with a reason", close(1000, b"bye"), (8, b"\x03\xe8")),
    fine("7.1", "the longest reason", close(1000, b"*" * 123), (8, b"\x03\xe8")),
    fine("7.1", "messages after a close frame are nothing", close(1000) + frame(TEXT, b"x") + frame(15), (8, b"\x03\xe8")),
    fine("7.1", "a close frame inside a message", frame(TEXT, b"x", fin=False) + close(1001), (8, b"\x03\xe9")),
    wrong("7.1", "a close frame with one byte", frame(CLOSE, b"\x03")),
    wrong("7.1", "a reason that is not UTF-8", close(1000, COSMOS + SURROGATE), 1007),
    *[
        fine("7.4", f"close code {code}", close(code), (8, code.to_bytes(2, "big")))
        for code in (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999)
    ],
    *[wrong("7.4", f"close code {code}", close(code)) for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535)],
    # 8.1 UTF-8
    fine("8.1", "Greek", frame(TEXT, COSMOS), (1, COSMOS)),
    fine("8.1", "cut inside a character", frame(TEXT, COSMOS[:1], fin=False) + frame(CONT, COSMOS[1:]), (1, COSMOS)),
    fine(
        "8.1",
        "a fragment for each octet",
        frame(TEXT, COSMOS[:1], fin=False) + b"".join(frame(CONT, COSMOS[i : i + 1], fin=False) for i in range(1, 10)) + frame(CONT),
        (1, COSMOS),
    ),
    *[
        fine("8.1", f"the border U+{ord(char):04X}", frame(TEXT, char.encode()), (1, char.encode()))
        for char in "\0\x7f\x80\u07ff\u0800\ud7ff\ue000\ufffd\uffff\U00010000\U0010ffff"
    ],
    *[
        wrong("8.1", f"the octets {octets.hex(' ')}", frame(TEXT, COSMOS + octets + b"edited"), 1007)
        for octets in (
            SURROGATE, b"\xed\xbf\xbf", BEYOND, b"\xf5\x80\x80\x80", b"\xf8\x88\x80\x80\x80", b"\xfc\x84\x80\x80\x80\x80", b"\xc0\x80",
            b"\xc1\xbf", b"\xe0\x80\x80", b"\xe0\x9f\xbf", b"\xf0\x80\x80\x80", b"\xf0\x8f\xbf\xbf", b"\x80", b"\xbf", b"\xfe", b"\xff",
            b"\xe2\x82", b"\xf0\x9f\x98",
        )
    ],
    wrong("8.1", "the end inside a character", frame(TEXT, COSMOS + b"\xce"), 1007),
    wrong("8.1", "the end inside a character, over fragments", frame(TEXT, COSMOS, fin=False) + frame(CONT, b"\xce"), 1007),
    wrong("8.1", "wrong before the message is complete", frame(TEXT, COSMOS + BEYOND, fin=False), 1007),
    wrong("8.1", "wrong before the frame is complete", frame(TEXT, COSMOS + b"\xf4\x90" + bytes(1000))[:-1000], 1007),
    fine("8.1", "binary is any bytes", frame(BINARY, b"\xff\xfe\xc0\x80"), (2, b"\xff\xfe\xc0\x80")),
]  # fmt: skip
