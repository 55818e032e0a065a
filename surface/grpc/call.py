"""One gRPC call, as its handler sees it."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from nova.surface.identity import principal as identity
from nova.surface.identity.principal import Principal

CORRELATION: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(frozen=True, slots=True)
class Call:
    """What a handler gets beside the request.

    principal: who the call acts for, `x-nova-user` included; None without a token.
    metadata: of the client, the last of a name that was repeated; without `authorization`.
    """

    method: str
    principal: Principal | None
    correlation_id: str
    peer: str
    metadata: Mapping[str, str] = field(repr=False)

    def require(self, scope: str = "") -> Principal:
        """Who asks. Raises Unauthenticated; Forbidden `missing_scope`."""
        return identity.require(self.principal, scope)

    def acts_for(self, user_id: str) -> None:
        """A user id in the body may only repeat the one that acts; empty is none. Raises Forbidden, Unauthenticated."""
        if user_id:
            identity.acting(self.require(), None, user_id)


Handler = Callable[[Any, Call], Awaitable[Any]]  # request message, call → response message; raises NovaError
Handlers = Mapping[str, Handler]  # by full method, `/nova.streaming.v1.StreamingService/StartStream`
Admit = Callable[[str], Awaitable[Principal | None]]  # the value of `authorization`, or empty; raises Unauthenticated
