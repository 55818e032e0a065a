"""Channels: commands in both forms, and values turned from one form into the other."""

import json

import msgpack

from nova.ext.commands import FrameRefused, read
from nova.ext.values import JSON, MSGPACK, ValueRefused, convert, scan
from tests.exact import exact
from tests.ext import commands_oracle, values_oracle
from tests.ext.values_oracle import same
from tests.fuzz.registry import target

PLACE = {"offset": 7, "epoch": "k3"}
COMMANDS = [
    {"id": 1, "connect": {"token": "a.b.c", "name": "Zoë"}},
    {"id": 2, "subscribe": {"channel": "public:lobby", "recover": PLACE}},
    {
        "publish": {"channel": "stream:x", "data": {"text": "hé", "n": [1.5, -2, None, True]}, "idempotency_key": "i", "conflate_key": "c"},
        "id": 3,
    },
    {"id": 4, "history": {"channel": "a:b", "since": PLACE, "limit": 20}},
    [{"id": 5, "ping": {}}, {"id": 5, "presence": {"channel": "a:b"}}, {"id": 7, "refresh": {}}],
]
VALUES = [1, -5, 2**63, 0.1, 1e300, 'x\n"\\é\u2028😀', [], {}, [1, [2, {"a": [None]}]], {"": 1, "b": "x" * 40}, list(range(20))]
JSON_WORDS = [
    b'"id":',
    b'"publish":{',
    b'"data":',
    b'"\\u0061"',
    b"[",
    b"]",
    b"{",
    b"}",
    b",",
    b":",
    b"1e400",
    b"-0",
    b" ",
    b"\xc3\xa9",
    b'"\\ud83d\\ude00"',
]
MSGPACK_WORDS = [
    b"\x81",
    b"\xa2id\x01",
    b"\xa7publish",
    b"\xa4data",
    b"\xc0",
    b"\xc4\x01x",
    b"\xcb",
    b"\xdc\x00\x01",
    b"\xdf",
    b"\xa1\xff",
    b"\x91",
]


def commands(form: int, data: bytes) -> object:
    wanted = commands_oracle.read(form, data)
    try:
        rows = read(form, exact(data))
    except FrameRefused as refused:
        code = refused.code
        # The oracle knows no timestamps of msgpack and no depth limit; what it can not read it calls so.
        assert code == "frame_depth" or isinstance(wanted, str)
        assert code == wanted or code == "frame_depth" or wanted == "frame_syntax"
        return code
    if not isinstance(wanted, str):
        for row, expected in zip(rows, wanted, strict=True):
            assert (row["id"], row["command"], row.get("error"), row.get("wrong")) == (
                expected["id"], expected["command"], expected.get("error"), expected.get("wrong"),
            )  # fmt: skip
    for row in rows:
        if isinstance(raw := row.get("data"), bytes):
            convert(form, 1 - form, raw)
    return tuple((row["command"], row.get("error"), row.get("wrong")) for row in rows[:4])


@target("commands-json", seeds=[json.dumps(command).encode() for command in COMMANDS], words=JSON_WORDS)
def commands_json(data: bytes) -> object:
    return commands(JSON, data)


@target("commands-msgpack", seeds=[msgpack.packb(command) for command in COMMANDS], words=MSGPACK_WORDS)
def commands_msgpack(data: bytes) -> object:
    return commands(MSGPACK, data)


@target("values-json", seeds=[json.dumps(value, indent=indent).encode() for value in VALUES for indent in (None, 1)], words=JSON_WORDS)
def values_json(data: bytes) -> object:
    parsed = values_oracle.from_json(data)
    try:
        packed = convert(JSON, MSGPACK, exact(data))
    except ValueRefused as refused:
        code = refused.code
    else:
        code = ""
    if code:
        assert parsed is None or code == "value_depth"
        return code
    assert parsed is not None
    assert packed == values_oracle.to_msgpack(parsed[0])
    assert len(packed) <= 3 * len(data) + 8
    compact = convert(JSON, JSON, exact(data))
    assert same(values_oracle.from_json(compact), parsed)
    assert convert(JSON, JSON, compact) == compact
    return scan(JSON, data)[1:]


PACKED = [msgpack.packb(value, use_single_float=single) for value in VALUES if value != 1e300 for single in (False, True)]


@target("values-msgpack", seeds=PACKED, words=MSGPACK_WORDS)
def values_msgpack(data: bytes) -> object:
    try:
        text = convert(MSGPACK, JSON, exact(data))
    except ValueRefused as refused:
        return refused.code
    unpacked, parsed = values_oracle.from_msgpack(data), values_oracle.from_json(text)
    assert unpacked is not None
    assert same(parsed, unpacked)
    assert len(text) <= 6 * len(data)
    return scan(MSGPACK, data)[1:]
