"""IdentityStore without a disk."""

from __future__ import annotations

import trio

from nova.surface.identity.model import Place, Revocation, SignInCode, User
from nova.surface.identity.principal import UserId


class MemoryStore:
    """See store.IdentityStore."""

    def __init__(self) -> None:
        self._users: dict[UserId, User] = {}
        self._codes: dict[bytes, SignInCode] = {}
        self._revocations: dict[tuple[str, str], Revocation] = {}

    async def user(self, user: UserId) -> User | None:
        await trio.lowlevel.checkpoint()
        return self._users.get(user)

    async def users_known(self, users: list[UserId] | tuple[UserId, ...]) -> set[UserId]:
        await trio.lowlevel.checkpoint()
        return {user for user in users if user in self._users}

    async def ensure_user(self, user: User) -> tuple[User, bool]:
        await trio.lowlevel.checkpoint()
        found = self._users.setdefault(user.id, user)
        return found, found is user

    async def rename_user(self, user: UserId, name: str) -> None:
        await trio.lowlevel.checkpoint()
        if (found := self._users.get(user)) is not None:
            self._users[user] = User(found.id, name, found.created_at, found.owner)

    async def owner(self) -> User | None:
        await trio.lowlevel.checkpoint()
        return next((user for user in self._users.values() if user.owner), None)

    async def list_users(self, after: Place | None, limit: int) -> list[User]:
        await trio.lowlevel.checkpoint()
        newest = sorted(self._users.values(), key=lambda user: user.place, reverse=True)
        return [user for user in newest if after is None or user.place < after][:limit]

    async def delete_user(self, user: UserId, revocation: Revocation) -> bool:
        await trio.lowlevel.checkpoint()
        if self._users.pop(user, None) is None:
            return False
        self._codes = {digest: code for digest, code in self._codes.items() if code.user != user}
        self._put(revocation)
        return True

    async def add_code(self, code: SignInCode, now: float) -> None:
        await trio.lowlevel.checkpoint()
        self._codes = {digest: kept for digest, kept in self._codes.items() if kept.expires_at > now}
        self._codes[code.digest] = code

    async def take_code(self, digest: bytes, now: float) -> SignInCode | None:
        await trio.lowlevel.checkpoint()
        found = self._codes.pop(digest, None)
        return found if found is not None and found.expires_at > now else None

    async def put_revocation(self, revocation: Revocation, now: float) -> None:
        await trio.lowlevel.checkpoint()
        self._revocations = {name: kept for name, kept in self._revocations.items() if kept.until > now}
        self._put(revocation)

    async def revocations(self, now: float) -> list[Revocation]:
        await trio.lowlevel.checkpoint()
        return [kept for kept in self._revocations.values() if kept.until > now]

    def _put(self, revocation: Revocation) -> None:
        kind = "jti" if revocation.jti is not None else "user"
        name = revocation.jti or revocation.user or ""
        kept = self._revocations.get((kind, name))
        if kept is None or kept.not_before_ms <= revocation.not_before_ms:
            self._revocations[kind, name] = revocation
