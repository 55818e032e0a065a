"""`/cdn/{path}`: registered assets before the application, over every protocol. What is found goes to its site, as its own object."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from nova.cdn.assets.service import Assets
from nova.cdn.signing.admission import REASONS
from nova.core.clock import Clock
from nova.core.errors import Forbidden, MethodNotAllowed, NotFound, NovaError
from nova.core.reactor.refusal import refusal
from nova.ext.cdn_token import CdnTokenError, CdnTokenKeys

App = Callable[[Any, Any, Any], Awaitable[None]]
PREFIX: Final = b"/cdn/"
SITES: Final = b"/cdn/s/"


class AssetFront:
    """keys: of a site's tokens. site: its application; raises NotFound."""

    def __init__(self, assets: Assets, clock: Clock, *, keys: Callable[[str], CdnTokenKeys], site: Callable[[str], App]) -> None:
        self._assets, self._clock, self._keys, self._site = assets, clock, keys, site

    def before(self, app: App) -> App:
        """`app` with the assets in front of it."""

        async def serve(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send)
                return
            path = bytes(scope.get("raw_path") or scope["path"].encode())
            if not path.startswith(PREFIX) or path.startswith(SITES):
                await app(scope, receive, send)
                return
            try:
                inner = await self._inner(scope, path)
                site = self._site(inner["nova.cdn"])
            except NovaError as error:
                await refuse(send, error)
                return
            await site(inner, receive, send)

        return serve

    async def _inner(self, scope: Any, path: bytes) -> dict[str, Any]:
        """The request as its site gets it. Raises NovaError: why not."""
        query = bytes(scope["query_string"])
        target = path[len(PREFIX) - 1 :] + (b"?" + query if query else b"")
        # A token in front of the path: what it is for is looked for behind it.
        plain = target.partition(b"?")[0]
        name = plain.partition(b"/~")[2].partition(b"/")[2] if plain.startswith(b"/~") else plain[1:]
        asset = await self._assets.at(name.decode("latin-1"))
        if asset is None:
            raise NotFound(detail="There is no asset at this path.")
        if scope["method"] not in ("GET", "HEAD"):
            raise MethodNotAllowed(detail="Assets are read with GET and HEAD.")
        signed = plain.startswith(b"/~") or b"cdn_token=" in query
        if asset.private or signed:
            peer = (scope.get("client") or ("",))[0]
            try:
                target = self._keys(asset.site).admit(target, peer.encode(), int(self._clock.wall()))
            except CdnTokenError as error:
                raise Forbidden("bad_signature", REASONS[error.reason]) from None
        version = [pair[2:] for pair in target.partition(b"?")[2].split(b"&") if pair.startswith(b"v=")]
        if version and version != [str(asset.version).encode()]:
            raise NotFound(detail="The asset has another version now.")
        raw, _, asked = asset.origin_path.encode().partition(b"?")
        # An asset is one object: what else the client puts behind its path never reaches the origin, or the cache's key.
        return {**scope, "path": raw.decode("latin-1"), "raw_path": raw, "query_string": asked, "nova.cdn": asset.site}


async def refuse(send: Any, error: NovaError) -> None:
    status, fields, body = refusal(error)
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": body})
