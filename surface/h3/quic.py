"""aioquic where it has no bound of its own: credit by what was consumed, heads of a size, GOAWAY. Its private names are used here alone.

RFC 9000 (QUIC), 9114 (HTTP/3), 9204 (QPACK). Pinned to aioquic 1.7; tests/surface/h3/test_quic.py holds what is relied on.
"""

from __future__ import annotations

import hmac
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pylsqpack
from aioquic._buffer import Buffer
from aioquic.buffer import encode_uint_var
from aioquic.h3.connection import (
    ErrorCode,
    FrameType,
    H3Connection,
    H3Stream,
    HeadersState,
    MessageError,
    ProtocolError,
    Setting,
    encode_frame,
)
from aioquic.h3.events import H3Event, Headers
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import MAX_STREAM_DATA_FRAME_CAPACITY, Limit, QuicConnection, QuicConnectionError, QuicReceiveContext
from aioquic.quic.packet import QuicErrorCode, QuicFrameType, pull_quic_transport_parameters
from aioquic.quic.packet_builder import QuicPacketBuilder
from aioquic.quic.recovery import QuicPacketSpace
from aioquic.quic.stream import QuicStream

FIELDS: Final = 100  # of a head, as in HTTP/1.1
UNI_STREAMS: Final = 16  # at once from the peer: control, two of QPACK, and some to be ignored (RFC 9114, 6.2.3)
CONTROL_BYTES: Final = 4096  # of an unfinished frame on a stream of the peer's own; SETTINGS have some dozens
HOLES: Final = 512  # in what has come of a stream; each frame is compared with all. Lost datagrams leave 100 in a full window
LAST_STREAM: Final = 2**62 - 4  # GOAWAY without a limit yet (RFC 9114, 5.2)


@dataclass
class Configuration(QuicConfiguration):
    """What all connections share. reset_key: makes the tokens of stateless resets (RFC 9000, 10.3), the same after a restart."""

    reset_key: bytes = field(default_factory=lambda: os.urandom(32), repr=False)

    def reset_token(self, cid: bytes) -> bytes:
        """What says to the peer of the connection with this id that we know it no longer."""
        return hmac.digest(self.reset_key, cid, "sha256")[:16]


class _Credit(Limit):
    """MAX_DATA by what was consumed. aioquic's own doubles with what has come, however much of it lies unread."""

    def __init__(self, window: int) -> None:
        self._granted = self._window = window
        self._consumed = 0
        super().__init__(frame_type=QuicFrameType.MAX_DATA, name="max_data", value=window)

    @property
    def value(self) -> int:
        return self._granted

    @value.setter
    def value(self, value: int) -> None:
        """aioquic doubles it here; we do not."""

    def consume(self, count: int) -> None:
        self._consumed += count
        if self._consumed + self._window - self._granted >= self._window // 2:  # not a frame for each packet
            self._granted = self._consumed + self._window


class Quic(QuicConnection):
    """A server's connection whose peer may send only what is consumed, over `streams` requests at once.

    window, stream_window: bytes that may lie unread, of the connection and of each request.
    """

    def __init__(
        self, configuration: Configuration, *, window: int, stream_window: int, streams: int,
        original_cid: bytes, retry_cid: bytes | None,
    ) -> None:  # fmt: skip
        super().__init__(configuration=configuration, original_destination_connection_id=original_cid, retry_source_connection_id=retry_cid)
        self._reset_token = configuration.reset_token
        self._host_cids[0].stateless_reset_token = self._reset_token(self.host_cid)
        self._credit = self._local_max_data = _Credit(window)
        self._stream_window = stream_window
        self._local_max_stream_data_bidi_remote = stream_window
        self._local_max_streams_bidi = Limit(QuicFrameType.MAX_STREAMS_BIDI, "max_streams_bidi", streams)
        self._local_max_streams_uni = Limit(QuicFrameType.MAX_STREAMS_UNI, "max_streams_uni", UNI_STREAMS)
        self._unread: dict[int, int] = {}  # request: bytes that wait for the application
        self._delivered: dict[int, int] = {}  # request: bytes that came in order

    @property
    def ending(self) -> tuple[int, bool] | None:
        """The error code, and whether it is the application's (HTTP/3's), once either side has closed or time has."""
        event = self._close_event
        return None if event is None else (event.error_code, event.frame_type is None)

    @property
    def smoothed_rtt(self) -> float:
        """Seconds."""
        return self._loss._rtt_smoothed if self._loss._rtt_initialized else self.configuration.initial_rtt

    def came(self, stream_id: int, size: int, held: int) -> None:
        """`size` bytes of a stream were handed up; `held` of them wait for the application."""
        self._credit.consume(size - held)
        if not stream_id % 4:
            self._delivered[stream_id] = self._delivered.get(stream_id, 0) + size
            if held:
                self._unread[stream_id] = self._unread.get(stream_id, 0) + held

    def consumed(self, stream_id: int, size: int) -> None:
        """The application has taken `size` bytes that were held."""
        left = self._unread.get(stream_id, 0) - size
        if left > 0:
            self._unread[stream_id] = left
        else:
            self._unread.pop(stream_id, None)
        self._credit.consume(size)

    def held(self, stream_id: int) -> int:
        """Bytes of a request that wait for the application."""
        return self._unread.get(stream_id, 0)

    def dropped(self, stream_id: int) -> None:
        """Nothing of the request is wanted any more: what is held, and what the peer claims to have sent, is consumed."""
        self.consumed(stream_id, self._unread.get(stream_id, 0))
        delivered = self._delivered.pop(stream_id, 0)
        stream = self._streams.get(stream_id)
        if stream is not None and stream.receiver.is_finished:
            self._credit.consume(max(0, stream.receiver.highest_offset - delivered))

    def unsent(self, stream_id: int) -> int:
        """Bytes of a stream that the peer has not acknowledged."""
        stream = self._streams.get(stream_id)
        if stream is None or stream.sender.is_finished or stream.sender._reset_error_code is not None:
            return 0
        return stream.sender._buffer_stop - stream.sender._buffer_start

    @property
    def all_unsent(self) -> int:
        """The same over all streams."""
        return sum(stream.sender._buffer_stop - stream.sender._buffer_start for stream in self._streams.values())

    def is_stopped(self, stream_id: int) -> bool:
        """Whether our half has been reset, by us or by the peer's STOP_SENDING."""
        stream = self._streams.get(stream_id)
        return stream is None or stream.sender._reset_error_code is not None

    def abandon(self, stream_id: int, code: int, *, stop: bool) -> None:
        """Reset our half of a request; `stop`: ask the peer to end its own."""
        self.reset_stream(stream_id, code)
        if stop:
            self.stop(stream_id, code)

    def stop(self, stream_id: int, code: int) -> None:
        """Ask the peer not to send the rest of a request."""
        stream = self._streams.get(stream_id)
        if stream is not None and not stream.receiver.is_finished:
            self.stop_stream(stream_id, code)

    def _replenish_connection_ids(self) -> None:
        super()._replenish_connection_ids()
        for fresh in self._host_cids:
            if not fresh.was_sent:
                fresh.stateless_reset_token = self._reset_token(fresh.cid)

    def _get_or_create_stream(self, frame_type: int, stream_id: int) -> QuicStream:
        stream = super()._get_or_create_stream(frame_type, stream_id)
        _check_holes(stream, frame_type)
        return stream

    def _handle_crypto_frame(self, context: QuicReceiveContext, frame_type: int, buf: Buffer) -> None:
        super()._handle_crypto_frame(context, frame_type, buf)
        _check_holes(self._crypto_streams[context.epoch], frame_type)

    def _write_stream_limits(self, builder: QuicPacketBuilder, space: QuicPacketSpace, stream: QuicStream) -> None:
        if stream.stream_id is None or stream.stream_id % 4:
            super()._write_stream_limits(builder, space, stream)
            return
        if stream.receiver.is_finished:
            return
        granted = stream.receiver.starting_offset() - self._unread.get(stream.stream_id, 0) + self._stream_window
        if granted - stream.max_stream_data_local >= self._stream_window // 2:
            stream.max_stream_data_local = granted
        if stream.max_stream_data_local_sent != stream.max_stream_data_local:
            frame = builder.start_frame(
                QuicFrameType.MAX_STREAM_DATA,
                capacity=MAX_STREAM_DATA_FRAME_CAPACITY,
                handler=self._on_max_stream_data_delivery,
                handler_args=(stream,),
            )
            frame.push_uint_var(stream.stream_id)
            frame.push_uint_var(stream.max_stream_data_local)
            stream.max_stream_data_local_sent = stream.max_stream_data_local

    def _parse_transport_parameters(self, data: bytes, from_session_ticket: bool = False) -> None:
        super()._parse_transport_parameters(data, from_session_ticket)
        most = pull_quic_transport_parameters(Buffer(data=data)).max_udp_payload_size
        if most is not None:  # section 18.2: the peer may drop what is larger
            self._max_datagram_size = min(self._max_datagram_size, most)


def _check_holes(stream: QuicStream, frame_type: int) -> None:
    """RFC 9000, 21.7: a stream in single bytes, every other one first, took seconds for a datagram."""
    if len(stream.receiver._ranges) > HOLES:
        raise QuicConnectionError(QuicErrorCode.INTERNAL_ERROR, frame_type, "a stream has too many holes")


class ExcessiveLoad(ProtocolError):
    """The peer makes us hold more than it may."""

    error_code = ErrorCode.H3_EXCESSIVE_LOAD


class H3(H3Connection):
    """HTTP/3 whose heads are bounded before they are kept or looked at.

    QPACK's dynamic table is off: with it, one byte of a head can stand for 4 KiB, over and over.
    oversized: requests whose head is above `max_head` bytes or FIELDS fields; the caller answers 431 and takes them out.
    malformed: requests that break the rules of messages, which end alone (RFC 9114, 4.1.2; aioquic ends the connection). What still comes
    of them is thrown away; the caller resets them, and takes them out at their end.
    """

    def __init__(self, quic: Quic, max_head: int) -> None:
        self._max_head = max_head
        self.oversized: set[int] = set()
        self.malformed: set[int] = set()
        super().__init__(quic)

    def goaway(self, stream_id: int) -> None:
        """Requests from this one on will not be served (RFC 9114, 5.2)."""
        assert self._local_control_stream_id is not None
        self._quic.send_stream_data(self._local_control_stream_id, encode_frame(FrameType.GOAWAY, encode_uint_var(stream_id)))

    def awaits_head(self, stream_id: int) -> bool:
        """Whether the next field section of a request is its head; requests may come in any order."""
        stream = self._stream.get(stream_id)
        return stream is None or stream.headers_recv_state is HeadersState.INITIAL

    def forget(self, stream_id: int) -> None:
        """We reset our half: there is no end of the answer to wait for."""
        stream = self._stream.get(stream_id)
        if stream is not None:
            stream.sending_ended = True
            if stream.is_ended():
                del self._stream[stream_id]

    def check_held(self, stream_id: int) -> None:
        """Close the connection when the frame under way on a stream of the peer's own is longer than any that makes sense."""
        stream = self._stream.get(stream_id)
        if stream is not None and stream_id % 4 and len(stream.buffer) > CONTROL_BYTES:
            self._is_done = True
            self._quic.close(error_code=ErrorCode.H3_EXCESSIVE_LOAD)

    def _receive_request_or_push_data(self, stream: H3Stream, data: bytes, stream_ended: bool) -> list[H3Event]:
        if stream.stream_id not in self.malformed:
            try:
                return super()._receive_request_or_push_data(stream, data, stream_ended)
            except MessageError:
                stream.buffer = b""
                self.malformed.add(stream.stream_id)
        stream.receiving_ended = stream.receiving_ended or stream_ended
        return []

    def _init_connection(self) -> None:
        self._max_table_capacity = self._blocked_streams = 0
        self._decoder = pylsqpack.Decoder(0, 0)
        super()._init_connection()

    def _get_local_settings(self) -> dict[int, int]:
        return super()._get_local_settings() | {Setting.MAX_FIELD_SECTION_SIZE: self._max_head}

    def _check_request_or_push_frame_type(self, frame_type: int, stream: H3Stream) -> None:
        super()._check_request_or_push_frame_type(frame_type, stream)
        if frame_type == FrameType.WEBTRANSPORT_STREAM:
            raise ExcessiveLoad("WebTransport was not offered")
        if frame_type == FrameType.HEADERS and stream.frame_size is not None and stream.frame_size > self._max_head:
            stream.frame_type = FrameType.CANCEL_PUSH  # of no use on this stream, so its payload is skipped as it arrives
            stream.headers_recv_state = HeadersState.AFTER_HEADERS
            self.oversized.add(stream.stream_id)

    def _decode_headers(self, stream_id: int, frame_data: bytes | None) -> Headers:
        headers = super()._decode_headers(stream_id, frame_data)
        pseudo = sum(name[:1] == b":" for name, _ in headers[:8])
        # RFC 9114, 4.2.2: each field counts 32 bytes more than it has.
        size = sum(len(name) + len(value) + 32 for name, value in headers)
        if size > self._max_head or len(headers) - pseudo > FIELDS:
            self.oversized.add(stream_id)
            return headers[:pseudo]  # the rest is not even checked
        lengths = {value for name, value in headers if name == b"content-length"}
        if len(lengths) > 1 or not all(value.isdigit() for value in lengths):  # `int` takes more, and whoever comes behind us may not
            raise MessageError("content-length is not one number")
        hosts = [value for name, value in headers if name == b"host"]
        if len(hosts) == 1 and b":authority" not in [name for name, _ in headers[:pseudo]] and self.awaits_head(stream_id):
            return [(b":authority", hosts[0]), *headers]  # section 4.3.1: one of the two
        return headers


def configuration(cert: str, key: str, *, idle: float, datagram: int, window: int, stream_window: int) -> Configuration:
    """Raises OSError, ValueError: the certificate or its key cannot be used."""
    made = Configuration(
        alpn_protocols=["h3"],
        is_client=False,
        idle_timeout=idle,
        max_datagram_size=datagram,
        max_data=window,
        max_stream_data=stream_window,
    )
    made.load_cert_chain(cert, key)
    made.reset_key = hmac.digest(Path(key).read_bytes(), b"nova h3 stateless reset", "sha256")
    return made


def frames(headers: Any) -> Headers:
    """An application's header fields as HTTP/3 has them: lower case, without those of a connection (RFC 9114, 4.2)."""
    return [
        (name, bytes(value))
        for name, value in ((bytes(name).lower(), value) for name, value in headers)
        if name not in (b"connection", b"keep-alive", b"transfer-encoding", b"upgrade", b"proxy-connection")
    ]
