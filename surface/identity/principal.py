"""Who asks: the holder of a credential, and what that lets them do."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import Final, Literal, NewType

from nova.core.errors import Forbidden, NotFound, Unauthenticated
from nova.surface.identity import scopes

UserId = NewType("UserId", str)  # 1 to 64 of [A-Za-z0-9_-]

Source = Literal["bearer", "query", "cookie"]

USER_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
GUEST_PREFIX: Final = "guest_"
NAME_MAX: Final = 64  # characters of a display name


@dataclass(frozen=True, slots=True)
class Principal:
    """The holder of a credential that was checked.

    source: where the credential was; a cookie is sent by browsers unasked and has rules of its own.
    jti: names the token in a revocation; None when it has none, then only its user can be revoked.
    issued_at, expires_at: unix seconds; issued_at 0: the token does not say.
    service: the `sub` of the service that acts for `user`; None: the user themselves.
    """

    user: UserId
    scopes: frozenset[str]
    source: Source
    expires_at: float
    issued_at: float = 0.0
    jti: str | None = None
    device: str | None = None
    name: str | None = None
    service: UserId | None = None

    @property
    def guest(self) -> bool:
        return self.user.startswith(GUEST_PREFIX)

    def holds(self, scope: str) -> bool:
        """`admin` holds every scope but `service`: acting for others is for services alone."""
        return scope in self.scopes or (scopes.ADMIN in self.scopes and scope != scopes.SERVICE)


def of_claims(claims: bytes, source: Source) -> Principal:
    """The principal of a token that was verified: `claims` went through the strict scanner of ext/token."""
    found = json.loads(claims)
    name = found.get("name")
    return Principal(
        UserId(found["sub"]),
        scopes.parse(found.get("scope", "")),
        source,
        float(found["exp"]),
        float(found.get("iat", 0)),
        found.get("jti"),
        found.get("device"),
        name[:NAME_MAX] if isinstance(name, str) else None,
    )


def require(principal: Principal | None, scope: str = "") -> Principal:
    """The principal, when it holds `scope` (empty: any will do).

    Raises Unauthenticated: there is none; Forbidden `missing_scope`.
    """
    if principal is None:
        raise Unauthenticated("unauthenticated", "a bearer token or a browser session is needed")
    if scope and not principal.holds(scope):
        raise Forbidden("missing_scope", f"the scope {scope} is needed")
    return principal


def require_owner(principal: Principal | None, owner: str, what: str, *, visible: bool) -> Principal:
    """The principal, when the thing is theirs or they are an administrator.

    what: the thing, for the message. visible: whether the caller may know that it exists.
    Raises Unauthenticated: nobody asks; Forbidden: it is another's; NotFound: and they may not even see it.
    """
    if principal is not None and (principal.user == owner or principal.holds(scopes.ADMIN)):
        return principal
    if not visible:
        raise NotFound("not_found", f"there is no such {what}")
    if principal is None:
        raise Unauthenticated("unauthenticated", "a bearer token or a browser session is needed")
    raise Forbidden("forbidden", f"this {what} belongs to another user")


def acting(principal: Principal, for_user: str | None, named: str | None = None) -> Principal:
    """Who a call is made for: the token's user, or with a `service` token the user of `x-nova-user`, with a user's scopes.

    named: a user id in the body, which may only repeat it.
    Raises Forbidden: another user is named.
    """
    acts = principal
    if for_user and for_user != principal.user:
        if not principal.holds(scopes.SERVICE):
            raise Forbidden("missing_scope", "the scope service is needed to act for another user")
        if not USER_ID.fullmatch(for_user):
            raise Forbidden("forbidden", "x-nova-user is not a user id")
        acts = replace(principal, user=UserId(for_user), service=principal.user, scopes=principal.scopes | scopes.USER)
    if named is not None and named != acts.user:
        raise Forbidden("forbidden", "the user in the body is not the one that acts")
    return acts
