"""The memory tier: what is kept, by which tags, and how it is forgotten. The table under it is the one that the I/O threads read."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Final, Self

from nova.cdn.cache.entry import Entry
from nova.cdn.cache.tally import Tally
from nova.ext import kept as k
from nova.ext.buffer import Account, Arena, Buffer
from nova.ext.kept import Answer, KeptTable, variant_key
from nova.ext.objects import ObjectTable
from nova.ext.sequence import Sequence as Grown

Name = tuple[int, bytes]  # site, key

_SCAN: Final = 16_384  # places looked at in one stretch
HOSTS: Final = 1000  # of one site
SLICE_MARK: Final = b"\0#"  # behind a key: one slice of the object


def primary(key: bytes) -> bytes:
    """The key without the values that its answer varies with, or the number of its slice."""
    return key.partition(b"\0")[0]


class Hosts:
    """The hosts whose objects a tier has had, by site: where a purge names none, it looks under each of them. Viewers make hosts up, so
    above HOSTS of them nobody counts."""

    def __init__(self) -> None:
        self._known: dict[Hashable, set[bytes] | None] = {}

    def saw(self, site: Hashable, key: bytes) -> None:
        """The tier has an object under `key`, which begins with its host or, where the host is none of it, with a slash."""
        known = self._known.setdefault(site, set())
        if known is not None and (host := key.partition(b"/")[0]) not in known:
            known.add(host)
            if len(known) > HOSTS:
                self._known[site] = None

    def of(self, site: Hashable) -> set[bytes] | None:
        """Empty for keys without a host; None: too many to be known."""
        return self._known.get(site, set())


class Room:
    """Bytes that will come, a context manager: what has not come by its end is given back."""

    __slots__ = ("_account", "_left")

    def __init__(self, account: Account, size: int) -> None:
        self._account, self._left = account, size
        account.promise(size)

    def came(self, size: int) -> None:
        """So many of them are held now."""
        size = min(size, self._left)
        self._left -= size
        self._account.promise(-size)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.came(self._left)


class Keeper:
    """Everything that is kept in memory, of every site, within `capacity` bytes.

    account: what is really held: what is kept, and what grows, passes, or is still being read after it was forgotten.
    """

    def __init__(self, objects: ObjectTable, *, policy: str, capacity: int) -> None:
        self.account = Account()
        self.table = KeptTable(objects, policy, capacity, self.account)
        self.capacity = capacity
        self.evictions = 0
        self._tagged: dict[bytes, set[Name]] = {}
        self._tags: dict[Name, tuple[bytes, ...]] = {}
        self._usage = Tally[Name]()
        self._variants: dict[Name, dict[bytes, None]] = {}
        self.hosts = Hosts()

    # -- keeping -------------------------------------------------------------------------------------------------------

    def keep(self, site: int, key: bytes, entry: Entry, body: Sequence[Buffer | bytes], *, flags: int = 0, asked: bool = False) -> None:
        """A whole answer. What has no room any more goes. asked: a fetch still looks after it, and who waits goes on waiting."""
        self.hosts.saw(site, key)
        self._count(site, key, self.table.keep(
            site, key, entry.head, entry.line_size, entry.fields_size, body, status=entry.status, flags=entry.flags | flags,
            etag=entry.etag, also=entry.tag_size, asked=asked, **entry.times(),
        ))  # fmt: skip
        self._tag(site, key, entry.tags)
        if b"\0" in key:
            self._variants.setdefault((site, primary(key)), {})[key] = None
        self.fit()

    def grow(self, site: int, key: bytes, entry: Entry, sequence: Grown, total: int | None) -> None:
        """An answer whose body still comes; who waits for it follows."""
        self.hosts.saw(site, key)
        self._count(site, key, self.table.keep(
            site, key, entry.head, entry.line_size, entry.fields_size, (), status=entry.status, flags=entry.flags, etag=entry.etag,
            also=entry.tag_size, sequence=sequence, total=-1 if total is None else total, **entry.times(),
        ))  # fmt: skip
        self._tag(site, key, entry.tags)
        self.fit()

    def mark(self, site: int, key: bytes, *, until: float) -> None:
        """Nothing of this is kept: until then each request goes to the origin by itself."""
        self.table.keep(site, key, b"", 0, 0, (), status=0, flags=k.PASS, born=0, fresh_until=int(until))
        self._tag(site, key, ())
        self.fit()

    def varies(self, site: int, key: bytes, names: Iterable[bytes], *, most: int, variant: bytes) -> None:
        """Answers under `key` differ by these fields; `variant` is the key of one of them. Above `most` the oldest goes."""
        listed = b"".join(b"%s\n" % name for name in names)
        found = self.table.find(site, key)
        if found is None or not found.flags & k.VARY or found.lines != listed:
            for old in list(self._variants.get((site, key), ())):
                self.drop(site, old)
            self.table.keep(site, key, listed, 0, len(listed), (), status=0, flags=k.VARY, born=0, fresh_until=0)
        known = self._variants.setdefault((site, key), {})
        known[variant] = None
        while len(known) > most:
            self.drop(site, next(iter(known)))

    def lists(self, site: int, key: bytes) -> bool:
        """False: a variant whose place among those of its object was given away, for newer ones came, or what varies has changed."""
        return b"\0" not in key or key in self._variants.get((site, primary(key)), ())

    # -- room ----------------------------------------------------------------------------------------------------------

    def hold(self, what: Buffer | Arena) -> None:
        """Bytes of the CDN's that are not kept, or not yet: they count until nobody holds them. What has no room any more goes."""
        self.account.charge(what)
        self.fit()

    def room(self, size: int) -> Room | None:
        """Room for bytes that will come; None: nothing more can go for them."""
        return Room(self.account, size) if self.fit(size) else None

    def fit(self, size: int = 0) -> bool:
        """Let go what is above the capacity, or would be with `size` bytes more. False: that is not enough."""
        most = self.capacity - self.account.promised - size
        if self.account.bytes > most:
            gone = self.table.evict(most)
            self.evictions += len(gone)
            for site, key, requests, sent in gone:
                self._count(site, key, (requests, sent))
            self._forget([(site, key) for site, key, _, _ in gone])
        return self.account.bytes <= most

    # -- finding -------------------------------------------------------------------------------------------------------

    def find(self, site: int, key: bytes, fields: list[tuple[bytes, bytes]], *, hit: bool = False) -> tuple[bytes | None, Answer | None]:
        """The key of the answer that suits these fields of a request (None: it can not be kept), and that answer. PASS is none."""
        found = self.table.find(site, key, hit=hit)
        if found is not None and found.flags & k.VARY:
            variant = variant_key(key, found.lines, fields)
            return variant, None if variant is None else self.table.find(site, variant, hit=hit)
        return key, found

    # -- forgetting ----------------------------------------------------------------------------------------------------

    def drop(self, site: int, key: bytes) -> bool:
        """Forget one answer. False: there was none."""
        usage = self.table.drop(site, key)
        self._count(site, key, usage)
        self._forget([(site, key)])
        return usage is not None

    def drop_object(self, site: int, key: bytes, *, soft: bool, now: float) -> int:
        """Forget an object with every variant and slice; the number of answers."""
        return self.purge_names(self.names_of(site, key), soft=soft, now=now)

    def names_of(self, site: int, key: bytes) -> list[Name]:
        """The names under which an object may lie: its own, its variants', its slices'."""
        return [(site, key), *((site, name) for name in self._variants.get((site, key), ()))]

    def tagged(self, tag: bytes, site: int | None) -> list[Name]:
        return [name for name in self._tagged.get(tag, ()) if site is None or name[0] == site]

    def purge_names(self, names: Sequence[Name], *, soft: bool, now: float) -> int:
        if soft:
            return sum(self.table.soften(site, key, int(now)) for site, key in names)
        count, drop = 0, self.table.drop
        for site, key in names:
            if (usage := drop(site, key)) is not None:
                count += 1
                if usage[0]:
                    self._count(site, key, usage)
        self._forget(names)
        return count

    def names(self, site: int | None, prefix: bytes = b"") -> Iterator[list[tuple[int, bytes, Answer]]]:
        """Everything that is kept, in stretches; between two of them the caller may let others run."""
        at, places = 0, self.table.places
        while at >= 0:
            found, at = self.table.scan(at, _SCAN, -1 if site is None else site, prefix)
            yield found
            if at >= 0 and self.table.places != places:
                at, places = 0, self.table.places

    # -- counting ------------------------------------------------------------------------------------------------------

    def drain_usage(self) -> dict[Name, tuple[int, ...]]:
        """(requests, bytes) by name since the last call."""
        found, at = self._usage.take(), 0
        while at >= 0:
            some, at = self.table.drain_usage(at, _SCAN)
            for site, key, requests, size in some:
                before = found.get((site, key), (0, 0))
                found[site, key] = (before[0] + requests, before[1] + size)
        return found

    def _count(self, site: int, key: bytes, usage: tuple[int, int] | None) -> None:
        if usage is not None and usage[0]:
            self._usage.add((site, key), len(key), *usage)

    def _tag(self, site: int, key: bytes, tags: tuple[bytes, ...]) -> None:
        name = (site, key)
        self._untag([name])
        if tags:
            self._tags[name] = tags
            for tag in tags:
                self._tagged.setdefault(tag, set()).add(name)

    def _untag(self, names: Sequence[Name]) -> None:
        """Those that had the same tags go from the tags' sets in one step: a purge has thousands of them."""
        alike: dict[tuple[bytes, ...], list[Name]] = {}
        for name in names:
            if (tags := self._tags.pop(name, None)) is not None:
                alike.setdefault(tags, []).append(name)
        for tags, some in alike.items():
            for tag in tags:
                if (named := self._tagged.get(tag)) is not None:  # None: the tag comes twice
                    named.difference_update(some)
                    if not named:
                        del self._tagged[tag]

    def tags_of(self, site: int, key: bytes) -> tuple[bytes, ...]:
        return self._tags.get((site, key), ())

    def _forget(self, names: Sequence[Name]) -> None:
        self._untag(names)
        if not self._variants:
            return
        for site, key in names:
            # What an object's name goes without is still here, and is found by it: its variants and slices leave one by one.
            if b"\0" in key and (known := self._variants.get(name := (site, primary(key)))) is not None:
                known.pop(key, None)
                if not known:
                    del self._variants[name]


MAX_STARS: Final = 8  # of one pattern: what it costs to match grows with each


def glob(pattern: bytes) -> re.Pattern[bytes]:
    """`*` within a segment, `**` across. The expression has no nested repetition of one class, so it can not run away."""
    parts = [b".*" if part[:2] == b"**" else b"[^/]*" if part == b"*" else re.escape(part) for part in re.split(rb"(\*\*+|\*)", pattern)]
    return re.compile(b"".join(parts), re.DOTALL)


def literal_prefix(pattern: bytes) -> bytes:
    """What a glob begins with, up to its first star."""
    return pattern.partition(b"*")[0]
