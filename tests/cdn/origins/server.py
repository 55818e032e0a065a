"""An origin as a process of its own: what it answers stands in the path, so that it can be killed and frozen as a real one is.

`python server.py PORT NAME` prints its port. Plain threads and sockets: it must be able to break every rule.
"""

import hashlib
import socket
import sys
import threading
import time
from urllib.parse import parse_qs, urlsplit

NAME = b"?"
SEEN: dict[str, int] = {}
LOCK = threading.Lock()


def body_of(size: int) -> bytes:
    block = hashlib.sha256(b"block").digest()
    return (block * (size // 32 + 1))[:size]


def head(status: str, fields: list[str]) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", "X-Origin: " + NAME.decode(), *fields]).encode() + b"\r\n\r\n"


class Peer:
    def __init__(self, sock: socket.socket) -> None:
        self.sock, self.rest = sock, b""

    def head(self) -> bytes | None:
        while b"\r\n\r\n" not in self.rest:
            data = self.sock.recv(65536)
            if not data:
                return None
            self.rest += data
        found, _, self.rest = self.rest.partition(b"\r\n\r\n")
        return found

    def take(self, size: int) -> bytes:
        while len(self.rest) < size:
            data = self.sock.recv(65536)
            if not data:
                raise ConnectionError
            self.rest += data
        found, self.rest = self.rest[:size], self.rest[size:]
        return found

    def line(self) -> bytes:
        while b"\r\n" not in self.rest:
            self.rest += self.sock.recv(65536)
        found, _, self.rest = self.rest.partition(b"\r\n")
        return found

    def body(self, fields: dict[str, str]) -> bytes:
        if "transfer-encoding" not in fields:
            return self.take(int(fields.get("content-length", "0")))
        found = b""
        while size := int(self.line(), 16):
            found += self.take(size)
            self.line()
        self.line()
        return found


def serve(sock: socket.socket) -> None:
    with sock:
        peer = Peer(sock)
        try:
            while (raw := peer.head()) is not None:
                lines = raw.decode("latin-1").split("\r\n")
                method, target, _ = lines[0].split(" ")
                fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
                if not answer(peer, method, target, fields, raw):
                    return
        except (ConnectionError, OSError):
            return


def answer(peer: Peer, method: str, target: str, fields: dict[str, str], raw: bytes) -> bool:
    """Whether the connection stays."""
    send = peer.sock.sendall
    parts = urlsplit(target)
    kind, _, rest = parts.path.strip("/").partition("/")
    number = int(rest) if rest.isdigit() else 0
    asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
    with LOCK:
        SEEN[target] = SEEN.get(target, 0) + 1
        count = SEEN[target]
    if kind == "echo":
        got = raw + b"\r\n\r\n" + peer.body(fields)
        send(head("200 OK", [f"Content-Length: {len(got)}"]) + got)
    elif kind == "size":
        send_range(send, method, fields, body_of(number), asked.get("etag", '"v1"'))
    elif kind == "torn":  # breaks off after half of what is missing, as often as `times` says
        whole, again = body_of(number), count <= int(asked.get("times", "1"))
        send_range(send, method, fields, whole, asked.get("after", '"v1"') if count > 1 else asked.get("etag", '"v1"'), half=again)
        return not again
    elif kind == "over":  # breaks off, and then gives more than is missing
        whole = body_of(number)
        if count == 1:
            send_range(send, method, fields, whole, '"v1"', half=True)
            return False
        first = int(fields["range"].removeprefix("bytes=").partition("-")[0])
        more = whole[first:] + b"more"
        extra = ['ETag: "v1"', f"Content-Range: bytes {first}-{number - 1}/{number}", "Transfer-Encoding: chunked"]
        send(head("206 Partial Content", extra) + b"%x\r\n%b\r\n0\r\n\r\n" % (len(more), more))
    elif kind == "status":
        send(head(f"{number} Said", ["Content-Length: 2"]) + b"no")
    elif kind == "slow":
        time.sleep(number / 1000)
        send(head("200 OK", ["Content-Length: 2"]) + b"ok")
    elif kind == "stall":
        send(head("200 OK", ["Content-Length: 100"]) + b"some")
        time.sleep(3600)
    elif kind == "black":
        time.sleep(3600)
    elif kind == "raw":
        send(asked["bytes"].encode("latin-1"))
        return "keep" in asked
    elif kind == "interim":
        while True:
            send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
            time.sleep(0.001)
    elif kind == "hints":
        send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + head("200 OK", ["Content-Length: 2"]) + b"ok")
    elif kind == "redirect":
        send(head("302 Found", [f"Location: {asked['to']}", "Content-Length: 0"]))
    elif kind == "circle":
        send(head("302 Found", ["Location: /circle", "Content-Length: 0"]))
    elif kind == "early":  # answers without reading the body
        send(head("413 Too Large", ["Content-Length: 2", "Connection: close"]) + b"no")
        return False
    elif kind == "upgrade":
        send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: mine\r\n\r\nhi ")
        while data := peer.sock.recv(4096):
            send(data)
        return False
    elif kind == "seen":
        said = str(SEEN.get(asked["target"], 0)).encode()
        send(head("200 OK", [f"Content-Length: {len(said)}"]) + said)
    else:
        send(head("200 OK", [f"Content-Length: {len(NAME)}"]) + NAME)
    return fields.get("connection") != "close"


def send_range(send: object, method: str, fields: dict[str, str], whole: bytes, etag: str, *, half: bool = False) -> None:
    first, last, status, extra = 0, len(whole) - 1, "200 OK", []
    wanted = fields.get("range", "")
    if wanted.startswith("bytes=") and fields.get("if-range", etag) == etag:
        begin, _, end = wanted.removeprefix("bytes=").partition("-")
        first, last = int(begin), int(end) if end else last
        status, extra = "206 Partial Content", [f"Content-Range: bytes {first}-{last}/{len(whole)}"]
    part = whole[first : last + 1]
    body = b"" if method == "HEAD" else part[: len(part) // 2] if half else part
    send(head(status, [f"Content-Length: {len(part)}", f"ETag: {etag}", *extra]) + body)  # type: ignore[operator]


def main() -> None:
    global NAME
    port, NAME = int(sys.argv[1]), sys.argv[2].encode()
    listener = socket.create_server(("127.0.0.1", port), backlog=512)
    print(listener.getsockname()[1], flush=True)
    while True:
        sock, _ = listener.accept()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=serve, args=(sock,), daemon=True).start()


if __name__ == "__main__":
    main()
