"""What the two halves of the CDN ask of one another: an origin's answer on one side, what is kept on the other."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import trio

Fields = Sequence[tuple[bytes, bytes]]  # header fields: names in lower case, values without the white space around them


@dataclass(frozen=True, slots=True)
class FetchRequest:
    """A request as it goes to an origin.

    target: origin-form as sent, or `*`. host: the client's Host. fields: end-to-end fields only, Via among them; without Host and framing.
    body: called at most once; None: there is none. length: bytes of the body, None with a body: not known.
    key: names the object, for choosing a shield node. upgrade: the value of Upgrade; then a 101 has a `stream`.
    """

    method: str
    target: bytes
    host: bytes
    fields: Fields
    body: Callable[[], AsyncIterator[bytes]] | None = None
    length: int | None = None
    key: bytes = b""
    upgrade: bytes | None = None


class FetchAnswer(Protocol):
    """An origin's answer, valid inside the `async with` of `fetch`.

    fields: as received, without hop-by-hop ones; Content-Length stays. length: bytes of the body to come, None: not known.
    origin: who answered (the configured URL). stream: after 101.
    """

    @property
    def status(self) -> int: ...
    @property
    def reason(self) -> bytes: ...
    @property
    def fields(self) -> Fields: ...
    @property
    def length(self) -> int | None: ...
    @property
    def origin(self) -> str: ...
    @property
    def stream(self) -> trio.abc.Stream | None: ...

    async def read(self) -> bytes:
        """The next bytes of the body, empty at its clean end. Raises OriginBroken: torn, stalled, or not as long as it said."""


Informational = Callable[[int, Fields], None]  # it does not wait: a fetch is timed by its origin, not by a client


class Fetcher(Protocol):
    """A site's origins."""

    def fetch(self, request: FetchRequest, *, informational: Informational | None = None) -> AbstractAsyncContextManager[FetchAnswer]:
        """Entering raises OriginError: nobody answered. informational: told of each 1xx that may be passed on."""

    def down(self) -> bool:
        """Whether no origin is expected to answer now."""

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Probes and sweeping; until cancelled."""


@dataclass(frozen=True, slots=True)
class Purge:
    """What is to be forgotten.

    value: for `key` a target (path and query), for `prefix` and `glob` a path (`*` within a segment, `**` across), for `tag` a tag.
    site, host: None: every one. soft: it becomes stale instead of being gone.
    """

    kind: Literal["key", "prefix", "glob", "tag", "all"]
    value: bytes = b""
    site: str | None = None
    host: bytes | None = None
    soft: bool = False


class Warmed(NamedTuple):
    status: int
    size: int
    stored: bool


class Usage(NamedTuple):
    """What was asked of one object since the last look. bytes: of bodies that were sent."""

    site: str
    host: bytes
    target: bytes
    requests: int
    hits: int
    bytes: int


class Store(Protocol):
    """What is kept, as invalidation, assets and the API see it."""

    async def purge(self, *what: Purge) -> int:
        """Objects that were hit. On return fresh, stale and varying answers are gone from memory and disk, and fetches under way will not
        bring them back. Several at once cost one look at everything, where one is needed."""

    async def prewarm(self, site: str, target: bytes, *, host: bytes | None = None) -> Warmed:
        """Fetch through the collapsing path. Raises NotFound: no such site; OriginError."""

    def drain_usage(self) -> list[Usage]: ...
    def stats(self) -> dict[str, dict[str, int]]:
        """Counters for each site, and `""` for all together."""


class Refusal(NamedTuple):
    """Why a request is not admitted."""

    code: str
    detail: str


class Admission(Protocol):
    """A site's gate for signed URLs: before every lookup."""

    async def admit(self, target: bytes, fields: Fields, peer: str, *, host: bytes, secure: bool) -> bytes | Refusal:
        """The target without its token, which is what the object is called.

        host: as the client named it. secure: it came over TLS. Awaits only where a public key's signature was not seen before.
        """
