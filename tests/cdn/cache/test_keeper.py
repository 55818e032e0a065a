"""The memory tier: an object is found with all that lies under it, also when its own name has left."""

import pytest

from nova.cdn.cache.entry import make
from nova.cdn.cache.freshness import Verdict
from nova.cdn.cache.keeper import Keeper
from nova.ext import kept as k
from nova.ext.kept import variant_key
from nova.ext.objects import ObjectTable

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
