"""Origins as processes, and a site's fetcher over them."""

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import trio

from nova.cdn.origins.fetcher import Origins
from nova.cdn.ports import FetchRequest, Fields
from nova.core.clock import SystemClock
from nova.core.offload import Offload
from nova.core.settings_schema import make
from nova.core.settings_table import CdnSite

SCRIPT = Path(__file__).with_name("server.py")


class Process:
    """One origin. `kill`, `freeze` and `thaw` are what happens to real ones."""

    def __init__(self, name: str, port: int = 0) -> None:
        self.name = name
        self._process = subprocess.Popen([sys.executable, "-S", str(SCRIPT), str(port), name], stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        self.url = f"http://127.0.0.1:{self.port}"

    def kill(self) -> None:
        self.kill_at_once()
        self._process.wait()

    def kill_at_once(self) -> None:
        """Without waiting for its end, which would stop the caller's loop."""
        self._process.kill()

    def freeze(self) -> None:
        os.kill(self._process.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WNOWAIT)

    def thaw(self) -> None:
        os.kill(self._process.pid, signal.SIGCONT)

    def again(self) -> "Process":
        """A new one on the same port."""
        return Process(self.name, self.port)

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


@contextmanager
def processes(*names: str) -> Iterator[list[Process]]:
    made = [Process(name) for name in names]
    try:
        yield made
    finally:
        for each in made:
            each.close()


def site(origins: list[Any], **rows: Any) -> CdnSite:
    tables = [each if isinstance(each, dict) else {"url": each.url if isinstance(each, Process) else each} for each in origins]
    found: CdnSite = make(CdnSite, name="x", origins=tables, **rows)
    return found


@asynccontextmanager
async def fetching(config: CdnSite) -> AsyncIterator[Origins]:
    origins = Origins(config, SystemClock(), Offload())
    async with trio.open_nursery() as nursery:
        await nursery.start(origins.run)
        yield origins
        nursery.cancel_scope.cancel()


def get(target: str, *fields: tuple[bytes, bytes], method: str = "GET", **more: Any) -> FetchRequest:
    return FetchRequest(method, target.encode(), b"site.example", fields, **more)


async def whole(origins: Origins, request: FetchRequest) -> tuple[int, Fields, bytes]:
    """Status, fields and body of one answer."""
    async with origins.fetch(request) as answer:
        body = b""
        while piece := await answer.read():
            body += piece
        return answer.status, answer.fields, body


def who(fields: Fields) -> str:
    return dict(fields)[b"x-origin"].decode()
