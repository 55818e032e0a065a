"""Where channels meet identity and streams: adapters, so that none of them knows the others, and the whole put together."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Final

from nova.core.bus import Bus
from nova.core.clock import Clock
from nova.core.errors import NotFound, Unprocessable
from nova.core.ids import Ids, parse_id
from nova.core.limits import Networks
from nova.core.settings_table import Settings
from nova.core.sql import Sql
from nova.ext.values import JSON
from nova.media.streams.access import Caller
from nova.media.streams.model import StreamId
from nova.media.streams.model import UserId as StreamUser
from nova.media.streams.service import Streams
from nova.realtime import channels, rules
from nova.realtime.chat.model import Comment, read
from nova.realtime.chat.nodes import ChatNodes
from nova.realtime.chat.ports import Chats
from nova.realtime.chat.service import Chat
from nova.realtime.chat.store_sql import SqlStore
from nova.realtime.cluster import Cluster
from nova.realtime.hub import Hub, Scopes
from nova.realtime.limits import Admission, Limits
from nova.realtime.ports import Hooks, StreamFacts
from nova.realtime.seam import Sockets, Who
from nova.realtime.session import Identity as Holder
from nova.realtime.session import Life
from nova.realtime.trio_sockets import TrioSockets
from nova.surface.hooks import ASKS, HttpHooks
from nova.surface.identity import scopes
from nova.surface.identity.model import Revocation
from nova.surface.identity.principal import Principal
from nova.surface.identity.service import Identity

SCOPES: Final = Scopes(*(1 << scopes.NAMES.index(name) for name in ("chat", scopes.SERVICE, scopes.ADMIN)))


def bits(held: Iterable[str]) -> int:
    """Scopes as the token table numbers them."""
    return sum(1 << scopes.NAMES.index(name) for name in held)


def who(principal: Principal | None, peer: str) -> Who:
    """Who asks, for a call that is no connection."""
    if principal is None:
        return Who("", None, 0, b"", "", peer, "", JSON)
    return Who("", principal.user, bits(principal.scopes), b"", principal.name or "", peer, "", JSON)


def holder(principal: Principal) -> Holder:
    """Who holds a connection."""
    claims = json.dumps({"sub": principal.user, "name": principal.name, "iat": principal.issued_at, "jti": principal.jti}).encode()
    return Holder(principal.user, bits(principal.scopes), claims, principal.expires_at, round(principal.issued_at * 1000), principal.jti)


async def comment(hub: Hub, chat: Chats, asks: Who, stream: str, text: str, key: str) -> Comment:
    """A comment that comes as a call of its own: the same limits and the same backend as on the channel. Raises NovaError."""
    data = json.dumps({"text": text}).encode()
    allowed = await hub.admit_publish(asks, f"{channels.STREAM}:{stream}", data)
    return await chat.comment(asks, stream, text if allowed is data else read(allowed).text, key=key)


class StreamDoor:
    """The streams as their chat sees them: realtime.ports.StreamsPort."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams

    async def facts(self, stream: str, user: str | None, *, operator: bool) -> StreamFacts:
        found = parse_id(stream)
        if found is None:
            raise NotFound("not_found", "there is no such stream")
        caller = Caller(None if user is None else StreamUser(user), operator=operator)
        seen = await self._streams.get(StreamId(found), caller)
        return StreamFacts(seen.stream.owner, seen.stream.status, seen.viewers)

    async def here(self, stream: str) -> bool:
        found = parse_id(stream)
        return found is not None and await self._streams.exists(StreamId(found))

    def viewers(self, stream: str) -> int:
        return self._streams.viewers(StreamId(stream))


@dataclass(frozen=True, slots=True)
class Realtime:
    """The channels of this server. own: the chat of this node's streams. chat: that of everybody's. nodes: what asks the others, if any."""

    hub: Hub
    own: Chat
    chat: Chats
    nodes: ChatNodes | None
    sockets: TrioSockets
    admission: Admission
    verify: Callable[[str], Awaitable[Holder]]

    def revoked(self, revocation: Revocation) -> None:
        """identity.revocations.Listener: what lives on a token that is refused now ends."""
        self.hub.revoke(jti=revocation.jti, user=revocation.user, before_ms=revocation.not_before_ms)


def build(
    settings: Settings, sql: Sql, streams: Streams, identity: Identity, clock: Clock, ids: Ids, *, inner: Sockets | None = None,
    bus: Bus | None = None,
) -> Realtime:  # fmt: skip
    """inner: the reactor's connections. bus: joins several nodes; None: there is only this one. Raises Unprocessable `bad_settings`."""
    wanted, door = settings.realtime, StreamDoor(streams)
    spaces, hooks = spaces_of(settings), hooks_of(settings, clock, ids)
    life = Life(wanted.connect_timeout, wanted.ping, wanted.lifetime, wanted.connection_channels, wanted.reconnect_window)
    sockets = TrioSockets(clock, inner, hooks, life)
    public = wanted.public
    if public is None:
        public = settings.http.listen is None or settings.http.listen.loopback
    exempt = Networks(settings.limits.exempt)
    limits = Limits(wanted.address_rate, wanted.command_rate, exempt)
    shared = None if bus is None else Cluster(bus, sockets.node)
    nodes = None if bus is None else ChatNodes(bus, sockets.node, door, streams.ids)
    hub = Hub(
        sockets, spaces, limits, door if nodes is None else nodes, SCOPES, clock, public=public,
        most_channels=wanted.channels, most_bytes=wanted.history_bytes, hooks=hooks, shared=shared, ping=wanted.ping,
    )  # fmt: skip
    sockets.attach(hub)
    own = Chat(hub, SqlStore(sql), door, clock, ids.new, words=wanted.chat_words, kept=wanted.chat_comments)
    chat: Chats = own if nodes is None else nodes
    hub.attach(chat)
    if nodes is not None:
        nodes.attach(own)
        streams.when_created(nodes.created)
        streams.when_deleted(nodes.deleted)  # first: the next one raises when the bus is away, and the stream is gone
    streams.when_deleted(own.forget)
    streams.when_hidden(own.hide)

    async def verify(token: str) -> Holder:
        return holder(await identity.of_token_or_fetch(token))

    return Realtime(hub, own, chat, nodes, sockets, Admission(wanted.connect_rate, exempt), verify)


def spaces_of(settings: Settings) -> rules.Rules:
    """Namespaces with their rules. Raises Unprocessable `bad_settings`, also where the life of a connection makes no sense."""
    if settings.realtime.silence <= settings.realtime.ping:
        raise Unprocessable("bad_settings", "realtime.silence must be longer than realtime.ping, else quiet clients are closed")
    return rules.read(settings.realtime.namespaces)


def hooks_of(settings: Settings, clock: Clock, ids: Ids) -> Hooks | None:
    """The backend that is asked; None: nobody. Raises Unprocessable `bad_settings`."""
    wanted = settings.realtime
    unknown = [name for name in wanted.hook_asks if name not in ASKS]
    if unknown:
        raise Unprocessable("bad_settings", f"realtime.hook_asks: {unknown[0][:40]!r} is none of {', '.join(sorted(ASKS))}")
    if wanted.hook_asks and wanted.hook_url is None:
        raise Unprocessable("bad_settings", "realtime.hook_asks needs realtime.hook_url: else nobody is asked, and everybody passes")
    if wanted.hook_url is None or not wanted.hook_asks:
        return None
    if wanted.hook_secret is None:
        raise Unprocessable("bad_settings", "realtime.hook_url needs realtime.hook_secret: the backend must know that it is us who ask")
    return HttpHooks(
        wanted.hook_url, wanted.hook_secret, frozenset(wanted.hook_asks), clock, ids, timeout=wanted.hook_timeout,
        allow=wanted.hook_fallback == "allow",
    )  # fmt: skip
