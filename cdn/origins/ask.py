"""A request as an origin gets it: the head's bytes. Pure."""

from __future__ import annotations

from typing import Final
from urllib.parse import SplitResult, urlsplit

from nova.cdn.ports import FetchRequest

IDEMPOTENT: Final = frozenset(("GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"))  # RFC 9110, 9.2.2
SAFE: Final = frozenset(("GET", "HEAD", "OPTIONS", "TRACE"))
CONDITIONS: Final = frozenset((b"if-none-match", b"if-modified-since"))  # those that 304 answers (RFC 9110, 15.4.5)
VIA_EDGE: Final = b"x-nova-shield"  # what an edge tells a shield node: ask the origins, not another node

_OURS: Final = frozenset((VIA_EDGE, b"host", b"content-length", b"transfer-encoding", b"connection"))


class Where:
    """An origin's address, taken apart once."""

    def __init__(self, url: str) -> None:
        parts: SplitResult = urlsplit(url)
        self.url = url
        self.secure = parts.scheme == "https"
        self.host = parts.hostname or ""
        self.port = parts.port or (443 if self.secure else 80)
        self.authority = parts.netloc.encode("idna" if not parts.netloc.isascii() else "ascii")
        self.path = parts.path.rstrip("/").encode()

    def target(self, target: bytes) -> bytes:
        """The request's target behind the origin's own path."""
        return target if not self.path or target == b"*" else self.path + target


def head(request: FetchRequest, where: Where, *, own_host: bool, extra: tuple[tuple[bytes, bytes], ...] = ()) -> bytes:
    """The head of `request` for the origin at `where`. own_host: the Host is the origin's and not the client's.

    extra: fields that stand instead of the request's own of that name. Raises ValueError: a target or field that would end a line.
    """
    instead = _OURS | {name for name, _ in extra} if extra else _OURS
    lines = [
        b"%b %b HTTP/1.1" % (request.method.encode("ascii"), where.target(request.target)),
        b"host: " + (where.authority if own_host or not request.host else request.host),
        *(b"%b: %b" % field for field in request.fields if field[0] not in instead),
        *(b"%b: %b" % field for field in extra),
    ]
    if request.upgrade is not None:
        lines += [b"connection: upgrade", b"upgrade: " + request.upgrade]
    if request.body is not None:
        lines.append(b"transfer-encoding: chunked" if request.length is None else b"content-length: %d" % request.length)
    elif request.method in ("POST", "PUT", "PATCH"):
        lines.append(b"content-length: 0")
    text = b"\r\n".join((*lines, b"", b""))
    ends = len(lines) + 1
    if text.count(b"\r") != ends or text.count(b"\n") != ends or b"\0" in text or lines[0].count(b" ") != 2:
        raise ValueError("a line of the request would be two")
    return text
