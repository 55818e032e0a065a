"""Idempotency keys: one effect, the same answer, and nothing readable in the store."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio
import trio.testing

from nova.core import errors, idempotency
from nova.core.clock import FakeClock
from nova.core.idempotency import SCHEMA, Answer, Claim, Idempotency
from nova.core.ids import Ids
from nova.core.offload import Offload
from nova.core.sql import Migration, Schema, Sql, Transaction, open_sqlite
from nova.core.values import Seconds

ROUTE = "POST /v1/streams"
THINGS = Schema("things", (Migration("things", ("CREATE TABLE thing (id TEXT PRIMARY KEY)",)),))
CREATED = Answer(201, {"location": "/v1/streams/1"}, b'{"key":"sk_secret"}')


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def sql(tmp_path: Path) -> AsyncIterator[Sql]:
    async with open_sqlite(tmp_path / "nova.db", [SCHEMA, THINGS], Offload(), now="") as store:
        yield store


@pytest.fixture
async def keys(sql: Sql, clock: FakeClock) -> Idempotency:
    return Idempotency(sql, clock, Ids(clock), ttl=Seconds(86400))


class Work:
    """Counts how often it was done."""

    def __init__(self, answer: Answer = CREATED) -> None:
        self.answer, self.done = answer, 0

    async def __call__(self, claim: Claim) -> Answer:
        self.done += 1
        return self.answer


async def test_second_request_gets_the_first_answer(keys: Idempotency) -> None:
    work = Work()
    assert await keys.once("ada", ROUTE, "k1", b"digest", work) == (CREATED, False)
    assert await keys.once("ada", ROUTE, "k1", b"digest", work) == (CREATED, True)
    assert work.done == 1


async def test_other_request_with_the_key_is_refused(keys: Idempotency) -> None:
    work = Work()
    await keys.once("ada", ROUTE, "k1", b"digest", work)
    with pytest.raises(errors.Unprocessable) as refused:
        await keys.once("ada", ROUTE, "k1", b"other", work)
    assert refused.value.code == "idempotency_mismatch"


async def test_keys_belong_to_a_user_and_a_route(keys: Idempotency) -> None:
    work = Work()
    for user, route in (("ada", ROUTE), ("bob", ROUTE), ("ada", "POST /v1/other")):
        assert await keys.once(user, route, "k1", b"digest", work) == (CREATED, False)
    assert work.done == 3


async def test_duplicate_in_flight_is_told_to_wait(keys: Idempotency) -> None:
    go = trio.Event()

    async def slow(claim: Claim) -> Answer:
        await go.wait()
        return CREATED

    async with trio.open_nursery() as nursery:
        nursery.start_soon(keys.once, "ada", ROUTE, "k1", b"digest", slow)
        await trio.testing.wait_all_tasks_blocked(0.01)
        with pytest.raises(errors.Conflict) as busy:
            await keys.once("ada", ROUTE, "k1", b"digest", slow)
        assert busy.value.code == "request_in_progress" and busy.value.retry_after
        go.set()
    assert await keys.once("ada", ROUTE, "k1", b"digest", slow) == (CREATED, True)


class Body:
    """A body that its reader asks for; `digest` as the work finds it."""

    def __init__(self, digest: bytes) -> None:
        self.value, self.asked = digest, 0

    async def __call__(self) -> bytes:
        self.asked += 1
        return self.value


async def test_a_body_that_the_work_reads_is_compared_afterwards(keys: Idempotency) -> None:
    work, body = Work(), Body(b"body")
    assert await keys.once("ada", ROUTE, "k1", b"digest", work, content=body) == (CREATED, False)
    assert await keys.once("ada", ROUTE, "k1", b"digest", work, content=body) == (CREATED, True)
    assert (work.done, body.asked) == (1, 2)
    for head, content in ((b"digest", Body(b"other")), (b"others", body)):
        with pytest.raises(errors.Unprocessable) as refused:
            await keys.once("ada", ROUTE, "k1", head, work, content=content)
        assert refused.value.code == "idempotency_mismatch"
    assert body.asked == 2, "a request that is another one already need not be read"

    async def fails(claim: Claim) -> Answer:
        raise errors.TooLarge()

    with pytest.raises(errors.TooLarge):
        await keys.once("ada", ROUTE, "k2", b"digest", fails, content=body)
    assert await keys.once("ada", ROUTE, "k2", b"digest", work, content=body) == (CREATED, False)


async def test_a_claim_holds_for_as_long_as_a_body_comes(
    keys: Idempotency, sql: Sql, clock: FakeClock, mock_clock: trio.testing.MockClock
) -> None:
    async def renewed() -> None:
        held = int((clock.wall() + idempotency.HELD) * 1000)
        while (row := await sql.one("SELECT held_until FROM idempotency_answer")) is None or row[0] < held:
            await trio.lowlevel.checkpoint()

    async def slow(claim: Claim) -> Answer:
        for _ in range(5):
            clock.advance(idempotency.HELD / 2)
            while trio.lowlevel.current_statistics().seconds_to_next_deadline > idempotency.HELD:
                await trio.lowlevel.checkpoint()  # until the renewing task sleeps
            # No autojump: to it a thread at work is nothing, and time would run past what the store does.
            mock_clock.jump(trio.lowlevel.current_statistics().seconds_to_next_deadline)
            await renewed()
            with pytest.raises(errors.Conflict):
                await keys.once("ada", ROUTE, "k1", b"digest", Work(), content=Body(b"body"))
        return CREATED

    assert await keys.once("ada", ROUTE, "k1", b"digest", slow, content=Body(b"body")) == (CREATED, False)


async def test_failed_or_cancelled_work_frees_the_key(keys: Idempotency) -> None:
    async def fails(claim: Claim) -> Answer:
        raise errors.Unprocessable()

    async def hangs(claim: Claim) -> Answer:
        await trio.sleep_forever()
        raise AssertionError

    with pytest.raises(errors.Unprocessable):
        await keys.once("ada", ROUTE, "k1", b"digest", fails)
    assert (await keys.once("ada", ROUTE, "k1", b"digest", Work(Answer(503, {}, b""))))[0].status == 503
    async with trio.open_nursery() as nursery:

        async def cancelled() -> None:
            await keys.once("ada", ROUTE, "k1", b"digest", hangs)

        nursery.start_soon(cancelled)
        await trio.testing.wait_all_tasks_blocked(0.01)
        nursery.cancel_scope.cancel()
    assert await keys.once("ada", ROUTE, "k1", b"another now", Work()) == (CREATED, False)


@pytest.mark.parametrize("body", [None, Body(b"body")])
async def test_a_caller_that_leaves_when_the_work_is_done_gets_its_answer_later(keys: Idempotency, body: Body | None) -> None:
    scope, done = trio.CancelScope(), Work()

    async def work(claim: Claim) -> Answer:
        scope.cancel()
        return await done(claim)

    with scope:
        await keys.once("ada", ROUTE, "k1", b"digest", work, content=body)
    assert await keys.once("ada", ROUTE, "k1", b"digest", work, content=body) == (CREATED, True)
    assert done.done == 1


async def test_a_rest_of_a_body_that_does_not_come_costs_no_answer(keys: Idempotency) -> None:
    work = Work()

    async def left() -> bytes:
        raise errors.BadRequest

    assert await keys.once("ada", ROUTE, "k1", b"digest", work, content=left) == (CREATED, False)
    assert await keys.once("ada", ROUTE, "k1", b"digest", work, content=Body(b"body")) == (CREATED, True)
    assert work.done == 1


async def test_an_answer_that_is_too_large_to_be_kept_is_given(keys: Idempotency) -> None:
    large = Answer(201, {}, bytes(idempotency.MAX_BODY + 1))
    work = Work(large)
    for _ in range(2):
        assert await keys.once("ada", ROUTE, "k1", b"digest", work) == (large, False)
    assert work.done == 2


async def test_claim_of_a_crashed_server_runs_out_and_cannot_write_any_more(keys: Idempotency, clock: FakeClock, sql: Sql) -> None:
    claims: list[Claim] = []
    go = trio.Event()

    async def asleep(claim: Claim) -> Answer:
        claims.append(claim)
        await go.wait()

        def insert(transaction: Transaction) -> None:
            transaction.run("INSERT INTO thing (id) VALUES ('late')")
            keys.store(transaction, claim, CREATED)

        await sql.write(insert)
        return CREATED

    async with trio.open_nursery() as nursery:

        async def first() -> None:
            with pytest.raises(errors.Conflict):
                await keys.once("ada", ROUTE, "k1", b"digest", asleep)

        nursery.start_soon(first)
        await trio.testing.wait_all_tasks_blocked(0.01)
        clock.advance(idempotency.HELD + 1)
        assert await keys.once("ada", ROUTE, "k1", b"digest", Work()) == (CREATED, False)
        go.set()
    assert await sql.all("SELECT id FROM thing") == []
    assert await keys.once("ada", ROUTE, "k1", b"digest", Work()) == (CREATED, True)


async def test_answer_can_be_kept_with_the_work_itself(keys: Idempotency, sql: Sql) -> None:
    async def work(claim: Claim) -> Answer:
        def insert(transaction: Transaction) -> Answer:
            transaction.run("INSERT INTO thing (id) VALUES ('a')")
            keys.store(transaction, claim, CREATED)
            return CREATED

        await sql.write(insert)
        assert await keys.once("ada", ROUTE, "k1", b"digest", work) == (CREATED, True)
        return CREATED

    assert await keys.once("ada", ROUTE, "k1", b"digest", work) == (CREATED, False)


async def test_answer_is_forgotten_after_its_time(keys: Idempotency, clock: FakeClock, sql: Sql) -> None:
    work = Work()
    await keys.once("ada", ROUTE, "k1", b"digest", work)
    clock.advance(86400)
    assert await keys.once("ada", ROUTE, "k1", b"other", work) == (CREATED, False)
    await keys.once("ada", ROUTE, "k2", b"digest", work)
    clock.advance(86401)
    async with trio.open_nursery() as nursery:
        await nursery.start(keys.sweep)
        with trio.fail_after(10):
            while await sql.one("SELECT 1 FROM idempotency_answer"):
                await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()


async def test_store_holds_neither_the_key_nor_the_answer(keys: Idempotency, sql: Sql) -> None:
    await keys.once("ada", ROUTE, "key-of-the-client", b"digest", Work())
    row = await sql.one("SELECT * FROM idempotency_answer")
    assert row is not None
    text = b"".join(value if isinstance(value, bytes) else str(value).encode() for value in row)
    for secret in (b"sk_secret", b"key-of-the-client", b"location"):
        assert secret not in text


async def test_keys_of_a_user_are_bounded(keys: Idempotency, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idempotency, "MAX_KEYS", 2)
    for key in ("a", "b"):
        await keys.once("ada", ROUTE, key, b"digest", Work())
    with pytest.raises(errors.RateLimited) as refused:
        await keys.once("ada", ROUTE, "c", b"digest", Work())
    assert refused.value.code == "quota_exceeded"
    await keys.once("bob", ROUTE, "c", b"digest", Work())


@pytest.mark.parametrize("key", ["", "a b", "ä", "a" * 256, "a\n"])
async def test_malformed_key_is_refused(keys: Idempotency, key: str) -> None:
    with pytest.raises(errors.BadRequest):
        await keys.once("ada", ROUTE, key, b"digest", Work())
