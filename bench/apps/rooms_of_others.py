"""The same room by the programs that people use: what comes on `/pub` goes to everybody on `/sub`.

`python -m bench.apps.rooms_of_others socketify|picows|websockets PORT [--deflate]`; for Hypercorn and others `app` is ASGI.
"""

# mypy: ignore-errors
# These libraries have no types, or are installed only where benchmarks run.

import argparse
import asyncio


def socketify(port, deflate):
    from socketify import App, CompressOptions, OpCode

    made = App()
    shared = CompressOptions.SHARED_COMPRESSOR if deflate else CompressOptions.DISABLED

    def spread(ws, message, opcode):
        made.publish("room", message, OpCode.BINARY, deflate)

    made.ws(
        "/sub",
        {
            "compression": shared,
            "max_payload_length": 65536,
            "idle_timeout": 0,
            "max_backpressure": 1 << 24,
            "open": lambda ws: ws.subscribe("room"),
            "message": lambda ws, message, opcode: None,
        },
    )
    made.ws("/pub", {"compression": CompressOptions.DISABLED, "max_payload_length": 65536, "idle_timeout": 0, "message": spread})
    made.listen(port, lambda config: None)
    made.run()


def picows(port, deflate):
    from picows import WSListener, WSMsgType, ws_create_server

    members = set()

    class Member(WSListener):
        def on_ws_connected(self, transport):
            self.publishes = transport.request.path == b"/pub"
            if not self.publishes:
                members.add(transport)

        def on_ws_frame(self, transport, frame):
            if self.publishes and frame.msg_type == WSMsgType.BINARY:
                data = frame.get_payload_as_bytes()
                for member in members:
                    member.send(WSMsgType.BINARY, data)

        def on_ws_disconnected(self, transport):
            members.discard(transport)

    async def run():
        server = await ws_create_server(lambda request: Member(), "127.0.0.1", port, backlog=4096)
        await server.serve_forever()

    asyncio.run(run())


def websockets(port, deflate):
    from websockets.asyncio.server import broadcast, serve

    members = set()

    async def handle(connection):
        if connection.request.path == "/pub":
            async for message in connection:
                broadcast(members, message)
            return
        members.add(connection)
        try:
            await connection.wait_closed()
        finally:
            members.discard(connection)

    async def run():
        async with serve(handle, "127.0.0.1", port, compression="deflate" if deflate else None, ping_interval=None, backlog=4096):
            await asyncio.get_running_loop().create_future()

    asyncio.run(run())


members = set()


async def app(scope, receive, send):
    """ASGI, as a framework's user writes it: a loop over all members."""
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
    elif scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        if scope["path"] != "/pub":
            members.add(send)
        try:
            while (event := await receive())["type"] != "websocket.disconnect":
                if scope["path"] == "/pub":
                    for member in list(members):
                        await member({"type": "websocket.send", "bytes": event["bytes"]})
        finally:
            members.discard(send)
    else:
        await send({"type": "http.response.start", "status": 404, "headers": []})
        await send({"type": "http.response.body", "body": b""})


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("name", choices=["socketify", "picows", "websockets"])
    parser.add_argument("port", type=int)
    parser.add_argument("--deflate", action="store_true")
    options = parser.parse_args()
    {"socketify": socketify, "picows": picows, "websockets": websockets}[options.name](options.port, options.deflate)
