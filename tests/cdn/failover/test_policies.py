"""Health, retry budget, hedging, order and rendezvous hashing as properties."""

from math import ceil

from hypothesis import given
from hypothesis import strategies as st

from nova.cdn.failover.budget import REFILL, RetryBudget
from nova.cdn.failover.health import FALL, RISE, Health
from nova.cdn.failover.hedge import ENOUGH, LEAST, Latencies, delay
from nova.cdn.failover.order import Order
from nova.cdn.failover.rendezvous import ROOM, choose, ranked


@given(st.lists(st.booleans(), max_size=100))
def test_health_changes_only_after_enough_probes_in_a_row(probes: list[bool]) -> None:
    health, before = Health(), True
    for at, good in enumerate(probes):
        health.probe(good)
        if health.well != before:
            wanted = RISE if health.well else FALL
            assert probes[at + 1 - wanted : at + 1] == [health.well] * wanted
        before = health.well


def test_alternating_probes_change_nothing() -> None:
    health = Health()
    for good in (True, False) * 20:
        assert not health.probe(good)
    for _ in range(FALL):
        health.probe(False)
    for good in (True, False) * 20:
        assert not health.probe(good)
    assert health.changes == 1


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 2)), max_size=300), st.floats(0, 1), st.integers(0, 20))
def test_retries_stay_below_their_share(steps: list[tuple[bool, float]], ratio: float, burst: int) -> None:
    budget, now, requests = RetryBudget(ratio, burst), 0.0, 0
    for asked, passed in steps:
        now += passed
        if asked:
            budget.request(now)
            requests += 1
        else:
            budget.take(now)
        assert budget.taken <= ratio * requests + burst + burst * now / REFILL + 1e-6


def test_a_busy_site_gets_its_tenth_and_a_quiet_one_its_burst() -> None:
    budget = RetryBudget(0.1, 10)
    assert sum(budget.take(0) for _ in range(20)) == 10
    taken = 0
    for _ in range(1000):
        budget.request(0)
        taken += budget.take(0)
    assert taken == 100
    assert not budget.take(0)
    assert budget.take(1.0)  # a quiet second brings one back


def test_hedges_wait_for_the_slowest_twentieth_within_the_bound() -> None:
    seen = Latencies()
    assert delay(0.5, seen) == 0.5
    for number in range(ENOUGH):
        seen.observe(0.01 if number else 0.2)
    assert delay(0.5, seen) == 0.01
    for _ in range(300):
        seen.observe(3.0)
    assert delay(0.5, seen) == 0.5
    for _ in range(300):
        seen.observe(0.0001)
    assert delay(0.5, seen) == LEAST
    assert seen.quantiles == (0.0001, 0.0001, 0.0001)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6))
def test_every_origin_gets_its_share_in_every_round(weights: list[int]) -> None:
    order, counts = Order(weights, [False] * len(weights)), [0] * len(weights)
    for _ in range(sum(weights)):
        counts[order.next([True] * len(weights))[0]] += 1
    assert counts == weights


@given(st.lists(st.tuples(st.integers(1, 9), st.booleans(), st.booleans()), min_size=1, max_size=8))
def test_backups_come_last_and_those_that_are_not_ready_never(origins: list[tuple[int, bool, bool]]) -> None:
    order = Order([weight for weight, _, _ in origins], [backup for _, backup, _ in origins])
    for _ in range(20):
        found = order.next([ready for _, _, ready in origins])
        assert sorted(found) == [at for at, (_, _, ready) in enumerate(origins) if ready]
        assert [origins[at][1] for at in found] == sorted(origins[at][1] for at in found)


NODES = [f"node-{number}".encode() for number in range(10)]


@given(st.binary(max_size=40), st.integers(0, 9))
def test_a_node_that_leaves_moves_only_its_own_keys(key: bytes, gone: int) -> None:
    order = ranked(key, NODES)
    assert sorted(order) == list(range(10))
    rest = [node for at, node in enumerate(NODES) if at != gone]
    assert [rest[at] for at in ranked(key, rest)] == [NODES[at] for at in order if at != gone]


def test_keys_spread_evenly() -> None:
    counts = [0] * 10
    for number in range(10_000):
        counts[ranked(str(number).encode(), NODES)[0]] += 1
    assert max(counts) < 1150
    assert min(counts) > 850


@given(st.binary(max_size=20), st.lists(st.integers(0, 50), min_size=1, max_size=10))
def test_no_node_takes_more_than_its_share(key: bytes, loads: list[int]) -> None:
    nodes = NODES[: len(loads)]
    found = choose(key, nodes, loads)
    assert sorted(found) == list(range(len(loads)))
    assert loads[found[0]] < ceil(ROOM * (sum(loads) + 1) / len(loads))


def test_one_hot_key_is_spread_over_the_nodes() -> None:
    loads = [0] * 10
    for _ in range(1000):
        loads[choose(b"hot", NODES, loads)[0]] += 1
    assert max(loads) <= ceil(ROOM * 1000 / 10)
