"""AMF0: the values of RTMP commands and metadata (Adobe, "Action Message Format -- AMF 0", 2007).

Pure. AMF0 as Python: number float, boolean bool, string str, object and ECMA array dict, strict array list, null and
undefined None, date float (milliseconds since 1970), typed object dict, XML document str. Values of AMF3 (marker 0x11)
and references (0x07) are refused: no encoder sends them in commands, and references let a short message say a huge one.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

from nova.core.errors import BadRequest

Value: TypeAlias = "bool | float | str | list[Value] | dict[str, Value] | None"
# What `encode` takes: ints become numbers; `Array` becomes an ECMA array.
Encodable: TypeAlias = "bool | float | int | str | Sequence[Encodable] | Mapping[str, Encodable] | None"

MAX_DEPTH: Final = 16  # onMetaData of Enhanced RTMP nests 3 deep
MAX_VALUES: Final = 4096  # in one message; onMetaData has about 30
MAX_BYTES: Final = 256 * 1024  # in one message; bounds the time that decoding takes to about a millisecond

_NUMBER, _BOOLEAN, _STRING, _OBJECT, _NULL, _UNDEFINED = 0, 1, 2, 3, 5, 6
_ECMA_ARRAY, _OBJECT_END, _STRICT_ARRAY, _DATE, _LONG_STRING = 8, 9, 10, 11, 12
_UNSUPPORTED, _XML, _TYPED_OBJECT = 13, 15, 16

_double = struct.Struct(">d")
_u16 = struct.Struct(">H")
_u32 = struct.Struct(">I")


class AmfError(BadRequest):
    """Bytes that are not AMF0, or above a limit."""


class Array(dict[str, Encodable]):
    """A dict that is encoded as an ECMA array, the form in which players expect onMetaData."""


class _Decoder:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0
        self.values = 0

    def take(self, size: int) -> bytes:
        end = self.at + size
        if end > len(self.data):
            raise AmfError(detail="AMF value is cut short")
        piece = self.data[self.at : end]
        self.at = end
        return piece

    def text(self, size: int) -> str:
        # Section 1.3.1 says UTF-8; encoders have sent titles in the code page of their machine.
        return self.take(size).decode("utf-8", "replace")

    def short(self) -> str:
        return self.text(_u16.unpack(self.take(2))[0])

    def long(self) -> str:
        return self.text(_u32.unpack(self.take(4))[0])

    def pairs(self, depth: int) -> dict[str, Value]:
        """Names and values up to the object end marker; an end of data in its place is forgiven, as FFmpeg's reader does."""
        pairs: dict[str, Value] = {}
        while self.at < len(self.data):
            name = self.short()
            if not name and self.at < len(self.data) and self.data[self.at] == _OBJECT_END:
                self.at += 1
                break
            pairs[name] = self.value(depth)
        return pairs

    def value(self, depth: int) -> Value:
        self.values += 1
        if depth <= 0 or self.values > MAX_VALUES:
            raise AmfError(detail="AMF value is too deep or has too many parts")
        marker = self.take(1)[0]
        if marker == _NUMBER:
            number: float = _double.unpack(self.take(8))[0]
            return number
        if marker == _BOOLEAN:
            return self.take(1) != b"\0"
        if marker == _STRING:
            return self.short()
        if marker == _OBJECT:
            return self.pairs(depth - 1)
        if marker in (_NULL, _UNDEFINED, _UNSUPPORTED):
            return None
        if marker == _ECMA_ARRAY:
            self.take(4)  # the count is a hint (section 2.10); the end marker rules
            return self.pairs(depth - 1)
        if marker == _STRICT_ARRAY:
            count = _u32.unpack(self.take(4))[0]
            if count > MAX_VALUES:
                raise AmfError(detail="AMF array is too long")
            return [self.value(depth - 1) for _ in range(count)]
        if marker == _DATE:
            moment: float = _double.unpack(self.take(8))[0]
            self.take(2)  # the time zone is reserved and to be ignored (section 2.13)
            return moment
        if marker in (_LONG_STRING, _XML):
            return self.long()
        if marker == _TYPED_OBJECT:
            self.short()
            return self.pairs(depth - 1)
        raise AmfError(detail=f"AMF marker {marker} is not read here")


def decode(data: bytes) -> list[Value]:
    """Every value in `data`, in order.

    Raises AmfError: malformed, or above MAX_DEPTH, MAX_VALUES or MAX_BYTES.
    """
    if len(data) > MAX_BYTES:
        raise AmfError(detail="AMF message is too large")
    decoder = _Decoder(data)
    values: list[Value] = []
    while decoder.at < len(data):
        values.append(decoder.value(MAX_DEPTH))
    return values


def _name(text: str) -> bytes:
    raw = text.encode()
    if len(raw) > 0xFFFF:
        raise ValueError("an AMF name has at most 65535 bytes")
    return _u16.pack(len(raw)) + raw


def _encode_into(out: bytearray, value: Encodable) -> None:
    if value is None:
        out.append(_NULL)
    elif isinstance(value, bool):
        out += bytes((_BOOLEAN, value))
    elif isinstance(value, (int, float)):
        out.append(_NUMBER)
        out += _double.pack(value)
    elif isinstance(value, str):
        raw = value.encode()
        out += bytes((_STRING,)) + _u16.pack(len(raw)) if len(raw) <= 0xFFFF else bytes((_LONG_STRING,)) + _u32.pack(len(raw))
        out += raw
    elif isinstance(value, Mapping):
        out += bytes((_ECMA_ARRAY,)) + _u32.pack(len(value)) if isinstance(value, Array) else bytes((_OBJECT,))
        for name, item in value.items():
            out += _name(name)
            _encode_into(out, item)
        out += b"\0\0\x09"
    else:
        out.append(_STRICT_ARRAY)
        out += _u32.pack(len(value))
        for item in value:
            _encode_into(out, item)


def encode(*values: Encodable) -> bytes:
    """The values, one after the other."""
    out = bytearray()
    for value in values:
        _encode_into(out, value)
    return bytes(out)
