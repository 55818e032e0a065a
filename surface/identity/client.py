"""A small HTTP/1.1 client on h11 and trio, for the few calls that identity makes.

One request, one connection, no redirect, a bounded answer, one deadline for all of it. `ssl` and h11 are loaded with the
first call: a start that makes none does not pay for them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import trio

from nova.core.errors import Deadline, Unavailable

if TYPE_CHECKING:
    import h11
    from trio.abc import Stream

READ: Final = 65536  # bytes a receive


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes


async def request(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    timeout: float = 10.0,
    limit: int = 262_144,
    connect: str | None = None,
) -> Answer:
    """The answer to one request, whatever its status. The certificate of https is checked.

    timeout: seconds for everything; limit: bytes of the body. connect: the address to ask instead of resolving the host again.
    Raises Deadline; Unavailable: no connection, a broken or an oversize answer. Messages name the host, never the path or a header.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        with trio.fail_after(timeout):
            return await _exchange(method, url, headers or {}, body, limit, connect)
    except trio.TooSlowError:
        raise Deadline("deadline", f"{host} did not answer within {timeout:g} s") from None
    except (OSError, trio.BrokenResourceError) as error:
        cause = error.__cause__ if isinstance(error, trio.BrokenResourceError) else error
        raise Unavailable("unavailable", f"{host} cannot be reached: {cause or type(error).__name__}") from error


async def _exchange(method: str, url: str, headers: Mapping[str, str], body: bytes, limit: int, connect: str | None) -> Answer:
    import h11

    parts = urlsplit(url)
    host = parts.hostname or ""
    secure = parts.scheme == "https"
    stream: Stream = await trio.open_tcp_stream(connect or host, parts.port or (443 if secure else 80))
    if secure:
        import ssl

        context = ssl.create_default_context()
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        stream = trio.SSLStream(stream, context, server_hostname=host, https_compatible=True)
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=32_768)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    sent = {
        "Host": parts.netloc.rpartition("@")[2], "Accept": "application/json", "Connection": "close", "User-Agent": "nova-core",
        **({"Content-Length": str(len(body))} if body or method in ("POST", "PUT", "PATCH") else {}), **headers,
    }  # fmt: skip
    try:
        async with stream:
            data = connection.send(h11.Request(method=method, target=target, headers=list(sent.items()))) or b""
            if body:
                data += connection.send(h11.Data(data=body)) or b""
            await stream.send_all(data + (connection.send(h11.EndOfMessage()) or b""))
            return await _answer(connection, stream, host, limit)
    except h11.RemoteProtocolError:
        raise Unavailable("unavailable", f"{host} sent no valid HTTP answer") from None


async def _answer(connection: h11.Connection, stream: Stream, host: str, limit: int) -> Answer:
    import h11

    status, found, parts, size = 0, dict[str, str](), list[bytes](), 0
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(bytes(await stream.receive_some(READ)))
        elif isinstance(event, h11.Response):
            status = event.status_code
            found = {key.decode("ascii"): value.decode("latin-1") for key, value in event.headers}
        elif isinstance(event, h11.Data):
            size += len(event.data)
            if size > limit:
                raise Unavailable("unavailable", f"{host} sent more than {limit} bytes")
            parts.append(bytes(event.data))
        elif isinstance(event, h11.EndOfMessage):
            return Answer(status, found, b"".join(parts))
        elif not isinstance(event, h11.InformationalResponse):
            raise Unavailable("unavailable", f"{host} closed before its answer was complete")
