"""The hub: decides about every command on channels, whoever sent it and however it came.

WebSockets call `commands`; HTTP, SSE and gRPC call the same decisions one by one. What needs nothing from elsewhere (no other
node, no store, no backend) is answered at once; the rest waits in the line of its connection, so that replies keep their order.
"""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from heapq import nlargest
from operator import itemgetter
from typing import Any, Final, NamedTuple, Protocol

import trio

from nova.core import errors
from nova.core.bus import Quota
from nova.core.clock import Clock
from nova.core.errors import Forbidden, Internal, NovaError, TooLarge, Unauthenticated
from nova.core.guard import guard, guarded
from nova.core.log import Log
from nova.ext import pushes
from nova.ext.commands import COMMANDS
from nova.ext.values import JSON
from nova.realtime import channels
from nova.realtime.history import Page, Place, Publication, Recovery
from nova.realtime.instant import instantly
from nova.realtime.limits import Limits, quotas_of
from nova.realtime.once import Once
from nova.realtime.ports import Hooks, Note, Refused, Shared, StreamsPort
from nova.realtime.presence import Member
from nova.realtime.rooms import Room, Rooms
from nova.realtime.rules import Audience, Namespace, Rules
from nova.realtime.seam import Channel, Command, Reader, Sockets, Who

PAGE: Final = 100  # publications of a history page when no limit is given
PAGE_MOST: Final = 1000
MEMBERS: Final = 1000  # members that one answer lists
LONG: Final = 32_768  # bytes of a reply behind which the next one waits until it has been taken
SWEEP_EVERY: Final = 5.0  # seconds
CHANNELS_MOST: Final = 1000  # of one broadcast, and of one list
RESUBSCRIBE: Final = 4000  # code of `unsub` when a channel begins anew, or may be for fewer from now on: subscribe again
_UNSUBSCRIBE: Final = COMMANDS.index("unsubscribe") + 1

_FAILED: Final = Internal()  # what a client learns of a bug of ours

_log = Log("nova.realtime")


class Published(NamedTuple):
    """durable: it is on stable storage. again: the idempotency key had been there before."""

    place: Place
    durable: bool
    again: bool = False


class Scopes(NamedTuple):
    """Which bits of `Who.scopes` say what."""

    chat: int
    service: int
    admin: int


@dataclass(slots=True)
class _Line:
    """The commands of one connection that wait for their turn."""

    waiting: deque[tuple[Who, Command]]
    gone: bool = False
    full: bool = False  # it was sent much: what it asked more waits until it has taken that


class Chat(Protocol):
    """The chat of streams: it decides about what clients publish there."""

    async def publish(self, who: Who, stream: str, data: bytes, *, key: str = "") -> Published:
        """key: idempotency key; the same one again publishes nothing."""


class Hub:
    """One per process. `run` while the server lives."""

    def __init__(
        self, sockets: Sockets, rules: Rules, limits: Limits, streams: StreamsPort, scopes: Scopes, clock: Clock, *,
        public: bool, most_channels: int = 100_000, most_bytes: int = 256 * 2**20, hooks: Hooks | None = None, shared: Shared | None = None,
        ping: float = 25.0,
    ) -> None:  # fmt: skip
        """public: whether `public:*` may be published to without a token. ping: seconds, which clients are told."""
        self._ping_s = round(ping)
        self.sockets, self.rules, self._limits, self._streams, self._scopes, self._clock = sockets, rules, limits, streams, scopes, clock
        self._public, self._hooks, self.shared = public, hooks, shared
        self._asks = frozenset[str]() if hooks is None else hooks.asks
        self.rooms = Rooms(sockets, most=most_channels, most_bytes=most_bytes, gone=self._forgotten)
        self._once = Once[Published]()
        self._under_way: dict[tuple[str, str, str], trio.Event] = {}  # publications with a key that the backend is asked about
        self._lines: dict[int, _Line] = {}
        self._refused: set[int] = set()  # connections that the backend does not want, until they have ended
        self._nursery: trio.Nursery | None = None
        self._chat: Chat | None = None
        self._latest_ms = 0
        self._sent_away = 0  # how often readers were: who asked before is asked about again
        self.counts = {"publications": 0, "refused": 0, "recovered": 0, "not_recovered": 0}

    def attach(self, chat: Chat) -> None:
        """The chat is made after the hub that it publishes with."""
        self._chat = chat

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Work on what waits, and forget what is idle; until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            if self.shared is not None:
                nursery.start_soon(self._follow_controls, self.shared)
                await nursery.start(self._serve_shared, self.shared)
            task_status.started()
            while True:
                await trio.sleep(SWEEP_EVERY)
                for _slice in self.rooms.sweep(self._clock.monotonic(), self._now_ms()):
                    await trio.lowlevel.checkpoint()

    # -- what holders of connections call --------------------------------------------------------------------------------

    async def admit(self, who: Who) -> None:
        """A connection without commands, such as an answer of server-sent events: the backend is asked about it. Raises NovaError."""
        if self._hooks is not None and "connect" in self._asks:
            _raise(await self._hooks.connect(who))

    def commands(self, conn: int, who: Who, commands: list[Command]) -> None:
        """One frame of a client."""
        if conn in self._refused:
            return
        line = self._lines.get(conn)
        for command in commands:
            if line is None:
                if self._answers_at_once(command):
                    instantly(self._answer(conn, who, command, None))
                    line = self._lines.get(conn)
                    continue
                line = self._line(conn)
            line.waiting.append((who, command))

    def _line(self, conn: int) -> _Line:
        assert self._nursery is not None
        line = self._lines[conn] = _Line(deque())
        self._nursery.start_soon(self._work, conn, line)
        return line

    def _say(self, conn: int, line: _Line | None, item: bytes) -> None:
        """A reply that may be long. Who asks for many and takes none is sent no more, however many were asked for at once."""
        self.sockets.reply(conn, item)
        if len(item) > LONG:
            (line or self._line(conn)).full = True

    def gone(self, conn: int, who: Who, reason: str, channels: list[str]) -> None:
        """The connection has ended; it was in `channels`."""
        self._refused.discard(conn)
        line = self._lines.get(conn)
        if line is not None:
            line.gone = True
            line.waiting.clear()
        for name in channels:
            room = self.rooms.get(name)
            if room is not None:
                self._leave(room, who.client)

    async def _work(self, conn: int, line: _Line) -> None:
        """Everything in `line`, in order; then there is none any more."""
        try:
            while line.waiting or line.full:
                if line.full:
                    line.full = False
                    if not line.gone:
                        await self.sockets.taken(conn)
                    continue
                who, command = line.waiting.popleft()
                await self._answer(conn, who, command, line)
        finally:
            del self._lines[conn]

    def _answers_at_once(self, command: Command) -> bool:
        if command.reply is not None or command.name == "unsubscribe":
            return True
        if command.name in self._asks:
            return False
        if self.shared is not None:
            room = self.rooms.get(command.channel)
            if command.name == "publish" or room is None or not room.ready:
                return False  # the bus is asked; what this node follows it has itself
        space = self.rules.find(command.channel.partition(":")[0])
        if space is None:
            return True
        if command.name == "publish" and space.name == channels.STREAM:
            return False  # the chat stores what is said, whoever may say it
        verb = {"subscribe": space.subscribe, "publish": space.publish, "presence": space.presence}.get(command.name, space.history_for)
        return verb not in ("watch", "chat")  # then the store is asked who may see the stream

    async def _answer(self, conn: int, who: Who, command: Command, line: _Line | None) -> None:
        if command.reply is not None:
            self.sockets.reply(conn, command.reply)
            return
        error: NovaError = _FAILED
        with guarded(_log):
            try:
                await getattr(self, f"_on_{command.name}")(conn, who, command, line)
                return
            except NovaError as refused:
                if refused.kind == "internal":
                    raise
                error = refused
        self.counts["refused"] += 1
        self.sockets.reply(conn, error_item(command.id, error))

    async def _on_connect(self, conn: int, who: Who, command: Command, line: _Line | None) -> None:
        """The backend is asked about it; the connection's holder knows how to go on."""
        try:
            refused = None if self._hooks is None else await self._hooks.connect(who)
        except NovaError as error:  # no answer, and the settings say that this means no
            refused = Refused(error.code, error.detail)
        if line is not None and line.gone:  # it left meanwhile: nobody would forget it again
            return
        if refused is not None:
            row = errors.TABLE[refused.code]
            self._refused.add(conn)
            if line is not None:
                line.waiting.clear()
            if command.id:  # else the token was in the URL, and nobody waits for a reply
                self.sockets.reply(conn, pushes.error(JSON, command.id, row.code.encode(), refused.detail.encode("utf-8", "replace")))
            self.sockets.disconnect(conn, row.close, row.code)
            return
        if command.id:
            user = None if who.user is None else who.user.encode()
            left = max(0, int(json.loads(who.claims)["exp"] - self._clock.wall())) if who.claims else 0
            self.sockets.reply(conn, pushes.connected(JSON, command.id, who.client.encode(), user, left, self._ping_s))

    async def _on_subscribe(self, conn: int, who: Who, command: Command, line: _Line | None) -> None:
        place = None if command.place is None else Place(*command.place)
        room, found = await self.subscribe(who, command.channel, place)
        if line is not None and line.gone:
            return
        said = _encoded(found.publications)
        self._say(conn, line, pushes.subscribed(JSON, command.id, room.history.offset, room.history.epoch.encode(), found.recovered, said))
        self._enter(room, Member(who.user, who.client, self._now_ms()))
        self.sockets.subscribe(conn, room.channel)

    async def _on_unsubscribe(self, conn: int, who: Who, command: Command, line: _Line | None) -> None:
        room = self.rooms.get(command.channel)
        if room is not None:
            self.sockets.unsubscribe(conn, room.channel)
            self._leave(room, who.client)
        self.sockets.reply(conn, pushes.empty(JSON, command.id, _UNSUBSCRIBE))

    async def _on_publish(self, conn: int, who: Who, command: Command, line: _Line | None) -> None:
        done = await self.publish(who, command.channel, command.data, key=command.idempotency_key, conflate_key=command.conflate_key)
        self.sockets.reply(conn, pushes.published(JSON, command.id, done.place.offset, done.place.epoch.encode(), done.durable))

    async def _on_presence(self, conn: int, who: Who, command: Command, line: _Line | None) -> None:
        count, members, more = await self.presence(who, command.channel, 0, MEMBERS)
        shown = [(None if each.user is None else each.user.encode(), each.client.encode(), each.since) for each in members]
        self._say(conn, line, pushes.presence(JSON, command.id, count, more, shown))

    async def _on_history(self, conn: int, who: Who, command: Command, line: _Line | None) -> None:
        since = None if command.place is None else Place(*command.place)
        room, page = await self.history(who, command.channel, since, command.limit or PAGE)
        said = _encoded(page.publications)
        self._say(conn, line, pushes.history(JSON, command.id, room.history.offset, room.history.epoch.encode(), page.more, said))

    # -- decisions, for every road ----------------------------------------------------------------------------------------

    async def subscribe(self, who: Who, channel: str, place: Place | None) -> tuple[Room, Recovery]:
        """The room, and what a subscriber that stopped at `place` gets before what is to come.

        Between its return and the subscription nothing may be awaited. Raises NovaError.
        """
        space, rest = self.rules.of(channel)
        self._limits.command(who.user, who.peer, self._clock.monotonic())
        while True:
            before = self._sent_away
            await self._may(who, rest, space.subscribe)
            if "subscribe" in self._asks and self._hooks is not None:
                _raise(await self._hooks.subscribe(who, channel))
            room = await self.open(channel, space, rest)
            if self._sent_away == before:
                break  # else the answer may be of before, and whoever sent the readers away has not met this one
        room.history.expire(self._now_ms())
        found = room.history.recover(place, space.replay)
        if place is not None:
            self.counts["recovered" if found.recovered else "not_recovered"] += 1
        return room, found

    async def reader(self, who: Who, channel: str, place: Place | None) -> tuple[Room, Recovery, Reader]:
        """As `subscribe`, with a reader of what is to come, for tasks."""
        room, found = await self.subscribe(who, channel, place)
        return room, found, room.channel.reader()

    async def publish(self, who: Who, channel: str, data: bytes, *, key: str = "", conflate_key: str = "") -> Published:
        """What a client publishes. data: compact JSON. key: idempotency key. Raises NovaError."""
        space, rest = self.rules.of(channel)
        now = self._clock.monotonic()
        self._limits.command(who.user, who.peer, now)
        await self._may_publish(who, space, rest)
        publisher = _publisher(who)
        if key:
            while (other := self._under_way.get((channel, publisher, key))) is not None:
                await other.wait()  # the backend is being asked about the first one with this key
            if (known := self._once.seen(channel, publisher, key, now)) is not None:
                return known._replace(again=True)  # it counts to nothing
        self._limits.publish(space, channel, publisher, who.peer, now)
        if len(data) > space.size:
            raise _large(space)
        if not key or "publish" not in self._asks:
            data = await self._asked(who, space, channel, data)
            return await self._publish(who, space, channel, rest, data, publisher, key, conflate_key)
        ended = self._under_way[channel, publisher, key] = trio.Event()
        try:
            data = await self._asked(who, space, channel, data)
            return await self._publish(who, space, channel, rest, data, publisher, key, conflate_key)
        finally:
            del self._under_way[channel, publisher, key]
            ended.set()

    async def _publish(
        self, who: Who, space: Namespace, channel: str, rest: str, data: bytes, publisher: str, key: str, conflate_key: str
    ) -> Published:
        """What may be said, and was not said before."""
        if space.name == channels.STREAM and self._chat is not None:
            done = await self._chat.publish(who, rest, data, key=key)
            if key and not done.again:
                self._once.done(channel, publisher, key, done, self._clock.monotonic())
            return done
        once = f"{publisher}\0{key}" if key else ""
        quotas = () if self.shared is None else quotas_of(space, _publisher(who))
        done = await self.place(channel, space, rest, Note(data, self._now_ms(), None, conflate_key, keep=True), once, quotas)
        if key and not done.again:  # else its time has begun before
            self._once.done(channel, publisher, key, done, self._clock.monotonic())
        return done

    async def admit_publish(self, who: Who, channel: str, data: bytes) -> bytes:
        """A publication that comes by another door: counted, and asked about; what is to be published. Raises NovaError."""
        space, rest = self.rules.of(channel)
        await self._may_publish(who, space, rest)
        self._limits.publish(space, channel, _publisher(who), who.peer, self._clock.monotonic())
        return await self._asked(who, space, channel, data)

    async def _may_publish(self, who: Who, space: Namespace, rest: str) -> None:
        if space.name == channels.PUBLIC and who.user is None and not self._public:
            raise Unauthenticated("unauthenticated", "without a token this server's public channels are read only")
        chats = space.name == channels.STREAM and who.user is not None and "publish" not in self._asks
        if chats and (space.publish == "watch" or (space.publish == "chat" and who.scopes & self._scopes.chat)):
            return  # the chat looks whether the stream may be seen, perhaps on another node: it is not asked twice
        await self._may(who, rest, space.publish)

    async def _asked(self, who: Who, space: Namespace, channel: str, data: bytes) -> bytes:
        """What the backend makes of it, when it wants to be asked. Raises NovaError."""
        if "publish" not in self._asks or self._hooks is None:
            return data
        asked = await self._hooks.publish(who, channel, data)
        if isinstance(asked, Refused):
            raise errors.of(asked.code, asked.detail)
        if len(asked) > space.size:
            raise _large(space)
        return asked

    async def place(self, channel: str, space: Namespace, rest: str, note: Note, once: str = "", quotas: Sequence[Quota] = ()) -> Published:
        """Number a publication and tell it to everybody; no rule is asked. quotas: counted over all nodes, when there are several.

        Raises Unavailable, RateLimited.
        """
        if self.shared is not None:
            place, again = await self.shared.place(channel, space, note, once, quotas)
            self.counts["publications"] += 1
            return Published(place, False, again)
        self.counts["publications"] += 1
        room = self.rooms.obtain(channel, space, rest, self._clock.monotonic())
        offset = room.history.offset + 1
        self.rooms.put(room, Publication(offset, note.data, note.at, note.info), note.key, keep=note.keep)
        return Published(Place(offset, room.history.epoch), False)

    async def history(self, who: Who, channel: str, since: Place | None, limit: int, *, any_epoch: bool = False) -> tuple[Room, Page]:
        """any_epoch: `since` counts in whatever epoch this is. Raises NovaError."""
        space, rest = self.rules.of(channel)
        self._limits.command(who.user, who.peer, self._clock.monotonic())
        await self._may(who, rest, space.history_for)
        room = await self.open(channel, space, rest)
        room.history.expire(self._now_ms())
        if since is not None and any_epoch:
            since = Place(since.offset, room.history.epoch)
        return room, room.history.page(since, max(1, min(limit, PAGE_MOST)))

    async def presence(self, who: Who, channel: str, start: int, limit: int) -> tuple[int, list[Member], bool]:
        """How many there are, and members from the `start`-th on. Raises NovaError."""
        space, rest = self.rules.of(channel)
        self._limits.command(who.user, who.peer, self._clock.monotonic())
        await self._may(who, rest, space.presence)
        room = await self.open(channel, space, rest)
        members, more = room.members.page(start, limit)
        return len(room.members), members, more

    async def open(self, channel: str, space: Namespace, rest: str) -> Room:
        """The room, with what the other nodes have of it. Raises Unavailable."""
        room = self.rooms.obtain(channel, space, rest, self._clock.monotonic())
        if self.shared is not None and not room.ready:
            await self.shared.follow(channel, space)
            room.ready = True
        return room

    async def _may(self, who: Who, rest: str, audience: Audience) -> None:
        """Raises Unauthenticated, Forbidden, NotFound."""
        if audience == "everyone" or self._serves(who):
            return
        if audience in ("watch", "chat"):
            await self._streams.facts(rest, who.user, operator=False)
            if audience == "watch":
                return
        if who.user is None:
            raise Unauthenticated("unauthenticated", "this channel needs a token")
        if audience == "chat" and not who.scopes & self._scopes.chat:
            raise Forbidden("missing_scope", "the scope chat is needed")
        if audience == "own" and who.user != rest:
            raise Forbidden("forbidden", "this channel is another user's")
        if audience == "service":
            raise Forbidden("forbidden", "this channel is for services of the platform")

    def _serves(self, who: Who) -> bool:
        return bool(who.scopes & (self._scopes.service | self._scopes.admin))

    @property
    def admin_scope(self) -> int:
        return self._scopes.admin

    def is_admin(self, who: Who) -> bool:
        return bool(who.scopes & self._scopes.admin)

    # -- presence ---------------------------------------------------------------------------------------------------------

    def _enter(self, room: Room, member: Member) -> None:
        if not room.members.enter(member):
            return
        if self.shared is not None:
            self.shared.enter(room.name, member)
        self.tell_join(room, member)

    def _leave(self, room: Room, client: str) -> None:
        member = room.members.leave(client)
        if member is None:
            return
        if self.shared is not None:
            self.shared.leave(room.name, member)
        self.tell_leave(room, member)

    def tell_join(self, room: Room, member: Member) -> None:
        if len(room.members) <= room.space.joins:
            room.channel.push(_join(room.name, member, joined=True))

    def tell_leave(self, room: Room, member: Member) -> None:
        if len(room.members) < room.space.joins:
            room.channel.push(_join(room.name, member, joined=False))

    # -- the server's own words -------------------------------------------------------------------------------------------

    async def say(self, channel: str, data: bytes, *, conflate_key: str = "", keep: bool = True, once: str = "", by: str = "") -> Published:
        """A publication of the server or of a service. once: idempotency key of `by`, a service's user.

        Raises BadRequest, NotFound, TooLarge, Unavailable.
        """
        space, rest = self.rules.of(channel)
        if len(data) > space.size:
            raise _large(space)
        now, publisher = self._clock.monotonic(), f" service {by}"
        if once and (known := self._once.seen(channel, publisher, once, now)) is not None:
            return known._replace(again=True)
        note = Note(data, self._now_ms(), None, conflate_key, keep)
        done = await self.place(channel, space, rest, note, f"{publisher}\0{once}" if once else "")
        if once and not done.again:
            self._once.done(channel, publisher, once, done, now)
        return done

    async def disconnect(self, user: str, code: int, reason: str) -> None:
        """End every connection of a user, on every node."""
        await self._everywhere({"do": "disconnect", "user": user, "code": code, "reason": reason})

    def revoke(self, *, jti: str | None = None, user: str | None = None, before_ms: int = 0) -> None:
        """End what lives on a revoked token, or on a user's tokens issued at before_ms or earlier; what waits for its turn is not done."""
        self.sockets.revoke(jti=jti, user=user, before_ms=before_ms)

        def ends(who: Who) -> bool:
            claims = json.loads(who.claims) if who.claims else {}
            of_user = user is not None and who.user == user and int(claims.get("iat", 0) * 1000) <= before_ms
            return of_user or (jti is not None and claims.get("jti") == jti)

        self._silence(ends)

    def _silence(self, whom: Callable[[Who], bool]) -> None:
        """Their connections end: what they asked for and is not begun is not done any more."""
        for line in self._lines.values():
            if line.waiting and whom(line.waiting[-1][0]):
                line.waiting.clear()

    async def unsubscribe(self, user: str, channel: str, code: int, reason: str) -> None:
        """Take a user out of a channel, on every node."""
        self.rules.of(channel)
        await self._everywhere({"do": "unsubscribe", "user": user, "channel": channel, "code": code, "reason": reason})

    async def close(self, channel: str, code: int, reason: str) -> None:
        """Every reader out of a channel, on every node. Of RESUBSCRIBE, whoever may comes back and misses nothing; else nothing is kept."""
        self.rules.of(channel)
        await self._everywhere({"do": "close", "channel": channel, "code": code, "reason": reason})

    def send_away(self, channel: str) -> None:
        """Every reader of this node out of a channel; whoever may comes back and misses nothing."""
        self._control({"do": "close", "channel": channel, "code": RESUBSCRIBE, "reason": "hidden"})

    async def delete(self, channel: str, offsets: Sequence[int], epoch: str) -> None:
        """Nobody who comes later sees these publications."""
        await self._everywhere({"do": "delete", "channel": channel, "offsets": list(offsets), "epoch": epoch})

    async def occupied(self, prefix: str = "") -> list[tuple[str, int]]:
        """Channels with readers, with how many on all nodes, by name. Raises Unavailable.

        Of another node: those of its CHANNELS_MOST with most readers, as they were a few seconds ago.
        """
        found = Counter({name: readers for name, readers in self._here() if name.startswith(prefix)})
        for node in await self._others():
            found.update({name: readers for name, readers in node["occupied"] if name.startswith(prefix)})
        return sorted(found.items())

    async def info(self) -> dict[str, Any]:
        """This node in numbers, and under `others` the other nodes as they were a few seconds ago. Raises Unavailable."""
        return {**self._numbers(), "others": [node["numbers"] for node in await self._others()]}

    async def _others(self) -> list[dict[str, Any]]:
        return [] if self.shared is None else [json.loads(each) for each in await self.shared.others()]

    def _here(self) -> list[tuple[str, int]]:
        return [(room.name, room.channel.subscribers) for room in self.rooms if room.channel.subscribers]

    def _numbers(self) -> dict[str, Any]:
        readers = sum(room.channel.subscribers for room in self.rooms)
        return {"node": self.sockets.node, "channels": len(self.rooms), "readers": readers, **self.counts}

    async def _everywhere(self, control: dict[str, Any]) -> None:
        self._control(control)
        if self.shared is not None:
            await self.shared.control(json.dumps(control).encode())

    def _control(self, control: dict[str, Any]) -> None:
        match control["do"]:
            case "disconnect":
                self.sockets.disconnect_user(control["user"], control["code"], control["reason"])
                self._silence(lambda who: who.user == control["user"])
            case "unsubscribe":
                self._sent_away += 1
                room = self.rooms.get(control["channel"])
                if room is not None:
                    self.sockets.unsubscribe_user(control["user"], room.channel, control["code"], control["reason"])
                    for member in [each for each in room.members if each.user == control["user"]]:
                        self._leave(room, member.client)
            case "close":
                self._sent_away += 1
                room = self.rooms.get(control["channel"])
                if room is not None:
                    closed = room.channel
                    self.rooms.reopen(room, empty=control["code"] != RESUBSCRIBE)
                    self._empty(room, closed, control["code"], control["reason"])
            case "delete":
                room = self.rooms.get(control["channel"])
                if room is not None and room.history.epoch == control["epoch"]:
                    room.history.delete(control["offsets"])

    def _empty(self, room: Room, closed: Channel, code: int, reason: str) -> None:
        """`closed` was the channel of `room` until now: its readers on this node are told, and present no more."""
        closed.close(code, reason)
        for member in list(room.members):
            if member.client.startswith(self.sockets.node + "-"):
                self._leave(room, member.client)

    # -- other nodes ------------------------------------------------------------------------------------------------------

    async def _serve_shared(self, shared: Shared, *, task_status: trio.TaskStatus[None]) -> None:
        async with shared.serve(self):
            task_status.started()
            await trio.sleep_forever()

    async def _follow_controls(self, shared: Shared) -> None:
        async with shared.controls() as messages:
            async for message in messages:
                await guard(_log, self._controlled, message)

    async def _controlled(self, message: bytes) -> None:
        self._control(json.loads(message))

    def arrived(self, channel: str, epoch: str, offset: int, note: Note) -> None:
        """The next publication of a channel that this node follows."""
        room = self.rooms.get(channel)
        if room is not None and room.history.epoch == epoch and offset > room.history.offset:
            self.rooms.put(room, Publication(offset, note.data, note.at, note.info), note.key, keep=note.keep)

    def joined(self, channel: str, member: Member) -> None:
        """Somebody came to another node."""
        room = self.rooms.get(channel)
        if room is not None and room.members.enter(member):
            self.tell_join(room, member)

    def left(self, channel: str, member: Member) -> None:
        room = self.rooms.get(channel)
        known = None if room is None else room.members.leave(member.client)
        if room is not None and known is not None:
            self.tell_leave(room, known)

    def present(self, channel: str, clients: set[str]) -> None:
        """Whoever is not among `clients` left while this node did not hear."""
        room = self.rooms.get(channel)
        if room is not None:
            for member in [each for each in room.members if each.client not in clients]:
                self.left(channel, member)

    def summary(self) -> bytes:
        """What the other nodes are told of this one."""
        occupied = nlargest(CHANNELS_MOST, self._here(), key=itemgetter(1))
        return json.dumps({"numbers": self._numbers(), "occupied": occupied}, separators=(",", ":")).encode()

    def restarted(self, channel: str, epoch: str, offset: int, lost: int, notes: Sequence[tuple[int, Note]]) -> None:
        """What the channel has, as a whole. Readers of another epoch must subscribe again; those of this one learn of a gap."""
        room = self.rooms.get(channel)
        if room is None:
            return
        if room.history.epoch != epoch:
            closed = room.channel
            used = room.history.offset or closed.subscribers
            self.rooms.renumber(room, epoch)
            if used:
                self._empty(room, closed, RESUBSCRIBE, "renumbered")
        before = room.history.offset
        if before < lost:
            room.history.begin(lost, lost)
            if before and room.channel.subscribers:
                room.channel.push(pushes.gap(JSON, channel.encode(), epoch.encode(), before + 1, lost))
        for number, note in notes:
            if number > room.history.offset:
                self.rooms.put(room, Publication(number, note.data, note.at, note.info), note.key, keep=note.keep)
        if offset > room.history.offset:
            room.history.begin(offset, 0)
        if room.space.name == channels.STREAM:
            room.history.delete(_taken_out(room))

    def _forgotten(self, room: Room) -> None:
        if self.shared is not None and room.ready:
            self.shared.unfollow(room.name)

    def _now_ms(self) -> int:
        """Unix milliseconds; one object for all of the same one: of a crowd that comes at once every member keeps when it came."""
        now = int(self._clock.wall() * 1000)
        if now != self._latest_ms:
            self._latest_ms = now
        return self._latest_ms


def error_item(id: int, error: NovaError) -> bytes:
    """The reply of a command that failed."""
    detail = "" if error.kind == "internal" else error.detail
    retry_ms = 0 if error.retry_after is None else max(1, int(error.retry_after * 1000))
    return pushes.error(JSON, id, error.code.encode(), (detail or error.row.title).encode("utf-8", "replace"), retry_ms)


def _join(channel: str, member: Member, *, joined: bool) -> bytes:
    user = None if member.user is None else member.user.encode()
    return pushes.join(JSON, joined, channel.encode(), user, member.client.encode())


def _taken_out(room: Room) -> list[int]:
    """What moderators have deleted: nodes that come later hear of it after the comments themselves."""
    gone: list[int] = []
    kept = room.history.last(len(room.history))
    for said in kept:
        if said.info is not None:
            continue
        data = json.loads(said.data)
        if not isinstance(data, dict):
            continue
        if data.get("type") == "delete":
            epoch, _, offset = str(data.get("id")).partition(".")
            if epoch == room.history.epoch and offset.isdigit():
                gone.append(int(offset))
        elif data.get("type") == "clear":
            user = data.get("user")
            gone += [each.offset for each in kept if each.info and each.offset < said.offset and json.loads(each.info).get("user") == user]
    return gone


def _publisher(who: Who) -> str:
    """Whose idempotency keys and rates."""
    return who.user if who.user is not None else f" {who.peer}"


def _encoded(publications: Sequence[Publication]) -> list[tuple[int, bytes, int, bytes | None]]:
    return [(each.offset, each.data, each.at, each.info) for each in publications]


def _large(space: Namespace) -> TooLarge:
    return TooLarge("too_large", f"a message to this channel has at most {space.size} bytes")


def _raise(refused: Refused | None) -> None:
    if refused is not None:
        raise errors.of(refused.code, refused.detail)
