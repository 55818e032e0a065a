"""One origin: its connections, what is known of it, and one attempt at it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import trio

from nova.cdn.errors import OriginBroken, OriginError
from nova.cdn.failover.breaker import Breaker, State
from nova.cdn.failover.health import Health
from nova.cdn.failover.hedge import Latencies
from nova.cdn.origins import ask
from nova.cdn.origins.ask import Where
from nova.cdn.origins.bounds import object_of
from nova.cdn.origins.dial import Dialer
from nova.cdn.origins.patience import Patience
from nova.cdn.origins.pool import Exchange, Pool
from nova.cdn.ports import FetchRequest, Informational
from nova.core.clock import Clock
from nova.core.log import Log
from nova.core.settings_table import CdnOrigin
from nova.core.tls.client import ClientTls

SICK = frozenset((502, 503, 504))  # statuses that say that an origin cannot

_log = Log("nova.cdn.origins")


class Sign(Protocol):
    """Signs requests for an origin that asks for it (S3)."""

    async def __call__(self, method: str, where: Where, target: bytes) -> tuple[tuple[bytes, bytes], ...]:
        """The fields that the request gets. Raises OriginError."""


@dataclass(frozen=True, slots=True)
class OriginStatus:
    """What the status page and the metrics show of one origin. Latencies of first bytes, in seconds."""

    url: str
    backup: bool
    weight: int
    well: bool
    breaker: State
    openings: int
    requests: int
    failures: int
    busy: int
    idle: int
    p50: float | None
    p95: float | None
    p99: float | None


class Origin:
    """An origin of a site.

    patience: of those who wait for its answers. own_host: requests name its own host. sign: for S3. shield: it is a node of ours.
    public: it may only have public addresses.
    """

    def __init__(
        self, config: CdnOrigin, clock: Clock, patience: Patience, *, own_host: bool, sign: Sign | None = None, shield: bool = False,
        public: bool = False,
    ) -> None:  # fmt: skip
        self.config, self._clock, self._patience, self._sign = config, clock, patience, sign
        self.where = Where(config.url)
        self.own_host = own_host or sign is not None
        self._extra = ((ask.VIA_EDGE, b"1"),) if shield else ()
        dialer = Dialer(
            self.where, timeout=config.connect_timeout, tls=ClientTls(config.tls_ca), name=config.tls_name, public=public,
            keep=config.lookup_interval,
        )  # fmt: skip
        self._pool = Pool(
            dialer, most=config.max_connections, idle=config.max_idle, keep=config.keep_alive, patience=config.connect_timeout
        )  # fmt: skip
        self.breaker = Breaker(config.breaker_failures, config.breaker_wait)
        self.health = Health()
        self.latencies = Latencies()
        self.requests = self.failures = 0
        self._answers = False  # whether its last failure was a bad answer, and not none

    def ready(self) -> bool:
        """Whether it may be asked now."""
        return self.health.well and self.breaker.ready(self._clock.monotonic())

    @property
    def answers(self) -> bool:
        """Whether it is there, however bad its last answers were: it is asked when nobody else may be. A few addresses that it answers
        badly would otherwise close the whole site."""
        return self.health.well and self._answers

    @property
    def busy(self) -> int:
        return self._pool.busy

    def status(self) -> OriginStatus:
        p50, p95, p99 = self.latencies.quantiles or (None, None, None)
        return OriginStatus(
            self.config.url, self.config.backup, self.config.weight, self.health.well, self.breaker.state, self.breaker.openings,
            self.requests, self.failures, self._pool.busy, self._pool.idle, p50, p95, p99,
        )  # fmt: skip

    async def attempt(self, request: FetchRequest, informational: Informational | None = None, *, anyway: bool = False) -> Exchange:
        """Ask, without a body; the answer's head is there, its body is the caller's to read, and to `end`.

        A kept connection that was closed over there meanwhile is no failure of the origin: the request goes over a new one.
        Raises OriginError; Unreachable: nothing was asked. The breaker hears of what happened. anyway: it is asked though it is open.
        """
        trial = self.enter(anyway=anyway)
        if trial is None:
            raise LeftAlone(f"{self.where.host} is left alone after its failures")
        began = self._clock.monotonic()
        try:
            exchange = await self._ask(request, informational)
        except OriginError as error:
            self.failed(error, trial)
            raise
        except BaseException:
            self.breaker.cancel(trial)
            raise
        self.answered(exchange.head.status, began, trial)
        return exchange

    def enter(self, *, anyway: bool = False) -> int | None:
        """Whether one request may go there now; None: it may not. Then exactly one of `answered`, `failed` and `breaker.cancel` follows,
        with this number: of the breaker's trials, 0: it is none. Who goes anyway takes part in the trials only when one is due."""
        if self.breaker.allow(self._clock.monotonic()):
            self.requests += 1
            return self.breaker.trial
        if anyway:
            self.requests += 1
            return 0
        return None

    def answered(self, status: int, began: float, trial: int) -> None:
        """began: monotonic seconds, when it was asked."""
        now = self._clock.monotonic()
        if status in SICK:
            self._failed(trial, answers=True)
        else:
            self.breaker.success(now, trial)
            self.latencies.observe(now - began)

    def failed(self, error: OriginError, trial: int) -> None:
        if error.code == "origin_busy":
            self.breaker.cancel(trial)  # our own lack of connections says nothing about the origin
        else:
            self._failed(trial, answers=isinstance(error, OriginBroken))

    def too_slow(self) -> None:
        """Another one's answer came first, although this one was asked before: a failure, or one that is frozen would never count."""
        self._failed(self.breaker.trial)

    def broke(self) -> None:
        """Its answer broke off in the middle."""
        self._failed(self.breaker.trial, answers=True)

    def _failed(self, trial: int, *, answers: bool = False) -> None:
        self.failures += 1
        self._answers = answers
        was = self.breaker.state
        self.breaker.failure(self._clock.monotonic(), trial)
        if self.breaker.state is State.OPEN and was is not State.OPEN:
            _log.warning("origin_breaker_open", origin=self.config.url, wait=round(self.breaker.retry_at - self._clock.monotonic(), 1))

    async def _ask(self, request: FetchRequest, informational: Informational | None) -> Exchange:
        head = await self.head_of(request)
        fresh = False
        while True:
            exchange = await self.open(request, fresh=fresh)
            try:
                await exchange.send(head)
                await exchange.answer(informational)
            except OriginError as error:
                exchange.end()
                stale = exchange.reused and not exchange.begun and error.code != "origin_timeout"
                if stale and not fresh and request.method in ask.IDEMPOTENT:
                    fresh = True
                    continue
                raise
            except BaseException:
                exchange.end()
                raise
            return exchange

    async def head_of(self, request: FetchRequest) -> bytes:
        """The head's bytes. Raises OriginBroken: it cannot be written."""
        extra = self._extra
        if self._sign is not None:
            request = replace(request, target=object_of(request.target))
            extra = (*extra, *await self._sign(request.method, self.where, self.where.target(request.target)))
        try:
            return ask.head(request, self.where, own_host=self.own_host, extra=extra)
        except ValueError:
            raise OriginBroken("the request cannot be written down") from None

    async def open(self, request: FetchRequest, *, fresh: bool = False) -> Exchange:
        """A connection for one exchange. Raises Unreachable, OriginError `origin_busy`."""
        try:
            lease = await self._pool.take(fresh=fresh)
        except OriginError as error:
            if error.code == "origin_unreachable":
                raise Unreachable(error.detail) from error
            raise
        config = self.config
        return Exchange(
            lease, request.method, self._patience, first_byte=config.first_byte_timeout, idle=config.idle_timeout,
            upgrade=request.upgrade is not None,
            conditional=any(name in ask.CONDITIONS for name, _ in request.fields),
        )  # fmt: skip

    async def probe(self) -> None:
        """Ask `health_path` once, and take the result."""
        assert self.config.health_path is not None
        request = FetchRequest("GET", self.config.health_path.encode(), self.where.authority, ((b"user-agent", b"nova-health"),))
        good = False
        try:
            with trio.move_on_after(self.config.first_byte_timeout):
                with await self._ask(request, None) as exchange:
                    good = 200 <= exchange.head.status < 400
                    left = 65536
                    while good and left > 0 and (piece := await exchange.read()):
                        left -= len(piece)
        except OriginError:
            good = False
        if self.health.probe(good):
            _log.warning("origin_health", origin=self.config.url, well=good)

    async def run(self) -> None:
        """Probe and sweep, until cancelled."""
        async with trio.open_nursery() as nursery:
            if self.config.health_path is not None:
                nursery.start_soon(self._probe)
            while True:
                await trio.sleep(5)
                self._pool.sweep()

    async def _probe(self) -> None:
        while True:
            await self.probe()
            await trio.sleep(self.config.health_interval)

    def close(self) -> None:
        self._pool.close()


class Unreachable(OriginError):
    """No connection: nothing was asked, so that another try costs nobody anything."""

    def __init__(self, detail: str) -> None:
        super().__init__("origin_unreachable", detail)


class LeftAlone(Unreachable):
    """Its breaker is open: of what is wrong with it, an earlier attempt of the same request says more."""
