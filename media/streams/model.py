"""The records of the streams domain: a stream, its keys, its broadcasts; and the words they are made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final, NewType

StreamId = NewType("StreamId", str)  # UUIDv7; later streams sort after earlier ones
KeyId = NewType("KeyId", str)  # UUIDv7
UserId = NewType("UserId", str)  # the `sub` of a token
UnixMs = NewType("UnixMs", int)  # milliseconds since 1970, UTC

TITLE_MAX: Final = 200  # characters; one line on a phone, twice over
DESCRIPTION_MAX: Final = 5000  # characters
TAGS_MAX: Final = 20
TAG_MAX: Final = 50  # characters


class Visibility(StrEnum):
    """Who may know of a stream."""

    PUBLIC = "public"  # listed, open to everyone
    UNLISTED = "unlisted"  # open to everyone who has its id
    PRIVATE = "private"  # its owner and granted users; nobody else learns that it exists


class Status(StrEnum):
    """Where a stream is in its life; `ended` streams may go live again."""

    IDLE = "idle"  # never published to
    LIVE = "live"
    RECONNECTING = "reconnecting"  # the publisher is gone and has its grace time to come back
    ENDED = "ended"


RUNNING: Final = frozenset({Status.LIVE, Status.RECONNECTING})


@dataclass(frozen=True, slots=True)
class Stream:
    """A stream as the store holds it."""

    id: StreamId
    owner: UserId
    title: str
    description: str
    tags: tuple[str, ...]
    visibility: Visibility
    record: bool
    created_at: UnixMs
    status: Status = Status.IDLE
    started_at: UnixMs | None = None  # of the current broadcast, else of the last one
    ended_at: UnixMs | None = None  # of the last broadcast; None while one runs

    @property
    def search_text(self) -> str:
        """What a search looks at, case folded."""
        return "\n".join((self.title, self.description, *self.tags)).casefold()


@dataclass(frozen=True, slots=True)
class Changes:
    """A patch to the fields that an owner may change; None leaves a field as it is."""

    title: str | None = None
    description: str | None = None
    tags: tuple[str, ...] | None = None
    visibility: Visibility | None = None
    record: bool | None = None

    def apply(self, stream: Stream) -> Stream:
        given = {name: value for name in self.__slots__ if (value := getattr(self, name)) is not None}
        return replace(stream, **given)


@dataclass(frozen=True, slots=True)
class StreamKey:
    """A stream key without its text, which only its owner has."""

    id: KeyId
    stream: StreamId
    digest: bytes = field(repr=False)  # SHA-256 of the key's text
    hint: str  # its first characters, so that its owner tells one from the other
    created_at: UnixMs
    used_at: UnixMs | None = None  # last publish with it


@dataclass(frozen=True, slots=True)
class Broadcast:
    """One run of a stream, from its first publisher until it ended for good."""

    id: str  # UUIDv7
    stream: StreamId
    started_at: UnixMs
    ended_at: UnixMs | None = None
    reason: str = ""  # why it ended, one of a closed set of words
    peak_viewers: int = 0
    viewer_ms: int = 0  # viewers integrated over time


@dataclass(frozen=True, slots=True)
class Analytics:
    """What an owner reads about a stream."""

    stream: Stream
    viewers: int
    peak_viewers: int
    viewer_ms: int
    live_ms: int
    broadcasts: tuple[Broadcast, ...]  # newest first
    ingest: Mapping[str, object]  # numbers of the running publisher; empty without one


@dataclass(frozen=True, slots=True)
class Page:
    """What a list asks the store for: the streams that `reader` may find, newest first.

    reader: whose private and unlisted streams are in it beside the public ones; None: nobody's.
    everything: every stream of everybody (operators).
    after: the last id of the page before.
    """

    limit: int
    after: StreamId | None = None
    reader: UserId | None = None
    everything: bool = False
    owner: UserId | None = None
    status: Status | None = None
    words: tuple[str, ...] = ()  # case folded; all of them must be in the search text
