"""Rates and counts: exact, bounded, and by /64."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nova.core.limits import CountLimit, Networks, RateLimit, address_key, parse_address
from nova.core.values import Rate, Seconds


def test_burst_is_admitted_then_the_rate() -> None:
    limit: RateLimit[str] = RateLimit(Rate(10, Seconds(1)))
    assert [limit.take("a", 5.0) for _ in range(10)] == [0.0] * 10
    assert limit.take("a", 5.0) == pytest.approx(0.1)
    assert limit.take("b", 5.0) == 0.0
    assert limit.take("a", 5.05) == pytest.approx(0.05)
    assert limit.take("a", 5.1) == 0.0
    assert limit.take("a", 7.0, count=10) == 0.0
    assert limit.take("a", 9.0, count=11) == pytest.approx(0.1)
    assert limit.take("a", 9.0, count=10_000) == 1.0


def test_peek_takes_nothing() -> None:
    limit: RateLimit[str] = RateLimit(Rate(1, Seconds(60)))
    assert limit.peek("a", 0.0) == 0.0 and len(limit) == 0
    limit.take("a", 0.0)
    assert limit.peek("a", 0.0) == limit.peek("a", 0.0) == pytest.approx(60)


@given(st.floats(0, 1e6), st.integers(1, 50), st.floats(0.1, 100))
def test_peek_and_take_agree_about_the_last_token(now: float, count: int, per: float) -> None:
    limit: RateLimit[str] = RateLimit(Rate(count, Seconds(per)))
    for _ in range(count):
        assert limit.peek("a", now) == 0.0
        assert limit.take("a", now) == 0.0
    assert limit.peek("a", now) > 0


@given(st.lists(st.floats(0, 0.3), max_size=200), st.integers(1, 8))
def test_no_window_sees_more_than_burst_and_rate(steps: list[float], count: int) -> None:
    """The oracle: a bucket of `count` tokens, refilled `count` a second, counted out by hand."""
    limit: RateLimit[str] = RateLimit(Rate(count, Seconds(1)))
    now, tokens = 0.0, float(count)
    for step in steps:
        now += step
        tokens = min(count, tokens + step * count)
        wait = limit.take("a", now)
        if tokens >= 1 + 1e-6:
            assert wait == 0
        elif tokens < 1 - 1e-6:
            assert wait == pytest.approx((1 - tokens) / count, abs=1e-6)
        if wait == 0:
            tokens -= 1


def test_table_is_bounded_and_forgets_who_asked_longest_ago() -> None:
    limit: RateLimit[int] = RateLimit(Rate(1, Seconds(60)), entries=100)
    for key in range(1000):
        limit.take(key, 0.0)
        assert limit.take(0, 0.0) > 0 or key == 0  # asking keeps a key in the table, refused or not
    assert len(limit) == 100 and limit.forgiven == 900


def test_sweep_drops_what_is_full_again() -> None:
    limit: RateLimit[int] = RateLimit(Rate(1, Seconds(10)))
    for key in range(10):
        limit.take(key, float(key))
    limit.sweep(now=14.5)
    assert len(limit) == 5


def test_rate_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError):
        RateLimit(Rate(0, Seconds(1)))


def test_counts_are_bounded_per_key_and_together() -> None:
    limit: CountLimit[str] = CountLimit(each=2, total=4)
    assert limit.enter("a") and limit.enter("a") and not limit.enter("a")
    assert limit.enter("a", exempt=True) and limit.held("a") == 3
    assert limit.enter("b") and not limit.enter("c") and not limit.enter("c", exempt=True)
    limit.leave("a")
    assert limit.enter("c") and limit.count == 4
    for key in ("a", "a", "b", "c"):
        limit.leave(key)
    assert limit.count == 0 and limit.held("a") == 0


def key(text: str) -> tuple[int, int]:
    address = parse_address(text)
    assert address is not None
    return address_key(address)


def test_ipv6_counts_by_its_network_and_mapped_addresses_as_ipv4() -> None:
    assert key("2001:db8:1:2::1") == key("2001:db8:1:2:ffff::9")
    assert key("2001:db8:1:2::1") != key("2001:db8:1:3::1")
    assert key("192.0.2.1") == key("::ffff:192.0.2.1") != key("192.0.2.2")
    assert key("fe80::1%eth0") == key("fe80::2")
    assert key("0.0.0.1") != key("0:0:0:1::")
    assert parse_address("localhost") is None


def test_networks_hold_both_families() -> None:
    networks = Networks([ip_network("127.0.0.0/8"), ip_network("::1/128")])
    assert ip_address("127.9.9.9") in networks and ip_address("::1") in networks
    assert ip_address("128.0.0.1") not in networks and ip_address("::2") not in networks
    assert networks and not Networks([])
