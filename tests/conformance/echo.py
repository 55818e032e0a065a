"""The reactor with an application that answers with the request's body: what arrives is what was sent."""

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import trio

from nova.core.clock import SystemClock
from nova.core.reactor import Listen, Reactor


async def echo(scope: Any, receive: Any, send: Any) -> None:
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":  # the body turned out to be malformed, or its sender left
            return
        body += message["body"]
        more = message.get("more_body", False)
    length = str(len(body)).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]})
    await send({"type": "http.response.body", "body": body})


@contextmanager
def echo_server() -> Iterator[tuple[str, int]]:
    """Its address; it runs in a thread with a loop of its own."""
    said: queue.Queue[tuple[tuple[str, int], trio.lowlevel.TrioToken, trio.CancelScope] | BaseException] = queue.Queue()

    async def main() -> None:
        reactor = Reactor(SystemClock())
        async with trio.open_nursery() as nursery:
            await nursery.start(reactor.run)
            address = reactor.listen(Listen("http", "127.0.0.1", 0, app=echo))
            said.put((address, trio.lowlevel.current_trio_token(), nursery.cancel_scope))

    def run() -> None:
        try:
            trio.run(main)
        except BaseException as error:
            said.put(error)
            raise

    thread = threading.Thread(target=run)
    thread.start()
    started = said.get(timeout=30)
    if isinstance(started, BaseException):
        raise started
    address, token, scope = started
    try:
        yield address
    finally:
        token.run_sync_soon(scope.cancel)
        thread.join(30)
