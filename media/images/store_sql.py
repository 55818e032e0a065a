"""Pictures in SQL: the table and every statement of this domain."""

from __future__ import annotations

from typing import Final

from nova.core.sql import Migration, Row, Schema, Sql, Transaction, Value
from nova.media.images.model import Image, ImageId
from nova.media.streams.model import UserId

SCHEMA: Final = Schema(
    "images",
    (
        Migration(
            "images",
            (
                "CREATE TABLE images (id TEXT PRIMARY KEY, owner TEXT NOT NULL, format TEXT NOT NULL, width BIGINT NOT NULL,"
                " height BIGINT NOT NULL, frames BIGINT NOT NULL, alpha BIGINT NOT NULL, size_bytes BIGINT NOT NULL, digest TEXT NOT NULL,"
                " color TEXT NOT NULL, thumbhash BYTEA NOT NULL, created_at BIGINT NOT NULL)",
                "CREATE INDEX images_by_owner ON images (owner, id)",
            ),
        ),
    ),
)
_COUNT: Final = "SELECT count(*) FROM images WHERE owner = ?"
_IMAGE: Final = "id, owner, format, width, height, frames, alpha, size_bytes, digest, color, thumbhash, created_at"


def _image(row: Row) -> Image:
    id, owner, format, width, height, frames, alpha, size_bytes, digest, color, thumbhash, created_at = row
    return Image(id, owner, format, width, height, frames, bool(alpha), size_bytes, digest, color, bytes(thumbhash), created_at)


class SqlImages:
    """See ports.ImageStore."""

    def __init__(self, sql: Sql) -> None:
        self._sql = sql

    async def add(self, image: Image, per_user: int) -> bool:
        values = (
            image.id, image.owner, image.format, image.width, image.height, image.frames, int(image.alpha), image.size_bytes,
            image.digest, image.color, image.thumbhash, image.created_at,
        )  # fmt: skip

        def put(transaction: Transaction) -> bool:
            (kept,) = transaction.one(_COUNT, (image.owner,)) or (0,)
            if kept >= per_user:
                return False
            transaction.run(f"INSERT INTO images ({_IMAGE}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", values)
            return True

        return await self._sql.write(put)

    async def get(self, image: ImageId) -> Image | None:
        row = await self._sql.one(f"SELECT {_IMAGE} FROM images WHERE id = ?", (image,))
        return None if row is None else _image(row)

    async def count(self, owner: UserId) -> int:
        row = await self._sql.one(_COUNT, (owner,))
        return int(row[0]) if row else 0

    async def find(self, owner: UserId | None, after: ImageId | None, limit: int) -> list[Image]:
        where, values = ["1 = 1"], list[Value]()
        if owner is not None:
            where.append("owner = ?")
            values.append(owner)
        if after is not None:
            where.append("id < ?")
            values.append(after)
        statement = f"SELECT {_IMAGE} FROM images WHERE {' AND '.join(where)} ORDER BY id DESC LIMIT ?"
        return [_image(row) for row in await self._sql.all(statement, (*values, limit))]

    async def delete(self, image: ImageId) -> bool:
        return await self._sql.run("DELETE FROM images WHERE id = ?", (image,)) > 0
