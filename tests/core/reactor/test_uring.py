"""A sandbox that lets a ring be set up but not entered: sweeps go by `send`, and nobody is told that there is io_uring."""

from __future__ import annotations

import errno
import subprocess
import sys

import pytest

CHILD = """
import ctypes, struct, sys

def forbid(number, error):
    # seccomp: LD [nr]; JEQ number -> next, else skip one; RET ERRNO|error; RET ALLOW
    rows = [(0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, 0x00050000 | error), (0x06, 0, 0, 0x7FFF0000)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *row) for row in rows))
    program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(rows), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, program, 0, 0):  # no new privileges; a filter
        sys.exit(77)

import trio
from nova.ext.uring import available
from tests.core.reactor import talking

if not available():
    sys.exit(77)
forbid(426, int(sys.argv[1]))  # io_uring_enter, on every architecture
talking.URING[0] = True

async def main():
    async with talking.house() as h, talking.talk(h.address) as reader:
        await reader.join("public:a")
        h.hub.publish("public:a", "by send")
        print(available(), h.reactor.engine.stats()["uring_threads"], h.reactor.engine.stats()["uring_sends"], await reader.publications(1))

trio.run(main)
"""


@pytest.mark.parametrize("error", [errno.EPERM, errno.EACCES, errno.ENOSYS], ids=["EPERM", "EACCES", "ENOSYS"])
def test_a_ring_that_can_not_be_entered_is_none(error: int, interpreter: dict[str, str]) -> None:
    command = [sys.executable, "-c", CHILD, str(error)]
    ended = subprocess.run(command, env=interpreter, capture_output=True, text=True, timeout=60)
    if ended.returncode == 77:
        pytest.skip("this kernel, or its sandbox, gives no io_uring or no seccomp")
    assert ended.stdout == "False 0 0 ['by send']\n", ended.stderr
