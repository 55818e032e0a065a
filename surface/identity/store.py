"""What identity needs from a store. Twins: store_memory.MemoryStore, store_sql.SqlStore; one contract suite for both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from nova.surface.identity.model import Place, Revocation, SignInCode, User
from nova.surface.identity.principal import UserId


class IdentityStore(Protocol):
    """Everything is on stable storage once a method returns."""

    async def user(self, user: UserId) -> User | None: ...
    async def users_known(self, users: Sequence[UserId]) -> set[UserId]:
        """Those of `users` (at most 200) that exist."""
        ...

    async def ensure_user(self, user: User) -> tuple[User, bool]:
        """The user of that id, and whether it is new; one that exists is returned as it is."""
        ...

    async def rename_user(self, user: UserId, name: str) -> None: ...
    async def owner(self) -> User | None:
        """The user with `owner` set; there is at most one."""
        ...

    async def list_users(self, after: Place | None, limit: int) -> list[User]:
        """At most `limit` users, newest first, those behind `after`."""
        ...

    async def delete_user(self, user: UserId, revocation: Revocation) -> bool:
        """The user and its sign-in codes, and in the same transaction what revokes its tokens; False: there was none."""
        ...

    async def add_code(self, code: SignInCode, now: float) -> None:
        """Keep a code; those that ended before `now` are forgotten."""
        ...

    async def take_code(self, digest: bytes, now: float) -> SignInCode | None:
        """The code, once: it is gone when this returns. None: unknown, used, or ended at `now`."""
        ...

    async def put_revocation(self, revocation: Revocation, now: float) -> None:
        """Keep it; the later one of a user counts. Those that ended before `now` are forgotten."""
        ...

    async def revocations(self, now: float) -> Sequence[Revocation]:
        """All that have not ended."""
        ...
