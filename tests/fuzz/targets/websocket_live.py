"""`ws-live`: whatever a peer sends behind its upgrade, on a running I/O thread; another connection must not notice."""

import socket
import threading
from functools import cache

from nova.ext import engine as ext
from nova.ext import pushes
from nova.ext.channels import Channel
from nova.ext.values import JSON
from tests.ext.ws_oracle import frame
from tests.fuzz.registry import target

HEAD = (
    b"GET /v1/ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
)
SUBSCRIBE = b'{"id":2,"subscribe":{"channel":"public:a"}}'


class Live:
    """One I/O thread with a hub that answers everything, driven without trio."""

    def __init__(self) -> None:
        self.engine = ext.Engine(1, 1 << 20, 1 << 20)
        self.engine.ws_rules(node=b"fuzz", deflate=True)
        self.channel = Channel("public:a", "e", window_items=64)
        self.channel.on_append(self.engine.ws_news)
        listening = socket.create_server(("127.0.0.1", 0))
        listening.setblocking(False)
        self.address = listening.getsockname()
        self.engine.listen(listening.detach(), "http", websockets=True)
        threading.Thread(target=self.engine.run, args=(0,), daemon=True).start()
        self.healthy = self.peer()
        self.healthy.sendall(frame(1, b'[{"id":1,"connect":{}},%s]' % SUBSCRIBE))
        self.next_offset = 1

    def peer(self) -> socket.socket:
        made = socket.create_connection(self.address, timeout=10)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made.sendall(HEAD)
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += made.recv(1)
        return made

    def answer(self) -> None:
        """What trio would do."""
        self.engine.woke(0)
        for event in self.engine.events(0):
            if event[0] != ext.WS_COMMANDS:
                continue
            conn, rows = event[1], event[3]
            assert isinstance(rows, list)
            for row in rows:
                if row[9] is None and row[1] == "subscribe":
                    self.engine.ws_join(conn, self.channel)
                item = row[9] or pushes.empty(JSON, row[0], 3)
                self.engine.ws_item(conn, item, True)

    def publication(self) -> None:
        """The other connection gets what is published."""
        self.answer()
        self.channel.publish(self.next_offset, b'"%d"' % self.next_offset, 1)
        wanted = b'"data":"%d"' % self.next_offset
        self.next_offset += 1
        seen = b""
        self.healthy.settimeout(0.05)
        for _ in range(400):
            try:
                seen += self.healthy.recv(65536)
            except TimeoutError:
                self.answer()
            if wanted in seen:
                return
        raise AssertionError("another connection got nothing")


@cache
def live() -> Live:
    return Live()


@target(
    "ws-live",
    seeds=[
        frame(1, b'{"id":1,"connect":{}}') + frame(1, SUBSCRIBE) + frame(8),
        frame(1, b'[{"id":1,"connect":{}},{"id":3,"ping":{}}]') + frame(9, b"x") + frame(1, b'{"id":4,"publish"', fin=False),
        frame(2, b"\x81\xa2id\x01"), frame(8, b"\x03\xe8"), frame(1, b"\xff"),
    ],
    words=[
        frame(1, SUBSCRIBE), frame(9), frame(10), frame(8), frame(0, b"", fin=False), b"\x81\xfe", b"\xc1\x80",
        b'{"id":7,"unsubscribe":{}}',
    ],
)  # fmt: skip
def ws_live(data: bytes) -> object:
    house = live()
    peer = house.peer()
    said = b""
    try:
        peer.sendall(data)
        peer.shutdown(socket.SHUT_WR)
        while piece := peer.recv(65536):
            said += piece
    except OSError:
        pass  # it was closed first
    peer.close()
    house.publication()
    code = int.from_bytes(said[said.rfind(b"\x88") + 2 :][:2], "big") if b"\x88" in said else 0
    return code, min(len(said), 64) // 16
