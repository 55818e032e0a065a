"""An ASGI client in memory: one request, one answer, as a server would do it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import trio

LOOPBACK = "127.0.0.1"
STRANGER = "203.0.113.7"


@dataclass
class Answer:
    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def __getitem__(self, name: str) -> str:
        """The one header of that name. Raises KeyError."""
        found = [value for key, value in self.headers if key.lower() == name.lower()]
        if not found:
            raise KeyError(name)
        assert len(found) == 1, f"{name} came {len(found)} times"
        return found[0]

    def __contains__(self, name: str) -> bool:
        return any(key.lower() == name.lower() for key, _ in self.headers)

    @property
    def json(self) -> Any:
        return json.loads(self.body)


async def ask(
    app: Any,
    method: str,
    target: str,
    *,
    json_body: Any = None,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
    token: str = "",
    peer: str = LOOPBACK,
    host: str = "nova.test:8080",
    scheme: str = "http",
    extra: Mapping[str, Any] | None = None,
) -> Answer:
    """Send one request to `app`; `json_body` sets the content type, too."""
    path, _, query = target.partition("?")
    sent = {"host": host, **{name.lower(): value for name, value in (headers or {}).items()}}
    if json_body is not None:
        body = json.dumps(json_body).encode()
        sent.setdefault("content-type", "application/json")
    if body:
        sent["content-length"] = str(len(body))
    if token:
        sent["authorization"] = f"Bearer {token}"
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": scheme,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in sent.items()],
        "client": (peer, 40000),
        "server": ("127.0.0.1", 8080),
        "extensions": {},
        **(extra or {}),
    }
    to_app: list[dict[str, Any]] = [{"type": "http.request", "body": body, "more_body": False}]
    from_app: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        if to_app:
            return to_app.pop(0)
        await trio.sleep_forever()
        raise AssertionError

    async def send(message: dict[str, Any]) -> None:
        from_app.append(message)

    with trio.fail_after(10):
        await app(scope, receive, send)
    start = from_app[0]
    answer = b"".join(message.get("body", b"") for message in from_app[1:])
    return Answer(start["status"], [(name.decode(), value.decode()) for name, value in start["headers"]], answer)
