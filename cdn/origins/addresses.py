"""Which addresses may be connected to: what stands between a request and the inside of our network (SSRF).

Pure. An origin that is configured may be private; what DNS says of it later must be of the kind that it was, and what a redirect names must
be public.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from ipaddress import IPv6Address, ip_network
from typing import Final

from nova.core.limits import IpAddress, parse_address

_NAT64: Final = ip_network("64:ff9b::/96")
_SIX_TO_FOUR: Final = ip_network("2002::/16")
_UNICAST: Final = ip_network("2000::/3")  # all that is given out to be reached from anywhere; Python calls more of IPv6 global
_SHARED: Final = ip_network("100.64.0.0/10")


class Kind(StrEnum):
    PUBLIC = "public"
    PRIVATE = "private"  # of this site or this machine
    SPECIAL = "special"  # link-local (a cloud's metadata), multicast, unspecified, reserved


def kind_of(address: IpAddress) -> Kind:
    """IPv4 within IPv6 is judged as what it leads to."""
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped
        if inner is None and address in _NAT64:
            inner = parse_address(".".join(str(byte) for byte in address.packed[12:]))  # type: ignore[assignment]
        if inner is None and address in _SIX_TO_FOUR:
            inner = address.sixtofour
        if inner is not None:
            return kind_of(inner)
    if address.is_link_local or address.is_multicast or address.is_unspecified:
        return Kind.SPECIAL
    if address.is_loopback or (address.version == 4 and address in _SHARED):
        return Kind.PRIVATE
    if address.is_global and (address.version == 4 or address in _UNICAST):
        return Kind.PUBLIC
    return Kind.PRIVATE if address.is_private and not address.is_reserved else Kind.SPECIAL


class Guard:
    """The kinds of addresses that one configured host had when it was first asked for.

    literal: the host is an address, written down by the operator, who may mean any.
    """

    def __init__(self, *, literal: bool) -> None:
        self._literal = literal
        self._kinds: frozenset[Kind] | None = None

    def admit(self, addresses: Sequence[str]) -> list[str]:
        """Those of `addresses` that may be connected to. Empty: none, the answer has changed its kind."""
        if self._literal:
            return list(addresses)
        kinds = {text: kind_of(found) for text in addresses if (found := parse_address(text)) is not None}
        if self._kinds is None:
            usual = frozenset(kind for kind in kinds.values() if kind is not Kind.SPECIAL)
            if not usual:
                return []
            self._kinds = usual
        return [text for text in addresses if kinds.get(text) in self._kinds]


def public_only(addresses: Sequence[str]) -> list[str]:
    """Those of `addresses` that a redirect may lead to."""
    return [text for text in addresses if (found := parse_address(text)) is not None and kind_of(found) is Kind.PUBLIC]
