"""The cases of RFC 9112 against the kernel alone: head, then chunked body when there is one."""

import pytest

from nova.ext.http1 import ChunkedBody, parse_head
from tests.conformance.rfc9112.cases import CASES, Case


def answer(data: bytes) -> tuple[int, bool, bytes]:
    """(status or 0, does the connection end, what is left of the bytes)."""
    head = parse_head(data, 65536)
    if isinstance(head, int):
        assert head < 0, "a complete case can not need more bytes"
        return -head, True, b""
    flags, size, length = head["flags"], head["size"], head["content_length"]
    assert isinstance(flags, set)
    assert isinstance(size, int)
    assert isinstance(length, int)
    left = data[size:]
    if "chunked" in flags:
        said, _, used = ChunkedBody().feed(left)
        if said < 0:
            return -said, True, b""
        assert said == 1
        left = left[used:]
    else:
        left = left[max(length, 0) :]
    return 0, "keep-alive" not in flags, left


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.section} {case.title}")
def test_kernel(case: Case) -> None:
    status, closes, left = answer(case.request.replace(b"$HOST", b"localhost:8080"))
    assert status == case.status
    if not case.status:
        assert (closes, left) == (case.closes, b"")


def test_titles_tell_cases_apart() -> None:
    assert len({(case.section, case.title) for case in CASES}) == len(CASES)
