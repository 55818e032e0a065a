"""What a domain sees of the place where large things are kept."""

from __future__ import annotations

import re
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NewType, Protocol

from nova.core import errors

Key = NewType("Key", str)

MAX_KEY: Final = 512  # characters; S3 takes 1024 with the prefix of its bucket
_SEGMENT: Final = r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}"  # no leading dot: neither `..` nor the adapters' own files
_KEY: Final = re.compile(rf"{_SEGMENT}(?:/{_SEGMENT}){{0,15}}")
_PREFIX: Final = re.compile(rf"(?:(?:{_SEGMENT}/){{0,15}}(?:{_SEGMENT})?)")

CHUNK: Final = 256 * 1024  # bytes; a trip to a thread costs 90 µs, reading this much from the page cache about as much


def blob_key(text: str) -> Key:
    """`text` as a key: segments of `[A-Za-z0-9._-]`, none starts with a dot, joined by `/`.

    Raises BadRequest: not a key. Every adapter can store every key; no key can name a file outside its store.
    """
    if len(text) > MAX_KEY or _KEY.fullmatch(text) is None:
        raise errors.BadRequest("bad_request", f"not a key of a blob: {text[:80]!r}")
    return Key(text)


def blob_prefix(text: str) -> str:
    """`text` as the beginning of keys, or empty for all. Raises BadRequest."""
    if len(text) > MAX_KEY or _PREFIX.fullmatch(text) is None:
        raise errors.BadRequest("bad_request", f"not the beginning of a key: {text[:80]!r}")
    return text


@dataclass(frozen=True, slots=True)
class Stat:
    """A blob without its bytes.

    etag: changes when the content is replaced; opaque, and another kind of text in each adapter.
    """

    key: Key
    size_bytes: int
    modified: datetime
    etag: str


@dataclass(frozen=True, slots=True)
class Stored:
    """What `put` wrote."""

    stat: Stat
    sha256: str  # lower-case hex; kept by whoever needs it, adapters need not remember it


@dataclass(frozen=True, slots=True)
class Download:
    """A blob that is being read.

    chunks: the wanted bytes in order, in pieces of any size; all of the content that `stat` tells of, also when the blob
    is replaced or deleted meanwhile.
    """

    stat: Stat
    chunks: AsyncIterator[bytes]


class Blobs(Protocol):
    """A store of blobs. Trio thread only.

    Every method raises Unavailable `storage_full`, `storage_failed` or `overloaded`. Keys come from `blob_key`.
    """

    async def put(self, key: Key, body: AsyncIterable[bytes], *, max_bytes: int, sha256: str | None = None) -> Stored:
        """Store the bytes of `body`; they are on stable storage, and readable as a whole, when this returns.

        An older blob of that key is replaced at that moment. After an error or a cancellation there is nothing new: the
        key has its older blob, or none.
        Raises TooLarge: more than `max_bytes`; Unprocessable `digest_mismatch`: not the content that `sha256` announced.
        """

    def get(self, key: Key, *, first: int = 0, size: int | None = None) -> AbstractAsyncContextManager[Download]:
        """Read from byte `first`, at most `size` bytes (None: to the end). A range past the end gives what there is.

        Raises NotFound.
        """

    async def stat(self, key: Key) -> Stat:
        """Raises NotFound."""

    async def delete(self, key: Key) -> None:
        """Afterwards there is no blob of that key; it is no error when there was none."""

    async def list(self, prefix: str = "", *, after: str = "", limit: int = 1000) -> list[Stat]:
        """Blobs whose key begins with `prefix`, in the order of their keys' bytes, from the first one behind `after`."""


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a blob that its sender puts by itself: the bytes from `first` on, `size` of them, by PUT to `url`. number: from 1."""

    number: int
    first: int
    size: int
    url: str


class DirectBlobs(Blobs, Protocol):
    """A store that also takes a blob from whoever has its signed addresses; nothing of it passes through here.

    Every method raises Unavailable, as the others do.
    """

    async def open_direct(self, key: Key, size: int) -> str:
        """Begin; the ticket that the other methods want."""

    async def direct_parts(self, key: Key, ticket: str, size: int, *, seconds: int) -> list[Part]:
        """Where its pieces go, in order; every address is good for `seconds`, and for a piece of just that size."""

    async def close_direct(self, key: Key, ticket: str, size: int) -> None:
        """The blob exists from now on, with `size` bytes; also when it did already. Raises Unprocessable: a piece is missing."""

    def outlives(self, ticket: str) -> bool:
        """Its addresses take bytes for as long as they are good, also when it was closed or dropped before."""
        ...

    async def drop_direct(self, key: Key, ticket: str) -> None:
        """Afterwards there is nothing of it; it is no error when there was nothing."""
