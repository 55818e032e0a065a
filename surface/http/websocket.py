"""WebSockets that come as ASGI `websocket` scopes: over HTTP/2 (RFC 8441) and HTTP/3 (RFC 9220). HTTP/1.1's are the reactor's.

What is asked and in which order is as in `ext/ws_serve`. A token that does not hold is told by a close code, for a browser cannot see the
status of a refused upgrade; everything else is refused before, with the status and the problem that HTTP/1.1 answers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from nova.core.addresses import Addresses
from nova.core.clock import Clock
from nova.core.errors import BadRequest, NotFound, NovaError, Unauthenticated, Unavailable, problem
from nova.core.log import correlation_id
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
        client = self._addresses.client(
            (scope.get("client") or ("",))[0], scope["headers"], scheme=scope["scheme"].replace("ws", "http"), host=_header(scope, b"host")
        )
        peer = str(client.address or "")
        offered = scope.get("subprotocols") or []
        chosen = next((each for each in offered if each in FORMS), None)
        told: NovaError | None = None
        found: Holder | None = None
        try:
            if scope["path"] != PATH:
                raise NotFound(detail="There is no WebSocket here.")
            if wait := self._realtime.admission.admit(peer, self._clock.monotonic()):
                raise Unavailable("overloaded", "Too many connections come at once.", retry_after=wait)
            if offered and chosen is None:
                raise BadRequest(detail=f"None of these subprotocols is spoken here, but {' and '.join(FORMS)}.")
            try:
                principal = await self._gate.admit(_credentials(scope, client.host or "", peer, client.scheme in SECURE))
                found = None if principal is None else holder(principal)
            except Unauthenticated as error:
                told = error
        except NovaError as error:
            await _refuse(send, error)
            return
        await send({"type": "websocket.accept", "subprotocol": chosen})
        if told is not None:
            await send({"type": "websocket.close", "code": told.row.close, "reason": told.code})
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


async def _refuse(send: Any, error: NovaError) -> None:
    """An HTTP answer instead of a WebSocket."""
    body = json.dumps(problem(error, correlation_id.get() or "")).encode()
    fields = [(b"content-type", b"application/problem+json"), (b"content-length", b"%d" % len(body)), (b"cache-control", b"no-store")]
    if error.retry_after is not None:
        fields.append((b"retry-after", b"%d" % max(1, round(error.retry_after))))
    await send({"type": "websocket.http.response.start", "status": error.row.status, "headers": fields})
    await send({"type": "websocket.http.response.body", "body": body})


def _header(scope: Any, wanted: bytes) -> str:
    return next((value.decode("latin-1") for name, value in scope["headers"] if name.lower() == wanted), "")


def _credentials(scope: Any, host: str, peer: str, secure: bool) -> Credentials:
    nova = scope.get("nova") or {}
    return Credentials(
        "WEBSOCKET", host, peer, secure, _header(scope, b"origin"), _header(scope, b"authorization"), _header(scope, b"cookie"),
        scope.get("nova.access_token", ""), nova.get("token") or nova.get("query_token"),
    )  # fmt: skip
