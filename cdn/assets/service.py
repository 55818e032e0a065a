"""Assets: registered, changed and deleted; and what was used of them."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Any, Final

import trio

from nova.cdn.assets import model
from nova.cdn.assets.model import Asset, AssetId, UnixMs, UsageRow
from nova.cdn.assets.store_sql import SqlAssets
from nova.cdn.invalidation.service import Invalidations
from nova.cdn.ports import Purge, Store
from nova.core.clock import Clock
from nova.core.errors import BadRequest, Conflict, FieldError, Forbidden, NotFound, Unavailable
from nova.core.log import Log
from nova.core.sql import Constraint

HOUR: Final = 3600
COUNT_EVERY: Final = 10.0  # seconds between two looks at what was used
KEEP_USAGE: Final = 90 * 86400  # seconds
KNOWN: Final = 4096  # assets by path that need no look into the store

_log = Log("nova.cdn.assets")


@dataclass(frozen=True, slots=True)
class Draft:
    """What a caller says of an asset. origin_path None: its path."""

    path: str
    site: str | None
    origin_path: str | None = None
    tags: tuple[str, ...] = ()
    ttl: int | None = None
    digest: str | None = None
    private: bool = False


class Assets:
    """sites: the names of those that are served now. A change is followed by a purge on every edge."""

    def __init__(
        self,
        store: SqlAssets,
        cache: Store,
        invalidations: Invalidations,
        clock: Clock,
        *,
        sites: Callable[[], Collection[str]],
        new_id: Callable[[], str],
    ) -> None:
        self._store, self._cache, self._invalidations, self._clock = store, cache, invalidations, clock
        self._sites, self._new_id = sites, new_id
        self._known: OrderedDict[str, Asset | None] = OrderedDict()
        self._without: set[str] = set()  # sites that have no assets
        self._changes = 0

    async def register(self, owner: str, draft: Draft) -> Asset:
        """Raises BadRequest, Conflict: the path is taken."""
        now = self._now()
        made = self._checked(
            Asset(
                AssetId(self._new_id()),
                owner,
                draft.path,
                self._site(draft.site),
                draft.origin_path or f"/{draft.path}",
                draft.tags,
                draft.ttl,
                1,
                draft.digest,
                draft.private,
                now,
                now,
            )
        )
        try:
            await self._store.add(made)
        except Constraint:
            raise Conflict(detail="Another asset has this path.") from None
        self._forget(made.path)
        return made

    async def get(self, asset: AssetId) -> Asset:
        """Raises NotFound."""
        found = await self._store.get(asset)
        if found is None:
            raise NotFound(detail=f"There is no asset {asset[:40]}.")
        return found

    async def find(self, *, limit: int, after: str | None = None, site: str | None = None) -> list[Asset]:
        return await self._store.find(limit=limit, after=after, site=site)

    async def owned(self, asset: AssetId, user: str, *, admin: bool = False) -> Asset:
        """The asset for a write. Raises NotFound, Forbidden."""
        found = await self.get(asset)
        if found.owner != user and not admin:
            raise Forbidden(detail="This asset is somebody else's.")
        return found

    async def change(self, before: Asset, changes: dict[str, Any]) -> Asset:
        """The next version; the old one is forgotten everywhere. Raises BadRequest, Conflict."""
        if "site" in changes:
            changes = changes | {"site": self._site(changes["site"])}
        changed = self._checked(replace(before, **changes, version=before.version + 1, updated_at=self._now()))
        try:
            if not await self._store.change(changed, before.version):
                raise Conflict(detail="The asset was changed meanwhile: read it again.")
        except Constraint:
            raise Conflict(detail="Another asset has this path.") from None
        self._forget(before.path)
        self._forget(changed.path)
        await self._invalidations.purge(_forgotten(before), before.owner)
        return changed

    async def delete(self, asset: Asset) -> None:
        await self._store.delete(asset.id)
        self._forget(asset.path)
        await self._invalidations.purge(_forgotten(asset), asset.owner)

    async def at(self, path: str) -> Asset | None:
        """The asset under `/cdn/{path}`. Asked for every request: the usual ones come from memory."""
        if path in self._known:
            self._known.move_to_end(path)
            return self._known[path]
        if not model.is_path(path):
            return None
        changes = self._changes
        found = await self._store.at(path)
        if changes == self._changes:
            self._known[path] = found
            if len(self._known) > KNOWN:
                self._known.popitem(last=False)
        return found

    async def of_origin(self, site: str, target: bytes) -> Asset | None:
        """The asset whose object this is. Asked for every fetch: a site without any needs no look into the store."""
        if site in self._without:
            return None
        changes = self._changes
        found = await self._store.of_origin(site, target.decode("latin-1"))
        if found is None and not await self._store.find(limit=1, site=site) and changes == self._changes:
            self._without.add(site)
        return found

    async def usage(
        self, begin: int, end: int, *, after: tuple[int, str, str] | None = None, limit: int = 200, **which: str | None
    ) -> tuple[list[UsageRow], tuple[int, int, int]]:
        """By hour, and (requests, hits, bytes) of all of it; as SqlAssets has them. What was used in the last seconds is counted before."""
        await self.count()
        return await self._store.usage(begin, end, after=after, limit=limit, **which), await self._store.used(begin, end, **which)

    async def count(self) -> None:
        """Take what was used since the last time into the store."""
        found = self._cache.drain_usage()
        window = int(self._clock.wall()) // HOUR * HOUR
        rows: dict[tuple[str, str], UsageRow] = {}
        for each in found:
            asset = await self.of_origin(each.site, each.target)
            key = each.site, "" if asset is None else asset.id
            row = rows.get(key) or UsageRow(window, key[0], key[1], "" if asset is None else asset.owner, 0, 0, 0)
            rows[key] = replace(row, requests=row.requests + each.requests, hits=row.hits + each.hits, bytes=row.bytes + each.bytes)
        if rows:
            await self._store.add_usage(list(rows.values()))

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Count, until cancelled."""
        task_status.started()
        while True:
            await trio.sleep(COUNT_EVERY)
            try:
                await self.count()
                await self._store.sweep_usage(int(self._clock.wall()) - KEEP_USAGE)
            except Unavailable as error:
                _log.warning("usage_not_counted", code=error.code)

    def _site(self, name: str | None) -> str:
        sites = self._sites()
        if name is None and len(sites) == 1:
            return next(iter(sites))
        if name is None or name not in sites:
            raise _wrong("/site", "there is no such site; `[[cdn.sites]]` names them")
        return name

    def _checked(self, asset: Asset) -> Asset:
        if not model.is_path(asset.path):
            raise _wrong("/path", "a path without leading slash, dot segments and encoded characters is wanted; not below s/")
        if len(asset.origin_path) > 2 * model.PATH_MAX or not re.fullmatch(model.ORIGIN_PATH, asset.origin_path):
            raise _wrong("/origin_path", "a path that begins with a slash is wanted")
        for at, tag in enumerate(asset.tags):
            if not re.fullmatch(model.TAG, tag):
                raise _wrong(f"/tags/{at}", "a tag has 1 to 128 characters from ! to ~, without commas")
        if asset.digest is not None and not re.fullmatch(model.DIGEST, asset.digest):
            raise _wrong("/digest", "sha-256: and 64 hexadecimal digits are wanted")
        return asset

    def _forget(self, path: str) -> None:
        self._changes += 1
        self._known.pop(path, None)
        self._without.clear()

    def _now(self) -> UnixMs:
        return UnixMs(int(self._clock.wall() * 1000))


def _forgotten(asset: Asset) -> tuple[Purge, ...]:
    return Purge("key", asset.origin_path.encode(), asset.site), Purge("tag", asset.tag.encode(), asset.site)


def _wrong(pointer: str, detail: str) -> BadRequest:
    return BadRequest(detail="The asset cannot be as it is described.", fields=(FieldError(pointer, "invalid_field", detail),))
