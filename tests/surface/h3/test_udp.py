import socket
from typing import Any

import trio
from hypothesis import given
from hypothesis import strategies as st

from nova.core.clock import SystemClock
from nova.core.limits import Networks
from nova.surface.h3 import quic, udp
from nova.surface.h3.connection import Limits
from nova.surface.h3.server import H3Server, Settings
from nova.surface.h3.stream import Patience
from nova.surface.identity.certificates import Certificate
from tests.surface.h3.client import connect
from tests.surface.h3.conftest import Application

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


def test_socket_on_all_addresses_answers_from_the_one_that_was_asked() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as there, udp.bind("0.0.0.0", 0) as here:
        there.settimeout(5)
        there.connect(("127.0.0.9", here.getsockname()[1]))  # takes answers from there only
        here.setblocking(True)
        there.send(b"question")
        data, peer = udp.receive(here, True)
        assert (data, peer[2]) == (b"question", bytes([127, 0, 0, 9]))
        for size in (0, 2):
            udp.send(here, b"answer", peer, size)
        assert [there.recv(64) for _ in range(4)] == [b"answer", b"an", b"sw", b"er"]


async def test_server_on_all_addresses_is_reached_by_each(certificate: Certificate, app: Application) -> None:
    limits = Limits()
    files = str(certificate.cert), str(certificate.key)
    configuration = quic.configuration(*files, idle=30, datagram=1350, window=limits.window, stream_window=limits.stream_window)
    settings = Settings(limits, Patience(10, 4096), most=10, per_address=10, exempt=Networks(()))
    server = H3Server(udp.bind("0.0.0.0", 0), app, configuration, settings, SystemClock())
    async with trio.open_nursery() as nursery:
        await nursery.start(server.run)
        with trio.fail_after(15):
            for host in ("127.0.0.1", "127.0.0.7"):
                async with connect((host, server.address[1]), certificate.cert) as client:
                    assert (await client.get("/hello")).status == 200
        nursery.cancel_scope.cancel()
    assert len(app.scopes) == 2
    assert all(len(scope["client"]) == 2 for scope in app.scopes)
