"""The bridge answers every thread, whatever happens to trio meanwhile."""

import threading

import pytest
import trio
import trio.testing

from nova.core import errors
from nova.core.log import Log
from nova.surface.grpc.bridge import Bridge, Errand


async def number(value: int) -> int:
    await trio.lowlevel.checkpoint()
    return value


def errand(value: int, timeout: float | None = None) -> Errand:
    return Errand(lambda: number(value), timeout, "id")


def test_nobody_waits_for_a_trio_that_is_not_there() -> None:
    bridge = Bridge(Log("test"))
    with pytest.raises(errors.Unavailable):
        bridge.do(errand(1))

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(bridge.serve)
            assert await trio.to_thread.run_sync(bridge.do, errand(2)) == 2
            nursery.cancel_scope.cancel()

    trio.run(main)
    for _ in range(2):
        with pytest.raises(errors.Unavailable) as gone:
            bridge.do(errand(3))
        assert gone.value.code == "shutting_down"


async def test_threads_that_ask_while_it_ends_are_all_answered() -> None:
    bridge = Bridge(Log("test"))
    answered: list[object] = []

    def ask() -> None:
        for value in range(200):
            try:
                answered.append(bridge.do(errand(value)))
            except errors.Unavailable as error:
                answered.append(error.code)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    async with trio.open_nursery() as nursery:
        await nursery.start(bridge.serve)
        for thread in threads:
            thread.start()
        with trio.fail_after(20):
            while len(answered) < 100:
                await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    with trio.fail_after(20):
        for thread in threads:
            await trio.to_thread.run_sync(thread.join)
    assert len(answered) == 800 and answered.count("shutting_down") > 0


async def test_time_that_is_over_before_the_start_is_a_deadline() -> None:
    bridge = Bridge(Log("test"))
    async with trio.open_nursery() as nursery:
        await nursery.start(bridge.serve)
        with pytest.raises(errors.Deadline):
            await trio.to_thread.run_sync(bridge.do, Errand(trio.sleep_forever, 0.0, "id"))
        late = errand(1)
        late.cancel()
        with pytest.raises(errors.Deadline):
            await trio.to_thread.run_sync(bridge.do, late)
        nursery.cancel_scope.cancel()
