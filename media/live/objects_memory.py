"""The object table in plain Python: the twin of nova.ext.objects, with a reader's side for tests and for programs without sockets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import trio

from nova.ext.buffer import Buffer


class Answer(NamedTuple):
    """What a reader gets. headers: as they were put, by lower-case name; those of the transport are not in it."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(slots=True)
class _Entry:
    headers: bytes = b""
    body: list[Buffer] | None = None
    etag: bytes = b""
    gzip: Buffer | None = None
    version: int = 0
    tag: int = 0
    private: bool = False
    versioned: bool = False
    asked: bool = False
    parts_ahead: int = 0
    waiters: list[tuple[int, trio.Event]] = field(default_factory=list)


class MemoryObjects:
    """See ports.Objects for the writer's side.

    render: called when a reader asks for a version that exists and is not rendered, once until the next `advance`.
    """

    def __init__(self) -> None:
        self.render: Callable[[bytes], None] = lambda path: None
        self.entries: dict[bytes, _Entry] = {}

    def put(
        self,
        path: bytes,
        headers: bytes,
        body: Sequence[Buffer],
        *,
        etag: bytes,
        gzip: Buffer | None = None,
        version: int = 0,
        tag: int = 0,
        private: bool = False,
    ) -> None:
        entry = self.entries.setdefault(path, _Entry())
        entry.headers, entry.body, entry.etag, entry.gzip = headers, list(body), etag, gzip
        entry.version, entry.tag, entry.private, entry.asked = version, tag, private, False
        self._release(entry, version)

    def expect(self, path: bytes, *, tag: int = 0, private: bool = False) -> None:
        entry = self.entries.setdefault(path, _Entry())
        if entry.body is None:
            entry.tag, entry.private = tag, private

    def advance(self, path: bytes, version: int, *, tag: int = 0, private: bool = False, parts_ahead: int = 3) -> bool:
        entry = self.entries.setdefault(path, _Entry())
        entry.body = entry.gzip = None
        entry.version, entry.tag, entry.private, entry.versioned, entry.parts_ahead = version, tag, private, True, parts_ahead
        entry.asked = any(wanted <= version for wanted, _ in entry.waiters)
        return entry.asked

    def remove(self, path: bytes) -> bool:
        entry = self.entries.pop(path, None)
        if entry is None:
            return False
        for _, event in entry.waiters:
            event.set()
        return True

    def waiting(self, path: bytes) -> int:
        """Readers that wait for `path`."""
        entry = self.entries.get(path)
        return 0 if entry is None else len(entry.waiters)

    def __contains__(self, path: bytes) -> bool:
        entry = self.entries.get(path)
        return entry is not None and entry.body is not None

    def _release(self, entry: _Entry, version: int) -> None:
        for waiter in [each for each in entry.waiters if each[0] <= version]:
            entry.waiters.remove(waiter)
            waiter[1].set()

    async def get(self, path: str, *, msn: int | None = None, part: int | None = None, session: bool = False, gzip: bool = False) -> Answer:
        """What a GET is answered; waits as a request would. msn, part: `_HLS_msn` and `_HLS_part`."""
        key = path.encode()
        while True:
            entry = self.entries.get(key)
            if entry is None or (entry.private and not session):
                return Answer(404, {}, b"")
            wanted = 0
            if entry.versioned:
                if part is not None and msn is None:
                    return Answer(400, {}, b"")
                if msn is not None:
                    current, parts = entry.version >> 16, entry.version & 0xFFFF
                    if msn > current + 1 or (
                        part is not None and part >= entry.parts_ahead + (parts if msn == current else 0) and msn >= current
                    ):
                        return Answer(400, {}, b"")
                    wanted = (msn << 16) + part + 1 if part is not None else (msn + 1) << 16
            if entry.body is not None and entry.version >= wanted:
                return self._answer(entry, gzip)
            event = trio.Event()
            entry.waiters.append((wanted, event))
            if entry.versioned and entry.body is None and entry.version >= wanted and not entry.asked:
                entry.asked = True
                self.render(key)
            await event.wait()

    def _answer(self, entry: _Entry, gzip: bool) -> Answer:
        assert entry.body is not None
        headers = {}
        for line in entry.headers.decode().split("\r\n")[:-1]:
            name, _, value = line.partition(": ")
            headers[name.lower()] = value
        headers["etag"] = entry.etag.decode()
        if gzip and entry.gzip is not None:
            headers["content-encoding"] = "gzip"
            return Answer(200, headers, bytes(entry.gzip))
        return Answer(200, headers, b"".join(bytes(piece) for piece in entry.body))
