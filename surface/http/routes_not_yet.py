"""What the contract promises and a later version brings: every such route answers 501 `not_yet` until then.

A route leaves this table when its domain gets its own.
"""

from __future__ import annotations

from typing import Final

from nova.core.errors import NotYet
from nova.surface.http.call import Call
from nova.surface.http.route import Reply, Route

# tag, path, methods
TABLE: Final[tuple[tuple[str, str, str], ...]] = (
    ("streams", "/v1/streams/{id}/recordings", "GET"),
    ("messaging", "/v1/devices/{device}/keys", "PUT"),
    ("messaging", "/v1/devices/{device}/keys/count", "GET"),
    ("messaging", "/v1/users/{user}/keys/claim", "POST"),
    ("messaging", "/v1/conversations", "GET POST"),
    ("messaging", "/v1/conversations/{id}", "GET PATCH DELETE"),
    ("messaging", "/v1/conversations/{id}/members", "POST DELETE"),
    ("messaging", "/v1/conversations/{id}/messages", "POST"),
    ("messaging", "/v1/conversations/{id}/commits", "GET"),
    ("messaging", "/v1/conversations/{id}/calls", "POST"),
    ("messaging", "/v1/mailbox", "GET"),
    ("messaging", "/v1/mailbox/ack", "POST"),
    ("messaging", "/v1/messages", "GET"),
    ("messaging", "/v1/messages/ws", "GET"),
    ("messaging", "/v1/attachments", "POST"),
    ("media", "/vod/{rest:path}", "GET"),
    ("notifications", "/v1/notifications", "GET"),
    ("notifications", "/v1/notifications/{id}/read", "POST"),
    ("notifications", "/v1/notifications/preferences", "GET PUT"),
    ("notifications", "/v1/notifications/devices/{device}", "PUT DELETE"),
    ("notifications", "/v1/users/{user}/notifications", "POST"),
)


async def _not_yet(call: Call) -> Reply:
    raise NotYet(detail="This comes with a later version of Nova core.")


def table() -> list[Route]:
    """The routes; they ask for no credential and read no body."""
    return [
        Route(method, path, f"not_yet_{method.lower()}_{at}", _not_yet, "Comes with a later version", tag, errors=("not_yet",))
        for at, (tag, path, methods) in enumerate(TABLE)
        for method in methods.split()
    ]
