"""Asking the origin whether what is kept still holds, and what its answer changes (RFC 9111, 4.3; RFC 9110, 13).

Pure.
"""

from __future__ import annotations

from typing import Final

from nova.cdn.cache import fields as f
from nova.cdn.ports import Fields
from nova.ext.httpfields import etag_match, parse_date

CONDITIONS: Final = frozenset((b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since", b"if-range"))
# What a 304 or a HEAD never changes of a kept answer: it describes the bytes that are here (RFC 9111, 3.2).
_BOUND: Final = frozenset((b"content-length", b"content-encoding", b"content-range", b"transfer-encoding", b"content-type"))


def conditions(kept: Fields) -> list[tuple[bytes, bytes]]:
    """The fields that ask whether a kept answer still holds (RFC 9111, 4.3.1)."""
    found = []
    if (etag := f.value(kept, b"etag")) is not None:
        found.append((b"if-none-match", etag))
    if (modified := f.value(kept, b"last-modified")) is not None:
        found.append((b"if-modified-since", modified))
    return found


def without_conditions(fields: Fields) -> list[tuple[bytes, bytes]]:
    """A request for the whole object: the client's conditions and range are ours to answer."""
    return [field for field in fields if field[0] not in CONDITIONS and field[0] != b"range"]


def confirms(kept: Fields, fresh: Fields) -> bool:
    """Whether a 304 is about this kept answer (RFC 9111, 4.3.4): the validator that it has must be the kept one's."""
    etag, mine = f.value(fresh, b"etag"), f.value(kept, b"etag")
    if etag is not None:
        return mine is not None and etag_match(etag, mine, True)
    modified = f.value(fresh, b"last-modified")
    return modified is None or modified == f.value(kept, b"last-modified")


def freshened(kept: Fields, fresh: Fields) -> list[tuple[bytes, bytes]]:
    """The kept fields with those of a 304 in place of theirs (RFC 9111, 3.2)."""
    new = [field for field in f.end_to_end(fresh, _BOUND) if field[0] != b"age"]
    names = {name for name, _ in new} | {b"age"}
    return [field for field in kept if field[0] not in names] + new


def same_object(kept: Fields, total: int, head: Fields) -> bool:
    """Whether an answer to HEAD describes the kept object (RFC 9111, 4.3.5)."""
    for name in (b"etag", b"last-modified"):
        if (value := f.value(head, name)) is not None and value != f.value(kept, name):
            return False
    length = f.value(head, b"content-length")
    return length is None or (length.isdigit() and int(length) == total)


def precondition(request: Fields, etag: bytes, modified: int, now: float) -> int:
    """200, 304 or 412 for a request to an object, in the order of RFC 9110, 13.2.2. modified: unix seconds, -1: unknown."""
    if (wanted := f.value(request, b"if-match")) is not None:
        if not etag_match(wanted, etag, False):
            return 412
    elif (text := f.value(request, b"if-unmodified-since")) is not None and 0 <= parse_date(text, int(now)) < modified:
        return 412
    if (wanted := f.value(request, b"if-none-match")) is not None:
        return 304 if etag and etag_match(wanted, etag, True) else 200
    if (text := f.value(request, b"if-modified-since")) is not None and 0 <= modified <= parse_date(text, int(now)):
        return 304
    return 200


def range_applies(request: Fields, etag: bytes, modified: int, born: int, now: float) -> bool:
    """If-Range (RFC 9110, 13.1.5): a strong comparison, else the whole. A date is strong when the answer is later (8.8.2.2): within one
    second an object may have changed twice. born: unix seconds; no later than the answer's Date."""
    wanted = f.value(request, b"if-range")
    if wanted is None:
        return True
    if wanted[:1] == b'"' or wanted[:2] == b"W/":  # `Wed, …` is a date
        return wanted[:1] == b'"' and wanted == etag
    return 0 <= modified < born and parse_date(wanted, int(now)) == modified
