"""One connection of HTTP/3 as a machine: datagrams and `now` in; events, datagrams and the next deadline out.

A request lives from its head until its answer is complete, or until the peer resets or stops it, or the connection ends. Exactly one
of `Gone` and the answer's own end closes it, so that whoever serves it hears of every end.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

from aioquic.h3.connection import ErrorCode
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.events import (
    ConnectionIdIssued,
    ConnectionIdRetired,
    HandshakeCompleted,
    StopSendingReceived,
    StreamDataReceived,
    StreamReset,
)
from aioquic.quic.packet import QuicErrorCode

from nova.surface.h3.quic import H3, LAST_STREAM, Configuration, Quic, frames

Fields = list[tuple[bytes, bytes]]
Peer = tuple[Any, ...]  # address, port, and which of ours it speaks to, when there are several

PIECE: Final = 2048  # bytes of a stream that are looked through at once: they may be a thousand frames, some milliseconds' worth
RESETS: Final = 200  # requests that a peer may cancel beyond those that it lets end; one that only cancels makes us work for nothing


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one connection; times in seconds, sizes in bytes.

    window, stream_window: what may come up unread. unsent, stream_unsent: what may lie unacknowledged before senders wait; each may have
    one piece under way in any case.
    """

    max_head: int = 32_768
    streams: int = 100
    window: int = 1 << 20
    stream_window: int = 1 << 18
    unsent: int = 1 << 22
    stream_unsent: int = 1 << 18
    handshake: float = 10.0
    idle: float = 75.0


@dataclass(frozen=True, slots=True)
class Request:
    """A head. ended: nothing follows it. oversized: it was above the limits; only its first fields are here, or none."""

    stream: int
    fields: Fields
    ended: bool
    oversized: bool = False


@dataclass(frozen=True, slots=True)
class Body:
    """Bytes of a request's body, which count as held until `consumed`."""

    stream: int
    data: bytes
    ended: bool


@dataclass(frozen=True, slots=True)
class Gone:
    """Nobody waits for the rest of this answer any more."""

    stream: int


@dataclass(frozen=True, slots=True)
class CidIssued:
    cid: bytes


@dataclass(frozen=True, slots=True)
class CidRetired:
    cid: bytes


Event = Request | Body | Gone | CidIssued | CidRetired


class Connection:
    """See the module. peer: the address that datagrams go to now; it changes when the peer moves."""

    def __init__(
        self, configuration: Configuration, limits: Limits, peer: Peer, now: float, *, original_cid: bytes, retry_cid: bytes | None
    ) -> None:
        self._limits = limits
        self._quic = Quic(
            configuration,
            window=limits.window,
            stream_window=limits.stream_window,
            streams=limits.streams,
            original_cid=original_cid,
            retry_cid=retry_cid,
        )
        self._h3: H3 | None = None
        self.peer = peer
        self.first_cid = self._quic.host_cid
        self.established = False
        self.ended = False  # nothing is served any more; late datagrams are still eaten until `expired`
        self._open: dict[int, bool] = {}  # request: whether more of it is to come
        self._body: set[int] = set()  # requests that are answered, and whose rest is thrown away
        self._rest: StreamDataReceived | None = None  # what came of a stream and is still to be looked through, before anything else is
        self._events: deque[Event] = deque()
        self._busy_until = now + limits.handshake  # deadline of the handshake, then of idleness
        self._next_request = 0
        self._last: int | None = None  # requests from here on are refused
        self._cancelled = 0
        self._was_busy = False

    # -- in ------------------------------------------------------------------------------------------------------------

    def receive(self, data: bytes, peer: Peer, now: float) -> None:
        """A datagram for this connection; what it completes may leave it `busy`."""
        self._quic.receive_datagram(data, peer, now)
        self.work(now)

    @property
    def busy(self) -> bool:
        """Whether there is something to look at without another datagram: call `work`."""
        return self._rest is not None

    def work(self, now: float) -> None:
        """Look at what has come: all of it, or PIECE bytes of one that is longer, as behind a datagram that was lost."""
        if not self.ended:
            self._work(now)
        if self._quic.ending is not None:
            self._rest = None
            self._end()
        else:
            self._touch(now)

    def tick(self, now: float) -> None:
        """Call at `deadline`."""
        at = self._quic.get_timer()
        if at is not None and now >= at:
            self._quic.handle_timer(now)
        self._touch(now)
        if not self.ended and not self._open and now >= self._busy_until:
            if not self.established:
                self._quic.close(error_code=QuicErrorCode.CONNECTION_REFUSED, reason_phrase="the handshake took too long")
            else:
                self._quic.close(error_code=ErrorCode.H3_NO_ERROR, reason_phrase="idle")
        self.work(now)

    # -- out -----------------------------------------------------------------------------------------------------------

    def events(self) -> Iterable[Event]:
        """What happened, in order; each once."""
        while self._events:
            yield self._events.popleft()

    def datagrams(self, now: float) -> list[tuple[bytes, Peer]]:
        """What to send now, and where to."""
        out = self._quic.datagrams_to_send(now)
        if (address := self._quic.get_peer_address()) is not None:
            self.peer = address
        return out

    def deadline(self) -> float | None:
        """When to call `tick`; None: never, the connection is over."""
        at = self._quic.get_timer()
        if at is None or self.ended or self._open:
            return at
        return min(at, self._busy_until)

    @property
    def expired(self) -> bool:
        """Whether its ids can be forgotten."""
        return self.ended and self._quic.get_timer() is None

    @property
    def requests(self) -> int:
        """Requests whose answers are not complete."""
        return len(self._open)

    @property
    def smoothed_rtt(self) -> float:
        return self._quic.smoothed_rtt

    # -- answers: each is nothing once the request is gone -----------------------------------------------------------------

    def has(self, stream: int) -> bool:
        """Whether anybody waits for this answer."""
        return stream in self._open

    def head(self, stream: int, status: int, fields: Fields, *, end: bool = False) -> None:
        """The head of an answer; 1xx ones may come before it."""
        if stream in self._open and self._h3 is not None:
            self._h3.send_headers(stream, [(b":status", b"%d" % status), *frames(fields)], end)
            if end:
                self._answered(stream)

    def data(self, stream: int, data: bytes, *, end: bool = False) -> None:
        """Bytes of an answer's body, or of a WebSocket."""
        if stream in self._open and self._h3 is not None:
            self._h3.send_data(stream, data, end)
            if end:
                self._answered(stream)

    def reset(self, stream: int, code: int = ErrorCode.H3_INTERNAL_ERROR) -> None:
        """A visibly broken end."""
        if stream in self._open:
            self._drop(stream, code)

    def consumed(self, stream: int, size: int) -> None:
        """`size` bytes of `Body` were taken: the peer may send as many more."""
        if stream in self._open:
            self._quic.consumed(stream, size)

    def has_room(self, stream: int, share: float = 1.0) -> bool:
        """Whether less than `share` of what may lie unacknowledged does, on this answer and on the connection.

        An answer of which nothing does always has room: what others do not take must not hold it up, nor be laid to its charge.
        """
        mine = self._quic.unsent(stream)
        return not mine or (mine < self._limits.stream_unsent * share and self._quic.all_unsent < self._limits.unsent * share)

    def unsent(self, stream: int) -> int:
        """Bytes of an answer that the peer has not acknowledged."""
        return self._quic.unsent(stream)

    # -- the end -------------------------------------------------------------------------------------------------------

    def goaway(self, *, last: bool) -> None:
        """Say that we are going; with `last`, requests that are not here yet are refused from now on."""
        if self._h3 is None or self.ended or self._last is not None:
            return
        if last:
            self._last = self._next_request
        self._h3.goaway(self._next_request if last else LAST_STREAM)

    def close(self, code: int = ErrorCode.H3_NO_ERROR) -> None:
        """End it now; `datagrams` has the last words."""
        self._quic.close(error_code=code)
        self._end()

    # -- inside --------------------------------------------------------------------------------------------------------

    def _work(self, now: float) -> None:
        while (event := self._rest or self._quic.next_event()) is not None:
            self._rest = None
            if isinstance(event, StreamDataReceived) and len(event.data) > PIECE:
                self._rest = replace(event, data=event.data[PIECE:])
                self._stream_data(replace(event, data=event.data[:PIECE], end_stream=False), now)
                return
            if isinstance(event, StreamDataReceived):
                self._stream_data(event, now)
            elif isinstance(event, StreamReset | StopSendingReceived):
                self._cancel(event)
            elif isinstance(event, HandshakeCompleted):
                self.established = True
                self._h3 = H3(self._quic, self._limits.max_head)
                self._busy_until = now + self._limits.idle
            elif isinstance(event, ConnectionIdIssued):
                self._events.append(CidIssued(event.connection_id))
            elif isinstance(event, ConnectionIdRetired):
                self._events.append(CidRetired(event.connection_id))

    def _touch(self, now: float) -> None:
        if self._open or self._was_busy:
            self._busy_until, self._was_busy = now + self._limits.idle, False

    def _stream_data(self, event: StreamDataReceived, now: float) -> None:
        stream = event.stream_id
        if self._h3 is None:  # 0-RTT is never offered
            return
        if self._last is not None and not stream % 4 and stream >= self._last:
            self._quic.came(stream, len(event.data), 0)
            self._quic.abandon(stream, ErrorCode.H3_REQUEST_REJECTED, stop=True)
            return
        held, fresh = 0, self._h3.awaits_head(stream)
        for each in self._h3.handle_event(event):
            if isinstance(each, HeadersReceived):
                if fresh:
                    self._request(Request(stream, each.headers, each.stream_ended, stream in self._h3.oversized))
                elif each.stream_ended:  # trailers
                    self._data(stream, b"", True)
                fresh = False
                self._h3.oversized.discard(stream)
            elif isinstance(each, DataReceived):
                held += self._data(stream, each.data, each.stream_ended)
            self._busy_until = now + self._limits.idle
        if stream in self._h3.oversized:
            self._h3.oversized.discard(stream)
            self._request(Request(stream, [], event.end_stream, True))
        self._quic.came(stream, len(event.data), held)
        self._h3.check_held(stream)
        if stream in self._h3.malformed:
            self._malformed(stream)
        if event.end_stream and stream not in self._open:
            self._h3.malformed.discard(stream)
            self._body.discard(stream)
            self._quic.dropped(stream)

    def _request(self, request: Request) -> None:
        self._next_request = max(self._next_request, request.stream + 4)
        if self._quic.is_stopped(request.stream):  # cancelled before it came
            self._quic.abandon(request.stream, ErrorCode.H3_REQUEST_CANCELLED, stop=True)
        else:
            self._open[request.stream] = not request.ended
            self._events.append(request)

    def _data(self, stream: int, data: bytes, ended: bool) -> int:
        if not self._open.get(stream):
            return 0
        if ended:
            self._open[stream] = False
        self._events.append(Body(stream, data, ended))
        return len(data)

    def _cancel(self, event: StreamReset | StopSendingReceived) -> None:
        if self._h3 is not None:
            self._h3.handle_event(event)
        if event.stream_id % 4:
            return
        if isinstance(event, StreamReset) and self._h3 is not None:
            self._h3.malformed.discard(event.stream_id)
        if event.stream_id in self._open:
            self._cancelled += 1
            self._drop(event.stream_id, ErrorCode.H3_REQUEST_CANCELLED)
            if self._cancelled > RESETS:
                self._quic.close(error_code=ErrorCode.H3_EXCESSIVE_LOAD, reason_phrase="requests are only cancelled")
        elif isinstance(event, StreamReset):
            self._body.discard(event.stream_id)
            self._quic.dropped(event.stream_id)

    def _malformed(self, stream: int) -> None:
        """It ends, and the others go on; an answer that is complete stays one."""
        if stream in self._open:
            self._drop(stream, ErrorCode.H3_MESSAGE_ERROR)
        elif stream not in self._body and not self._quic.is_stopped(stream):
            assert self._h3 is not None
            self._quic.abandon(stream, ErrorCode.H3_MESSAGE_ERROR, stop=True)
            self._h3.forget(stream)

    def _drop(self, stream: int, code: int) -> None:
        """Both halves of a request end without an answer."""
        more = self._open.pop(stream)
        self._quic.abandon(stream, code, stop=more)
        self._quic.dropped(stream)
        if self._h3 is not None:
            self._h3.forget(stream)
        self._events.append(Gone(stream))

    def _answered(self, stream: int) -> None:
        """The answer is complete; what still comes of the request is not wanted (RFC 9114, 4.1)."""
        self._cancelled = max(0, self._cancelled - 1)
        self._was_busy = True
        if self._open.pop(stream):
            self._body.add(stream)
            self._quic.consumed(stream, self._quic.held(stream))
            self._quic.stop(stream, ErrorCode.H3_NO_ERROR)
        else:
            self._quic.dropped(stream)

    def _end(self) -> None:
        if not self.ended:
            self.ended = True
            self._events.extend(Gone(stream) for stream in self._open)
            self._open.clear()
            self._body.clear()
