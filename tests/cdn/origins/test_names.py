"""One look-up for many connections, and what goes on while the resolver does not."""

import socket
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import trio
import trio.testing

from nova.cdn.errors import OriginError
from nova.cdn.origins.ask import Where
from nova.cdn.origins.dial import Dialer
from nova.cdn.origins.names import Names
from nova.core.tls.client import ClientTls


class Resolver:
    """answers: each is a list of addresses, or what is raised. gate: a look-up waits for it."""

    def __init__(self, *answers: Any) -> None:
        self._answers = list(answers)
        self.asked = 0
        self.gate: trio.Event | None = None

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked += 1
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if self.gate is not None:
            await self.gate.wait()
        await trio.lowlevel.checkpoint()
        if isinstance(answer, OSError):
            raise answer
        return list(answer)


def names(lookup: Resolver, *, keep: float = 10.0, admit: Callable[[Sequence[str]], list[str]] = list) -> Names:
    return Names("origin.example", 80, admit, keep=keep, patience=0.25, lookup=lookup)


async def test_connections_share_a_look_up(autojump_clock: trio.testing.MockClock) -> None:
    lookup = Resolver(["10.0.0.1"], ["10.0.0.2"])
    lookup.gate = trio.Event()
    found = names(lookup)
    got: list[list[str]] = []

    async def ask() -> None:
        got.append(await found.addresses())

    async with trio.open_nursery() as asking:
        for _ in range(5):
            asking.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        lookup.gate.set()
    assert got == [["10.0.0.1"]] * 5
    assert found.best == "10.0.0.1"
    await trio.sleep(9)
    assert await found.addresses() == ["10.0.0.1"]
    await trio.sleep(2)
    assert found.best is None
    assert await found.addresses() == ["10.0.0.2"]
    assert lookup.asked == 2


async def test_every_connection_looks_up_when_nothing_is_kept(autojump_clock: trio.testing.MockClock) -> None:
    lookup = Resolver(["10.0.0.1"], ["10.0.0.2"])
    found = names(lookup, keep=0)
    assert (await found.addresses(), await found.addresses()) == (["10.0.0.1"], ["10.0.0.2"])


async def test_who_waits_looks_up_himself_when_the_first_one_has_left(autojump_clock: trio.testing.MockClock) -> None:
    lookup = Resolver(["10.0.0.1"])
    lookup.gate = trio.Event()
    found = names(lookup)
    async with trio.open_nursery() as asking:
        first = trio.CancelScope()

        async def leave() -> None:
            with first:
                await found.addresses()

        asking.start_soon(leave)
        await trio.testing.wait_all_tasks_blocked()
        asking.start_soon(found.addresses)
        await trio.testing.wait_all_tasks_blocked()
        first.cancel()
        await trio.testing.wait_all_tasks_blocked()
        assert lookup.asked == 2
        lookup.gate.set()
    assert found.best == "10.0.0.1"


@pytest.mark.parametrize("slow", [False, True])
async def test_older_addresses_go_on_while_the_resolver_fails(autojump_clock: trio.testing.MockClock, slow: bool) -> None:
    lookup = Resolver(["10.0.0.1"], socket.gaierror(socket.EAI_AGAIN, "later"))
    found = names(lookup)
    await found.addresses()
    await trio.sleep(11)
    if slow:
        lookup.gate = trio.Event()
    assert await found.addresses() == ["10.0.0.1"]
    assert await found.addresses() == ["10.0.0.1"]
    assert lookup.asked == 2


async def test_name_that_is_gone_has_no_address(autojump_clock: trio.testing.MockClock) -> None:
    found = names(Resolver(["10.0.0.1"], socket.gaierror(socket.EAI_NONAME, "gone")))
    await found.addresses()
    await trio.sleep(11)
    with pytest.raises(OriginError, match="has no address"):
        await found.addresses()


async def test_addresses_that_may_not_be_are_an_error_for_all_who_wait(autojump_clock: trio.testing.MockClock) -> None:
    def admit(found: Sequence[str]) -> list[str]:
        if found == ["127.0.0.1"]:
            raise OriginError("origin_unreachable", "not of the kind")
        return list(found)

    lookup = Resolver(["8.8.8.8"], ["127.0.0.1"])
    found = names(lookup, admit=admit)
    await found.addresses()
    await trio.sleep(11)
    lookup.gate = trio.Event()
    refused = 0

    async def ask() -> None:
        nonlocal refused
        with pytest.raises(OriginError, match="not of the kind"):
            await found.addresses()
        refused += 1

    async with trio.open_nursery() as asking:
        for _ in range(3):
            asking.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        lookup.gate.set()
    assert (refused, lookup.asked) == (3, 2)
    assert found.best is None


async def test_address_that_fails_comes_last_and_the_name_is_asked_again_when_all_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        lookup = Resolver(["127.0.0.2", "127.0.0.1"])
        dialer = Dialer(Where(f"http://origin.example:{port}"), timeout=5.0, tls=ClientTls(), keep=60.0, lookup=lookup)
        for _ in range(2):
            _, wire = await dialer.dial()
            wire.close_now()
        assert dialer.first == "127.0.0.1"
        assert lookup.asked == 1
    with pytest.raises(OriginError, match="cannot be connected to"):
        await dialer.dial()
    with pytest.raises(OriginError, match="cannot be connected to"):
        await dialer.dial()
    assert lookup.asked == 2
