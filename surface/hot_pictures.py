"""Results of pictures in the memory of the CDN: found by the I/O threads, purged by tags, gone when the room is needed."""

from __future__ import annotations

from collections.abc import Sequence
from email.utils import formatdate
from typing import Final

from nova.cdn.cache import entry
from nova.cdn.cache.freshness import Verdict
from nova.cdn.cache.keeper import Keeper
from nova.core.clock import Clock
from nova.ext.buffer import Buffer
from nova.ext.kept import PICTURES, variant_key

MOST: Final = 16  # answers of one address that varies; browsers send fewer kinds of Accept
SHARE: Final = 16  # the part of the memory that one result may take
TAG: Final = "image:"  # and the picture's id; what `/v1/cdn/invalidations` purges by


class HotPictures:
    """media.images.ports.Hot over the keeper, under a site's number of their own."""

    def __init__(self, keeper: Keeper, clock: Clock) -> None:
        self._keeper, self._clock = keeper, clock

    def put(
        self,
        path: bytes,
        fields: Sequence[tuple[str, str]],
        body: bytes,
        *,
        vary: Sequence[bytes],
        sent: Sequence[tuple[bytes, bytes]],
        image: str,
        until: float,
    ) -> None:
        if len(body) * SHARE > self._keeper.capacity:
            return
        now, key = self._clock.wall(), path
        if vary:
            found = variant_key(path, b"".join(b"%s\n" % name for name in vary), list(sent))
            if found is None:
                return
            key = found
            self._keeper.varies(PICTURES, path, vary, most=MOST, variant=key)
        lines = [(name.lower().encode(), value.encode()) for name, value in fields]
        lines.append((b"date", formatdate(int(now), usegmt=True).encode()))
        made = entry.assemble(
            200, b"", lines, Verdict(True, born=now, fresh_until=until, vary=tuple(vary)), received_at=now, total=len(body),
            tags=(f"{TAG}{image}".encode(),),
        )  # fmt: skip
        self._keeper.keep(PICTURES, key, made, [Buffer(body)])

    def find(self, path: bytes, sent: Sequence[tuple[bytes, bytes]]) -> bytes | None:
        _, found = self._keeper.find(PICTURES, path, list(sent), hit=True)
        if found is None or found.fresh_until <= self._clock.wall():
            return None
        return b"".join(map(bytes, found.body()))

    def forget(self, image: str) -> None:
        names = self._keeper.tagged(f"{TAG}{image}".encode(), PICTURES)
        self._keeper.purge_names(names, soft=False, now=self._clock.wall())
