"""A worker process: decodes what users sent, so that a crash or a decoder that never returns ends one job and nothing else.

`python -m nova.media.images.worker FD …`: jobs come over the socket FD, files as descriptors beside them. Started by exec, with limits that
the kernel holds: address space, processor time for each job, the size of a result, descriptors. It ends when the socket closes.
"""

from __future__ import annotations

import array
import os
import resource
import socket
import sys
import time
from typing import Final

from nova.core import awake
from nova.core.errors import Internal, NovaError, TooLarge
from nova.core.guard import guarded
from nova.core.log import Log
from nova.media.images.job import MAX_MARKS, MAX_MESSAGE, Done, Job, encode_done, encode_error

DESCRIPTORS: Final = 64
_HARD_CPU: Final = 10**6  # seconds; the soft limit is set anew for each job

_log = Log("nova.images")


def main() -> int:
    fd, memory, seconds, result = map(int, sys.argv[1:5])
    confine(memory, result)
    awake.step_back(os.getppid())  # from whichever thread it was started
    channel = socket.socket(fileno=fd)
    from nova.media.images import render  # loads the decoders: before the first job, and within the limits

    while True:
        message, fds = receive(channel)
        if not message:
            return 0
        try:
            allow(seconds)
            serve(channel, message, fds, render.render, time.monotonic() + seconds)
        finally:
            for each in fds:
                os.close(each)


def confine(memory: int, result: int) -> None:
    """memory: bytes of address space. result: bytes of a file that is written."""
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_FSIZE, (result, result))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))


def allow(seconds: int) -> None:
    """So much processor time from now: above it the kernel ends the process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + 1 + seconds, _HARD_CPU))


def receive(channel: socket.socket) -> tuple[bytes, list[int]]:
    """A message and its descriptors; nothing at the end."""
    fds = array.array("i")
    message, ancillary, _, _ = channel.recvmsg(MAX_MESSAGE, socket.CMSG_LEN((1 + MAX_MARKS) * fds.itemsize))
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    return message, list(fds)


def serve(channel: socket.socket, message: bytes, fds: list[int], render: object, deadline: float) -> None:
    """One job to its answer."""
    made: list[int] = []
    reply = b""
    with guarded(_log) as failed:
        reply = answer(message, fds, render, deadline, made)
    if failed:  # a bug of ours, or of a decoder: it stands in the log, and the next job begins
        reply = encode_error(Internal(detail=f"a worker failed with {type(failed.caught).__name__}"))
    try:
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", made).tobytes())] if made else []
        channel.sendmsg([reply], rights)
    finally:
        for fd in made:
            os.close(fd)


def answer(message: bytes, fds: list[int], render: object, deadline: float, made: list[int]) -> bytes:
    """The reply; descriptors of results go into `made`."""
    try:
        done = _done(message, fds, render, deadline)
        for each in done.made:
            fd = os.memfd_create("nova-image", os.MFD_CLOEXEC)
            made.append(fd)
            left = memoryview(each.data)
            while left:
                left = left[os.write(fd, left) :]
        return encode_done(done)
    except MemoryError:
        return encode_error(TooLarge("image_too_large", "the picture takes more memory than a job may have"))
    except NovaError as error:
        return encode_error(error)


def _done(message: bytes, fds: list[int], render: object, deadline: float) -> Done:
    job = Job.decode(message)
    contents = [_read(fd, job.limits.file_bytes) for fd in fds]
    marks = dict(zip(job.marks, contents[1:], strict=True))
    assert callable(render)
    found = render(contents[0], job, marks, deadline=deadline)
    assert isinstance(found, Done)
    return found


def _read(fd: int, most: int) -> bytes:
    size = os.fstat(fd).st_size
    if size > most:
        raise TooLarge("image_too_large", f"a picture has at most {most} bytes")
    return os.pread(fd, size, 0)


if __name__ == "__main__":
    sys.exit(main())
