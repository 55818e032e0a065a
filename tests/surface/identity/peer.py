"""An HTTP server on a real socket that says what a test tells it to."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import trio


class Peer:
    """reply: the bytes of the next answers, after which the connection is closed; b"" answers nothing at all."""

    def __init__(self) -> None:
        self.reply = b""
        self.requests: list[bytes] = []
        self.url = ""

    async def serve(self, stream: trio.SocketStream) -> None:
        request = b""
        while b"\r\n\r\n" not in request and not request.startswith(b"\x16"):  # or a TLS handshake
            more = await stream.receive_some(65536)
            if not more:
                return
            request += more
        self.requests.append(request)
        if not self.reply:
            await trio.sleep_forever()
        await stream.send_all(self.reply)
        await stream.aclose()


def answer(body: bytes, status: str = "200 OK", *fields: str) -> bytes:
    head = "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *fields, "", ""])
    return head.encode() + body


@asynccontextmanager
async def peer() -> AsyncIterator[Peer]:
    made = Peer()
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, made.serve, 0, host="127.0.0.1"))
        made.url = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        yield made
        nursery.cancel_scope.cancel()
