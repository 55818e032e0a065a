"""Where a datagram belongs: by its connection id, not by its address, so that a peer may move; and whose address is not proven yet.

RFC 9000, 5.2 (matching), 6 (versions), 8.1 (address validation), 10.3 (stateless reset). A stranger costs one small answer and no memory
until it has shown, by a Retry token, that it receives at the address that it claims.
"""

from __future__ import annotations

import os
from typing import Final

from aioquic._buffer import Buffer
from aioquic.quic.configuration import SMALLEST_MAX_DATAGRAM_SIZE
from aioquic.quic.connection import TRANSPORT_CLOSE_FRAME_CAPACITY
from aioquic.quic.crypto import CryptoPair
from aioquic.quic.packet import (
    QuicErrorCode,
    QuicFrameType,
    QuicHeader,
    QuicPacketType,
    encode_quic_retry,
    encode_quic_version_negotiation,
    pull_quic_header,
)
from aioquic.quic.packet_builder import QuicPacketBuilder
from aioquic.quic.retry import QuicRetryTokenHandler

from nova.core.limits import CountLimit, Networks, address_key, parse_address
from nova.surface.h3.connection import Connection, Limits, Peer
from nova.surface.h3.quic import Configuration

CID_BYTES: Final = 8
LONG_HEADER: Final = 0x80
RESET_LEAST: Final = 21  # bytes of a stateless reset: shorter ones are no packet of QUIC
RESET_MOST: Final = 42


class Front:
    """Connections by their ids.

    per_address: connections of one address; networks in `exempt` are freed. most: connections at once. retry: ask every stranger to
    prove its address, at the cost of one round trip. full: set when no further connection is wanted.
    """

    def __init__(
        self, configuration: Configuration, limits: Limits, *, most: int, per_address: int, exempt: Networks, retry: bool
    ) -> None:
        self._configuration, self._limits = configuration, limits
        self._by_cid: dict[bytes, Connection] = {}
        self._cids: dict[Connection, set[bytes]] = {}
        self._counts: CountLimit[tuple[int, int]] = CountLimit(per_address, most)
        self._addresses: dict[Connection, tuple[int, int]] = {}
        self._exempt = exempt
        self._retry = QuicRetryTokenHandler() if retry else None
        self.closed = False
        self.refused = 0  # connections, since the start

    @property
    def connections(self) -> list[Connection]:
        return list(self._cids)

    def __len__(self) -> int:
        return len(self._cids)

    def find(self, data: bytes, peer: Peer, now: float) -> Connection | bytes | None:
        """The connection that `data` is for, new or known; else what to answer the stranger, None: nothing."""
        if not data:
            return None
        if not data[0] & LONG_HEADER:
            return self._by_cid.get(data[1 : 1 + CID_BYTES]) or self._reset(data)
        try:
            header = pull_quic_header(Buffer(data=data), host_cid_length=CID_BYTES)
        except ValueError:
            return None
        if (known := self._by_cid.get(header.destination_cid)) is not None:
            return known
        return self._stranger(header, len(data), peer, now)

    def issued(self, connection: Connection, cid: bytes) -> None:
        """The peer may use this id from now on."""
        if connection in self._cids:
            self._by_cid[cid] = connection
            self._cids[connection].add(cid)

    def retired(self, connection: Connection, cid: bytes) -> None:
        """The peer has given this id up."""
        if connection in self._cids:
            self._by_cid.pop(cid, None)
            self._cids[connection].discard(cid)

    def forget(self, connection: Connection) -> None:
        """It has expired."""
        for cid in self._cids.pop(connection, ()):
            self._by_cid.pop(cid, None)
        if (key := self._addresses.pop(connection, None)) is not None:
            self._counts.leave(key)

    def _reset(self, data: bytes) -> bytes | None:
        """Says that the connection is not known, or no longer: its peer comes back at once, not after its idle time.

        Shorter than what it answers, so that two servers do not answer one another for ever.
        """
        size = min(len(data) - 1, RESET_MOST)
        if size < RESET_LEAST:
            return None
        noise = os.urandom(size - 16)
        token = self._configuration.reset_token(data[1 : 1 + CID_BYTES])
        return bytes([noise[0] & 0x3F | 0x40]) + noise[1:] + token

    def _stranger(self, header: QuicHeader, size: int, peer: Peer, now: float) -> Connection | bytes | None:
        kind, version = header.packet_type, header.version
        if kind == QuicPacketType.VERSION_NEGOTIATION or size < SMALLEST_MAX_DATAGRAM_SIZE:
            return None  # section 6.1: what is smaller gets no answer, or we would amplify
        if version not in self._configuration.supported_versions:
            return encode_quic_version_negotiation(
                source_cid=header.destination_cid,
                destination_cid=header.source_cid,
                supported_versions=self._configuration.supported_versions,
            )
        if kind != QuicPacketType.INITIAL:
            return None
        original, retried = header.destination_cid, None
        if self._retry is not None:
            if not header.token:
                return self._ask(header, peer, now)
            try:
                original = self._retry.validate_token(address=peer, destination_cid=header.destination_cid, token=header.token, now=now)
            except ValueError:
                return _refusal(header, QuicErrorCode.INVALID_TOKEN)
            retried = header.destination_cid
        address = parse_address(peer[0])
        key = (0, 0) if address is None else address_key(address)
        if self.closed or not self._counts.enter(key, exempt=address is not None and address in self._exempt):
            self.refused += 1
            return _refusal(header, QuicErrorCode.CONNECTION_REFUSED)
        made = Connection(self._configuration, self._limits, peer, now, original_cid=original, retry_cid=retried)
        self._addresses[made] = key
        self._cids[made] = set()
        self.issued(made, header.destination_cid)
        self.issued(made, made.first_cid)
        return made

    def _ask(self, header: QuicHeader, peer: Peer, now: float) -> bytes:
        assert self._retry is not None
        assert header.version is not None
        cid = os.urandom(CID_BYTES)
        token = self._retry.create_token(
            address=peer, original_destination_connection_id=header.destination_cid, retry_source_connection_id=cid, now=now
        )
        return encode_quic_retry(
            version=header.version,
            source_cid=cid,
            destination_cid=header.source_cid,
            original_destination_cid=header.destination_cid,
            retry_token=token,
        )


def _refusal(header: QuicHeader, code: int) -> bytes:
    """An Initial packet that closes, without any state here (section 5.2.2)."""
    assert header.version is not None
    crypto = CryptoPair()
    crypto.setup_initial(cid=header.destination_cid, is_client=False, version=header.version)
    builder = QuicPacketBuilder(
        host_cid=header.destination_cid,
        is_client=False,
        max_datagram_size=SMALLEST_MAX_DATAGRAM_SIZE,
        peer_cid=header.source_cid,
        version=header.version,
    )
    builder.start_packet(QuicPacketType.INITIAL, crypto)
    frame = builder.start_frame(QuicFrameType.TRANSPORT_CLOSE, capacity=TRANSPORT_CLOSE_FRAME_CAPACITY)
    frame.push_uint_var(code)
    frame.push_uint_var(QuicFrameType.PADDING)
    frame.push_uint_var(0)
    return builder.flush()[0][0]
