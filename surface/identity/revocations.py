"""Revoked tokens and users: refused by every door at once, kept until they would have expired, told to live connections."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from typing import Final

import trio

from nova.core.bus import Bus
from nova.core.clock import Clock
from nova.core.errors import Unavailable
from nova.core.log import Log
from nova.ext.token import TokenTable
from nova.surface.identity.model import Revocation
from nova.surface.identity.principal import Principal, UserId
from nova.surface.identity.store import IdentityStore

TOPIC: Final = "nova.identity.revoked"

Listener = Callable[[Revocation], None]  # trio thread; must be short


def ends(revocation: Revocation, principal: Principal) -> bool:
    """Whether a live connection of `principal` must close (within a second, says the contract)."""
    if revocation.jti is not None:
        return revocation.jti == principal.jti
    return revocation.user == principal.user and round(principal.issued_at * 1000) <= revocation.not_before_ms


class Revocations:
    """The writer of the token table's revocations.

    longest: seconds that a token may live, and so a revocation must.
    """

    def __init__(self, store: IdentityStore, table: TokenTable, bus: Bus, clock: Clock, *, longest: float) -> None:
        self._store, self._table, self._bus, self._clock = store, table, bus, clock
        self._longest = longest
        self._listeners: list[Listener] = []
        self._self = secrets.token_hex(8)
        self._log = Log("nova.identity")
        self._last: dict[UserId, int] = {}

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` for each revocation, whichever process it came from; the result takes it out again."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    async def open(self) -> None:
        """Fill the table from the store. Raises Unavailable."""
        for revocation in await self._store.revocations(self._clock.wall()):
            self._apply(revocation)

    def last(self, user: UserId) -> float:
        """Unix seconds of the user's latest revocation, 0.0 without one: a new token must be issued after it."""
        return self._last.get(user, 0) / 1000

    def forget(self) -> None:
        """Let go of what could refuse nothing any more."""
        oldest = (self._clock.wall() - self._longest) * 1000
        self._last = {user: moment for user, moment in self._last.items() if moment > oldest}

    def of_user(self, user: UserId) -> Revocation:
        """What refuses every token that the user has now."""
        now = self._clock.wall()
        return Revocation(now + self._longest, user=user, not_before_ms=max(round(now * 1000), self._last.get(user, 0)))

    async def revoke_token(self, jti: str) -> None:
        """Refuse this token; everything that lives on it ends. Raises Unavailable: not stored, then nothing changed."""
        await self._revoke(Revocation(self._clock.wall() + self._longest, jti=jti))

    async def revoke_user(self, user: UserId) -> None:
        """Refuse every token that the user has now; the next sign-in works. Raises Unavailable as `revoke_token`."""
        await self._revoke(self.of_user(user))

    async def _revoke(self, revocation: Revocation) -> None:
        await self._store.put_revocation(revocation, self._clock.wall())
        await self.tell(revocation)

    async def tell(self, revocation: Revocation) -> None:
        """Put a revocation that is stored already into effect, here and in the other processes."""
        self._apply(revocation)
        for listener in list(self._listeners):
            listener(revocation)
        event = {
            "from": self._self, "jti": revocation.jti, "user": revocation.user, "not_before_ms": revocation.not_before_ms,
            "until": revocation.until,
        }  # fmt: skip
        try:
            await self._bus.publish(TOPIC, json.dumps(event).encode())
        except Unavailable as error:
            # It holds here and is stored; the other processes read it when they start.
            self._log.warning("revocation_not_published", code=error.code)

    async def follow(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Apply what other processes revoke; runs until cancelled."""
        async with self._bus.subscribe([TOPIC]) as messages:
            task_status.started()
            async for message in messages:
                if message.missed:
                    await self.open()
                event = json.loads(message.data)
                if event["from"] == self._self:
                    continue
                revocation = Revocation(event["until"], event["jti"], event["user"], event["not_before_ms"])
                self._apply(revocation)
                for listener in list(self._listeners):
                    listener(revocation)

    def _apply(self, revocation: Revocation) -> None:
        now, until = int(self._clock.wall()), int(revocation.until) + 1
        try:
            if revocation.jti is not None:
                self._table.revoke_token(revocation.jti, until=until, now=now)
            elif revocation.user is not None:
                self._table.revoke_user(revocation.user, not_before_ms=revocation.not_before_ms, until=until, now=now)
                self._last[revocation.user] = max(self._last.get(revocation.user, 0), revocation.not_before_ms)
        except OverflowError as error:
            raise Unavailable("overloaded", str(error)) from None
