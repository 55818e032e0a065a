"""Ranges of objects that are not here: fetched and kept in slices, so that a seek in a film fetches a slice and not the film.

RFC 9111, 3.3 and 3.4: parts are kept and put together only under one strong ETag. Slice n lies under the object's key with `SLICE_MARK n`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import trio

from nova.cdn.cache import fields as f
from nova.cdn.cache import ranges
from nova.cdn.cache.keeper import SLICE_MARK
from nova.cdn.cache.ranges import Span
from nova.cdn.ports import Fields
from nova.core.errors import NovaError
from nova.ext.buffer import Buffer
from nova.ext.kept import Answer

Match = Callable[[bytes, tuple[bytes, ...]], bool]  # whether a purge means an object of that key and these tags


@dataclass(frozen=True, slots=True)
class Slice:
    """One part of an object of `total` bytes. lines: its fields, Content-Range among them. Times are unix seconds."""

    lines: bytes
    etag: bytes
    modified: int
    born: int
    fresh_until: int
    total: int
    body: list[Buffer]

    @property
    def size(self) -> int:
        return sum(map(len, self.body))

    @property
    def fields(self) -> list[tuple[bytes, bytes]]:
        """The fields of an answer that is made of it."""
        return [field for field in f.split_lines(self.lines) if field[0] not in (b"content-range", b"content-length")]


@dataclass(slots=True)
class SliceJob:
    """A slice that is being fetched. part: None: the origin does not give it. failing: because it is in trouble. whole: its answer is one
    about the whole object."""

    done: trio.Event
    part: Slice | None = None
    failing: bool = False
    whole: bool = False
    error: NovaError | None = None
    purges: list[Match] = field(default_factory=list)  # those that came meanwhile


def slice_key(key: bytes, number: int) -> bytes:
    return b"%s%s%d" % (key, SLICE_MARK, number)


def of(answer: Answer) -> Slice | None:
    """A kept slice; None: it is none."""
    text = next((value for name, value in f.split_lines(answer.lines) if name == b"content-range"), None)
    found = ranges.content_range(text)
    if found is None or found[1] is None or found[0].size != answer.total:
        return None
    return Slice(answer.lines, answer.etag, answer.modified, answer.born, answer.fresh_until, found[1], answer.body())


def number_of(key: bytes) -> int | None:
    """The number of the slice that lies under a key; None: no slice does."""
    _, mark, number = key.partition(SLICE_MARK)
    return int(number) if mark and number.isdigit() else None


def begins(wanted: bytes, slice_size: int) -> int | None:
    """The number of the slice in which a range that counts begins; None: it begins where only the length of the object tells."""
    spans = ranges.parse(wanted.partition(b"-")[0] + b"-", 1 << 60)
    return spans[0].first // slice_size if spans else None


def given(status: int, fields: Fields, number: int, slice_size: int, length: int | None) -> int | None:
    """The length of the object when this answer is slice `number` of it under a strong ETag; None: it is not."""
    found = ranges.content_range(f.value(fields, b"content-range"))
    etag = f.value(fields, b"etag")
    if status != 206 or found is None or found[1] is None or etag is None or etag[:1] != b'"':
        return None
    span, total = found[0], found[1]
    if span != Span(number * slice_size, min((number + 1) * slice_size, total) - 1) or length not in (None, span.size):
        return None
    return total


def cut(part: Slice, number: int, slice_size: int, span: Span) -> list[Buffer]:
    """The bytes of `span` that lie in slice `number`."""
    begin = number * slice_size
    first, last = max(span.first - begin, 0), min(span.last - begin, part.size - 1)
    found, at = [], 0
    for piece in part.body:
        low, high = max(first - at, 0), min(last + 1 - at, len(piece))
        if low < high:
            found.append(piece[low:high])
        at += len(piece)
    return found
