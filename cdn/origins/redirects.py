"""Where a redirect leads that leaves a site's origins: to public addresses only, and without what was meant for the origin alone."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from typing import Final
from urllib.parse import urljoin, urlsplit

from nova.cdn.errors import OriginError
from nova.cdn.origins.origin import Origin
from nova.cdn.origins.patience import Patience
from nova.cdn.ports import FetchRequest, Fields
from nova.core.clock import Clock
from nova.core.settings_schema import make
from nova.core.settings_table import CdnOrigin, CdnSite
from nova.core.values import parse_url

STATUSES: Final = frozenset((301, 302, 303, 307, 308))
HOSTS: Final = 32  # whose connections are remembered
_SECRETS: Final = frozenset((b"authorization", b"cookie", b"proxy-authorization"))


def location(status: int, fields: Fields) -> str | None:
    """Where the answer sends its reader."""
    if status not in STATUSES:
        return None
    found = [value for name, value in fields if name == b"location"]
    return found[0].decode("latin-1") if len(found) == 1 and found[0] else None


def redirected(base: str, where: str) -> str:
    """The URL that `where` means beside `base`. Raises OriginError: none that may be followed."""
    try:
        url = urljoin(base, where)
        parts = urlsplit(url)
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0:
            return url
    except ValueError:
        """Said below."""
    raise OriginError("origin_unreachable", "the origin's redirect leads to no http address")


class Elsewhere:
    """Hosts that redirects led to."""

    def __init__(self, site: CdnSite, clock: Clock, patience: Patience) -> None:
        self._site, self._clock, self._patience = site, clock, patience
        self._known: OrderedDict[str, Origin] = OrderedDict()

    def request(self, request: FetchRequest, url: str) -> tuple[FetchRequest, Origin]:
        """`request` as it goes to `url`, and who gets it. Raises OriginError: not an address that may be followed."""
        parts = urlsplit(url)
        try:
            base = parse_url(f"{parts.scheme}://{parts.netloc}")
        except ValueError:
            raise OriginError("origin_unreachable", "the origin's redirect leads nowhere") from None
        target = (parts.path or "/").encode("latin-1", "replace") + (f"?{parts.query}".encode("latin-1", "replace") if parts.query else b"")
        kept = tuple(field for field in request.fields if field[0] not in _SECRETS)
        return replace(request, target=target, fields=kept), self._origin(base)

    def _origin(self, base: str) -> Origin:
        origin = self._known.pop(base, None)
        if origin is None:
            origin = Origin(make(CdnOrigin, url=base, max_idle=0), self._clock, self._patience, own_host=True, public=True)
        self._known[base] = origin
        while len(self._known) > HOSTS:
            self._known.popitem(last=False)[1].close()
        return origin
