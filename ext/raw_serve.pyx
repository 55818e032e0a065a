"""A connection whose bytes go up to trio as they are, and come down as they are: HTTP/2 behind TLS, until it has a kernel of its own."""
from libc.stdint cimport int64_t, uint32_t

from nova.ext.bytevec cimport vec_free
from nova.ext.conn cimport conn_again, conn_arm, conn_id, conn_owe, timer_clear, timer_set
from nova.ext.io cimport CF_CLOSE_AFTER, CF_DRAIN, CF_EOF, CF_KEEP, CF_RATED, CF_STARVED, P_RAW
from nova.ext.lifecycle cimport conn_close, conn_linger
from nova.ext.ring cimport ring_put, ring_ring, ring_room
from nova.ext.transport cimport READ_AGAIN, conn_read, out_resume, tx_flush
from nova.ext.wire cimport EV_DATA, OW_DRAINED, OW_INPUT, R_LOCAL, R_PEER, R_RESET, R_SLOW

cdef enum:
    RAW_READ = 65536
    BACKLOG_LOW = 65536


cdef void settle(Thread* t, Conn* c) noexcept nogil:
    if tx_flush(t, c) < 0:
        conn_close(t, c, R_RESET)
        return
    if c.fd < 0:
        return
    if c.out_count == 0:
        timer_clear(t, c)
        if c.flags & CF_CLOSE_AFTER:
            conn_linger(t, c, R_LOCAL)
            return
    elif c.deadline == 0:
        c.moved = 0
        c.since = t.now_ms
        timer_set(t, c, t.now_ms + t.shared.listeners[c.listener].limits.body_ms)
    conn_arm(t, c, c.credit > 0 and not c.flags & (CF_STARVED | CF_EOF), c.out_count > 0)


cdef void raw_open(Thread* t, Conn* c) noexcept nogil:
    """A connection of HTTP that has changed its protocol; what the peer has sent behind its request comes up first."""
    c.proto = P_RAW
    c.flags &= ~<uint32_t> (CF_RATED | CF_KEEP)
    c.credit = 0
    if c.rbuf.len:
        if not ring_put(&t.events, EV_DATA, 0, conn_id(t, c), 0, 0, c.rbuf.data, <uint32_t> c.rbuf.len, NULL, 0):
            conn_close(t, c, R_RESET)  # trio is behind by a ring of events: a stream with a hole would be worse
            return
        ring_ring(&t.events)
        c.credit = -<int64_t> c.rbuf.len
        vec_free(&c.rbuf)
    settle(t, c)


cdef void raw_input(Thread* t, Conn* c) noexcept nogil:
    cdef Py_ssize_t n
    cdef size_t most = RAW_READ
    if c.credit <= 0 or c.flags & CF_EOF:
        settle(t, c)
        return
    if not ring_room(&t.events, RAW_READ):
        conn_owe(t, c, OW_INPUT)
        c.flags |= CF_STARVED
        settle(t, c)
        return
    if <int64_t> most > c.credit:
        most = <size_t> c.credit
    n = conn_read(t, c, t.rx, most)
    if n == READ_AGAIN:
        settle(t, c)
        return
    if n < 0:
        conn_close(t, c, R_RESET)
        return
    if n == 0:
        c.flags |= CF_EOF
    c.credit -= n
    ring_put(&t.events, EV_DATA, 1 if n == 0 else 0, conn_id(t, c), 0, 0, t.rx, <uint32_t> n, NULL, 0)
    ring_ring(&t.events)
    settle(t, c)
    if c.fd >= 0 and c.ssl != NULL and n == <Py_ssize_t> most and c.credit > 0:
        conn_again(t, c)  # OpenSSL may hold more than the socket shows


cdef void raw_output(Thread* t, Conn* c) noexcept nogil:
    if out_resume(t, c) < 0:
        conn_close(t, c, R_RESET)
        return
    if c.flags & CF_DRAIN and c.out_bytes <= BACKLOG_LOW:
        c.flags &= ~<uint32_t> CF_DRAIN
        conn_owe(t, c, OW_DRAINED)
    settle(t, c)


cdef void raw_timeout(Thread* t, Conn* c) noexcept nogil:
    if c.out_count and c.moved < <uint64_t> t.shared.listeners[c.listener].limits.min_rate * t.shared.listeners[c.listener].limits.body_ms // 1000:
        t.stats.timeouts += 1
        conn_close(t, c, R_SLOW)
        return
    settle(t, c)


cdef void raw_sent(Thread* t, Conn* c) noexcept nogil:
    settle(t, c)


cdef void raw_credit(Thread* t, Conn* c, uint64_t bytes) noexcept nogil:
    """Trio takes so many bytes more."""
    c.credit += <int64_t> bytes
    if c.ssl != NULL:
        conn_again(t, c)
    settle(t, c)
