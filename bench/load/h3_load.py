"""A closed loop over HTTP/3: `python -m bench.load.h3_load --port P --ca F --seconds S --path /v1/small --streams N`.

One connection with N requests under way (aioquic, as the servers; the work per second of the server's processor does not depend on how
fast this is). Answers are counted by status and length. One JSON line: answers, bytes, seconds; `go` comes before the window.
"""

from __future__ import annotations

import argparse
import json
import socket
import sys
import time
from pathlib import Path

from aioquic.h3.connection import H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import ConnectionTerminated, HandshakeCompleted


class Load:
    def __init__(self, options: argparse.Namespace) -> None:
        self.path, self.streams = options.path.encode(), options.streams
        configuration = QuicConfiguration(
            is_client=True, alpn_protocols=["h3"], server_name="localhost", max_data=1 << 24, max_stream_data=1 << 24
        )
        configuration.load_verify_locations(str(options.ca))
        self.quic = QuicConnection(configuration=configuration)
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        self.socket.connect(("127.0.0.1", options.port))
        self.port = options.port
        self.http: H3Connection | None = None
        self.answers = self.bytes = 0
        self.more = True

    def ask(self) -> None:
        assert self.http is not None
        stream = self.quic.get_next_available_stream_id()
        head = [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"localhost"), (b":path", self.path)]
        self.http.send_headers(stream, head, end_stream=True)

    def turn(self, until: float) -> None:
        """Send, then take what comes before `until`."""
        now = time.monotonic()
        for data, _ in self.quic.datagrams_to_send(now):
            self.socket.send(data)
        timer = self.quic.get_timer()
        self.socket.settimeout(max(0.0005, min(until, timer if timer is not None else until) - now))
        try:
            data = self.socket.recv(65_536)
        except TimeoutError:
            self.quic.handle_timer(time.monotonic())
        else:
            self.socket.settimeout(0)
            try:
                for _ in range(32):
                    self.quic.receive_datagram(data, ("127.0.0.1", self.port), time.monotonic())
                    data = self.socket.recv(65_536)
            except BlockingIOError:
                pass
        while (event := self.quic.next_event()) is not None:
            if isinstance(event, HandshakeCompleted):
                self.http = H3Connection(self.quic)
            elif isinstance(event, ConnectionTerminated):
                raise SystemExit(f"the server closed: {event.reason_phrase or event.error_code}")
            elif self.http is not None:
                for each in self.http.handle_event(event):
                    if isinstance(each, HeadersReceived) and dict(each.headers)[b":status"] != b"200":
                        raise SystemExit(f"status {dict(each.headers)[b':status']!r}")
                    if isinstance(each, DataReceived):
                        self.bytes += len(each.data)
                    if each.stream_ended:
                        self.answers += 1
                        if self.more:
                            self.ask()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--ca", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--path", default="/v1/small")
    parser.add_argument("--streams", type=int, default=16)
    load = Load(parser.parse_args())
    options = parser.parse_args()
    load.quic.connect(("127.0.0.1", options.port), time.monotonic())
    deadline = time.monotonic() + 30
    while load.http is None and time.monotonic() < deadline:
        load.turn(deadline)
    for _ in range(options.streams):
        load.ask()
    warm = time.monotonic() + 0.3
    while time.monotonic() < warm or (load.answers == 0 and load.bytes == 0):
        load.turn(warm)
    print("go", flush=True)
    sys.stdin.readline()  # whoever measures has read the server's clock
    load.answers = load.bytes = 0
    began = time.monotonic()
    while (now := time.monotonic()) < began + options.seconds:
        load.turn(min(began + options.seconds, now + 0.1))
    print(json.dumps({"answers": load.answers, "bytes": load.bytes, "seconds": time.monotonic() - began}), flush=True)


if __name__ == "__main__":
    main()
