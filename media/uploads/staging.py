"""Bytes that have arrived, as one file an upload in the data directory, until something is made of them.

What is beyond the offset that the store holds is not known to be on the disk: a writer begins there, and cuts off what lies behind.
"""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from hashlib import sha256 as new_sha256
from pathlib import Path
from typing import Final, TypeVar

from nova.core import errors
from nova.core.blobs.port import CHUNK
from nova.core.offload import DISK, Offload

T = TypeVar("T")

_RETRY: Final = 60.0  # seconds; a disk does not empty itself sooner


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise errors.NotFound("not_found", "the bytes of this upload are gone") from None
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise errors.Unavailable(
            "storage_full" if full else "storage_failed", f"uploads: {error.strerror or 'unknown error'}", retry_after=_RETRY
        ) from error


class Staging:
    """The directory; made when missing. Blocks for that: for the start, not for later."""

    def __init__(self, root: Path, offload: Offload) -> None:
        self._root, self._offload = root, offload
        with _translated():
            root.mkdir(mode=0o700, parents=True, exist_ok=True)

    def path(self, upload: str) -> Path:
        return self._root / upload

    async def _run(self, call: Callable[[], T]) -> T:
        with _translated():
            return await self._offload.run(DISK, call)

    async def open(self, upload: str, offset: int) -> Writer:
        """A writer from `offset` on. The caller closes it. Raises Unavailable."""

        def opened() -> int:
            fd = os.open(self.path(upload), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                if os.fstat(fd).st_size < offset:
                    raise OSError(errno.EIO, "shorter than what was acknowledged")
                os.ftruncate(fd, offset)
            except BaseException:
                os.close(fd)
                raise
            return fd

        return Writer(await self._run(opened), offset, self._run)

    async def read(self, upload: str) -> AsyncIterator[bytes]:
        """All bytes. Raises NotFound, Unavailable."""
        fd = await self._run(partial(os.open, self.path(upload), os.O_RDONLY | os.O_CLOEXEC))
        try:
            at = 0
            while data := await self._run(partial(os.pread, fd, CHUNK, at)):
                at += len(data)
                yield data
        finally:
            os.close(fd)

    async def digest(self, upload: str) -> str:
        """SHA-256 of all bytes, in hex. Raises NotFound, Unavailable."""
        digest = new_sha256()
        fd = await self._run(partial(os.open, self.path(upload), os.O_RDONLY | os.O_CLOEXEC))

        def step(at: int) -> int:
            data = os.pread(fd, 8 * CHUNK, at)
            digest.update(data)
            return len(data)

        try:
            at = 0
            while size := await self._run(partial(step, at)):
                at += size
        finally:
            os.close(fd)
        return digest.hexdigest()

    async def head(self, upload: str, size: int = 64) -> bytes:
        """The first bytes. Raises NotFound."""

        def read() -> bytes:
            with self.path(upload).open("rb") as file:
                return file.read(size)

        return await self._run(read)

    async def remove(self, upload: str) -> None:
        """Nothing happens when there is none."""

        def unlink() -> None:
            with suppress(FileNotFoundError):
                self.path(upload).unlink()

        await self._run(unlink)

    async def names(self) -> list[str]:
        """Uploads that have a file."""
        return await self._run(lambda: sorted(path.name for path in self._root.iterdir()))


class Writer:
    """Appends to one upload. at: bytes written, on the disk or not."""

    def __init__(self, fd: int, at: int, run: Callable[[Callable[[], None]], Awaitable[None]]) -> None:
        self._fd, self.at, self._run = fd, at, run
        self._gathered = bytearray()

    async def write(self, data: bytes) -> None:
        """Raises Unavailable `storage_full`, `storage_failed`."""
        self._gathered += data
        if len(self._gathered) >= CHUNK:
            await self.flush(sync=False)

    async def flush(self, *, sync: bool) -> None:
        """Everything written is in the file afterwards; with `sync` on stable storage."""
        data, self._gathered = self._gathered, bytearray()
        at = self.at

        def put() -> None:
            left, position = memoryview(data), at
            while left:
                size = os.pwrite(self._fd, left, position)
                left, position = left[size:], position + size
            if sync:
                os.fsync(self._fd)

        await self._run(put)
        self.at += len(data)

    async def cut(self, offset: int) -> None:
        """Forget what lies behind `offset`."""
        self._gathered.clear()
        await self._run(lambda: os.ftruncate(self._fd, offset))
        self.at = offset

    def close(self) -> None:
        os.close(self._fd)
