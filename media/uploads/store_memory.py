"""The store's twin in memory."""

from __future__ import annotations

from dataclasses import replace

from nova.media.streams.model import UnixMs, UserId
from nova.media.uploads.model import Addresses, Status, Upload, UploadId


class MemoryUploads:
    """See ports.UploadStore."""

    def __init__(self) -> None:
        self._uploads: dict[UploadId, Upload] = {}
        self._addresses: dict[UploadId, Addresses] = {}

    async def add(self, upload: Upload, room: tuple[int, int] | None = None, addresses: Addresses | None = None) -> bool:
        if room is not None:
            count, total = await self.load(upload.owner)
            if count >= room[0] or total + upload.size > room[1]:
                return False
        self._uploads[upload.id] = upload
        if addresses is not None:
            self._addresses[upload.id] = addresses
        return True

    async def get(self, upload: UploadId) -> Upload | None:
        return self._uploads.get(upload)

    async def load(self, owner: UserId) -> tuple[int, int]:
        found = [each for each in self._uploads.values() if each.owner == owner and each.status in (Status.UPLOADING, Status.PROCESSING)]
        kept = {each.upload: each.size for each in self._addresses.values() if each.owner == owner}
        sizes = kept | {each.id: each.size for each in found}
        return len(found) + sum(each not in self._uploads for each in kept), sum(sizes.values())

    async def advance(self, upload: UploadId, offset: int, expires_at: UnixMs) -> None:
        found = self._uploads.get(upload)
        if found is not None:
            whole = found.status is Status.UPLOADING and offset == found.size
            status = Status.PROCESSING if whole else found.status
            self._uploads[upload] = replace(found, offset=offset, expires_at=expires_at, status=status)

    async def settle(
        self, upload: UploadId, status: Status, *, result: tuple[str, str] = ("", ""), error: tuple[str, str] = ("", "")
    ) -> None:
        if upload in self._uploads:
            self._uploads[upload] = replace(
                self._uploads[upload], status=status, result_kind=result[0], result_id=result[1], error_code=error[0], error_detail=error[1]
            )

    async def with_status(self, status: Status) -> list[Upload]:
        return sorted((each for each in self._uploads.values() if each.status is status), key=lambda each: each.id)

    async def expired(self, now: UnixMs, limit: int, after: tuple[UnixMs, UploadId] | None = None) -> list[Upload]:
        found = sorted(self._uploads.values(), key=lambda each: (each.expires_at, each.id))
        over = [each for each in found if each.expires_at <= now and each.status is not Status.PROCESSING]
        return [each for each in over if after is None or (each.expires_at, each.id) > after][:limit]

    async def delete(self, upload: UploadId) -> bool:
        return self._uploads.pop(upload, None) is not None

    async def addresses_over(self, now: UnixMs, limit: int, after: tuple[UnixMs, UploadId] | None = None) -> list[Addresses]:
        found = sorted((each for each in self._addresses.values() if each.until <= now), key=lambda each: (each.until, each.upload))
        return [each for each in found if after is None or (each.until, each.upload) > after][:limit]

    async def forget_addresses(self, upload: UploadId) -> None:
        self._addresses.pop(upload, None)
