"""WebSockets that come as ASGI `websocket` scopes: over HTTP/2 (RFC 8441) and HTTP/3 (RFC 9220). HTTP/1.1's are the reactor's.

A token that does not hold is told by a close code, for a browser cannot see the status of a refused upgrade; a page of another
origin is refused with 403.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from nova.core.addresses import Addresses
from nova.core.clock import Clock
from nova.core.errors import TABLE, Forbidden, NovaError
from nova.ext.values import JSON, MSGPACK
from nova.realtime.session import Identity as Holder
from nova.surface.http.ports import Credentials, Gate
from nova.surface.realtime import Realtime, holder

PATH: Final = "/v1/ws"
FORMS: Final[Mapping[str, int]] = {"nova.json.v1": JSON, "nova.msgpack.v1": MSGPACK}
MESSAGE_MAX: Final = 65_536  # bytes
SECURE: Final = ("https", "wss")


class WebSockets:
    """The ASGI application of `/v1/ws`."""

    def __init__(self, realtime: Realtime, gate: Gate, addresses: Addresses, clock: Clock) -> None:
        self._realtime, self._gate, self._addresses, self._clock = realtime, gate, addresses, clock

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """One connection."""
        if (await receive())["type"] != "websocket.connect":
            return
        offered = scope.get("subprotocols") or []
        chosen = next((each for each in offered if each in FORMS), None)
        if scope["path"] != PATH:
            await send({"type": "websocket.close", "code": 1000})  # before accept: the server answers 403
            return
        if offered and chosen is None:
            await send({"type": "websocket.http.response.start", "status": 400, "headers": [(b"content-length", b"0")]})
            await send({"type": "websocket.http.response.body", "body": b""})
            return
        client = self._addresses.client(
            (scope.get("client") or ("",))[0], scope["headers"], scheme=scope["scheme"].replace("ws", "http"), host=_header(scope, b"host")
        )
        refused: NovaError | None = None
        found: Holder | None = None
        try:
            principal = await self._gate.admit(_credentials(scope, client.host or "", str(client.address or ""), client.scheme in SECURE))
            found = None if principal is None else holder(principal)
        except Forbidden:
            await send({"type": "websocket.close", "code": 1000})
            return
        except NovaError as error:
            refused = error
        await send({"type": "websocket.accept", "subprotocol": chosen})
        peer = str(client.address or "")
        wait = self._realtime.admission.admit(peer, self._clock.monotonic())
        if refused is not None or wait:
            code, reason = (TABLE["overloaded"].close, "overloaded") if refused is None else (refused.row.close, refused.code)
            await send({"type": "websocket.close", "code": code, "reason": reason})
            return
        form = FORMS.get(chosen or "", JSON)
        wire = _Wire(receive, send, text=form == JSON)
        await self._realtime.sockets.serve(wire, form=form, peer=peer, identity=found, verify=self._realtime.verify)


class _Wire:
    """realtime.trio_sockets.Wire over ASGI."""

    def __init__(self, receive: Any, send: Any, *, text: bool) -> None:
        self._receive, self._send, self._text = receive, send, text
        self._closed = False

    async def receive(self) -> bytes | None:
        while True:
            message = await self._receive()
            if message["type"] == "websocket.disconnect":
                self._closed = True
                return None
            if message["type"] != "websocket.receive":
                continue
            text, data = message.get("text"), message.get("bytes")
            if (text is None) is self._text:
                await self.close(1003, "kind")
                return None
            found: bytes = text.encode("utf-8", "surrogatepass") if text is not None else data
            if len(found) > MESSAGE_MAX:
                await self.close(1009, "too_large")
                return None
            return found

    async def send(self, frame: bytes) -> None:
        if not self._closed:
            said = {"text": frame.decode()} if self._text else {"bytes": frame}
            await self._send({"type": "websocket.send", **said})

    async def close(self, code: int, reason: str) -> None:
        if not self._closed:
            self._closed = True
            await self._send({"type": "websocket.close", "code": code, "reason": reason})


def _header(scope: Any, wanted: bytes) -> str:
    return next((value.decode("latin-1") for name, value in scope["headers"] if name.lower() == wanted), "")


def _credentials(scope: Any, host: str, peer: str, secure: bool) -> Credentials:
    nova = scope.get("nova") or {}
    return Credentials(
        "WEBSOCKET", host, peer, secure, _header(scope, b"origin"), _header(scope, b"authorization"), _header(scope, b"cookie"),
        scope.get("nova.access_token", ""), nova.get("token") or nova.get("query_token"),
    )  # fmt: skip
