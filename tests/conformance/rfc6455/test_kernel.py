"""The cases of RFC 6455 against the framing kernel alone: in one go, and byte by byte."""

import pytest

from nova.ext.ws import CLOSE, PING, PONG, FrameError, FrameReader
from tests.conformance.rfc6455.cases import CASES, Case


def echoes(case: Case, step: int) -> tuple[tuple[tuple[int, bytes], ...], int]:
    """What an echo server would send back, and the close code that fails the connection."""
    reader = FrameReader(max_message=65536)
    messages, code = [], 0
    for at in range(0, len(case.data), step):
        try:
            messages += reader.feed(case.data[at : at + step])
        except FrameError as error:
            messages += error.messages
            code = error.close_code
            break
    sent = []
    for opcode, payload, said, _ in messages:
        if opcode == PING:
            sent.append((PONG, payload))
        elif opcode == CLOSE:
            sent.append((CLOSE, b"" if said == 1005 else said.to_bytes(2, "big")))
        elif opcode != PONG:
            sent.append((opcode, payload))
    return tuple(sent), code


@pytest.mark.parametrize("step", [1 << 20, 1], ids=["whole", "bytes"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.section} {case.title}")
def test_kernel(case: Case, step: int) -> None:
    if step == 1 and len(case.data) > 5000:
        step = 997
    assert echoes(case, step) == (case.messages, case.code)


def test_titles_tell_cases_apart() -> None:
    assert len({(case.section, case.title) for case in CASES}) == len(CASES)
