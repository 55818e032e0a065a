"""Streams in SQL: the tables and every statement of this domain."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Final

from nova.core.sql import Migration, Row, Schema, Sql, Transaction, Value
from nova.media.streams.model import (
    Broadcast,
    Changes,
    KeyId,
    Page,
    Status,
    Stream,
    StreamId,
    StreamKey,
    UnixMs,
    UserId,
    Visibility,
)

SCHEMA: Final = Schema(
    "streams",
    (
        Migration(
            "streams, keys, grants, broadcasts",
            (
                "CREATE TABLE streams (id TEXT PRIMARY KEY, owner TEXT NOT NULL, title TEXT NOT NULL,"
                " description TEXT NOT NULL, tags TEXT NOT NULL, visibility TEXT NOT NULL, record BIGINT NOT NULL,"
                " status TEXT NOT NULL, created_at BIGINT NOT NULL, started_at BIGINT, ended_at BIGINT,"
                " search TEXT NOT NULL)",
                "CREATE INDEX streams_by_owner ON streams (owner, id)",
                "CREATE INDEX streams_by_status ON streams (status, id)",
                "CREATE TABLE stream_keys (id TEXT PRIMARY KEY, stream_id TEXT NOT NULL REFERENCES streams (id) ON DELETE CASCADE,"
                " digest BYTEA NOT NULL UNIQUE, hint TEXT NOT NULL, created_at BIGINT NOT NULL, used_at BIGINT)",
                "CREATE INDEX stream_keys_by_stream ON stream_keys (stream_id, id)",
                "CREATE TABLE stream_grants (stream_id TEXT NOT NULL REFERENCES streams (id) ON DELETE CASCADE,"
                " user_id TEXT NOT NULL, created_at BIGINT NOT NULL, PRIMARY KEY (stream_id, user_id))",
                "CREATE INDEX stream_grants_by_user ON stream_grants (user_id, stream_id)",
                "CREATE TABLE stream_broadcasts (id TEXT PRIMARY KEY, stream_id TEXT NOT NULL REFERENCES streams (id) ON DELETE CASCADE,"
                " started_at BIGINT NOT NULL, ended_at BIGINT, reason TEXT NOT NULL, peak_viewers BIGINT NOT NULL,"
                " viewer_ms BIGINT NOT NULL)",
                "CREATE INDEX stream_broadcasts_by_stream ON stream_broadcasts (stream_id, id)",
            ),
        ),
    ),
)

_STREAM: Final = "id, owner, title, description, tags, visibility, record, created_at, status, started_at, ended_at"
_KEY: Final = "id, stream_id, digest, hint, created_at, used_at"
_BROADCAST: Final = "id, stream_id, started_at, ended_at, reason, peak_viewers, viewer_ms"


def _stream(row: Row) -> Stream:
    id, owner, title, description, tags, visibility, record, created_at, status, started_at, ended_at = row
    return Stream(
        id, owner, title, description, tuple(json.loads(tags)), Visibility(visibility), bool(record), created_at,
        Status(status), started_at, ended_at,
    )  # fmt: skip


def _key(row: Row) -> StreamKey:
    id, stream, digest, hint, created_at, used_at = row
    return StreamKey(id, stream, bytes(digest), hint, created_at, used_at)


def _tags(tags: tuple[str, ...]) -> str:
    return json.dumps(tags, ensure_ascii=False, separators=(",", ":"))


def _insert_key(key: StreamKey) -> Callable[[Transaction], int]:
    return lambda transaction: transaction.run(
        f"INSERT INTO stream_keys ({_KEY}) VALUES (?, ?, ?, ?, ?, ?)",
        (key.id, key.stream, key.digest, key.hint, key.created_at, key.used_at),
    )


class SqlStore:
    """See ports.StreamStore."""

    def __init__(self, sql: Sql) -> None:
        self._sql = sql

    async def add(self, stream: Stream, key: StreamKey | None) -> None:
        def work(transaction: Transaction) -> None:
            transaction.run(
                f"INSERT INTO streams ({_STREAM}, search) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    stream.id, stream.owner, stream.title, stream.description, _tags(stream.tags), stream.visibility,
                    int(stream.record), stream.created_at, stream.status, stream.started_at, stream.ended_at, stream.search_text,
                ),
            )  # fmt: skip
            if key is not None:
                _insert_key(key)(transaction)

        await self._sql.write(work)

    async def get(self, stream: StreamId) -> Stream | None:
        row = await self._sql.one(f"SELECT {_STREAM} FROM streams WHERE id = ?", (stream,))
        return None if row is None else _stream(row)

    async def count(self, owner: UserId) -> int:
        row = await self._sql.one("SELECT count(*) FROM streams WHERE owner = ?", (owner,))
        return int(row[0]) if row else 0

    async def find(self, page: Page) -> list[Stream]:
        where, values = ["1 = 1"], list[Value]()
        if not page.everything:
            where.append(
                "(visibility = 'public' OR owner = ? OR (visibility = 'private'"
                " AND id IN (SELECT stream_id FROM stream_grants WHERE user_id = ?)))"
            )
            values += [page.reader or "", page.reader or ""]  # no user has an empty id
        if page.after is not None:
            where.append("id < ?")
            values.append(page.after)
        if page.owner is not None:
            where.append("owner = ?")
            values.append(page.owner)
        if page.status is not None:
            where.append("status = ?")
            values.append(page.status)
        for word in page.words:
            where.append("search LIKE ? ESCAPE '!'")
            values.append("%" + word.replace("!", "!!").replace("%", "!%").replace("_", "!_") + "%")
        statement = f"SELECT {_STREAM} FROM streams WHERE {' AND '.join(where)} ORDER BY id DESC LIMIT ?"
        return [_stream(row) for row in await self._sql.scan(statement, (*values, page.limit))]

    async def change(self, stream: StreamId, changes: Changes) -> Stream | None:
        def work(transaction: Transaction) -> Stream | None:
            row = transaction.one(f"SELECT {_STREAM} FROM streams WHERE id = ?", (stream,))
            if row is None:
                return None
            found = changes.apply(_stream(row))
            transaction.run(
                "UPDATE streams SET title = ?, description = ?, tags = ?, visibility = ?, record = ?, search = ? WHERE id = ?",
                (found.title, found.description, _tags(found.tags), found.visibility, int(found.record), found.search_text, stream),
            )
            return found

        return await self._sql.write(work)

    async def delete(self, stream: StreamId) -> bool:
        def work(transaction: Transaction) -> bool:
            # Children first: it holds whether or not the database enforces foreign keys.
            for table in ("stream_keys", "stream_grants", "stream_broadcasts"):
                transaction.run(f"DELETE FROM {table} WHERE stream_id = ?", (stream,))
            return transaction.run("DELETE FROM streams WHERE id = ?", (stream,)) > 0

        return await self._sql.write(work)

    async def set_status(self, stream: StreamId, status: Status, started_at: UnixMs | None, ended_at: UnixMs | None) -> None:
        await self._sql.run(
            "UPDATE streams SET status = ?, started_at = ?, ended_at = ? WHERE id = ?", (status, started_at, ended_at, stream)
        )

    async def add_key(self, key: StreamKey) -> None:
        await self._sql.write(_insert_key(key))

    async def keys(self, stream: StreamId) -> list[StreamKey]:
        rows = await self._sql.all(f"SELECT {_KEY} FROM stream_keys WHERE stream_id = ? ORDER BY id DESC", (stream,))
        return [_key(row) for row in rows]

    async def all_keys(self) -> list[StreamKey]:
        return [_key(row) for row in await self._sql.scan(f"SELECT {_KEY} FROM stream_keys")]

    async def ids(self) -> list[StreamId]:
        return [StreamId(row[0]) for row in await self._sql.scan("SELECT id FROM streams")]

    async def private(self) -> list[StreamId]:
        rows = await self._sql.scan("SELECT id FROM streams WHERE visibility = 'private'")
        return [StreamId(row[0]) for row in rows]

    async def delete_key(self, stream: StreamId, key: KeyId) -> bool:
        return await self._sql.run("DELETE FROM stream_keys WHERE stream_id = ? AND id = ?", (stream, key)) > 0

    async def use_key(self, key: KeyId, at: UnixMs) -> None:
        await self._sql.run("UPDATE stream_keys SET used_at = ? WHERE id = ?", (at, key))

    async def grant(self, stream: StreamId, user: UserId, at: UnixMs) -> None:
        await self._sql.run(
            "INSERT INTO stream_grants (stream_id, user_id, created_at) VALUES (?, ?, ?) ON CONFLICT (stream_id, user_id) DO NOTHING",
            (stream, user, at),
        )

    async def revoke(self, stream: StreamId, user: UserId) -> bool:
        return await self._sql.run("DELETE FROM stream_grants WHERE stream_id = ? AND user_id = ?", (stream, user)) > 0

    async def grants(self, stream: StreamId) -> list[UserId]:
        rows = await self._sql.all("SELECT user_id FROM stream_grants WHERE stream_id = ? ORDER BY user_id", (stream,))
        return [UserId(row[0]) for row in rows]

    async def granted(self, stream: StreamId, user: UserId) -> bool:
        found = await self._sql.one("SELECT 1 FROM stream_grants WHERE stream_id = ? AND user_id = ?", (stream, user))
        return found is not None

    async def put_broadcast(self, broadcast: Broadcast) -> None:
        def work(transaction: Transaction) -> None:
            # A broadcast may end after its stream was deleted: then there is nothing to keep.
            if transaction.one("SELECT 1 FROM streams WHERE id = ?", (broadcast.stream,)) is None:
                return
            transaction.run(
                f"INSERT INTO stream_broadcasts ({_BROADCAST}) VALUES (?, ?, ?, ?, ?, ?, ?)"
                " ON CONFLICT (id) DO UPDATE SET ended_at = excluded.ended_at, reason = excluded.reason,"
                " peak_viewers = excluded.peak_viewers, viewer_ms = excluded.viewer_ms",
                (
                    broadcast.id, broadcast.stream, broadcast.started_at, broadcast.ended_at, broadcast.reason,
                    broadcast.peak_viewers, broadcast.viewer_ms,
                ),
            )  # fmt: skip

        await self._sql.write(work)

    async def broadcasts(self, stream: StreamId, limit: int) -> list[Broadcast]:
        rows = await self._sql.all(
            f"SELECT {_BROADCAST} FROM stream_broadcasts WHERE stream_id = ? ORDER BY id DESC LIMIT ?", (stream, limit)
        )
        return [Broadcast(*row) for row in rows]

    async def end_stale(self, at: UnixMs) -> int:
        def work(transaction: Transaction) -> int:
            transaction.run("UPDATE stream_broadcasts SET ended_at = ?, reason = 'server_stopped' WHERE ended_at IS NULL", (at,))
            return transaction.run("UPDATE streams SET status = 'ended', ended_at = ? WHERE status IN ('live', 'reconnecting')", (at,))

        return await self._sql.write(work)
