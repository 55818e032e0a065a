"""The backend that is asked, over real HTTP."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing

from nova.core.clock import FakeClock
from nova.core.errors import Unprocessable
from nova.core.ids import Ids
from nova.core.reactor import Command, Who
from nova.core.secret import Secret
from nova.ext.values import JSON
from nova.surface.hooks import HttpHooks, key_of, signature
from tests.core.reactor.served import until
from tests.realtime.talk import Client, Node, node

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
LOBBY = "public:lobby"


@dataclass
class Backend:
    """Answers every question with `status` and `body`, or not at all; keeps what it was asked."""

    url: str = ""
    status: int = 200
    body: bytes = b"{}"
    silent: bool = False
    gate: trio.Event | None = None  # answers come behind it
    asked: list[tuple[dict[str, str], Any]] = field(default_factory=list)

    async def serve(self, stream: trio.SocketStream) -> None:
        async with stream:
            data = b""
            while b"\r\n\r\n" not in data:
                data += await stream.receive_some(65536)
            head, _, body = data.partition(b"\r\n\r\n")
            lines = [line.decode().split(": ", 1) for line in head.split(b"\r\n")[1:]]
            headers = {name.lower(): value for name, value in lines}
            while len(body) < int(headers["content-length"]):
                body += await stream.receive_some(65536)
            key = key_of(Secret(SECRET))
            assert headers["webhook-signature"] == signature(key, headers["webhook-id"], int(headers["webhook-timestamp"]), body)
            self.asked.append((headers, json.loads(body)))
            if self.silent:
                await trio.sleep_forever()
            if self.gate is not None:
                await self.gate.wait()
            await stream.send_all(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s" % (self.status, len(self.body), self.body))


@asynccontextmanager
async def asked(*asks: str, allow: bool = False, timeout: float = 5.0) -> AsyncIterator[tuple[Backend, Node]]:
    backend, clock = Backend(), FakeClock()
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, host="127.0.0.1"), backend.serve, 0)
        backend.url = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}/hook"
        hooks = HttpHooks(backend.url, Secret(SECRET), frozenset(asks), clock, Ids(clock), timeout=timeout, allow=allow)
        async with node(hooks=hooks, clock=clock) as here:
            yield backend, here
        nursery.cancel_scope.cancel()


def test_signature_is_that_of_standard_webhooks() -> None:
    # The specification's own example.
    body = b'{"test": 2432232314}'
    known = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert signature(key_of(Secret(SECRET)), "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body) == known


@pytest.mark.parametrize("secret", ["secret", "whsec_", "whsec_!", "whsec_c2hvcnQ="])
def test_secret_that_is_none_is_refused(secret: str) -> None:
    with pytest.raises(Unprocessable):
        key_of(Secret(secret))


async def test_backend_changes_refuses_and_lets_pass() -> None:
    async with asked("publish", "subscribe") as (backend, here):
        alice = await here.client("alice")
        assert (await alice.ask(1, subscribe={"channel": LOBBY}))["offset"] == 0
        assert backend.asked[0][1]["type"] == "realtime.subscribe"
        assert {**backend.asked[0][1]["data"], "client": ""} == {
            "client": "", "user": "alice", "name": "", "peer": "127.0.0.1", "channel": LOBBY,
        }  # fmt: skip
        backend.body = b'{"data": {"clean": true}}'
        await alice.ask(2, publish={"channel": LOBBY, "data": {"clean": False}})
        assert (await alice.next("pub"))["pub"]["data"] == {"clean": True}
        assert backend.asked[1][1]["data"]["data"] == {"clean": False}
        backend.body = b'{"error": {"code": "forbidden", "message": "not today"}}'
        assert await alice.ask(3, publish={"channel": LOBBY, "data": 1}) == {"code": "forbidden", "message": "not today"}
        assert (await alice.ask(4, subscribe={"channel": "public:x"}))["code"] == "forbidden"
        backend.body = b'{"error": {"code": "internal"}}'
        assert (await alice.ask(5, subscribe={"channel": "public:x"}))["code"] == "forbidden"


@pytest.mark.parametrize("allow", [False, True])
async def test_backend_that_does_not_answer_is_what_the_settings_say(allow: bool) -> None:
    async with asked("publish", allow=allow, timeout=0.1) as (backend, here):
        alice = await here.client("alice")
        for status, body, silent in ((500, b"{}", False), (200, b"[", False), (200, b"[]", False), (200, b"{}", True)):
            backend.status, backend.body, backend.silent = status, body, silent
            done = await alice.ask(1, publish={"channel": LOBBY, "data": 1})
            assert ("offset" in done) if allow else (done["code"] == "unavailable" and done["retry_ms"] == 1000)


async def test_backend_decides_who_comes_in() -> None:
    async with asked("connect") as (backend, here):
        assert await (await here.client("alice")).ask(1, ping={}) == {}
        assert backend.asked[0][1]["type"] == "realtime.connect" and backend.asked[0][1]["data"]["user"] == "alice"
        backend.body = b'{"error": {"code": "forbidden"}}'
        assert await (await here.client("bob")).ended() == (4301, "forbidden")
        backend.status = 500
        assert await (await here.client("bob")).ended() == (4001, "unavailable")


async def test_nobody_is_remembered_as_refused_who_left_while_the_backend_was_asked() -> None:
    async with asked("connect") as (backend, here):
        backend.gate = trio.Event()
        backend.body = b'{"error": {"code": "forbidden"}}'
        alice = Who("c-1", "alice", 1, b"", "", "127.0.0.1", "http", JSON)
        # As the reactor says it of a connection of its own.
        here.hub.commands(1, alice, [Command(0, "connect", "", b"", "", "", None, 0, False, None)])
        await until(lambda: len(backend.asked) == 1)
        here.hub.gone(1, alice, "peer", [])
        backend.gate.set()
        await until(lambda: not here.hub._lines)
        assert not here.hub._refused


async def test_commands_wait_for_the_backend_in_their_order() -> None:
    async with asked("publish") as (_, here):
        alice = await here.client("alice")
        batch = [{"id": 1, "publish": {"channel": LOBBY, "data": 1}}, {"id": 2, "ping": {}}, {"id": 3, "history": {"channel": LOBBY}}]
        await alice.send_in.send(json.dumps(batch).encode())
        found = await alice.next(lambda item: item.get("id") == 3)
        assert len(found["history"]["publications"]) == 1 and [item["id"] for item in alice.said if "id" in item] == [1, 2, 3]


@pytest.mark.parametrize("allow", [False, True])
async def test_data_that_not_every_client_could_be_given_is_no_answer(allow: bool) -> None:
    async with asked("publish", allow=allow) as (backend, here):
        alice = await here.client("alice")
        await alice.ask(1, subscribe={"channel": LOBBY})
        deep = b"[" * 100 + b"]" * 100
        for data in (b"NaN", b"1e999", b'"\\ud800"', deep):
            backend.body = b'{"data": %s}' % data
            done = await alice.ask(2, publish={"channel": LOBBY, "data": 1})
            assert ("offset" in done) if allow else done["code"] == "unavailable", data
        kept = (await alice.ask(4, history={"channel": LOBBY}))["publications"]
        assert [each["data"] for each in kept] == [1] * (4 if allow else 0)


async def test_backend_makes_nothing_larger_than_the_channel_takes() -> None:
    async with asked("publish") as (backend, here):
        alice = await here.client("alice")
        backend.body = json.dumps({"data": "x" * 70_000}).encode()
        assert (await alice.ask(1, publish={"channel": LOBBY, "data": 1}))["code"] == "too_large"


async def test_same_key_while_the_backend_is_asked_publishes_once() -> None:
    async with asked("publish") as (backend, here):
        clients = [await here.client("alice") for _ in range(3)]
        backend.gate = trio.Event()
        places = []

        async def publish(client: Client) -> None:
            places.append(await client.ask(1, publish={"channel": LOBBY, "data": 1, "idempotency_key": "k"}))

        async with trio.open_nursery() as nursery:
            for client in clients:
                nursery.start_soon(publish, client)
            await until(lambda: len(backend.asked) == 1)
            await trio.testing.wait_all_tasks_blocked()
            backend.gate.set()
        assert [each["offset"] for each in places] == [1, 1, 1] and len(backend.asked) == 1


async def test_key_whose_publication_was_refused_is_free_again() -> None:
    async with asked("publish") as (backend, here):
        alice = await here.client("alice")
        publish = {"channel": LOBBY, "data": 1, "idempotency_key": "k"}
        backend.body = b'{"error": {"code": "forbidden"}}'
        assert (await alice.ask(1, publish=publish))["code"] == "forbidden"
        backend.body = b"{}"
        assert (await alice.ask(2, publish=publish))["offset"] == 1
