"""The scheduler's slice of a thread (sched_setattr(2), EEVDF since Linux 6.12)."""
from libc.errno cimport errno
from libc.stdint cimport int32_t, uint32_t, uint64_t
from libc.string cimport memset

cdef extern from "unistd.h" nogil:
    long syscall(long number, ...)

cdef extern from "sys/syscall.h" nogil:
    enum:
        SYS_sched_setattr
        SYS_sched_getattr

# The first version of the kernel's struct, which glibc of Debian 12 does not declare.
ctypedef struct Attributes:
    uint32_t size
    uint32_t policy
    uint64_t flags
    int32_t nice
    uint32_t priority
    uint64_t runtime
    uint64_t deadline
    uint64_t period


def set_slice(uint64_t nanoseconds) -> int:
    """Ask for turns of that length (100 µs to 100 ms) for the calling thread, and for the threads that it starts from now on.

    Needs no privilege: a shorter turn comes sooner and is no larger share. Returns 0, or the errno with which the kernel refused; one
    before 6.12 takes the wish and keeps its own turns.
    """
    cdef Attributes attributes
    memset(&attributes, 0, sizeof(Attributes))
    if syscall(SYS_sched_getattr, 0, &attributes, sizeof(Attributes), 0) != 0:
        return errno
    attributes.size = sizeof(Attributes)
    attributes.runtime = nanoseconds
    if syscall(SYS_sched_setattr, 0, &attributes, 0) != 0:
        return errno
    return 0


def get_slice() -> int:
    """Nanoseconds of a turn of the calling thread; 0 when the kernel does not tell."""
    cdef Attributes attributes
    memset(&attributes, 0, sizeof(Attributes))
    if syscall(SYS_sched_getattr, 0, &attributes, sizeof(Attributes), 0) != 0:
        return 0
    return attributes.runtime
