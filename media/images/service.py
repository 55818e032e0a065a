"""Pictures, as the surface asks for them: every rule of the domain, none of the wire."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

import trio

from nova.core.blobs import Blobs
from nova.core.clock import Clock
from nova.core.errors import BadRequest, Forbidden, NotFound, RateLimited
from nova.core.guard import guard
from nova.core.lifecycle import cleanup, finishing
from nova.core.log import Log
from nova.media.images import presets
from nova.media.images.delivery import Delivery
from nova.media.images.job import Made, Output
from nova.media.images.model import Image, ImageId, source_key
from nova.media.images.options import ANIMATED, FORMATS, MAX_TEXT, parse
from nova.media.images.pool import Pool
from nova.media.images.ports import ImageStore, Tell
from nova.media.images.presets import PRESETS, TABLE
from nova.media.streams.access import Caller
from nova.media.streams.model import UnixMs, UserId

LONGEST: Final = 10 * 365 * 86_400  # seconds that a signed URL may be good for

_log = Log("nova.images")


@dataclass(frozen=True, slots=True)
class Variant:
    """A result that was made with the upload."""

    preset: str
    made: Made


class Images:
    """The pictures of this node. tell: hears what becomes of them. per_user: pictures that one user may keep."""

    def __init__(
        self,
        store: ImageStore,
        blobs: Blobs,
        delivery: Delivery,
        pool: Pool,
        clock: Clock,
        new_id: Callable[[], str],
        tell: Tell,
        *,
        per_user: int = 100_000,
    ) -> None:
        self._store, self._blobs, self.delivery, self._pool, self._clock, self._new_id, self._tell = (
            store, blobs, delivery, pool, clock, new_id, tell,
        )  # fmt: skip
        self._per_user = per_user

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Owns the worker processes and what is being made, until cancelled."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self._pool.run)
            await nursery.start(self.delivery.run)
            task_status.started()

    async def warm(self) -> None:
        """Have a worker process ready."""
        await self._pool.warm()

    async def create(
        self, owner: UserId, body: AsyncIterable[bytes], *, preset: str = "", digest: str | None = None, once: str = ""
    ) -> tuple[Image, list[Variant]]:
        """A picture from its bytes, with the results of a preset (empty: the usual ones) from one decode.

        digest: SHA-256 that the bytes must have. once: an id for it, whoever repeats the call gets the picture of the first one. After an
        error or a cancellation nothing is left of it.
        Raises RateLimited `quota_exceeded`; BadRequest `bad_options`; TooLarge; UnsupportedType `unsupported_image`; Unprocessable
        `bad_image`, `image_too_costly`, `digest_mismatch`; Unavailable.
        """
        wanted = presets.chosen(preset)
        if once and (known := await self._store.get(ImageId(once))) is not None:
            return known, []
        if await self._store.count(owner) >= self._per_user:
            raise self._full()
        id = ImageId(once or self._new_id())
        kept = False
        try:
            stored = await self._blobs.put(source_key(id), body, max_bytes=self.delivery.rules.limits.file_bytes, sha256=digest)
            image, variants = await self._made(id, owner, stored.sha256, stored.stat.size_bytes, wanted)
            with finishing():
                kept = await self._store.add(image, self._per_user)  # counts again: many may have sent theirs at once
            if not kept:
                raise self._full()
        finally:
            if not kept:
                with cleanup():
                    await self.delivery.forget(id)
        self._tell("ImageCreated", image.id, {"image_id": image.id, "owner": owner, "width": image.width, "height": image.height})
        # There is a picture now: a caller that leaves does not make it one that was never answered, and time makes it no error.
        with cleanup():
            for variant, output in variants:
                await self.delivery.keep(image, output, variant.made)
        return image, [variant for variant, _ in variants]

    def _full(self) -> RateLimited:
        return RateLimited("quota_exceeded", f"A user may keep {self._per_user} pictures; delete one first.")

    async def _made(
        self, id: ImageId, owner: UserId, digest: str, size_bytes: int, wanted: Sequence[str]
    ) -> tuple[Image, list[tuple[Variant, Output]]]:
        # Formats are known once the picture is: so the first pass makes what every client shows, and the best that clients ask for.
        plan = [(name, format) for name in wanted for format in self._formats()]
        outputs = [Output(PRESETS[name], format) for name, format in plan]
        facts, made = await self.delivery.inspect(id, outputs)
        image = Image(
            id, owner, facts.format, facts.width, facts.height, facts.frames, facts.alpha, size_bytes, digest, facts.color, facts.thumbhash,
            UnixMs(int(self._clock.wall() * 1000)),
        )  # fmt: skip
        pairs = zip(plan, outputs, made, strict=True)
        return image, [
            (Variant(name, each), output) for (name, format), output, each in pairs if not (image.frames > 1 and format not in ANIMATED)
        ]

    def _formats(self) -> list[str]:
        offered = [each for each in self.delivery.rules.offered if each in FORMATS]
        return [*offered[:1], "jpg"]

    async def get(self, image: ImageId) -> Image:
        """Raises NotFound."""
        found = await self._store.get(image)
        if found is None:
            raise missing(image)
        return found

    async def find(self, caller: Caller, *, limit: int, after: ImageId | None = None) -> tuple[list[Image], ImageId | None]:
        """A page of the caller's own pictures, newest first, and the last id of it when there is more."""
        found = await self._store.find(None if caller.operator else caller.user, after, limit + 1)
        return found[:limit], found[limit - 1].id if len(found) > limit else None

    async def owned(self, image: ImageId, caller: Caller) -> Image:
        """Raises NotFound, Forbidden."""
        found = await self.get(image)
        if not caller.operator and caller.user != found.owner:
            raise Forbidden(detail="Only the owner of this picture may do this.")
        return found

    async def delete(self, image: ImageId, caller: Caller) -> None:
        """The picture and everything that was made of it. Raises NotFound, Forbidden; Unavailable: not all of it yet, ask again."""
        found = await self.owned(image, caller)
        with finishing():
            await self.delivery.forget(found.id)  # first: the record is what a second try finds
            await self._store.delete(found.id)
        self._tell("ImageDeleted", found.id, {"image_id": found.id, "owner": found.owner})
        with cleanup():
            await guard(_log, self.delivery.forget, found.id)  # what was being made of it meanwhile

    async def signed(self, image: ImageId, caller: Caller, options: str, ext: str = "", expires_in: float | None = None) -> str:
        """A signed path for these options. Raises NotFound, Forbidden, BadRequest `bad_options`."""
        found = await self.owned(image, caller)
        if not options:
            options = "-"
        parsed, _ = parse(options, PRESETS)
        if expires_in is not None:
            if parsed.expires:
                raise BadRequest("bad_options", "either `exp` among the options, or expires_in")
            if len(options) > MAX_TEXT - 20:
                raise BadRequest("bad_options", "the options are too long")
            stamp = f"exp:{int(self._clock.wall() + min(expires_in, LONGEST))}"
            options = stamp if options == "-" else f"{options}/{stamp}"
        return self.delivery.path(found.id, options, ext)

    def urls(self, image: Image) -> dict[str, str]:
        """A signed path for each preset."""
        return {name: self.delivery.path(image.id, f"preset:{name}") for name in TABLE}


def missing(image: str) -> NotFound:
    return NotFound(detail=f"There is no picture {image[:64]!r}.")
