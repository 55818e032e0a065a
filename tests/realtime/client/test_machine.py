"""The client's machine, by the list that both languages share."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest
import trio
import trio.testing

from nova.realtime.client import connect
from nova.realtime.client.machine import UNANSWERED, WAITING, Machine
from nova.realtime.client.policy import LONGEST_MS, Next, after_close, pause
from nova.realtime.close_codes import RANGES, TABLE, Advice, advice
from tests.realtime.client.scenarios import LOBBY, SCENARIOS


def _machine(**options: Any) -> Machine:
    keys = count(1)
    return Machine(random=lambda: 0.5, key=lambda: f"k{next(keys)}", **options)


@pytest.mark.parametrize("name", SCENARIOS)
def test_scenario(name: str) -> None:
    options, steps = SCENARIOS[name]
    machine = _machine(**options)
    for (method, *arguments), expected in steps:
        if method == "deadline":
            assert machine.deadline == expected
            continue
        if method == "subscribe" and len(arguments) == 3:
            arguments[2] = tuple(arguments[2])
        getattr(machine, method)(*arguments)
        assert machine.effects() == expected, (method, arguments)


@pytest.mark.parametrize("code", [*TABLE, 1001, 1006, 1012, 1013, 4100, 4299, 4499, *(codes.start for codes in RANGES.values())])
def test_every_close_code_is_taken_as_the_table_says(code: int) -> None:
    means = {Advice.BACK_OFF: Next.BACK_OFF, Advice.NEW_TOKEN: Next.TOKEN, Advice.STAY_AWAY: Next.STOP}
    assert after_close(code) is means[advice(code)]


def test_pauses_are_bounded_and_spread() -> None:
    assert [pause(tries, 1.0) for tries in range(8)] == [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000]
    assert pause(1000, 1.0) == LONGEST_MS
    assert pause(3, 0.0) == 2000


def test_calls_that_wait_are_bounded() -> None:
    machine = _machine()
    machine.start(0)
    for _ in range(WAITING):
        machine.call("presence", {"channel": LOBBY}, 0)
    machine.effects()
    machine.call("presence", {"channel": LOBBY}, 0)
    assert [effect["error"]["code"] for effect in machine.effects()] == ["overloaded"]


@pytest.mark.parametrize("sent", [False, True])
def test_call_that_was_withdrawn_is_not_sent_again(sent: bool) -> None:
    machine = _machine()
    machine.start(0)
    if sent:
        machine.opened(0)
        machine.received({"id": 1, "connect": {"client": "c", "user": "u", "ping_s": 25}}, 0)
    kept, withdrawn = (machine.call("publish", {"channel": LOBBY, "data": number}, 1) for number in range(2))
    machine.withdraw(withdrawn)
    if sent:
        machine.closed(1006, "", 2)
        machine.wake(3)
    machine.effects()
    machine.opened(4)
    machine.received({"id": machine._last_id, "connect": {"client": "c", "user": "u", "ping_s": 25}}, 4)
    commands = [command for effect in machine.effects() for command in effect.get("send", ())]
    assert [command["publish"]["data"] for command in commands if "publish" in command] == [0]
    machine.stop(5)
    assert [effect["reject"] for effect in machine.effects() if "reject" in effect] == [kept]


def test_no_more_commands_go_out_than_the_server_takes() -> None:
    machine = _machine()
    machine.start(0)
    machine.opened(0)
    machine.received({"id": 1, "connect": {"client": "c", "user": "u", "ping_s": 25}}, 0)
    machine.effects()
    for _ in range(UNANSWERED + 10):
        machine.call("presence", {"channel": LOBBY}, 0)
    sent = [command for effect in machine.effects() for command in effect["send"]]
    assert len(sent) == UNANSWERED
    machine.received([{"id": command["id"], "presence": {}} for command in sent[:10]], 1)
    assert sum(len(effect["send"]) for effect in machine.effects() if "send" in effect) == 10


def test_ids_go_round() -> None:
    machine = _machine()
    machine.start(0)
    machine._last_id = 2**31 - 2
    machine.opened(0)
    assert machine.effects()[-1]["send"][0]["id"] == 2**31 - 1
    machine.received({"id": 2**31 - 1, "connect": {}}, 0)
    machine.call("presence", {"channel": LOBBY}, 0)
    assert machine.effects()[-1]["send"][0]["id"] == 1


async def test_token_that_cannot_be_had_now_is_asked_for_again(autojump_clock: trio.testing.MockClock) -> None:
    """Whoever asks over a network that is away gets an OSError."""
    asked = trio.Event()
    tries = count(1)

    async def token() -> str | None:
        if next(tries) == 3:
            asked.set()
        raise ConnectionRefusedError

    async with connect("ws://127.0.0.1:1/v1/ws", token=token):
        await asked.wait()
