"""Uploads in SQL: the table and every statement of this domain."""

from __future__ import annotations

from typing import Final

from nova.core.sql import Migration, Row, Schema, Sql, Transaction
from nova.media.streams.model import UnixMs, UserId
from nova.media.uploads.model import Addresses, Status, Upload, UploadId
from nova.media.uploads.tus import parse_metadata, write_metadata

SCHEMA: Final = Schema(
    "uploads",
    (
        Migration(
            "uploads",
            (
                "CREATE TABLE uploads (id TEXT PRIMARY KEY, owner TEXT NOT NULL, size BIGINT NOT NULL, metadata TEXT NOT NULL,"
                " created_at BIGINT NOT NULL, expires_at BIGINT NOT NULL, stored BIGINT NOT NULL, status TEXT NOT NULL,"
                " result_kind TEXT NOT NULL, result_id TEXT NOT NULL, error_code TEXT NOT NULL, error_detail TEXT NOT NULL)",
                "CREATE INDEX uploads_by_owner ON uploads (owner, status)",
                "CREATE INDEX uploads_by_status ON uploads (status, id)",
                "CREATE INDEX uploads_by_expiry ON uploads (expires_at)",
            ),
        ),
        # Earlier versions stored the last byte and the status one after the other, and could die between.
        Migration("whole_uploads", ("UPDATE uploads SET status = 'processing' WHERE status = 'uploading' AND stored = size",)),
        Migration("direct", ("ALTER TABLE uploads ADD COLUMN direct TEXT NOT NULL DEFAULT ''",)),
        Migration(
            "addresses",
            (
                "CREATE TABLE upload_addresses (upload TEXT PRIMARY KEY, owner TEXT NOT NULL, size BIGINT NOT NULL, direct TEXT NOT NULL,"
                " until BIGINT NOT NULL)",
                "CREATE INDEX upload_addresses_by_owner ON upload_addresses (owner)",
                "CREATE INDEX upload_addresses_by_end ON upload_addresses (until)",
            ),
        ),
    ),
)
_UPLOAD: Final = (
    "id, owner, size, metadata, created_at, expires_at, stored, status, result_kind, result_id, error_code, error_detail, direct"
)

_UNFINISHED: Final = "FROM uploads WHERE owner = ? AND status IN ('uploading', 'processing')"
_LOAD: Final = (
    f"SELECT (SELECT count(*) {_UNFINISHED}) + (SELECT count(*) FROM upload_addresses WHERE owner = ? AND upload NOT IN"
    f" (SELECT id FROM uploads WHERE id = upload)), (SELECT coalesce(sum(size), 0) FROM (SELECT id, size {_UNFINISHED} UNION"
    " SELECT upload, size FROM upload_addresses WHERE owner = ?) AS every_one)"
)


def _upload(row: Row) -> Upload:
    id, owner, size, metadata, created_at, expires_at, stored, status, kind, result, code, detail, direct = row
    return Upload(
        id, owner, size, parse_metadata(metadata), created_at, expires_at, stored, Status(status), kind, result, code, detail, direct
    )


class SqlUploads:
    """See ports.UploadStore."""

    def __init__(self, sql: Sql) -> None:
        self._sql = sql

    async def add(self, upload: Upload, room: tuple[int, int] | None = None, addresses: Addresses | None = None) -> bool:
        def put(transaction: Transaction) -> bool:
            if room is not None:
                count, total = transaction.one(_LOAD, (upload.owner,) * 4) or (0, 0)
                if count >= room[0] or total + upload.size > room[1]:
                    return False
            transaction.run(
                f"INSERT INTO uploads ({_UPLOAD}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    upload.id, upload.owner, upload.size, write_metadata(upload.metadata), upload.created_at, upload.expires_at,
                    upload.offset, upload.status, upload.result_kind, upload.result_id, upload.error_code, upload.error_detail,
                    upload.direct,
                ),
            )  # fmt: skip
            if addresses is not None:
                transaction.run(
                    "INSERT INTO upload_addresses (upload, owner, size, direct, until) VALUES (?, ?, ?, ?, ?)",
                    (addresses.upload, addresses.owner, addresses.size, addresses.direct, addresses.until),
                )
            return True

        return await self._sql.write(put)

    async def get(self, upload: UploadId) -> Upload | None:
        row = await self._sql.one(f"SELECT {_UPLOAD} FROM uploads WHERE id = ?", (upload,))
        return None if row is None else _upload(row)

    async def load(self, owner: UserId) -> tuple[int, int]:
        row = await self._sql.one(_LOAD, (owner,) * 4)
        return (0, 0) if row is None else (int(row[0]), int(row[1]))

    async def advance(self, upload: UploadId, offset: int, expires_at: UnixMs) -> None:
        await self._sql.run(
            "UPDATE uploads SET stored = ?, expires_at = ?,"
            " status = CASE WHEN status = 'uploading' AND size = ? THEN 'processing' ELSE status END WHERE id = ?",
            (offset, expires_at, offset, upload),
        )

    async def settle(
        self, upload: UploadId, status: Status, *, result: tuple[str, str] = ("", ""), error: tuple[str, str] = ("", "")
    ) -> None:
        await self._sql.run(
            "UPDATE uploads SET status = ?, result_kind = ?, result_id = ?, error_code = ?, error_detail = ? WHERE id = ?",
            (status, *result, *error, upload),
        )

    async def with_status(self, status: Status) -> list[Upload]:
        rows = await self._sql.scan(f"SELECT {_UPLOAD} FROM uploads WHERE status = ? ORDER BY id", (status,))
        return [_upload(row) for row in rows]

    async def expired(self, now: UnixMs, limit: int, after: tuple[UnixMs, UploadId] | None = None) -> list[Upload]:
        rows = await self._sql.all(
            f"SELECT {_UPLOAD} FROM uploads WHERE expires_at <= ? AND (expires_at, id) > (?, ?) AND status <> 'processing'"
            " ORDER BY expires_at, id LIMIT ?",
            (now, *(after or (-1, "")), limit),
        )
        return [_upload(row) for row in rows]

    async def delete(self, upload: UploadId) -> bool:
        return await self._sql.run("DELETE FROM uploads WHERE id = ?", (upload,)) > 0

    async def addresses_over(self, now: UnixMs, limit: int, after: tuple[UnixMs, UploadId] | None = None) -> list[Addresses]:
        rows = await self._sql.all(
            "SELECT upload, owner, size, direct, until FROM upload_addresses WHERE until <= ? AND (until, upload) > (?, ?)"
            " ORDER BY until, upload LIMIT ?",
            (now, *(after or (-1, "")), limit),
        )
        return [Addresses(*row) for row in rows]

    async def forget_addresses(self, upload: UploadId) -> None:
        await self._sql.run("DELETE FROM upload_addresses WHERE upload = ?", (upload,))
