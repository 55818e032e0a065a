"""Value types of settings: what they read, what they refuse, and that writing reads back."""

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nova.core.values import (
    Address,
    Rate,
    format_duration,
    format_size,
    parse_cidr,
    parse_duration,
    parse_size,
    parse_url,
)


@pytest.mark.parametrize(("text", "seconds"), [("200ms", 0.2), ("10s", 10), ("15m", 900), ("1.5h", 5400), ("30d", 2_592_000), ("0s", 0)])
def test_duration_reads(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["10", "", "s", "-1s", "1 year", "1s2", "١s", "1e3s"])
def test_duration_needs_a_number_and_a_unit(text: str) -> None:
    with pytest.raises(ValueError, match="10s"):
        parse_duration(text)


@given(st.integers(0, 10**9))
def test_duration_reads_back(milliseconds: int) -> None:
    assert parse_duration(format_duration(milliseconds / 1000)) == pytest.approx(milliseconds / 1000, abs=1e-9)


@given(st.integers(0, 2**50))
def test_size_reads_back(size: int) -> None:
    assert parse_size(format_size(size)) == size


@pytest.mark.parametrize(("text", "size"), [("64KiB", 65536), ("10MB", 10_000_000), ("0", 0), ("1.5KiB", 1536), ("7B", 7)])
def test_size_reads(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [("127.0.0.1:80", "127.0.0.1", 80), ("[::1]:0", "::1", 0), (":8080", "0.0.0.0", 8080), ("localhost:65535", "localhost", 65535)],
)
def test_address_reads_and_writes(text: str, host: str, port: int) -> None:
    address = Address.parse(text)
    assert address == (host, port)
    assert Address.parse(str(address)) == address


@pytest.mark.parametrize("text", ["", "8080", "host", "::1:80", "[::1]", "host:", "host:65536", "host:8a", "[name]:1", "host:-1"])
def test_address_needs_host_and_port(text: str) -> None:
    with pytest.raises(ValueError, match="host:port"):
        Address.parse(text)


@pytest.mark.parametrize(
    ("text", "loopback"),
    [("127.0.0.1:1", True), ("127.9.9.9:1", True), ("[::1]:1", True), ("localhost:1", True),
     (":1", False), ("[::]:1", False), ("10.0.0.1:1", False), ("example.org:1", False)],
)  # fmt: skip
def test_address_knows_whether_only_this_machine_reaches_it(text: str, loopback: bool) -> None:
    assert Address.parse(text).loopback is loopback


@pytest.mark.parametrize("text", ["20/s", "5/m", "100/10s", "1/500ms"])
def test_rate_reads_back(text: str) -> None:
    assert str(Rate.parse(text)) == text
    assert Rate.parse(str(Rate.parse(text))) == Rate.parse(text)


@pytest.mark.parametrize("text", ["20", "/s", "1/0s", "-1/s", "1.5/s"])
def test_rate_needs_a_count_and_a_time(text: str) -> None:
    with pytest.raises(ValueError, match="20/s"):
        Rate.parse(text)


def test_network_reads_and_refuses_host_bits() -> None:
    assert parse_cidr("10.0.0.0/8") == ip_network("10.0.0.0/8")
    assert parse_cidr("::1") == ip_network("::1/128")
    for text in ("10.0.0.1/8", "all", "10.0.0.0/33"):
        with pytest.raises(ValueError, match="network"):
            parse_cidr(text)


def test_url_is_absolute_and_bare() -> None:
    assert parse_url("https://live.example.org/") == "https://live.example.org"
    assert parse_url("rtmp://live.example.org:1935") == "rtmp://live.example.org:1935"
    for text in ("live.example.org", "https://", "https://u:p@h", "https://h/?q=1", "https://h/#x", "ftp://h"):
        with pytest.raises(ValueError, match="absolute URL"):
            parse_url(text)
