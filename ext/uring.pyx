# nova: libraries=ssl,crypto,z
"""Sends of a sweep by io_uring: one system call for hundreds of sockets instead of one for each.

All sends are over when the call returns, so buffers, ids and order need no care beyond the slice of a sweep. Only plain connections
without a backlog go this way; all others, and every thread whose kernel has no ring for us, by `send`.
"""
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from nova.ext.atomics cimport nova_add32, nova_ref
from nova.ext.buffer cimport buf_unref
from nova.ext.conn cimport conn_arm, conn_get, conn_id
from nova.ext.io cimport CF_IN
from nova.ext.lifecycle cimport conn_close
from nova.ext.transport cimport out_share
from nova.ext.wire cimport R_RESET

cdef extern from "nova_uring.h" nogil:
    ctypedef struct nova_uring:
        int quiet
    int nova_uring_open(nova_uring* u, unsigned int entries)
    void nova_uring_close(nova_uring* u)
    int nova_uring_send(nova_uring* u, int fd, const void* data, uint32_t size, uint64_t user)
    int nova_uring_go(nova_uring* u)
    int nova_uring_said(nova_uring* u, uint64_t* user, int* result)

cdef extern from "errno.h" nogil:
    enum: EAGAIN

cdef enum:
    ENTRIES = 256               # sends of one call

ctypedef struct Send:
    uint64_t conn               # id
    Buf* buf                    # one reference
    size_t offset
    size_t size

ctypedef struct Uring:
    nova_uring ring
    uint32_t count
    Send sends[ENTRIES]


cdef void uring_open(Thread* t) noexcept nogil:
    cdef Uring* u
    if not t.shared.uring:
        return
    u = <Uring*> calloc(1, sizeof(Uring))
    if u == NULL:
        return
    if nova_uring_open(&u.ring, ENTRIES) < 0:
        free(u)
        return
    t.uring = u
    nova_add32(&t.shared.urings, 1)


cdef void uring_close(Thread* t) noexcept nogil:
    cdef Uring* u = <Uring*> t.uring
    if u == NULL:
        return
    uring_go(t)
    nova_uring_close(&u.ring)
    free(u)
    t.uring = NULL
    nova_add32(&t.shared.urings, -1)


cdef bint uring_send(Thread* t, Conn* c, Buf* buf, size_t offset, size_t size) noexcept nogil:
    cdef Uring* u = <Uring*> t.uring
    if u == NULL or c.ssl != NULL or c.out_count or size > 0x7FFFFFFF:
        return False
    if u.count == ENTRIES:
        uring_go(t)
        u = <Uring*> t.uring  # a ring that broke is no more
        if c.fd < 0:
            return True  # it had a send among these, and ended by it
        if u == NULL or c.out_count:
            return False
    if nova_uring_send(&u.ring, c.fd, buf.data + offset, <uint32_t> size, u.count) < 0:
        return False
    nova_ref(&buf.refs)
    u.sends[u.count].conn = conn_id(t, c)
    u.sends[u.count].buf = buf
    u.sends[u.count].offset = offset
    u.sends[u.count].size = size
    u.count += 1
    t.stats.bytes_out += size  # what turns out to be short is taken off again
    return True


cdef void finish(Thread* t, Send* send, int result) noexcept nogil:
    """A send that did not take everything, or any where the kernel posts all."""
    cdef Conn* c = conn_get(t, send.conn)
    cdef size_t took = <size_t> result if result > 0 else 0
    if took == send.size:
        return
    t.stats.bytes_out -= send.size - took
    if c == NULL:
        return
    if result < 0 and result != -EAGAIN:
        conn_close(t, c, R_RESET)
        return
    if out_share(c, send.buf, send.offset + took, send.size - took) < 0:
        conn_close(t, c, R_RESET)
        return
    conn_arm(t, c, c.flags & CF_IN != 0, True)


cdef void uring_go(Thread* t) noexcept nogil:
    cdef Uring* u = <Uring*> t.uring
    cdef uint64_t which
    cdef int result = 0
    cdef uint32_t i
    cdef bint broken
    if u == NULL or u.count == 0:
        return
    broken = nova_uring_go(&u.ring) < 0
    t.stats.uring_sends += u.count
    while nova_uring_said(&u.ring, &which, &result):
        if which < u.count:
            finish(t, &u.sends[which], result)
    for i in range(u.count):
        if broken and conn_get(t, u.sends[i].conn) != NULL:
            conn_close(t, conn_get(t, u.sends[i].conn), R_RESET)  # whether it got its bytes is not known
        buf_unref(u.sends[i].buf)
    u.count = 0
    if broken:
        nova_uring_close(&u.ring)
        free(u)
        t.uring = NULL
        nova_add32(&t.shared.urings, -1)


def available() -> bool:
    """Whether the kernel, and the sandbox that this runs in, give us a ring."""
    cdef nova_uring ring
    if nova_uring_open(&ring, ENTRIES) < 0:
        return False
    nova_uring_close(&ring)
    return True
