"""Ranges of objects that are not here, served from slices: one fetch a slice, however many ask (the forms of slices: `sliced`)."""

from __future__ import annotations

from dataclasses import replace
from typing import Final, Literal, NamedTuple

import trio

from nova.cdn.cache import fields as f
from nova.cdn.cache import ranges, validation
from nova.cdn.cache import status as cache_status
from nova.cdn.cache.entry import make, tags_of
from nova.cdn.cache.freshness import FAILING, Wish
from nova.cdn.cache.keeper import SLICE_MARK, primary
from nova.cdn.errors import OriginBroken, OriginError
from nova.cdn.origins import checked
from nova.cdn.ports import FetchRequest
from nova.cdn.shield import reply, sliced
from nova.cdn.shield.fill import Fill, TooLarge
from nova.cdn.shield.ground import Ground
from nova.cdn.shield.outgoing import whole
from nova.cdn.shield.request import Incoming, Send
from nova.core.errors import of
from nova.core.guard import guarded
from nova.core.log import Log
from nova.ext import kept as k

SEVERAL: Final = 8  # slices that one request for several ranges may need: a few bytes of each would have the whole object fetched
UNFIT_TIME: Final = 60.0  # seconds for which ranges pass of an object whose parts can not be kept

Served = Literal["sent", "whole", "not"]  # whole: the origin knows no ranges; not: it gives no slices, or the range does not suit
_log = Log("nova.cdn")


class _Found(NamedTuple):
    """A slice, or none. line: Cache-Status. whole: the origin gave the whole object instead."""

    part: sliced.Slice | None
    line: bytes
    whole: bool = False


class Slicing:
    """The slices of one site."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._number, self._config = ground.number, ground.config
        self._keeper, self._clock, self._via = ground.keeper, ground.clock, ground.via
        self._slices: dict[bytes, sliced.SliceJob] = {}

    def doom(self, match: sliced.Match, *, tagged: bool = True) -> None:
        """Slices under way that match will not be kept, and who asks from now on begins a new one. tagged: as for Collapse."""
        for key, job in list(self._slices.items()):
            matches = match(primary(key), ())
            if matches or tagged:
                job.purges.append(match)
            if matches:
                del self._slices[key]

    async def serve(self, incoming: Incoming, send: Send, name: bytes, asked: Wish | None) -> Served:
        """A range of an object that is not here, from slices of it. asked: what the request says of their age, None: it does not count."""
        size, now = self._config.slice_size, self._clock.wall()
        wanted = f.value(incoming.fields, b"range") or b""
        if size <= 0 or b"\0" in name or incoming.method != "GET" or (asked is not None and asked.no_store):
            return "not"
        if ranges.parse(wanted, 1 << 60) is None or self._unfit(name, now) or self._ground.apart(name, incoming.fields, incoming.host):
            return "not"
        number = sliced.begins(wanted, size)
        if number is None and (number := self._last(name)) is None:
            return "not"
        part, line, whole = await self._slice(incoming, name, number, asked)
        if part is None:
            return "whole" if whole else "not"
        if validation.precondition(incoming.fields, part.etag, part.modified, now) != 200:
            return "not"
        if not validation.range_applies(incoming.fields, part.etag, part.modified, part.born, now):
            return "not"
        spans = ranges.parse(wanted, part.total)
        if spans is None or (len(spans) > 1 and len({at for span in spans for at in ranges.slices(span, size)}) > SEVERAL):
            return "not"
        fields = reply.finish(incoming, [*part.fields, (b"age", b"%d" % max(0, int(now) - part.born))], line)
        if not spans:
            await reply.send_spans(send, fields, [], part.total, lambda span: [])
            return "sent"
        fields, heads, end = reply.framed(fields, spans, part.total)
        await send({"type": "http.response.start", "status": 206, "headers": fields})
        for head, span in zip(heads, spans, strict=True):
            if head:
                await send({"type": "http.response.body", "body": head, "more_body": True})
            for at in ranges.slices(span, size):
                other = part if at == number else (await self._slice(incoming, name, at, asked)).part
                if other is None or (other.etag, other.total) != (part.etag, part.total):
                    self._keeper.drop_object(self._number, name, soft=False, now=now)
                    raise OriginError("origin_broken", "the object has changed between two of its slices")
                for piece in sliced.cut(other, at, size, span):
                    self._ground.counters.bytes += len(piece)
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": end})
        return "sent"

    def _last(self, name: bytes) -> int | None:
        """The last slice of an object that is here: it knows how long the object is."""
        numbers = (sliced.number_of(key) for _, key in self._keeper.names_of(self._number, name))
        return max((number for number in numbers if number is not None), default=None)

    def _unfit(self, name: bytes, now: float) -> bool:
        """Whether the origin gave a part of this object that can not be kept, a moment ago."""
        mark = self._keeper.table.find(self._number, name + SLICE_MARK)
        return mark is not None and mark.fresh_until > now

    async def _slice(self, incoming: Incoming, name: bytes, number: int, asked: Wish | None) -> _Found:
        """Slice `number`. One fetch a slice, however many ask; one that is stale stands in for a failing origin."""
        key = sliced.slice_key(name, number)
        kept, now = self._keeper.table.find(self._number, key, hit=True), self._clock.wall()
        old = None if kept is None else sliced.of(kept)
        if old is not None and old.fresh_until > now and (asked is None or asked.takes(now, old.born, old.fresh_until, True)):
            return _Found(old, cache_status.hit(old.fresh_until - now))
        job = self._slices.get(key)
        line = cache_status.forwarded("partial", stored=job is None, collapsed=job is not None)
        if job is None:
            if self._ground.nursery is None:
                raise of("shutting_down", "this site is being closed")
            job = self._slices[key] = sliced.SliceJob(trio.Event())
            first = number * self._config.slice_size
            request = whole(incoming, None, self._via)
            span = (b"range", b"bytes=%d-%d" % (first, first + self._config.slice_size - 1))
            self._ground.nursery.start_soon(self._fetch_slice, key, replace(request, fields=[*request.fields, span]), number, job)
        await job.done.wait()
        now = self._clock.wall()
        if old is not None and kept is not None and kept.error_until > now and (job.failing or job.error is not None):
            self._ground.counters.stale += 1
            return _Found(old, cache_status.stale(old.fresh_until - now, asked=True, detail="stale-if-error"))
        if job.error is not None:
            raise job.error
        return _Found(job.part, line, job.whole)

    async def _fetch_slice(self, key: bytes, request: FetchRequest, number: int, job: sliced.SliceJob) -> None:
        with guarded(_log):
            try:
                async with self._ground.slots.slot():
                    requested_at = self._clock.wall()
                    async with self._ground.fetcher.fetch(request) as answer:
                        received_at = self._clock.wall()
                        job.failing = answer.status in FAILING
                        job.whole = answer.status not in (206, 416) and not job.failing
                        total = sliced.given(answer.status, answer.fields, number, self._config.slice_size, answer.length)
                        verdict = self._ground.judge(request, 200, answer.fields, requested_at, received_at)
                        if total is None or not verdict.keep or verdict.asked or verdict.vary:
                            if answer.status == 206:
                                self._keeper.mark(self._number, primary(key) + SLICE_MARK, until=received_at + UNFIT_TIME)
                            return
                        tags = tags_of(answer.fields)
                        digests = checked.said(answer.fields, part=True)
                        room = self._keeper.room(answer.length or 0)
                        if room is None:
                            return
                        with room, Fill(self._keeper, room, self._ground.feed(), answer.length, most=self._config.slice_size) as fill:
                            while data := await answer.read():
                                if digests is not None:
                                    digests.feed(data)
                                fill.append(data)
                            if digests is not None and not digests.fit():
                                raise OriginBroken("the slice is not what its digest says")
                            fill.end()
                if any(match(primary(key), tags) for match in job.purges):
                    return
                entry = make(206, b"", answer.fields, verdict, received_at=received_at, total=fill.size, via=self._via)
                self._ground.counters.fills += 1
                body = fill.body()
                self._keeper.keep(self._number, key, entry, body, flags=k.PIECE)
                lines = entry.head[entry.line_size : entry.fields_size]
                job.part = sliced.Slice(lines, entry.etag, entry.modified, entry.born, entry.fresh_until, total, body)
            except TooLarge:
                """It is not given, then."""
            except OriginError as error:
                job.error = error.with_traceback(None)  # whose frames hold what came of it
            finally:
                if self._slices.get(key) is job:
                    del self._slices[key]
                job.done.set()
                self._ground.quiet.unpark_all()
