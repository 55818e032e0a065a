"""Who is in a channel. Pure.

The members of this node leave when their connection ends, which the reactor never fails to tell. Those of other nodes hold
for as long as their node does: it renews one lease for all of them, and without it they are gone together.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice, starmap
from typing import NamedTuple


class Member(NamedTuple):
    """A connection in a channel. user: None without a token. since: Unix milliseconds."""

    user: str | None
    client: str
    since: int


class Members:
    """The members of one channel, in the order in which they came.

    Ten thousand who only listen are ten thousand of these: each is one string under its client id, unseen by the collector.
    """

    __slots__ = ("_members",)

    def __init__(self) -> None:
        self._members: dict[str, str] = {}  # client id: since in hex, and behind a space the user, if there is one

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> Iterator[Member]:
        return starmap(_member, self._members.items())

    def __contains__(self, client: str) -> bool:
        return client in self._members

    def enter(self, member: Member) -> bool:
        """False: it is there already, since then."""
        user, client, since = member
        if client in self._members:
            return False
        self._members[client] = f"{since:x}" if user is None else f"{since:x} {user}"
        return True

    def leave(self, client: str) -> Member | None:
        """Who left; None: nobody of that id was there."""
        kept = self._members.pop(client, None)
        return None if kept is None else _member(client, kept)

    def leave_all(self, node: str) -> list[Member]:
        """Everybody whose connection was to that node (client ids begin with it)."""
        gone = [_member(client, kept) for client, kept in self._members.items() if client.startswith(node + "-")]
        for member in gone:
            del self._members[member.client]
        return gone

    def page(self, start: int, limit: int) -> tuple[list[Member], bool]:
        """Members from the `start`-th on, and whether there are more."""
        found = list(islice(self, start, start + limit + 1))
        return found[:limit], len(found) > limit


def _member(client: str, kept: str) -> Member:
    since, space, user = kept.partition(" ")
    return Member(user if space else None, client, int(since, 16))
