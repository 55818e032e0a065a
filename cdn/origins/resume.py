"""Going on with an answer that broke off: which bytes to ask for, and whether what comes is the rest of the same thing.

Pure (RFC 9110, 13.1.5 and 14). Only a strong entity tag proves that: bytes of two versions are never joined.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final

from nova.cdn.origins.answer import Head
from nova.cdn.ports import FetchRequest, Fields

RESUMES: Final = 3  # of one answer; an origin that breaks more often is broken

_RANGE: Final = re.compile(rb"bytes ([0-9]{1,16})-([0-9]{1,16})/([0-9]{1,16}|\*)")
_CONDITIONS: Final = frozenset((b"range", b"if-range", b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since"))


@dataclass(frozen=True, slots=True)
class Resumable:
    """What an answer says of itself: its bytes are `first` to `last` of something that is `total` long (None: not said)."""

    etag: bytes
    first: int
    last: int
    total: bytes | None

    def request(self, asked: FetchRequest, received: int) -> FetchRequest:
        """The request for what is still missing."""
        kept = tuple(field for field in asked.fields if field[0] not in _CONDITIONS)
        wanted = (b"range", b"bytes=%d-%d" % (self.first + received, self.last)), (b"if-range", self.etag)
        return replace(asked, fields=(*kept, *wanted))

    def continues(self, head: Head, received: int) -> bool:
        """Whether `head` is that of exactly the missing bytes of the same version."""
        if head.status != 206 or _only(head.fields, b"etag") != self.etag:
            return False
        found = _RANGE.fullmatch(_only(head.fields, b"content-range") or b"")
        if found is None or (int(found[1]), int(found[2])) != (self.first + received, self.last):
            return False
        if self.total is not None and found[3] not in (self.total, b"*"):
            return False
        return head.length is None or head.length == self.last - self.first + 1 - received


def resumable(method: str, head: Head) -> Resumable | None:
    """None: what is missing of this answer could not be told from something else."""
    etag = _only(head.fields, b"etag")
    if method != "GET" or etag is None or not etag.startswith(b'"') or not head.length:
        return None
    if head.status == 200:
        return Resumable(etag, 0, head.length - 1, b"%d" % head.length)
    if head.status == 206:
        found = _RANGE.fullmatch(_only(head.fields, b"content-range") or b"")
        if found is not None and int(found[2]) - int(found[1]) + 1 == head.length:
            return Resumable(etag, int(found[1]), int(found[2]), None if found[3] == b"*" else found[3])
    return None


def _only(fields: Fields, name: bytes) -> bytes | None:
    found = [value for each, value in fields if each == name]
    return found[0] if len(found) == 1 else None
