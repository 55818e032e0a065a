"""The clock's contract, which the system's clock and the fake both pass."""

import time

import pytest

from nova.core.clock import Clock, FakeClock, SystemClock, rfc3339


@pytest.fixture(params=[SystemClock, FakeClock])
def clock(request: pytest.FixtureRequest) -> Clock:
    return request.param()


def test_monotonic_never_goes_back(clock: Clock) -> None:
    readings = [clock.monotonic() for _ in range(1000)]
    assert readings == sorted(readings)


def test_wall_is_a_time_of_this_century(clock: Clock) -> None:
    assert 1_700_000_000 < clock.wall() < 4_102_444_800


def test_both_readings_are_seconds(clock: Clock) -> None:
    assert isinstance(clock.monotonic(), float)
    assert isinstance(clock.wall(), float)


def test_system_clock_tells_the_time_of_this_machine() -> None:
    before = time.time()
    assert before <= SystemClock().wall() <= time.time()


def test_fake_clock_moves_only_when_told() -> None:
    clock = FakeClock()
    first = clock.monotonic(), clock.wall()
    assert (clock.monotonic(), clock.wall()) == first
    clock.advance(2.5)
    assert (clock.monotonic(), clock.wall()) == (first[0] + 2.5, first[1] + 2.5)


def test_setting_the_time_of_day_leaves_deadlines_alone() -> None:
    clock = FakeClock()
    monotonic = clock.monotonic()
    clock.set_wall(1.0)
    assert (clock.monotonic(), clock.wall()) == (monotonic, 1.0)


def test_time_does_not_pass_backwards() -> None:
    with pytest.raises(ValueError, match="backwards"):
        FakeClock().advance(-1)


@pytest.mark.parametrize(
    ("wall", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_767_225_599.9999, "2025-12-31T23:59:59.999Z"),
        (1_709_210_096.5, "2024-02-29T12:34:56.500Z"),
    ],
)
def test_times_are_rfc3339_utc_and_never_ahead(wall: float, text: str) -> None:
    assert rfc3339(wall) == text
