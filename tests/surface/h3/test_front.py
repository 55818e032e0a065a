"""Strangers: what they are answered, and that they cost nothing."""

from __future__ import annotations

import pytest
from aioquic._buffer import Buffer
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.packet import QuicPacketType, pull_quic_header

from nova.core.limits import Networks
from nova.surface.h3 import quic
from nova.surface.h3.connection import Connection, Limits
from nova.surface.h3.front import CID_BYTES, RESET_LEAST, Front
from nova.surface.identity.certificates import Certificate

PEER = ("192.0.2.7", 40_000)
NOW = 5000.0
NOISE = [b"", b"\x40", b"\x40" + bytes(30), b"\xc0", b"\xff" * 1200, bytes(1200), b"\xc0\0\0\0\1\x08" + bytes(1300)]


@pytest.fixture
def front(certificate: Certificate) -> Front:
    return _front(certificate)


def _front(certificate: Certificate, *, most: int = 10, per_address: int = 10, retry: bool = True) -> Front:
    configuration = quic.configuration(
        str(certificate.cert), str(certificate.key), idle=30, datagram=1350, window=1 << 20, stream_window=1 << 18
    )
    return Front(configuration, Limits(), most=most, per_address=per_address, exempt=Networks(()), retry=retry)


def _client(version: int | None = None) -> QuicConnection:
    configuration = QuicConfiguration(is_client=True, alpn_protocols=["h3"], server_name="localhost")
    if version is not None:
        configuration.supported_versions = [version]
        configuration.original_version = version
    client = QuicConnection(configuration=configuration)
    client.connect(("server", 1), NOW)
    return client


def _first(client: QuicConnection) -> bytes:
    return client.datagrams_to_send(NOW)[0][0]


def _type(data: bytes) -> QuicPacketType:
    return pull_quic_header(Buffer(data=data), host_cid_length=CID_BYTES).packet_type


def _answered(client: QuicConnection, front: Front) -> bytes:
    """The client's first datagram after its Retry."""
    retry = front.find(_first(client), PEER, NOW)
    assert isinstance(retry, bytes)
    client.receive_datagram(retry, ("server", 1), NOW)
    return _first(client)


def test_first_datagram_is_answered_by_a_small_retry_and_remembered_by_nobody(front: Front) -> None:
    hello = _first(_client())
    answer = front.find(hello, PEER, NOW)
    assert isinstance(answer, bytes)
    assert _type(answer) == QuicPacketType.RETRY
    assert len(answer) < len(hello) / 4
    assert len(front) == 0


def test_token_from_its_own_address_opens_a_connection(front: Front) -> None:
    data = _answered(_client(), front)
    found = front.find(data, PEER, NOW + 1)
    assert isinstance(found, Connection)
    assert front.find(data, PEER, NOW + 1) is found
    front.forget(found)
    assert len(front) == 0


@pytest.mark.parametrize(("peer", "later"), [(("192.0.2.8", 40_000), 1.0), (("192.0.2.7", 40_001), 1.0), (PEER, 31.0)])
def test_token_of_another_address_or_time_is_refused(front: Front, peer: tuple[str, int], later: float) -> None:
    answer = front.find(_answered(_client(), front), peer, NOW + later)
    assert isinstance(answer, bytes)
    assert _type(answer) == QuicPacketType.INITIAL  # CONNECTION_CLOSE with INVALID_TOKEN
    assert len(front) == 0


def test_unknown_version_is_told_those_that_are_spoken(front: Front) -> None:
    hello = bytearray(_first(_client()))
    hello[1:5] = b"\x1a\x2a\x3a\x4a"
    answer = front.find(bytes(hello), PEER, NOW)
    assert isinstance(answer, bytes)
    assert _type(answer) == QuicPacketType.VERSION_NEGOTIATION
    assert front.find(answer, PEER, NOW) is None  # two servers do not answer one another for ever


def test_connection_that_is_known_no_longer_is_reset(certificate: Certificate) -> None:
    """As after a restart with the same certificate; RFC 9000, 10.3: the token is what the peer was told with the connection's id."""
    configuration = QuicConfiguration(is_client=True, alpn_protocols=["h3"], server_name="localhost")
    configuration.load_verify_locations(str(certificate.cert))
    client = QuicConnection(configuration=configuration)
    client.connect(("server", 1), NOW)
    before = _front(certificate, retry=False)
    hello = client.datagrams_to_send(NOW)
    made = before.find(hello[0][0], PEER, NOW)
    assert isinstance(made, Connection)
    for data, _ in hello:
        made.receive(data, PEER, NOW)
    for _ in range(3):
        for data, _ in made.datagrams(NOW):
            client.receive_datagram(data, ("server", 1), NOW)
        for data, _ in client.datagrams_to_send(NOW):
            made.receive(data, PEER, NOW)
    known = [client._peer_cid, *client._peer_cid_available]
    assert len(known) > 1
    after = _front(certificate, retry=False)
    for cid in known:
        packet = b"\x40" + cid.cid + bytes(40)
        answer = after.find(packet, PEER, NOW)
        assert isinstance(answer, bytes)
        assert answer[-16:] == cid.stateless_reset_token
        assert RESET_LEAST <= len(answer) < len(packet)
        assert answer[0] & 0xC0 == 0x40
        assert after.find(packet[:RESET_LEAST], PEER, NOW) is None


@pytest.mark.parametrize("data", NOISE)
def test_noise_is_not_answered_with_more(front: Front, data: bytes) -> None:
    answer = front.find(data, PEER, NOW)
    assert answer is None or (isinstance(answer, bytes) and len(answer) < len(data))
    assert len(front) == 0


def test_small_datagram_is_not_answered(front: Front) -> None:
    assert front.find(_first(_client())[:1199], PEER, NOW) is None


def test_limits_refuse_without_a_connection(certificate: Certificate) -> None:
    front = _front(certificate, per_address=1, retry=False)
    assert isinstance(front.find(_first(_client()), PEER, NOW), Connection)
    assert isinstance(front.find(_first(_client()), PEER, NOW), bytes)
    assert isinstance(front.find(_first(_client()), ("192.0.2.8", 1), NOW), Connection)
    front = _front(certificate, most=1, retry=False)
    first = front.find(_first(_client()), PEER, NOW)
    assert isinstance(first, Connection)
    assert isinstance(front.find(_first(_client()), ("192.0.2.8", 1), NOW), bytes)
    front.forget(first)
    assert isinstance(front.find(_first(_client()), ("192.0.2.8", 1), NOW), Connection)


def test_draining_front_takes_nobody(certificate: Certificate) -> None:
    front = _front(certificate, retry=False)
    front.closed = True
    assert isinstance(front.find(_first(_client()), PEER, NOW), bytes)
