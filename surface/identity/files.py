"""Private files in the data directory: read by nobody else, replaced whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from nova.core.errors import Unavailable

MAX_SIZE: Final = 1 << 20  # bytes; keys and certificates are far smaller


def folder(path: Path) -> Path:
    """`path` as a directory of mode 0700, made when missing. Raises Unavailable `storage_failed`."""
    try:
        path.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise _failed(path, error) from error
    return path


def read(path: Path) -> bytes | None:
    """The file's bytes; None when there is none. Raises Unavailable: it cannot be read, or others could."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if mode & 0o077:
                raise Unavailable("storage_failed", f"{path} can be read by other users: chmod 600 {path}")
            return file.read(MAX_SIZE)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _failed(path, error) from error


def write(path: Path, data: bytes) -> None:
    """Put `data` at `path` (mode 0600), on stable storage when it returns. Raises Unavailable `storage_failed`."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(path)
        except BaseException:
            fresh.unlink(missing_ok=True)
            raise
        parent = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(parent)  # else the name may be gone with the power
        finally:
            os.close(parent)
    except OSError as error:
        raise _failed(path, error) from error


def _failed(path: Path, error: OSError) -> Unavailable:
    return Unavailable("storage_failed", f"{path}: {error.strerror}")
