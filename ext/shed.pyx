"""The bound on what slow readers hold: bytes that are in no table and no window any more, and live on in backlogs alone.

Above the bound every thread closes, the oldest backlog first, those of its connections that hold such bytes.
"""
from libc.stdint cimport uint32_t

from nova.ext.atomics cimport nova_add64
from nova.ext.buffer cimport buf_pinned, buf_pinned_bytes
from nova.ext.conn cimport conn_at
from nova.ext.io cimport CONN_CHUNK, Conn
from nova.ext.lifecycle cimport conn_close
from nova.ext.wire cimport R_SLOW

cdef enum:
    SHED_MS = 20                # how often the backlogs are looked at
    SHED_MOST = 16              # connections closed at one look, which walks the whole table for each


cdef bint holds_pinned(Conn* c) noexcept nogil:
    cdef uint32_t i
    for i in range(c.out_count):
        if buf_pinned(c.out[c.out_first + i].buf):
            return True
    return False


cdef Conn* oldest(Thread* t) noexcept nogil:
    cdef Conn* found = NULL
    cdef Conn* c
    cdef uint32_t i
    for i in range(t.slab_count * CONN_CHUNK):
        c = conn_at(t, i)
        if c.fd >= 0 and c.out_count and (found == NULL or c.since < found.since) and holds_pinned(c):
            found = c
    return found


cdef bint shed(Thread* t) noexcept nogil:
    """Close slow readers while they all hold too much; True when there is more to look at soon."""
    cdef Conn* c
    cdef int i
    if nova_add64(buf_pinned_bytes(), 0) <= t.shared.pinned_most:
        return False
    if t.now_ms < t.shed_at:
        return True
    t.shed_at = t.now_ms + SHED_MS
    for i in range(SHED_MOST):
        c = oldest(t)
        if c == NULL:  # who holds them is another thread's
            return False
        t.stats.shed += 1
        conn_close(t, c, R_SLOW)
        if nova_add64(buf_pinned_bytes(), 0) <= t.shared.pinned_most:
            return False
    return True
