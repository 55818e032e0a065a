"""The account against a model: at every quiet point it is the sum of what can be reached, and nothing once everything has ended."""

import contextlib
import gc
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from nova.cdn.cache.entry import Entry, assemble
from nova.cdn.cache.freshness import Verdict
from nova.cdn.cache.keeper import Keeper, Room
from nova.cdn.shield.fill import ARENA_LEAST, Fill, TooLarge
from nova.core.reactor import Feed
from nova.ext import kept as k
from nova.ext.buffer import Buffer
from nova.ext.objects import ObjectTable

BUFFER = 64  # what a buffer takes itself
KEPT = 256  # and an answer
TAG = 128 + 1  # and one of its tags
CAPACITY = 2_000_000
KEYS = [b"h/%d" % number for number in range(6)]


@dataclass(eq=False)
class Held:
    """Something that counts, as the model knows it."""

    cost: int


@dataclass(eq=False)
class Lying:
    """An answer in the table: its struct and head, its body, its compressed forms."""

    own: list[Held]
    body: list[Held]
    forms: list[Held] = field(default_factory=list)

    @property
    def all(self) -> list[Held]:
        return [*self.own, *self.body, *self.forms]


@dataclass(eq=False)
class Filling:
    fill: Fill
    room: Room
    total: int | None
    entry: Entry
    parts: list[Held] = field(default_factory=list)
    key: bytes | None = None  # under which it grows in the table


def entry(total: int | None, tag: bytes = b"t") -> Entry:
    fields = [(b"etag", b'"one"'), (b"date", b"Thu, 01 Jan 2026 00:00:00 GMT")]
    return assemble(200, b"", fields, Verdict(True, "", 1000, 9000, 0, 0), received_at=1000, total=total, tags=(tag,))


class Model(RuleBasedStateMachine):
    """What is kept, grows, passes and is read, each with what it holds."""

    policies: ClassVar = st.sampled_from(["s3fifo", "lru", "sieve", "fifo"])

    @initialize(policy=policies)
    def begin(self, policy: str) -> None:
        gc.disable()  # nothing may wait for a collection
        self.keeper = Keeper(ObjectTable(), policy=policy, capacity=CAPACITY)
        self.kept: dict[bytes, Lying] = {}
        self.fills: list[Filling] = []
        self.readers: list[tuple[Any, Lying]] = []
        self.passing: list[tuple[Buffer, Held]] = []

    def gone(self) -> None:
        """What was evicted or dropped is not the table's any more."""
        for key in list(self.kept):
            if self.keeper.table.find(1, key) is None:
                del self.kept[key]

    def answer(self, key: bytes, made: Entry, body: list[Held]) -> Lying:
        return Lying([Held(KEPT + TAG + len(key)), Held(len(made.head) + BUFFER)], body)

    # -- fetches

    @rule(size=st.sampled_from([None, 0, 1000, 100_000, ARENA_LEAST, 700_000, 1_900_000]))
    def open(self, size: int | None) -> None:
        room = self.keeper.room(size or 0)
        self.gone()
        if room is None:
            return
        fill = Fill(self.keeper, room, Feed(window_items=0, window_bytes=0), size, most=CAPACITY // 2)
        self.fills.append(Filling(fill, room, size, entry(size)))
        if size is not None and size >= ARENA_LEAST:
            self.fills[-1].parts.append(Held(BUFFER))
        self.gone()

    @precondition(lambda self: self.fills)
    @rule(at=st.integers(0, 9), key=st.sampled_from(KEYS))
    def share(self, at: int, key: bytes) -> None:
        found = self.fills[at % len(self.fills)]
        if found.key is None and all(each.key != key for each in self.fills):
            found.key = key
            self.keeper.grow(1, key, found.entry, found.fill.feed.sequence, found.total)
            self.kept[key] = self.answer(key, found.entry, found.parts)
            self.gone()

    @precondition(lambda self: self.fills)
    @rule(at=st.integers(0, 9), size=st.sampled_from([1, 500, 20_000, 300_000]))
    def append(self, at: int, size: int) -> None:
        found = self.fills[at % len(self.fills)]
        if found.total is not None:
            size = min(size, found.total - found.fill.size)
        if not size:
            return
        try:
            found.fill.append(bytes(size))
        except TooLarge:
            self.gone()
            self.end(at, whole=False)
            return
        if found.total is not None and found.total >= ARENA_LEAST:
            found.parts[0].cost += size
        else:
            found.parts.append(Held(size + BUFFER))
        self.gone()

    @precondition(lambda self: self.fills)
    @rule(at=st.integers(0, 9), whole=st.booleans())
    def end(self, at: int, whole: bool) -> None:
        """It comes to its end, is broken, cancelled, or overtaken by a purge."""
        found = self.fills.pop(at % len(self.fills))
        whole = whole and found.total in (None, found.fill.size)
        if not whole:
            with contextlib.suppress(ValueError), found.room, found.fill:
                raise ValueError
            if found.key is not None and found.key in self.kept:
                self.keeper.drop(1, found.key)
                self.gone()
            return
        with found.room, found.fill:
            found.fill.end()
        if found.key is not None:
            made, body = entry(found.fill.size), found.fill.body()
            self.keeper.keep(1, found.key, made, body)
            crumbs = len(found.parts) > 1 and found.fill.size / len(found.parts) < 16_384
            parts = [Held(found.fill.size + BUFFER)] if crumbs else found.parts
            self.kept[found.key] = self.answer(found.key, made, parts if found.fill.size else [])
            del body
        del found
        self.keeper.fit()
        self.gone()

    # -- readers

    @precondition(lambda self: self.kept)
    @rule(key=st.sampled_from(KEYS))
    def read(self, key: bytes) -> None:
        found = self.keeper.table.find(1, key, hit=True)
        if found is not None and not found.growing:
            self.readers.append((found, self.kept[key]))

    @precondition(lambda self: self.fills)
    @rule(at=st.integers(0, 9), many=st.integers(1, 64))
    def follow(self, at: int, many: int) -> None:
        found = self.fills[at % len(self.fills)]
        items, _, _ = found.fill.feed.sequence.take(1, many)
        if items:
            arena = found.total is not None and found.total >= ARENA_LEAST
            self.readers.append((items, Lying([], found.parts if arena else found.parts[: len(items)])))

    @precondition(lambda self: self.readers)
    @rule(at=st.integers(0, 99))
    def leave(self, at: int) -> None:
        self.readers.pop(at % len(self.readers))

    @rule(size=st.sampled_from([16_384, 262_144]))
    def passes(self, size: int) -> None:
        piece = Buffer(bytes(size))
        self.keeper.hold(piece)
        self.passing.append((piece, Held(size + BUFFER)))
        self.gone()

    @precondition(lambda self: self.passing)
    @rule()
    def passed(self) -> None:
        self.passing.pop(0)

    # -- what is kept

    @precondition(lambda self: self.kept)
    @rule(key=st.sampled_from(KEYS))
    def confirm(self, key: bytes) -> None:
        """304: the same body under a new head."""
        found = self.keeper.table.find(1, key)
        if found is not None and not found.growing and not found.flags & k.PASS:
            made, body = entry(found.total, b"u"), found.body()
            self.keeper.keep(1, key, made, body)
            self.kept[key] = self.answer(key, made, self.kept[key].body)
            del body, found
            self.keeper.fit()
            self.gone()

    @precondition(lambda self: self.kept)
    @rule(key=st.sampled_from(KEYS), index=st.integers(0, 2))
    def compress(self, key: bytes, index: int) -> None:
        found = self.keeper.table.find(1, key)
        if found is not None and not found.growing:
            head = entry(9).head
            if self.keeper.table.alternate(1, key, found, index, head, 17, len(head), [b"packed..."], b""):
                # Of what lies there, also for those who read it already.
                self.kept[key].forms += [Held(KEPT), Held(len(head) + BUFFER), Held(9 + BUFFER)]
            del found
            self.keeper.fit()
            self.gone()

    @rule(key=st.sampled_from(KEYS))
    def mark(self, key: bytes) -> None:
        if all(each.key != key for each in self.fills):
            self.keeper.mark(1, key, until=2000)
            self.kept[key] = Lying([Held(KEPT + len(key)), Held(BUFFER)], [])
            self.gone()

    @rule(tag=st.sampled_from([b"t", b"u"]))
    def purge(self, tag: bytes) -> None:
        self.keeper.purge_names(self.keeper.tagged(tag, None), soft=False, now=1000)
        self.gone()

    # -- what must hold

    def reachable(self) -> set[Held]:
        lying = {each for holder in (*self.kept.values(), *(holder for _, holder in self.readers)) for each in holder.all}
        return lying | {part for each in self.fills for part in each.parts} | {held for _, held in self.passing}

    @invariant()
    def the_account_is_what_can_be_reached(self) -> None:
        if not hasattr(self, "keeper"):
            return
        account = self.keeper.account
        assert account.bytes == sum(each.cost for each in self.reachable())
        assert account.promised == sum(each.total - each.fill.size for each in self.fills if each.total is not None)
        growing = [each.key for each in self.fills]
        placed = [key for key in self.kept if key not in growing]
        assert self.keeper.table.bytes == sum(each.cost for key in placed for each in self.kept[key].all)

    @invariant()
    def what_nobody_reads_makes_room(self) -> None:
        """Above the limit is only what cannot go: room is asked for again, and nothing else is left."""
        if hasattr(self, "keeper") and not self.keeper.fit():
            self.gone()
            read = {each for _, holder in self.readers for each in holder.all}
            growing = [each.key for each in self.fills]
            assert all(read.intersection(holder.all) for key, holder in self.kept.items() if key not in growing)
        elif hasattr(self, "keeper"):
            self.gone()

    def teardown(self) -> None:
        if hasattr(self, "keeper"):
            while self.fills:
                self.end(0, whole=False)
            self.readers.clear()
            self.passing.clear()
            for key in list(self.kept):
                self.keeper.drop(1, key)
            assert (self.keeper.account.bytes, self.keeper.account.promised, self.keeper.table.count) == (0, 0, 0)
        gc.enable()


TestAccount = Model.TestCase
TestAccount.settings = settings(max_examples=300, stateful_step_count=40, deadline=None)


def test_what_is_read_is_passed_over_and_the_next_one_goes() -> None:
    keeper = Keeper(ObjectTable(), policy="fifo", capacity=1_000_000)
    for number in range(4):
        keeper.keep(1, b"h/%d" % number, entry(200_000), [Buffer(bytes(200_000))])
    reader = keeper.table.find(1, b"h/0")
    assert keeper.fit(300_000)
    assert [keeper.table.find(1, b"h/%d" % number) is not None for number in range(4)] == [True, False, True, True]
    readers = [reader, *(keeper.table.find(1, b"h/%d" % number) for number in (2, 3))]
    assert keeper.room(600_000) is None
    assert keeper.table.count == 3  # nothing was thrown away for nothing
    del reader, readers
    room = keeper.room(600_000)
    assert room is not None
    with room:
        assert keeper.account.promised == 600_000
        room.came(100_000)
        assert keeper.account.promised == 500_000
    assert keeper.account.promised == 0


def test_a_mark_weighs_what_it_takes() -> None:
    keeper = Keeper(ObjectTable(), policy="s3fifo", capacity=1_000_000)
    keeper.mark(1, b"h/a", until=5)
    keeper.varies(1, b"h/b", [b"x-a"], most=2, variant=b"h/b\0one\n")
    assert keeper.account.bytes == keeper.table.bytes == 2 * (KEPT + BUFFER + 3) + len(b"x-a\n")
    assert keeper.table.find(1, b"h/a").flags & k.PASS  # type: ignore[union-attr]


def test_tags_count() -> None:
    keeper = Keeper(ObjectTable(), policy="s3fifo", capacity=1_000_000)
    for number in range(2000):  # ten bytes each, with eight kilobytes of tags
        tags = tuple(b"%d-%d-%s" % (number, at, b"x" * 100) for at in range(50))
        keeper.keep(1, b"h/%d" % number, replace(entry(10), tags=tags), [bytes(10)])
    assert keeper.account.bytes == keeper.table.bytes <= 1_000_000
    assert keeper.table.count < 100
    assert len(keeper.tagged(b"1999-0-" + b"x" * 100, None)) == 1
    assert keeper.tagged(b"0-0-" + b"x" * 100, None) == []
