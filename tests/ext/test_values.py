"""Values as JSON and as msgpack against the usual libraries: what is refused, and that both forms say the same."""

import json
import math
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nova.ext.values import DEPTH, JSON, MSGPACK, ValueRefused, convert, quote, scan
from tests.exact import exact
from tests.ext import values_oracle as oracle
from tests.ext.values_oracle import Pairs, same

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
numbers = (
    st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([2**63, -(2**63), 2**64 - 1, 2**64])
)
trees = st.recursive(
    st.none() | st.booleans() | numbers | texts | st.builds(lambda size: "x" * size, st.sampled_from([31, 32, 255, 256, 65536])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(st.tuples(texts, inner), max_size=4).map(Pairs)
        | st.lists(st.just(0), min_size=14, max_size=18)
    ),
    max_leaves=12,
)


def plain(tree: Any) -> Any:
    """As json.dumps takes it: names that come twice are lost."""
    if isinstance(tree, Pairs):
        return {name: plain(value) for name, value in tree}
    return [plain(value) for value in tree] if isinstance(tree, list) else tree


def refused(form: int, data: bytes) -> str:
    with pytest.raises(ValueRefused) as caught:
        convert(form, 1 - form, exact(data))
    return caught.value.code


@given(trees, st.booleans(), st.sampled_from([None, 1, "\t"]))
def test_json_becomes_the_msgpack_of_the_same_value(tree: Any, ascii_only: bool, indent: int | str | None) -> None:
    text = json.dumps(plain(tree), ensure_ascii=ascii_only, indent=indent).encode()
    parsed = oracle.from_json(text)
    assert parsed is not None
    packed = convert(JSON, MSGPACK, exact(text))
    assert packed == oracle.to_msgpack(parsed[0])
    assert len(packed) <= 3 * len(text) + 8
    compact = convert(JSON, JSON, exact(text))
    assert compact == json.dumps(plain(tree), ensure_ascii=ascii_only, separators=(",", ":")).encode()
    assert scan(JSON, text + b" ,")[:2] == (len(text), oracle.depth(parsed[0]))
    assert scan(JSON, text)[3] == (len(compact) < len(text))


@given(trees.filter(oracle.allowed), st.booleans())
def test_msgpack_becomes_the_json_of_the_same_value(tree: Any, single: bool) -> None:
    packed = oracle.to_msgpack(oracle.from_json(json.dumps(plain(tree)).encode())[0])  # type: ignore[index]
    if single:
        packed = msgpack.packb(msgpack.unpackb(packed), use_single_float=True) if finite_single(packed) else packed
    text = convert(MSGPACK, JSON, exact(packed))
    parsed, unpacked = oracle.from_json(text), oracle.from_msgpack(packed)
    assert parsed is not None
    assert same(parsed, unpacked)
    assert len(text) <= 6 * len(packed)
    assert convert(MSGPACK, MSGPACK, exact(packed)) == packed
    assert convert(JSON, MSGPACK, text) == oracle.to_msgpack(parsed[0])


def finite_single(packed: bytes) -> bool:
    try:
        again = oracle.from_msgpack(msgpack.packb(msgpack.unpackb(packed), use_single_float=True))
    except OverflowError:
        return False
    return again is not None


pieces = st.sampled_from(
    [b"{", b"}", b"[", b"]", b'"a"', b'"\\u0061\\n"', b":", b",", b" ", b"\n", b"0", b"-0", b"-1", b"01", b"1.5", b"1e9", b"1E+400",
     b"1e", b".5", b"true", b"nul", b"null", b"NaN", b"-Infinity", b'"\\ud83d\\ude00"', b'"\\ud800"', b'"\\x"', b'"\n"', b"\xff",
     b"\xc0\x80", b"\xe2\x82\xac", b"\xed\xa0\x80", b'"\xe2\x82\xac"', b"\x00", b"\xef\xbb\xbf", b'{"a":1}', b'"a":[1,{"b":"c"}]',
     b"18446744073709551615", b"-9223372036854775808", b"18446744073709551616", b"9" * 310, b"0." + b"0" * 310 + b"1e310", b'"\\\\"',
     b'"\\""']
)  # fmt: skip


@given(st.lists(pieces, max_size=10).map(b"".join))
def test_any_json_is_refused_or_read_as_the_oracle_does(text: bytes) -> None:
    parsed = oracle.from_json(text)
    if parsed is None:
        refused(JSON, text)
    else:
        assert convert(JSON, MSGPACK, exact(text)) == oracle.to_msgpack(parsed[0])
        assert same(oracle.from_json(convert(JSON, JSON, exact(text))), parsed)


heads = st.sampled_from([0x00, 0x7F, 0x80, 0x81, 0x90, 0x92, 0xA0, 0xA2, *range(0xC0, 0xE1), 0xFF]).map(lambda byte: bytes([byte]))


@given(
    st.lists(heads | st.binary(max_size=4) | st.sampled_from([b"\x81\xa1a", b"\x00\x00\x00\x01", b"\x7f\x80\x00\x00"]), max_size=8).map(
        b"".join
    )
)
def test_any_msgpack_is_refused_or_read_as_the_oracle_does(data: bytes) -> None:
    unpacked = oracle.from_msgpack(data)
    if unpacked is None:
        assert refused(MSGPACK, data) in {"value_syntax", "value_utf8", "value_number", "value_type"}
    else:
        assert same(oracle.from_json(convert(MSGPACK, JSON, exact(data))), unpacked)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_survive_both_ways(value: float) -> None:
    text = convert(MSGPACK, JSON, msgpack.packb(value))
    assert float(text) == value
    assert math.copysign(1, float(text)) == math.copysign(1, value)
    assert {b".", b"e"} & {text[i : i + 1] for i in range(len(text))}  # it stays a float
    assert len(text) <= 25
    assert convert(JSON, MSGPACK, text) == msgpack.packb(value)


@given(
    st.from_regex(r"-?(0|[1-9][0-9]{0,30})\.[0-9]{1,400}([eE][+-]?[0-9]{1,4})?", fullmatch=True)
    | st.from_regex(r"[1-9][0-9]{15,330}", fullmatch=True)
)
def test_decimals_are_read_to_the_nearest_double(text: str) -> None:
    value = oracle.integer(text) if text.isdigit() else float(text)
    if math.isinf(value):
        assert refused(JSON, text.encode()) == "value_number"
    else:
        assert convert(JSON, MSGPACK, text.encode()) == msgpack.packb(value)


@given(texts)
def test_strings_are_quoted_as_json(text: str) -> None:
    assert json.loads(quote(text.encode())) == text
    assert convert(MSGPACK, JSON, msgpack.packb(text)) == json.dumps(text, ensure_ascii=False).encode()


def nested(form: int, levels: int) -> bytes:
    return b"[" * levels + b"]" * levels if form == JSON else b"\x91" * (levels - 1) + b"\x90"


@pytest.mark.parametrize("form", [JSON, MSGPACK])
def test_depth_is_measured_to_a_point_and_refused_beyond(form: int) -> None:
    assert convert(form, form, nested(form, DEPTH))
    convert(form, 1 - form, nested(form, DEPTH))
    assert refused(form, nested(form, DEPTH + 1)) == "value_depth"
    assert scan(form, nested(form, 256))[1] == 256
    assert refused(form, nested(form, 257)) == "value_depth"
    assert refused(form, nested(form, 60_000)[:60_000]) == "value_depth"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\xc4\x01x", "value_type"), (b"\xd4\x01x", "value_type"), (b"\xc7\x00\x01", "value_type"), (b"\x81\x01\x01", "value_type"),
        (b"\x81\xc0\x01", "value_type"), (b"\xa1\xff", "value_utf8"), (b"\xcb\x7f\xf0" + bytes(6), "value_number"),
        (b"\xca\x7f\xc0\x00\x00", "value_number"), (b"\xc1", "value_syntax"), (b"", "value_syntax"),
        (b"\xdd\xff\xff\xff\xff", "value_syntax"), (b"\xdf\xff\xff\xff\xff", "value_syntax"), (b"\xdb\xff\xff\xff\xffab", "value_syntax"),
        (b"\x01\x01", "value_syntax"),
    ],
)  # fmt: skip
def test_what_json_cannot_say_is_refused_in_msgpack(data: bytes, code: str) -> None:
    assert refused(MSGPACK, data) == code


def test_a_name_twice_is_passed_on_as_it_is() -> None:
    assert convert(JSON, MSGPACK, b'{"a":1,"a":2}') == b"\x82\xa1a\x01\xa1a\x02"
    assert convert(MSGPACK, JSON, b"\x82\xa1a\x01\xa1a\x02") == b'{"a":1,"a":2}'


@pytest.mark.parametrize("count", [15, 16, 65535, 65536])
def test_heads_grow_with_what_they_count(count: int) -> None:
    text = b"[" + b",".join([b"0"] * count) + b"]"
    assert convert(JSON, MSGPACK, text) == msgpack.packb([0] * count)
    pairs = b"{" + b",".join([b'"":1'] * count) + b"}"
    assert convert(MSGPACK, JSON, convert(JSON, MSGPACK, pairs)) == pairs
