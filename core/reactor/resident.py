"""Resident objects over HTTP/2 and HTTP/3: the same table, versions and waiting as in the I/O threads, as ASGI in front of the application.

RFC 9110 sections 13 and 14 (conditions, ranges), RFC 8216bis section 6.2.5.2 (blocking reloads).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from ipaddress import ip_address
from typing import Any, Final

import trio

from nova.core.clock import Clock
from nova.core.errors import BadRequest, NovaError, PreconditionFailed, Unavailable
from nova.core.reactor.refusal import refusal
from nova.ext import object_reader as table
from nova.ext.httpfields import byte_range, etag_match, find_query, parse_date
from nova.ext.object_reader import ObjectReader, Resident
from nova.ext.objects import ObjectTable
from nova.ext.session import SessionError, SessionKeys
from nova.ext.viewers import Viewers, mark

App = Callable[[Any, Any, Any], Awaitable[None]]

PREFIX: Final = b"/live/~"
_PIECE: Final = 262_144  # bytes of one body message: what a stream's window takes at a time
_MAX_NUMBER: Final = 15  # digits of a delivery directive


class ResidentObjects:
    """Answers for names that the table has; `run` hands on what requests wait for.

    render: asked for an object that nobody has rendered yet. wait: the longest that a request waits, seconds.
    """

    def __init__(
        self,
        objects: ObjectTable,
        viewers: Viewers,
        clock: Clock,
        *,
        sessions: SessionKeys | None,
        render: Callable[[bytes], None],
        wait: float,
    ) -> None:
        self._reader = ObjectReader(objects)
        self._viewers, self._clock, self._sessions, self._render, self._wait = viewers, clock, sessions, render, wait
        self._waiting: dict[int, trio.Event] = {}

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        while True:
            await trio.lowlevel.wait_readable(self._reader.bell)
            for token in self._reader.ready():
                if (event := self._waiting.pop(token, None)) is not None:
                    event.set()

    def before(self, app: App) -> App:
        """`app` with the table in front of it."""

        async def answer(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD") or not await self._answered(scope, send):
                await app(scope, receive, send)

        return answer

    async def _answered(self, scope: Mapping[str, Any], send: Any) -> bool:
        path = bytes(scope.get("raw_path") or scope["path"].encode()).partition(b"?")[0]
        session, viewer = False, 0
        if path.startswith(PREFIX):
            text, _, rest = path[len(PREFIX) :].partition(b"/")
            if self._sessions is None:
                return False
            try:
                viewer = self._sessions.verify(text, rest.partition(b"/")[0], int(self._clock.wall()))
            except SessionError:
                return False
            session, path = True, b"/live/" + rest
        sensible, msn, part = _delivery(scope["query_string"])
        kind, resident, tag = await self._find(path, session, msn, part)
        if kind == table.MISS:
            return False
        if tag:
            self._viewers.touch(tag, viewer if session else _mark(scope), int(self._clock.wall()))
        if kind == table.TOO_FAR or not sensible:
            await _refuse(send, BadRequest(detail="the request is malformed, or asks for something that can not be"))
        elif resident is None:
            await _refuse(send, Unavailable(detail="what the request waits for did not come in time: ask again", retry_after=1.0))
        else:
            await _send(resident, scope, send, int(self._clock.wall()))
        return True

    async def _find(self, path: bytes, session: bool, msn: int, part: int) -> tuple[int, Resident | None, int]:
        with trio.move_on_after(self._wait):
            while True:
                kind, resident, tag, token = self._reader.find(path, session=session, msn=msn, part=part)
                if kind not in (table.PARKED, table.RENDER):
                    return kind, resident, tag
                event = self._waiting[token] = trio.Event()
                try:
                    if kind == table.RENDER:
                        self._render(path)
                    await event.wait()
                finally:
                    self._waiting.pop(token, None)
                    self._reader.forget(token)
        return table.FULL, None, tag


def _delivery(query: bytes) -> tuple[bool, int, int]:
    """Whether the delivery directives make sense, and `_HLS_msn` and `_HLS_part`, -1 when absent."""
    msn, part = _number(find_query(query, b"_HLS_msn")), _number(find_query(query, b"_HLS_part"))
    if msn == -2 or part == -2 or (part >= 0 and msn < 0) or part > 0xFFF0 or msn >= 1 << 40:
        return False, -1, -1
    return True, msn, part


def _number(text: bytes | None) -> int:
    if text is None:
        return -1
    return int(text) if text.isdigit() and len(text) <= _MAX_NUMBER else -2


def _mark(scope: Mapping[str, Any]) -> int:
    """A viewer without a session: address and User-Agent, as the I/O threads mark one of HTTP/1.1."""
    agent = next((bytes(value) for name, value in scope["headers"] if name == b"user-agent"), b"")
    host = (scope.get("client") or ("::", 0))[0]
    try:
        address = ip_address(host)
    except ValueError:
        return mark(bytes(16), agent)
    return mark(bytes(10) + b"\xff\xff" + address.packed if address.version == 4 else address.packed, agent)


async def _refuse(send: Any, error: NovaError) -> None:
    status, headers, body = refusal(error)
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _precondition(sent: Mapping[bytes, bytes], resident: Resident, gzip: bool, now: int) -> int:
    """200, 304 or 412, in the order of RFC 9110, 13.2.2."""
    etag, modified = resident.etag(gzip), resident.modified
    if (value := sent.get(b"if-match")) is not None:
        if not etag_match(value, etag, False):
            return 412
    elif (value := sent.get(b"if-unmodified-since")) is not None and 0 <= parse_date(value, now) < modified:
        return 412
    if (value := sent.get(b"if-none-match")) is not None:
        return 304 if etag and etag_match(value, etag, True) else 200
    if (value := sent.get(b"if-modified-since")) is not None and 0 <= modified <= parse_date(value, now):
        return 304
    return 200


def _range(sent: Mapping[bytes, bytes], resident: Resident, now: int) -> tuple[int, int] | int | None:
    value, only_if = sent.get(b"range"), sent.get(b"if-range")
    if value is None:
        return None
    if only_if is not None:
        same = (
            only_if == resident.etag() and only_if[:1] == b'"'
            if only_if[:1] == b'"' or only_if[:2] == b"W/"  # `Wed, …` is a date
            else parse_date(only_if, now) == resident.modified >= 0
        )
        if not same:
            return None
    return byte_range(value, resident.size())


async def _send(resident: Resident, scope: Mapping[str, Any], send: Any, now: int) -> None:
    sent = dict(reversed(scope["headers"]))
    gzip = resident.has_gzip and b"range" not in sent and _takes_gzip(sent.get(b"accept-encoding", b""))
    status = _precondition(sent, resident, gzip, now)
    headers = [
        (name.lower(), value.strip()) for name, _, value in (line.partition(b":") for line in resident.headers.split(b"\r\n") if line)
    ]
    if status == 412:
        await _refuse(send, PreconditionFailed(detail="the object is another one by now"))
        return
    first, size = 0, resident.size(gzip)
    if status == 200 and scope["method"] == "GET":
        found = _range(sent, resident, now)
        if isinstance(found, tuple):
            status, first = 206, found[0]
            headers.append((b"content-range", b"bytes %d-%d/%d" % (*found, size)))
            size = found[1] - found[0] + 1
        elif found is not None:
            headers.append((b"content-range", b"bytes */%d" % size))
            status, size = 416, 0
    if etag := resident.etag(gzip):
        headers.append((b"etag", etag))
    headers.append((b"accept-ranges", b"bytes"))
    if status == 304:
        size = 0
    else:
        if gzip:
            headers.append((b"content-encoding", b"gzip"))
        headers.append((b"content-length", b"%d" % size))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    if scope["method"] == "GET" and size:
        for piece in resident.pieces(first, size, gzip):
            for at in range(0, len(piece), _PIECE):
                await send({"type": "http.response.body", "body": bytes(piece[at : at + _PIECE]), "more_body": True})
    await send({"type": "http.response.body", "body": b""})


def _takes_gzip(value: bytes) -> bool:
    """Accept-Encoding names gzip (or `*`) and not with q=0 (RFC 9110, 12.5.3)."""
    star = False
    for item in value.lower().split(b","):
        name, _, parameter = item.partition(b";")
        refused = parameter.replace(b" ", b"").rstrip(b"0").rstrip(b".") in (b"q=", b"q=0")
        if name.strip() in (b"gzip", b"x-gzip"):
            return not refused
        star = star or (name.strip() == b"*" and not refused)
    return star
