"""The backend that is asked before clients connect, subscribe or publish: HTTP, signed as Standard Webhooks, with a deadline.

POST {type: "realtime.connect" | "realtime.subscribe" | "realtime.publish", timestamp, data: {client, user, name, peer, channel?, data?}}.
200 {} lets it pass; 200 {data} replaces what is published; 200 {error: {code, message}} refuses, with a code of the error table. No
answer in time, or any other status, is what `realtime.hook_fallback` says.

Source: standardwebhooks.com, "Signature scheme": base64(HMAC-SHA256(secret, "{id}.{timestamp}.{body}")) behind `v1,`.
"""

from __future__ import annotations

import binascii
import hmac
import json
from base64 import b64decode, b64encode
from hashlib import sha256
from typing import Any, Final

from nova.core.clock import Clock, rfc3339
from nova.core.errors import TABLE, BadRequest, Deadline, Unavailable, Unprocessable
from nova.core.ids import Ids
from nova.core.log import Log
from nova.core.secret import Secret
from nova.realtime.channels import encoded
from nova.realtime.ports import Refused
from nova.realtime.seam import Who
from nova.surface.identity import client

ASKS: Final = frozenset({"connect", "subscribe", "publish"})
SIGNED_LIKE: Final = "whsec_"
_REFUSABLE: Final = frozenset({"bad_request", "unauthenticated", "forbidden", "not_found", "conflict", "unprocessable", "rate_limited"})

_log = Log("nova.hooks")


def key_of(secret: Secret) -> bytes:
    """The signing key of `whsec_` and base64. Raises Unprocessable `bad_settings`."""
    text = secret.reveal().decode("utf-8", "replace")
    try:
        key = b64decode(text.removeprefix(SIGNED_LIKE), validate=True)
    except binascii.Error:
        key = b""
    if not text.startswith(SIGNED_LIKE) or len(key) < 16:
        raise Unprocessable("bad_settings", "realtime.hook_secret: whsec_ and the base64 of at least 16 bytes is wanted")
    return key


def signature(key: bytes, id: str, timestamp: int, body: bytes) -> str:
    """The value of `webhook-signature`."""
    return "v1," + b64encode(hmac.digest(key, f"{id}.{timestamp}.".encode() + body, sha256)).decode()


class HttpHooks:
    """realtime.ports.Hooks over HTTP. timeout: seconds. allow: what no answer means."""

    def __init__(self, url: str, secret: Secret, asks: frozenset[str], clock: Clock, ids: Ids, *, timeout: float, allow: bool) -> None:
        """Raises Unprocessable `bad_settings`."""
        self._url, self._key, self.asks, self._clock, self._ids = url, key_of(secret), asks, clock, ids
        self._timeout, self._allow = timeout, allow

    async def connect(self, who: Who) -> Refused | None:
        found = await self._ask("connect", who, {})
        return found if isinstance(found, Refused) else None

    async def subscribe(self, who: Who, channel: str) -> Refused | None:
        found = await self._ask("subscribe", who, {"channel": channel})
        return found if isinstance(found, Refused) else None

    async def publish(self, who: Who, channel: str, data: bytes) -> bytes | Refused:
        found = await self._ask("publish", who, {"channel": channel, "data": json.loads(data)})
        return found if isinstance(found, Refused) else found.get("data", data)

    async def _ask(self, what: str, who: Who, more: dict[str, Any]) -> dict[str, Any] | Refused:
        now = self._clock.wall()
        asked = {"client": who.client, "user": who.user, "name": who.name, "peer": who.peer, **more}
        body = json.dumps({"type": f"realtime.{what}", "timestamp": rfc3339(now), "data": asked}, ensure_ascii=False).encode()
        id = f"msg_{self._ids.new()}"
        headers = {
            "Content-Type": "application/json", "webhook-id": id, "webhook-timestamp": str(int(now)),
            "webhook-signature": signature(self._key, id, int(now), body),
        }  # fmt: skip
        try:
            answer = await client.request("POST", self._url, headers=headers, body=body, timeout=self._timeout)
            if answer.status != 200:
                raise Unavailable("unavailable", f"the backend answered {answer.status}")
            return _read(answer.body)
        except (Unavailable, Deadline) as error:
            _log.warning("hook_failed", asked=what, code=error.code, detail=error.detail, allowed=self._allow)
            if self._allow:
                return {}
            raise Unavailable("unavailable", "the service that decides about this does not answer", retry_after=1.0) from None


def _replaced(found: dict[str, Any]) -> dict[str, Any]:
    """With `data` as it is published. Raises Unavailable: not every client could be given it."""
    if "data" not in found:
        return {}
    try:
        return {"data": encoded(found["data"])}
    except BadRequest as error:
        raise Unavailable("unavailable", f"the backend's data cannot be published: {error.detail}") from None


def _read(body: bytes) -> dict[str, Any] | Refused:
    try:
        found = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        raise Unavailable("unavailable", "the backend sent no JSON") from None
    if not isinstance(found, dict):
        raise Unavailable("unavailable", "the backend sent no JSON object")
    error = found.get("error")
    if error is None:
        return _replaced(found)
    code = error.get("code") if isinstance(error, dict) else None
    message = error.get("message") if isinstance(error, dict) else None
    if not isinstance(code, str) or code not in TABLE or TABLE[code].parent not in _REFUSABLE:
        code = "forbidden"
    return Refused(code, message[:200] if isinstance(message, str) else TABLE[code].title)
