"""Who may say what in the chat of a stream, and what moderators do about it.

A comment is stored before anybody sees it. What the server says by itself (`type`: viewers, status, mode, delete, clear) has no
`info`; what clients say always has it: so nobody can pass for the server.
"""

from __future__ import annotations

import json
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from hashlib import sha256
from typing import Final

import trio

from nova.core.clock import Clock
from nova.core.errors import TABLE, Forbidden, NotFound, NovaError, RateLimited, Unauthenticated, Unavailable, Unprocessable
from nova.core.lifecycle import cleanup, finishing
from nova.core.log import Log
from nova.ext.values import JSON
from nova.realtime import channels
from nova.realtime.chat.model import REASON_MAX, TEXT_MAX, Ban, Comment, Mode, Said, clean, place_of, read
from nova.realtime.chat.ports import ChatStore
from nova.realtime.history import Place
from nova.realtime.hub import RESUBSCRIBE, Hub, Published
from nova.realtime.limits import ChannelRates
from nova.realtime.once import Once
from nova.realtime.ports import Note, StreamFacts, StreamsPort
from nova.realtime.seam import Who

GUEST: Final = "guest_"  # how ids of guests begin
TICK: Final = 2.0  # seconds between two looks at the viewer counts
PRUNE_EVERY: Final = 256  # comments of one stream between two looks at how many there are
SLOW_ENTRIES: Final = 65536  # users whose last comment is remembered
WATCHED: Final = 15.0  # seconds for which it is believed that readers on other nodes follow a chat
STATUS_QUEUE: Final = 1024  # changes of streams' states that wait to be told

_log = Log("nova.chat")


class Chat:
    """The chats of this node's streams. `run` while the server lives.

    words: comments with one of them are refused. kept: comments of one stream that stay in the store.
    elsewhere: streams that this node does not keep, and whose chats have readers here.
    """

    def __init__(
        self, hub: Hub, store: ChatStore, streams: StreamsPort, clock: Clock, new_id: Callable[[], str], *, words: Sequence[str] = (),
        kept: int = 10_000,
    ) -> None:  # fmt: skip
        self._hub, self._store, self._streams, self._clock, self._new_id = hub, store, streams, clock, new_id
        self._words, self._kept = tuple(word.casefold() for word in words), kept
        self._once = Once[Place]()
        self._rates = ChannelRates()  # of what comes by all nodes; each has counted its own before
        self._under_way: dict[tuple[str, ...], trio.Event] = {}
        self.elsewhere: set[str] = set()
        self._watched: dict[str, float] = {}  # streams with readers on other nodes, and until when that is believed
        self._spoke: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._began, self._began_at = clock.monotonic(), self._now()
        self._told: dict[str, int] = {}
        self._added: dict[str, int] = {}
        self._states: deque[tuple[str, str]] = deque(maxlen=STATUS_QUEUE)
        self._news = trio.Event()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Tell viewer counts and states; until cancelled."""
        task_status.started()
        while True:
            with trio.move_on_after(TICK):
                await self._news.wait()
            self._news = trio.Event()
            try:
                await self._tell_states()
                await self._tell_viewers()
            except NovaError as error:
                _log.warning("chat_not_told", code=error.code, detail=error.detail)

    def status(self, stream: str, status: str) -> None:
        """The stream is in this state from now on. Synchronous: whoever tells never waits."""
        self._states.append((stream, status))
        self._news.set()

    # -- clients -----------------------------------------------------------------------------------------------------------

    async def publish(self, who: Who, stream: str, data: bytes, *, key: str = "") -> Published:
        """{text} or {reaction} from a client. key: idempotency key. Raises NovaError."""
        return (await self.say(who, stream, read(data), key=key))[0]

    async def comment(self, who: Who, stream: str, text: str, *, key: str = "") -> Comment:
        """A comment. key: idempotency key; another text with it is another comment. Raises NovaError."""
        said = Said(clean(text, "/text", TEXT_MAX), "")
        word = sha256(f"{key}\0{said.text}".encode()).hexdigest() if key else ""
        done, comment = await self.say(who, stream, said, key=word)
        found = comment or await self._store.get(stream, done.place)
        if found is None:
            raise NotFound("not_found", "the comment was deleted meanwhile")
        return found

    async def say(self, who: Who, stream: str, said: Said, *, key: str = "") -> tuple[Published, Comment | None]:
        """What was said, and the comment that it is now.

        key: what is said with it again is not said again, and waits for what becomes of the first one.
        """
        if not key:
            return await self._say(who, stream, said, "")
        user = who.user or ""
        async with self._alone("say", stream, user, key):
            if (known := self._once.seen(stream, user, key, self._clock.monotonic())) is not None:
                return Published(known, bool(said.text), again=True), None
            return await self._say(who, stream, said, key)

    async def _say(self, who: Who, stream: str, said: Said, key: str) -> tuple[Published, Comment | None]:
        if who.user is None:
            raise Unauthenticated("unauthenticated", "a token is needed to write in a chat")
        facts = await self._facts(who, stream)
        space, _ = self._hub.rules.of(_channel(stream))
        self._rates.take(space, _channel(stream), who.user, self._clock.monotonic())
        badges = await self._badges(who, facts, stream)
        slow = await self._admit(who.user, stream, bool(badges) and badges != ("guest",))
        info = _json({"user": who.user, "name": name_of(who), "badges": list(badges)})
        if said.reaction:
            note = Note(_json({"reaction": said.reaction}), self._now(), info, "", keep=False)
            return await self._place(stream, note, who.user, key), None
        if any(word in said.text.casefold() for word in self._words):
            raise Unprocessable("text_refused", "the text has words that are not wanted here")
        if slow:
            await self._take_turn(stream, who.user, slow, said.text if key else None)
        comment = Comment(self._new_id(), stream, who.user, name_of(who), badges, said.text, self._now())
        try:
            done = await self._publish(comment, info, key)
        except Unavailable:
            self._spoke.pop((stream, who.user), None)  # who comes again with it is not told that they just spoke
            raise
        try:
            await self._prune(stream)
        except NovaError as error:  # what was said stays said
            _log.warning("chat_not_pruned", code=error.code)
        return done, None if done.again else replace(comment, place=done.place)

    async def _publish(self, comment: Comment, info: bytes, key: str) -> Published:
        """Tell and keep it. Raises Unavailable."""
        done = None
        with cleanup():  # told and numbered together, also when the writer has left: a comment without its place could not be deleted
            await self._store.add(comment)
            note = Note(_json({"text": comment.text}), comment.at, info, "", keep=True)
            told = await self._place(comment.stream, note, comment.user, key)
            # Told before: by this node before its restart, or when the bus was lost before it answered. It may be kept already.
            if not told.again or await self._store.get(comment.stream, told.place) is None:
                await self._store.number(comment.id, told.place)
            done = Published(told.place, True, told.again)
            if key:
                self._once.done(comment.stream, comment.user, key, told.place, self._clock.monotonic())
        if done is None:
            raise Unavailable(retry_after=1.0)
        return done

    async def comments(self, who: Who, stream: str, before: str | None, limit: int) -> tuple[list[Comment], str | None]:
        """A page, newest first, and the internal id to go on behind when there is more. Raises NotFound."""
        await self._facts(who, stream)
        found = await self._store.page(stream, before, limit + 1)
        return found[:limit], found[limit - 1].id if len(found) > limit else None

    async def get(self, who: Who, stream: str, comment: str) -> Comment:
        """One of them. Raises NotFound."""
        await self._facts(who, stream)
        if (found := await self._store.get(stream, place_of(comment))) is None:
            raise NotFound("not_found", "there is no such comment")
        return found

    # -- moderators --------------------------------------------------------------------------------------------------------

    async def delete(self, who: Who, stream: str, comment: str) -> None:
        """One's own comment, or as a moderator. Raises NotFound, Forbidden."""
        facts = await self._facts(who, stream)
        place = place_of(comment)
        async with self._alone("delete", stream, comment):  # told once
            found = await self._store.get(stream, place)
            if found is None:
                raise NotFound("not_found", "there is no such comment")
            if found.user != who.user:
                await self._require_moderator(who, facts, stream)
            with finishing():  # told before it is gone: when not all could be told, the same call, made again, tells them
                await self._hub.delete(_channel(stream), [place.offset], place.epoch)
                await self._tell(stream, {"type": "delete", "id": comment})
                await self._store.delete(stream, place)

    async def ban(self, who: Who, stream: str, user: str, seconds: int | None, reason: str) -> None:
        """`user` may not write, for so long, and what they wrote is taken out. Raises NotFound, Forbidden."""
        facts = await self._facts(who, stream)
        await self._require_moderator(who, facts, stream)
        if user == facts.owner or (not self._owns(who, facts) and await self._store.moderates(stream, user)):
            raise Forbidden("forbidden", "owners cannot be banned, and moderators only by them")
        until = None if seconds is None else self._now() + seconds * 1000
        why = clean(reason, "/reason", REASON_MAX) if reason else ""
        with finishing():  # told before it is gone, as above
            await self._store.ban(stream, Ban(user, until, why, who.user or "", self._now()))
            await self._tell(stream, {"type": "clear", "user": user})
            by_epoch: dict[str, list[int]] = {}
            for place in await self._store.delete_of(stream, user):
                by_epoch.setdefault(place.epoch, []).append(place.offset)
            for epoch, offsets in by_epoch.items():
                await self._hub.delete(_channel(stream), offsets[-1000:], epoch)

    async def unban(self, who: Who, stream: str, user: str) -> None:
        """Raises NotFound: there is no ban; Forbidden."""
        await self._require_moderator(who, await self._facts(who, stream), stream)
        if not await self._store.unban(stream, user):
            raise NotFound("not_found", "this user is not banned here")

    async def appoint(self, who: Who, stream: str, user: str) -> None:
        """`user` moderates this chat from now on. Raises NotFound, Forbidden: only the owner appoints."""
        self._require_owner(who, await self._facts(who, stream))
        await self._store.add_moderator(stream, user, self._now())

    async def dismiss(self, who: Who, stream: str, user: str) -> None:
        """Raises NotFound, Forbidden."""
        self._require_owner(who, await self._facts(who, stream))
        if not await self._store.remove_moderator(stream, user):
            raise NotFound("not_found", "this user does not moderate here")

    async def mode(self, who: Who, stream: str) -> Mode:
        """How the chat runs. Raises NotFound."""
        await self._facts(who, stream)
        return await self._store.mode(stream)

    async def require_moderator(self, who: Who, stream: str) -> None:
        """Raises NotFound, Unauthenticated, Forbidden."""
        await self._require_moderator(who, await self._facts(who, stream), stream)

    async def set_mode(self, who: Who, stream: str, mode: Mode) -> None:
        """Raises NotFound, Forbidden."""
        await self.require_moderator(who, stream)
        await self._store.set_mode(stream, mode)
        told = {"type": "mode", "enabled": mode.enabled, "slow_mode_s": mode.slow_mode_s, "guests": mode.guests}
        await self._tell(stream, told, key="mode")

    async def forget(self, stream: str) -> None:
        """The stream was deleted. Raises Unavailable: not every node could be told."""
        self._watched.pop(stream, None)
        await self._store.forget(stream)
        await self._hub.close(_channel(stream), TABLE["not_found"].close, "not_found")

    async def hide(self, stream: str, user: str | None) -> None:
        """The stream is not for everybody any more: this user; None: whoever is there subscribes again, and gets in or not.

        Raises Unavailable: not every node could be told.
        """
        if user is None:
            await self._hub.close(_channel(stream), RESUBSCRIBE, "hidden")
        else:
            await self._hub.unsubscribe(user, _channel(stream), RESUBSCRIBE, "hidden")

    # -- rules -------------------------------------------------------------------------------------------------------------

    async def _facts(self, who: Who, stream: str) -> StreamFacts:
        return await self._streams.facts(stream, who.user, operator=self._hub.is_admin(who))

    def _owns(self, who: Who, facts: StreamFacts) -> bool:
        return (who.user is not None and who.user == facts.owner) or self._hub.is_admin(who)

    def _require_owner(self, who: Who, facts: StreamFacts) -> None:
        if who.user is None:
            raise Unauthenticated("unauthenticated", "a token is needed")
        if not self._owns(who, facts):
            raise Forbidden("forbidden", "only the owner of this stream may do this")

    async def _require_moderator(self, who: Who, facts: StreamFacts, stream: str) -> None:
        if who.user is None:
            raise Unauthenticated("unauthenticated", "a token is needed")
        if not self._owns(who, facts) and not await self._store.moderates(stream, who.user):
            raise Forbidden("forbidden", "only moderators of this chat may do this")

    async def _badges(self, who: Who, facts: StreamFacts, stream: str) -> tuple[str, ...]:
        if who.user == facts.owner:
            return ("owner",)
        if who.user is not None and await self._store.moderates(stream, who.user):
            return ("moderator",)
        return ("guest",) if who.user is not None and who.user.startswith(GUEST) else ()

    async def _admit(self, user: str, stream: str, trusted: bool) -> int:
        """How many seconds are to be between two comments of this user. Raises Forbidden `banned`, `chat_disabled`, `guests_forbidden`."""
        ban = await self._store.banned(stream, user)
        if ban is not None and (ban.until is None or ban.until > self._now()):
            wait = None if ban.until is None else (ban.until - self._now()) / 1000
            raise Forbidden("banned", "you are banned from this chat", retry_after=wait)
        mode = await self._store.mode(stream)
        if trusted:
            return 0
        if not mode.enabled:
            raise Forbidden("chat_disabled", "the chat of this stream is switched off")
        if user.startswith(GUEST) and not mode.guests:
            raise Forbidden("guests_forbidden", "this chat takes no guests")
        return mode.slow_mode_s

    async def _take_turn(self, stream: str, user: str, slow: int, again: str | None) -> None:
        """Raises RateLimited `slow_mode`: this user's last comment, since the chat is slow or from before this node's start, is too new.

        again: the text, when it may be said for the second time; the bus knows whether it is.
        """
        ago = float(slow)
        if self._clock.monotonic() - self._began < slow:  # later nothing from before matters any more
            last = await self._store.newest(stream, user)
            if last is not None and last.at < self._began_at and last.text != again:
                ago = (self._now() - last.at) / 1000
        now = self._clock.monotonic()
        if (wait := slow - min(ago, now - self._spoke.get((stream, user), now - slow))) > 0:
            raise RateLimited("slow_mode", f"one comment every {slow} s", retry_after=wait)
        self._spoke[stream, user] = now
        self._spoke.move_to_end((stream, user))
        if len(self._spoke) > SLOW_ENTRIES:
            self._spoke.popitem(last=False)

    @asynccontextmanager
    async def _alone(self, *what: str) -> AsyncIterator[None]:
        """Nobody else does the same here meanwhile; who comes second waits."""
        while (other := self._under_way.get(what)) is not None:
            await other.wait()
        ended = self._under_way[what] = trio.Event()
        try:
            yield
        finally:
            del self._under_way[what]
            ended.set()

    async def _prune(self, stream: str) -> None:
        count = self._added.get(stream, 0) + 1
        self._added[stream] = count % PRUNE_EVERY
        if count == PRUNE_EVERY:
            await self._store.prune(stream, self._kept)

    # -- telling -----------------------------------------------------------------------------------------------------------

    async def _place(self, stream: str, note: Note, user: str, key: str) -> Published:
        """What a user says, once for each idempotency key."""
        channel = _channel(stream)
        space, rest = self._hub.rules.of(channel)
        done = await self._hub.place(channel, space, rest, note, f"{user}\0{key}" if key else "")
        if key and not note.keep and not done.again:
            self._once.done(stream, user, key, done.place, self._clock.monotonic())
        return done

    async def _tell(self, stream: str, what: dict[str, object], *, key: str = "") -> Place:
        return (await self._hub.say(_channel(stream), _json(what), conflate_key=key)).place

    async def _tell_states(self) -> None:
        while self._states:
            stream, status = state = self._states.popleft()
            try:
                await self._tell(stream, {"type": "status", "status": status}, key="status")
            except Unavailable:
                if len(self._states) < STATUS_QUEUE:
                    self._states.appendleft(state)
                raise

    def watched(self, stream: str) -> None:
        """Readers on another node follow the chat of this stream now."""
        self._watched[stream] = self._clock.monotonic() + WATCHED

    def send_away(self, stream: str) -> None:
        """The readers of this node subscribe again, and get in or not."""
        self._hub.send_away(_channel(stream))

    def read_here(self) -> list[str]:
        """The streams whose chats have readers on this node."""
        return [room.rest for room in self._hub.rooms if room.space.name == channels.STREAM and room.channel.subscribers]

    async def _tell_viewers(self) -> None:
        now = self._clock.monotonic()
        self._watched = {stream: until for stream, until in self._watched.items() if until > now}
        watched = set(self.read_here()) | self._watched.keys()
        self.elsewhere &= watched
        for stream in watched - self.elsewhere:
            if stream not in self._told and not await self._streams.here(stream):
                self.elsewhere.add(stream)  # for good: ids of streams are never used again
                continue
            count = self._streams.viewers(stream)
            if self._told.get(stream) != count:
                await self._tell(stream, {"type": "viewers", "count": count}, key="viewers")
                self._told[stream] = count
        for stream in self._told.keys() - watched:
            del self._told[stream]

    # -- who is meant, between nodes ---------------------------------------------------------------------------------------

    def told(self, who: Who) -> list[object]:
        """What another node must know of who asks: nothing of a token but what follows from it."""
        return [who.user, name_of(who), self._hub.is_admin(who)]

    def meant(self, user: str | None, name: str, operator: bool) -> Who:
        """Whom another node told of."""
        return Who("", user, self._hub.admin_scope if operator else 0, b"", name, "", "", JSON)

    def _now(self) -> int:
        return int(self._clock.wall() * 1000)


def _channel(stream: str) -> str:
    return f"{channels.STREAM}:{stream}"


def _json(value: dict[str, object]) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def name_of(who: Who) -> str:
    """The name of the token, else the one that the client took, else the id."""
    claimed = json.loads(who.claims).get("name") if who.claims else None
    name = claimed if isinstance(claimed, str) and claimed else who.name
    return " ".join(name.split())[:64] or who.user or ""
