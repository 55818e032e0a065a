"""The RTMP server: sessions over the reactor's sockets, the door to the streams, deadlines, takeover and drain.

A shell: `session` knows the protocol, the reactor owns the bytes. Called synchronously in the trio thread, in batches.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Generic, NamedTuple, Protocol, TypeVar

import trio

from nova.core.errors import NovaError
from nova.core.guard import guarded
from nova.core.log import Log
from nova.media.rtmp import amf, session
from nova.media.rtmp.play import LivePlay, PlaySequence, S
from nova.media.rtmp.reasons import REASONS

_SWEEP_S: Final = 1.0  # how often deadlines are looked at; they are of seconds

S_contra = TypeVar("S_contra", bound=PlaySequence, contravariant=True)

_log = Log("nova.rtmp")


class Grant(NamedTuple):
    """What a right stream key opens."""

    stream_id: str
    key_id: str


class Ingest(Protocol):
    """One publisher's way into its stream."""

    def metadata(self, values: Mapping[str, amf.Value]) -> None:
        """onMetaData, as the publisher sent it: a claim, not a fact."""
        ...

    def media(self, records: session.Records) -> int | None:
        """A batch of audio and video records. Returns the time stamp (ms, 32 bits) that closes the current part, when it is known:
        the reactor then hands up the next batch with it and not before. May raise NovaError: this publisher's end."""
        ...

    def end(self, reason: str) -> None:
        """Once, and nothing after it. reason: a row of reasons.REASONS."""
        ...


class Door(Protocol):
    """The streams, as RTMP sees them."""

    def authorize(self, app: str, key: str, peer: str) -> Grant | None:
        """Whose key this is; in constant time and within 50 microseconds, for it runs in the trio thread."""
        ...

    def publish(self, grant: Grant, peer: str) -> Ingest:
        """The stream begins, or goes on. A publisher that ran before has ended by then. May raise NovaError: refused."""
        ...

    def playable(self, stream_id: str, peer: str) -> bool:
        """Whether anybody may play this stream over RTMP, which has no sessions: public and unlisted ones."""
        ...


class GuessLimit(Protocol):
    """Counts wrong keys per address."""

    def allowed(self, peer: str) -> bool: ...
    def wrong(self, peer: str) -> None: ...


class RtmpConnections(Protocol[S_contra]):
    """The reactor's half: calls down."""

    def send(self, conn: int, data: bytes) -> None:
        """data: already chunked."""
        ...

    def wake_at(self, conn: int, timestamp: int) -> None:
        """Hand up media when a record of this time (ms, 32 bits) or later has come. The first call admits a publisher: before it
        the peer may send small messages only."""
        ...

    def close(self, conn: int, reason: str) -> None:
        """After what was sent is out."""
        ...

    def follow(self, conn: int, sequence: S_contra, prologue: bytes) -> None:
        """Send the prologue, then every item from the newest key item on; slow readers skip to a later key item. When the
        sequence closes, the connection does too, after the last item, with the reason `ended`."""
        ...


class RtmpHandler(Protocol):
    """Our half: calls up, synchronously in the trio thread."""

    def opened(self, conn: int, peer: str) -> None: ...
    def records(self, conn: int, data: session.Records) -> None: ...
    def closed(self, conn: int, reason: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Timeouts:
    """publish_s: from accept to an accepted publish or play. idle_s: a publisher's longest silence."""

    publish_s: float = 10.0
    idle_s: float = 30.0


@dataclass(slots=True)
class _Connection:
    id: int
    peer: str
    session: session.Session
    deadline: float  # monotonic seconds
    ending: str = ""  # why, once we ended it
    grant: Grant | None = None
    ingest: Ingest | None = None
    playing: str = ""  # stream id
    unpublished: bool = False  # the publisher said that it is done; what follows is its close
    media_bytes: int = 0


class RtmpServer(Generic[S]):
    """The handler of every RTMP and RTMPS listener of this process.

    new_sequence: makes the window that the RTMP players of one stream follow.
    ended: told the reason of each connection's end (a row of REASONS), for metrics.
    """

    def __init__(
        self,
        door: Door,
        connections: RtmpConnections[S],
        *,
        new_sequence: Callable[[], S],
        guesses: GuessLimit,
        limits: session.Limits | None = None,
        timeouts: Timeouts | None = None,
        ended: Callable[[str], None] = lambda reason: None,
    ) -> None:
        self._door = door
        self._down = connections
        self._new_sequence = new_sequence
        self._guesses = guesses
        self._limits = limits or session.Limits()
        self._timeouts = timeouts or Timeouts()
        self._ended = ended
        self._connections: dict[int, _Connection] = {}
        self._publishers: dict[str, _Connection] = {}  # by stream id
        self._plays: dict[str, LivePlay[S]] = {}  # by stream id, while it is published
        self._draining = False
        self._empty = trio.Event()

    # -- called by the reactor -----------------------------------------------------------------------------------------

    def opened(self, conn: int, peer: str) -> None:
        now = trio.current_time()
        self._connections[conn] = connection = _Connection(conn, peer, session.Session(self._limits, now), now + self._timeouts.publish_s)
        if self._draining:
            self._end(connection, "shutdown")

    def records(self, conn: int, data: session.Records) -> None:
        connection = self._connections.get(conn)
        if connection is None or connection.ending:
            return
        # The reactor would close a connection whose handler fails; the guard is here, so that the stream ends well and the peer is told.
        with guarded(_log) as failed:
            self._receive(connection, data)
        if failed:
            self._end(connection, "internal")

    def closed(self, conn: int, reason: str) -> None:
        """reason: one of the reactor's, or the chunk kernel's; ours counts when it was we who closed it."""
        connection = self._connections.pop(conn, None)
        if connection is None:
            return
        reason = connection.ending or _TRANSPORT.get(reason, reason)
        if reason == "handshake_timeout" and connection.ingest is not None:
            reason = "stalled"
        if reason not in REASONS:
            reason = "disconnected"
        if reason == "disconnected":
            # Who was done, or was told that the stream is over, may close before we do.
            if connection.unpublished:
                reason = "unpublished"
            elif connection.playing and connection.playing not in self._plays:
                reason = "ended"
        connection.ending = reason
        self._leave(connection, reason)
        self._ended(reason)
        # A line for everybody who published or played; of the others, and of faults, a flood is one line.
        stream = connection.grant.stream_id if connection.grant else connection.playing or None
        write = _log.peer if stream is None or reason.startswith("rtmp_") or reason in _FAULTS else _log.info
        write("rtmp_closed", reason=reason, peer=connection.peer, stream=stream, media_bytes=connection.media_bytes)
        if self._draining and not self._connections:
            self._empty.set()

    # -- called by the rest of Nova ------------------------------------------------------------------------------------

    def drop(self, stream_id: str, reason: str, *, key_id: str | None = None) -> bool:
        """End the publisher of a stream (with key_id: only when it uses that key); False: there is none.

        reason: `key_revoked` or `stopped`.
        """
        connection = self._publishers.get(stream_id)
        if connection is None or (key_id is not None and (connection.grant is None or connection.grant.key_id != key_id)):
            return False
        self._end(connection, reason)
        return True

    def drop_players(self, stream_id: str) -> None:
        """End those who play a stream: it is not for everybody any more."""
        for connection in list(self._connections.values()):
            if connection.playing == stream_id:
                self._end(connection, "stopped")

    @property
    def publishers(self) -> int:
        return len(self._publishers)

    @property
    def connections(self) -> int:
        return len(self._connections)

    async def run(self) -> None:
        """Keeps the deadlines; ends with its nursery."""
        while True:
            await trio.sleep(_SWEEP_S)
            self.expire(trio.current_time())

    def expire(self, now: float) -> None:
        """End what is past its deadline. now: monotonic seconds."""
        for connection in list(self._connections.values()):
            if connection.deadline <= now and not connection.ending and not connection.playing:
                self._end(connection, "stalled" if connection.ingest is not None else "publish_timeout")

    async def drain(self) -> None:
        """A clean end for every publisher and player, and for whoever comes after; returns when all are gone.

        The caller bounds the time.
        """
        self._draining = True
        for connection in list(self._connections.values()):
            # Players end behind the last item of their sequence, when their publisher has ended.
            if not connection.ending and not connection.playing:
                self._end(connection, "shutdown")
        if self._connections:
            await self._empty.wait()

    # -- inside --------------------------------------------------------------------------------------------------------

    def _receive(self, connection: _Connection, data: session.Records) -> None:
        for event in connection.session.receive(data, trio.current_time()):
            match event:
                case session.Media(records):
                    self._media(connection, records)
                case session.Send(out):
                    self._down.send(connection.id, out)
                case session.Metadata(values):
                    self._metadata(connection, values)
                case session.PublishAsked(app, key):
                    self._publish(connection, app, key)
                case session.PlayAsked(app, name):
                    self._play(connection, app, name)
                case session.Unpublished():
                    self._leave(connection, "unpublished")
                    connection.unpublished = True
                    connection.deadline = trio.current_time() + self._timeouts.publish_s
                case session.PlayStopped():
                    self._close(connection, "disconnected")
                case session.Close(reason):
                    self._leave(connection, reason)
                    self._close(connection, reason)
            if connection.ending:
                return

    def _media(self, connection: _Connection, records: session.Records) -> None:
        ingest, grant = connection.ingest, connection.grant
        assert ingest is not None
        assert grant is not None
        connection.deadline = trio.current_time() + self._timeouts.idle_s
        connection.media_bytes += len(records)
        try:
            wake = ingest.media(records)
        except NovaError as error:
            _log.warning("rtmp_ingest_refused", peer=connection.peer, stream=grant.stream_id, code=error.code, detail=error.detail)
            self._end(connection, "refused", error.detail or error.row.title)
            return
        self._plays[grant.stream_id].media(records)
        if wake is not None:
            self._down.wake_at(connection.id, wake)

    def _metadata(self, connection: _Connection, values: Mapping[str, amf.Value]) -> None:
        assert connection.ingest is not None
        assert connection.grant is not None
        connection.ingest.metadata(values)
        self._plays[connection.grant.stream_id].metadata(values)

    def _publish(self, connection: _Connection, app: str, key: str) -> None:
        if not self._guesses.allowed(connection.peer):
            self._refuse_publish(connection, "key_guessing", "Too many wrong stream keys; try again later.")
            return
        grant = self._door.authorize(app, key, connection.peer) if app == session.APP and key else None
        if grant is None:
            self._guesses.wrong(connection.peer)
            self._refuse_publish(connection, "bad_stream_key", "The stream key is not valid.")
            return
        before = self._publishers.get(grant.stream_id)
        if before is not None:
            self._end(before, "takeover")
        try:
            ingest = self._door.publish(grant, connection.peer)
        except NovaError as error:
            self._end_play(grant.stream_id)
            self._refuse_publish(connection, "refused", error.detail or error.row.title)
            return
        connection.grant, connection.ingest, connection.unpublished = grant, ingest, False
        connection.deadline = trio.current_time() + self._timeouts.idle_s
        self._publishers[grant.stream_id] = connection
        if grant.stream_id in self._plays:
            self._plays[grant.stream_id].restart()
        else:
            self._plays[grant.stream_id] = LivePlay(self._limits.chunk_size, self._new_sequence)
        self._down.wake_at(connection.id, 0)
        self._down.send(connection.id, connection.session.start_publish())
        _log.info("rtmp_publish", peer=connection.peer, stream=grant.stream_id, key_id=grant.key_id, takeover=before is not None)

    def _refuse_publish(self, connection: _Connection, reason: str, description: str) -> None:
        self._down.send(connection.id, connection.session.refuse_publish(description))
        self._close(connection, reason)

    def _play(self, connection: _Connection, app: str, stream_id: str) -> None:
        play = self._plays.get(stream_id) if app == session.APP else None
        if play is None or not self._door.playable(stream_id, connection.peer):
            # One answer for what is not live, not there, or not for everybody.
            self._down.send(connection.id, connection.session.refuse_play("The stream is not live."))
            self._close(connection, "stream_not_live")
            return
        connection.playing = stream_id
        playback = play.join()
        self._down.follow(connection.id, playback.sequence, connection.session.start_play() + playback.prologue)
        _log.info("rtmp_play", peer=connection.peer, stream=stream_id)

    def _end(self, connection: _Connection, reason: str, description: str = "") -> None:
        """Our own end of a connection: the stream is left, the peer told, the connection closed."""
        if connection.ending:
            return
        self._leave(connection, reason)
        farewell = connection.session.end(description or REASONS[reason], clean=reason in _CLEAN)
        if farewell:
            self._down.send(connection.id, farewell)
        self._close(connection, reason)

    def _close(self, connection: _Connection, reason: str) -> None:
        connection.ending = reason
        self._down.close(connection.id, reason)

    def _leave(self, connection: _Connection, reason: str) -> None:
        """The publisher is gone from its stream, for whatever reason."""
        ingest, connection.ingest = connection.ingest, None
        if ingest is None or connection.grant is None:
            return
        stream_id = connection.grant.stream_id
        del self._publishers[stream_id]
        if reason != "takeover":
            self._end_play(stream_id)
        with guarded(_log):
            ingest.end(reason)

    def _end_play(self, stream_id: str) -> None:
        play = self._plays.pop(stream_id, None)
        if play is not None:
            play.end()


# The reactor's words for an end, in ours.
_TRANSPORT: Final = {
    "peer": "disconnected",
    "reset": "disconnected",
    "timeout": "handshake_timeout",
    "slow": "slow_reader",
    "drain": "shutdown",
}
_CLEAN: Final = frozenset({"shutdown", "stopped", "unpublished"})
_FAULTS: Final = frozenset(
    {"bad_app", "bad_stream_key", "key_guessing", "handshake_timeout", "publish_timeout", "stalled", "slow_reader", "refused"}
)
