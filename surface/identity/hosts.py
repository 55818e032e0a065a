"""Under which Host a cookie counts, and from which Origin it may change something. Pure.

A browser sends a cookie unasked. A page of another name that resolves to us (DNS rebinding) is kept out by the Host, a
page of another origin that posts to us (request forgery) by the Origin; SameSite=Lax is only the first fence.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})  # RFC 9110, section 9.2.1
_PORTS: Final = {"http": 80, "https": 443}


def host_name(host: str) -> str | None:
    """The name or address in a Host field: lower case, without port and brackets; None when it is not one."""
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port  # raises for what is no port
        name = parts.hostname
    except ValueError:
        return None
    if not name or parts.username is not None or parts.path or parts.query or parts.fragment:
        return None
    return name.rstrip(".") or None


def origin_of(url: str) -> tuple[str, str, int] | None:
    """Scheme, host and port of an http(s) URL or Origin field (RFC 6454); None for `null` and whatever else is none."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in _PORTS or not parts.hostname:
        return None
    return parts.scheme, parts.hostname.rstrip("."), port if port is not None else _PORTS[parts.scheme]


class HostRules:
    """hosts: `http.hosts`; empty: localhost, every address in digits, `machine` and the public URL's host.

    An address in digits needs no list: there is no name in it that could be made to resolve to us.
    public_url: its origin is ours too. origins: `http.cors_origins`, which may act with the cookie; `*` never may.
    """

    def __init__(self, hosts: Iterable[str] = (), *, public_url: str | None = None, origins: Iterable[str] = (), machine: str = "") -> None:
        named = frozenset(name for host in hosts if (name := host_name(host)) is not None)
        self._public = origin_of(public_url) if public_url else None
        self._open = not named
        defaults = {"localhost", machine.lower()} | ({self._public[1]} if self._public else set())
        self._names = named or frozenset(defaults - {""})
        self._origins = frozenset(found for origin in origins if (found := origin_of(origin)) is not None)

    @property
    def names(self) -> tuple[frozenset[str], bool]:
        """Names under which a cookie counts, and whether it does under any address and names of localhost too."""
        return self._names, self._open

    @property
    def origins(self) -> frozenset[str]:
        """Origins beside our own that may change something with the cookie, as browsers write them."""
        found = self._origins | ({self._public} if self._public else set())
        return frozenset(f"{scheme}://{host}" + ("" if port == _PORTS[scheme] else f":{port}") for scheme, host, port in found)

    def counts(self, host: str) -> bool:
        """Whether a cookie that came with this Host counts."""
        name = host_name(host)
        if name is None:
            return False
        if name in self._names:
            return True
        if not self._open:
            return False
        try:
            ip_address(name.partition("%")[0])
        except ValueError:
            return name.endswith(".localhost")  # RFC 6761: resolved by the browser itself, to loopback
        return True

    def may_change(self, origin: str, host: str, *, secure: bool) -> bool:
        """Whether a page of `origin` may change something with the cookie: our own origin, or one that is named."""
        asked = origin_of(origin)
        if asked is None:
            return False
        own = origin_of(f"{'https' if secure else 'http'}://{host}")
        return asked == own or asked == self._public or asked in self._origins
