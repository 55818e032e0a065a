"""The data directory: private, locked by the one process that works in it, and where its server leaves its addresses."""

from __future__ import annotations

import fcntl
import json
import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from nova.core.errors import Unavailable, Unprocessable

LOCK: Final = "lock"
SERVE: Final = "serve.json"
CONTROL: Final = "control.sock"
OTHER_COMMANDS: Final = 3.0  # seconds a server waits for a command that works in the directory; such commands take far less
_POLL: Final = 0.05

Holder = Literal["serve", "command"]


class DataDirError(Unprocessable):
    """The directory can not be used as it is; the text is one line with the remedy."""

    code = "bad_settings"


class Locked(DataDirError):
    """Another process works in the directory. holder: what it is; pid 0: it did not say."""

    def __init__(self, path: Path, holder: str, pid: int) -> None:
        self.holder, self.pid = holder, pid
        who = f"{'a server' if holder == 'serve' else 'a command'} (process {pid})" if pid else "another process"
        super().__init__(detail=f"{path} is in use by {who}; stop it, or choose another directory with --data")


@dataclass(frozen=True, slots=True)
class DataDir:
    """A directory that exists. `lock` before anything in it is opened."""

    path: Path

    @property
    def control(self) -> Path:
        """Socket of the running server."""
        return self.path / CONTROL

    def serving(self) -> dict[str, Any] | None:
        """What a running server says of itself; None: none runs, or it is not ready."""
        try:
            found = json.loads((self.path / SERVE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    @contextmanager
    def announced(self, facts: Mapping[str, Any]) -> Iterator[None]:
        """While inside, `serve.json` holds `facts`."""
        path = self.path / SERVE
        fresh = path.with_suffix(".new")
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            json.dump(facts, file, indent=1)
        fresh.replace(path)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)

    @contextmanager
    def lock(self, holder: Holder, *, sleep: Callable[[float], None] = time.sleep) -> Iterator[None]:
        """Hold the directory. A server waits a little for a command, a command never waits. Raises Locked."""
        path = self.path / LOCK
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise _unusable(self.path, error) from error
        try:
            waited = 0.0
            while True:
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    name, _, pid = os.pread(fd, 100, 0).decode("ascii", "replace").partition(" ")
                    if holder == "command" or name != "command" or waited >= OTHER_COMMANDS:
                        raise Locked(self.path, name, int(pid) if pid.isdigit() else 0) from None
                sleep(_POLL)
                waited += _POLL
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{holder} {os.getpid()}".encode(), 0)
            if holder == "serve":
                for name in (SERVE, CONTROL):  # of a server that was killed
                    (self.path / name).unlink(missing_ok=True)
            yield
            with suppress(OSError):
                os.ftruncate(fd, 0)
        finally:
            os.close(fd)  # and with it the lock


def open_data_dir(path: Path, *, create: bool) -> DataDir:
    """The data directory at `path`, made when `create`; its mode is 0700 afterwards.

    Raises DataDirError: missing, not a directory, not ours, or not writable.
    """
    try:
        if create and not path.exists():
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.stat()
        if not stat.S_ISDIR(found.st_mode):
            raise DataDirError(detail=f"{path} is not a directory; choose another with --data")
        if found.st_mode & 0o077:
            path.chmod(0o700)
        if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
            raise PermissionError(13, "permission denied")
    except FileNotFoundError as error:
        if create:
            raise _unusable(path, error) from error
        raise DataDirError(detail=f"there is no data directory {path}; `nova serve` makes one, --data names another") from None
    except OSError as error:
        raise _unusable(path, error) from error
    return DataDir(path)


def _unusable(path: Path, error: OSError) -> DataDirError:
    return DataDirError(
        detail=f"the data directory {path} cannot be used: {(error.strerror or 'error').lower()}; choose another with --data"
    )


def unavailable(what: str) -> Unavailable:
    """The server of this directory does not answer."""
    return Unavailable(detail=f"the server of this data directory does not answer ({what}); is it starting or stopping?", retry_after=1.0)
