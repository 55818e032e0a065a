"""Ranges of an object (RFC 9110, 14): one, several, and what is refused because it only costs.

Pure.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

MAX_RANGES: Final = 16  # of one request; RFC 9110, 14.2: more of them, or many small ones, are likely an attack
_SPEC: Final = re.compile(rb"[ \t]*(?:(\d{1,18})-(\d{0,18})|-(\d{1,18}))[ \t]*")


class Span(NamedTuple):
    """Bytes `first` to `last`, both among them."""

    first: int
    last: int

    @property
    def size(self) -> int:
        return self.last - self.first + 1


def parse(text: bytes, total: int | None) -> list[Span] | None:
    """The spans of a Range field that an object of `total` bytes (None: not known yet) has: empty when it has none of them (416), None when
    the field does not count (another unit, malformed, too many). Of an unknown length only spans with both ends are known."""
    unit, equals, rest = text.partition(b"=")
    if not equals or unit.strip().lower() != b"bytes":
        return None
    specs = [spec for spec in rest.split(b",") if spec.strip(b" \t")]
    if not specs or len(specs) > MAX_RANGES:
        return None
    found = []
    for spec in specs:
        match = _SPEC.fullmatch(spec)
        if match is None or (match[2] and int(match[2]) < int(match[1])):
            return None
        if match[3] is not None:
            if total is None:
                return None
            suffix = int(match[3])
            if suffix and total:
                found.append(Span(max(0, total - suffix), total - 1))
        elif total is None:
            if not match[2]:
                return None
            found.append(Span(int(match[1]), int(match[2])))
        elif int(match[1]) < total:
            found.append(Span(int(match[1]), min(int(match[2]) if match[2] else total - 1, total - 1)))
    return joined(found)


def joined(spans: list[Span]) -> list[Span]:
    """Spans that overlap or touch become one (RFC 9110, 15.3.7.2); the others keep their order."""
    found: list[Span] = []
    for span in spans:
        for at, other in enumerate(found):
            if span.first <= other.last + 1 and other.first <= span.last + 1:
                found[at] = Span(min(span.first, other.first), max(span.last, other.last))
                break
        else:
            found.append(span)
    return found if len(found) == len(spans) else joined(found)


def content_range(text: bytes | None) -> tuple[Span, int | None] | None:
    """Content-Range of a 206: the span and the whole length (None: not said); None: not a valid one."""
    match = re.fullmatch(rb"bytes[ ]+(\d{1,18})-(\d{1,18})/(\d{1,18}|\*)", text or b"")
    if match is None:
        return None
    span = Span(int(match[1]), int(match[2]))
    total = None if match[3] == b"*" else int(match[3])
    if span.last < span.first or (total is not None and span.last >= total):
        return None
    return span, total


def slices(span: Span, size: int) -> range:
    """The numbers of the slices of `size` bytes that hold a span."""
    return range(span.first // size, span.last // size + 1)


def part_head(boundary: bytes, content_type: bytes | None, span: Span, total: int) -> bytes:
    """The head of one part of a multipart/byteranges body (RFC 9110, 14.6)."""
    kind = b"" if content_type is None else b"Content-Type: %s\r\n" % content_type
    return b"\r\n--%s\r\n%sContent-Range: bytes %d-%d/%d\r\n\r\n" % (boundary, kind, span.first, span.last, total)
