"""The offload door: lanes are bounded, isolated, and say what cancellation means."""

import threading
from collections.abc import Callable

import pytest
import trio
import trio.testing

from nova.core import errors
from nova.core.offload import Lane, Offload

ONE = Lane("one", threads=1, queue=1)
OTHER = Lane("other", threads=1, queue=1)


class Gate:
    """A call that runs until it is let go, and says when it has begun."""

    def __init__(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self.begun = trio.Event()
        self._let_go = threading.Event()

    def __call__(self) -> str:
        self._token.run_sync_soon(self.begun.set)
        assert self._let_go.wait(10)
        return "done"

    def open(self) -> None:
        self._let_go.set()


async def waits_for(condition: Callable[[], bool]) -> None:
    with trio.fail_after(10):
        while not condition():
            await trio.lowlevel.checkpoint()


async def test_value_and_exception_come_back() -> None:
    offload = Offload([ONE])
    assert await offload.run(ONE, lambda: threading.current_thread() is threading.main_thread()) is False
    with pytest.raises(ZeroDivisionError):
        await offload.run(ONE, lambda: 1 // 0)
    assert offload.load()["one"].running == 0


async def test_full_lane_refuses_and_other_lanes_go_on() -> None:
    seen: list[tuple[str, str]] = []
    offload = Offload([ONE, OTHER], observe=lambda lane, outcome, waited, ran: seen.append((lane, outcome)))
    gate = Gate()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(offload.run, ONE, gate)
        await gate.begun.wait()
        nursery.start_soon(offload.run, ONE, lambda: "second")
        await waits_for(lambda: offload.load()["one"].waiting == 1)
        with pytest.raises(errors.Unavailable) as refused:
            await offload.run(ONE, lambda: "third")
        assert refused.value.code == "overloaded" and refused.value.retry_after
        assert await offload.run(OTHER, lambda: "free") == "free"
        gate.open()
    assert seen == [("one", "refused"), ("other", "ok"), ("one", "ok"), ("one", "ok")]


async def test_call_cancelled_in_the_queue_never_starts() -> None:
    offload = Offload([ONE])
    gate, ran = Gate(), threading.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(offload.run, ONE, gate)
        await gate.begun.wait()
        with trio.CancelScope() as scope:
            scope.cancel()
            await offload.run(ONE, ran.set)
        assert scope.cancelled_caught and offload.load()["one"].waiting == 0
        gate.open()
    assert not ran.is_set()


async def test_caller_cancelled_while_it_runs_stays_for_the_value() -> None:
    offload = Offload([ONE])
    gate, values = Gate(), []

    async def caller(scope: trio.CancelScope) -> None:
        with scope:
            values.append(await offload.run(ONE, gate))

    scope = trio.CancelScope()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(caller, scope)
        await gate.begun.wait()
        scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        assert values == []
        gate.open()
    assert values == ["done"]


async def test_abandoned_call_frees_its_caller_and_keeps_its_thread() -> None:
    seen: list[str] = []
    offload = Offload([ONE], observe=lambda lane, outcome, waited, ran: seen.append(outcome))
    gate = Gate()
    async with trio.open_nursery() as nursery:

        async def caller() -> None:
            await offload.run(ONE, gate, abandon=True)

        nursery.start_soon(caller)
        await gate.begun.wait()
        nursery.cancel_scope.cancel()
    assert seen == ["cancelled"] and offload.load()["one"].running == 1
    gate.open()
    await waits_for(lambda: offload.load()["one"].running == 0)
