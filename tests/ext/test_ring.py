"""The byte ring: order, room and the two doorbells, against a queue of plain Python."""

from __future__ import annotations

import select
from collections import deque

from hypothesis import given
from hypothesis import strategies as st

from nova.ext.ring import ByteRing

SIZE = 262_144


def rings(bell: int) -> bool:
    return bool(select.select([bell], [], [], 0)[0])


@given(st.lists(st.one_of(st.integers(0, 40_000), st.none()), max_size=200))
def test_records_come_out_as_they_went_in(steps: list[int | None]) -> None:
    """An integer puts a record of that size, None takes one. Records never wrap, so every place of the end is met."""
    ring, oracle, number = ByteRing(SIZE), deque[tuple[int, bytes]](), 0
    for step in steps:
        if step is None:
            assert ring.take() == (oracle.popleft() if oracle else None)
            continue
        number = number % 60_000 + 1
        payload, more = number.to_bytes(4, "big") * (step // 8), bytes([number % 251]) * (step // 2)
        had_room = ring.room(len(payload) + len(more))
        assert ring.put(number, payload, more) == had_room
        if had_room:
            oracle.append((number, payload + more))
        else:
            assert oracle  # an empty ring has room for every record that it may be given
    while oracle:
        assert ring.take() == oracle.popleft()
    assert ring.take() is None


def test_consumer_that_is_awake_is_not_rung() -> None:
    ring = ByteRing()
    ring.put(1, b"x")
    ring.tell()
    assert not rings(ring.bell)


def test_consumer_that_dozes_is_rung_once() -> None:
    ring = ByteRing()
    assert ring.doze()
    for _ in range(3):
        ring.put(1, b"x")
        ring.tell()
    assert rings(ring.bell)
    with open(ring.bell, "rb", buffering=0, closefd=False) as bell:
        assert int.from_bytes(bell.read(8), "little") == 1


def test_consumer_with_something_to_read_does_not_doze() -> None:
    ring = ByteRing()
    ring.put(1, b"x")
    assert not ring.doze()
    assert ring.take() == (1, b"x")
    assert ring.doze()
    ring.woke()
    ring.put(2, b"y")
    ring.tell()
    assert not rings(ring.bell)


def test_producer_without_room_hears_when_half_of_it_is_free() -> None:
    ring, count = ByteRing(SIZE), 0
    while ring.put(1, bytes(10_000)):
        count += 1
    taken = 0
    while not rings(ring.room_bell):
        assert ring.take() is not None
        taken += 1
    assert taken < count  # before it is empty, and
    assert ring.room(65_536)  # with room for any piece


def test_producer_that_never_lacked_room_hears_nothing() -> None:
    ring = ByteRing(SIZE)
    for _ in range(100):
        assert ring.put(1, bytes(10_000))
        assert ring.take() is not None
    assert not rings(ring.room_bell)
