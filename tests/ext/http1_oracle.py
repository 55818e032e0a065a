"""HTTP/1.1 framing said once more, in regular expressions: what the kernel is compared with.

Only complete heads and bodies; None means refused.
"""

import re
from typing import NamedTuple

TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
PATH = rb"(?:[A-Za-z0-9._~!$&'()*+,;=:@/\[\]|^-]|%[0-9A-Fa-f]{2})*"
QUERY = rb"[A-Za-z0-9._~!$&'()*+,;=:@/\[\]|^?%{}`\\-]*"
HOST = rb"(?:\[(?=[^\]]*:[^\]]*:)[0-9A-Fa-f:.]{2,45}\]|(?:[A-Za-z0-9._~-]|%[0-9A-Fa-f]{2})+)"
LINE = re.compile(rb"(" + TOKEN + rb"):[ \t]*([\t\x20-\x7e\x80-\xff]*?)[ \t]*\r\n")
HEAD = re.compile(rb"(?:\r\n)?(" + TOKEN + rb") ([^\s#]+) HTTP/1\.([01])\r\n((?:[^\r\n]+\r\n)*)\r\n")
TARGET = re.compile(rb"(?:(?i:https?)://(?P<authority>[^/?#]*))?(?P<path>" + PATH + rb")(?:\?(?P<query>" + QUERY + rb"))?")
QUOTED = rb'"(?:[^"\\\x00-\x08\x0a-\x1f\x7f]|\\[\t\x20-\x7e\x80-\xff])*"'
EXTENSION = rb"[ \t]*;[ \t]*" + TOKEN + rb"(?:[ \t]*=[ \t]*(?:" + TOKEN + rb"|" + QUOTED + rb"))?"
CHUNK = re.compile(rb"([0-9A-Fa-f]{1,15})((?:" + EXTENSION + rb")*)\r\n")


class Request(NamedTuple):
    size: int
    method: bytes
    minor: int
    path: bytes
    query: bytes
    host: bytes
    content_length: int
    chunked: bool
    keep_alive: bool
    headers: list[tuple[bytes, bytes]]


def is_host(text: bytes) -> bool:
    match = re.fullmatch(HOST + rb"(?::([0-9]*))?", text)
    return bool(match) and int(match[1] or 0) <= 65535


def head(data: bytes) -> Request | None:
    match = HEAD.match(data)
    if match is None:
        return None
    method, target, minor, lines = match[1], match[2], int(match[3]), match[4]
    headers = LINE.findall(lines)
    if b"".join(m[0] for m in LINE.finditer(lines)) != lines or len(headers) > 100 or len(method) > 32 or len(target) > 8192:
        return None
    named = [(name.lower(), value) for name, value in headers]

    def every(name: bytes) -> list[bytes]:
        return [value for key, value in named if key == name]

    hosts, lengths, codings = every(b"host"), every(b"content-length"), every(b"transfer-encoding")
    if len(hosts) > 1 or (minor and not hosts) or (hosts and not is_host(hosts[0]) and (minor or hosts[0])):
        return None
    if len(lengths) > 1 or (lengths and not re.fullmatch(rb"[0-9]{1,18}", lengths[0])):
        return None
    if codings and (lengths or not minor or [c.lower() for c in codings] != [b"chunked"]):
        return None
    if len(every(b"authorization")) > 1 or (minor and any(e.lower() != b"100-continue" for e in every(b"expect"))):
        return None
    options = {option.strip(b" \t").lower() for value in every(b"connection") for option in value.split(b",")}
    keep_alive = b"close" not in options and (bool(minor) or b"keep-alive" in options)
    host = hosts[0] if hosts else b""
    path = query = b""
    if method == b"CONNECT":
        if not is_host(target) or not re.search(rb":[0-9]+$", target):
            return None
        host = target
    elif target == b"*":
        if method != b"OPTIONS":
            return None
        path = target
    else:
        split = TARGET.fullmatch(target)
        if split is None or (split["authority"] is None and not target.startswith(b"/")):
            return None
        if split["authority"] is not None:
            host = split["authority"]
            if not is_host(host):
                return None
        path, query = split["path"] or b"/", split["query"] or b""
    length = int(lengths[0]) if lengths else -1
    return Request(match.end(), method, minor, path, query, host, length, bool(codings), keep_alive, headers)


def chunked(data: bytes) -> tuple[bytes, int] | None:
    """(payload, bytes of the body)."""
    at, payload = 0, b""
    while True:
        match = CHUNK.match(data, at)
        if match is None:
            return None
        size, at = int(match[1], 16), match.end()
        if size == 0:
            break
        payload += data[at : at + size]
        if data[at + size : at + size + 2] != b"\r\n":
            return None
        at += size + 2
    while match := LINE.match(data, at):
        at = match.end()
    return (payload, at + 2) if data[at : at + 2] == b"\r\n" else None
