"""One room by our reactor: `python -m bench.apps.room --port P [--deflate] [--uring] [--secret FILE]`.

The hub is the smallest that works: everybody may subscribe and publish, nothing is kept. --secret: tokens are checked (HS256).
"""

import argparse
import signal
import time
from pathlib import Path

import trio

from nova.core import awake
from nova.core.clock import SystemClock
from nova.core.reactor import Channel, ChannelRules, Command, Listen, Reactor, WebSockets, Who, WsRules
from nova.ext import pushes
from nova.ext.jws_key import JwsKey
from nova.ext.token import TokenTable
from nova.ext.values import JSON


class Hub:
    def __init__(self, ws: WebSockets) -> None:
        self.ws = ws
        self.channels: dict[str, Channel] = {}

    def channel(self, name: str) -> Channel:
        if name not in self.channels:
            self.channels[name] = self.ws.channel(name, "e", ChannelRules())
        return self.channels[name]

    def commands(self, conn: int, who: Who, commands: list[Command]) -> None:
        del who
        for command in commands:
            if command.reply is not None:
                self.ws.reply(conn, command.reply)
                continue
            channel = self.channel(command.channel)
            if command.name == "subscribe":
                self.ws.reply(conn, pushes.subscribed(JSON, command.id, channel.offset, b"e", False, []))
                self.ws.subscribe(conn, channel)
            elif command.name == "publish":
                channel.publish(channel.offset + 1, command.data, int(time.time() * 1000))
                self.ws.reply(conn, pushes.published(JSON, command.id, channel.offset, b"e", False))

    def gone(self, conn: int, who: Who, reason: str, channels: list[str]) -> None:
        del conn, who, reason, channels


async def main(options: argparse.Namespace) -> None:
    reactor = Reactor(SystemClock(), threads=1, uring=options.uring)
    if options.secret:
        table = TokenTable(scopes=["chat"], cache_entries=options.cache)
        for path in options.secret:
            data = path.read_bytes()
            key = JwsKey.from_pem(data) if data.startswith(b"-----") else JwsKey.from_secret(data)
            table.add(path.stem, key, issuer="bench", audience="nova")
        reactor.engine.identity(table, None)
    reactor.websockets.configure(WsRules(deflate=options.deflate))
    reactor.websockets.serve(Hub(reactor.websockets))
    async with trio.open_nursery() as nursery:
        await nursery.start(reactor.run)
        reactor.listen(Listen("http", "127.0.0.1", options.port, websockets=True))
        with trio.open_signal_receiver(signal.SIGTERM) as signals:
            async for _ in signals:
                break
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--deflate", action="store_true")
    parser.add_argument("--uring", action="store_true")
    parser.add_argument("--secret", type=Path, action="append")
    parser.add_argument("--cache", type=int, default=16384)
    options = parser.parse_args()
    awake.short_turns()  # both as `nova serve` does
    awake.settle_memory()
    trio.run(main, options)
