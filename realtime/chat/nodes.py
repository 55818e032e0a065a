"""The chats of the streams of all nodes, as one of them sees them.

A stream is kept by one node: its store has the stream, its comments and how its chat runs, and it alone decides about them. Which node that
is stands in a table of the bus, written when a stream is made and whenever the bus may have lost it. Every other node asks the keeper,
about what a user may see and with everything that is done in a chat; what comes of it reaches all nodes as the channel's publications.
A keeper that is down is still in the table, so the others know that its streams are away for now and not gone.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, astuple, dataclass
from itertools import islice
from typing import Any, Final, TypeVar

import trio

from nova.core import errors
from nova.core.bus import Bus, Lease
from nova.core.bus.calls import AGAIN, Calls
from nova.core.errors import TABLE, FieldError, NotFound, NovaError, Unavailable
from nova.core.log import Log
from nova.core.values import Seconds
from nova.realtime.chat.model import Comment, Mode
from nova.realtime.chat.service import Chat
from nova.realtime.history import Place
from nova.realtime.hub import Published
from nova.realtime.ports import StreamFacts, StreamsPort
from nova.realtime.seam import Who

KEEPERS: Final = "realtime:keepers"  # stream: the node that keeps it
TOPIC: Final = "nova.realtime.chat.2"  # and how it is spoken: who speaks otherwise hears elsewhere, and is not there for this one
PATIENCE: Final = Seconds(3.0)  # with a keeper; a person waits
BEAT: Final = 3.0  # seconds between two looks at whether the bus still has this node's streams
LEASE: Final = Seconds(10.0)
SETTLE: Final = 10.0  # seconds until every node that is up has written its rows again; above BEAT and the bus's back-off
ROWS: Final = 1000  # streams of one message
LOOKS: Final = 100  # streams that keepers are asked about at the same time after an interruption; fewer than one answers at once
PAGE_MOST: Final = 100  # comments of one answer: of the longest ones, what a message on the bus holds
AWAY_MOST: Final = 65_536  # streams of other nodes that are remembered; beyond, those used longest ago are asked about again

T = TypeVar("T")

_log = Log("nova.chat")


@dataclass(frozen=True, slots=True)
class _Verb:
    """One thing that is asked of a chat.

    own: by that of this node, with JSON values. pack, unpack: what comes of it as one, and back.
    changes: not done for who was told that it failed.
    """

    own: Callable[..., Awaitable[Any]]
    pack: Callable[[Any], Any] = lambda said: None
    unpack: Callable[[Any], Any] = lambda said: None
    changes: bool = True


class ChatNodes:
    """`Chats` and `StreamsPort` over all nodes. streams: those of this node. `run` while the server lives."""

    def __init__(self, bus: Bus, node: str, streams: StreamsPort, kept: Callable[[], Awaitable[Iterable[str]]]) -> None:
        """kept: the ids of all streams that this node keeps."""
        self._bus, self._node, self._streams, self._kept = bus, node, streams, kept
        self._calls = Calls(bus, TOPIC, node, self._answer)
        self._own: Chat
        self._lease: Lease | None = None
        self._lapsed = trio.Event()  # somebody noticed that it is held no more
        self.away: OrderedDict[str, str] = OrderedDict()  # streams of other nodes that somebody here asked for, and their keepers
        self._late: set[str] = set()  # streams that the table is not known to have
        self._gone: set[str] = set()  # deleted ones that it may still have
        self._doubted = True  # it may have lost what it had
        self._settled = 0.0  # when it has everything again
        self._suspect: dict[str, None] = {}  # streams with readers here that may have been hidden unheard

    def attach(self, own: Chat) -> None:
        """The chat of this node's streams is made after the hub, and the hub after this."""
        self._own = own

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Answer the others; until cancelled. Raises Unavailable: not at the start."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self._calls.run)
            await nursery.start(self._listen)
            await self._hold()
            nursery.start_soon(self._tell_watched)
            task_status.started()
            while True:
                with trio.move_on_after(BEAT):
                    await self._lapsed.wait()
                self._lapsed = trio.Event()
                await self._hold()

    # -- which node keeps what ---------------------------------------------------------------------------------------------

    async def created(self, stream: str) -> None:
        """This node keeps one more stream."""
        self._late.add(stream)  # first: whoever makes it may leave meanwhile
        try:
            await self._bus.put(KEEPERS, {stream: self._node.encode()})
        except Unavailable as error:
            _log.warning("keeper_not_told", code=error.code)
        else:
            self._late.discard(stream)

    async def deleted(self, stream: str) -> None:
        """… and one less. A row that stays is harmless while this node is up: it says that there is no such stream."""
        self._late.discard(stream)
        self._gone.add(stream)
        try:
            await self._bus.drop(KEEPERS, [stream])
        except Unavailable as error:
            _log.warning("keeper_not_told", code=error.code)
        else:
            self._gone.discard(stream)

    async def _hold(self) -> None:
        """Whoever loses the lease of this node may have lost its rows, too: they are written again."""
        try:
            await self._holds()
            if self._lease is None:
                self._lease = await self._bus.acquire(keeper_lease(self._node), self._node, LEASE)
            if self._doubted:
                self._doubted = False  # first: what is doubted meanwhile is doubted
                self._late.update(await self._kept())
            for some in _some(self._late):
                await self._bus.put(KEEPERS, dict.fromkeys(some, self._node.encode()))
                self._late.difference_update(some)
            for some in _some(self._gone):
                await self._bus.drop(KEEPERS, some)
                self._gone.difference_update(some)
            if self._lease is None:  # somebody forgets this node, and may take out what was just written
                self._doubted = True
        except Unavailable:
            self._doubted = True

    async def _listen(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Nothing is said in this log: it tells when this node did not hear the bus, which may be another one now, or be behind."""
        async with self._bus.follow() as follower:
            await follower.add(TOPIC)  # the name of no channel
            task_status.started()
            async for _interrupted in follower:
                self._doubt()
                self._suspect |= {stream: None for stream in self._own.read_here() if stream in self.away or stream in self._own.elsewhere}

    def _doubt(self) -> None:
        self._doubted = True
        self._settled = trio.current_time() + SETTLE

    async def _holds(self) -> bool:
        """Whether the table has every row of before: it has been kept for as long as this node's lease has. Raises Unavailable."""
        lease = self._lease
        if lease is not None and not await self._bus.renew(lease, LEASE) and self._lease is lease:
            self._lease = None
            self._doubt()
        return self._lease is not None and trio.current_time() >= self._settled

    async def _tell_watched(self) -> None:
        """Keepers learn which of their streams have readers here: they say how many watch."""
        while True:
            await trio.sleep(BEAT)
            if self._suspect:
                read = set(self._own.read_here())
                self._suspect = {stream: None for stream in self._suspect if stream in read}
            async with trio.open_nursery() as nursery:
                for stream in list(islice(self._suspect, LOOKS)):
                    nursery.start_soon(self._look_at, stream)
            by_keeper: dict[str, list[str]] = {}
            with suppress(Unavailable):
                for stream in sorted(self._own.elsewhere):
                    keeper = self.away.get(stream) or await self._find(stream)
                    if keeper is not None:
                        self.away.move_to_end(stream)
                        by_keeper.setdefault(keeper, []).append(stream)
            async with trio.open_nursery() as nursery:
                for keeper, streams in by_keeper.items():
                    nursery.start_soon(self._tell_keeper, keeper, streams)

    async def _look_at(self, stream: str) -> None:
        """Whether it is for everybody. It stays suspect, behind the others, while its keeper does not say."""
        del self._suspect[stream]
        try:
            await self.facts(stream, None, operator=False)
        except NotFound:
            self._own.send_away(stream)
        except NovaError:
            self._suspect[stream] = None

    async def _tell_keeper(self, keeper: str, streams: list[str]) -> None:
        try:
            for some in _some(streams):
                if await self._calls.ask(keeper, _encoded(["watched", some]), PATIENCE) is None:
                    for stream in streams:  # it may have come back as another process: the table says so
                        self.away.pop(stream, None)
                    return
        except NovaError as error:
            _log.warning("keeper_not_told", code=error.code)

    async def _find(self, stream: str) -> str | None:
        """Another node that keeps it, of the table; None: it has none. Raises Unavailable."""
        row = await self._bus.row(KEEPERS, stream)
        keeper = None if row is None else row.decode("ascii", "replace")
        if keeper is None or keeper == self._node:
            return None
        self.away[stream] = keeper
        self.away.move_to_end(stream)
        if len(self.away) > AWAY_MOST:
            self.away.popitem(last=False)
        return keeper

    # -- StreamsPort -------------------------------------------------------------------------------------------------------

    async def facts(self, stream: str, user: str | None, *, operator: bool) -> StreamFacts:
        if stream not in self.away:
            try:
                return await self._streams.facts(stream, user, operator=operator)
            except NotFound:
                if await self._streams.here(stream):
                    raise
        return await self._ask(stream, ["facts", stream, user, operator], lambda said: StreamFacts(*said))

    async def here(self, stream: str) -> bool:
        return await self._streams.here(stream)

    def viewers(self, stream: str) -> int:
        return self._streams.viewers(stream)

    # -- Chats -------------------------------------------------------------------------------------------------------------

    async def publish(self, who: Who, stream: str, data: bytes, *, key: str = "") -> Published:
        found: Published = await self._do("publish", who, stream, data.decode("utf-8", "surrogatepass"), key)
        return found

    async def comment(self, who: Who, stream: str, text: str, *, key: str = "") -> Comment:
        found: Comment = await self._do("comment", who, stream, text, key)
        return found

    async def comments(self, who: Who, stream: str, before: str | None, limit: int) -> tuple[list[Comment], str | None]:
        found: list[Comment] = []
        while True:
            page, before = await self._do("comments", who, stream, before, min(limit - len(found), PAGE_MOST))
            found += page
            if before is None or len(found) == limit:
                return found, before

    async def get(self, who: Who, stream: str, comment: str) -> Comment:
        found: Comment = await self._do("get", who, stream, comment)
        return found

    async def delete(self, who: Who, stream: str, comment: str) -> None:
        await self._do("delete", who, stream, comment)

    async def ban(self, who: Who, stream: str, user: str, seconds: int | None, reason: str) -> None:
        await self._do("ban", who, stream, user, seconds, reason)

    async def unban(self, who: Who, stream: str, user: str) -> None:
        await self._do("unban", who, stream, user)

    async def appoint(self, who: Who, stream: str, user: str) -> None:
        await self._do("appoint", who, stream, user)

    async def dismiss(self, who: Who, stream: str, user: str) -> None:
        await self._do("dismiss", who, stream, user)

    async def mode(self, who: Who, stream: str) -> Mode:
        found: Mode = await self._do("mode", who, stream)
        return found

    async def require_moderator(self, who: Who, stream: str) -> None:
        await self._do("require_moderator", who, stream)

    async def set_mode(self, who: Who, stream: str, mode: Mode) -> None:
        await self._do("set_mode", who, stream, asdict(mode))

    async def _do(self, what: str, who: Who, stream: str, *more: Any) -> Any:
        """By the chat of this node, or by that of the stream's keeper. Raises what that raises; Unavailable."""
        verb = VERBS[what]
        if stream not in self.away:
            try:
                return await verb.own(self._own, who, stream, *more)
            except NotFound:
                if await self._streams.here(stream):
                    raise
        return await self._ask(stream, [what, self._own.told(who), stream, *more], verb.unpack, changes=verb.changes)

    # -- questions ---------------------------------------------------------------------------------------------------------

    async def _ask(self, stream: str, question: list[Any], unpack: Callable[[Any], T], *, changes: bool = False) -> T:
        """The keeper that is known, or else that of the table: it may have come back as another process, or the bus has lost the row."""
        asked = _encoded(question)
        known = self.away.get(stream)
        answer = None if known is None else await self._calls.ask(known, asked, PATIENCE, changes=changes)
        if answer is None:
            keeper = await self._find(stream)
            if keeper is None:
                if not await self._holds():
                    raise Unavailable("node_unavailable", "which node keeps this is not known now", retry_after=BEAT)
                self.away.pop(stream, None)
                raise NotFound("not_found", "there is no such stream")
            answer = None if keeper == known else await self._calls.ask(keeper, asked, PATIENCE, changes=changes)
        if answer is None:
            raise Unavailable("node_unavailable", "the node that keeps this stream is not there", retry_after=AGAIN)
        try:
            return unpack(_said(answer))
        except (LookupError, TypeError, ValueError):
            detail = "what the node that keeps this stream answers is not understood here"
            raise Unavailable("node_unavailable", detail, retry_after=AGAIN) from None

    async def _answer(self, question: bytes, ticket: str) -> bytes:
        answer: dict[str, Any]
        try:
            answer = {"said": await self._work(ticket, *json.loads(question))}
        except NovaError as error:
            if error.kind == "internal":
                raise
            answer = {"error": [error.code, error.detail, error.retry_after, error.fields]}
        return _encoded(answer)

    async def _begin(self, ticket: str) -> None:
        """Whoever asked has not been told that it failed, and will not be; this node is the keeper still. Raises Unavailable."""
        taken = None if self._lease is None else await self._bus.take(ticket, self._lease)
        if taken is None:  # it was asleep or cut off for as long as this: first it says again what it keeps
            self._lapsed.set()
            raise Unavailable("node_unavailable", "the node that keeps this was away, and comes back", retry_after=AGAIN)
        if not taken:
            _log.peer("question_taken_back")
            raise Unavailable("node_unavailable", "whoever asked this has been told that it failed", retry_after=AGAIN)

    async def _work(self, ticket: str, what: str, *more: Any) -> Any:
        if what == "facts":
            stream, user, operator = more
            facts = await self._streams.facts(stream, user, operator=operator)
            self._own.watched(stream)
            return astuple(facts)
        if what == "watched":
            for stream in more[0]:
                self._own.watched(stream)
            return None
        if what not in VERBS:
            raise Unavailable("unavailable", "this node is of an older version and does not know this", retry_after=AGAIN)
        verb, (who, stream, *rest) = VERBS[what], more
        if verb.changes:
            await self._begin(ticket)
        return verb.pack(await verb.own(self._own, self._own.meant(*who), stream, *rest))


def keeper_lease(node: str) -> str:
    """Held while it answers for the streams that it keeps."""
    return f"{KEEPERS}:{node}"


def _some(streams: Collection[str]) -> Iterator[list[str]]:
    """All of them, ROWS at a time; `streams` may change meanwhile."""
    rest = iter(list(streams))
    while some := list(islice(rest, ROWS)):
        yield some


def _said(answer: bytes) -> Any:
    """What the answer says. Raises the error that it tells of."""
    found = json.loads(answer)
    if "error" not in found:
        return found["said"]
    code, detail, retry_after, fields = found["error"]
    if code not in TABLE:  # of a newer version
        code, retry_after = "unavailable", retry_after or AGAIN
    raise errors.of(code, detail, retry_after=retry_after, fields=[FieldError(*each) for each in fields])


def _encoded(said: Any) -> bytes:
    """Half of a surrogate pair, which a client may send, passes: the keeper says what it thinks of it."""
    return json.dumps(said, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


def _comment_of(packed: list[Any]) -> Comment:
    id, stream, user, name, badges, text, at, place = packed
    return Comment(id, stream, user, name, tuple(badges), text, at, None if place is None else Place(*place))


async def _publish(chat: Chat, who: Who, stream: str, data: str, key: str) -> Published:
    return await chat.publish(who, stream, data.encode("utf-8", "surrogatepass"), key=key)


async def _comment(chat: Chat, who: Who, stream: str, text: str, key: str) -> Comment:
    return await chat.comment(who, stream, text, key=key)


async def _set_mode(chat: Chat, who: Who, stream: str, mode: dict[str, Any]) -> None:
    await chat.set_mode(who, stream, Mode(**mode))


VERBS: Final[dict[str, _Verb]] = {
    "publish": _Verb(_publish, list, lambda said: Published(Place(*said[0]), *said[1:])),
    "comment": _Verb(_comment, astuple, _comment_of),
    "comments": _Verb(
        Chat.comments,
        lambda said: [[astuple(each) for each in said[0]], said[1]],
        lambda said: ([_comment_of(each) for each in said[0]], said[1]),
        changes=False,
    ),
    "get": _Verb(Chat.get, astuple, _comment_of, changes=False),
    "delete": _Verb(Chat.delete),
    "ban": _Verb(Chat.ban),
    "unban": _Verb(Chat.unban),
    "appoint": _Verb(Chat.appoint),
    "dismiss": _Verb(Chat.dismiss),
    "mode": _Verb(Chat.mode, asdict, lambda said: Mode(**said), changes=False),
    "require_moderator": _Verb(Chat.require_moderator, changes=False),
    "set_mode": _Verb(_set_mode),
}
