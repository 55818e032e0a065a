"""The chat in SQL: its tables and every statement."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

from nova.core.sql import Migration, Row, Schema, Sql, Transaction
from nova.realtime.chat.model import Ban, Comment, Mode
from nova.realtime.history import Place

SCHEMA: Final = Schema(
    "chat",
    (
        Migration(
            "comments, modes, bans, moderators",
            (
                # epoch, number: where it stands in its channel; NULL: not told yet, and not shown.
                "CREATE TABLE chat_comments (id TEXT PRIMARY KEY, stream_id TEXT NOT NULL, user_id TEXT NOT NULL, name TEXT NOT NULL,"
                " badges TEXT NOT NULL, text TEXT NOT NULL, at BIGINT NOT NULL, epoch TEXT, number BIGINT)",
                "CREATE INDEX chat_comments_by_stream ON chat_comments (stream_id, id)",
                "CREATE INDEX chat_comments_by_place ON chat_comments (stream_id, epoch, number)",
                "CREATE INDEX chat_comments_by_user ON chat_comments (stream_id, user_id)",
                "CREATE TABLE chat_modes (stream_id TEXT PRIMARY KEY, enabled BIGINT NOT NULL, slow_mode_s BIGINT NOT NULL,"
                " guests BIGINT NOT NULL)",
                "CREATE TABLE chat_bans (stream_id TEXT NOT NULL, user_id TEXT NOT NULL, until_ms BIGINT, reason TEXT NOT NULL,"
                " banned_by TEXT NOT NULL, at BIGINT NOT NULL, PRIMARY KEY (stream_id, user_id))",
                "CREATE TABLE chat_moderators (stream_id TEXT NOT NULL, user_id TEXT NOT NULL, at BIGINT NOT NULL,"
                " PRIMARY KEY (stream_id, user_id))",
            ),
        ),
    ),
)

_COMMENT: Final = "id, stream_id, user_id, name, badges, text, at, epoch, number"


def _comment(row: Row) -> Comment:
    id, stream, user, name, badges, text, at, epoch, number = row
    return Comment(id, stream, user, name, tuple(json.loads(badges)), text, at, None if epoch is None else Place(number, epoch))


class SqlStore:
    """`ChatStore` over `Sql`."""

    def __init__(self, sql: Sql) -> None:
        self._sql = sql

    async def add(self, comment: Comment) -> None:
        values = (
            comment.id, comment.stream, comment.user, comment.name, json.dumps(comment.badges), comment.text, comment.at,
            None if comment.place is None else comment.place.epoch, None if comment.place is None else comment.place.offset,
        )  # fmt: skip
        await self._sql.run(f"INSERT INTO chat_comments ({_COMMENT}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", values)

    async def number(self, comment: str, place: Place) -> None:
        await self._sql.run("UPDATE chat_comments SET epoch = ?, number = ? WHERE id = ?", (place.epoch, place.offset, comment))

    async def get(self, stream: str, place: Place) -> Comment | None:
        row = await self._sql.one(
            f"SELECT {_COMMENT} FROM chat_comments WHERE stream_id = ? AND epoch = ? AND number = ?", (stream, place.epoch, place.offset)
        )
        return None if row is None else _comment(row)

    async def page(self, stream: str, before: str | None, limit: int) -> list[Comment]:
        rows = await self._sql.all(
            f"SELECT {_COMMENT} FROM chat_comments WHERE stream_id = ? AND id < ? AND epoch IS NOT NULL ORDER BY id DESC LIMIT ?",
            (stream, "~" if before is None else before, limit),
        )
        return [_comment(row) for row in rows]

    async def delete(self, stream: str, place: Place) -> bool:
        where = (stream, place.epoch, place.offset)
        return await self._sql.run("DELETE FROM chat_comments WHERE stream_id = ? AND epoch = ? AND number = ?", where) > 0

    async def delete_of(self, stream: str, user: str) -> Sequence[Place]:
        def work(transaction: Transaction) -> list[Row]:
            found = transaction.all("SELECT number, epoch FROM chat_comments WHERE stream_id = ? AND user_id = ?", (stream, user))
            transaction.run("DELETE FROM chat_comments WHERE stream_id = ? AND user_id = ?", (stream, user))
            return found

        return [Place(number, epoch) for number, epoch in await self._sql.write(work) if epoch is not None]

    async def newest(self, stream: str, user: str) -> Comment | None:
        row = await self._sql.one(
            f"SELECT {_COMMENT} FROM chat_comments WHERE stream_id = ? AND user_id = ? AND epoch IS NOT NULL ORDER BY at DESC LIMIT 1",
            (stream, user),
        )
        return None if row is None else _comment(row)

    async def prune(self, stream: str, keep: int) -> None:
        await self._sql.run(
            "DELETE FROM chat_comments WHERE stream_id = ? AND id <="
            " (SELECT id FROM chat_comments WHERE stream_id = ? ORDER BY id DESC LIMIT 1 OFFSET ?)",
            (stream, stream, keep),
        )

    async def mode(self, stream: str) -> Mode:
        row = await self._sql.one("SELECT enabled, slow_mode_s, guests FROM chat_modes WHERE stream_id = ?", (stream,))
        return Mode() if row is None else Mode(bool(row[0]), row[1], bool(row[2]))

    async def set_mode(self, stream: str, mode: Mode) -> None:
        await self._sql.run(
            "INSERT INTO chat_modes (stream_id, enabled, slow_mode_s, guests) VALUES (?, ?, ?, ?) ON CONFLICT (stream_id) DO UPDATE"
            " SET enabled = excluded.enabled, slow_mode_s = excluded.slow_mode_s, guests = excluded.guests",
            (stream, int(mode.enabled), mode.slow_mode_s, int(mode.guests)),
        )

    async def ban(self, stream: str, ban: Ban) -> None:
        await self._sql.run(
            "INSERT INTO chat_bans (stream_id, user_id, until_ms, reason, banned_by, at) VALUES (?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (stream_id, user_id) DO UPDATE SET until_ms = excluded.until_ms, reason = excluded.reason,"
            " banned_by = excluded.banned_by, at = excluded.at",
            (stream, ban.user, ban.until, ban.reason, ban.by, ban.at),
        )

    async def unban(self, stream: str, user: str) -> bool:
        return await self._sql.run("DELETE FROM chat_bans WHERE stream_id = ? AND user_id = ?", (stream, user)) > 0

    async def banned(self, stream: str, user: str) -> Ban | None:
        row = await self._sql.one(
            "SELECT user_id, until_ms, reason, banned_by, at FROM chat_bans WHERE stream_id = ? AND user_id = ?", (stream, user)
        )
        return None if row is None else Ban(*row)

    async def add_moderator(self, stream: str, user: str, at: int) -> None:
        await self._sql.run(
            "INSERT INTO chat_moderators (stream_id, user_id, at) VALUES (?, ?, ?) ON CONFLICT (stream_id, user_id) DO NOTHING",
            (stream, user, at),
        )

    async def remove_moderator(self, stream: str, user: str) -> bool:
        return await self._sql.run("DELETE FROM chat_moderators WHERE stream_id = ? AND user_id = ?", (stream, user)) > 0

    async def moderates(self, stream: str, user: str) -> bool:
        row = await self._sql.one("SELECT 1 FROM chat_moderators WHERE stream_id = ? AND user_id = ?", (stream, user))
        return row is not None

    async def forget(self, stream: str) -> None:
        def work(transaction: Transaction) -> None:
            for table in ("chat_comments", "chat_modes", "chat_bans", "chat_moderators"):
                transaction.run(f"DELETE FROM {table} WHERE stream_id = ?", (stream,))

        await self._sql.write(work)
