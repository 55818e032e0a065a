"""An origin's HTTP/1.1 answer: bytes to events (RFC 9112, sections 4 to 8).

Pure: no I/O and no clock. Strict, since what a cache misreads it serves to everybody: a head that leaves doubt about where its answer ends
is no answer.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Final

from nova.cdn.ports import Fields
from nova.ext.http1 import ChunkedBody
from nova.ext.httpfields import field_lines

MAX_HEAD: Final = 65536  # bytes; large cookies and policies of real origins stay below 16 KiB
MAX_FIELDS: Final = 200
MAX_INTERIM: Final = 16  # 1xx answers before the last one; 103 comes once or twice
MAX_LENGTH: Final = 2**53

_STATUS: Final = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9]{2})(?: ([\t\x20-\x7e\x80-\xff]*))?")
_HOP: Final = frozenset((b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade"))
_NOTHING: Final[frozenset[bytes]] = frozenset()
_FRAMING: Final = frozenset((b"content-length", b"content-encoding", b"content-range", b"content-type"))


class AnswerError(ValueError):
    """What came is not an answer that can be passed on. The text says what is wrong, never its content."""


@dataclass(frozen=True, slots=True)
class Interim:
    """A 1xx answer; the last one is still to come."""

    status: int
    fields: Fields


@dataclass(frozen=True, slots=True)
class Head:
    """fields: without those that belong to the connection. length: of the body to come, None: until it ends.

    upgrade: 101, and `fields` have Upgrade as it came.
    """

    status: int
    reason: bytes
    fields: Fields
    length: int | None
    upgrade: bool = False


@dataclass(frozen=True, slots=True)
class End:
    """The answer is complete. reusable: the connection may carry another one. rest: bytes behind it, after 101 the peer's own."""

    reusable: bool
    rest: bytes = b""


Event = Interim | Head | bytes | End


class AnswerReader:
    """Reads the answer to one request. Feeding the same bytes in any split yields the same answer.

    method: of the request. upgrade: whether 101 was asked for. conditional: whether 304 was.
    """

    def __init__(self, method: str, *, upgrade: bool = False, conditional: bool = False) -> None:
        self._method, self._upgrade, self._conditional = method, upgrade, conditional
        self._head = bytearray()
        self._scanned = 0
        self._interim = 0
        self._left: int | None = 0  # of the body; None: until the end of the connection
        self._chunked: ChunkedBody | None = None
        self._keep = False
        self._state = "head"

    @property
    def begun(self) -> bool:
        """Whether a byte of an answer has come."""
        return bool(self._head) or self._interim > 0 or self._state != "head"

    def feed(self, data: bytes) -> Iterator[Event]:
        """Consume `data`; yields what it completes. Raises AnswerError."""
        if self._state == "head":
            data = yield from self._heads(data)
        if self._state == "body":
            yield from self._body(data)
        elif self._state == "done" and data:
            self._keep = False  # nobody asked for these bytes: what follows cannot be trusted to be an answer

    def eof(self) -> Iterator[Event]:
        """The origin closed its side. Raises AnswerError: in the middle."""
        if self._state == "body" and self._left is None and self._chunked is None:
            self._state = "done"
            yield End(False)
        elif self._state != "done":
            raise AnswerError("the connection ended within the answer" if self.begun else "the connection ended without an answer")

    def _heads(self, data: bytes) -> Generator[Event, None, bytes]:
        """Returns what is left over for the body."""
        self._head += data
        while True:
            end = self._head.find(b"\r\n\r\n", max(0, self._scanned - 3))
            if end < 0:
                self._scanned = len(self._head)
                if self._scanned > MAX_HEAD:
                    raise AnswerError(f"the head has more than {MAX_HEAD} bytes")
                # A stranger's bytes are told from a head before 64 KiB of them have come.
                if self._scanned >= 7 and not self._head.startswith(b"HTTP/1."):
                    raise AnswerError("what came is no HTTP/1 head")
                return b""
            if end > MAX_HEAD:
                raise AnswerError(f"the head has more than {MAX_HEAD} bytes")
            event = self._read(bytes(self._head[:end]))
            rest = bytes(self._head[end + 4 :])
            yield event
            if isinstance(event, Interim):
                self._head[:] = rest
                self._scanned = 0
                continue
            self._head.clear()
            if event.upgrade:
                self._state = "done"
                yield End(False, rest)
                return b""
            if self._left == 0:
                self._state = "done"
                yield End(self._keep and not rest)
                return b""
            self._state = "body"
            return rest

    def _body(self, data: bytes) -> Iterator[Event]:
        if self._chunked is not None:
            answer, payload, used = self._chunked.feed(data) if data else (0, b"", 0)
            if answer < 0:
                raise AnswerError("the body is not chunked as it should be")
            if payload:
                yield payload
            if answer == 1:
                self._state = "done"
                yield End(self._keep and used == len(data))
        elif self._left is None:
            if data:
                yield data
        elif len(data) < self._left:
            self._left -= len(data)
            if data:
                yield data
        else:
            more = len(data) > self._left
            if self._left:
                yield data[: self._left] if more else data
            self._state = "done"
            yield End(self._keep and not more)

    def _read(self, head: bytes) -> Interim | Head:
        end = head.find(b"\r\n")
        first = _STATUS.fullmatch(head, 0, len(head) if end < 0 else end)
        if first is None:
            raise AnswerError("the status line is none of HTTP/1")
        if head.count(b"\r\n") > MAX_FIELDS:
            raise AnswerError(f"the head has more than {MAX_FIELDS} fields")
        fields = [] if end < 0 else field_lines(head, end + 2)
        if fields is None:
            raise AnswerError("a line of the head is no field")
        status, minor = int(first[2]), int(first[1])
        named = {name for name, _ in fields}
        said, kept = _NOTHING, tuple(fields)
        if not named.isdisjoint(_HOP):
            said = frozenset(token.lower() for token in _tokens(fields, b"connection"))
            # A field that frames or describes the body stays, whatever Connection says of it; so does the name of what 101 switches to.
            mine = _HOP - {b"upgrade"} if status == 101 else _HOP
            stays = _FRAMING | {b"upgrade"} if status == 101 else _FRAMING
            kept = tuple(field for field in fields if field[0] not in mine and (field[0] not in said or field[0] in stays))
        if 100 <= status < 200 and status != 101:
            self._interim += 1
            if self._interim > MAX_INTERIM:
                raise AnswerError(f"more than {MAX_INTERIM} answers came before the answer")
            return Interim(status, kept)
        self._keep = minor == 1 and b"close" not in said
        length = self._length(status, minor, fields, named)
        if status == 101 and not self._upgrade:
            raise AnswerError("101 came without being asked for")
        if status == 304 and not self._conditional:
            raise AnswerError("304 came to a request without a condition")
        return Head(status, first[3] or b"", kept, length, status == 101)

    def _length(self, status: int, minor: int, fields: Fields, named: set[bytes]) -> int | None:
        """The length of the body, and how it is read (RFC 9112, 6.3). Doubt is an error."""
        codings = [token.lower() for token in _tokens(fields, b"transfer-encoding")] if b"transfer-encoding" in named else []
        lengths = set(_tokens(fields, b"content-length")) if b"content-length" in named else set()
        if codings and lengths:
            raise AnswerError("the head has both Transfer-Encoding and Content-Length")
        if len(lengths) > 1 or any(not each.isdigit() or len(each) > 16 or int(each) > MAX_LENGTH for each in lengths):
            raise AnswerError("Content-Length is no number, or several")
        if codings and (codings != [b"chunked"] or minor == 0):
            raise AnswerError("the transfer coding is not chunked alone, over HTTP/1.1")
        if self._method == "HEAD" or status in (101, 204, 304):
            if status == 204 and (codings or lengths - {b"0"}):
                self._keep = False  # it says that a body follows: whatever it is, it is not the next answer
            self._left = 0
            return 0
        if codings:
            self._chunked, self._left = ChunkedBody(), None
            return None
        if lengths:
            self._left = int(lengths.pop())
            return self._left
        self._keep, self._left = False, None
        return None


def _tokens(fields: Fields, wanted: bytes) -> list[bytes]:
    return [token.strip() for name, value in fields if name == wanted for token in value.split(b",")]
