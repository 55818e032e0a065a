"""Which channels are forgotten, and when."""

import itertools

import pytest

from nova.core.clock import FakeClock
from nova.core.errors import Unavailable
from nova.realtime.history import Publication
from nova.realtime.presence import Member
from nova.realtime.rooms import FULL, IDLE, SWEEP, Room, Rooms
from nova.realtime.rules import Namespace
from nova.realtime.trio_sockets import TrioSockets

SPACE = Namespace("public")


class Made:
    """Rooms for at most so many, of which some are in use."""

    def __init__(self, most: int) -> None:
        self.gone: list[str] = []
        self.rooms = Rooms(TrioSockets(FakeClock()), most=most, most_bytes=2**20, gone=lambda room: self.gone.append(room.name))
        self.names = (f"public:{number}" for number in itertools.count())

    def add(self, count: int, now: float = 0.0, *, busy: bool = False, kept: bool = False) -> list[Room]:
        found = [self.rooms.obtain(next(self.names), SPACE, "", now) for _ in range(count)]
        for room in found:
            if busy:
                room.members.enter(Member("alice", "c1", 0))
            if kept:
                self.rooms.put(room, Publication(room.history.offset + 1, b"1", 0), "", keep=True)
        return found


def test_new_channel_takes_the_place_of_an_idle_one_however_many_are_in_use() -> None:
    made = Made(2 * SWEEP + 1)
    made.add(2 * SWEEP, busy=True)
    idle = made.add(1, kept=True)[0]
    made.add(1, busy=True)
    assert made.gone == [idle.name]


def test_when_all_are_in_use_it_is_said_without_looking_each_time() -> None:
    made = Made(3)
    busy = made.add(3, busy=True)
    for _ in range(2):
        with pytest.raises(Unavailable):
            made.add(1)
    busy[1].members.leave("c1")
    with pytest.raises(Unavailable):
        made.add(1, FULL / 2)
    made.add(1, FULL)
    assert made.gone == [busy[1].name]


def test_many_that_keep_something_do_not_hide_those_behind_them_from_a_sweep() -> None:
    made = Made(10_000)
    made.add(SWEEP + 1, kept=True)
    in_use = made.add(SWEEP, busy=True)
    idle = made.add(3)
    fresh = made.add(1, IDLE)[0]
    assert sum(made.rooms.sweep(IDLE + 1, 0)) == 3 and made.gone == [room.name for room in idle]
    assert all(room.used == IDLE + 1 for room in in_use) and fresh.used == IDLE


def test_channel_that_is_used_while_a_sweep_rests_stays() -> None:
    made = Made(10_000)
    found = made.add(SWEEP + 1)
    slices = made.rooms.sweep(IDLE + 1, 0)
    assert next(slices) == SWEEP
    made.rooms.obtain(found[-1].name, SPACE, "", IDLE + 1)
    assert list(slices) == [0]
