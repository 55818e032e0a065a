"""Which nodes there are, and forgetting one that never comes back."""

import pytest

from nova.core.bus import Bus
from nova.core.errors import Conflict, NotFound, Unavailable
from nova.realtime import nodes as nodes_of_a_bus
from nova.realtime.chat import nodes as nodes_
from nova.realtime.chat.model import Mode
from nova.realtime.chat.nodes import KEEPERS, LEASE, keeper_lease
from nova.realtime.cluster import NODES
from nova.realtime.nodes import Nodes
from tests.realtime.chat.test_chat import who
from tests.realtime.talk import STREAM, node


async def test_node_that_is_gone_is_forgotten_and_one_that_is_up_is_not(buses: tuple[Bus, Bus]) -> None:
    nodes = Nodes(buses[0])
    assert await nodes.all() == []
    with pytest.raises(NotFound):
        await nodes.forget("nobody")
    async with node(shared_by=buses[0]) as keeper, node(shared_by=buses[1], kept=()) as other:
        up = keeper.sockets.node
        seen = {each.node: each for each in await nodes.all()}
        assert seen[up].streams == 2 and (seen[up].lease or 0) > 0 and seen[other.sockets.node].streams == 0
        with pytest.raises(Conflict) as refused:
            await nodes.forget(up)
        assert "stop it first" in refused.value.detail
        assert other.chats is not None and await other.chats.mode(who("bob"), STREAM) == Mode()
        # One that never comes back, and what another one took over from it.
        await buses[0].put(KEEPERS, {"left": b"dead", "taken over": up.encode()})
        with pytest.raises(Unavailable):
            await other.chats.mode(who("bob"), "left")
        assert [each.lease for each in await nodes.all() if each.node == "dead"] == [None]
        assert await nodes.forget("dead") == 1
        with pytest.raises(NotFound):
            await other.chats.mode(who("bob"), "left")
        assert set(await buses[0].rows(KEEPERS)) > {"taken over", STREAM}
        with pytest.raises(NotFound) as unknown:
            await nodes.forget("dead")
        assert "nova node list" in unknown.value.detail
        assert await buses[0].held(keeper_lease("dead")) is None


async def test_row_that_is_taken_over_while_its_node_is_forgotten_stays(buses: tuple[Bus, Bus], monkeypatch: pytest.MonkeyPatch) -> None:
    bus, drop = buses[0], buses[0].drop
    await bus.put(KEEPERS, {"a": b"dead", "b": b"dead"})

    async def late(table: str, rows: list[str], *, saying: bytes | None = None) -> None:
        await bus.put(KEEPERS, {"a": b"new"})
        assert await bus.acquire(keeper_lease("dead"), "dead", LEASE) is None  # nor does the dead one come back meanwhile
        await drop(table, rows, saying=saying)

    monkeypatch.setattr(bus, "drop", late)
    await Nodes(bus).forget("dead")
    assert await bus.rows(KEEPERS) == {"a": b"new"}


async def test_node_that_was_forgotten_while_up_says_again_what_it_keeps(buses: tuple[Bus, Bus], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes_, "BEAT", 1000.0)
    async with node(shared_by=buses[0]) as keeper:
        chats, name = keeper.chats, keeper.sockets.node
        assert chats is not None and chats._lease is not None
        await buses[1].release(chats._lease)  # what a Redis that was emptied looks like
        proof = await buses[1].acquire(keeper_lease(name), "nova node forget", LEASE)
        assert proof is not None
        await chats._hold()
        assert await buses[1].row(KEEPERS, STREAM) == name.encode() and chats._lease is None
        await buses[1].drop(KEEPERS, [STREAM], saying=name.encode())
        await buses[1].release(proof)
        await chats._hold()
        assert await buses[1].row(KEEPERS, STREAM) == name.encode() and chats._lease is not None


async def test_forgetting_stops_when_the_node_comes_back_meanwhile(buses: tuple[Bus, Bus], monkeypatch: pytest.MonkeyPatch) -> None:
    bus = buses[0]
    monkeypatch.setattr(nodes_of_a_bus, "ROWS", 1)
    await bus.put(KEEPERS, {"a": b"dead", "b": b"dead"})
    drop = bus.drop

    async def slow(table: str, rows: list[str], *, saying: bytes | None = None) -> None:
        await drop(table, rows, saying=saying)
        monkeypatch.setattr(bus, "renew", gone)

    async def gone(lease: object, ttl: object) -> bool:
        return False

    monkeypatch.setattr(bus, "drop", slow)
    with pytest.raises(Conflict) as refused:
        await Nodes(bus).forget("dead")
    assert "came back" in refused.value.detail
    assert len(await bus.rows(KEEPERS)) == 1


async def test_rows_of_another_version_are_listed(buses: tuple[Bus, Bus]) -> None:
    await buses[0].put(NODES, {"newer": b'{"figures":{}}', "stranger": b"\xff"})
    assert [(each.node, each.readers) for each in await Nodes(buses[0]).all()] == [("newer", 0), ("stranger", 0)]
