"""Counting viewers, against a dictionary."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from nova.core.clock import SystemClock
from nova.core.reactor import Reactor
from nova.ext.viewers import Viewers


def test_viewer_counts_once_per_stream_for_the_length_of_the_window() -> None:
    viewers = Viewers(10)
    for at in (100, 103, 105):
        viewers.touch(1, 7, at)
    viewers.touch(1, 8, 100)
    viewers.touch(2, 7, 100)
    assert viewers.counts(105) == {1: 2, 2: 1}
    assert (viewers.count(1, 110), viewers.count(1, 111), viewers.count(1, 115), viewers.count(1, 116)) == (2, 1, 1, 0)
    assert viewers.counts(116) == {}


def test_viewer_with_the_number_of_a_free_slot_is_one_too() -> None:
    viewers = Viewers()
    viewers.touch(1, 0, 5)
    viewers.touch(1, 0, 6)
    assert viewers.count(1, 6) == 1


def test_crowd_grows_the_table_and_those_who_leave_make_room() -> None:
    viewers = Viewers(10)
    for viewer in range(50_000):
        viewers.touch(3, viewer + 1, 1000)
    assert viewers.count(3, 1000) == 50_000
    for viewer in range(20_000):
        viewers.touch(4, viewer + 1, 2000)
    assert viewers.counts(2000) == {4: 20_000}
    assert viewers.overflow == 0


def test_numbers_that_differ_in_their_high_bits_alone_do_not_crowd_one_place() -> None:
    """Whoever picks their marks to collide: the walk over their common slot would hold every thread up."""
    viewers = Viewers(10)
    for viewer in range(60_000):
        viewers.touch(1, viewer << 44 | 5, 1000)
    assert viewers.count(1, 1000) == 60_000


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(0, 30), st.integers(0, 3)), max_size=300), st.integers(1, 5))
def test_counts_are_those_of_a_dictionary(steps: list[tuple[int, int, int]], window: int) -> None:
    viewers, seen, now = Viewers(window), dict[tuple[int, int], int](), 100
    for tag, viewer, passed in steps:
        now += passed
        viewers.touch(tag, viewer + 1, now)
        seen[tag, viewer] = now
    live = Counter(tag for (tag, _), at in seen.items() if now - at <= window)
    assert viewers.counts(now) == dict(live)
    for tag in range(1, 4):
        assert viewers.count(tag, now) == live[tag]


def test_a_reactor_counts_viewers_for_as_long_as_it_is_told() -> None:
    viewers = Reactor(SystemClock(), viewer_window=2).viewers
    viewers.touch(1, 7, 100)
    assert [viewers.count(1, now) for now in (100, 102, 103)] == [1, 1, 0]
