"""What passes: to the origin and back, unchanged but for what belongs to one hop, and what it says about what is kept."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Final

from nova.cdn.cache import fields as f
from nova.cdn.cache import status as cache_status
from nova.cdn.cache import validation
from nova.cdn.cache.entry import TAG_FIELDS, assemble, dated
from nova.cdn.cache.keeper import primary
from nova.cdn.errors import OriginError
from nova.cdn.ports import FetchAnswer, FetchRequest
from nova.cdn.shield import reply
from nova.cdn.shield.early import Early
from nova.cdn.shield.ground import Ground
from nova.cdn.shield.outgoing import cleaned, hops
from nova.cdn.shield.request import SAFE, Incoming, Receive, Send
from nova.cdn.shield.sliced import Match
from nova.ext import kept as k
from nova.ext.kept import Answer

CONDITIONAL: Final = frozenset((206, 304, 412, 416))  # statuses that say something of the request more than of the object


class Passing:
    """The requests of one site that its origins answer one by one. forget: ends what is kept and being fetched under keys of objects."""

    def __init__(self, ground: Ground, forget: Callable[[Collection[bytes]], None]) -> None:
        self._ground, self._forget = ground, forget
        self._number, self._keeper, self._clock, self._via = ground.number, ground.keeper, ground.clock, ground.via
        self._heads: dict[int, bytes] = {}  # the names of what HEAD is being asked about, by id of the request

    def doom(self, match: Match) -> None:
        """What HEAD under way says of objects that match is older than the purge."""
        for id, name in list(self._heads.items()):
            if match(primary(name), self._keeper.tags_of(self._number, name)):
                del self._heads[id]

    async def serve(
        self,
        incoming: Incoming,
        receive: Receive,
        send: Send,
        why: cache_status.Forward,
        *,
        old: Answer | None = None,
        name: bytes | None = None,
        marked: bool = False,
    ) -> None:
        """To the origin and back, unchanged but for what belongs to one hop; bound to the client.

        marked: a GET of an object that may not be kept, as its last answer said; when this one says otherwise, the mark goes.
        """
        left = hops(incoming)
        if left == 0:
            await reply.options(send, incoming)
            return
        body = reply.body_of(receive) if incoming.has_body else None
        fields = cleaned(incoming, incoming.fields, self._via)
        if left is not None:
            fields = [*(each for each in fields if each[0] != b"max-forwards"), (b"max-forwards", b"%d" % (left - 1))]
        request = FetchRequest(
            incoming.method, incoming.target, incoming.host, fields, body, incoming.length if incoming.has_body else None, incoming.key,
            incoming.upgrade,
        )  # fmt: skip
        self._ground.counters.passed += 1
        early = Early(send, incoming, self._ground)
        requested_at = self._clock.wall()
        if incoming.method == "HEAD" and name is not None and old is not None and not self._says_more(incoming, name):
            self._heads[id(incoming)] = name
        try:
            fetch = self._ground.fetcher.fetch(request, informational=early.informational)
            async with early, self._ground.slots.slot(), fetch as answer:
                if answer.status == 101 and answer.stream is not None and incoming.switch is not None:
                    await early.told()
                    await reply.tunnel(incoming.switch, answer, incoming.upgrade or b"")
                    return
                self._consequences(incoming, request, answer, old, name, requested_at)
                line = cache_status.forwarded(why)
                may_be_kept = False
                if marked and answer.status not in CONDITIONAL:
                    verdict = self._ground.judge_new(request, answer, requested_at, self._clock.wall())
                    may_be_kept = verdict.keep
                    if not may_be_kept:
                        line = cache_status.forwarded(why, detail=verdict.why.replace("_", "-"))
                    elif answer.length is not None:
                        self._unmark(name)
                await early.told()
                size = await reply.send_passed(
                    send, incoming, answer, reply.outgoing(answer.fields, self._via), line, self._ground.passing
                )
                if may_be_kept and answer.length is None and size <= self._ground.largest:
                    self._unmark(name)  # only now is it known that it is not too large
        except OriginError as error:
            now = self._clock.wall()
            if old is None or old.error_until <= now or old.growing:
                await reply.refuse(send, error, incoming, cache_status.forwarded(why, detail=error.code.replace("_", "-")))
                return
            self._ground.counters.stale += 1
            line = cache_status.stale(old.fresh_until - now, asked=True, detail="stale-if-error")
            await self._ground.counted(incoming, reply.send_answer(send, incoming, old, line, now))
        finally:
            self._heads.pop(id(incoming), None)

    def _says_more(self, incoming: Incoming, name: bytes) -> bool:
        """Whether what is kept under `name` is kept for requests that do not say what this one says."""
        return b"\0" not in name and bool(self._ground.apart(name, incoming.fields, incoming.host))

    def _unmark(self, name: bytes | None) -> None:
        """Who asks next leads; what others have kept meanwhile stays."""
        if name is not None and (mark := self._keeper.table.find(self._number, name)) is not None and mark.flags & k.PASS:
            self._keeper.drop(self._number, name)

    def _consequences(
        self, incoming: Incoming, request: FetchRequest, answer: FetchAnswer, old: Answer | None, name: bytes | None, requested_at: float
    ) -> None:
        """What an answer that passes says about what is kept: unsafe methods (RFC 9111, 4.4) and HEAD (4.3.5)."""
        if incoming.method not in SAFE and 200 <= answer.status < 400:
            host = incoming.key[: len(incoming.key) - len(incoming.target)]
            self._forget({host + target for target in reply.same_origin(incoming, answer.fields, self._ground.own_hosts)})
        elif id(incoming) in self._heads and answer.status == 200 and old is not None and name is not None and old.status == 200:
            found = self._keeper.table.find(self._number, name)
            if found is not None and found.same(old):  # else it was forgotten, or is another one by now
                self._heard(request, answer, old, name, requested_at)

    def _heard(self, request: FetchRequest, answer: FetchAnswer, old: Answer, name: bytes, requested_at: float) -> None:
        """An answer to HEAD describes what is kept: it holds on, or is stale."""
        now = self._clock.wall()
        kept = list(f.split_lines(old.lines))
        if not validation.same_object(kept, old.total, answer.fields):
            self._keeper.table.soften(self._number, name, int(now))
            return
        found = validation.freshened(kept, [field for field in answer.fields if field[0] not in TAG_FIELDS and field[0] != b"via"])
        if f.value(answer.fields, b"date") is None:
            found = dated(found, now)
        as_get = replace(request, method="GET")  # whose answer may be for one client alone, too
        verdict = self._ground.judge(as_get, 200, found, requested_at, now)
        if b"\0" not in name and set(verdict.vary) - {b"accept-encoding"}:
            self._keeper.table.soften(self._number, name, int(now))  # for which requests the kept answer is, nobody knows
        elif verdict.keep:
            found = [field for field in found if field[0] not in verdict.strip]
            tags = self._keeper.tags_of(self._number, name)
            entry = assemble(200, old.status_line[13:-2], found, verdict, received_at=now, total=old.total, tags=tags)
            self._keeper.keep(self._number, name, entry, old.body())
