"""Blobs as files below a directory: written beside, synced, renamed into place.

The key `a/b/c` is the file `a+/b+/c`: the sign on directories lets the keys `a` and `a/b` exist together, as they may in S3.
"""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256 as new_sha256
from pathlib import Path
from typing import Final, TypeVar

from nova.core import errors
from nova.core.blobs.port import CHUNK, Download, Key, Stat, Stored, blob_key, blob_prefix
from nova.core.offload import DISK, Offload

T = TypeVar("T")

_UNFINISHED: Final = ".unfinished"  # no key has a segment like this


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise errors.NotFound("not_found", "no such blob") from None
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        text = error.strerror or "unknown error"
        raise errors.Unavailable("storage_full" if full else "storage_failed", f"blobs: {text}", retry_after=60.0) from error


def _sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _make_directory(path: Path) -> None:
    """`path` and its parents exist afterwards, and still do after a power cut."""
    if not path.is_dir():
        _make_directory(path.parent)
        with suppress(FileExistsError):
            path.mkdir(mode=0o700)
        _sync_directory(path.parent)


def _write(fd: int, data: bytes | bytearray) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(fd, left) :]


class FileBlobs:
    """`Blobs` in the directory `root`, made when missing. One process owns it."""

    def __init__(self, root: Path, offload: Offload) -> None:
        """Blocks for some file operations: for the start, not for later.

        Raises Unavailable: the directory cannot be written.
        """
        self._root = root
        self._unfinished = root / _UNFINISHED
        self._offload = offload
        with _translated():
            _make_directory(root)
            self._unfinished.mkdir(mode=0o700, exist_ok=True)
            for left in self._unfinished.iterdir():  # of a process that was killed
                left.unlink()

    def _path(self, key: Key) -> Path:
        *directories, name = blob_key(key).split("/")
        return self._root.joinpath(*(f"{directory}+" for directory in directories), name)

    async def _run(self, call: Callable[[], T]) -> T:
        with _translated():
            return await self._offload.run(DISK, call)

    async def put(self, key: Key, body: AsyncIterable[bytes], *, max_bytes: int, sha256: str | None = None) -> Stored:
        path = self._path(key)
        unfinished = self._unfinished / os.urandom(16).hex()
        digest = new_sha256()
        size = 0
        gathered = bytearray()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        fd = await self._run(lambda: os.open(unfinished, flags, 0o600))

        def flush(data: bytearray) -> None:
            digest.update(data)
            _write(fd, data)

        def finish(data: bytearray) -> os.stat_result:
            flush(data)
            found = digest.hexdigest()
            if sha256 is not None and found != sha256:
                raise errors.Unprocessable("digest_mismatch", f"the content has the SHA-256 {found}")
            os.fsync(fd)
            _make_directory(path.parent)
            unfinished.rename(path)
            _sync_directory(path.parent)
            return os.fstat(fd)

        try:
            async for chunk in body:
                size += len(chunk)
                if size > max_bytes:
                    raise errors.TooLarge("too_large", f"more than {max_bytes} bytes")
                gathered += chunk
                if len(gathered) >= CHUNK:
                    full, gathered = gathered, bytearray()
                    await self._run(partial(flush, full))
            status = await self._run(lambda: finish(gathered))
        finally:
            # Closing and unlinking take microseconds, and have to happen when this task is cancelled too.
            os.close(fd)
            with suppress(OSError):
                unfinished.unlink(missing_ok=True)
        return Stored(_stat(key, status), digest.hexdigest())

    @asynccontextmanager
    async def get(self, key: Key, *, first: int = 0, size: int | None = None) -> AsyncIterator[Download]:
        path = self._path(key)

        def opened() -> tuple[int, os.stat_result]:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            return fd, os.fstat(fd)

        fd, status = await self._run(opened)
        last = status.st_size if size is None else min(first + size, status.st_size)

        async def chunks() -> AsyncIterator[bytes]:
            at = first
            while at < last:
                data = await self._run(partial(os.pread, fd, min(CHUNK, last - at), at))
                if not data:
                    raise errors.Unavailable("storage_failed", f"blobs: {key} is shorter than it was")
                at += len(data)
                yield data

        try:
            yield Download(_stat(key, status), chunks())
        finally:
            os.close(fd)

    async def stat(self, key: Key) -> Stat:
        path = self._path(key)
        return _stat(key, await self._run(path.stat))

    async def delete(self, key: Key) -> None:
        path = self._path(key)

        def unlink() -> None:
            with suppress(FileNotFoundError):
                path.unlink()
                _sync_directory(path.parent)

        await self._run(unlink)

    async def list(self, prefix: str = "", *, after: str = "", limit: int = 1000) -> list[Stat]:
        blob_prefix(prefix)

        def gather() -> list[Stat]:
            found: list[Stat] = []
            for stat in self._walk(self._root, "", prefix, after):
                if len(found) == limit:
                    break
                found.append(stat)
            return found

        return await self._run(gather)

    def _walk(self, directory: Path, base: str, prefix: str, after: str) -> Iterator[Stat]:
        """Blobs below `directory`, whose keys begin with `base`, in order; skips what cannot match."""
        with suppress(FileNotFoundError), os.scandir(directory) as entries:
            # A directory sorts as its keys do, by the name with a slash: `a` < `a-b` < `a/c`.
            named = sorted((f"{entry.name[:-1]}/" if entry.name.endswith("+") else entry.name, entry.path) for entry in entries)
            for name, path in named:
                key = base + name
                if name.endswith("/"):
                    wanted = key.startswith(prefix) or prefix.startswith(key)
                    if wanted and (key > after or after.startswith(key)):
                        yield from self._walk(Path(path), key, prefix, after)
                elif key.startswith(prefix) and key > after and not name.startswith("."):
                    with suppress(FileNotFoundError):  # deleted since the directory was read
                        yield _stat(Key(key), os.stat(path))


def _stat(key: Key, status: os.stat_result) -> Stat:
    etag = f"{status.st_mtime_ns:x}-{status.st_size:x}-{status.st_ino:x}"
    return Stat(key, status.st_size, datetime.fromtimestamp(status.st_mtime, UTC), etag)
