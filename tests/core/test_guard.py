"""One peer's errors end one peer; cancellation and what is not an Exception pass."""

import io
import json

import pytest
import trio

from nova.core.errors import BadRequest, Internal
from nova.core.guard import guard, guarded
from nova.core.log import Log, Sink


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def log(stream: io.StringIO) -> Log:
    return Log("test", Sink(stream, format="json"))


def events(stream: io.StringIO) -> list[tuple[str, str, object]]:
    return [(line["level"], line["event"], line.get("code")) for line in map(json.loads, stream.getvalue().splitlines())]


async def fail(error: BaseException) -> None:
    raise error


async def test_peers_faults_are_information_and_bugs_are_errors(log: Log, stream: io.StringIO) -> None:
    await guard(log, fail, BadRequest("bad_request", "odd"))
    await guard(log, fail, ConnectionResetError(104, "reset"))
    await guard(log, fail, Internal(detail="ours"))
    await guard(log, fail, KeyError("ours"))
    assert events(stream) == [
        ("info", "peer_ended", "bad_request"),
        ("info", "peer_ended", "io"),
        ("error", "task_failed", None),
        ("error", "task_failed", None),
    ]


async def test_neighbours_go_on(log: Log, stream: io.StringIO) -> None:
    done = trio.Event()

    async def neighbour() -> None:
        await trio.testing.wait_all_tasks_blocked()
        done.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(guard, log, fail, RuntimeError())
        nursery.start_soon(neighbour)
    assert done.is_set()


async def test_group_is_told_by_its_leaves(log: Log, stream: io.StringIO) -> None:
    async def both() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail, BadRequest())
            nursery.start_soon(fail, ValueError())

    await guard(log, both)
    assert sorted(events(stream)) == [("error", "task_failed", None), ("info", "peer_ended", "bad_request")]


async def test_cancellation_passes(log: Log, stream: io.StringIO) -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await guard(log, trio.sleep_forever)
    assert scope.cancelled_caught
    assert not stream.getvalue()


async def test_cancellation_beside_a_failure_passes_and_the_failure_is_told(log: Log, stream: io.StringIO) -> None:
    async def fails_while_cancelled() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            try:
                await trio.sleep_forever()
            finally:
                raise ValueError

    with trio.CancelScope() as scope:
        scope.cancel()
        await guard(log, fails_while_cancelled)
    assert events(stream) == [("error", "task_failed", None)]


async def test_interrupt_passes(log: Log) -> None:
    with pytest.raises(KeyboardInterrupt):
        await guard(log, fail, KeyboardInterrupt())


def test_calls_that_are_no_tasks_are_guarded_too(log: Log, stream: io.StringIO) -> None:
    with guarded(log) as caught:
        raise BadRequest("bad_request", "odd")
    with guarded(log) as quiet:
        pass
    assert caught
    assert isinstance(caught.caught, BadRequest)
    assert not quiet
    with pytest.raises(KeyboardInterrupt), guarded(log):
        raise KeyboardInterrupt
    assert events(stream) == [("info", "peer_ended", "bad_request")]
