"""Members, idempotency keys and rates."""

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nova.core.errors import RateLimited
from nova.core.limits import Networks
from nova.core.values import Rate, Seconds
from nova.realtime.history import Place
from nova.realtime.limits import Admission, Limits, quotas_of
from nova.realtime.once import Once
from nova.realtime.presence import Member, Members
from nova.realtime.rules import Namespace


def test_member_comes_once_and_leaves_once() -> None:
    members = Members()
    assert members.enter(Member("u", "n1-1", 5)) and not members.enter(Member("u", "n1-1", 9))
    assert members.enter(Member(None, "n1-2", 6)) and members.enter(Member("u", "n2-1", 7)) and len(members) == 3
    assert members.page(0, 2) == ([Member("u", "n1-1", 5), Member(None, "n1-2", 6)], True)
    assert members.page(2, 2) == ([Member("u", "n2-1", 7)], False)
    assert members.leave("n1-1") == Member("u", "n1-1", 5) and members.leave("n1-1") is None


@given(st.dictionaries(st.text(), st.tuples(st.none() | st.text(), st.integers(min_value=0)), max_size=8))
def test_members_are_what_came_in_its_order(came: dict[str, tuple[str | None, int]]) -> None:
    members = Members()
    expected = [Member(user, client, since) for client, (user, since) in came.items()]
    assert all(members.enter(member) for member in expected)
    assert list(members) == expected and members.page(0, 8) == (expected, False)
    assert [members.leave(member.client) for member in expected] == expected and not len(members)


def test_node_that_died_takes_its_members_along() -> None:
    members = Members()
    for client in ("n1-1", "n1-2", "n11-1"):
        members.enter(Member(None, client, 0))
    assert [each.client for each in members.leave_all("n1")] == ["n1-1", "n1-2"]
    assert [each.client for each in members] == ["n11-1"]


def test_key_is_remembered_for_its_publisher_and_its_time() -> None:
    once = Once(entries=2, ttl=10)
    once.done("c", "u", "k", Place(1, "e"), 0)
    assert once.seen("c", "u", "k", 9) == Place(1, "e")
    assert once.seen("c", "other", "k", 9) is None and once.seen("d", "u", "k", 9) is None
    assert once.seen("c", "u", "k", 10) is None
    for key in "abc":
        once.done("c", "u", key, Place(2, "e"), 20)
    assert once.seen("c", "u", "a", 21) is None and once.seen("c", "u", "c", 21) is not None


def test_rates_hold_for_user_address_and_channel() -> None:
    limits = Limits(Rate(6, Seconds(1)), Rate(100, Seconds(1)), Networks([ip_network("127.0.0.0/8")]))
    space = Namespace("room", rate=Rate(2, Seconds(1)), channel_rate=Rate(4, Seconds(1)))

    def allowed(user: str | None, peer: str, channel: str = "room:a") -> bool:
        try:
            limits.publish(space, channel, user or peer, peer, 0.0)
        except RateLimited as error:
            return not error.retry_after
        return True

    assert [allowed("a", "127.0.0.1") for _ in range(3)] == [True, True, False]
    assert [allowed("b", "127.0.0.1") for _ in range(3)] == [True, True, False]
    assert not allowed("c", "127.0.0.1")  # the channel's
    assert [allowed(f"u{at}", "203.0.113.7", f"room:{at}") for at in range(8)].count(True) == 6  # the address's
    free = Namespace("public", rate=None, channel_rate=None)
    for _ in range(1000):
        limits.publish(free, "public:a", "127.0.0.1", "127.0.0.1", 0.0)
    assert quotas_of(free, "u") == [] and [each.rate.events for each in quotas_of(space, "u")] == [2, 4]


def test_commands_have_a_rate_of_their_own() -> None:
    limits = Limits(Rate(1, Seconds(1)), Rate(2, Seconds(1)), Networks([]))
    limits.command("u", "203.0.113.7", 0)
    limits.command("u", "203.0.113.7", 0)
    with pytest.raises(RateLimited):
        limits.command("u", "203.0.113.7", 0)
    limits.command("v", "203.0.113.7", 0)


def test_storm_becomes_a_queue() -> None:
    door = Admission(Rate(2, Seconds(1)), Networks([ip_network("127.0.0.0/8")]))
    assert [door.admit("192.0.2.1", 0.0) for _ in range(2)] == [0, 0]
    assert 0 < door.admit("192.0.2.2", 0.0) <= 1 and door.admit("127.0.0.1", 0.0) == 0 and door.admit("192.0.2.2", 1.0) == 0
    assert door.refused == 1
