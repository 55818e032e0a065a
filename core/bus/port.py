"""What a domain sees of the bus. Nothing here promises more than Redis can keep.

Topics are for what is worth nothing a second later (a bell, a viewer count), streams for what must not be missed, leases
for what only one process may do. Logs are numbered sequences that many processes write and follow live (the channels of realtime),
tables are rows that all of them see.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final, NewType, Protocol

from nova.core.values import Rate, Seconds

Cursor = NewType("Cursor", str)  # opaque; comes from the stream that it is given to

START: Final = Cursor("0")  # before the first entry of every stream

AT_ONCE: Final = Seconds(0)
MAX_DATA: Final = 256 * 1024  # bytes of a message or entry; larger things are blobs, and the message names them
ONCE: Final = Seconds(300.0)  # how long an entry's word is remembered; outlasts a writer that comes back and tries again
TICKET: Final = Seconds(10.0)  # how long a message's ticket can be taken; whoever gives one out takes it back long before
FOLLOWED: Final = 65536  # entries that wait for one follower
QUEUE: Final = 1024  # messages that wait for one subscriber


@dataclass(frozen=True, slots=True)
class Message:
    """What was published.

    missed: at least so many messages of the subscription were lost directly before this one.
    """

    topic: str
    data: bytes
    missed: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a stream; `cursor` stands behind it."""

    cursor: Cursor
    data: bytes


@dataclass(frozen=True, slots=True)
class Page:
    """Entries in order.

    cursor: where to go on; behind the last entry, or when there is none as asked; where nothing is left of what was asked for, behind all
    of it.
    gap: entries between the cursor that was asked for and the first one here are no longer kept, or the stream lost its
    past: what follows from it must be rebuilt.
    """

    entries: tuple[Entry, ...]
    cursor: Cursor
    gap: bool


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to do something alone until it expires.

    token: greater than that of every earlier lease of this name; who writes elsewhere passes it on, so that a holder who
    slept through his expiry is refused there.
    """

    name: str
    holder: str
    token: int


@dataclass(frozen=True, slots=True)
class Keep:
    """What a log keeps: the newest `items` entries, all of it until nothing was added for `ttl`."""

    items: int
    ttl: Seconds


@dataclass(frozen=True, slots=True)
class Quota:
    """A rate of a log's entries, over all processes. name: which of them, within the log. what: `too many …`, for who is refused."""

    name: str
    rate: Rate
    what: str


@dataclass(frozen=True, slots=True)
class Added:
    """Where an entry stands. again: `once` had been there before, and this is where it went then."""

    epoch: str
    number: int
    again: bool = False


@dataclass(frozen=True, slots=True)
class Tail:
    """What a log has now.

    number: of the newest entry, 0 without one. lost: the newest one that was dropped for want of room or time, 0 without one.
    entries: those kept, by number, oldest first.
    """

    epoch: str
    number: int
    lost: int
    entries: tuple[tuple[int, bytes], ...]


@dataclass(frozen=True, slots=True)
class Seen:
    """How far somebody has read a log: what it had acknowledged, and lost if it has not got as far any more.

    kept, digest: the newest entry seen that is kept, and the SHA-1 of its bytes in hex; 0 and empty: none. named: others know entries by
    epoch and number, so that those of a log that was set back are not to be met again under other names.
    """

    epoch: str
    number: int
    kept: int = 0
    digest: str = ""
    named: bool = False


NOTHING_SEEN: Final = Seen("", 0)


@dataclass(frozen=True, slots=True)
class Told:
    """What a followed log says. number 0: a note. log empty: the connection was lost; whatever came meanwhile was missed, in every log."""

    log: str
    epoch: str
    number: int
    data: bytes


class Follower(Protocol):
    """Follows a set of logs that changes."""

    async def add(self, log: str) -> None:
        """From its return on, everything that is added and noted is told, in the log's order. Again changes nothing."""

    def remove(self, log: str) -> None: ...
    def __aiter__(self) -> AsyncIterator[Told]:
        """Endless. One consumer; beyond `FOLLOWED` unread ones all are dropped, which is told like a lost connection."""


class Subscription(Protocol):
    """Messages from the moment the subscription was entered."""

    def __aiter__(self) -> AsyncIterator[Message]:
        """Endless. One consumer."""


class Bus(Protocol):
    """Trio thread only. Every method raises Unavailable when the bus cannot be reached, TooLarge above `MAX_DATA`."""

    async def publish(self, topic: str, data: bytes, *, ticket: str = "") -> int:
        """Tell the present subscribers of `topic`; in how many places somebody hears it. At most once; in order for one publisher.

        ticket: a name that is used once; from the publication on it can be taken, by one, within `TICKET`.
        """

    async def take(self, ticket: str, lease: Lease | None = None) -> bool | None:
        """Whether it could still be taken; then nobody else has, or will. None: `lease` is not held any more, and nothing was taken."""

    def subscribe(self, topics: Collection[str], *, queue: int = QUEUE) -> AbstractAsyncContextManager[Subscription]:
        """Messages of `topics` that are published after this was entered.

        At most `queue` wait for the consumer. One more drops the oldest, and the next message says so by `missed`: a slow
        subscriber slows nobody.
        """

    async def append(self, stream: str, data: bytes) -> Cursor:
        """Append an entry; its cursor. A stream begins with its first entry, and keeps a window of the latest ones."""

    async def read(self, stream: str, after: Cursor, *, limit: int = 100, wait: Seconds = AT_ONCE) -> Page:
        """At most `limit` entries behind `after`, oldest first; at once when there is one, else within `wait`.

        Raises BadRequest `bad_cursor`.
        """

    def listening(self, stream: str) -> AbstractAsyncContextManager[None]:
        """Within it `read` hears of new entries as they come, instead of asking for each: for those who follow a stream for long."""

    async def end(self, stream: str) -> Cursor:
        """The cursor behind the latest entry; START when there has been none."""

    async def acquire(self, name: str, holder: str, ttl: Seconds) -> Lease | None:
        """Take the lease for `ttl`; None when it is held, by this holder too."""

    async def renew(self, lease: Lease, ttl: Seconds) -> bool:
        """Hold it for `ttl` from now. False: it has expired or was released, and may be somebody else's."""

    async def held(self, name: str) -> Seconds | None:
        """For how long it is held from now, unless it is renewed; None: it is not."""

    async def release(self, lease: Lease) -> None:
        """Give it back; nothing happens when it is not held any more."""

    async def add(
        self, log: str, data: bytes, keep: Keep, *, once: str = "", kept: bool = True, quotas: Sequence[Quota] = (),
        seen: Seen = NOTHING_SEEN,
    ) -> Added:  # fmt: skip
        """Number an entry, keep it (unless `kept` is false), and tell it to everybody who follows.

        once: an entry with the same word within `ONCE` is not added again. quotas: what it counts to, unless it had been there before.
        seen: as with `tail`.
        Raises RateLimited: it is above one of them, counts to none, and nothing was added.
        """

    async def note(self, log: str, data: bytes) -> None:
        """Tell it to everybody who follows, in order with the entries; nothing is kept."""

    async def tail(self, log: str, keep: Keep, *, seen: Seen = NOTHING_SEEN) -> Tail:
        """What the log has; one that nobody wrote to begins with this.

        seen: a log that contradicts it was set back to an earlier state. It goes on with what it has, behind its number, in a new epoch:
        under the old one numbers would mean two things.
        """

    def follow(self) -> AbstractAsyncContextManager[Follower]:
        """Logs, as they are told."""

    async def put(self, table: str, rows: Mapping[str, bytes]) -> None:
        """Add rows, or replace those of the same name."""

    async def drop(self, table: str, rows: Collection[str], *, saying: bytes | None = None) -> None:
        """Take rows out; with `saying`, those of them that say this. A table without any does not exist."""

    async def row(self, table: str, row: str) -> bytes | None:
        """One of them; None: there is none of that name."""

    async def rows(self, table: str) -> Mapping[str, bytes]:
        """All of them."""
