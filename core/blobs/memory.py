"""Blobs in memory: the twin for tests."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from hashlib import sha256 as new_sha256

import trio

from nova.core import errors
from nova.core.blobs.port import CHUNK, Download, Key, Stat, Stored, blob_key, blob_prefix


class MemoryBlobs:
    """`Blobs` that end with the process."""

    def __init__(self) -> None:
        self._blobs: dict[Key, tuple[Stat, bytes]] = {}
        self._version = 0

    async def put(self, key: Key, body: AsyncIterable[bytes], *, max_bytes: int, sha256: str | None = None) -> Stored:
        blob_key(key)
        await trio.lowlevel.checkpoint()
        data = bytearray()
        async for chunk in body:
            data += chunk
            if len(data) > max_bytes:
                raise errors.TooLarge("too_large", f"more than {max_bytes} bytes")
        digest = new_sha256(data).hexdigest()
        if sha256 is not None and digest != sha256:
            raise errors.Unprocessable("digest_mismatch", f"the content has the SHA-256 {digest}")
        self._version += 1
        stat = Stat(key, len(data), datetime.now(UTC), str(self._version))
        self._blobs[key] = (stat, bytes(data))
        return Stored(stat, digest)

    def _found(self, key: Key) -> tuple[Stat, bytes]:
        try:
            return self._blobs[blob_key(key)]
        except KeyError:
            raise errors.NotFound("not_found", f"no blob {key}") from None

    @asynccontextmanager
    async def get(self, key: Key, *, first: int = 0, size: int | None = None) -> AsyncIterator[Download]:
        await trio.lowlevel.checkpoint()
        stat, data = self._found(key)
        wanted = data[first : len(data) if size is None else first + size]

        async def chunks() -> AsyncIterator[bytes]:
            for at in range(0, len(wanted), CHUNK):
                await trio.lowlevel.checkpoint()
                yield wanted[at : at + CHUNK]

        yield Download(stat, chunks())

    async def stat(self, key: Key) -> Stat:
        await trio.lowlevel.checkpoint()
        return self._found(key)[0]

    async def delete(self, key: Key) -> None:
        await trio.lowlevel.checkpoint()
        self._blobs.pop(blob_key(key), None)

    async def list(self, prefix: str = "", *, after: str = "", limit: int = 1000) -> list[Stat]:
        await trio.lowlevel.checkpoint()
        blob_prefix(prefix)
        names = sorted(key for key in self._blobs if key.startswith(prefix) and key > after)
        return [self._blobs[key][0] for key in names[:limit]]
