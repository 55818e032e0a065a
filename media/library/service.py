"""Videos and reels, as the surface asks for them: every rule of the domain, none of the wire."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable
from dataclasses import dataclass, replace
from typing import Final

from nova.core.blobs import Blobs
from nova.core.clock import Clock
from nova.core.errors import Forbidden, NotFound, RateLimited
from nova.core.lifecycle import cleanup, finishing
from nova.media.images.ports import Tell
from nova.media.library.model import FOLDER, Kind, State, Video, VideoId, source_key
from nova.media.library.ports import VideoStore, Wanted
from nova.media.streams.access import Caller
from nova.media.streams.model import UnixMs, UserId, Visibility

LARGEST: Final = 1 << 40  # bytes; the upload's own limit is lower


@dataclass(frozen=True, slots=True)
class Draft:
    """What a new video is made of; checked by the surface."""

    title: str
    kind: Kind = Kind.VIDEO
    description: str = ""
    visibility: Visibility = Visibility.PUBLIC
    poster: str = ""


@dataclass(frozen=True, slots=True)
class Changes:
    """None leaves a field as it is."""

    title: str | None = None
    description: str | None = None
    visibility: Visibility | None = None
    poster: str | None = None


class Library:
    """The videos of this node. per_user: records that one user may keep."""

    def __init__(
        self, store: VideoStore, blobs: Blobs, clock: Clock, new_id: Callable[[], str], tell: Tell, *, per_user: int = 100_000
    ) -> None:
        self._store, self._blobs, self._clock, self._new_id, self._tell, self._per_user = store, blobs, clock, new_id, tell, per_user

    async def create(self, owner: UserId, draft: Draft) -> Video:
        """A record without bytes. Raises RateLimited `quota_exceeded`."""
        video = await self._drafted(owner, draft)
        await self._add(video)
        self._tell("VideoCreated", video.id, {"video_id": video.id, "owner": owner, "kind": video.kind})
        return video

    async def take(
        self, owner: UserId, draft: Draft, format: str, size: int, body: AsyncIterable[bytes], digest: str, *, once: str = ""
    ) -> Video:
        """A record with its bytes. After an error or a cancellation nothing is left of it.

        once: an id for it; whoever repeats the call gets the record of the first one.
        Raises as `create`; TooLarge; Unprocessable `digest_mismatch`; Unavailable.
        """
        if once and (known := await self._store.get(VideoId(once))) is not None:
            return known
        video = replace(await self._drafted(owner, draft, once), state=State.UPLOADED, format=format, size_bytes=size, digest=digest)
        kept = False
        try:
            await self._blobs.put(source_key(video.id), body, max_bytes=min(size, LARGEST), sha256=digest)
            await self._add(video)  # counts again: many may have sent their bytes at once
            kept = True
        finally:
            if not kept:
                with cleanup():
                    await self._forget(video.id)
        self._tell("VideoCreated", video.id, {"video_id": video.id, "owner": owner, "kind": video.kind})
        self._tell("VideoUploaded", video.id, {"video_id": video.id, "owner": owner, "kind": video.kind, "size_bytes": size})
        return video

    async def _drafted(self, owner: UserId, draft: Draft, id: str = "") -> Video:
        if await self._store.count(owner) >= self._per_user:
            raise self._full()
        return Video(
            VideoId(id or self._new_id()), owner, draft.kind, draft.title, draft.description, draft.visibility,
            UnixMs(int(self._clock.wall() * 1000)), poster=draft.poster,
        )  # fmt: skip

    async def _add(self, video: Video) -> None:
        if not await self._store.add(video, self._per_user):
            raise self._full()

    def _full(self) -> RateLimited:
        return RateLimited("quota_exceeded", f"A user may keep {self._per_user} videos; delete one first.")

    async def _forget(self, video: VideoId) -> None:
        """Every byte of it."""
        while stats := await self._blobs.list(f"{FOLDER}/{video}/", limit=200):
            for stat in stats:
                await self._blobs.delete(stat.key)

    async def get(self, video: VideoId, caller: Caller, kind: Kind | None = None) -> Video:
        """Raises NotFound: there is none, of that kind, or none that the caller may know of."""
        found = await self._store.get(video)
        own = found is not None and (caller.operator or caller.user == found.owner)
        if found is None or kind not in (None, found.kind) or (found.visibility is Visibility.PRIVATE and not own):
            raise missing(video)
        return found

    async def owned(self, video: VideoId, caller: Caller, kind: Kind | None = None) -> Video:
        """Raises NotFound, Forbidden."""
        found = await self.get(video, caller, kind)
        if not caller.operator and caller.user != found.owner:
            raise Forbidden(detail="Only the owner of this video may do this.")
        return found

    async def find(
        self, caller: Caller, *, limit: int, after: VideoId | None = None, kind: Kind | None = None, owner: UserId | None = None
    ) -> tuple[list[Video], VideoId | None]:
        """A page of what `caller` may find, newest first, and the last id of it when there is more."""
        found = await self._store.find(Wanted(limit + 1, after, kind, owner, caller.user, caller.operator))
        return found[:limit], found[limit - 1].id if len(found) > limit else None

    async def change(self, video: VideoId, caller: Caller, changes: Changes) -> Video:
        """Raises NotFound, Forbidden."""
        found = await self.owned(video, caller)
        given = {name: value for name in Changes.__slots__ if (value := getattr(changes, name)) is not None}
        changed = replace(found, **given)
        await self._store.put(changed)
        return changed

    async def delete(self, video: VideoId, caller: Caller, kind: Kind | None = None) -> None:
        """The record and its bytes. Raises NotFound, Forbidden; Unavailable: not all of it yet, ask again."""
        found = await self.owned(video, caller, kind)
        with finishing():
            await self._forget(found.id)  # first: the record is what a second try finds
            await self._store.delete(found.id)
        self._tell("VideoDeleted", found.id, {"video_id": found.id, "owner": found.owner, "kind": found.kind})


def missing(video: str) -> NotFound:
    return NotFound(detail=f"There is no video {video[:64]!r}.")
