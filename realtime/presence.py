"""Who is in a channel. Pure.

The members of this node leave when their connection ends, which the reactor never fails to tell. Those of other nodes hold
for as long as their node does: it renews one lease for all of them, and without it they are gone together.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple


class Member(NamedTuple):
    """A connection in a channel. user: None without a token. since: Unix milliseconds."""

    user: str | None
    client: str
    since: int


class Members:
    """The members of one channel, in the order in which they came."""

    __slots__ = ("_members",)

    def __init__(self) -> None:
        self._members: dict[str, Member] = {}

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> Iterator[Member]:
        return iter(self._members.values())

    def __contains__(self, client: str) -> bool:
        return client in self._members

    def enter(self, member: Member) -> bool:
        """False: it is there already, since then."""
        if member.client in self._members:
            return False
        self._members[member.client] = member
        return True

    def leave(self, client: str) -> Member | None:
        """Who left; None: nobody of that id was there."""
        return self._members.pop(client, None)

    def leave_all(self, node: str) -> list[Member]:
        """Everybody whose connection was to that node (client ids begin with it)."""
        gone = [member for client, member in self._members.items() if client.startswith(node + "-")]
        for member in gone:
            del self._members[member.client]
        return gone

    def page(self, start: int, limit: int) -> tuple[list[Member], bool]:
        """Members from the `start`-th on, and whether there are more."""
        found = list(islice(self._members.values(), start, start + limit + 1))
        return found[:limit], len(found) > limit
