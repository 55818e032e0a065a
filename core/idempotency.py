"""`Idempotency-Key`: a write that is sent twice happens once, and its answer is given twice.

Per user and route. A claim is taken before the work; its answer is kept for 24 h (`limits.idempotency_ttl`) in the store, at
best in the same transaction as the work's own rows. The answer is sealed with the key that only the client has: it may hold what is
shown once (a stream key), and the store must not know it.
"""

from __future__ import annotations

import hmac
import json
import os
import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

import trio

from nova.core import errors
from nova.core.clock import Clock
from nova.core.ids import Ids
from nova.core.lifecycle import FINISH, cleanup
from nova.core.log import Log
from nova.core.sql import Migration, Row, Schema, Sql, Transaction
from nova.core.values import Seconds

# A claim without an answer: longer than any write's deadline, so only the claim of a crash runs out. Bodies that are read by the work take
# as long as their client's line does: those claims are renewed.
HELD: Final = Seconds(60.0)
RETRY_AFTER: Final = 1.0  # seconds, for the duplicate of a request that is being worked on
MAX_BODY: Final = 256 * 1024  # bytes of an answer that is kept; those of writes are a few hundred, with many signed addresses thousands
MAX_KEYS: Final = 10_000  # of one user; 24 h of a key every nine seconds
SWEEP_EVERY: Final = 600  # seconds
SWEEP_ROWS: Final = 1000  # in one transaction, so that others are not kept waiting

_log = Log("nova.idempotency")
_KEY: Final = re.compile(r"[\x21-\x7e]{1,255}")

SCHEMA: Final = Schema(
    "idempotency",
    (
        Migration(
            "answers",
            (
                # lookup: SHA-256 of user, route and key. request: SHA-256 of what was asked; where the work reads the body, that of the
                # body is appended with the answer. times: Unix milliseconds.
                # answer: NULL while it is being worked on, until held_until.
                """CREATE TABLE idempotency_answer (
                    lookup BYTEA NOT NULL PRIMARY KEY,
                    user_id TEXT NOT NULL,
                    request BYTEA NOT NULL,
                    claim TEXT NOT NULL,
                    held_until BIGINT NOT NULL,
                    answer BYTEA,
                    expires_at BIGINT NOT NULL
                )""",
                "CREATE INDEX idempotency_answer_expiry ON idempotency_answer (expires_at)",
                "CREATE INDEX idempotency_answer_user ON idempotency_answer (user_id, expires_at)",
            ),
        ),
    ),
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the client got: enough to give it again."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to do the work of one key."""

    lookup: bytes
    id: str
    seal: bytes  # the key of the answer; never stored
    expires_at: int
    request: bytes  # what was asked, as far as it was known before the work


class Idempotency:
    """The answers of earlier writes."""

    def __init__(self, sql: Sql, clock: Clock, ids: Ids, *, ttl: Seconds) -> None:
        self._sql = sql
        self._clock = clock
        self._ids = ids
        self._ttl_ms = int(ttl * 1000)

    async def once(
        self,
        user: str,
        route: str,
        key: str,
        request: bytes,
        work: Callable[[Claim], Awaitable[Answer]],
        *,
        content: Callable[[], Awaitable[bytes]] | None = None,
    ) -> tuple[Answer, bool]:
        """Do `work` unless it was done; its answer, and whether that was given before (`Idempotency-Replayed`).

        user, route: whose key it is, and of which method and path template. request: SHA-256 over everything that makes
        two requests the same (path, query, content type, body). content: for a body that `work` reads, and which is not in `request`
        therefore: reads what is left of it, and gives its SHA-256.
        `work` may put its answer into its own transaction by `store`; what it raises, and answers of 500 and above, free
        the key. Once it has returned, its answer is kept, also when the caller is cancelled. One of more than MAX_BODY bytes is given and
        frees the key.
        Raises BadRequest: not a key; Unprocessable `idempotency_mismatch`: the key came with another request; Conflict
        `request_in_progress`: the first one is being worked on; RateLimited `quota_exceeded`.
        """
        claim = await self._begin(user, route, key, request)
        if isinstance(claim, _Kept):
            if content is not None and claim.content and claim.content != await content():
                raise _mismatch()
            return claim.answer, True
        done = False
        try:
            answer = await (work(claim) if content is None else self._renewed(claim, work))
            done = answer.status < 500
        finally:
            if not done:
                with cleanup():
                    await self._abandon(claim)
        if done:
            # The work has happened: its client is owed the answer, also when it comes again for it, or when there is no room to keep it.
            body = b""
            if content is not None:
                with cleanup(FINISH), suppress(errors.NovaError):  # a rest that does not come is not needed for the answer
                    body = await content()
            with cleanup(FINISH), suppress(errors.Unavailable, errors.Conflict):
                await self._sql.write(lambda transaction: self.store(transaction, claim, answer, body))
        return answer, False

    async def _renewed(self, claim: Claim, work: Callable[[Claim], Awaitable[Answer]]) -> Answer:
        """`work`, whose claim holds for as long as it takes."""
        answer: Answer | None = None
        refused: errors.NovaError | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._renew, claim)
            try:
                answer = await work(claim)
            except errors.NovaError as error:  # raised below: alone, not in a group
                refused = error
            nursery.cancel_scope.shield = True  # what is done is done: leaving this block is no moment to be cancelled in
            nursery.cancel_scope.cancel()
        if refused is not None:
            raise refused
        assert answer is not None
        return answer

    async def _renew(self, claim: Claim) -> None:
        while True:
            await trio.sleep(HELD / 2)
            with suppress(errors.Unavailable):  # the next time is early enough
                await self._sql.run(
                    "UPDATE idempotency_answer SET held_until = ? WHERE lookup = ? AND claim = ? AND answer IS NULL",
                    (self._now_ms() + int(HELD * 1000), claim.lookup, claim.id),
                )

    def store(self, transaction: Transaction, claim: Claim, answer: Answer, content: bytes = b"") -> None:
        """Keep `answer` in the transaction of the work itself: both are there after a crash, or neither.

        content: SHA-256 of the body that the work has read; empty: it is not known, and not compared with that of the next request.
        Raises Conflict: the claim ran out and the work is somebody else's now; the transaction is to be undone.
        """
        if len(answer.body) > MAX_BODY:
            _log.warning("answer_not_kept", size_bytes=len(answer.body))
            changed = transaction.run("DELETE FROM idempotency_answer WHERE lookup = ? AND claim = ?", (claim.lookup, claim.id))
        else:
            changed = transaction.run(
                "UPDATE idempotency_answer SET answer = ?, request = ? WHERE lookup = ? AND claim = ?",
                (_seal(claim.seal, answer), claim.request + content, claim.lookup, claim.id),
            )
        if not changed:
            raise errors.Conflict("request_in_progress", "another request with this key has taken over")

    async def sweep(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Task: delete what has expired, a bounded number of rows at a time."""
        task_status.started()
        while True:
            with suppress(errors.Unavailable):  # tried again in ten minutes
                while await self._delete_expired() == SWEEP_ROWS:
                    pass
            await trio.sleep(SWEEP_EVERY)

    async def _delete_expired(self) -> int:
        return await self._sql.run(
            "DELETE FROM idempotency_answer WHERE lookup IN (SELECT lookup FROM idempotency_answer WHERE expires_at <= ? LIMIT ?)",
            (self._now_ms(), SWEEP_ROWS),
        )

    def _now_ms(self) -> int:
        return int(self._clock.wall() * 1000)

    async def _begin(self, user: str, route: str, key: str, request: bytes) -> Claim | _Kept:
        if _KEY.fullmatch(key) is None:
            raise errors.BadRequest("bad_request", "an Idempotency-Key is 1 to 255 visible ASCII characters")
        lookup = sha256(f"{user}\0{route}\0{key}".encode()).digest()
        now = self._now_ms()
        seal = hmac.digest(key.encode(), b"nova idempotency" + lookup, "sha256")
        claim = Claim(lookup, self._ids.new(), seal, now + self._ttl_ms, request)

        def known(row: Row | None) -> _Kept | None:
            """The kept answer, or None when the work is to be done."""
            if row is None or row[3] <= now:
                return None
            if row[0][: len(request)] != request:
                raise _mismatch()
            if row[2] is not None:
                return _Kept(_open(claim.seal, row[2]), bytes(row[0][len(request) :]))
            if row[1] > now:
                raise errors.Conflict("request_in_progress", "the first request with this key has no answer yet", retry_after=RETRY_AFTER)
            return None

        select = "SELECT request, held_until, answer, expires_at FROM idempotency_answer WHERE lookup = ?"

        def take(transaction: Transaction) -> Claim | _Kept:
            answer = known(transaction.one(select, (lookup,)))
            if answer is not None:
                return answer
            full = transaction.one(
                "SELECT 1 FROM idempotency_answer WHERE user_id = ? AND expires_at > ? LIMIT 1 OFFSET ?", (user, now, MAX_KEYS - 1)
            )
            if full is not None:
                raise errors.RateLimited("quota_exceeded", f"{MAX_KEYS} idempotency keys are in use", retry_after=60.0)
            transaction.run(
                "INSERT INTO idempotency_answer (lookup, user_id, request, claim, held_until, answer, expires_at)"
                " VALUES (?, ?, ?, ?, ?, NULL, ?)"
                " ON CONFLICT (lookup) DO UPDATE SET request = excluded.request, claim = excluded.claim,"
                " held_until = excluded.held_until, answer = NULL, expires_at = excluded.expires_at",
                (lookup, user, request, claim.id, now + int(HELD * 1000), claim.expires_at),
            )
            return claim

        # Most duplicates come long after the answer: they need no transaction.
        answer = known(await self._sql.one(select, (lookup,)))
        return answer if answer is not None else await self._sql.write(take)

    async def _abandon(self, claim: Claim) -> None:
        with suppress(errors.Unavailable):  # then the claim runs out by itself
            await self._sql.run(
                "DELETE FROM idempotency_answer WHERE lookup = ? AND claim = ? AND answer IS NULL", (claim.lookup, claim.id)
            )


@dataclass(frozen=True, slots=True)
class _Kept:
    """An answer from before. content: SHA-256 of the body that it answered, empty when that is in the request's, or is not known."""

    answer: Answer
    content: bytes


def _mismatch() -> errors.Unprocessable:
    return errors.Unprocessable("idempotency_mismatch", "the key came with another request before")


def _seal(key: bytes, answer: Answer) -> bytes:
    # Loaded with the first use: most starts serve no write for a while.
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    head = json.dumps({"status": answer.status, "headers": dict(answer.headers)}).encode()
    nonce = os.urandom(12)
    return nonce + AESGCM(key).encrypt(nonce, len(head).to_bytes(4, "big") + head + answer.body, None)


def _open(key: bytes, sealed: bytes) -> Answer:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    plain = AESGCM(key).decrypt(sealed[:12], sealed[12:], None)
    size = int.from_bytes(plain[:4], "big")
    head = json.loads(plain[4 : 4 + size])
    return Answer(head["status"], head["headers"], plain[4 + size :])
