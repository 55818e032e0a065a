"""Videos in SQL: the table and every statement of this domain."""

from __future__ import annotations

from typing import Final

from nova.core.sql import Migration, Row, Schema, Sql, Transaction, Value
from nova.media.library.model import Kind, State, Video, VideoId
from nova.media.library.ports import Wanted
from nova.media.streams.model import UserId, Visibility

SCHEMA: Final = Schema(
    "library",
    (
        Migration(
            "videos",
            (
                "CREATE TABLE videos (id TEXT PRIMARY KEY, owner TEXT NOT NULL, kind TEXT NOT NULL, title TEXT NOT NULL,"
                " description TEXT NOT NULL, visibility TEXT NOT NULL, created_at BIGINT NOT NULL, state TEXT NOT NULL,"
                " format TEXT NOT NULL,"
                " size_bytes BIGINT NOT NULL, digest TEXT NOT NULL, poster TEXT NOT NULL)",
                "CREATE INDEX videos_by_owner ON videos (owner, id)",
                "CREATE INDEX videos_by_kind ON videos (kind, id)",
            ),
        ),
    ),
)
_VIDEO: Final = "id, owner, kind, title, description, visibility, created_at, state, format, size_bytes, digest, poster"

_PUT: Final = (
    f"INSERT INTO videos ({_VIDEO}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET"
    " title = excluded.title, description = excluded.description, visibility = excluded.visibility, state = excluded.state,"
    " format = excluded.format, size_bytes = excluded.size_bytes, digest = excluded.digest, poster = excluded.poster"
)
_COUNT: Final = "SELECT count(*) FROM videos WHERE owner = ?"


def _values(video: Video) -> tuple[Value, ...]:
    return (
        video.id, video.owner, video.kind, video.title, video.description, video.visibility, video.created_at, video.state,
        video.format, video.size_bytes, video.digest, video.poster,
    )  # fmt: skip


def _video(row: Row) -> Video:
    id, owner, kind, title, description, visibility, created_at, state, format, size_bytes, digest, poster = row
    return Video(
        id, owner, Kind(kind), title, description, Visibility(visibility), created_at, State(state), format, size_bytes, digest, poster
    )


class SqlVideos:
    """See ports.VideoStore."""

    def __init__(self, sql: Sql) -> None:
        self._sql = sql

    async def put(self, video: Video) -> None:
        await self._sql.run(_PUT, _values(video))

    async def add(self, video: Video, per_user: int) -> bool:
        def put(transaction: Transaction) -> bool:
            (kept,) = transaction.one(_COUNT, (video.owner,)) or (0,)
            if kept >= per_user:
                return False
            transaction.run(_PUT, _values(video))
            return True

        return await self._sql.write(put)

    async def get(self, video: VideoId) -> Video | None:
        row = await self._sql.one(f"SELECT {_VIDEO} FROM videos WHERE id = ?", (video,))
        return None if row is None else _video(row)

    async def find(self, wanted: Wanted) -> list[Video]:
        where, values = ["1 = 1"], list[Value]()
        if not wanted.everything:
            where.append("(visibility = 'public' OR owner = ?)")
            values.append(wanted.reader or "")  # no user has an empty id
        for column, value in (("kind", wanted.kind), ("owner", wanted.owner)):
            if value is not None:
                where.append(f"{column} = ?")
                values.append(value)
        if wanted.after is not None:
            where.append("id < ?")
            values.append(wanted.after)
        statement = f"SELECT {_VIDEO} FROM videos WHERE {' AND '.join(where)} ORDER BY id DESC LIMIT ?"
        return [_video(row) for row in await self._sql.scan(statement, (*values, wanted.limit))]

    async def count(self, owner: UserId) -> int:
        row = await self._sql.one(_COUNT, (owner,))
        return int(row[0]) if row else 0

    async def delete(self, video: VideoId) -> bool:
        return await self._sql.run("DELETE FROM videos WHERE id = ?", (video,)) > 0
