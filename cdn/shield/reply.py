"""How answers of the shield are sent when Python sends them: whole ones, growing ones, ranges of both, and what only passes."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
from contextlib import suppress
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

import trio

from nova.cdn.cache import fields as f
from nova.cdn.cache import ranges, validation
from nova.cdn.cache.entry import TAG_FIELDS, Entry
from nova.cdn.cache.ranges import Span
from nova.cdn.errors import OriginBroken
from nova.cdn.ports import FetchAnswer, Fields
from nova.cdn.shield.fill import Fill
from nova.cdn.shield.request import Incoming, Receive, Send
from nova.core.errors import MethodNotAllowed, NovaError, PreconditionFailed
from nova.core.reactor.exchange import ClientDisconnected
from nova.core.reactor.refusal import refusal
from nova.core.reactor.stream import RawStream
from nova.ext import kept as k
from nova.ext.buffer import Buffer
from nova.ext.kept import Answer

_PIECE: Final = 262_144
_TEXTS: Final = frozenset(
    (b"application/javascript", b"application/json", b"application/xml", b"application/manifest+json", b"application/rss+xml",
     b"application/wasm", b"application/vnd.apple.mpegurl", b"image/svg+xml", b"font/ttf", b"font/otf", b"image/x-icon")
)  # fmt: skip
_ALLOW: Final = (b"allow", b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")
_GUARD: Final = [(b"x-content-type-options", b"nosniff"), (b"content-security-policy", b"sandbox")]
_OWN_PORTS: Final = {"http": b":80", "https": b":443"}
COMPRESS_LEAST: Final = 1024
COMPRESS_MOST: Final = 8 << 20


def compressible(status: int, fields: Fields, total: int | None) -> bool:
    """Whether a kept answer is worth its compressed forms: a text of some length that came unencoded and may be transformed."""
    if (
        status != 200
        or (total is not None and not COMPRESS_LEAST <= total <= COMPRESS_MOST)
        or f.value(fields, b"content-encoding") is not None
    ):
        return False
    kind = (f.value(fields, b"content-type") or b"").partition(b";")[0].strip().lower()
    if not kind.startswith(b"text/") and kind not in _TEXTS and not kind.endswith((b"+json", b"+xml")):
        return False
    return b"no-transform" not in f.directives(f.values(fields, b"cache-control"))


def outgoing(fields: Fields, via: bytes) -> list[tuple[bytes, bytes]]:
    """An origin's fields as they go on: without those of one hop and without tags, with Via."""
    return f.with_via(f.end_to_end(fields, TAG_FIELDS), 1, via)


def finish(incoming: Incoming, fields: list[tuple[bytes, bytes]], line: bytes | None) -> list[tuple[bytes, bytes]]:
    """Cache-Status, and what the main listener asks of a site."""
    if line is not None:
        fields = [*fields, (b"cache-status", line)]
    if incoming.guarded:
        fields = [*(field for field in fields if field[0] != b"set-cookie"), *_GUARD]
    return fields


class Sending:
    """`send` of one request. A head waits for what comes behind it: until then an error can still be the answer."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._head: Any = None
        self.started = False

    async def __call__(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self._head = message
            return
        if self._head is not None and message["type"] == "http.response.body":
            head, self._head = self._head, None
            self.started = True
            await self._send(head)
        await self._send(message)


async def _begin(send: Send, status: int, fields: list[tuple[bytes, bytes]], length: int | None) -> None:
    """The head of a body that is still to come. Events and answers that are long in coming do not say how long they are: their clients get
    the head at once. Else it waits for the first bytes."""
    await send({"type": "http.response.start", "status": status, "headers": fields})
    if length is None:
        await send({"type": "http.response.body", "body": b"", "more_body": True})


async def refuse(send: Send, error: NovaError, incoming: Incoming, line: bytes | None = None) -> None:
    status, fields, body = refusal(error)
    if error.code == "method_not_allowed":
        fields.append(_ALLOW)
    await send({"type": "http.response.start", "status": status, "headers": finish(incoming, fields, line)})
    await send({"type": "http.response.body", "body": b"" if incoming.method == "HEAD" else body})


async def options(send: Send, incoming: Incoming) -> None:
    """OPTIONS and TRACE that end here (RFC 9110, 7.6.2). Raises MethodNotAllowed: nothing is sent back as it came, cookies and all."""
    if incoming.method == "TRACE":
        raise MethodNotAllowed(detail="nothing is traced here")
    await send({"type": "http.response.start", "status": 204, "headers": finish(incoming, [_ALLOW], None)})
    await send({"type": "http.response.body", "body": b""})


async def _send_all(send: Send, status: int, fields: list[tuple[bytes, bytes]], pieces: Iterable[Any]) -> int:
    await send({"type": "http.response.start", "status": status, "headers": fields})
    sent = 0
    for piece in pieces:
        for at in range(0, len(piece), _PIECE):
            part = piece[at : at + _PIECE]
            sent += len(part)
            await send({"type": "http.response.body", "body": part, "more_body": True})
    with suppress(ClientDisconnected):  # who has all of it may leave: it was sent, and counts
        await send({"type": "http.response.body", "body": b""})
    return sent


def _encoded(incoming: Incoming, found: Answer) -> Answer:
    if not found.encodings or f.value(incoming.fields, b"range") is not None:
        return found
    takes = f.accepted(incoming.fields)
    for index, coding in ((1, b"br"), (2, b"zstd"), (0, b"gzip")):
        if found.encodings >> index & 1 and coding in takes:
            return found.alternate(index)
    return found


async def send_answer(send: Send, incoming: Incoming, found: Answer, line: bytes, now: float) -> int:
    """A whole kept answer, by the request's conditions and ranges; the bytes of body that were sent."""
    form = _encoded(incoming, found)
    fields = finish(incoming, [*f.split_lines(form.lines), (b"age", b"%d" % max(0, int(now) - found.born))], line)
    status = form.status
    head_only = incoming.method == "HEAD"
    if form.flags & k.WHOLE:
        status = validation.precondition(incoming.fields, form.etag, form.modified, now)
        if status == 412:
            await refuse(send, PreconditionFailed(detail="the object is another one by now"), incoming, line)
            return 0
        if status == 304:
            return await _send_all(send, 304, fields, ())
        wanted = f.value(incoming.fields, b"range")
        if wanted is not None and not head_only and validation.range_applies(incoming.fields, form.etag, form.modified, form.born, now):
            spans = ranges.parse(wanted, form.total)
            if spans is not None:
                sent = await send_spans(send, fields, spans, form.total, lambda span: form.body(span.first, span.size))
                found.sent(sent)
                return sent
    if status not in (204, 304):
        fields.append((b"content-length", b"%d" % form.total))
    sent = await _send_all(send, status, fields, () if head_only else form.body())
    found.sent(sent)
    return sent


async def send_spans(
    send: Send, fields: list[tuple[bytes, bytes]], spans: list[Span], total: int, body: Callable[[Span], list[Any]]
) -> int:
    """206 or 416 (RFC 9110, 15.3.7 and 15.5.17)."""
    if not spans:
        await _send_all(send, 416, [*fields, (b"content-range", b"bytes */%d" % total), (b"content-length", b"0")], ())
        return 0
    fields, heads, end = framed(fields, spans, total)
    pieces: list[Any] = []
    for head, span in zip(heads, spans, strict=True):
        pieces += [head, *body(span)] if head else body(span)
    return await _send_all(send, 206, fields, [*pieces, end] if end else pieces)


def framed(
    fields: list[tuple[bytes, bytes]], spans: Sequence[Span], total: int
) -> tuple[list[tuple[bytes, bytes]], list[bytes], bytes]:
    """The fields of a 206, what stands before each span, and what stands behind the last: nothing, where there is one span alone."""
    if len(spans) == 1:
        (span,) = spans
        said = [(b"content-range", b"bytes %d-%d/%d" % (span.first, span.last, total)), (b"content-length", b"%d" % span.size)]
        return [*fields, *said], [b""], b""
    boundary = secrets.token_hex(12).encode()
    kind = f.value(fields, b"content-type")
    heads = [ranges.part_head(boundary, kind, span, total) for span in spans]
    end = b"\r\n--%s--\r\n" % boundary
    length = sum(map(len, heads)) + sum(span.size for span in spans) + len(end)
    fields = [field for field in fields if field[0] != b"content-type"]
    fields += [(b"content-type", b"multipart/byteranges; boundary=" + boundary), (b"content-length", b"%d" % length)]
    return fields, heads, end


async def send_growing(send: Send, incoming: Incoming, entry: Entry, fill: Fill, line: bytes, now: float) -> int:
    """An answer whose body still comes. Raises OriginBroken: it broke off."""
    if await send_growing_range(send, incoming, entry, fill, line, now):
        return 0
    fields = finish(incoming, _entry_fields(entry, now), line)
    status = entry.status
    if entry.flags & k.WHOLE:
        status = validation.precondition(incoming.fields, entry.etag, entry.modified, now)
        if status == 412:
            await refuse(send, PreconditionFailed(detail="the object is another one by now"), incoming, line)
            return 0
        if status == 304:
            return await _send_all(send, 304, fields, ())
    if fill.total is not None and status != 204:
        fields.append((b"content-length", b"%d" % fill.total))
    await _begin(send, status, fields, 0 if incoming.method == "HEAD" else fill.total)
    sent = 0
    if incoming.method != "HEAD":
        async for piece in fill.read():
            sent += len(piece)
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        if fill.failed:
            raise OriginBroken("the origin's answer broke off")
    with suppress(ClientDisconnected):  # as above
        await send({"type": "http.response.body", "body": b""})
    return sent


def _entry_fields(entry: Entry, now: float) -> list[tuple[bytes, bytes]]:
    return [*f.split_lines(entry.head[entry.line_size : entry.fields_size]), (b"age", b"%d" % max(0, int(now) - entry.born))]


async def send_growing_range(send: Send, incoming: Incoming, entry: Entry, fill: Fill, line: bytes, now: float) -> bool:
    """One range of an answer that still grows and has said how long it will be. False: not to be answered from here."""
    wanted = f.value(incoming.fields, b"range")
    if wanted is None or fill.total is None or not entry.flags & k.WHOLE or incoming.method != "GET":
        return False
    if not validation.range_applies(incoming.fields, entry.etag, entry.modified, entry.born, now):
        return False
    if validation.precondition(incoming.fields, entry.etag, entry.modified, now) != 200:
        return False
    spans = ranges.parse(wanted, fill.total)
    if spans is None or len(spans) > 1:
        return False
    fields = finish(incoming, _entry_fields(entry, now), line)
    if not spans:
        await send_spans(send, fields, spans, fill.total, lambda span: [])
        return True
    (span,) = spans
    fields += [(b"content-range", b"bytes %d-%d/%d" % (span.first, span.last, fill.total)), (b"content-length", b"%d" % span.size)]
    await send({"type": "http.response.start", "status": 206, "headers": fields})
    at, left = 0, span.size
    async for piece in fill.read():
        begin = max(span.first - at, 0)
        at += len(piece)
        if begin >= len(piece):
            continue
        part = piece[begin : begin + left]
        left -= len(part)
        await send({"type": "http.response.body", "body": part, "more_body": True})
        if not left:
            break
    if left:
        raise OriginBroken("the origin's answer broke off")
    await send({"type": "http.response.body", "body": b""})
    return True


async def send_pieces(
    send: Send,
    incoming: Incoming,
    head: tuple[int, bytes, Fields, int | None],
    pieces: trio.MemoryReceiveChannel[bytes | Buffer],
    line: bytes,
    complete: Callable[[], bool],
) -> None:
    """An answer that is not kept. Raises OriginBroken: it broke off."""
    status, _, fields, length = head
    await _begin(send, status, finish(incoming, list(fields), line), length)
    async for piece in pieces:
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    if not complete():
        raise OriginBroken("the origin's answer broke off")
    await send({"type": "http.response.body", "body": b""})


async def send_passed(
    send: Send, incoming: Incoming, answer: FetchAnswer, fields: list[tuple[bytes, bytes]], line: bytes, hold: Callable[[bytes], Any]
) -> int:
    """The origin's answer as it comes; its bytes. hold: counts a piece while it is on its way."""
    await _begin(send, answer.status, finish(incoming, fields, line), answer.length)
    data, left, sent = await answer.read(), answer.length, 0
    while data and (left is None or left > len(data)):
        left = None if left is None else left - len(data)
        sent += len(data)
        piece, data = hold(data), b""
        await send({"type": "http.response.body", "body": piece, "more_body": True})
        data = await answer.read()
    if data:
        await answer.read()  # nothing comes behind what is all of it: its clean end
    await send({"type": "http.response.body", "body": data})
    return sent + len(data)


def body_of(receive: Receive) -> Callable[[], AsyncIterator[bytes]]:
    """A request's body, as it comes; a client that leaves cancels by raising ConnectionError."""

    async def read() -> AsyncIterator[bytes]:
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ConnectionResetError("the client has left")
            more = message.get("more_body", False)
            if message.get("body"):
                yield message["body"]

    return read


async def tunnel(switch: Callable[[Iterable[tuple[bytes, bytes]]], RawStream], answer: FetchAnswer, upgrade: bytes) -> None:
    """101: bytes both ways until one is done. upgrade: what was asked for; of it the origin names what it took (RFC 9110, 7.8)."""
    taken = b", ".join(f.values(answer.fields, b"upgrade")) or upgrade
    fields = [*f.end_to_end(answer.fields), (b"connection", b"upgrade"), (b"upgrade", taken)]
    client, origin = switch(fields), answer.stream
    assert origin is not None

    async def copy(source: trio.abc.ReceiveStream, sink: trio.abc.SendStream, done: trio.CancelScope) -> None:
        try:
            while data := await source.receive_some(65_536):
                await sink.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        done.cancel()  # neither protocol that upgrades has half-closed connections

    async with trio.open_nursery() as both:
        both.start_soon(copy, client, origin, both.cancel_scope)
        both.start_soon(copy, origin, client, both.cancel_scope)
    with trio.CancelScope(shield=True), trio.move_on_after(5):
        await client.aclose()


def same_origin(incoming: Incoming, fields: Fields, hosts: Collection[bytes]) -> set[bytes]:
    """Targets that an unsafe method has made invalid: its own, and Location and Content-Location of the same host (RFC 9111, 4.4).

    hosts: other names that the origin has for this site, lower case.
    """
    found = {incoming.target}
    # A scheme's own port says nothing (RFC 9110, 4.2.3); which scheme viewers use in front of the site is not known here.
    ours = {host.lower().removesuffix(b":80").removesuffix(b":443") for host in (incoming.host, *hosts)}
    base = "/" if incoming.target[:1] != b"/" else incoming.target.decode("latin-1")
    for name in (b"location", b"content-location"):
        if (value := f.value(fields, name)) is None:
            continue
        try:
            parts = urlsplit(urljoin(f"http://{incoming.host.decode('latin-1')}{base}", value.decode("latin-1")))
        except ValueError:
            continue
        host = parts.netloc.lower().encode("latin-1", "replace")
        if parts.scheme in _OWN_PORTS and host.removesuffix(_OWN_PORTS[parts.scheme]) in ours:
            found.add(((parts.path or "/") + (f"?{parts.query}" if parts.query else "")).encode("latin-1", "replace"))
    return found
