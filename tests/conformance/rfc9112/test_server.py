"""The cases of RFC 9112 against a real server, over a socket.

An accepted request is followed by another one on the same connection: a server that loses its place answers the wrong number of
times. A refused one gets one answer, then the end of the connection.
"""

import socket
from http.client import HTTPResponse

import pytest

from tests.conformance.rfc9112.cases import CASES, Case

NEXT = b"GET / HTTP/1.1\r\nHost: $HOST\r\nConnection: close\r\n\r\n"
FRAMING = {400, 408, 411, 413, 414, 417, 431, 501, 505}  # no application answers a well-formed request of the table so


def responses(address: tuple[str, int], parts: list[bytes], methods: list[str]) -> list[int]:
    """Sends the parts, reads to the end of the connection; the status of every final response, each of them well-formed."""
    with socket.create_connection(address, timeout=15) as peer:
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        host = f"{address[0]}:{address[1]}".encode()
        try:
            for part in parts:
                peer.sendall(part.replace(b"$HOST", host))
        except (BrokenPipeError, ConnectionResetError):
            pass  # it has answered and closed: what it said can still be read
        statuses: list[int] = []
        with peer.makefile("rb") as stream:
            while stream.peek(1):  # type: ignore[attr-defined]
                method = methods[len(statuses)] if len(statuses) < len(methods) else "GET"
                response = HTTPResponse(_Keep(stream), method=method)  # type: ignore[arg-type]
                response.begin()
                response.read()
                statuses.append(response.status)
        return statuses


class _Keep:
    """Lets several responses be read from one stream: each believes that it owns it."""

    def __init__(self, stream: object) -> None:
        self.stream = stream

    def makefile(self, mode: str) -> "_Keep":
        return self

    def __getattr__(self, name: str) -> object:
        return getattr(self.stream, name)

    def close(self) -> None:
        pass

    def flush(self) -> None:
        pass


def method_of(request: bytes) -> str:
    return request.lstrip(b"\r\n").split(b" ", 1)[0].decode("latin-1")


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.section} {case.title}")
def test_server(case: Case, server_address: tuple[str, int]) -> None:
    if case.status:
        assert responses(server_address, [case.request], [method_of(case.request)]) == [case.status]
        return
    answers = responses(server_address, [case.request + NEXT], [method_of(case.request), "GET"])
    assert len(answers) == (1 if case.closes else 2)
    assert not FRAMING & set(answers)


SPLIT = [case for case in CASES if len(case.request) < 300][::9]


@pytest.mark.parametrize("case", SPLIT, ids=lambda case: f"{case.section} {case.title}")
def test_server_reads_byte_by_byte(case: Case, server_address: tuple[str, int]) -> None:
    host = f"{server_address[0]}:{server_address[1]}".encode()
    data = case.request.replace(b"$HOST", host) + (b"" if case.status else NEXT.replace(b"$HOST", host))
    answers = responses(server_address, [data[i : i + 1] for i in range(len(data))], [method_of(case.request), "GET"])
    assert answers == [case.status] if case.status else len(answers) == (1 if case.closes else 2)


def test_pipelined_requests_are_answered_in_order(server_address: tuple[str, int]) -> None:
    some = b"GET / HTTP/1.1\r\nHost: $HOST\r\n\r\n"
    answers = responses(server_address, [some * 50 + NEXT], ["GET"] * 51)
    assert len(answers) == 51
    assert len(set(answers)) == 1
