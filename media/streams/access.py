"""Who may see a stream and who may change it. Pure: one place for both rules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from nova.core.errors import Forbidden, NotFound
from nova.media.streams.model import Stream, UserId, Visibility


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, as far as streams care.

    user: the `sub` of the token; None without one.
    operator: scope `admin`: sees and changes everything.
    """

    user: UserId | None = None
    operator: bool = False


NOBODY: Final = Caller()
OPERATOR: Final = Caller(operator=True)


def may_see(stream: Stream, caller: Caller, *, granted: bool) -> bool:
    """granted: the owner let this caller in by name."""
    return stream.visibility is not Visibility.PRIVATE or granted or may_change(stream, caller)


def may_change(stream: Stream, caller: Caller) -> bool:
    return caller.operator or (caller.user is not None and caller.user == stream.owner)


def require_change(stream: Stream, caller: Caller, *, granted: bool) -> None:
    """Raises NotFound for those who may not even see it, Forbidden for all others but its owner."""
    if may_change(stream, caller):
        return
    if not may_see(stream, caller, granted=granted):
        raise missing(stream.id)
    raise Forbidden(detail="Only the owner of this stream may do this.")


def missing(stream_id: str) -> NotFound:
    return NotFound(detail=f"There is no stream {stream_id[:64]!r}.")
