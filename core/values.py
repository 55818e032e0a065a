"""Value types that settings speak: durations, sizes, rates, listener addresses, networks, URLs.

Each has one reader of text and one writer; the writer's text reads back to the same value.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Final, NamedTuple, NewType

Seconds = NewType("Seconds", float)
ByteSize = NewType("ByteSize", int)
Url = NewType("Url", str)  # absolute, without a trailing slash
Cidr = IPv4Network | IPv6Network

_DURATION_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE_UNITS: Final = {
    "": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40, "PiB": 2**50,
}  # fmt: skip
_DURATION: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|s|min|m|h|d)")
_SIZE: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([KMGTP]i?B|B|)")
_RATE: Final = re.compile(r"([0-9]+)\s*/\s*([0-9]*)\s*(ms|s|min|m|h|d)")


def parse_duration(text: str) -> Seconds:
    """`200ms`, `10s`, `15m`, `1h`, `1d`. Raises ValueError."""
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise ValueError("a duration such as 200ms, 10s, 15m or 24h is wanted")
    return Seconds(float(found[1]) * _DURATION_UNITS[found[2]])


def format_duration(seconds: float) -> str:
    """The shortest exact text that `parse_duration` reads."""
    for unit, factor in (("d", 86400.0), ("h", 3600.0), ("m", 60.0), ("s", 1.0)):
        if seconds >= factor and seconds % factor == 0:
            return f"{int(seconds / factor)}{unit}"
    if seconds and seconds < 1:
        return f"{seconds * 1000:.10g}ms"
    return f"{seconds:.10g}s"


def parse_size(text: str) -> ByteSize:
    """`64KiB`, `16MiB`, `10MB`, or a bare number of bytes. Raises ValueError."""
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise ValueError("a size such as 64KiB, 16MiB or 10MB is wanted")
    return ByteSize(int(float(found[1]) * _SIZE_UNITS[found[2]]))


def format_size(size_bytes: int) -> str:
    """The shortest exact text that `parse_size` reads, in binary units."""
    for unit in ("PiB", "TiB", "GiB", "MiB", "KiB"):
        if size_bytes and size_bytes % _SIZE_UNITS[unit] == 0:
            return f"{size_bytes // _SIZE_UNITS[unit]}{unit}"
    return f"{size_bytes}B"


class Rate(NamedTuple):
    """`events` in `per` seconds; the burst is `events`."""

    events: int
    per: Seconds

    @classmethod
    def parse(cls, text: str) -> Rate:
        """`20/s`, `5/min`, `100/10s`. Raises ValueError."""
        found = _RATE.fullmatch(text.strip())
        if found is None or found[2] == "0":
            raise ValueError("a rate such as 20/s, 5/min or 100/10s is wanted")
        return cls(int(found[1]), Seconds(int(found[2] or 1) * _DURATION_UNITS[found[3]]))

    def __str__(self) -> str:
        per = format_duration(self.per)
        return f"{self.events}/{per[1:] if re.fullmatch('1[a-z]+', per) else per}"


class Address(NamedTuple):
    """Where a listener binds. Port 0 takes a free one."""

    host: str  # a numeric address or a name, without brackets
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """`127.0.0.1:8080`, `[::1]:8080`, `:8080` (every interface). Raises ValueError."""
        host, colon, port = text.strip().rpartition(":")
        wanted = "host:port such as 127.0.0.1:8080 or [::1]:8080 is wanted"
        if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
            raise ValueError(wanted)
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
            if ":" not in host:
                raise ValueError(wanted)
        elif ":" in host:
            raise ValueError(wanted)
        return cls(host or "0.0.0.0", int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def loopback(self) -> bool:
        """True when only this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ip_address(self.host.partition("%")[0]).is_loopback
        except ValueError:
            return False


def parse_cidr(text: str) -> Cidr:
    """`10.0.0.0/8`, `::1`. Host bits below the mask are refused: they are a typing error. Raises ValueError."""
    try:
        return ip_network(text.strip())
    except ValueError:
        raise ValueError("a network such as 10.0.0.0/8 or ::1/128 is wanted, without host bits below the mask") from None


def parse_url(text: str) -> Url:
    """An absolute http, https, rtmp or rtmps URL without query. Raises ValueError."""
    found = re.fullmatch(r"(?:https?|rtmps?)://[^\s/?#@]+(?:/[^\s?#]*)?", text.strip())
    if found is None:
        raise ValueError("an absolute URL such as https://live.example.org is wanted, without user, query or fragment")
    return Url(text.strip().rstrip("/"))
