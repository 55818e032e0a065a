"""Scopes: what a token lets its holder do. The one table; the reactor's bits, docs/identity.md and the checks come from it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from nova.core.errors import BadRequest, FieldError


@dataclass(frozen=True, slots=True)
class Scope:
    """common: part of a token that asks for none; the others are given by name only."""

    name: str
    doc: str
    common: bool = False


ADMIN: Final = "admin"
CDN_ADMIN: Final = "cdn:admin"
METRICS_READ: Final = "metrics:read"
SERVICE: Final = "service"

# The order is the order of the bits in the reactor's TokenResult: append only.
TABLE: Final = (
    Scope("stream:write", "Make streams, publish, change and stop one's own.", common=True),
    Scope("chat", "Write in the chat of a stream.", common=True),
    Scope("media:write", "Upload images and video, change and delete one's own.", common=True),
    Scope("message", "End-to-end encrypted conversations, with a `device` in the token.", common=True),
    Scope("notify", "Read one's notifications and register devices for them.", common=True),
    Scope(CDN_ADMIN, "Register, invalidate and prewarm what the CDN serves."),
    Scope(METRICS_READ, "Read /metrics."),
    Scope(SERVICE, "Another service of Nova: acts for the user that the call names, with that user's scopes."),
    Scope(ADMIN, "Everything: also what belongs to others, users, tokens and revocations."),
)
NAMES: Final = tuple(scope.name for scope in TABLE)
USER: Final = frozenset(scope.name for scope in TABLE if scope.common)
OWNER: Final = USER | {METRICS_READ}  # of the sign-in URL that the server prints: its owner sees how it does
GUEST: Final = frozenset({"chat"})


def parse(text: str) -> frozenset[str]:
    """The scopes of a claim; names that are not ours mean something to somebody else and are left out."""
    return frozenset(text.split(" ")) & _KNOWN


def wanted(names: Iterable[str]) -> frozenset[str]:
    """The scopes that somebody asks for; none: those of a user. Raises BadRequest `invalid_field`: no such scope."""
    found = frozenset(names)
    unknown = sorted(found - _KNOWN)
    if unknown:
        detail = f"there is no scope {unknown[0]!r}; there are {', '.join(NAMES)}"
        raise BadRequest("invalid_field", detail, fields=[FieldError("/scopes", "invalid_field", detail)])
    return found or USER


def text(scopes: Iterable[str]) -> str:
    """The value of the claim `scope`, in the table's order."""
    given = set(scopes)
    return " ".join(name for name in NAMES if name in given)


_KNOWN: Final = frozenset(NAMES)
