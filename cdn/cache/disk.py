"""The disk tier: whole answers as files, each with all that is known about it and a checksum over everything.

A file is written beside its place and renamed into it, so that after a crash it is there whole or not at all; what is torn all the same
(power, a bad sector) fails its checksum and is forgotten. The files are their own index: it is read when the server starts. What a soft
purge has made stale has another name, so it is stale after a crash too. A disk that is full or read-only is left alone for a while; memory
goes on.

Of each file memory knows what has to be found without reading it: key, size, tags, and what it varies with (`ext/places`). Where it lies
follows from its key.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from functools import partial
from hashlib import blake2b
from itertools import chain
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
from nova.ext.places import Places

_log = Log("nova.cdn.disk")
_MAGIC: Final = b"NOVACDN1"
_DIGEST: Final = 16
_MOST: Final = 65_535  # bytes of a key, tags of an answer
_SCAN: Final = 4096  # places looked at in one stretch
QUEUE: Final = 64  # answers that wait to be written; one more stays in memory alone
PAUSE: Final = 30.0  # seconds for which a disk that refused is left alone
_SOFT: Final = ".soft"  # ends the name of what a soft purge has made stale
_BESIDE: Final = ".tmp"  # and that of what is being written

Name = tuple[str, bytes]  # site, key


class Info(NamedTuple):
    """What is known of a file without reading it."""

    size: int
    tags: tuple[bytes, ...]
    fresh_until: int


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


def _read(path: str) -> tuple[str, bytes, Entry, bytes] | None:
    with open(path, "rb", 0) as file:
        return unpack(file.read())


def _soften(root: str, names: Iterable[Name]) -> dict[Name, Exception]:
    """Rename their files; those that could not be. One that is gone is one of them, unless another purge has renamed it."""
    refused = dict[Name, Exception]()
    for name in names:
        path = f"{root}/{file_name(*name)}"
        try:
            os.replace(path, path + _SOFT)
        except OSError as error:
            if not (isinstance(error, FileNotFoundError) and os.path.exists(path + _SOFT)):
                refused[name] = error
    return refused


def _remove(root: str, names: Iterable[tuple[Name, bool, bool]]) -> dict[Name, Exception]:
    """Those whose files could not be removed. names: with whether one may lie under the plain name, and one under the other."""
    refused = dict[Name, Exception]()
    for name, plain, soft in names:
        path = f"{root}/{file_name(*name)}"
        try:
            # In this order: what a soft purge renames meanwhile is found under the one or the other.
            if plain:
                _unlink(path)
            if soft:
                _unlink(path + _SOFT)
        except OSError as error:
            refused[name] = error
    return refused


def _unlink(path: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(path)


def folders(root: Path) -> list[str]:
    """Those in which files lie."""
    return sorted(each.path for each in os.scandir(root) if len(each.name) == 2)


class _File(NamedTuple):
    site: str
    key: bytes
    info: Info
    vary: tuple[bytes, ...]
    soft: bool


def scan(folder: str) -> Iterator[_File]:
    """Every file whose head can be read; the others, and what was being written, are removed. Raises OSError: it cannot be listed."""
    names = set(os.listdir(folder))
    for name in sorted(names):
        path, plain = f"{folder}/{name}", name.removesuffix(_SOFT)
        soft = name != plain
        try:
            if soft and plain in names:
                raise ValueError("written anew since")
            with open(path, "rb", 4096) as file:
                begin = file.read(12)
                size = int.from_bytes(begin[8:12], "big")
                if begin[:8] != _MAGIC or size > 1 << 20:
                    raise ValueError("not whole")
                site, key, entry = _meta(file.read(size))
                size = os.fstat(file.fileno()).st_size
            until = (entry.stale_from(entry.born) if soft else entry).fresh_until
            if file_name(site, key) != f"{folder[-2:]}/{plain}" or max(len(key), len(entry.tags)) > _MOST or until >> 32 != 0:
                raise ValueError("not ours")
            yield _File(site, key, Info(size, entry.tags, until), entry.vary, soft)
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            with suppress(OSError):
                _unlink(path)


class _Writing:
    """One answer on its way to the disk; who forgets it takes it out of the list of them."""

    def __init__(self, tags: tuple[bytes, ...]) -> None:
        self.tags = tags


class _Reading:
    """One file that is being read. lies: it is still the one in its place."""

    lies = True


class _Purging:
    """Files that are being taken away or renamed. changed: names whose place has become another's meanwhile, or nobody's."""

    def __init__(self, names: set[Name]) -> None:
        self.names, self.changed = names, set[Name]()


class DiskTier:
    """At most `capacity` bytes below `root`."""

    def __init__(self, root: Path, capacity: int, policy: str, offload: Offload, clock: Clock) -> None:
        self._root, self._capacity, self._offload, self._clock = root, capacity, offload, clock
        self._order = Eviction(policy, capacity)
        self._places = Places(self._order)
        self._numbers: dict[str, int] = {}  # of sites, in `_places`
        self._sites: list[str] = []
        self._writing: dict[Name, _Writing] = {}
        self._reading: dict[Name, list[_Reading]] = {}
        self._purging: list[_Purging] = []
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
            found = await self._offload.run(DISK, partial(folders, self._root))
        except (OSError, Unavailable) as error:
            self._refused(error)
            found = []
        for folder in found:  # one by one: what is read of a file is much more than what is kept of it
            try:
                files = await self._offload.run(DISK, lambda folder=folder: list(scan(folder)))  # type: ignore[misc]
            except (OSError, Unavailable) as error:
                self._refused(error)
                continue
            for file in files:
                self._add((file.site, file.key), file.info, file.vary, soft=file.soft)
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
        if not self._order.admits(self._places.hash(self._number(site), key), size):
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
        handle = self._handle((site, key))
        return 0 if handle < 0 else self._places.size(handle)

    async def find(self, site: str, key: bytes) -> tuple[Entry, list[Buffer]] | None:
        """The answer under a key, checked."""
        name = (site, key)
        handle = self._handle(name)
        if handle < 0:
            return None
        self._order.hit(handle)
        self.reads += 1
        path = self._path(name, soft=self._places.is_soft(handle))
        with self._reads(name) as reading:
            try:
                found = await self._offload.run(DISK, lambda: _read(path))
            except (OSError, Unavailable):
                self.failures += 1
                return None
        if not reading.lies:
            return None  # forgotten meanwhile
        if found is None or (found[0], found[1]) != name:
            self.torn += 1
            self.forget(site, key)
            return None
        return found[2].stale_from(self._places.fresh_until(handle)), [Buffer(found[3])] if found[3] else []

    def varies(self, site: str, key: bytes) -> tuple[bytes, ...]:
        """The names of fields by which the answers under `key` differ, empty: they do not, or none is here."""
        names = self._places.varies(self._number(site), key)
        return tuple(names.split(b"\n")) if names else ()

    def forget(self, site: str, key: bytes) -> bool:
        """From now on it is not here, not after a crash either. False: it was not."""
        name = (site, key)
        was_written = self._writing.pop(name, None) is not None
        handle = self._handle(name)
        if handle < 0:
            return was_written
        soft = self._drop(name, handle)
        try:
            _unlink(self._path(name, soft=soft))
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
        return [(site, name) for name in {key, *writing, *self._places.variants(self._number(site), key)}]

    async def purge(self, names: Sequence[Name], *, soft: bool, now: float) -> set[Name]:
        """From now on they are not here, or stale; when it returns, no crash brings back what they were. Those that were here.

        What is on its way here stays in memory alone. The loop works on the index; files are taken away and renamed beside it, and nothing
        is written in their places meanwhile.
        """
        found, files = set[Name](), dict[Name, bool]()  # with whether the file is a stale one's
        for name in names:
            if self._writing.pop(name, None) is not None:
                found.add(name)
            handle = self._handle(name)
            if handle < 0:
                continue
            found.add(name)
            if not soft:
                files[name] = self._drop(name, handle)
                continue
            self._places.age(handle, int(now))
            if not self._places.is_soft(handle):
                files[name] = False
        if files:
            await self._move(files, soft=soft)
        return found

    async def _move(self, files: dict[Name, bool], *, soft: bool) -> None:
        """Rename the files of these names, or take them away."""
        softening = {name for purging in self._purging for name in purging.names} if self._purging else set()
        work: Callable[[], dict[Name, Exception]]
        if soft:
            work = partial(_soften, str(self._root), list(files))
        else:
            work = partial(_remove, str(self._root), [(name, not stale, stale or name in softening) for name, stale in files.items()])
        purging = _Purging(set(files))
        self._purging.append(purging)
        try:
            refused = await self._offload.run(DISK, work)
        except Unavailable as error:
            refused = dict.fromkeys(files, error)
        finally:
            self._purging.remove(purging)
        for name, why in refused.items():
            if not (soft and name in purging.changed):
                self.stuck += not soft
                self._refused(why)
        for name in files if soft else ():
            if name in purging.changed:  # forgotten meanwhile, by its name of before
                with suppress(OSError):
                    _unlink(self._path(name, soft=True))
            elif name in refused:
                self.forget(*name)
            else:
                self._places.soften(self._handle(name))

    def names(self, site: str | None) -> Iterator[Name]:
        """Everything that is here, or about to be when the first is asked for; some may come twice. Others may run between two of them."""
        yield from [name for name in self._writing if site is None or name[0] == site]
        at, number = 0, -1 if site is None else self._number(site)
        while at >= 0:
            some, at = self._places.scan(at, _SCAN, number)
            for where, key in some:
                yield self._sites[where], key

    def tagged(self, tag: bytes, site: str | None) -> list[Name]:
        writing = [name for name, each in self._writing.items() if tag in each.tags and (site is None or name[0] == site)]
        lying = self._places.tagged(tag, -1 if site is None else self._number(site))
        return list(dict.fromkeys(chain(writing, [(self._sites[where], key) for where, key in lying])))

    def info(self, name: Name) -> Info | None:
        handle = self._handle(name)
        if handle < 0:
            return None
        return Info(self._places.size(handle), self._places.tags(handle), self._places.fresh_until(handle))

    # -- inside ----------------------------------------------------------------------------------------------------------

    def _number(self, site: str) -> int:
        number = self._numbers.get(site)
        if number is None:
            number = self._numbers[site] = len(self._sites)
            self._sites.append(site)
        return number

    def _handle(self, name: Name) -> int:
        """-1: it is not here."""
        return self._places.find(self._number(name[0]), name[1])

    def _path(self, name: Name, *, soft: bool = False) -> str:
        return f"{self._root}/{file_name(*name)}{_SOFT if soft else ''}"

    @contextmanager
    def _reads(self, name: Name) -> Iterator[_Reading]:
        reading = _Reading()
        self._reading.setdefault(name, []).append(reading)
        try:
            yield reading
        finally:
            if reading.lies:
                self._reading[name].remove(reading)
                if not self._reading[name]:
                    del self._reading[name]

    def _changed(self, name: Name) -> None:
        """What lay there is gone, or another has come: what is at work with its file beside the loop has to know."""
        for reading in self._reading.pop(name, ()):
            reading.lies = False
        for purging in self._purging:
            if name in purging.names:
                purging.changed.add(name)

    def _drop(self, name: Name, handle: int) -> bool:
        """It is not in the index any more. Whether its file has the name of a stale one."""
        soft = self._places.is_soft(handle)
        self._places.remove(handle)
        self._changed(name)
        return soft

    def _add(self, name: Name, info: Info, vary: tuple[bytes, ...], *, soft: bool = False) -> None:
        self.hosts.saw(*name)
        tags = tuple(dict.fromkeys(info.tags))
        self._places.add(self._number(name[0]), name[1], info.size, info.fresh_until, tags, b"\n".join(vary), soft)
        self._changed(name)

    async def _write(self, name: Name, entry: Entry, body: Sequence[Buffer | bytes], token: _Writing) -> None:
        if self._writing.get(name) is not token:
            return
        path = self._path(name)
        beside = path + _BESIDE

        def write() -> int:
            data = pack(*name, entry, body)
            with suppress(FileExistsError):
                os.mkdir(os.path.dirname(path), 0o700)
            with open(beside, "wb") as file:
                file.write(data)
            return len(data)

        try:
            size = await self._offload.run(DISK, write)
            if self._writing.get(name) is not token or any(name in purging.names for purging in self._purging):
                _unlink(beside)  # forgotten, or another one has come
                return
            os.replace(beside, path)  # in the loop: between the look above and this nobody can forget it
            if (handle := self._handle(name)) >= 0 and self._places.is_soft(handle):
                _unlink(path + _SOFT)
        except (OSError, Unavailable) as error:
            self._refused(error)
            with suppress(OSError):  # else the next start removes it
                _unlink(beside)
            return
        finally:
            if self._writing.get(name) is token:
                del self._writing[name]
        self.writes += 1
        self._add(name, Info(size, entry.tags, entry.fresh_until), entry.vary)
        await self._fit()

    async def _fit(self) -> None:
        while self._order.bytes > self._capacity:
            handle = self._order.victim()
            if handle < 0:
                return
            site, key = self._places.name(handle)
            name = (self._sites[site], key)
            path = self._path(name, soft=self._places.is_soft(handle))
            self._places.forget(handle)
            self._changed(name)
            self.evictions += 1
            try:
                await self._offload.run(DISK, partial(_unlink, path))
            except (OSError, Unavailable) as error:
                self._refused(error)

    def _refused(self, error: Exception) -> None:
        self.failures += 1
        now = self._clock.monotonic()
        if now >= self._paused_until:
            _log.warning("cdn_disk_refuses", error=type(error).__name__, errno=getattr(error, "errno", None), pause_s=PAUSE)
        self._paused_until = now + PAUSE


_NEVER: Final = 1 | 16  # what is passed, and pieces
