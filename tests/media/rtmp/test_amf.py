"""AMF0: known bytes, round trips, and bombs."""

import math
import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nova.media.rtmp import amf

values = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def depth(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 1


@given(st.lists(values, max_size=4))
def test_what_is_encoded_is_decoded(given_values: list[amf.Value]) -> None:
    assert amf.decode(amf.encode(*given_values)) == given_values


def test_known_bytes_of_a_connect_command() -> None:
    data = bytes.fromhex("020007636f6e6e65637400 3ff0000000000000 03 0003617070 0200046c697665 000009 05")
    assert amf.decode(data) == ["connect", 1.0, {"app": "live"}, None]
    assert amf.encode("connect", 1, {"app": "live"}, None) == data


def test_forms_that_only_peers_send() -> None:
    date = b"\x0b" + struct.pack(">dh", 1000.0, 60)
    typed = b"\x10\x00\x01c\x00\x01a\x05\x00\x00\x09"
    assert amf.decode(date + typed + b"\x06\x0d\x0f\x00\x00\x00\x01x") == [1000.0, {"a": None}, None, None, "x"]
    # An ECMA array's count is a hint, and one at the end of the data may lack its end.
    assert amf.decode(b"\x08\xff\xff\xff\xff\x00\x01a\x01\x01") == [{"a": True}]
    assert amf.decode(b"\x02\x00\x02\xff\xfe") == ["\ufffd\ufffd"]
    assert math.isnan(amf.decode(b"\x00\x7f\xf8" + bytes(6))[0])  # type: ignore[arg-type]


def test_long_strings_and_ecma_arrays_have_markers_of_their_own() -> None:
    assert amf.encode("x" * 65536)[:5] == b"\x0c\x00\x01\x00\x00"
    assert amf.encode(amf.Array(a=1))[:5] == b"\x08\x00\x00\x00\x01"
    assert amf.encode([1, "a"]) == b"\x0a\x00\x00\x00\x02\x00" + struct.pack(">d", 1) + b"\x02\x00\x01a"


@pytest.mark.parametrize(
    "bomb",
    [
        b"\x03\x00\x01a" * 10_000,  # objects in objects
        b"\x0a\x00\x00\x00\x01" * 10_000,  # arrays in arrays
        b"\x0a\xff\xff\xff\xff" + b"\x05" * 1000,  # an array of 2^32 - 1
        b"\x05" * 5000,  # more values than any message has
        b"\x0c\xff\xff\xff\xffabc",  # a string of 4 GiB
        b"\x02\xff\xffabc",
        b"\x07\x00\x00",  # a reference
        b"\x11\x0a",  # AMF3
        b"\x0e", b"\x04", b"\xff", b"\x00abc", b"\x01", b"\x03\x00",
    ],
)  # fmt: skip
def test_bombs_and_scraps_are_refused(bomb: bytes) -> None:
    with pytest.raises(amf.AmfError) as caught:
        amf.decode(bomb)
    assert caught.value.code == "bad_request"


def test_size_depth_and_count_have_limits() -> None:
    with pytest.raises(amf.AmfError, match="too large"):
        amf.decode(bytes(amf.MAX_BYTES + 1))
    nest: amf.Value = 1.0
    for _ in range(amf.MAX_DEPTH - 1):
        nest = [nest]
    assert depth(amf.decode(amf.encode(nest))[0]) == amf.MAX_DEPTH
    with pytest.raises(amf.AmfError, match="too deep"):
        amf.decode(amf.encode([nest]))


@given(st.binary(max_size=200))
def test_noise_is_decoded_or_refused(noise: bytes) -> None:
    with suppress(amf.AmfError):
        amf.decode(noise)
