import socket
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from nova.surface.h3 import udp

A, B = ("127.0.0.1", 1), ("127.0.0.1", 2)


def _cut(data: bytes, size: int) -> list[bytes]:
    return [data] if not size else [data[at : at + size] for at in range(0, len(data), size)]


@given(st.lists(st.tuples(st.integers(1, 3).map(lambda n: bytes([n]) * 500 * n), st.sampled_from([A, B])), max_size=200))
def test_runs_cut_apart_are_the_datagrams_in_order(datagrams: list[tuple[bytes, Any]]) -> None:
    found = list(udp.runs(datagrams))
    assert [(piece, peer) for data, size, peer in found for piece in _cut(data, size)] == datagrams
    assert all(len(data) <= udp.SEGMENTED and (not size or len(data) / size <= udp.SEGMENTS) for data, size, _ in found)


def test_run_arrives_as_its_datagrams() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as there, udp.bind("127.0.0.1", 0) as here:
        there.bind(("127.0.0.1", 0))
        there.settimeout(5)
        sent = [bytes([n]) * 1350 for n in range(9)] + [b"end"]
        [(data, size, peer)] = udp.runs([(each, there.getsockname()) for each in sent])
        udp.send(here, data, peer, size)
        assert [there.recv(65536) for _ in sent] == sent
