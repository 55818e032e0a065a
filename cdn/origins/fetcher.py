"""A site's origins behind the port that the cache asks: order, retries, hedges, resumption, redirects, shield nodes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Final
from urllib.parse import urlsplit

import trio

from nova.cdn.errors import OriginBroken, OriginError
from nova.cdn.failover import hedge, rendezvous
from nova.cdn.failover.budget import RetryBudget
from nova.cdn.failover.order import Order
from nova.cdn.origins import ask
from nova.cdn.origins.answer import Head
from nova.cdn.origins.bounds import depth
from nova.cdn.origins.origin import Origin, OriginStatus
from nova.cdn.origins.patience import Patience
from nova.cdn.origins.pool import Exchange
from nova.cdn.origins.race import Race, nobody
from nova.cdn.origins.redirects import Elsewhere, location, redirected
from nova.cdn.origins.resume import RESUMES, Resumable, resumable
from nova.cdn.origins.s3 import S3Signer
from nova.cdn.ports import FetchRequest, Fields, Informational
from nova.core.clock import Clock
from nova.core.offload import Offload
from nova.core.settings_schema import make
from nova.core.settings_table import CdnOrigin, CdnSite

ALIVE: Final = 0.2  # seconds of grace for a sender whose answer is complete


@dataclass(slots=True)
class Counts:
    """What happened at a site's origins since the start."""

    requests: int = 0
    retries: int = 0
    hedges: int = 0
    resumes: int = 0
    failed: int = 0  # requests that no origin answered


class Answer:
    """`FetchAnswer`: the body goes on over another connection when it breaks off and a strong entity tag allows it. ours: it is that of
    one of the site's origins, who all have the same."""

    def __init__(self, origins: Origins, request: FetchRequest, origin: Origin, exchange: Exchange, *, ours: bool = True) -> None:
        self._origins, self._request, self._origin, self._exchange = origins, request, origin, exchange
        self.head: Head = exchange.head
        self.origin = origin.config.url
        self._received = 0
        self._resumes = 0
        self._resumable: Resumable | None = resumable(request.method, self.head) if ours else None
        self.stream: trio.abc.Stream | None = None

    @property
    def status(self) -> int:
        return self.head.status

    @property
    def reason(self) -> bytes:
        return self.head.reason

    @property
    def fields(self) -> Fields:
        return self.head.fields

    @property
    def length(self) -> int | None:
        return self.head.length

    async def read(self) -> bytes:
        """The next bytes of the body, empty at its clean end. Raises OriginBroken."""
        while True:
            try:
                piece = await self._exchange.read()
                if not piece and self._resumable is not None and self._received != self.head.length:
                    raise OriginBroken("the answer ended before its length")
            except OriginBroken as error:
                self._origin.broke()
                await self._resume(error)
                continue
            self._received += len(piece)
            if self.head.length is not None and self._received > self.head.length:
                raise OriginBroken("who went on with the answer sent more than was missing")
            return piece

    async def _resume(self, broken: OriginBroken) -> None:
        """Raises OriginBroken: there is no way to go on."""
        self._exchange.end()
        if self._resumable is None or self._resumes >= RESUMES or self._received == self.head.length:
            raise broken
        self._resumes += 1
        self._origins.counts.resumes += 1
        request = self._resumable.request(self._request, self._received)
        try:
            origin, exchange = await self._origins.ask(request, None)
        except OriginError as error:
            raise OriginBroken("the answer broke off, and nobody goes on with it") from error
        if not self._resumable.continues(exchange.head, self._received):
            exchange.end()
            raise OriginBroken("the answer broke off, and what is there now is another version")
        self._origin, self._exchange = origin, exchange

    def end(self) -> None:
        self._exchange.end()


class Origins:
    """`Fetcher` of one site."""

    def __init__(self, site: CdnSite, clock: Clock, offload: Offload) -> None:
        self._site, self._clock, self._offload = site, clock, offload
        own_host, self._patience = site.host == "origin", Patience()
        self.origins = [Origin(each, clock, self._patience, own_host=own_host, sign=self._signer(each)) for each in site.origins]
        self.nodes = [Origin(make(CdnOrigin, url=url), clock, self._patience, own_host=False, shield=True) for url in site.shield]
        self._names = [node.config.url.encode() for node in self.nodes]
        self._order = Order([each.weight for each in site.origins], [each.backup for each in site.origins])
        self._budget = RetryBudget(site.retry_ratio, site.retry_burst)
        self._elsewhere = Elsewhere(site, clock, self._patience)
        self.counts = Counts()

    def _signer(self, origin: CdnOrigin) -> S3Signer | None:
        if origin.s3_region is None:
            return None
        return S3Signer(origin.s3_region, origin.s3_key_id, origin.s3_secret, self._offload)

    def down(self) -> bool:
        """Whether no origin is expected to answer now."""
        return not any(each.ready() for each in (*self.origins, *self.nodes))

    def status(self) -> list[OriginStatus]:
        return [each.status() for each in (*self.nodes, *self.origins)]

    @property
    def budget_left(self) -> float:
        return self._budget.left

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Probes and sweeping; until cancelled, which closes the idle connections."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._patience.run)
                for each in (*self.origins, *self.nodes):
                    nursery.start_soon(each.run)
                task_status.started()
        finally:
            self.close()

    def close(self) -> None:
        """No connection is kept from now on."""
        for each in (*self.origins, *self.nodes):
            each.close()

    def fetch(self, request: FetchRequest, *, informational: Informational | None = None) -> AbstractAsyncContextManager[Answer]:
        """Entering raises OriginError: nobody answered."""
        self.counts.requests += 1
        self._budget.request(self._clock.monotonic())
        if request.body is not None or request.upgrade is not None:
            return self._once(request, informational)
        return Asked(self, request, informational)

    async def answer(self, request: FetchRequest, informational: Informational | None) -> Answer:
        """The answer behind any redirects, whose end is the caller's. Raises OriginError: nobody answered."""
        try:
            answer = Answer(self, request, *await self.ask(request, informational))
        except OriginError:
            self.counts.failed += 1
            raise
        return await self._follow(request, answer)

    async def ask(self, request: FetchRequest, informational: Informational | None) -> tuple[Origin, Exchange]:
        """The first good answer's origin and exchange. Raises OriginError."""
        origins, anyway = self._candidates(request)
        again = request.method in ask.IDEMPOTENT
        hedges = again and request.method in ask.SAFE and self._site.hedge_after is not None
        several = len(origins) > 1
        if again and not several:
            origins *= 2  # one that is alone gets a second chance, when it has not used up the patience of the first
        race = Race(
            origins if again else origins[:1],
            request,
            self._budget,
            self._clock.monotonic,
            hedge=self._hedge_after if hedges and several else None,
            retry=self._site.retry_statuses if again and several else (),
            informational=informational,
            anyway=anyway,
        )
        try:
            return await race.run()
        finally:
            self.counts.hedges += race.hedged
            self.counts.retries += race.retried

    def _candidates(self, request: FetchRequest) -> tuple[list[Origin], bool]:
        """Who may be asked, in order: the object's shield nodes, then the origins. True: only because nobody else may."""
        found = [self.origins[at] for at in self._order.next([each.ready() for each in self.origins])]
        if self.nodes and not any(name == ask.VIA_EDGE for name, _ in request.fields):
            order = rendezvous.choose(request.key or request.target, self._names, [node.busy for node in self.nodes])
            found = [self.nodes[at] for at in order if self.nodes[at].ready()][:2] + found
        if found:
            return found, False
        return [self.origins[at] for at in self._order.next([each.answers for each in self.origins])], True

    def _hedge_after(self, origin: Origin) -> float | None:
        most = self._site.hedge_after
        return None if most is None else hedge.delay(most, origin.latencies)

    @asynccontextmanager
    async def _once(self, request: FetchRequest, informational: Informational | None) -> AsyncIterator[Answer]:
        """A request with a body, or an upgrade: one origin, unless no connection to it can be made."""
        failure: OriginError | None = None
        origins, anyway = self._candidates(request)
        for origin in origins:
            trial = origin.enter(anyway=anyway)
            if trial is None:
                continue
            try:
                exchange = await origin.open(request)
            except OriginError as error:
                failure = error
                origin.failed(error, trial)
                continue
            except BaseException:
                origin.breaker.cancel(trial)
                raise
            with exchange:
                async with one_error(), trio.open_nursery() as nursery:
                    began = self._clock.monotonic()
                    sender = _Sender(exchange, origin, request, self._clock)
                    exchange.sending()
                    nursery.start_soon(sender.run)
                    try:
                        await exchange.answer(informational)
                    except OriginError as error:
                        self.counts.failed += 1
                        origin.failed(error, trial)
                        raise
                    except BaseException:
                        origin.breaker.cancel(trial)
                        raise
                    origin.answered(exchange.head.status, sender.ended or began, trial)
                    answer = Answer(self, request, origin, exchange)
                    if exchange.head.upgrade:
                        while await exchange.read():
                            """101 has no body: what comes is its end, with the peer's first bytes."""
                        await sender.done.wait()
                        answer.stream = Upgraded(exchange.stream, exchange.rest)
                    yield answer
                    # Who has answered in full reads no more (RFC 9112, 9.3 lets it close): the rest of the body goes nowhere.
                    with trio.move_on_after(ALIVE):
                        await sender.done.wait()
                    if not sender.complete:
                        exchange.spoil()
                    nursery.cancel_scope.cancel()
            return
        self.counts.failed += 1
        raise failure or nobody()

    async def _follow(self, request: FetchRequest, answer: Answer) -> Answer:
        """Follow redirects, as far as the site says. Every address on the way is checked."""
        for _ in range(self._site.redirects if request.method in ("GET", "HEAD") else 0):
            where = location(answer.status, answer.fields)
            if where is None:
                return answer
            try:
                url = redirected(answer.origin + request.target.decode("latin-1"), where)
                inside = self._inside(url)
                if inside is not None:
                    request = replace(request, target=inside)
                    found = await self.ask(request, None)
                else:
                    request, origin = self._elsewhere.request(request, url)
                    found = origin, await origin.attempt(request)
            except BaseException:
                answer.end()
                raise
            answer.end()
            answer = Answer(self, request, *found, ours=inside is not None)
        return answer

    def _inside(self, url: str) -> bytes | None:
        """The target of `url` when it lies on one of our origins."""
        parts = urlsplit(url)
        for origin in self.origins:
            where = origin.where
            same = (
                (parts.scheme == "https") == where.secure
                and parts.hostname == where.host
                and (parts.port or (443 if where.secure else 80)) == where.port
            )
            path = parts.path.encode("latin-1", "replace") or b"/"
            below = path.removeprefix(where.path)
            if same and path.startswith(where.path) and below[:1] in (b"", b"/") and depth(below) is not None:
                query = f"?{parts.query}".encode("latin-1", "replace") if parts.query else b""
                return (below or b"/") + query
        return None


class Asked:
    """A fetch without a body: a class, for it stands round every one of them."""

    __slots__ = ("_answer", "_informational", "_origins", "_request")

    def __init__(self, origins: Origins, request: FetchRequest, informational: Informational | None) -> None:
        self._origins, self._request, self._informational = origins, request, informational

    async def __aenter__(self) -> Answer:
        self._answer = await self._origins.answer(self._request, self._informational)
        return self._answer

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._answer.end()


class _Sender:
    """Sends a request with its body while the answer is awaited. ended: monotonic seconds, 0: it goes on."""

    def __init__(self, exchange: Exchange, origin: Origin, request: FetchRequest, clock: Clock) -> None:
        self._exchange, self._origin, self._request, self._clock = exchange, origin, request, clock
        self.done = trio.Event()
        self.complete = False
        self.ended = 0.0

    async def run(self) -> None:
        request = self._request
        try:
            await self._exchange.send(await self._origin.head_of(request))
            if request.body is not None:
                async for piece in request.body():
                    if piece:
                        await self._exchange.send(piece if request.length is not None else b"%x\r\n%b\r\n" % (len(piece), piece))
                if request.length is None:
                    await self._exchange.send(b"0\r\n\r\n")
            self.complete = True
        except OriginError:
            """Whether the origin has answered nevertheless is seen where its answer is read."""
        self.ended = self._clock.monotonic()
        self._exchange.sent()
        self.done.set()


@asynccontextmanager
async def one_error() -> AsyncIterator[None]:
    """A nursery's group of one error comes out as that error: callers know what a fetch raises."""
    try:
        yield
    except BaseExceptionGroup as group:
        inner: BaseException = group
        while isinstance(inner, BaseExceptionGroup) and len(inner.exceptions) == 1:
            inner = inner.exceptions[0]
        if inner is group:
            raise
        raise inner from inner.__cause__


class Upgraded(trio.abc.Stream):
    """The connection after 101, its first bytes given back."""

    def __init__(self, stream: trio.abc.Stream, first: bytes) -> None:
        self._stream, self._first = stream, first

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        if self._first:
            size = len(self._first) if max_bytes is None else max_bytes
            piece, self._first = self._first[:size], self._first[size:]
            await trio.lowlevel.checkpoint()
            return piece
        return bytes(await self._stream.receive_some(max_bytes))

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self._stream.aclose()
