"""A store that remembers what it was told, for tests of jobs."""


import trio

from nova.cdn.errors import OriginError
from nova.cdn.ports import Purge, Usage, Warmed
from nova.core.errors import Unavailable


class FakeStore:
    """`Store` without objects. Targets with `gone` cannot be fetched, `broken` disks cannot purge."""

    def __init__(self) -> None:
        self.purged: list[Purge] = []
        self.warmed: list[bytes] = []
        self.broken = False
        self.usage: list[Usage] = []
        self.gate: trio.Event | None = None

    async def purge(self, *what: Purge) -> int:
        await trio.lowlevel.checkpoint()
        if self.broken:
            raise Unavailable("storage_failed")
        self.purged += what
        return 3 * len(what)

    async def prewarm(self, site: str, target: bytes, *, host: bytes | None = None) -> Warmed:
        if self.gate is not None:
            await self.gate.wait()
        if b"gone" in target:
            raise OriginError("origin_unreachable")
        self.warmed.append(target)
        return Warmed(200, 10, b"private" not in target)

    def drain_usage(self) -> list[Usage]:
        found, self.usage = self.usage, []
        return found

    def stats(self) -> dict[str, dict[str, int]]:
        return {"": {"hits": 3, "misses": 1}}
