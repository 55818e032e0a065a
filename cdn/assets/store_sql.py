"""Assets and usage in SQL: the tables and every statement of this domain."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Final

from nova.cdn.assets.model import Asset, AssetId, UnixMs, UsageRow
from nova.core.sql import Migration, Row, Schema, Sql, Transaction, Value

SCHEMA: Final = Schema(
    "cdn_assets",
    (
        Migration(
            "assets and usage",
            (
                "CREATE TABLE cdn_assets (id TEXT PRIMARY KEY, owner TEXT NOT NULL, path TEXT NOT NULL UNIQUE, site TEXT NOT NULL,"
                " origin_path TEXT NOT NULL, tags TEXT NOT NULL, ttl BIGINT, version BIGINT NOT NULL, digest TEXT, private BIGINT NOT NULL,"
                " created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL)",
                "CREATE INDEX cdn_assets_by_origin ON cdn_assets (site, origin_path)",
                "CREATE INDEX cdn_assets_by_owner ON cdn_assets (owner, id)",
                "CREATE TABLE cdn_usage (hour BIGINT NOT NULL, site TEXT NOT NULL, asset TEXT NOT NULL, owner TEXT NOT NULL,"
                " requests BIGINT NOT NULL, hits BIGINT NOT NULL, bytes BIGINT NOT NULL, PRIMARY KEY (hour, site, asset))",
                "CREATE INDEX cdn_usage_by_owner ON cdn_usage (owner, hour)",
            ),
        ),
    ),
)

_ASSET: Final = "id, owner, path, site, origin_path, tags, ttl, version, digest, private, created_at, updated_at"
_USAGE: Final = "hour, site, asset, owner, requests, hits, bytes"


def _asset(row: Row) -> Asset:
    id, owner, path, site, origin_path, tags, ttl, version, digest, private, created_at, updated_at = row
    return Asset(
        AssetId(id), owner, path, site, origin_path, tuple(json.loads(tags)), ttl, version, digest, bool(private), UnixMs(created_at),
        UnixMs(updated_at),
    )  # fmt: skip


def _values(asset: Asset) -> tuple[Value, ...]:
    return (
        asset.id, asset.owner, asset.path, asset.site, asset.origin_path, json.dumps(asset.tags, separators=(",", ":")), asset.ttl,
        asset.version, asset.digest, int(asset.private), asset.created_at, asset.updated_at,
    )  # fmt: skip


class SqlAssets:
    """The assets of this store."""

    def __init__(self, sql: Sql) -> None:
        self._sql = sql

    async def add(self, asset: Asset) -> None:
        """Raises Constraint `unique`: the path is taken."""
        marks = ", ".join("?" * 12)
        await self._sql.run(f"INSERT INTO cdn_assets ({_ASSET}) VALUES ({marks})", _values(asset))

    async def get(self, asset: AssetId) -> Asset | None:
        row = await self._sql.one(f"SELECT {_ASSET} FROM cdn_assets WHERE id = ?", (asset,))
        return None if row is None else _asset(row)

    async def at(self, path: str) -> Asset | None:
        row = await self._sql.one(f"SELECT {_ASSET} FROM cdn_assets WHERE path = ?", (path,))
        return None if row is None else _asset(row)

    async def of_origin(self, site: str, origin_path: str) -> Asset | None:
        """The oldest asset that shows this object."""
        statement = f"SELECT {_ASSET} FROM cdn_assets WHERE site = ? AND origin_path = ? ORDER BY id LIMIT 1"
        row = await self._sql.one(statement, (site, origin_path))
        return None if row is None else _asset(row)

    async def find(self, *, limit: int, after: str | None = None, site: str | None = None) -> list[Asset]:
        """Newest first."""
        where, values = ["1 = 1"], list[Value]()
        if after is not None:
            where.append("id < ?")
            values.append(after)
        if site is not None:
            where.append("site = ?")
            values.append(site)
        statement = f"SELECT {_ASSET} FROM cdn_assets WHERE {' AND '.join(where)} ORDER BY id DESC LIMIT ?"
        return [_asset(row) for row in await self._sql.all(statement, (*values, limit))]

    async def change(self, asset: Asset, before: int) -> bool:
        """Write `asset`, if it is still of version `before`. Raises Constraint."""
        names = ", ".join(f"{name} = ?" for name in _ASSET.split(", ")[1:])
        statement = f"UPDATE cdn_assets SET {names} WHERE id = ? AND version = ?"
        return await self._sql.run(statement, (*_values(asset)[1:], asset.id, before)) > 0

    async def delete(self, asset: AssetId) -> bool:
        return await self._sql.run("DELETE FROM cdn_assets WHERE id = ?", (asset,)) > 0

    async def add_usage(self, rows: Sequence[UsageRow]) -> None:
        """Add to what is counted already."""

        def work(transaction: Transaction) -> None:
            transaction.many(
                f"INSERT INTO cdn_usage ({_USAGE}) VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (hour, site, asset) DO UPDATE SET"
                " requests = cdn_usage.requests + excluded.requests, hits = cdn_usage.hits + excluded.hits,"
                " bytes = cdn_usage.bytes + excluded.bytes",
                [(each.window, each.site, each.asset, each.owner, each.requests, each.hits, each.bytes) for each in rows],
            )

        await self._sql.write(work)

    async def usage(
        self, begin: int, end: int, *, after: tuple[int, str, str] | None = None, limit: int = 200, **which: str | None
    ) -> list[UsageRow]:
        """By hour, the latest first. after: hour, site and asset of the last row that is known. which: site, asset, owner."""
        where, values = _wanted(begin, end, which)
        if after is not None:
            where += " AND (hour < ? OR (hour = ? AND (site > ? OR (site = ? AND asset > ?))))"
            hour, site, asset = after
            values += [hour, hour, site, site, asset]
        statement = f"SELECT {_USAGE} FROM cdn_usage WHERE {where} ORDER BY hour DESC, site, asset LIMIT ?"
        return [UsageRow(*row) for row in await self._sql.scan(statement, (*values, limit))]

    async def used(self, begin: int, end: int, **which: str | None) -> tuple[int, int, int]:
        """Requests, hits and bytes of all rows together."""
        where, values = _wanted(begin, end, which)
        sums = ", ".join(f"COALESCE(SUM({name}), 0)" for name in ("requests", "hits", "bytes"))
        ((requests, hits, size),) = await self._sql.scan(f"SELECT {sums} FROM cdn_usage WHERE {where}", tuple(values))
        return int(requests), int(hits), int(size)

    async def sweep_usage(self, before: int) -> None:
        await self._sql.run("DELETE FROM cdn_usage WHERE hour < ?", (before,))


def _wanted(begin: int, end: int, which: Mapping[str, str | None]) -> tuple[str, list[Value]]:
    where, values = ["hour >= ?", "hour < ?"], list[Value]([begin, end])
    for name, value in which.items():
        if value is not None:
            where.append(f"{name} = ?")
            values.append(value)
    return " AND ".join(where), values
