"""The cases of RFC 9112 against a real server, over a socket.

An accepted request is followed by another one on the same connection: a server that loses its place answers the wrong number of
times. A refused one gets one answer, then the end of the connection.
"""

import socket
from collections.abc import Iterator
from http.client import HTTPResponse
from typing import NamedTuple

import pytest

from tests.conformance.echo import echo_server
from tests.conformance.rfc9112.cases import CASES, Case
from tests.ext import http1_oracle as oracle

NEXT = b"GET / HTTP/1.1\r\nHost: $HOST\r\nConnection: close\r\n\r\n"
FRAMING = {400, 408, 411, 413, 414, 417, 431, 501, 505}  # no application answers a well-formed request of the table so


class Answer(NamedTuple):
    status: int
    closes: bool  # it says that the connection ends
    body: bytes


def responses(address: tuple[str, int], parts: list[bytes], methods: list[str]) -> list[Answer]:
    """Sends the parts, reads to the end of the connection; every final response, each of them well-formed."""
    with socket.create_connection(address, timeout=60) as peer:
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        host = f"{address[0]}:{address[1]}".encode()
        try:
            for part in parts:
                peer.sendall(part.replace(b"$HOST", host))
        except (BrokenPipeError, ConnectionResetError):
            pass  # it has answered and closed: what it said can still be read
        answers: list[Answer] = []
        with peer.makefile("rb") as stream:
            while stream.peek(1):  # type: ignore[attr-defined]
                method = methods[len(answers)] if len(answers) < len(methods) else "GET"
                response = HTTPResponse(_Keep(stream), method=method)  # type: ignore[arg-type]
                response.begin()
                answers.append(Answer(response.status, response.getheader("connection", "").lower() == "close", response.read()))
        return answers


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


def check(case: Case, answers: list[Answer]) -> None:
    if case.status:
        assert [answer.status for answer in answers] == [case.status]
        assert answers[0].closes
    elif case.closes:
        assert len(answers) == 1
    else:
        # Who answers without having read the body may end the connection instead (RFC 9112, section 9.3), if it says so.
        assert len(answers) == 2 or (len(answers) == 1 and answers[0].closes and case.request.partition(b"\r\n\r\n")[2] != b"")
    if not case.status:
        assert not FRAMING & {answer.status for answer in answers}


NAMES = [f"{case.section} {case.title}" for case in CASES]


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_server(case: Case, server_address: tuple[str, int]) -> None:
    data = case.request if case.status else case.request + NEXT
    check(case, responses(server_address, [data], [method_of(case.request), "GET"]))


@pytest.fixture(scope="module")
def echo_address() -> Iterator[tuple[str, int]]:
    with echo_server() as address:
        yield address


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_application_gets_exactly_the_body(case: Case, echo_address: tuple[str, int]) -> None:
    data = case.request if case.status else case.request + NEXT
    answers = responses(echo_address, [data], [method_of(case.request), "GET"])
    if case.status:
        check(case, answers)
        return
    assert len(answers) == (1 if case.closes else 2)
    rest = case.request.partition(b"\r\n\r\n")[2] if not case.request.startswith(b"\r\n") else b""
    if b"transfer-encoding" in case.request.lower():
        decoded = oracle.chunked(rest)
        assert decoded is not None
        rest = decoded[0]
    assert answers[0] == (200, case.closes, rest)


def parts_of(case: Case) -> list[bytes]:
    data = case.request + (b"" if case.status else NEXT)
    host, at = data.find(b"$HOST"), 0
    parts = []
    while at < len(data):  # byte by byte, but never inside the placeholder
        size = 5 if data[at : at + 5] == b"$HOST" else 1
        parts.append(data[at : at + size])
        at += size
    assert host < 0 or b"$HOST" in parts
    return parts


SPLIT = [case for case in CASES if len(case.request) < 300][::9]


@pytest.mark.parametrize("case", SPLIT, ids=[f"{case.section} {case.title}" for case in SPLIT])
def test_server_reads_byte_by_byte(case: Case, echo_address: tuple[str, int]) -> None:
    check(case, responses(echo_address, parts_of(case), [method_of(case.request), "GET"]))


def test_pipelined_requests_are_answered_in_order(echo_address: tuple[str, int]) -> None:
    some = b"".join(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%d" % (len(str(i)), i) for i in range(50))
    answers = responses(echo_address, [some + NEXT], ["POST"] * 50 + ["GET"])
    assert [answer.body for answer in answers] == [b"%d" % i for i in range(50)] + [b""]


def test_expectation_is_met_before_the_body(echo_address: tuple[str, int]) -> None:
    with socket.create_connection(echo_address, timeout=60) as peer:
        peer.sendall(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n")
        assert peer.recv(25, socket.MSG_WAITALL) == b"HTTP/1.1 100 Continue\r\n\r\n"
        peer.sendall(b"hello")
        with peer.makefile("rb") as stream:
            said = stream.read()
        assert said.startswith(b"HTTP/1.1 200 ")
        assert said.endswith(b"hello")
