"""Sums by name, within so many bytes."""

import tracemalloc

from nova.cdn.cache.tally import MOST, Tally
from nova.cdn.shield.backoff import Backoff


def test_sums_of_a_name_add_up_until_they_are_taken() -> None:
    tally = Tally[bytes]()
    tally.add(b"a", 1, 1, 0, 10)
    tally.add(b"b", 1, 1, 1, 5)
    tally.add(b"a", 1, 1, 1, 20)
    assert tally.take() == {b"a": (2, 1, 30), b"b": (1, 1, 5)}
    assert tally.take() == {}


def test_long_names_take_no_more_room_than_short_ones() -> None:
    for size in (10, 8000):
        tally = Tally[bytes]()
        tracemalloc.start()
        for number in range(100_000):
            name = b"%0*d" % (size, number)
            tally.add(name, size, 1, 0, 1000)
        used, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert used < MOST * 1.25
        tally.add(b"%0*d" % (size, 0), size, 1, 1, 1)  # what is there goes on
        found = tally.take()
        assert found[b"%0*d" % (size, 0)] == (2, 1, 1001)
        assert b"%0*d" % (size, 99_999) not in found
        tally.add(b"new", 3, 1, 0, 1)
        assert tally.take() == {b"new": (1, 0, 1)}


def test_failures_of_long_names_take_no_more_room_than_those_of_short_ones() -> None:
    backoff = Backoff(1.0, 8.0)
    for number in range(100_000):
        backoff.failed(b"%08000d" % number, 100.0)
    assert backoff.left(b"%08000d" % 99_999, 100.0) == 1.0
    assert backoff.left(b"%08000d" % 0, 100.0) == 0.0
    assert len(backoff._failed) < 1000
    assert backoff.failed(b"%08000d" % 99_999, 101.0) == 2.0
    backoff.worked(b"%08000d" % 99_999)
    assert backoff.failed(b"%08000d" % 99_999, 102.0) == 1.0
