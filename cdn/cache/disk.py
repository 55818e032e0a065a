"""The disk tier: whole answers as files, each with all that is known about it and a checksum over everything.

A file is written beside its place and renamed into it, so that after a crash it is there whole or not at all; what is torn all the same
(power, a bad sector) fails its checksum and is forgotten. The files are their own index: it is read when the server starts. What a soft
purge has made stale has another name, so it is stale after a crash too. A disk that is full or read-only is left alone for a while; memory
goes on.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final, NamedTuple

import trio

from nova.cdn.cache.entry import Entry
from nova.cdn.cache.keeper import Hosts, primary
from nova.core.clock import Clock
from nova.core.errors import Unavailable
from nova.core.log import Log
from nova.core.offload import DISK, Offload
from nova.ext.buffer import Buffer
from nova.ext.eviction import Eviction

_log = Log("nova.cdn.disk")
_MAGIC: Final = b"NOVACDN1"
_DIGEST: Final = 16
QUEUE: Final = 64  # answers that wait to be written; one more stays in memory alone
PAUSE: Final = 30.0  # seconds for which a disk that refused is left alone
_SOFT: Final = ".soft"  # ends the name of what a soft purge has made stale

Name = tuple[str, bytes]  # site, key


class _Place(NamedTuple):
    handle: int
    size: int
    tags: tuple[bytes, ...]
    fresh_until: int
    path: Path


def pack(site: str, key: bytes, entry: Entry, body: Sequence[Buffer | bytes]) -> bytes:
    """The bytes of a file."""
    meta = {name: _text(value) for name, value in asdict(entry).items()} | {"site": site, "key": key.decode("latin-1")}
    text = json.dumps(meta, separators=(",", ":")).encode()
    data = b"".join([_MAGIC, len(text).to_bytes(4, "big"), text, *map(bytes, body)])
    return data + blake2b(data, digest_size=_DIGEST).digest()


def unpack(data: bytes) -> tuple[str, bytes, Entry, bytes] | None:
    """(site, key, entry, body); None: torn, changed, or not one of ours."""
    if data[:8] != _MAGIC or len(data) < 12 + _DIGEST or blake2b(data[:-_DIGEST], digest_size=_DIGEST).digest() != data[-_DIGEST:]:
        return None
    size = int.from_bytes(data[8:12], "big")
    site, key, entry = _meta(data[12 : 12 + size])
    return site, key, entry, data[12 + size : -_DIGEST]


def _text(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("latin-1")
    return [item.decode("latin-1") for item in value] if isinstance(value, tuple) else value


def _meta(text: bytes) -> tuple[str, bytes, Entry]:
    meta = json.loads(text)
    site, key = meta.pop("site"), meta.pop("key").encode("latin-1")
    for name in ("head", "etag"):
        meta[name] = meta[name].encode("latin-1")
    for name in ("tags", "vary"):
        meta[name] = tuple(item.encode("latin-1") for item in meta[name])
    return site, key, Entry(**meta)


def file_name(site: str, key: bytes) -> str:
    digest = blake2b(site.encode() + b"\n" + key, digest_size=16).hexdigest()
    return f"{digest[:2]}/{digest[2:]}"


def _hash(name: Name) -> int:
    return int.from_bytes(blake2b(name[0].encode() + b"\n" + name[1], digest_size=8).digest(), "big")


def _softened(path: Path) -> Path:
    return path if path.suffix == _SOFT else path.with_suffix(_SOFT)


def _soften(paths: Iterable[Path]) -> dict[Path, Exception]:
    """Rename them; those that could not be. One that is gone is one of them."""
    refused = dict[Path, Exception]()
    for path in paths:
        try:
            os.replace(path, _softened(path))
        except OSError as error:
            refused[path] = error
    return refused


def _remove(paths: Iterable[Path]) -> dict[Path, Exception]:
    """Those that could not be removed."""
    refused = dict[Path, Exception]()
    for path in paths:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            refused[path] = error
    return refused


def scan(root: Path) -> Iterator[tuple[Path, str, bytes, Entry, int]]:
    """(path, site, key, entry, bytes) of every file whose head can be read; the others, and what was being written, are removed."""
    for path in sorted(root.glob("??/*")):
        try:
            if path.suffix == _SOFT and path.with_suffix("").exists():
                raise ValueError("written anew since")
            with path.open("rb") as file:
                begin = file.read(12)
                size = int.from_bytes(begin[8:12], "big")
                if path.suffix == ".tmp" or begin[:8] != _MAGIC or size > 1 << 20:
                    raise ValueError("not whole")
                site, key, entry = _meta(file.read(size))
            if path.suffix == _SOFT:
                entry = entry.stale_from(entry.born)
            yield path, site, key, entry, path.stat().st_size
        except (OSError, ValueError, TypeError, KeyError):
            path.unlink(missing_ok=True)


class _Writing:
    """One answer on its way to the disk; who forgets it takes it out of the list of them."""

    def __init__(self, tags: tuple[bytes, ...]) -> None:
        self.tags = tags


class DiskTier:
    """At most `capacity` bytes below `root`."""

    def __init__(self, root: Path, capacity: int, policy: str, offload: Offload, clock: Clock) -> None:
        self._root, self._capacity, self._offload, self._clock = root, capacity, offload, clock
        self._order = Eviction(policy, capacity)
        self._places: dict[Name, _Place] = {}
        self._names: dict[int, Name] = {}  # by handle
        self._varies: dict[Name, tuple[bytes, ...]] = {}
        self._tagged: dict[bytes, set[Name]] = {}
        self._variants: dict[Name, set[bytes]] = {}  # keys of what varies, by the object's name
        self._writing: dict[Name, _Writing] = {}
        self._moving: set[Path] = set()  # files that a purge takes away or renames just now
        self.hosts = Hosts()
        self._give, self._take = trio.open_memory_channel[tuple[Name, Entry, Sequence[Buffer | bytes], _Writing]](QUEUE)
        self._paused_until = 0.0
        self.writes = self.reads = self.failures = self.evictions = self.torn = 0
        self.stuck = 0  # what a purge was meant for and could not be taken from the disk: a restart would bring it back

    @property
    def used(self) -> int:
        """Bytes of files."""
        return self._order.bytes

    def __len__(self) -> int:
        return len(self._places)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Reads the index, then writes what is kept; until cancelled."""
        try:
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = await self._offload.run(DISK, lambda: list(scan(self._root)))
        except (OSError, Unavailable) as error:
            self._refused(error)
            found = []
        for path, site, key, entry, size in found:
            self._add((site, key), entry, size, path)
        await self._fit()
        task_status.started()
        async for name, entry, body, token in self._take:
            await self._write(name, entry, body, token)

    # -- what the shield asks --------------------------------------------------------------------------------------------

    def kept(self, site: str, key: bytes, entry: Entry, body: Sequence[Buffer | bytes]) -> None:
        """Bring an answer to disk in the background; nothing, when the disk is busy or refuses."""
        name = (site, key)
        if self._clock.monotonic() < self._paused_until or entry.flags & _NEVER:
            return
        size = sum(map(len, body)) + len(entry.head)
        if not self._order.admits(_hash(name), size):
            return
        token = _Writing(entry.tags)
        try:
            self._give.send_nowait((name, entry, body, token))
        except trio.WouldBlock:
            return
        self._writing[name] = token
        self.hosts.saw(site, key)

    def size(self, site: str, key: bytes) -> int:
        """Bytes of the answer under a key, 0: it is not here."""
        place = self._places.get((site, key))
        return 0 if place is None else place.size

    async def find(self, site: str, key: bytes) -> tuple[Entry, list[Buffer]] | None:
        """The answer under a key, checked."""
        name = (site, key)
        place = self._places.get(name)
        if place is None:
            return None
        self._order.hit(place.handle)
        self.reads += 1
        path = place.path
        try:
            found = await self._offload.run(DISK, lambda: unpack(path.read_bytes()))
        except (OSError, Unavailable):
            self.failures += 1
            return None
        if self._places.get(name) is not place:
            return None  # forgotten or softened meanwhile
        if found is None or (found[0], found[1]) != name:
            self.torn += 1
            self.forget(site, key)
            return None
        return found[2].stale_from(place.fresh_until), [Buffer(found[3])] if found[3] else []

    def varies(self, site: str, key: bytes) -> tuple[bytes, ...]:
        """The names of fields by which the answers under `key` differ, empty: they do not, or none is here."""
        return self._varies.get((site, key), ())

    def forget(self, site: str, key: bytes) -> bool:
        """From now on it is not here, not after a crash either. False: it was not."""
        name = (site, key)
        was_written = self._writing.pop(name, None) is not None
        place = self._drop(name)
        if place is None:
            return was_written
        try:
            place.path.unlink(missing_ok=True)
        except OSError as error:
            self.stuck += 1
            self._refused(error)
        return True

    def forget_object(self, site: str, key: bytes) -> None:
        """`forget` for an object with its variants."""
        for name in self.names_of(site, key):
            self.forget(*name)

    def names_of(self, site: str, key: bytes) -> list[Name]:
        """The names under which an object may lie, or is about to: its own, its variants'."""
        writing = [name[1] for name in self._writing if name[0] == site and primary(name[1]) == key]
        return [(site, name) for name in {key, *writing, *self._variants.get((site, key), ())}]

    async def purge(self, names: Sequence[Name], *, soft: bool, now: float) -> set[Name]:
        """From now on they are not here, or stale; when it returns, no crash brings back what they were. Those that were here.

        What is on its way here stays in memory alone. The loop works on the index; files are taken away and renamed beside it, and nothing
        is written in their places meanwhile.
        """
        found, files = set(), list[tuple[Name, _Place]]()
        for name in names:
            if self._writing.pop(name, None) is not None:
                found.add(name)
            if soft:
                place = self._places.get(name)
                if place is not None:
                    place = self._places[name] = place._replace(fresh_until=min(place.fresh_until, int(now)))
            else:
                place = self._drop(name)
            if place is not None:
                found.add(name)
                files.append((name, place))
        if not files:
            return found
        paths = {place.path for _, place in files}
        self._moving |= paths
        try:
            refused = await self._offload.run(DISK, partial(_soften if soft else _remove, paths))
        except Unavailable as error:
            refused = dict.fromkeys(paths, error)
        finally:
            self._moving -= paths
        for why in refused.values():
            self.stuck += not soft
            self._refused(why)
        for name, place in files if soft else ():
            if place.path in refused:
                self.forget(*name)
            elif self._places.get(name) is place:
                self._places[name] = place._replace(path=_softened(place.path))
            else:  # forgotten meanwhile, by its name of before
                with suppress(OSError):
                    _softened(place.path).unlink(missing_ok=True)
        return found

    def names(self, site: str | None) -> list[Name]:
        """Everything that is here, or about to be."""
        return [name for name in self._places.keys() | self._writing.keys() if site is None or name[0] == site]

    def tagged(self, tag: bytes, site: str | None) -> list[Name]:
        writing = {name for name, each in self._writing.items() if tag in each.tags}
        return [name for name in writing | self._tagged.get(tag, set()) if site is None or name[0] == site]

    def info(self, name: Name) -> _Place | None:
        return self._places.get(name)

    # -- inside ----------------------------------------------------------------------------------------------------------

    def _drop(self, name: Name) -> _Place | None:
        """It is not in the index any more; where its file is."""
        place = self._places.pop(name, None)
        if place is not None:
            self._order.remove(place.handle)
            del self._names[place.handle]
            self._unlist(name, place)
        return place

    def _add(self, name: Name, entry: Entry, size: int, path: Path) -> None:
        self.hosts.saw(*name)
        old = self._places.get(name)
        if old is not None:
            self._order.remove(old.handle)
            self._names.pop(old.handle, None)
            self._unlist(name, old)
        handle = self._order.add(_hash(name), size)
        self._places[name] = _Place(handle, size, entry.tags, entry.fresh_until, path)
        self._names[handle] = name
        for tag in entry.tags:
            self._tagged.setdefault(tag, set()).add(name)
        if entry.vary:
            self._varies[name[0], name[1].partition(b"\0")[0]] = entry.vary
            self._variants.setdefault((name[0], name[1].partition(b"\0")[0]), set()).add(name[1])

    def _unlist(self, name: Name, place: _Place) -> None:
        """It is not found by its tags and its object any more."""
        for tag in place.tags:
            if (names := self._tagged.get(tag)) is not None:
                names.discard(name)
                if not names:
                    del self._tagged[tag]
        whole = (name[0], name[1].partition(b"\0")[0])
        if (keys := self._variants.get(whole)) is not None:
            keys.discard(name[1])
            if not keys:
                del self._variants[whole]
                self._varies.pop(whole, None)

    async def _write(self, name: Name, entry: Entry, body: Sequence[Buffer | bytes], token: _Writing) -> None:
        if self._writing.get(name) is not token:
            return
        path = self._root / file_name(*name)
        beside = path.with_suffix(".tmp")

        def write() -> int:
            data = pack(*name, entry, body)
            path.parent.mkdir(mode=0o700, exist_ok=True)
            beside.write_bytes(data)
            return len(data)

        try:
            size = await self._offload.run(DISK, write)
            if self._writing.get(name) is not token or path in self._moving:  # forgotten, or another one has come
                beside.unlink(missing_ok=True)
                return
            os.replace(beside, path)  # in the loop: between the look above and this nobody can forget it
            if (old := self._places.get(name)) is not None and old.path != path:
                old.path.unlink(missing_ok=True)
        except (OSError, Unavailable) as error:
            self._refused(error)
            with suppress(OSError):  # else the next start removes it
                beside.unlink(missing_ok=True)
            return
        finally:
            if self._writing.get(name) is token:
                del self._writing[name]
        self.writes += 1
        self._add(name, entry, size, path)
        await self._fit()

    async def _fit(self) -> None:
        while self._order.bytes > self._capacity:
            handle = self._order.victim()
            if handle < 0:
                return
            name = self._names.pop(handle)
            self._order.forget(handle, _hash(name))
            place = self._places.pop(name)
            self._unlist(name, place)
            self.evictions += 1
            try:
                await self._offload.run(DISK, lambda path=place.path: path.unlink(missing_ok=True))  # type: ignore[misc]
            except (OSError, Unavailable) as error:
                self._refused(error)

    def _refused(self, error: Exception) -> None:
        self.failures += 1
        now = self._clock.monotonic()
        if now >= self._paused_until:
            _log.warning("cdn_disk_refuses", error=type(error).__name__, errno=getattr(error, "errno", None), pause_s=PAUSE)
        self._paused_until = now + PAUSE


_NEVER: Final = 1 | 16  # what is passed, and pieces
