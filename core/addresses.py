"""Who is really asking: the client's address, scheme and host behind trusted proxies.

Headers are claims. Only what an address of `http.trusted_proxies` wrote is believed: the chain is walked from the right (the
nearest hop) to the left, as long as the hop that made the claim is trusted; the first that is not is the client.

Sources: RFC 7239 (Forwarded), the X-Forwarded-For convention.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from nova.core.limits import IpAddress, Networks, parse_address

MAX_HOPS: Final = 32  # of a chain; real ones have two or three, and each entry costs a parse
MAX_FORWARDED: Final = 2048  # characters; as many hops as that, and no header makes the parser work for long

_WORD: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}"
_PAIR: Final = re.compile(rf'[ \t]*({_WORD})=(?:({_WORD})|"((?:[^"\\\x00-\x08\x0a-\x1f\x7f]|\\[^\x00-\x08\x0a-\x1f\x7f])*)")[ \t]*')
_NODE: Final = re.compile(r"(?:\[([0-9A-Fa-f:.]{2,45})\]|([0-9.]{7,15}))(?::(?:[0-9]{1,5}|_[A-Za-z0-9._-]+))?")
_HOST: Final = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]{0,253})|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")

Kind = Literal["auto", "forwarded", "x-forwarded"]


@dataclass(frozen=True, slots=True)
class Client:
    """Whom a request counts for.

    exempt: whether `limits.exempt` frees it. Never because of a proxy's own address: what came through a proxy that is
    not trusted, or with claims that cannot be believed, is not exempt even from loopback.
    """

    address: IpAddress | None  # None: a peer without an address, such as a UNIX socket
    scheme: str
    host: str | None  # as the client named it, with the port when there was one
    exempt: bool


@dataclass(frozen=True, slots=True)
class _Hop:
    """What one proxy says of the side it was called from."""

    node: IpAddress | None  # None: hidden, unknown or malformed
    scheme: str | None = None
    host: str | None = None


class Addresses:
    """Reads requests by the settings `http.trusted_proxies` and `limits.exempt`.

    kind: which headers the proxies write. With `auto`, whichever is there; when both are and disagree, a client may have
    made up one of them, so neither is believed (docs/decisions/0014-forwarded-headers.md).
    """

    def __init__(self, trusted: Networks, exempt: Networks, kind: Kind = "auto") -> None:
        self._trusted = trusted
        self._exempt = exempt
        self._kind = kind

    def client(self, peer: str, headers: Iterable[tuple[bytes, bytes]], *, scheme: str, host: str | None) -> Client:
        """The client of a request.

        peer: address of the connection. headers: lower-case names, as ASGI gives them.
        scheme, host: of the request as it reached us; kept where no trusted proxy says otherwise.
        """
        address = parse_address(peer)
        forwarded: list[str] = []
        chain: list[str] = []
        schemes: list[str] = []
        hosts: list[str] = []
        lists = {b"forwarded": forwarded, b"x-forwarded-for": chain, b"x-forwarded-proto": schemes, b"x-forwarded-host": hosts}
        for name, value in headers:
            found = lists.get(name)
            if found is not None:
                found.append(value.decode("latin-1"))
        claims = bool(forwarded or chain)
        if address is None or address not in self._trusted:
            exempt = address is not None and address in self._exempt and not claims
            return Client(address, scheme, host, exempt)
        hops = self._hops(forwarded, chain, schemes, hosts)
        if hops is None:
            return Client(address, scheme, host, False)
        client = Client(address, scheme, host, address in self._exempt and not claims)
        for hop in reversed(hops):
            if hop.node is None:
                # The chain breaks here: the last proxy that we know stands for whoever is behind it.
                return Client(client.address, hop.scheme or client.scheme, hop.host or client.host, False)
            client = Client(hop.node, hop.scheme or client.scheme, hop.host or client.host, hop.node in self._exempt)
            if hop.node not in self._trusted:
                break
        return client

    def _hops(self, forwarded: Sequence[str], chain: Sequence[str], schemes: Sequence[str], hosts: Sequence[str]) -> list[_Hop] | None:
        """The chain of claims, nearest last; None when two of them contradict."""
        standard = parse_forwarded(",".join(forwarded)) if forwarded and self._kind != "x-forwarded" else []
        usual = _parse_x_forwarded(chain, schemes, hosts) if chain and self._kind != "forwarded" else []
        if standard and usual and [hop.node for hop in standard] != [hop.node for hop in usual]:
            return None
        return standard or usual


def parse_forwarded(text: str) -> list[_Hop]:
    """The elements of a Forwarded header (RFC 7239 section 4).

    A malformed element, and all left of it, is one unknown hop, as is a header above MAX_FORWARDED.
    """
    if len(text) > MAX_FORWARDED:
        return [_Hop(None)]
    elements: list[_Hop] = []
    pairs: dict[str, str] = {}
    malformed = False
    at = 0
    while at <= len(text):
        found = _PAIR.match(text, at)
        if found is not None:
            at = found.end()
            value = found[2] if found[2] is not None else re.sub(r"\\(.)", r"\1", found[3])
            malformed = malformed or found[1].lower() in pairs  # section 4: a parameter at most once
            pairs[found[1].lower()] = value
        if at == len(text) or text[at] == ",":
            if malformed:
                elements = [_Hop(None)]
            elif pairs:
                elements.append(_Hop(_node(pairs.get("for", "")), _scheme(pairs.get("proto", "")), _host(pairs.get("host", ""))))
            pairs, malformed = {}, False
        elif text[at] != ";" and not (found is None and text[at] in " \t"):
            malformed = True
        at += 1
    return elements


def _parse_x_forwarded(chain: Sequence[str], schemes: Sequence[str], hosts: Sequence[str]) -> list[_Hop]:
    nodes = [item.strip() for line in chain for item in line.split(",")]
    protocols = [item.strip() for line in schemes for item in line.split(",")]
    names = [item.strip() for line in hosts for item in line.split(",")]
    return [
        # The lists are as long as the chain when every proxy appends; one entry alone is what the outermost one set.
        _Hop(_node(nodes[at]), _scheme(_beside(protocols, at, len(nodes))), _host(_beside(names, at, len(nodes))))
        for at in range(max(0, len(nodes) - MAX_HOPS), len(nodes))
    ]


def _beside(values: Sequence[str], at: int, count: int) -> str:
    if len(values) == count:
        return values[at]
    return values[0] if len(values) == 1 else ""


def _node(text: str) -> IpAddress | None:
    found = _NODE.fullmatch(text)
    if found is not None:
        return parse_address(found[1] or found[2])
    return parse_address(text) if len(text) <= 45 and "%" not in text else None  # X-Forwarded-For has IPv6 without brackets


def _scheme(text: str) -> str | None:
    return text.lower() if text.lower() in ("http", "https") else None


def _host(text: str) -> str | None:
    return text if _HOST.fullmatch(text) else None
