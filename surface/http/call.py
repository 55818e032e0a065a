"""One API call: what the conventions read from a request before its handler runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from nova.media.streams.access import Caller
from nova.media.streams.model import UserId
from nova.surface.http.route import Route
from nova.surface.identity.principal import Principal, require
from nova.surface.identity.scopes import ADMIN

Json = Any


@dataclass(frozen=True, slots=True)
class Call:
    """What a handler gets: everything is checked already.

    base: of every absolute URL in the answer, `https://host` without a trailing slash.
    peer: the client's address, behind trusted proxies.
    """

    route: Route
    params: Mapping[str, str]
    query: Mapping[str, Json]
    body: Json
    principal: Principal | None
    correlation_id: str
    base: str
    peer: str
    headers: Mapping[str, str] = field(repr=False)  # may hold credentials
    authority: str  # host and port as the client named them
    secure: bool  # came over TLS, to us or to a proxy that we trust
    raw_path: str = ""  # as sent, percent-encoded, without the query
    method: str = "GET"  # as sent: HEAD comes to GET's handler

    @property
    def host(self) -> str:
        """The host name under which the caller knows us, without its port; an IPv6 address in brackets."""
        name = urlsplit(self.base).hostname or "127.0.0.1"
        return f"[{name}]" if ":" in name else name

    @property
    def caller(self) -> Caller:
        """Who asks, in the streams domain's words."""
        if self.principal is None:
            return Caller()
        return Caller(UserId(self.principal.user), operator=self.principal.holds(ADMIN))

    def require_user(self) -> Principal:
        """Who asks. Raises Unauthenticated."""
        return require(self.principal)
