"""Bytes that do not come by tus: whoever has the signed addresses of an upload puts its pieces there.

Where the blob store takes pieces by itself (S3), they go there, and are fetched into the staging directory when all have come: from there
on an upload is like every other one. Else there is one address, of this server, and one piece.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from nova.core.blobs import DirectBlobs, Part
from nova.core.errors import Forbidden, NotFound, Unprocessable
from nova.media.images.signing import Keys
from nova.media.uploads.model import HERE, Upload, direct_key
from nova.media.uploads.staging import Staging

HEAD: Final = 400  # bytes that `look` sees; two packets of a transport stream
LONGEST: Final = 7 * 86_400  # seconds that an address may be good for; S3's limit

Look = Callable[[bytes, str], object]  # the first bytes, and the kind that was announced; raises UnsupportedType


class Direct:
    """blobs: a store that takes pieces by itself; None: they come here. keys: sign our own addresses. look: at the first bytes."""

    def __init__(self, blobs: DirectBlobs | None = None, keys: Keys | None = None, look: Look = lambda head, kind: None) -> None:
        self._blobs, self._keys, self._look = blobs, keys, look

    async def open(self, id: str, size: int) -> str:
        """The upload's ticket. Raises Unavailable."""
        return HERE if self._blobs is None else await self._blobs.open_direct(direct_key(id), size)

    async def parts(self, id: str, ticket: str, size: int, seconds: float, now: float) -> list[Part]:
        """Its pieces and their addresses; those of this server are paths. now: Unix seconds. Raises Unavailable."""
        if self._blobs is not None:
            return await self._blobs.direct_parts(direct_key(id), ticket, size, seconds=int(min(seconds, LONGEST)))
        assert self._keys is not None
        expires = int(now + seconds)
        signature = self._keys.sign(_signed(id, expires))
        return [Part(1, 0, size, f"/v1/uploads/{id}/content?expires={expires}&signature={signature}")]

    def verify(self, id: str, expires: int, signature: str, now: float) -> None:
        """Of an address of this server. Raises Forbidden `bad_signature`, `url_expired`."""
        if self._keys is None:
            raise Forbidden("bad_signature", "no bytes are taken here")
        self._keys.verify(signature, _signed(id, expires))
        if expires <= now:
            raise Forbidden("url_expired", "the address was good until the time in it")

    async def close(self, id: str, ticket: str, size: int) -> None:
        """All pieces have come. Raises Unprocessable: not all; Unavailable."""
        await self._store().close_direct(direct_key(id), ticket, size)

    async def look(self, upload: Upload) -> None:
        """At the first bytes of what the store has taken. Raises UnsupportedType, Unavailable."""
        async with self._store().get(direct_key(upload.id), size=HEAD) as download:
            head = b"".join([chunk async for chunk in download.chunks])
        self._look(head, upload.metadata.kind)

    async def fetch(self, upload: Upload, staging: Staging) -> None:
        """What the store has taken, into the staging directory: a copy that its sender can not change any more. Raises Unavailable."""
        if upload.direct in ("", HERE):
            return
        try:
            async with self._store().get(direct_key(upload.id)) as download:
                if download.stat.size_bytes != upload.size:
                    raise Unprocessable(detail=f"{download.stat.size_bytes} bytes have come, {upload.size} were announced.")
                writer = await staging.open(upload.id, 0)
                try:
                    async for chunk in download.chunks:
                        await writer.write(chunk)
                    await writer.flush(sync=False)
                finally:
                    writer.close()
        except NotFound:
            raise Unprocessable(detail="What has come is gone.") from None

    def _store(self) -> DirectBlobs:
        if self._blobs is None:
            raise Unprocessable(detail="The store that took these bytes is not there any more.")
        return self._blobs

    def outlives(self, ticket: str) -> bool:
        """Bytes may still come to its addresses when it has ended."""
        return self._blobs is not None and ticket not in ("", HERE) and self._blobs.outlives(ticket)

    async def drop(self, id: str, ticket: str) -> None:
        """Nothing of it is left in the store. Raises Unavailable."""
        if self._blobs is not None and ticket not in ("", HERE):
            await self._blobs.drop_direct(direct_key(id), ticket)


def _signed(id: str, expires: int) -> str:
    # Without a slash in front: no address of a picture is signed like this.
    return f"upload:{id}:{expires}"
