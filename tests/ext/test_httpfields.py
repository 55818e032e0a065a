"""Ranges, entity tags, dates and query parameters against the standard library's or a regular expression's opinion."""

import re
from datetime import UTC, datetime
from urllib.parse import parse_qsl, unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nova.ext.httpfields import byte_range, etag_match, field_lines, find_query, format_date, parse_date, remove_query

NOW = 1_790_000_000  # 2026


def range_oracle(value: bytes, size: int) -> tuple[int, int] | int | None:
    match = re.fullmatch(rb"(?i:bytes)=[ \t]*(?:([0-9]+)-([0-9]*)|-([0-9]+))[ \t]*", value)
    if match is None:
        return None
    if match[3] is not None:
        suffix = int(match[3])
        return -416 if suffix == 0 else (max(0, size - suffix), size - 1) if size else None
    first, last = int(match[1]), int(match[2]) if match[2] else size - 1
    if match[2] and last < first:
        return None
    return -416 if first >= size else (first, min(last, size - 1))


numbers = st.sampled_from([b"", b"0", b"1", b"5", b"99", b"100", b"101", b"9" * 30, b"x", b"-"])


units = st.sampled_from([b"bytes=", b"Bytes= ", b"bytes =", b"items=", b"bytes"])


@given(units, numbers, numbers, st.sampled_from([b"", b" ", b",", b", 4-5"]), st.sampled_from([0, 1, 100, 2**62]))
def test_range_means_what_the_oracle_says(unit: bytes, first: bytes, last: bytes, tail: bytes, size: int) -> None:
    value = unit + first + b"-" + last + tail
    assert byte_range(value, size) == range_oracle(value, size)


tags = st.sampled_from([b'"a"', b'W/"a"', b'"b"', b'W/"b"', b'""', b'"a,b"', b"*", b"a", b'"a', b'"a"x', b"W/"])


@given(st.lists(tags, max_size=4), st.sampled_from([b",", b" , ", b", ,"]), st.sampled_from([b'"a"', b'W/"a"', b'""']), st.booleans())
def test_entity_tags_match_as_the_oracle_says(items: list[bytes], comma: bytes, etag: bytes, weak: bool) -> None:
    value = comma.join(items)
    matched = value == b"*"
    for item in items:
        found = re.fullmatch(rb'(W/)?("[^"]*")', item)
        if found is None:
            break  # what follows a malformed element is not read
        strong = not found[1] and not etag.startswith(b"W/")
        matched |= (weak or strong) and found[2] == etag.removeprefix(b"W/")
    assert etag_match(value, etag, weak) == matched


@given(st.integers(0, 253402300799))
def test_every_date_comes_back_from_its_three_forms(second: int) -> None:
    at = datetime.fromtimestamp(second, UTC)
    assert format_date(second) == at.strftime("%a, %d %b %Y %H:%M:%S GMT").replace(f"{at.year} ", f"{at.year:04} ").encode()
    assert parse_date(format_date(second), NOW) == second
    assert parse_date(f"{at:%a %b} {at.day:2} {at:%H:%M:%S} {at.year:04}".encode(), NOW) == second
    if 1977 <= at.year <= 2076:  # the century that RFC 850's two digits mean in 2026
        assert parse_date(at.strftime("%A, %d-%b-%y %H:%M:%S GMT").encode(), NOW) == second


@pytest.mark.parametrize(
    "value",
    [
        b"", b"0", b"Sun, 06 Nov 1994 08:49:37", b"Sun, 06 Nov 1994 08:49:37 UTC", b"Sun, 6 Nov 1994 08:49:37 GMT",
        b"Xun, 06 Nov 1994 08:49:37 GMT", b"Sun, 31 Nov 1994 08:49:37 GMT", b"Sun, 06 Nov 1994 24:49:37 GMT",
        b"Sun, 06 Nov 1994 08:60:37 GMT", b"Sun, 06 Nov 1994 08:49:61 GMT", b"Sun, 29 Feb 2100 00:00:00 GMT",
        b"Sun, 06 Nov 1969 08:49:37 GMT", b"Sun, 0x Nov 1994 08:49:37 GMT", b"Sun, 06 Nov 19-4 08:49:37 GMT",
        b"Sunday, 06-Nov-9x 08:49:37 GMT", b"Sund, 06-Nov-94 08:49:37 GMT", b"Sun Nov 06x08:49:37 1994", b"1994-11-06T08:49:37Z",
    ],
)  # fmt: skip
def test_malformed_date_counts_as_absent(value: bytes) -> None:
    assert parse_date(value, NOW) == -1


@given(st.binary(max_size=40))
def test_no_bytes_upset_the_readers(value: bytes) -> None:
    assert parse_date(value, NOW) >= -1
    byte_range(b"bytes=" + value, 100)
    etag_match(value, b'"a"', True)


parameters = ["token=1", "token", "to%6ben=2", "token%3d=3", "tok=4", "x=token", "", "=", "%", "tokenx=1", "a=%zz"]
pieces = st.lists(st.sampled_from(parameters), max_size=6)


@given(pieces)
def test_removed_parameter_is_gone_however_it_was_spelled(items: list[str]) -> None:
    query = "&".join(items).encode()
    kept = [item for item in items if unquote_to_bytes(item.split("=")[0]) != b"token"]
    assert remove_query(query, b"token") == "&".join(kept).encode()
    assert "token" not in [name for name, _ in parse_qsl(remove_query(query, b"token").decode(), keep_blank_values=True)]


@given(pieces)
def test_found_parameter_is_the_first_of_its_name(items: list[str]) -> None:
    values = [item.partition("=")[2].encode() for item in items if unquote_to_bytes(item.split("=")[0]) == b"token"]
    assert find_query("&".join(items).encode(), b"token") == (values[0] if values else None)


FIELD = re.compile(
    rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*((?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?)[ \t]*"
)


CONTROL = [b"\t", b"\r", b"\n", b"\0", b"\x01", b"\x0b", b"\x0c", b"\x7f"]
PARTS = st.sampled_from([b"A", b"zX-", b":", b" ", b"\xe4", b"v" * 40, b'"', *CONTROL])


@given(st.lists(st.lists(PARTS, max_size=8).map(b"".join), min_size=1, max_size=4))
def test_lines_of_a_head_are_fields_or_it_is_none(lines: list[bytes]) -> None:
    head = b"\r\n".join([b"HTTP/1.1 200", *lines])
    found = [FIELD.fullmatch(line) for line in head.split(b"\r\n")[1:]]
    wanted = None if None in found else [(each[1].lower(), each[2]) for each in found if each is not None]
    assert field_lines(head, 14) == wanted


def test_where_fields_begin_is_within_the_head() -> None:
    assert field_lines(b"a: b", 4) is None
    for at in (-1, 5):
        with pytest.raises(ValueError):
            field_lines(b"a: b", at)
