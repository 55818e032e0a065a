"""One request, asked of one origin after another, or of two at once: the first good answer wins.

A failed connection costs nobody anything and is always followed by the next origin. Everything else that is asked twice, retries and
hedges, comes out of the site's budget.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import trio

from nova.cdn.errors import OriginError
from nova.cdn.failover.budget import RetryBudget
from nova.cdn.origins.origin import LeftAlone, Origin, Unreachable
from nova.cdn.origins.pool import Exchange
from nova.cdn.ports import FetchRequest, Informational

Attempt = tuple[Origin, Exchange | OriginError]


class Race:
    """The attempts of one request.

    origins: in the order in which they are asked. hedge: seconds without a first byte after which another is asked too; None, or without
    any such function: never.
    retry: statuses after which another origin is asked; such an answer is kept for when no other one comes. anyway: see Origin.attempt.
    """

    def __init__(
        self,
        origins: Sequence[Origin],
        request: FetchRequest,
        budget: RetryBudget,
        now: Callable[[], float],
        *,
        hedge: Callable[[Origin], float | None] | None,
        retry: Collection[int],
        informational: Informational | None,
        anyway: bool = False,
    ) -> None:
        self._waiting = list(origins)
        self._request, self._budget, self._now = request, budget, now
        self._hedge, self._retry, self._informational, self._anyway = hedge, retry, informational, anyway
        self._running: list[tuple[Origin, trio.CancelScope]] = []
        self._began: list[Origin] = []  # in the order of their start
        self._may_hedge = True
        self.hedged = self.retried = 0

    async def run(self) -> tuple[Origin, Exchange]:
        """The winner, whose exchange is the caller's to end. Raises OriginError: the last one that says what is wrong."""
        return await (self._in_turn() if self._hedge is None else self._side_by_side())

    async def _in_turn(self) -> tuple[Origin, Exchange]:
        """One after another: no task of its own for any of them."""
        kept: tuple[Origin, Exchange] | None = None
        failure: OriginError | None = None
        free = True
        try:
            while self._waiting and (free or self._budget.take(self._now())):
                self.retried += not free
                origin = self._waiting.pop(0)
                try:
                    exchange = await origin.attempt(self._request, self._informational, anyway=self._anyway)
                except OriginError as error:
                    failure, free = telling(failure, error), costs_nothing(error)
                    continue
                if exchange.head.status in self._retry and self._waiting:
                    free = False
                    if kept is None:
                        kept = origin, exchange
                    else:
                        exchange.end()
                    continue
                if kept is not None:
                    kept[1].end()
                return origin, exchange
        except BaseException:
            if kept is not None:
                kept[1].end()
            raise
        if kept is None:
            raise failure or nobody()
        return kept

    async def _side_by_side(self) -> tuple[Origin, Exchange]:
        self._send, self._receive = trio.open_memory_channel[Attempt](len(self._waiting) + 1)
        kept: tuple[Origin, Exchange] | None = None
        failure: OriginError | None = None
        winner: tuple[Origin, Exchange] | None = None
        try:
            async with trio.open_nursery() as nursery:
                free = True
                while True:
                    if not self._running:
                        if not self._waiting or not (free or self._budget.take(self._now())):
                            break
                        self.retried += not free
                        self._start(nursery)
                    found = await self._outcome()
                    if found is None:
                        if self._budget.take(self._now()):
                            self._start(nursery)
                            self.hedged += 1
                        else:
                            self._may_hedge = False  # the next one still waits for this one's failure
                        continue
                    origin, outcome = found
                    self._running = [each for each in self._running if each[0] is not origin]
                    if isinstance(outcome, OriginError):
                        failure, free = telling(failure, outcome), costs_nothing(outcome)
                    elif outcome.head.status in self._retry and (self._waiting or self._running):
                        free = False
                        if kept is None:
                            kept = origin, outcome
                        else:
                            outcome.end()
                    else:
                        winner = origin, outcome
                        break
                for slow, scope in self._running:
                    scope.cancel()
                    # Who was asked after the winner was not overtaken.
                    if winner is not None and self._began.index(slow) < self._began.index(winner[0]):
                        slow.too_slow()
        except BaseException:
            if winner is not None:
                winner[1].end()
            if kept is not None:
                kept[1].end()
            raise
        finally:
            self._end_others()
        if winner is None:
            if kept is None:
                raise failure or nobody()
            return kept
        if kept is not None:
            kept[1].end()
        return winner

    async def _outcome(self) -> Attempt | None:
        """What one of those that run has come to; None: it is time to ask another one too."""
        patience = None
        if len(self._running) == 1 and self._waiting and self._may_hedge and self._hedge is not None:
            patience = self._hedge(self._running[0][0])
        if patience is None:
            return await self._receive.receive()
        with trio.move_on_after(patience):
            return await self._receive.receive()
        return None

    def _start(self, nursery: trio.Nursery) -> None:
        origin, scope = self._waiting.pop(0), trio.CancelScope()
        self._running.append((origin, scope))
        self._began.append(origin)
        nursery.start_soon(self._attempt, origin, scope)

    async def _attempt(self, origin: Origin, scope: trio.CancelScope) -> None:
        # One that hedges tells nobody of its 1xx: they would come twice.
        informational = self._informational if len(self._running) == 1 and not self.hedged else None
        with scope:
            try:
                outcome: Exchange | OriginError = await origin.attempt(self._request, informational, anyway=self._anyway)
            except OriginError as error:
                outcome = error
            self._send.send_nowait((origin, outcome))

    def _end_others(self) -> None:
        """Answers that came while the race was being decided."""
        while True:
            try:
                _, outcome = self._receive.receive_nowait()
            except trio.WouldBlock:
                return
            if isinstance(outcome, Exchange):
                outcome.end()


def telling(before: OriginError | None, error: OriginError) -> OriginError:
    """Of two failures of one request the one that says what is wrong."""
    return before if before is not None and isinstance(error, LeftAlone) else error


def nobody() -> OriginError:
    """Nobody may be asked now: every breaker is open."""
    return OriginError("origin_unreachable", "no origin may be asked now", retry_after=1.0)


def costs_nothing(error: OriginError) -> bool:
    """Whether nothing was asked, so that the next one may be without a look at the budget."""
    return isinstance(error, Unreachable) or error.code == "origin_busy"
