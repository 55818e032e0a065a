"""A live stream for RTMP players: encoded once, followed by all of them through one sequence.

A stream that nobody plays over RTMP costs a look at its sequence headers: the sequence begins with the first player, at the
next key picture (docs/decisions/0022-rtmp-play-on-demand.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Generic, NamedTuple, Protocol, TypeVar, cast

from nova.ext.rtmp_play import PlayEncoder
from nova.media.rtmp import amf, messages
from nova.media.rtmp.session import PLAY_MSID, Records

REST_MS: Final = 10_000  # of the stream's own time without players before the sequence is given up


class PlaySequence(Protocol):
    """One writer, many readers; nova.core.reactor.Feed is one."""

    def append(self, data: bytes, key: bool = False) -> int: ...
    def close(self) -> None: ...
    @property
    def readers(self) -> int: ...


S = TypeVar("S", bound=PlaySequence)


class Playback(NamedTuple, Generic[S]):
    """What a player's connection follows: `prologue` first, then the sequence from its newest key item on."""

    sequence: S
    prologue: bytes


class LivePlay(Generic[S]):
    """The players' side of one live stream; it outlives a takeover of the publisher, not the stream."""

    def __init__(self, chunk_size: int, new_sequence: Callable[[], S]) -> None:
        """chunk_size: bytes, as every player was told; new_sequence: makes an empty window."""
        self._chunk_size = chunk_size
        self._new_sequence = new_sequence
        self._encoder = PlayEncoder(chunk_size)
        self._metadata: dict[str, amf.Value] | None = None
        self._sequence: S | None = None
        self._watched_at = 0  # the stream's time when it last had a player

    @property
    def wanted(self) -> bool:
        """Whether anybody plays."""
        return self._sequence is not None

    def join(self) -> Playback[S]:
        """For one more player."""
        if self._sequence is None:
            self._sequence = self._new_sequence()
        now = self._watched_at = self._encoder.last_timestamp
        prologue = self._encoder.headers(now)
        if self._metadata is not None:
            prologue = self._metadata_message(now) + prologue
        return Playback(self._sequence, prologue)

    def metadata(self, values: Mapping[str, amf.Value]) -> None:
        """onMetaData of the publisher, as it came."""
        self._metadata = dict(values)
        if self._sequence is not None:
            self._sequence.append(self._metadata_message(self._encoder.last_timestamp), False)

    def media(self, records: Records) -> None:
        """A batch of the publisher's media records."""
        sequence = self._sequence
        for data, key in self._encoder.media(records, sequence is not None):
            cast(S, sequence).append(data, key)
        if sequence is not None:
            now = self._encoder.last_timestamp
            if sequence.readers:
                self._watched_at = now
            elif (now - self._watched_at) & 0xFFFFFFFF > REST_MS:
                # The next player must not begin with a picture from minutes ago, so it gets a new sequence.
                sequence.close()
                self._sequence = None
                self._encoder.rest()

    def restart(self) -> None:
        """Another publisher goes on with the stream: time stamps go on where they were."""
        self._encoder.restart()

    def end(self) -> None:
        """The stream is over: players are told, and their connections end behind it."""
        if self._sequence is not None:
            farewell = messages.user_control(messages.STREAM_EOF, PLAY_MSID) + messages.status(
                self._chunk_size, PLAY_MSID, "status", "NetStream.Play.UnpublishNotify", "The stream has ended."
            )
            # A key item, so that even a reader that fell behind gets it.
            self._sequence.append(farewell, True)
            self._sequence.close()
            self._sequence = None

    def _metadata_message(self, timestamp: int) -> bytes:
        values = amf.Array(cast(dict[str, amf.Encodable], self._metadata))
        return messages.data(self._chunk_size, PLAY_MSID, timestamp, messages.ON_METADATA, values)
