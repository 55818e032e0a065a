"""An answer in the form in which it is kept: a head ready to be sent, what is known about its validity, and its tags.

Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, Final

from nova.cdn.cache import fields as f
from nova.cdn.cache.freshness import Verdict
from nova.cdn.ports import Fields
from nova.ext import kept as k

MAX_TAGS: Final = 64  # of one answer
MAX_TAG: Final = 256  # bytes
TAG_OVERHEAD: Final = 128  # bytes that it takes beside its own: in the answer's list, and in the index of the tag
TAG_FIELDS: Final = frozenset((b"surrogate-key", b"cache-tag"))
_PHRASES: Final = {status.value: status.phrase.encode() for status in HTTPStatus}


@dataclass(frozen=True, slots=True)
class Entry:
    """head: status line, fields and, when the length is known, Content-Length. line_size, fields_size: bytes of the line, and of line and
    fields. Times are whole unix seconds; modified: -1 unknown."""

    status: int
    head: bytes
    line_size: int
    fields_size: int
    flags: int
    born: int
    fresh_until: int
    stale_until: int
    error_until: int
    modified: int
    etag: bytes
    tags: tuple[bytes, ...]
    vary: tuple[bytes, ...]

    def weight(self, key: bytes, body: int) -> int:
        """Bytes for which it counts."""
        return len(key) + len(self.head) + body + k.OVERHEAD + self.tag_size

    @property
    def tag_size(self) -> int:
        """Bytes that its tags take."""
        return sum(map(len, self.tags)) + TAG_OVERHEAD * len(self.tags)

    def stale_from(self, when: int) -> Entry:
        """As if its lifetime had ended then: what may be done with it once it is stale counts from there."""
        if (early := self.fresh_until - when) <= 0:
            return self
        return replace(self, fresh_until=when, stale_until=self.stale_until - early, error_until=self.error_until - early)

    def times(self) -> dict[str, Any]:
        """The keyword arguments of a table that stand for times."""
        names = ("born", "fresh_until", "stale_until", "error_until", "modified")
        return {name: getattr(self, name) for name in names}


def tags_of(fields: Fields) -> tuple[bytes, ...]:
    """Surrogate-Key (spaces) and Cache-Tag (commas). An empty tag is none: else it would name everything."""
    found: dict[bytes, None] = {}
    for line in f.values(fields, b"surrogate-key"):
        found.update(dict.fromkeys(line.split()))
    for item in f.items(fields, b"cache-tag"):
        found[item] = None
    return tuple(tag for tag in found if tag and len(tag) <= MAX_TAG)[:MAX_TAGS]


def status_line(status: int, reason: bytes = b"") -> bytes:
    return b"HTTP/1.1 %d %s\r\n" % (status, reason or _PHRASES.get(status, b""))


def lines(fields: Fields) -> bytes:
    return b"".join([b"%s: %s\r\n" % field for field in fields])


def kept_fields(fields: Fields, verdict: Verdict, received_at: float) -> list[tuple[bytes, bytes]]:
    """What of an origin's fields is kept: not those of one hop (RFC 9111, 3.1), not Age, which is counted, not Content-Length, which is
    known, not the tags, which are ours. Date is written when there is none (RFC 9110, 6.6.1)."""
    found = f.end_to_end(fields, TAG_FIELDS | verdict.strip | {b"age", b"content-length"})
    if f.date(found, b"date", received_at) is None:
        found = [field for field in found if field[0] != b"date"]
        found.append((b"date", formatdate(int(received_at), usegmt=True).encode()))
    return found


def make(
    status: int,
    reason: bytes,
    fields: Fields,
    verdict: Verdict,
    *,
    received_at: float,
    total: int | None,
    via: bytes,
    tags: tuple[bytes, ...] | None = None,
) -> Entry:
    """fields: as the origin sent them. total: bytes of the body, None: not known yet. tags: None: read from the fields."""
    found = f.with_via(kept_fields(fields, verdict, received_at), 1, via)
    return assemble(status, reason, found, verdict, received_at=received_at, total=total, tags=tags_of(fields) if tags is None else tags)


def assemble(
    status: int, reason: bytes, found: Fields, verdict: Verdict, *, received_at: float, total: int | None, tags: tuple[bytes, ...]
) -> Entry:
    """found: the fields to be kept, as they are."""
    line = status_line(status, reason)
    head = line + lines(found)
    etag = f.value(found, b"etag") or b""
    modified = f.date(found, b"last-modified", received_at)
    length = b"" if total is None or status == 204 else b"content-length: %d\r\n" % total
    flags = (k.WHOLE if status == 200 else 0) | (k.ALWAYS if verdict.asked else 0)
    if f.value(found, b"set-cookie") is not None:
        flags |= k.COOKIE
    born = int(verdict.born)
    return Entry(
        status, head + length, len(line), len(head), flags, born, _second(verdict.fresh_until), _second(verdict.stale_until),
        _second(verdict.error_until), -1 if modified is None else modified, etag, tags, verdict.vary,
    )  # fmt: skip


def dated(fields: Fields, received_at: float) -> list[tuple[bytes, bytes]]:
    """The fields of an answer without Date, as if it had been made when it came."""
    return [*(field for field in fields if field[0] != b"date"), (b"date", formatdate(int(received_at), usegmt=True).encode())]


def _second(at: float) -> int:
    return max(0, min(int(at), 2**32 - 1))
