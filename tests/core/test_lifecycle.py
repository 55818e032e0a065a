"""Start in order, drain and end in the reverse order, whatever fails or hangs."""

import io
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from nova.core.lifecycle import Component, Lifecycle, State, cleanup
from nova.core.log import Log, Sink


@pytest.fixture
def autojump_clock() -> MockClock:
    return MockClock(autojump_threshold=0)


class Recorder:
    """Makes components that write down what happens to them."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.stream = io.StringIO()
        self.log = Log("lifecycle", Sink(self.stream, format="json"))

    def component(self, name: str, *, drain: Callable[[], Awaitable[None]] | None = None) -> Component:
        async def run(*, task_status: trio.TaskStatus[Any]) -> None:
            self.events.append(f"+{name}")
            task_status.started()
            try:
                await trio.sleep_forever()
            finally:
                with cleanup():
                    await trio.sleep(0.1)  # clean-up that awaits is not cut by the cancellation that caused it
                    self.events.append(f"-{name}")

        async def drained() -> None:
            self.events.append(f"drain {name}")
            if drain is not None:
                await drain()

        return Component(name, run, drained)

    def written(self) -> list[str]:
        return [json.loads(line)["event"] for line in self.stream.getvalue().splitlines()]


async def test_order_of_a_whole_life(autojump_clock: MockClock) -> None:
    recorder = Recorder()
    life = Lifecycle(
        [recorder.component(name) for name in "abc"], grace=10, log=recorder.log, ready=lambda: recorder.events.append("ready")
    )
    states = [life.state]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(life.run)
        await trio.testing.wait_all_tasks_blocked()
        states.append(life.state)
        life.stop()
        life.stop()
        await trio.testing.wait_all_tasks_blocked()
        states.append(life.state)
    assert recorder.events == ["+a", "+b", "+c", "ready", "drain c", "-c", "drain b", "-b", "drain a", "-a"]
    assert [*states, life.state] == [State.STARTING, State.READY, State.DRAINING, State.STOPPED]
    assert not recorder.written()


async def test_group_drains_together_and_shares_the_grace(autojump_clock: MockClock) -> None:
    recorder = Recorder()

    async def slow() -> None:
        await trio.sleep(6)

    listeners = [recorder.component("x", drain=slow), recorder.component("y", drain=slow)]
    life = Lifecycle([recorder.component("a"), listeners], grace=10, log=recorder.log, ready=lambda: life.stop())
    begun = trio.current_time()
    await life.run()
    assert trio.current_time() - begun < 7
    assert not recorder.written()
    assert set(recorder.events[3:5]) == {"drain x", "drain y"}
    assert recorder.events[5:] == ["-y", "-x", "drain a", "-a"]


async def test_drain_above_the_grace_is_cut_and_said(autojump_clock: MockClock) -> None:
    recorder = Recorder()
    life = Lifecycle([recorder.component("a", drain=trio.sleep_forever)], grace=10, log=recorder.log, ready=lambda: life.stop())
    begun = trio.current_time()
    await life.run()
    assert 10 <= trio.current_time() - begun < 11
    assert recorder.events == ["+a", "drain a", "-a"]
    assert recorder.written() == ["drain_cut_short"]


async def test_failed_start_takes_down_what_was_up(autojump_clock: MockClock) -> None:
    recorder = Recorder()

    async def fails(*, task_status: trio.TaskStatus[Any]) -> None:
        raise OSError(98, "address in use")

    life = Lifecycle([recorder.component("a"), recorder.component("b"), Component("c", fails)], grace=10, log=recorder.log)
    with pytest.raises(OSError, match="in use"):
        await life.run()
    assert [event for event in recorder.events if not event.startswith("drain")] == ["+a", "+b", "-b", "-a"]
    assert life.state is State.STOPPED


async def test_failure_of_a_component_takes_the_others_down_in_order(autojump_clock: MockClock) -> None:
    recorder = Recorder()

    async def fails_later(*, task_status: trio.TaskStatus[Any]) -> None:
        task_status.started()
        await trio.sleep(3)
        raise ValueError("later")

    life = Lifecycle([recorder.component("a"), Component("b", fails_later), recorder.component("c")], grace=10, log=recorder.log)
    with pytest.raises(ValueError, match="later"):
        await life.run()
    assert [event for event in recorder.events if not event.startswith("drain")] == ["+a", "+c", "-c", "-a"]


async def test_component_that_ends_by_itself_is_a_failure(autojump_clock: MockClock) -> None:
    recorder = Recorder()

    async def ends(*, task_status: trio.TaskStatus[Any]) -> None:
        task_status.started()

    with pytest.raises(RuntimeError, match="component b ended"):
        await Lifecycle([recorder.component("a"), Component("b", ends)], grace=1, log=recorder.log).run()
    assert recorder.events[-1] == "-a"


async def test_cancellation_ends_in_order(autojump_clock: MockClock) -> None:
    recorder = Recorder()
    life = Lifecycle([recorder.component(name) for name in "abc"], grace=10, log=recorder.log)
    begun = trio.current_time()
    with trio.move_on_after(5):
        await life.run()
    assert [event for event in recorder.events if event[0] == "-"] == ["-c", "-b", "-a"]
    assert trio.current_time() - begun < 6


async def test_stop_ends_a_start_that_hangs(autojump_clock: MockClock) -> None:
    recorder = Recorder()

    async def hangs(*, task_status: trio.TaskStatus[Any]) -> None:
        await trio.sleep_forever()

    life = Lifecycle([recorder.component("a"), Component("b", hangs)], grace=10, log=recorder.log)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(life.run)
        await trio.testing.wait_all_tasks_blocked()
        life.stop()
    assert recorder.events == ["+a", "drain a", "-a"]


async def test_failing_drain_does_not_keep_the_others_from_theirs(autojump_clock: MockClock) -> None:
    recorder = Recorder()

    async def fails() -> None:
        raise ValueError

    life = Lifecycle([recorder.component("a"), recorder.component("b", drain=fails)], grace=10, log=recorder.log, ready=lambda: life.stop())
    await life.run()
    assert recorder.events == ["+a", "+b", "drain b", "-b", "drain a", "-a"]
    assert recorder.written() == ["task_failed"]


async def test_component_that_does_not_end_is_named(autojump_clock: MockClock) -> None:
    recorder = Recorder()

    async def clings(*, task_status: trio.TaskStatus[Any]) -> None:
        task_status.started()
        with trio.CancelScope(shield=True):
            await trio.sleep(60)

    life = Lifecycle([recorder.component("a"), Component("b", clings)], grace=1, log=recorder.log, ready=lambda: life.stop())
    await life.run()
    assert recorder.written() == ["component_does_not_end"]
    assert recorder.events == ["+a", "drain a", "-a"]


async def test_cleanup_has_its_own_time(autojump_clock: MockClock) -> None:
    begun = trio.current_time()
    with trio.CancelScope() as outer:
        outer.cancel()
        with cleanup(2) as scope:
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert trio.current_time() - begun == pytest.approx(2)
