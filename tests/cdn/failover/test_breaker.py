"""The circuit breaker as a property: it opens, lets one try, and neither sticks nor flaps."""

from hypothesis import given
from hypothesis import strategies as st

from nova.cdn.failover.breaker import LONGEST, TRIALS, Breaker, State


def opened(wait: float = 1.0) -> Breaker:
    breaker = Breaker(3, wait)
    for _ in range(3):
        assert breaker.allow(0)
        breaker.failure(0, breaker.trial)
    return breaker


def test_failures_in_a_row_open_it_and_others_do_not() -> None:
    breaker = Breaker(3, 1.0)
    for good in (False, False, True, False, False):
        assert breaker.allow(0)
        breaker.success(0, breaker.trial) if good else breaker.failure(0, breaker.trial)
    assert breaker.state is State.CLOSED
    breaker.failure(0, breaker.trial)
    assert (breaker.state, breaker.allow(0.99), breaker.retry_at) == (State.OPEN, False, 1.0)


def test_one_trial_at_a_time_until_enough_passed() -> None:
    breaker = opened()
    for _ in range(TRIALS):
        assert breaker.allow(1.0)
        assert not breaker.allow(1.0)
        breaker.success(1.0, breaker.trial)
    assert breaker.state is State.CLOSED


def test_a_trial_that_was_cancelled_is_given_again() -> None:
    breaker = opened()
    assert breaker.allow(1.0)
    breaker.cancel(breaker.trial)
    assert breaker.allow(1.0)


def test_only_its_trials_decide_about_one_that_is_half_open() -> None:
    breaker = opened()
    assert breaker.allow(1.0)
    trial = breaker.trial
    breaker.success(1.0, 0)  # asked before it opened, or though it is
    breaker.success(1.0, 0)
    breaker.failure(1.0, 0)
    breaker.cancel(0)
    assert (breaker.state, breaker.allow(1.0)) == (State.HALF_OPEN, False)
    breaker.failure(1.0, trial)
    assert breaker.allow(3.0)
    breaker.success(3.0, trial)  # of an earlier opening
    assert (breaker.state, breaker.allow(3.0)) == (State.HALF_OPEN, False)


def test_one_that_flaps_waits_longer_each_time_up_to_a_bound() -> None:
    breaker, now, waits = opened(), 0.0, []
    for _ in range(8):
        waits.append(breaker.retry_at - now)
        now = breaker.retry_at
        assert breaker.allow(now)
        breaker.failure(now, breaker.trial)
    assert waits == [1, 2, 4, 8, 16, LONGEST, LONGEST, LONGEST]


def test_one_that_held_for_long_begins_anew() -> None:
    breaker = opened()
    for _ in range(TRIALS):
        breaker.allow(1.0)
        breaker.success(1.0, breaker.trial)
    for _ in range(3):
        breaker.failure(12.0, breaker.trial)
    assert breaker.retry_at == 13.0
    for _ in range(TRIALS):
        breaker.allow(13.0)
        breaker.success(13.0, breaker.trial)
    for _ in range(3):
        breaker.failure(14.0, breaker.trial)
    assert breaker.retry_at == 16.0


@given(st.lists(st.tuples(st.sampled_from("sfc"), st.floats(0, 40)), max_size=60), st.integers(1, 5))
def test_it_never_lets_two_trials_at_once_and_never_sticks(steps: list[tuple[str, float]], most: int) -> None:
    breaker, now = Breaker(most, 1.0), 0.0
    for what, passed in steps:
        now += passed
        if not breaker.allow(now):
            assert breaker.state is State.OPEN
            assert now < breaker.retry_at <= now + LONGEST
            continue
        if breaker.state is not State.CLOSED:
            assert not breaker.allow(now)
        if what == "c":
            breaker.cancel(breaker.trial)
        else:
            (breaker.success if what == "s" else breaker.failure)(now, breaker.trial)
    for _ in range(TRIALS):  # a good origin is always taken back
        now = max(now, breaker.retry_at)
        assert breaker.allow(now)
        breaker.success(now, breaker.trial)
    assert breaker.state is State.CLOSED
