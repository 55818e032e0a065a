"""One site: what it does with its requests that are not hot, and what the reactor and the other parts of the server ask of it.

Objects: `collapse`, one fetch for all who ask. Ranges of what is not here: `slicing`. Everything else: `passing`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable
from typing import Any
from urllib.parse import urlsplit

import trio

from nova.cdn.cache import fields as f
from nova.cdn.cache import status as cache_status
from nova.cdn.cache import validation
from nova.cdn.cache.freshness import wish
from nova.cdn.cache.keeper import Keeper
from nova.cdn.origins.bounds import Bounds
from nova.cdn.ports import Admission, Fetcher, FetchRequest, Refusal, Warmed
from nova.cdn.shield import reply
from nova.cdn.shield.collapse import Collapse, Outcome
from nova.cdn.shield.early import Early
from nova.cdn.shield.ground import Compressor, Disk, Ground
from nova.cdn.shield.outgoing import whole
from nova.cdn.shield.passing import Passing
from nova.cdn.shield.request import Incoming, Receive, Scope, Send, read
from nova.cdn.shield.sliced import Match
from nova.cdn.shield.slicing import Slicing
from nova.cdn.shield.unkeyed import overrides
from nova.core.clock import Clock
from nova.core.errors import BadGateway, MethodNotAllowed, NovaError, RateLimited, of
from nova.core.limits import RateLimit
from nova.core.reactor import Feed
from nova.core.reactor.exchange import ClientDisconnected
from nova.core.settings_table import CdnSite
from nova.ext import kept as k
from nova.ext.kept import Answer


class Site:
    """number: in the reactor. via: the name of this node in Via. feed: makes a sequence that connections can follow. counted_by: what
    a client's address is counted by for `client_rate`, None: it is exempt."""

    def __init__(
        self,
        number: int,
        config: CdnSite,
        fetcher: Fetcher,
        keeper: Keeper,
        clock: Clock,
        *,
        via: bytes,
        feed: Callable[[], Feed],
        compressor: Compressor | None = None,
        disk: Disk | None = None,
        admission: Admission | None = None,
        counted_by: Callable[[str], Hashable | None] = lambda peer: peer,
    ) -> None:
        self._ground = Ground(number, config, fetcher, keeper, clock, via=via, feed=feed, compressor=compressor, disk=disk)
        self._keeper, self._clock, self._via = keeper, clock, via
        self.number, self.config, self.fetcher = number, config, fetcher
        self.host_in_key, self.counters, self.slots = self._ground.host_in_key, self._ground.counters, self._ground.slots
        self._admission, self._counted_by = admission, counted_by
        self._prefix = (config.prefix or "").encode()
        self._bounds = Bounds(config.origins)
        self._rates: RateLimit[Hashable] | None = None if config.client_rate is None else RateLimit(config.client_rate)
        self._collapse, self._slicing, self._passing = Collapse(self._ground), Slicing(self._ground), Passing(self._ground, self._forget)
        self.stale = self._collapse.stale

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """The fetches and the origins' upkeep; until cancelled."""
        async with trio.open_nursery() as nursery:
            self._ground.nursery = nursery
            try:
                await nursery.start(self.fetcher.run)
                task_status.started()
                await trio.sleep_forever()
            finally:
                self._ground.nursery = None

    # -- what the reactor and other protocols call -----------------------------------------------------------------------

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            return
        incoming = read(scope, prefix=self._prefix, host_in_key=self.host_in_key)
        self.counters.requests += 1
        self.counters.assets += incoming.admitted
        sending = reply.Sending(send)
        try:
            await self._serve(incoming, receive, sending)
        except NovaError as error:
            if not sending.started:  # else the answer ends where it broke: whoever called us closes visibly
                await reply.refuse(send, error, incoming)
            error.__traceback__ = None  # others may be told of the same one, and its frames hold what was found
        except ClientDisconnected:
            pass  # its own doing
        finally:
            if incoming.lead is not None and incoming.lead not in self._collapse.jobs:
                self._keeper.table.settle(self.number, incoming.lead)
            if self._ground.quiet:
                self._ground.quiet.unpark_all()

    def doom(self, match: Match, *, soft: bool, tagged: bool = True) -> int:
        """Fetches under way that match will not be kept; who asks from now on begins a new one. The number of objects. tagged: whether
        `match` looks at tags."""
        self._slicing.doom(match, tagged=tagged)
        self._passing.doom(match)
        return self._collapse.doom(match, soft=soft, tagged=tagged)

    def _forget(self, keys: Collection[bytes]) -> None:
        """Objects are not what they were: what is kept of them goes, and what is being fetched may be older than the change."""
        self.doom(lambda key, tags: key in keys, soft=False, tagged=False)
        for key in keys:
            self._keeper.drop_object(self.number, key, soft=False, now=self._clock.wall())
            if self._ground.disk is not None:
                self._ground.disk.forget_object(self.config.name, key)

    async def idle(self) -> None:
        """Returns when no fetch is under way."""
        while not self._collapse.idle:
            await self._ground.quiet.park()

    def own_host(self) -> bytes:
        """The Host for requests that nobody sent: that of the first origin."""
        return urlsplit(self.config.origins[0].url).netloc.encode()

    def drain_misses(self) -> dict[bytes, tuple[int, ...]]:
        """(requests, hits, bytes) by object of what came up, since the last call."""
        return self._ground.misses.take()

    async def prewarm(self, target: bytes, host: bytes) -> Warmed:
        """Fetch an object as a client's request would. Raises NovaError."""
        self._bounds.check("GET", target)
        key = (host.lower() if self.host_in_key else b"") + target
        request = FetchRequest("GET", target, host, [(b"via", b"1.1 " + self._via)], key=key)
        name, found = self._keeper.find(self.number, key, [])
        if found is not None and not found.flags & k.PASS and found.fresh_until > self._clock.wall():
            return Warmed(found.status, max(found.total, 0), True)
        outcome = self._collapse.jobs.get(name or key)
        if outcome is None:
            self._keeper.table.lead(self.number, key)
            outcome = self._collapse.start(key, request, None, leads=True)
        await outcome.known.wait()
        if outcome.error is not None:
            raise outcome.error
        if outcome.answer is None and outcome.fill is None:
            status = outcome.head[0] if outcome.head is not None else 502
            size = 0
            if outcome.pieces is not None:
                async for piece in outcome.pieces:
                    size += len(piece)
            return Warmed(status, size, False)
        if outcome.fill is not None and outcome.entry is not None:
            async for _ in outcome.fill.read():
                pass
            return Warmed(outcome.entry.status, outcome.fill.size, not outcome.fill.failed)
        assert outcome.answer is not None
        return Warmed(outcome.answer.status, max(outcome.answer.total, 0), True)

    # -- serving ---------------------------------------------------------------------------------------------------------

    async def _serve(self, incoming: Incoming, receive: Receive, send: Send) -> None:
        if incoming.method == "CONNECT":
            raise MethodNotAllowed(detail="this is no tunnel")
        if not incoming.readable:
            raise of("bad_request", "the target or the host is none that HTTP knows")
        if f.has_looped(incoming.fields, self._via):
            raise BadGateway("loop", "the request has been here before: an origin leads back to this server")
        who = None if self._rates is None else self._counted_by(incoming.peer)
        if self._rates is not None and who is not None and (wait := self._rates.take(who, self._clock.monotonic())) > 0:
            self.counters.limited += 1
            raise RateLimited(detail="too many requests from this address", retry_after=wait)
        if self._admission is not None and not incoming.admitted:
            admitted = await self._admission.admit(
                incoming.target, incoming.fields, incoming.peer, host=incoming.host, secure=incoming.secure
            )
            if isinstance(admitted, Refusal):
                raise of(admitted.code, admitted.detail)
            incoming.key = incoming.key[: len(incoming.key) - len(incoming.target)] + admitted
            incoming.target = admitted
        self._bounds.check(incoming.method, incoming.target)
        if incoming.method not in ("GET", "HEAD") or incoming.has_body or incoming.upgrade is not None or overrides(incoming.fields):
            await self._passing.serve(incoming, receive, send, "method" if incoming.method not in ("GET", "HEAD") else "bypass")
            return
        await self._serve_object(incoming, receive, send)

    async def _serve_object(self, incoming: Incoming, receive: Receive, send: Send) -> None:
        now = self._clock.wall()
        wanted = wish(incoming.fields) if self.config.request_directives else None
        name, found = self._keeper.find(self.number, incoming.key, incoming.fields)
        if incoming.lead is not None and incoming.lead != name:
            self._keeper.table.settle(self.number, incoming.lead)  # what it varies with has changed meanwhile
            incoming.lead = None
        passes = found is not None and bool(found.flags & k.PASS) and found.fresh_until > now
        if found is not None and found.flags & (k.PASS | k.PIECE):
            found = None
        job = self._collapse.jobs.get(name) if name is not None else None
        if found is not None and found.growing and job is None:
            found = None  # a fetch of the site as it was before its rules changed: it serves its own
        if found is not None and self._usable(found, now, wanted):
            await self._send_kept(incoming, send, found, job)
            return
        if wanted is not None and wanted.only_if_cached:
            raise of("not_in_cache", "only-if-cached was asked for")
        why = _why(incoming, name, found, now)
        authorized = f.value(incoming.fields, b"authorization") is not None
        if name is None or incoming.method == "HEAD" or (authorized and (found is not None or passes or _asks_for_less(incoming))):
            await self._passing.serve(incoming, receive, send, why, old=found, name=name)
            return
        if passes and incoming.lead is None and job is None:
            await self._passing.serve(incoming, receive, send, "uri-miss", name=name, marked=True)
            return
        if f.value(incoming.fields, b"range") is not None and incoming.lead is None:
            if await self._from_growing(incoming, send, name):
                return
            # What is here and stale is validated, and answers when it still holds; what comes whole only is fetched, and kept, whole.
            served = "whole" if found is not None else await self._slicing.serve(incoming, send, name, wanted)
            if served == "not":
                await self._passing.serve(incoming, receive, send, why, name=name)
            if served != "whole":
                return
        alone = authorized or (wanted is not None and wanted.no_store)  # what comes may be this client's only, and says nothing to others
        outcome = None if alone else self._collapse.jobs.get(name)
        if outcome is not None and incoming.lead is None and (wanted is None or not wanted.no_cache):
            await outcome.known.wait()
            if (outcome.answer is not None or outcome.fill is not None) and not (
                outcome.entry is not None and outcome.entry.flags & k.ALWAYS
            ):
                await self._send_outcome(incoming, send, outcome, collapsed=True)
                return
            if outcome.error is not None:
                raise outcome.error
        request = whole(incoming, found, self._via, plain=b"\0" not in name)
        leads = incoming.lead is not None
        always = found is not None and bool(found.flags & k.ALWAYS)
        if not leads and not always and not alone and name not in self._collapse.jobs:
            passed = self._keeper.table.find(self.number, name)
            if passed is None or not passed.flags & k.PASS or passed.fresh_until <= now:
                leads = self._keeper.table.lead(self.number, name)
        async with Early(send, incoming, self._ground) as early:
            outcome = self._collapse.start(name, request, found, leads=leads, informational=early.informational, why=why)
            await outcome.known.wait()
        await self._send_outcome(incoming, send, outcome)

    def _usable(self, found: Answer, now: float, wanted: Any) -> bool:
        if found.growing:
            return not found.flags & k.ALWAYS and (wanted is None or not wanted.no_cache)
        if found.flags & k.ALWAYS:
            return False
        if wanted is None:
            return now < found.fresh_until
        return bool(wanted.takes(now, found.born, found.fresh_until, found.error_until <= found.fresh_until))

    async def _from_growing(self, incoming: Incoming, send: Send, name: bytes) -> bool:
        """A range of an object that is being fetched: from there, when its length is known."""
        outcome = self._collapse.jobs.get(name)
        if outcome is None or outcome.fill is None or outcome.entry is None or outcome.fill.total is None:
            return False
        return await reply.send_growing_range(send, incoming, outcome.entry, outcome.fill, outcome.status, self._clock.wall())

    async def _send_kept(self, incoming: Incoming, send: Send, found: Answer, job: Outcome | None) -> None:
        now = self._clock.wall()
        if found.growing:
            if job is not None and job.fill is not None:
                await self._send_outcome(incoming, send, job, collapsed=True)
                return
            raise of("origin_broken", "the fetch has just ended")
        line = cache_status.hit(found.fresh_until - now)
        if found.fresh_until <= now:
            line = cache_status.stale(found.fresh_until - now, asked=False)
        self.counters.hits += 1
        await self._ground.counted(incoming, reply.send_answer(send, incoming, found, line, now), hit=True)

    async def _send_outcome(self, incoming: Incoming, send: Send, outcome: Outcome, *, collapsed: bool = False) -> None:
        line = outcome.status if not collapsed else cache_status.forwarded(outcome.why, collapsed=True)
        if outcome.error is not None:
            await reply.refuse(send, outcome.error, incoming, line)
        elif outcome.entry is not None and outcome.fill is not None:
            await self._ground.counted(incoming, reply.send_growing(send, incoming, outcome.entry, outcome.fill, line, self._clock.wall()))
        elif outcome.answer is not None:
            await self._ground.counted(incoming, reply.send_answer(send, incoming, outcome.answer, line, self._clock.wall()))
        elif outcome.head is not None and outcome.pieces is not None:
            async with outcome.pieces:
                await reply.send_pieces(send, incoming, outcome.head, outcome.pieces, line, lambda: outcome.shared)


def _why(incoming: Incoming, name: bytes | None, found: Answer | None, now: float) -> cache_status.Forward:
    """Why a request goes to the origin (RFC 9211, 2.2)."""
    if found is None:
        return "uri-miss" if name == incoming.key else "vary-miss"
    return "request" if found.fresh_until > now and not found.flags & k.ALWAYS else "stale"


def _asks_for_less(incoming: Incoming) -> bool:
    """Whether the client may be content with less than the whole answer."""
    return any(name == b"range" or name in validation.CONDITIONS for name, _ in incoming.fields)
