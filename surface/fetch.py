"""Pictures from elsewhere, over addresses that were looked at first: what a name resolves to is checked, and that very address is asked.

An address that stands in the settings as numbers may be private, for its operator wrote it; a name may not lead to one.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address
from typing import Final
from urllib.parse import urljoin, urlsplit

import trio

from nova.core.errors import Forbidden, NotFound, Unavailable
from nova.media.images.delivery import allowed
from nova.surface.identity import client

REDIRECTS: Final = 3
SECONDS: Final = 10.0


class CheckedFetch:
    """media.images.ports.Fetch. sources: prefixes that addresses must lie below, redirects included."""

    def __init__(self, sources: Sequence[str]) -> None:
        self._sources = sources

    async def __call__(self, url: str, *, limit: int) -> bytes:
        for _ in range(REDIRECTS + 1):
            if not allowed(url, self._sources):
                raise Forbidden("source_forbidden", "the address leads to where pictures are not fetched from")
            answer = await client.request(
                "GET", url, headers={"Accept": "image/*"}, timeout=SECONDS, limit=limit, connect=await checked(urlsplit(url).hostname or "")
            )
            if answer.status in (301, 302, 303, 307, 308) and "location" in answer.headers:
                url = urljoin(url, answer.headers["location"])
                continue
            if answer.status == 200:
                return answer.body
            if answer.status in (401, 403, 404, 410):
                raise NotFound(detail="There is no such picture there.")
            raise Unavailable("unavailable", f"{urlsplit(url).hostname} answered {answer.status}", retry_after=5.0)
        raise Forbidden("source_forbidden", f"the address leads on more than {REDIRECTS} times")


async def checked(host: str) -> str:
    """An address of `host` that may be asked. Raises Forbidden `source_forbidden`; Unavailable: the name is not known."""
    try:
        return str(ip_address(host))
    except ValueError:
        pass
    try:
        with trio.fail_after(SECONDS):
            found = await trio.socket.getaddrinfo(host, None, type=trio.socket.SOCK_STREAM)
    except (OSError, trio.TooSlowError):
        raise Unavailable("unavailable", f"{host} cannot be resolved", retry_after=5.0) from None
    addresses = list(dict.fromkeys(str(each[4][0]).partition("%")[0] for each in found))
    # All of them: a name with one private address among public ones is a name that moves.
    if not addresses or not all(public(each) for each in addresses):
        raise Forbidden("source_forbidden", f"{host} does not lead to a public address")
    return addresses[0]


def public(text: str) -> bool:
    """Whether an address is one of the internet, also when it carries an IPv4 address (mapped, 6to4, NAT64, Teredo)."""
    address = ip_address(text)
    if address.version == 6:
        packed = int(address)
        carried = (
            address.ipv4_mapped, address.sixtofour, address.teredo[1] if address.teredo else None,
            ip_address(packed & 0xFFFFFFFF) if packed >> 32 in (0x0064FF9B << 64, 0) else None,
        )  # fmt: skip
        if any(each is not None and not public(str(each)) for each in carried):
            return False
    return address.is_global and not address.is_multicast
