"""Cache-Status (RFC 9211): what this cache did for an answer.

Pure. The hits of the I/O threads say the same in `ext/site_serve`.
"""

from __future__ import annotations

from typing import Literal

NAME = b"nova"
Forward = Literal["bypass", "method", "uri-miss", "vary-miss", "miss", "request", "stale", "partial"]


def hit(ttl: float) -> bytes:
    return b"%s; hit; ttl=%d" % (NAME, int(ttl))


def forwarded(why: Forward, *, status: int | None = None, stored: bool = False, collapsed: bool = False, detail: str = "") -> bytes:
    """status: the origin's, when it is not that of the answer. detail: a token."""
    line = b"%s; fwd=%s" % (NAME, why.encode())
    if status is not None:
        line += b"; fwd-status=%d" % status
    if stored:
        line += b"; stored"
    if collapsed:
        line += b"; collapsed"
    if detail:
        line += b"; detail=%s" % detail.encode()
    return line


def stale(ttl: float, *, asked: bool, status: int | None = None, detail: str = "") -> bytes:
    """A stale answer. asked: the origin was, and did not answer better (`status`, None: not at all)."""
    line = b"%s; fwd=stale" % NAME if asked else b"%s; hit; ttl=%d" % (NAME, int(ttl))
    if status is not None:
        line += b"; fwd-status=%d" % status
    return line + (b"; detail=%s" % detail.encode() if detail else b"")
