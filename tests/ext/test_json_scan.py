"""The strict JSON scanner against the standard library's parser, made strict."""

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nova.ext.json_scan import array_has, members, milliseconds
from tests.ext.json_oracle import oracle


def scanned(data: bytes) -> dict[str, Any] | None:
    try:
        found = members(data)
    except ValueError:
        return None
    out = {}
    for name, kind, raw in found:
        text = raw.decode()
        out[name.decode()] = json.loads(f'"{text}"' if kind == 1 else text)
    return out


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(max_size=6), values, max_size=6), st.booleans(), st.sampled_from([None, 1]))
def test_what_json_writes_is_read_back(value: dict[str, Any], ascii_only: bool, indent: int | None) -> None:
    data = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode("utf-8", "surrogatepass")
    assert scanned(data) == oracle(data)


pieces = st.sampled_from(
    [b"{", b"}", b"[", b"]", b'"a"', b'"\\u0061"', b'"b"', b":", b",", b" ", b"0", b"-1", b"01", b"1.5", b"1e9", b"1e", b".5", b"true",
     b"nul", b"null", b"NaN", b"-Infinity", b'"\\ud83d\\ude00"', b'"\\ud800"', b'"\\x"', b'"\n"', b"\xff", b"\xc0\x80", b"\xe2\x82\xac",
     b"\xed\xa0\x80", b'"\xe2\x82\xac"', b"\x00", b"\xef\xbb\xbf", b'{"a":1}', b'"a":[1,{"b":"c"}]', b"//x"]
)  # fmt: skip


@given(st.lists(pieces, max_size=12))
def test_any_bytes_are_refused_or_read_as_the_oracle_does(parts: list[bytes]) -> None:
    for data in (b"".join(parts), b'{"a":' + b"".join(parts) + b"}", b"{" + b"".join(parts) + b"}"):
        assert scanned(data) == oracle(data), data


@pytest.mark.parametrize(
    "data",
    [b'{"a":1,"a":2}', b'{"a":1,"\\u0061":2}', b'{"a":1}x', b'{"a":1}\x00', b"[]", b"", b"{", b'{"a"', b'{"a":', b'{"a":1', b'{"a":1,}',
     b'{"a":' + b"[" * 8 + b"]" * 8 + b"}", b'{"a":"\xc0\x80"}', b'{"a":"\\ud800"}', b'{"a":NaN}', b"\xef\xbb\xbf{}",
     b"{" + b",".join(b'"%d":0' % i for i in range(65)) + b"}"],
)  # fmt: skip
def test_ambiguous_objects_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="strict"):
        members(data)


def test_the_limits_themselves_are_allowed() -> None:
    assert len(members(b"{" + b",".join(b'"%d":0' % i for i in range(64)) + b"}")) == 64
    assert len(members(b'{"a":' + b"[" * 7 + b"]" * 7 + b"}")) == 1


numbers = st.from_regex(rb"\A-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,12})?([eE][+-]?[0-9]{1,3})?\Z")


@given(numbers)
def test_seconds_become_milliseconds_exactly(text: bytes) -> None:
    exact = Decimal(text.decode())
    wanted = int(exact * 1000) if text[:1] != b"-" and exact * 1000 < 253402300800000 else -1
    assert milliseconds(text) == wanted


@pytest.mark.parametrize("text", [b"1e400", b"1e99999999999999999999", b"9" * 300, b"-0", b"-1", b"253402300800"])
def test_times_out_of_range_are_no_times(text: bytes) -> None:
    assert milliseconds(text) == -1


def test_tiny_and_padded_numbers_round_down() -> None:
    assert milliseconds(b"1e-99999999999999999999") == 0
    assert milliseconds(b"1700000000000000e-6") == 1_700_000_000_000
    assert milliseconds(b"0." + b"0" * 200 + b"1e203") == 100_000  # 10^2 seconds


def test_an_array_holds_a_string_whatever_its_spelling() -> None:
    assert array_has(b'["a", "n\\u006fva" ]', b"nova")
    assert not array_has(b'["novas", "nov"]', b"nova")
    assert not array_has(b"[ ]", b"nova")
    with pytest.raises(ValueError, match="strings"):
        array_has(b'["nova", 1]', b"nova")
