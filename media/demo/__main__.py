"""The demo's own process: reads the RTMP address from its first line of input and publishes until that input ends.

The address comes that way because it holds a key, and arguments are for everyone to see. The end of the input is the
order to stop, and also what happens when the server dies: no demo outlives it.
"""

from __future__ import annotations

import os
import sys

import trio

from nova.core.errors import NovaError
from nova.media.demo.broadcast import live
from nova.media.rtmp.client import Target, publishing


async def _publish(url: str, stop: trio.Event) -> None:
    async with publishing(Target.parse(url)) as publisher:
        async for tag in live():
            # Between two tags, never within one: half a message would hide the clean end that follows.
            if stop.is_set():
                break
            await publisher.send(tag)


async def _until_input_ends(source: trio.lowlevel.FdStream, stop: trio.Event) -> None:
    while await source.receive_some(4096):
        pass
    stop.set()


async def main() -> None:
    async with trio.lowlevel.FdStream(os.dup(sys.stdin.fileno())) as source:
        line = b""
        while not line.endswith(b"\n"):
            more = await source.receive_some(1)
            if not more:
                return
            line += more
        async with trio.open_nursery() as nursery:
            stop = trio.Event()
            nursery.start_soon(_until_input_ends, source, stop)
            await _publish(line.decode().strip(), stop)
            nursery.cancel_scope.cancel()


if __name__ == "__main__":
    try:
        trio.run(main)
    except* NovaError as group:
        for error in group.exceptions:
            print(error, file=sys.stderr)  # noqa: T201 -- the server logs it
        sys.exit(1)
