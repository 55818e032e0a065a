"""Identity in SQL: the tables and every statement of this part."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from nova.core.sql import Migration, Row, Schema, Sql, Transaction
from nova.surface.identity import scopes
from nova.surface.identity.model import Place, Revocation, SignInCode, User
from nova.surface.identity.principal import UserId

SCHEMA: Final = Schema(
    "identity",
    (
        Migration(
            "users, sign-in codes, revocations",
            (
                "CREATE TABLE identity_users (id TEXT PRIMARY KEY, name TEXT NOT NULL, created_at BIGINT NOT NULL, owner BIGINT)",
                # NULLs are distinct in a unique index, so any number of users are no owner, and one is.
                "CREATE UNIQUE INDEX identity_users_owner ON identity_users (owner)",
                "CREATE TABLE identity_codes (digest BYTEA PRIMARY KEY, user_id TEXT NOT NULL, scopes TEXT NOT NULL,"
                " expires_at BIGINT NOT NULL)",
                "CREATE INDEX identity_codes_by_user ON identity_codes (user_id)",
                "CREATE TABLE identity_revocations (kind TEXT NOT NULL, name TEXT NOT NULL, not_before BIGINT NOT NULL,"
                " ends_at BIGINT NOT NULL, PRIMARY KEY (kind, name))",
                "CREATE INDEX identity_revocations_by_end ON identity_revocations (ends_at)",
            ),
        ),
        Migration("users newest first", ("CREATE INDEX identity_users_by_time ON identity_users (created_at, id)",)),
    ),
)

_USER: Final = "id, name, created_at, owner"


def _user(row: Row) -> User:
    return User(UserId(row[0]), row[1], row[2] / 1000, row[3] is not None)


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _put(transaction: Transaction, revocation: Revocation) -> None:
    kind = "jti" if revocation.jti is not None else "user"
    transaction.run(
        "INSERT INTO identity_revocations (kind, name, not_before, ends_at) VALUES (?, ?, ?, ?) ON CONFLICT (kind, name) DO UPDATE SET"
        " not_before = excluded.not_before, ends_at = excluded.ends_at WHERE excluded.not_before >= identity_revocations.not_before",
        (kind, revocation.jti or revocation.user, revocation.not_before_ms, _ms(revocation.until)),
    )


class SqlStore:
    """See store.IdentityStore."""

    def __init__(self, sql: Sql) -> None:
        self._sql = sql

    async def user(self, user: UserId) -> User | None:
        row = await self._sql.one(f"SELECT {_USER} FROM identity_users WHERE id = ?", (user,))
        return None if row is None else _user(row)

    async def users_known(self, users: Sequence[UserId]) -> set[UserId]:
        if not users:
            return set()
        marks = ", ".join("?" * len(users))
        rows = await self._sql.all(f"SELECT id FROM identity_users WHERE id IN ({marks})", tuple(users))
        return {UserId(row[0]) for row in rows}

    async def ensure_user(self, user: User) -> tuple[User, bool]:
        def work(transaction: Transaction) -> tuple[User, bool]:
            made = transaction.run(
                f"INSERT INTO identity_users ({_USER}) VALUES (?, ?, ?, ?) ON CONFLICT (id) DO NOTHING",
                (user.id, user.name, _ms(user.created_at), 1 if user.owner else None),
            )
            row = transaction.one(f"SELECT {_USER} FROM identity_users WHERE id = ?", (user.id,))
            assert row is not None
            return _user(row), made > 0

        return await self._sql.write(work)

    async def rename_user(self, user: UserId, name: str) -> None:
        await self._sql.run("UPDATE identity_users SET name = ? WHERE id = ?", (name, user))

    async def owner(self) -> User | None:
        row = await self._sql.one(f"SELECT {_USER} FROM identity_users WHERE owner = 1")
        return None if row is None else _user(row)

    async def list_users(self, after: Place | None, limit: int) -> list[User]:
        behind = "" if after is None else " WHERE (created_at, id) < (?, ?)"
        values = () if after is None else (after.made_ms, after.id)
        statement = f"SELECT {_USER} FROM identity_users{behind} ORDER BY created_at DESC, id DESC LIMIT ?"
        rows = await self._sql.all(statement, (*values, limit))
        return [_user(row) for row in rows]

    async def delete_user(self, user: UserId, revocation: Revocation) -> bool:
        def work(transaction: Transaction) -> bool:
            if transaction.run("DELETE FROM identity_users WHERE id = ?", (user,)) == 0:
                return False
            transaction.run("DELETE FROM identity_codes WHERE user_id = ?", (user,))
            _put(transaction, revocation)
            return True

        return await self._sql.write(work)

    async def add_code(self, code: SignInCode, now: float) -> None:
        def work(transaction: Transaction) -> None:
            transaction.run("DELETE FROM identity_codes WHERE expires_at <= ?", (_ms(now),))
            transaction.run(
                "INSERT INTO identity_codes (digest, user_id, scopes, expires_at) VALUES (?, ?, ?, ?)",
                (code.digest, code.user, scopes.text(code.scopes), _ms(code.expires_at)),
            )

        await self._sql.write(work)

    async def take_code(self, digest: bytes, now: float) -> SignInCode | None:
        def work(transaction: Transaction) -> SignInCode | None:
            row = transaction.one("SELECT user_id, scopes, expires_at FROM identity_codes WHERE digest = ?", (digest,))
            if row is None:
                return None
            transaction.run("DELETE FROM identity_codes WHERE digest = ?", (digest,))
            return SignInCode(digest, UserId(row[0]), scopes.parse(row[1]), row[2] / 1000) if row[2] > _ms(now) else None

        return await self._sql.write(work)

    async def put_revocation(self, revocation: Revocation, now: float) -> None:
        def work(transaction: Transaction) -> None:
            transaction.run("DELETE FROM identity_revocations WHERE ends_at <= ?", (_ms(now),))
            _put(transaction, revocation)

        await self._sql.write(work)

    async def revocations(self, now: float) -> list[Revocation]:
        rows = await self._sql.scan("SELECT kind, name, not_before, ends_at FROM identity_revocations WHERE ends_at > ?", (_ms(now),))
        return [
            Revocation(end / 1000, jti=name) if kind == "jti" else Revocation(end / 1000, user=UserId(name), not_before_ms=before)
            for kind, name, before, end in rows
        ]
