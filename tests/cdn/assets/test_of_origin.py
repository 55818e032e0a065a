"""Whose object a fetch is for: asked before every fetch, so a site without assets is remembered as one."""

from pathlib import Path
from typing import Any, cast

from nova.cdn.assets.service import Assets, Draft
from nova.cdn.assets.store_sql import SCHEMA, SqlAssets
from nova.cdn.invalidation.service import Invalidations
from nova.core.clock import SystemClock
from nova.core.ids import Ids
from nova.core.offload import Offload
from nova.core.sql import open_sqlite
from tests.cdn.invalidation.fakes import FakeStore

CLOCK = SystemClock()


class Counted(SqlAssets):
    looks = 0

    async def of_origin(self, site: str, origin_path: str) -> Any:
        self.looks += 1
        return await super().of_origin(site, origin_path)


async def test_a_site_without_assets_is_looked_up_once_and_again_after_the_first_asset(tmp_path: Path) -> None:
    async with open_sqlite(tmp_path / "a.db", [SCHEMA], Offload(), now="2026-01-01T00:00:00Z") as sql:
        store = Counted(sql)
        invalidations = cast("Invalidations", None)  # nothing is changed or deleted here
        assets = Assets(store, FakeStore(), invalidations, CLOCK, sites=lambda: ["one", "two"], new_id=Ids(CLOCK).new)
        for target in (b"/a", b"/b", b"/c"):
            assert await assets.of_origin("one", target) is None
        assert store.looks == 1
        made = await assets.register("ada", Draft("a", "one"))
        assert await assets.of_origin("one", b"/a") == made
        assert await assets.of_origin("one", b"/b") is None
        assert await assets.of_origin("one", b"/a") == made  # a site with assets is asked about each of its objects
        assert await assets.of_origin("two", b"/a") is None
        before = store.looks
        assert await assets.of_origin("two", b"/b") is None
        assert store.looks == before
