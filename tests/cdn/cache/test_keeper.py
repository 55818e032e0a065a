"""The memory tier: an object is found with all that lies under it, also when its own name has left."""

import pytest

from nova.cdn.cache.entry import make
from nova.cdn.cache.freshness import Verdict
from nova.cdn.cache.keeper import Keeper
from nova.ext import kept as k
from nova.ext.buffer import Buffer
from nova.ext.eviction import Eviction
from nova.ext.kept import variant_key
from nova.ext.objects import ObjectTable
from nova.ext.sequence import Sequence as Grown
from tests.cdn import traces

NOW = 1_800_000_000
KEY = b"h/a"
LANGUAGE = (b"accept-language",)


def variant(value: bytes) -> bytes:
    found = variant_key(KEY, b"accept-language\n", [(b"accept-language", value)])
    assert found is not None
    return found


def put(keeper: Keeper, key: bytes, *, flags: int = 0) -> None:
    entry = make(200, b"", (), Verdict(True, "", NOW, NOW + 60), received_at=NOW, total=1, via=b"n")
    keeper.keep(1, key, entry, [b"x"], flags=flags)


@pytest.mark.parametrize("gone", ["evicted", "dropped"])
def test_variants_are_forgotten_with_their_object_when_its_own_name_has_left(gone: str) -> None:
    """Else a purge that was acknowledged leaves them, and the next answer that varies makes them found again."""
    keeper = Keeper(ObjectTable(), policy="lru", capacity=1 << 20)
    for value in (b"de", b"en"):
        keeper.varies(1, KEY, LANGUAGE, most=8, variant=variant(value))
        put(keeper, variant(value))
    put(keeper, KEY + b"\0#0", flags=k.PIECE)
    if gone == "dropped":
        keeper.drop(1, KEY)
    else:  # the name goes first, for nobody asks for it but through its variants
        for name in (variant(b"de"), variant(b"en"), KEY + b"\0#0"):
            keeper.table.find(1, name, hit=True)
        keeper.capacity = keeper.table.bytes - 1
        keeper.fit()
    assert keeper.table.find(1, KEY) is None
    assert keeper.drop_object(1, KEY, soft=False, now=NOW) == 3
    assert keeper.table.count == 0


def test_what_has_left_is_not_remembered() -> None:
    keeper = Keeper(ObjectTable(), policy="s3fifo", capacity=1 << 20)
    keeper.varies(1, KEY, LANGUAGE, most=2, variant=variant(b"de"))
    for value in (b"de", b"en", b"fr"):
        keeper.varies(1, KEY, LANGUAGE, most=2, variant=variant(value))
        put(keeper, variant(value))
    assert len(keeper.names_of(1, KEY)) == 3
    keeper.varies(1, KEY, (b"accept",), most=2, variant=variant(b"x"))
    assert keeper.names_of(1, KEY) == [(1, KEY), (1, variant(b"x"))]
    keeper.drop_object(1, KEY, soft=False, now=NOW)
    assert not keeper._variants


@pytest.mark.parametrize("grows", [False, True])
def test_what_is_renewed_keeps_its_place_among_those_that_go(grows: bool) -> None:
    """Else each validation puts what many ask for behind newcomers that nobody asks for twice."""
    keeper = Keeper(ObjectTable(), policy="s3fifo", capacity=1 << 18)

    def flood(first: int) -> None:
        for number in range(first, first + 3000):
            put(keeper, b"h/%d" % number)

    put(keeper, KEY)
    for _ in range(3):
        keeper.table.find(1, KEY, hit=True)
    flood(0)
    assert keeper.table.find(1, KEY, hit=True) is not None
    if grows:
        entry = make(200, b"", (), Verdict(True, "", NOW, NOW + 60), received_at=NOW, total=1, via=b"n")
        keeper.grow(1, KEY, entry, Grown(window_items=0, window_bytes=0), 1)
    put(keeper, KEY)
    assert keeper.account.bytes == keeper.table.bytes <= 1 << 18
    flood(3000)
    assert keeper.table.find(1, KEY) is not None


@pytest.mark.parametrize("capacity", [30_000_000, 100_000_000])
def test_what_the_account_counts_costs_no_hits(capacity: int) -> None:
    """The order of leaving alone, and behind it: with keys, heads and growing bodies, an object takes half a kilobyte more."""
    trace = traces.mix(20_000, 5)
    keeper, body = Keeper(ObjectTable(), policy="s3fifo", capacity=capacity), bytes(500_000)
    hits = 0
    for name, size in trace:
        key = b"h/%d" % name
        if keeper.table.find(1, key, hit=True) is not None:
            hits += 1
            continue
        room = keeper.room(size)
        assert room is not None
        entry = make(200, b"", (), Verdict(True, "", NOW, NOW + 60), received_at=NOW, total=size, via=b"n")
        with room:
            keeper.grow(1, key, entry, Grown(window_items=0, window_bytes=0), size)
            piece = Buffer(body[:size])
            room.came(size)
            keeper.hold(piece)
        assert keeper.table.admits(1, key, entry.weight(key, size))
        keeper.keep(1, key, entry, [piece])
        assert keeper.account.bytes <= capacity
    order, kept = Eviction("s3fifo", capacity), dict[int, int]()
    names, alone = dict[int, int](), 0
    for name, size in trace:
        if name in kept:
            order.hit(kept[name])
            alone += 1
            continue
        while order.bytes + size > capacity:
            gone = names.pop(order.victim())
            order.forget(kept.pop(gone), traces.hash64(gone))
        handle = kept[name] = order.add(traces.hash64(name), size)
        names[handle] = name
    assert abs(hits - alone) < 0.005 * len(trace)
