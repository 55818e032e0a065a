"""`/v1/rtmp/auth` and `/v1/rtmp/done`: hooks for another RTMP server (nginx-rtmp's on_publish and on_publish_done).

Such a server sends form fields (`app`, `name`, `addr`, `call` …), takes 2xx as yes, 3xx as yes under the name of the
Location, everything else as no.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from nova.core.errors import Forbidden, RateLimited
from nova.core.secret import Secret
from nova.media.streams.service import Streams
from nova.surface.http.call import Call
from nova.surface.http.ports import KeyGuesses
from nova.surface.http.route import NO_CONTENT, Query, Reply, Route, short_text
from nova.surface.http.schema import Object, Text, optional

FIELDS: Final = Object(
    {
        "name": optional(Text(200, doc="The stream key.")),
        "secret": optional(Text(500, doc="rtmp.hook_secret, when it does not come as a bearer token.")),
        "app": optional(Text(200)),
        "addr": optional(Text(100, doc="Address of the publisher, as the other server saw it.")),
    },
    "RtmpHook",
    "More fields of nginx-rtmp are taken and not used.",
    open=True,
)

SECRET: Final = Query(short_text(500), {"type": "string"}, "", "rtmp.hook_secret; nginx-rtmp can send it in the URL of the hook only.")


@dataclass(frozen=True, slots=True)
class RtmpRoutes:
    """hook_secret None: the hooks are refused."""

    streams: Streams
    guesses: KeyGuesses
    hook_secret: Secret | None

    def table(self) -> list[Route]:
        form: dict[str, Any] = {"body": FIELDS, "kind": "form", "access": "secret", "query": {"secret": SECRET}}
        return [
            Route("POST", "/v1/rtmp/auth", "rtmp_auth", self.auth, "May this key publish?", "rtmp", answers={302: None},
                  errors=("bad_stream_key", "forbidden"), **form,
                  description="302 with the stream's id as Location, or 403. The secret comes as field, query or bearer token."),
            Route("POST", "/v1/rtmp/done", "rtmp_done", self.done, "A publisher left", "rtmp", answers={204: None},
                  errors=("forbidden",), **form),
        ]  # fmt: skip

    async def auth(self, call: Call) -> Reply:
        self._require_secret(call)
        # The other server is one peer for many publishers: a flood of wrong keys is counted by the publisher's address.
        peer = call.body.get("addr") or call.peer
        if not self.guesses.allowed(peer):
            raise RateLimited(detail="Too many wrong stream keys from this address.", retry_after=60)
        owned = self.streams.authorize(call.body.get("name") or "")
        if owned is None:
            self.guesses.wrong(peer)
            raise Forbidden("bad_stream_key", "This stream key is not valid.")
        return Reply(302, None, (("Location", owned.stream),))

    async def done(self, call: Call) -> Reply:
        self._require_secret(call)
        return NO_CONTENT

    def _require_secret(self, call: Call) -> None:
        given = call.body.get("secret") or call.query["secret"] or _bearer(call.headers.get("Authorization", ""))
        if self.hook_secret is None:
            raise Forbidden(detail="The hooks are off: rtmp.hook_secret is not set.")
        if not given or self.hook_secret != given:
            raise Forbidden(detail="The secret of the hook is not right.")


def _bearer(authorization: str) -> str:
    scheme, _, value = authorization.partition(" ")
    return value.strip() if scheme.lower() == "bearer" else ""
