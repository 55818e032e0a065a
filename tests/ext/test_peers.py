"""Connections per address, against a counter in plain Python."""

from __future__ import annotations

from collections import Counter
from ipaddress import IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nova.ext.peers import Peers

REFUSED, COUNTED, EXEMPT = range(3)


def packed(text: str) -> bytes:
    address = ip_address(text)
    return address.packed if isinstance(address, IPv6Address) else bytes(10) + b"\xff\xff" + address.packed


def network(text: str) -> tuple[bytes, int]:
    net = ip_network(text)
    return packed(str(net.network_address)), net.prefixlen + (96 if net.version == 4 else 0)


def test_without_a_bound_nobody_is_counted() -> None:
    peers = Peers()
    assert [peers.enter(packed("192.0.2.1")) for _ in range(100)] == [EXEMPT] * 100
    assert len(peers) == 0


def test_address_has_as_many_as_it_may_and_gets_them_back() -> None:
    peers = Peers()
    peers.bound(2)
    address = packed("192.0.2.1")
    assert [peers.enter(address) for _ in range(4)] == [COUNTED, COUNTED, REFUSED, REFUSED]
    assert peers.enter(packed("192.0.2.2")) == COUNTED
    assert (len(peers), peers.refused) == (2, 2)
    peers.leave(address)
    assert peers.enter(address) == COUNTED
    for _ in range(2):
        peers.leave(address)
    peers.leave(packed("192.0.2.2"))
    assert len(peers) == 0


def test_ipv6_counts_by_the_network_of_one_subscriber() -> None:
    peers = Peers()
    peers.bound(2)
    assert [peers.enter(packed(f"2001:db8:0:1::{i}")) for i in range(3)] == [COUNTED, COUNTED, REFUSED]
    assert peers.enter(packed("2001:db8:0:2::1")) == COUNTED
    assert [peers.enter(packed("::1")) for _ in range(3)] == [COUNTED, COUNTED, REFUSED]


@pytest.mark.parametrize(
    ("nets", "address", "wanted"),
    [
        (["127.0.0.0/8"], "127.1.2.3", EXEMPT), (["127.0.0.0/8"], "128.0.0.1", COUNTED), (["::1/128"], "::1", EXEMPT),
        (["::1/128"], "::2", COUNTED), (["::/0"], "2001:db8::1", EXEMPT), (["0.0.0.0/0"], "203.0.113.9", EXEMPT),
        (["0.0.0.0/0"], "2001:db8::1", COUNTED), (["2001:db8::/32", "10.0.0.0/8"], "10.200.0.1", EXEMPT),
        (["2001:db8:8000::/33"], "2001:db8:7fff::1", COUNTED), (["2001:db8:0:1:8000::/65"], "2001:db8:0:1:8000::1", EXEMPT),
    ],
)
def test_exempt_networks_are_not_counted(nets: list[str], address: str, wanted: int) -> None:
    peers = Peers()
    peers.bound(1, [network(net) for net in nets])
    assert peers.enter(packed(address)) == wanted


def test_networks_without_sense_are_refused_and_change_nothing() -> None:
    peers = Peers()
    peers.bound(1)
    for nets in ([(b"short", 8)], [(bytes(16), 129)], [(bytes(16), 1)] * 257):
        with pytest.raises(ValueError, match="network"):
            peers.bound(5, nets)
    assert [peers.enter(packed("192.0.2.1")) for _ in range(2)] == [COUNTED, REFUSED]


def test_websockets_come_at_the_rate_once_the_burst_is_used() -> None:
    peers, address, free = Peers(), packed("192.0.2.1"), packed("127.0.0.1")
    assert all(peers.admit(address, 1) for _ in range(100))  # no rate
    peers.admission(4, 2000, [network("127.0.0.0/8")])
    assert [peers.admit(address, 5000) for _ in range(5)] == [True] * 4 + [False]
    assert peers.admit(free, 5000) and not peers.admit(packed("2001:db8::1"), 5499)
    assert [peers.admit(address, 5500) for _ in range(2)] == [True, False]
    assert [peers.admit(address, 5400) for _ in range(2)] == [False, False]  # another thread's clock, a little behind
    assert [peers.admit(address, 60_000) for _ in range(5)] == [True] * 4 + [False]
    assert peers.unadmitted == 6
    with pytest.raises(ValueError, match="time"):
        peers.admission(1, 0)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 400)), max_size=1500))
def test_table_counts_as_a_counter_does(steps: list[tuple[bool, int]]) -> None:
    peers, oracle = Peers(), Counter[int]()
    peers.bound(3)
    for enters, number in steps:
        address = bytes(10) + b"\xff\xff" + number.to_bytes(4, "big")
        if enters:
            assert peers.enter(address) == (COUNTED if oracle[number] < 3 else REFUSED)
            oracle[number] = min(oracle[number] + 1, 3)
        elif oracle[number]:
            peers.leave(address)
            oracle[number] -= 1
    assert len(peers) == sum(1 for count in oracle.values() if count)
    for number, count in oracle.items():
        for _ in range(count):
            peers.leave(bytes(10) + b"\xff\xff" + number.to_bytes(4, "big"))
    assert len(peers) == 0
