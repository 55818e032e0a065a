"""The index of a tier: against a dict, and the bytes that it takes."""

from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nova.ext.eviction import Eviction
from nova.ext.places import Places

POLICIES = st.sampled_from(["s3fifo", "lru", "sieve", "fifo"])
KEYS = st.sampled_from([b"", b"h/a", b"h/b", b"h/ab", b"g/a"])
VALUES = st.sampled_from([b"", b"\0x\n", b"\0y\n", b"\0x\0y\n"])
TAGS = st.lists(st.sampled_from([b"", b"a", b"b", b"accept", b"ab"]), unique=True, max_size=4).map(tuple)


class Lying(NamedTuple):
    size: int
    fresh_until: int
    tags: tuple[bytes, ...]
    vary: bytes
    soft: bool


class Model(dict[tuple[int, bytes], Lying]):
    """What the index knows by name, oldest first."""

    def variants(self, site: int, key: bytes) -> list[bytes]:
        return [k for (s, k), lying in reversed(self.items()) if s == site and lying.vary and k.partition(b"\0")[0] == key]

    def tagged(self, tag: bytes, site: int) -> list[tuple[int, bytes]]:
        return [name for name, lying in reversed(self.items()) if tag in lying.tags and site in (-1, name[0])]


def same(places: Places, order: Eviction, model: Model) -> None:
    assert (len(places), len(order), order.bytes) == (len(model), len(model), sum(lying.size for lying in model.values()))
    for name, lying in model.items():
        handle = places.find(*name)
        found = Lying(
            places.size(handle), places.fresh_until(handle), places.tags(handle), places.varies(name[0], name[1].partition(b"\0")[0]),
            places.is_soft(handle),
        )  # fmt: skip
        newest = next(iter(model.variants(name[0], name[1].partition(b"\0")[0])), None)
        vary = b"" if newest is None else model[name[0], newest].vary
        assert (places.name(handle), found) == (name, lying._replace(vary=vary))
        assert places.variants(name[0], name[1].partition(b"\0")[0]) == model.variants(name[0], name[1].partition(b"\0")[0])
    for tag in (b"", b"a", b"b", b"accept", b"ab", b"none"):
        for site in (-1, 0, 1, 2):
            assert places.tagged(tag, site) == model.tagged(tag, site)
    for site in (-1, 0, 1, 2):
        at, seen = 0, list[tuple[int, bytes]]()
        while at >= 0:
            some, at = places.scan(at, 3, site)
            seen += some
        assert sorted(seen) == sorted(name for name in model if site in (-1, name[0]))


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(0, 2), KEYS, VALUES, st.integers(0, 99), TAGS, st.booleans()),
        st.tuples(st.just("remove"), st.integers(0, 2), KEYS, VALUES),
        st.tuples(st.just("age"), st.integers(0, 2), KEYS, VALUES, st.integers(0, 99)),
        st.tuples(st.just("forget")),
    ),
    max_size=60,
)


@given(policy=POLICIES, steps=STEPS)
def test_it_is_a_dict(policy: str, steps: list[tuple[object, ...]]) -> None:
    order = Eviction(policy, 1 << 20)
    places, model = Places(order), Model()
    empty = places.memory
    for step in steps:
        match step:
            case "add", int(site), bytes(key), bytes(values), int(number), tuple(tags), bool(soft):
                name, vary = (site, key + values), (b"accept", b"ab")[number % 2] if values else b""
                model.pop(name, None)
                model[name] = Lying(number, number, tags, vary, soft)
                places.add(*name, number, number, tags, vary, soft)
            case "remove", int(site), bytes(key), bytes(values):
                handle = places.find(site, key + values)
                assert (handle < 0) == (model.pop((site, key + values), None) is None)
                if handle >= 0:
                    places.remove(handle)
            case "age", int(site), bytes(key), bytes(values), int(now):
                handle, name = places.find(site, key + values), (site, key + values)
                if handle >= 0:
                    places.age(handle, now)
                    places.soften(handle)
                    model[name] = model[name]._replace(fresh_until=min(now, model[name].fresh_until), soft=True)
            case "forget",:
                handle = order.victim()
                if handle >= 0:
                    name = places.name(handle)
                    assert policy != "fifo" or name == next(iter(model))
                    del model[name]
                    places.forget(handle)
        same(places, order, model)
    for name in model:
        places.remove(places.find(*name))
    assert (len(places), order.bytes, places.memory) == (0, 0, empty)


def test_who_came_back_from_the_ghosts_is_told_by_its_name() -> None:
    order = Eviction("s3fifo", 1 << 20)
    places = Places(order)
    big = 1 << 18  # more than the small queue's share: it must have been asked for before
    places.add(0, b"h/full", (1 << 20) - 1, 0, ())
    assert not order.admits(places.hash(0, b"h/a"), big)
    assert not order.admits(places.hash(1, b"h/a"), big)
    assert order.admits(places.hash(0, b"h/a"), big)


def test_handles_and_keys_are_looked_at() -> None:
    order = Eviction("lru", 100)
    places = Places(order)
    handle = places.add(0, b"h/a", 1, 0, ())
    places.remove(handle)
    for use in (places.remove, places.forget, places.name, places.size, places.tags, places.soften, places.is_soft):
        for bad in (handle, handle + 1, 1 << 31):
            with pytest.raises(ValueError, match="no such handle"):
                use(bad)
    with pytest.raises(ValueError, match="at most"):
        places.add(0, bytes(65_536), 1, 0, ())
    with pytest.raises(TypeError):
        places.add(0, b"h/a", 1, 0, (b"a", "b", b"c"))  # type: ignore[arg-type]
    assert (len(places), len(order), places.find(0, b"h/a"), places.tagged(b"a")) == (0, 0, -1, [])
    assert places.find(0, bytes(65_535)) == -1
    places.add(0, bytes(65_535), 1, 0, ())
    assert places.find(0, bytes(65_535)) >= 0


def test_one_object_with_very_many_variants_costs_the_others_nothing() -> None:
    """Each step looks at a few, not at all of them: 100,000 at a time would take minutes."""
    places = Places(Eviction("lru", 1 << 40))
    keys = [b"h/a\0%d\n" % number for number in range(100_000)]
    for key in keys:
        places.add(0, key, 1, 0, (b"all",), b"user-agent")
        assert places.varies(0, b"h/a") == b"user-agent"
    assert places.variants(0, b"h/a") == keys[::-1]
    for key in keys[::2] + keys[1::2]:
        places.remove(places.find(0, key))
    assert (places.varies(0, b"h/a"), places.tagged(b"all")) == (b"", [])


@pytest.mark.parametrize(("tags", "vary", "most"), [
    ((), b"", 76), ((b"all",), b"", 88), ((b"all", b"film"), b"", 100), ((), b"accept-encoding", 92), ((b"all",), b"accept-encoding", 104),
])  # fmt: skip
def test_it_takes_less_than_100_bytes_an_object_and_12_for_each_further_tag(tags: tuple[bytes, ...], vary: bytes, most: int) -> None:
    """What malloc gave, with its rounding and its own bytes, for places, labels, chains, order and ghosts: also just after each of them has
    grown. Keys of many lengths, for malloc gives 16 bytes at a time."""
    places = Places(Eviction("s3fifo", 1 << 40))
    keys, worst = 0, 0.0
    for number in range(1, 200_001):
        key = b"h/%d/%s" % (number, b"x" * (number % 16)) + (b"\0003\n" if vary else b"")
        keys += len(key)
        places.add(0, key, 1000, 0, tags, vary)
        if number >= 10_000 and number % 16 == 0:
            worst = max(worst, (places.memory - keys) / number)
    assert 16 + 8 + 24 + 4 < worst < most  # and malloc gives a little more here and there, by what was there before
