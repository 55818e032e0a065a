"""Questions between two nodes; what a bus that joins processes does to them is tested where they are used."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from nova.core.bus import MemoryBus
from nova.core.bus.calls import ANSWERING, REFUSING, Calls
from nova.core.clock import FakeClock
from nova.core.errors import Unavailable
from nova.core.values import Seconds


@asynccontextmanager
async def pair(answer: object) -> AsyncIterator[Calls]:
    bus = MemoryBus(FakeClock())

    async def nobody(question: bytes, ticket: str) -> bytes:
        raise AssertionError(question)

    asking = Calls(bus, "t", "a", nobody)
    async with trio.open_nursery() as nursery:
        await nursery.start(asking.run)
        await nursery.start(Calls(bus, "t", "b", answer).run)  # type: ignore[arg-type]
        yield asking
        nursery.cancel_scope.cancel()


async def test_answers_find_their_questions_in_whatever_order() -> None:
    first = trio.Event()

    async def answer(question: bytes, ticket: str) -> bytes:
        if question == b"1 with spaces":
            await first.wait()
        else:
            first.set()
        return b"to " + question

    said: dict[bytes, bytes | None] = {}
    async with pair(answer) as calls:

        async def ask(question: bytes) -> None:
            said[question] = await calls.ask("b", question, Seconds(30))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, b"1 with spaces")
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(ask, b"\x00\xff")
    assert said == {b"1 with spaces": b"to 1 with spaces", b"\x00\xff": b"to \x00\xff"}


async def test_what_is_no_message_ends_nothing_and_only_who_was_asked_answers() -> None:
    bus = MemoryBus(FakeClock())

    async def nobody(question: bytes, ticket: str) -> bytes:
        raise AssertionError(question)

    calls, said = Calls(bus, "t", "a", nobody), []

    async def ask() -> None:
        said.append(await calls.ask("b", b"who?", Seconds(30)))

    async with bus.subscribe(["t.b"]) as asked, trio.open_nursery() as nursery:
        await nursery.start(calls.run)
        nursery.start_soon(ask)
        question = await anext(aiter(asked))
        assert question.data == b"? a 1 who?"
        for wrong in (b"", b"!", b"! b 1", b"! b x answer", b"! b \xc2\xb2 answer", b"! c 1 other", b"! b 2 late", b"~ b 1 other",
                      b"? \xff 1 question", b"! b " + b"9" * 5000 + b" answer",
                      b"? c question", b"? c -1 question"):  # fmt: skip
            assert await bus.publish("t.a", wrong) == 1
        await bus.publish("t.a", b"! b 1 me")
        with trio.fail_after(30):
            while not said:
                await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert said == [b"me"]


async def test_nobody_there_is_told_at_once_and_silence_in_time(autojump_clock: trio.testing.MockClock) -> None:
    async def broken(question: bytes, ticket: str) -> bytes:
        raise ValueError("a bug of ours")

    async with pair(broken) as calls:
        assert await calls.ask("nobody", b"?", Seconds(3)) is None and trio.current_time() == 0
        with pytest.raises(Unavailable) as away:
            await calls.ask("b", b"?", Seconds(3))
        assert away.value.code == "node_unavailable" and away.value.retry_after == 1.0
        assert trio.current_time() >= 3  # of the clock that jumps


async def test_question_that_was_given_up_is_not_worked_on_later(autojump_clock: trio.testing.MockClock) -> None:
    bus = MemoryBus(FakeClock())

    async def nobody(question: bytes, ticket: str) -> bytes:
        raise AssertionError(question)

    calls = Calls(bus, "t", "a", nobody)
    async with bus.subscribe(["t.b"]) as asleep:
        with pytest.raises(Unavailable) as away:
            await calls.ask("b", b"?", Seconds(3), changes=True)
        assert away.value.detail == "the node that keeps this says nothing"
        assert (await anext(aiter(asleep))).data == b"? a 1 ?"  # awake again
        assert await bus.take("t.a.1") is False


async def test_what_was_begun_is_waited_for_until_it_must_have_ended(autojump_clock: trio.testing.MockClock) -> None:
    bus, ends = MemoryBus(FakeClock()), 2.5

    async def nobody(question: bytes, ticket: str) -> bytes:
        raise AssertionError(question)

    async def answer(question: bytes, ticket: str) -> bytes:
        assert await bus.take(ticket)
        await trio.sleep(ends)
        return b"done"

    asking = Calls(bus, "t", "a", nobody)
    async with trio.open_nursery() as nursery:
        await nursery.start(asking.run)
        await nursery.start(Calls(bus, "t", "b", answer).run)
        assert await asking.ask("b", b"?", Seconds(1), changes=True) == b"done"
        ends = 1000
        with pytest.raises(Unavailable) as away:
            await asking.ask("b", b"?", Seconds(1), changes=True)
        assert away.value.code == "node_unavailable" and "may have begun" in away.value.detail
        nursery.cancel_scope.cancel()


async def test_what_a_node_has_begun_it_answers_before_it_ends() -> None:
    bus, begun, go_on = MemoryBus(FakeClock()), trio.Event(), trio.Event()

    async def answer(question: bytes, ticket: str) -> bytes:
        begun.set()
        await go_on.wait()
        return b"done"

    async def nobody(question: bytes, ticket: str) -> bytes:
        raise AssertionError(question)

    asking, said = Calls(bus, "t", "a", nobody), []

    async def ask() -> None:
        said.append(await asking.ask("b", b"?", Seconds(30)))

    async with trio.open_nursery() as nursery:
        await nursery.start(asking.run)
        async with trio.open_nursery() as other:
            await other.start(Calls(bus, "t", "b", answer).run)
            nursery.start_soon(ask)
            await begun.wait()
            other.cancel_scope.cancel()
            go_on.set()
        with trio.fail_after(30):
            while not said:
                await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert said == [b"done"]


async def test_one_question_too_many_is_refused(autojump_clock: trio.testing.MockClock) -> None:
    go_on = trio.Event()

    async def answer(question: bytes, ticket: str) -> bytes:
        await go_on.wait()
        return b"done"

    async with pair(answer) as calls, trio.open_nursery() as nursery:
        for _ in range(ANSWERING):
            nursery.start_soon(calls.ask, "b", b"?", Seconds(1000))
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(Unavailable) as refused:
            await calls.ask("b", b"?", Seconds(1000))
        assert refused.value.code == "overloaded"
        go_on.set()


async def test_questions_that_cannot_even_be_refused_are_dropped() -> None:
    bus, told, go_on = MemoryBus(FakeClock()), 0, trio.Event()
    publish = bus.publish

    async def slow(topic: str, data: bytes) -> int:
        nonlocal told
        if topic == "t.a":
            await go_on.wait()
            told += 1
        return await publish(topic, data)

    bus.publish = slow  # type: ignore[method-assign]

    async def answer(question: bytes, ticket: str) -> bytes:
        return b"done"

    async with trio.open_nursery() as nursery:
        await nursery.start(Calls(bus, "t", "b", answer).run)
        for number in range(ANSWERING + REFUSING + 5):
            await bus.publish("t.b", b"? a %d question" % number)
            await trio.testing.wait_all_tasks_blocked()
        go_on.set()
        await trio.testing.wait_all_tasks_blocked()
        assert told == ANSWERING + REFUSING
        await bus.publish("t.b", b"? a 1000 question")
        await trio.testing.wait_all_tasks_blocked()
        assert told == ANSWERING + REFUSING + 1
        nursery.cancel_scope.cancel()
