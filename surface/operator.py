"""What the command line does to a server: one object, inside the running server or beside its store."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from nova.core.clock import Clock, rfc3339
from nova.core.errors import BadRequest, Unprocessable
from nova.core.ids import parse_id
from nova.media.streams.access import OPERATOR
from nova.media.streams.model import StreamId, Visibility
from nova.media.streams.model import UserId as Owner
from nova.media.streams.service import Draft, Streams
from nova.realtime.nodes import Nodes
from nova.surface.http.routes_streams import CREATE
from nova.surface.http.schema import Array, Integer, Number, Object, OrNull, Text, optional, read, required
from nova.surface.identity.model import Place
from nova.surface.identity.principal import UserId
from nova.surface.identity.service import Identity
from nova.surface.urls import Urls

Json = Any
Command = Callable[..., Awaitable[Json]]

COUNT_MAX: Final = 10_000  # streams of one `nova stream create --count`
USERS_PAGE: Final = 200

USER: Final = Text(64, 1)
SHAPES: Final[Mapping[str, Object]] = {
    "login": Object({"user": optional(OrNull(USER))}),
    "token": Object({
        "user": required(USER), "scopes": optional(Array(Text(40, 1), 20), []), "ttl": optional(OrNull(Number())),
    }),
    "user_add": Object({"user": optional(OrNull(USER)), "name": optional(Text(200), "")}),
    "user_list": Object({"after": optional(OrNull(Text(80, 1)))}),
    "user_delete": Object({"user": required(USER)}),
    "stream_create": Object({
        "draft": required(CREATE), "owner": optional(OrNull(USER)), "count": optional(Integer(1, COUNT_MAX), 1),
    }),
    "stream_key": Object({"stream": required(Text(36))}),
    "node_list": Object({}),
    "node_forget": Object({"node": required(Text(80, 1))}),
}  # fmt: skip


class Operator:
    """The commands; each takes what SHAPES says. nodes: those on this server's bus; None: it is alone. sign_in_ttl: seconds."""

    def __init__(self, identity: Identity, streams: Streams, urls: Urls, clock: Clock, nodes: Nodes | None, *, sign_in_ttl: float) -> None:
        self._identity, self._streams, self._urls, self._clock, self._nodes = identity, streams, urls, clock, nodes
        self._sign_in_ttl = sign_in_ttl

    async def run(self, command: str, arguments: Json) -> Json:
        """The answer of one command, ready for JSON. Raises NovaError; BadRequest for one that there is not."""
        shape = SHAPES.get(command)
        if shape is None:
            raise BadRequest(detail=f"there is no command {command[:40]!r}")
        run: Command = getattr(self, f"_{command}")
        return await run(**read(shape, arguments))

    async def _login(self, user: str | None) -> Json:
        code = await self._identity.sign_in_code(user)
        base = self._urls.public or self._urls.listener
        return {"url": self._urls.sign_in(base, code), "expires_at": rfc3339(self._clock.wall() + self._sign_in_ttl)}

    async def _token(self, user: str, scopes: list[str], ttl: float | None) -> Json:
        minted = await self._identity.mint(user, scopes, ttl)
        return {
            "token": minted.text,
            "user": minted.user,
            "scopes": sorted(minted.scopes),
            "expires_at": rfc3339(minted.expires_at),
        }

    async def _user_add(self, user: str | None, name: str) -> Json:
        found = await self._identity.add_user(user, name)
        return {"id": found.id, "name": found.name, "created_at": rfc3339(found.created_at)}

    async def _user_list(self, after: str | None) -> Json:
        """A page, newest first, and what the next one is asked with; null: this is the last."""
        try:
            found = await self._identity.list_users(None if after is None else Place.parse(after), USERS_PAGE)
        except ValueError:
            raise BadRequest("bad_cursor") from None
        return {
            "items": [{"id": each.id, "name": each.name, "created_at": rfc3339(each.created_at), "owner": each.owner} for each in found],
            "after": str(found[-1].place) if len(found) == USERS_PAGE else None,
        }

    async def _user_delete(self, user: str) -> Json:
        await self._identity.delete_user(UserId(user))
        return {"id": user}

    async def _stream_create(self, draft: Mapping[str, Json], owner: str | None, count: int) -> Json:
        of = (await self._identity.owner() if owner is None else await self._identity.add_user(owner)).id
        made = []
        for number in range(1, count + 1):
            title = draft["title"] if count == 1 else f"{draft['title']} {number}"
            wanted = Draft(title, draft["description"], tuple(draft["tags"]), Visibility(draft["visibility"]), draft["record"])
            stream, key = await self._streams.create(Owner(of), wanted)
            made.append(self._shown(stream.id, title, key.text, key.record.id))
        return made

    async def _stream_key(self, stream: str) -> Json:
        """One more key of a stream: who asks here has lost the first one, or never had it."""
        found = await self._streams.owned(StreamId(parse_id(stream) or ""), OPERATOR)
        key = await self._streams.add_key(found.id, OPERATOR)
        return self._shown(found.id, found.title, key.text, key.record.id)

    async def _node_list(self) -> Json:
        return [
            {"node": each.node, "lease_s": each.lease, "streams": each.streams, "readers": each.readers}
            for each in await self._among().all()
        ]

    async def _node_forget(self, node: str) -> Json:
        return {"node": node, "streams": await self._among().forget(node)}

    def _among(self) -> Nodes:
        if self._nodes is None:
            raise Unprocessable("unprocessable", "this server is alone: it has no bus.url, by which nodes know of one another")
        return self._nodes

    def _shown(self, stream: StreamId, title: str, key: str, key_id: str) -> Json:
        base = self._urls.public or self._urls.listener
        server = self._urls.rtmp_server(self._urls.listener_host)
        return {
            "id": stream,
            "title": title,
            "key": key,
            "key_id": key_id,
            "rtmp_server": server,
            "rtmp_url": None if server is None else f"{server}/{key}",
            "watch_url": self._urls.watch(base, stream),
            "hls_url": self._urls.hls(base, stream),
        }
