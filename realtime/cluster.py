"""Channels that several nodes serve together, over the bus: `Shared` of the ports.

A publication is numbered by the bus, and every node that has readers of its channel hears it; the node keeps what the channel keeps, so
that its own readers recover without asking anybody. After anything that may have lost a message (a hole in the numbers, a connection that
broke) the channel is read again as a whole. Members are rows of a table, and hold for as long as their node holds its lease.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha1
from typing import Final

import trio

from nova.core.bus import NOTHING_SEEN, Added, Bus, Follower, Keep, Lease, Quota, Seen, Told
from nova.core.errors import NovaError, Unavailable
from nova.core.log import Log
from nova.core.values import Seconds
from nova.realtime.channels import STREAM
from nova.realtime.history import Place
from nova.realtime.ports import Arrivals, Note
from nova.realtime.presence import Member
from nova.realtime.rules import Namespace

CONTROL: Final = "nova.realtime.control"
NODES: Final = "realtime:nodes"
BEAT: Final = 3.0  # seconds between two signs of life
DEAD: Final = Seconds(10.0)  # without one: a node's members are gone after it
RETRY: Final = 0.5  # seconds
PLACED: Final = 65_536  # channels that were written to here, or followed before, of which it is remembered how far they had got
CHANGES: Final = 65_536  # comings and goings that wait to be told; one more, and everybody is told anew

_log = Log("nova.cluster")


@dataclass(slots=True)
class _Followed:
    """One channel. syncing: what is told waits until the whole of it was read."""

    space: Namespace
    syncing: bool = True
    early: list[Told] = field(default_factory=list)
    seen: Seen = NOTHING_SEEN
    mine: dict[str, Member] = field(default_factory=dict)
    wanted: bool = True
    turn: trio.Lock = field(default_factory=trio.Lock)


class Cluster:
    """node: this node's id, the beginning of its clients' ids."""

    def __init__(self, bus: Bus, node: str) -> None:
        self._bus, self._node = bus, node
        self._followed: dict[str, _Followed] = {}
        self._placed: OrderedDict[str, Seen] = OrderedDict()
        self._changes: dict[tuple[str, str], Member | None] = {}
        self._all_anew = False  # there were more changes than can wait
        self._changed = trio.Event()
        self._notes_waiting = 0
        self._arrivals: Arrivals
        self._follower: Follower
        self._nursery: trio.Nursery
        self._lease: Lease | None = None
        self._said = b""  # of this node, to the others

    # -- what the hub calls ------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def serve(self, arrivals: Arrivals) -> AsyncIterator[None]:
        self._arrivals = arrivals
        async with self._bus.follow() as follower, trio.open_nursery() as nursery:
            self._follower, self._nursery = follower, nursery
            nursery.start_soon(self._listen)
            nursery.start_soon(self._tell_members)
            nursery.start_soon(self._live)
            try:
                yield
            finally:
                nursery.cancel_scope.cancel()
                with trio.CancelScope(shield=True), trio.move_on_after(2.0):
                    await self._leave_all()

    async def follow(self, channel: str, space: Namespace) -> None:
        while True:
            found = self._followed.get(channel)
            if found is None:
                found = self._followed[channel] = _Followed(space)
            async with found.turn:
                if not found.wanted:
                    continue  # who was opening it has given up
                if not found.syncing:
                    return
                try:
                    await self._follower.add(channel)
                    await self._sync(channel, found)
                except BaseException:
                    if self._followed.get(channel) is found:
                        self.unfollow(channel)
                    raise
                return

    def unfollow(self, channel: str) -> None:
        found = self._followed.pop(channel, None)
        if found is not None:
            found.wanted = False
            self._follower.remove(channel)
            self._remember(channel, found.seen)

    async def place(self, channel: str, space: Namespace, note: Note, once: str, quotas: Sequence[Quota]) -> tuple[Place, bool]:
        seen = self._seen(channel)
        added: Added = await self._bus.add(channel, _packed(note), _keep(space), once=once, kept=note.keep, quotas=quotas, seen=seen)
        if not added.again:
            self._remember(channel, Seen(added.epoch, added.number, named=_named(space)))
        return Place(added.number, added.epoch), added.again

    def _seen(self, channel: str) -> Seen:
        """How far the log has got, by what was told of it and by what was answered to those who wrote."""
        found, placed = self._followed.get(channel), self._placed.get(channel, NOTHING_SEEN)
        if found is None or found.seen is NOTHING_SEEN:
            return placed
        return replace(found.seen, number=max(found.seen.number, placed.number)) if placed.epoch == found.seen.epoch else found.seen

    def _remember(self, channel: str, seen: Seen) -> None:
        before = self._placed.get(channel, NOTHING_SEEN)
        if not seen.number or (before.epoch == seen.epoch and before.number > seen.number):
            return
        self._placed[channel] = seen
        self._placed.move_to_end(channel)
        if len(self._placed) > PLACED:
            self._placed.popitem(last=False)

    def enter(self, channel: str, member: Member) -> None:
        found = self._followed.get(channel)
        if found is not None:
            found.mine[member.client] = member
            self._change(channel, member.client, member)

    def leave(self, channel: str, member: Member) -> None:
        found = self._followed.get(channel)
        if found is not None and found.mine.pop(member.client, None) is not None:
            self._change(channel, member.client, None)

    async def control(self, message: bytes) -> None:
        await self._bus.publish(CONTROL, self._node.encode() + b" " + message)

    async def others(self) -> list[bytes]:
        return [row for node, row in (await self._bus.rows(NODES)).items() if node != self._node and row]

    @asynccontextmanager
    async def controls(self) -> AsyncIterator[AsyncIterator[bytes]]:
        async with self._bus.subscribe([CONTROL]) as messages:

            async def others() -> AsyncIterator[bytes]:
                async for message in messages:
                    node, _, data = message.data.partition(b" ")
                    if node != self._node.encode():
                        yield data

            yield others()

    # -- what the bus tells ------------------------------------------------------------------------------------------------

    async def _listen(self) -> None:
        async for told in self._follower:
            if not told.log:
                for channel, found in list(self._followed.items()):
                    self._resync(channel, found)
                self._anew()
                continue
            followed = self._followed.get(told.log)
            if followed is None:
                continue
            if followed.syncing:
                followed.early.append(told)
            else:
                self._take(told.log, followed, told)

    def _take(self, channel: str, found: _Followed, told: Told) -> None:
        if told.number == 0:
            self._note(channel, found, told.data)
        elif told.epoch == found.seen.epoch and told.number <= found.seen.number:
            return  # it was in what was read as a whole
        elif told.epoch == found.seen.epoch and told.number == found.seen.number + 1:
            note = _unpacked(told.data)
            kept, digest = (told.number, _digest(told.data)) if note.keep else (found.seen.kept, found.seen.digest)
            found.seen = replace(found.seen, number=told.number, kept=kept, digest=digest)
            self._arrivals.arrived(channel, told.epoch, told.number, note)
        else:
            self._resync(channel, found)

    def _note(self, channel: str, found: _Followed, data: bytes) -> None:
        what = json.loads(data)
        for user, client, since in what["in"]:
            if client not in found.mine:
                self._arrivals.joined(channel, Member(user, client, since))
        for client in what["out"]:
            if client not in found.mine:
                self._arrivals.left(channel, Member(None, client, 0))

    def _resync(self, channel: str, found: _Followed) -> None:
        if not found.syncing:
            found.syncing = True
            self._nursery.start_soon(self._sync_until_done, channel, found)

    async def _sync_until_done(self, channel: str, found: _Followed) -> None:
        while found.wanted:
            try:
                await self._sync(channel, found)
                return
            except Unavailable:
                await trio.sleep(RETRY)

    async def _sync(self, channel: str, found: _Followed) -> None:
        """Read the whole of it, then what came meanwhile. Raises Unavailable."""
        if not found.wanted:
            raise Unavailable("unavailable", "the channel could not be opened", retry_after=RETRY)
        tail = await self._bus.tail(channel, _keep(found.space), seen=self._seen(channel))
        rows = await self._bus.rows(_members(channel))
        if self._followed.get(channel) is not found:
            return
        notes = [(number, _unpacked(data)) for number, data in tail.entries]
        self._arrivals.restarted(channel, tail.epoch, tail.number, tail.lost, notes)
        kept, last = tail.entries[-1] if tail.entries else (0, b"")
        found.seen = Seen(tail.epoch, tail.number, kept, _digest(last) if kept else "", _named(found.space))
        for client, data in rows.items():
            if not client.startswith(self._node + "-"):
                user, since = json.loads(data)
                self._arrivals.joined(channel, Member(user, client, since))
        self._arrivals.present(channel, set(rows) | set(found.mine))
        early, found.early = found.early, []
        found.syncing = False
        for told in early:
            if found.syncing:
                found.early.append(told)
            else:
                self._take(channel, found, told)

    # -- members -----------------------------------------------------------------------------------------------------------

    def _change(self, channel: str, client: str, member: Member | None) -> None:
        if (channel, client) in self._changes or len(self._changes) < CHANGES:
            self._changes[channel, client] = member
        else:
            self._all_anew = True
        self._changed.set()

    def _anew(self) -> None:
        """The bus may have lost some of this node's members, and may have some again that had left."""
        self._all_anew = True
        self._changed.set()

    def _again(self) -> None:
        """Everybody of this node, once more: the bus may have lost them."""
        for channel, found in self._followed.items():
            for client, member in found.mine.items():
                self._change(channel, client, member)

    async def _tell_members(self) -> None:
        while True:
            await self._changed.wait()
            self._changed = trio.Event()
            changes, self._changes = self._changes, {}
            by_channel: dict[str, dict[str, Member | None]] = {}
            for (channel, client), member in changes.items():
                by_channel.setdefault(channel, {})[client] = member
            for channel, clients in by_channel.items():
                try:
                    await self._tell(channel, clients)
                except NovaError as error:
                    _log.warning("members_not_told", code=error.code)
                    for client, member in clients.items():
                        self._changes.setdefault((channel, client), member)
                    self._changed.set()
                    await trio.sleep(RETRY)
            if self._all_anew:
                self._all_anew = False
                try:
                    await self._tell_all()
                except NovaError as error:
                    _log.warning("members_not_told", code=error.code)
                    self._all_anew = True
                    self._changed.set()
                    await trio.sleep(RETRY)

    async def _tell_all(self) -> None:
        """Everybody who is here, and of whoever stands on the bus for this node and is not, that he has left."""
        for channel in {*self._followed, *await self._bus.rows(_of_node(self._node))}:
            rows = await self._bus.rows(_members(channel))
            found = self._followed.get(channel)
            mine = found.mine if found is not None else {}
            gone = [client for client in rows if client.startswith(self._node + "-") and client not in mine]
            if mine or gone:
                await self._tell(channel, {**mine, **dict.fromkeys(gone)})

    async def _tell(self, channel: str, clients: dict[str, Member | None]) -> None:
        come = {client: member for client, member in clients.items() if member is not None}
        gone = [client for client, member in clients.items() if member is None]
        if come:
            await self._bus.put(_of_node(self._node), {channel: b""})
        await self._bus.put(_members(channel), {client: _row(member) for client, member in come.items()})
        await self._bus.drop(_members(channel), gone)
        found = self._followed.get(channel)
        if gone and (found is None or not found.mine):
            await self._bus.drop(_of_node(self._node), [channel])
        await self._bus.note(channel, _note_of(list(come.values()), gone))

    # -- nodes -------------------------------------------------------------------------------------------------------------

    async def _live(self) -> None:
        """Hold this node's lease, and clear up after nodes that hold theirs no more."""
        while True:
            wait = BEAT
            try:
                if self._lease is None or not await self._bus.renew(self._lease, DEAD):
                    self._lease = await self._bus.acquire(node_lease(self._node), self._node, DEAD)
                    self._said = b""
                    self._again()
                if (say := self._arrivals.summary()) != self._said:
                    await self._bus.put(NODES, {self._node: say})
                    self._said = say
                for node in await self._bus.rows(NODES):
                    if node != self._node:
                        wait = min(wait, await self._clear(node))
            except Unavailable:
                self._lease = None
            await trio.sleep(wait)

    async def _clear(self, node: str) -> float:
        """Take out the members of a node that is gone; of all that look, one does it.

        When to look again, in seconds: its members are not to outlive its lease by a beat.
        """
        if (left := await self._bus.held(node_lease(node))) is not None:
            return left
        if (lease := await self._bus.acquire(node_lease(node), self._node, DEAD)) is not None:
            await self._take_out(node)
            await self._bus.release(lease)
            _log.info("node_cleared", node=node)
        return BEAT

    async def _take_out(self, node: str) -> None:
        """Its members, wherever they stand, then the node: when this is cut short, another one goes on with it."""
        for channel in await self._bus.rows(_of_node(node)):
            gone = [client for client in await self._bus.rows(_members(channel)) if client.startswith(node + "-")]
            await self._bus.drop(_members(channel), gone)
            if gone:
                await self._bus.note(channel, _note_of([], gone))
            await self._bus.drop(_of_node(node), [channel])
        await self._bus.drop(NODES, [node])

    async def _leave_all(self) -> None:
        """An orderly end: nobody has to find out."""
        try:
            await self._take_out(self._node)
            if self._lease is not None:
                await self._bus.release(self._lease)
        except Unavailable as error:
            _log.warning("members_not_told", code=error.code)


def _named(space: Namespace) -> bool:
    """Comments are known by their place: also where they are stored, and to whoever moderates."""
    return space.name == STREAM


def _digest(data: bytes) -> str:
    return sha1(data, usedforsecurity=False).hexdigest()


def _packed(note: Note) -> bytes:
    head = json.dumps([note.at, note.key, note.keep, -1 if note.info is None else len(note.info)], separators=(",", ":"))
    return head.encode() + b"\n" + (note.info or b"") + note.data


def _unpacked(data: bytes) -> Note:
    head, _, rest = data.partition(b"\n")
    at, key, keep, size = json.loads(head)
    return Note(rest if size < 0 else rest[size:], at, None if size < 0 else rest[:size], key, keep)


def _keep(space: Namespace) -> Keep:
    return Keep(space.history, space.ttl)


def _row(member: Member) -> bytes:
    return json.dumps([member.user, member.since]).encode()


def _note_of(come: list[Member], gone: list[str]) -> bytes:
    return json.dumps({"in": [[each.user, each.client, each.since] for each in come], "out": gone}).encode()


def _members(channel: str) -> str:
    return f"realtime:members:{channel}"


def _of_node(node: str) -> str:
    return f"realtime:node:{node}"


def node_lease(node: str) -> str:
    """Held while its members are there."""
    return f"realtime:node:{node}"
