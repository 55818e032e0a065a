# nova: libraries=ssl,crypto
"""The end of a connection: what it holds is given back at once, what trio must hear is owed until the ring has room."""
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memcpy, memset

from nova.ext.atomics cimport nova_add32, nova_add64, nova_swap32
from nova.ext.buffer cimport Buf, buf_copy
from nova.ext.bytevec cimport vec_append, vec_drop_front, vec_free
from nova.ext.conn cimport conn_again, conn_arm, conn_at, conn_free, conn_id, conn_owe, timer_set
from nova.ext.io cimport (
    CF_CLOSE_AFTER, CF_CLOSED, CF_COUNTED, CF_DRAIN, CF_EOF, CF_HANDSHAKE, CF_HUP, CF_IN, CF_KNOWN, CF_LISTED, CF_OUT, CF_OWED, CF_PROXY, CF_RATED,
    CF_STARVED, H_LINGER, NO_CONN, P_HTTP, P_RTMP,
)
from nova.ext.objects cimport kept_unref, objects_unpark
from nova.ext.peers cimport peers_leave
from nova.ext.ring cimport ring_put, ring_ring, ring_room
from nova.ext.rooms cimport ws_free, ws_part
from nova.ext.rtmp cimport rtmp_reader_free
from nova.ext.sequence cimport Seq, seq_unref
from nova.ext.ssl cimport ERR_clear_error, SSL_free, SSL_shutdown
from nova.ext.transport cimport out_free, send_fin, tx_forget
from nova.ext.wire cimport EV_CLOSED, EV_DRAINED, EV_RECORDS, EV_WS_GONE, OW_CLOSED, OW_DRAINED, OW_INPUT, OW_RECORDS, R_PEER, WhoInfo
from nova.ext.ws_who cimport who_append

cdef extern from "sys/epoll.h" nogil:
    ctypedef union epoll_data_t:
        uint64_t u64
    cdef struct epoll_event:
        uint32_t events
        epoll_data_t data
    int epoll_ctl(int epfd, int op, int fd, epoll_event* event)
    enum: EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLLIN

cdef extern from "unistd.h" nogil:
    int close(int fd)

cdef enum:
    RECORDS_KEPT = 131072       # bytes of a connection's own memory between two batches
    HANDED_MAX = 67108864       # bytes of records that trio may have to take before publishers are no longer read
    LINGER_MS = 2000            # how long a peer may still send after our last byte before the connection is cut
    LINGER_DRAIN_MS = 200       # ... when the program is about to end


cdef bint behind(Thread* t) noexcept nogil:
    """Whether trio has too many bytes of records to take; when so, its next step in the ring rings this thread's bell."""
    if nova_add64(&t.handed, 0) <= HANDED_MAX:
        return False
    nova_swap32(&t.events.starved, 1)
    return nova_add64(&t.handed, 0) > HANDED_MAX


cdef bint records_up(Thread* t, Conn* c) noexcept nogil:
    """Hand the records of a connection to trio in one event; False when they have to wait."""
    cdef Buf* buf
    cdef size_t size = c.rtmp.records.len
    if size == 0:
        return True
    if behind(t) or not ring_room(&t.events, 0):
        return False
    buf = buf_copy(c.rtmp.records.data, size)
    if buf == NULL:
        return False
    ring_put(&t.events, EV_RECORDS, 0, conn_id(t, c), <uint64_t> buf, 0, NULL, 0, NULL, 0)
    nova_add64(&t.handed, <int64_t> size)
    t.stats.batches += 1
    c.rtmp.records.len = 0
    c.rtmp.scanned = 0
    if c.rtmp.records.cap > RECORDS_KEPT:  # what a burst needed is given back
        vec_free(&c.rtmp.records)
    return True


cdef void follow_end(Thread* t, Conn* c) noexcept nogil:
    """The connection no longer reads its sequence."""
    cdef Seq* seq
    if c.follow == NULL:
        return
    seq = c.follow.seq
    if seq != NULL:
        if c.follow.prev == NO_CONN:
            seq.readers[t.index] = c.follow.next
        else:
            conn_at(t, c.follow.prev).follow.next = c.follow.next
        if c.follow.next != NO_CONN:
            conn_at(t, c.follow.next).follow.prev = c.follow.prev
        nova_add32(&seq.reader_count, -1)
        seq_unref(seq)
    kept_unref(c.follow.kept)
    free(c.follow)
    c.follow = NULL


cdef void release(Thread* t, Conn* c) noexcept nogil:
    if c.rtmp != NULL:
        vec_free(&c.rtmp.records)
        free(c.rtmp)
        c.rtmp = NULL
    if c.ws != NULL:
        ws_free(c)
    conn_free(t, c)


cdef void conn_close(Thread* t, Conn* c, uint16_t reason) noexcept nogil:
    """Close now. The slot lives on only until trio, if it knows the connection, has heard of it."""
    if c.fd < 0:
        return
    if c.waiter != NULL:
        objects_unpark(t.shared.objects, c.waiter)
        c.waiter = NULL
    follow_end(t, c)
    if c.ws != NULL:
        ws_part(t, c)
        t.stats.ws_closed += 1
    if c.ssl != NULL:
        ERR_clear_error()
        SSL_shutdown(c.ssl)
        SSL_free(c.ssl)
        c.ssl = NULL
    close(c.fd)
    c.fd = -1
    c.deadline = 0
    vec_free(&c.rbuf)
    out_free(c)
    tx_forget(t, c)
    free(c.chunked)
    c.chunked = NULL
    if c.rtmp != NULL:
        rtmp_end(t, c)
    nova_add32(&t.shared.listeners[c.listener].conns, -1)
    if c.flags & CF_COUNTED:
        c.flags &= ~<uint32_t> CF_COUNTED
        peers_leave(t.shared.peers, c.peer)
    t.stats.closed += 1
    c.reason = reason
    c.flags |= CF_CLOSED
    if c.flags & CF_KNOWN:
        conn_owe(t, c, OW_CLOSED | (OW_RECORDS if c.rtmp != NULL and c.rtmp.records.len else 0))
    elif not c.flags & CF_OWED:
        release(t, c)


cdef void rtmp_end(Thread* t, Conn* c) noexcept nogil:
    rtmp_reader_free(c.rtmp.reader)
    c.rtmp.reader = NULL
    if c.flags & CF_LISTED:
        c.flags &= ~<uint32_t> CF_LISTED
        t.rtmp_conns -= 1


cdef void conn_part(Thread* t, Conn* c, uint16_t reason) noexcept nogil:
    """For trio the connection ends here; its socket may live on a little."""
    c.reason = reason
    if c.flags & CF_KNOWN:
        c.flags &= ~<uint32_t> (CF_KNOWN | CF_DRAIN)
        conn_owe(t, c, OW_CLOSED)


cdef void conn_linger(Thread* t, Conn* c, uint16_t reason) noexcept nogil:
    """The last byte for this peer is sent. What it still sends is thrown away for a moment: closing at once could make a reset of it,
    which overtakes the last words on their way (RFC 9112, 9.6)."""
    cdef epoll_event event
    if c.flags & (CF_EOF | CF_HANDSHAKE | CF_PROXY):
        conn_close(t, c, reason)
        return
    if c.ws != NULL:
        ws_part(t, c)
    conn_part(t, c, reason)
    follow_end(t, c)
    send_fin(c)
    vec_free(&c.rbuf)
    c.flags &= ~<uint32_t> (CF_CLOSE_AFTER | CF_STARVED | CF_RATED)
    if c.proto == P_RTMP:
        rtmp_end(t, c)
        vec_free(&c.rtmp.records)
        epoll_ctl(t.rtmp_epfd, EPOLL_CTL_DEL, c.fd, NULL)
        event.events = EPOLLIN
        event.data.u64 = conn_id(t, c)
        epoll_ctl(t.epfd, EPOLL_CTL_ADD, c.fd, &event)
        c.flags = (c.flags & ~<uint32_t> (CF_OUT | CF_HUP)) | CF_IN
    c.proto = P_HTTP
    c.phase = H_LINGER
    conn_arm(t, c, True, False)
    timer_set(t, c, t.now_ms + (LINGER_DRAIN_MS if t.draining else LINGER_MS))


cdef void conn_finish(Thread* t, Conn* c, uint16_t reason) noexcept nogil:
    """Close once everything is sent."""
    if c.proto == P_HTTP and c.phase == H_LINGER:
        return
    follow_end(t, c)
    if c.out_count == 0:
        conn_linger(t, c, reason)
    else:
        c.flags |= CF_CLOSE_AFTER
        c.reason = reason


cdef bint pay(Thread* t, Conn* c) noexcept nogil:
    """Write what `c` owes trio; False when the ring is full again."""
    cdef uint64_t id = conn_id(t, c)
    if c.owed & OW_RECORDS:
        if not records_up(t, c):
            return False
        c.owed &= ~<uint16_t> OW_RECORDS
    if c.owed & OW_DRAINED:
        if not ring_put(&t.events, EV_DRAINED, 0, id, 0, 0, NULL, 0, NULL, 0):
            return False
        c.owed &= ~<uint16_t> OW_DRAINED
    if c.owed & OW_CLOSED and c.ws != NULL:
        t.up.len = 0
        if who_append(c, &t.up) < 0 or vec_append(&t.up, c.ws.gone.data, c.ws.gone.len) < 0:
            return False
        if not ring_put(&t.events, EV_WS_GONE, 0, id, 0, c.reason, t.up.data, <uint32_t> t.up.len, NULL, 0):
            return False
        c.owed &= ~<uint16_t> OW_CLOSED
    elif c.owed & OW_CLOSED:
        if not ring_put(&t.events, EV_CLOSED, 0, id, 0, c.reason, NULL, 0, NULL, 0):
            return False
        c.owed &= ~<uint16_t> OW_CLOSED
    if c.owed & OW_INPUT:
        # Without room for any event it would only be owed again: a turn without an end.
        if c.fd >= 0 and (behind(t) or not ring_room(&t.events, t.shared.largest)):
            return False
        c.owed &= ~<uint16_t> OW_INPUT
        c.flags &= ~<uint32_t> CF_STARVED
        if c.fd >= 0:
            conn_again(t, c)
    return True


cdef bint pay_missed(Thread* t) noexcept nogil:
    """Tell trio who did not get into a channel because it had ended by then: whether there was something to tell, and room for it."""
    cdef WhoInfo nobody
    cdef uint64_t id
    cdef size_t used = 0, size
    memset(&nobody, 0, sizeof(nobody))
    while used < t.missed.len:
        memcpy(&id, t.missed.data + used, sizeof(id))
        size = <size_t> t.missed.data[used + sizeof(id)] + 1
        if not ring_put(&t.events, EV_WS_GONE, 0, id, 0, R_PEER, &nobody, sizeof(nobody), t.missed.data + used + sizeof(id), <uint32_t> size):
            break
        used += sizeof(id) + size
    if used == t.missed.len:
        vec_free(&t.missed)
    else:
        vec_drop_front(&t.missed, used)
    return used != 0


cdef void pay_debts(Thread* t) noexcept nogil:
    """Once a turn: write the events that are owed, oldest first, as far as the ring has room."""
    cdef uint32_t i = 0, left, k
    cdef Conn* c
    cdef bint told
    while i < t.owed_count:
        c = conn_at(t, t.owed[i])
        if not pay(t, c):
            break
        c.flags &= ~<uint32_t> CF_OWED
        if c.fd < 0:
            release(t, c)
        i += 1
    told = t.missed.len != 0 and pay_missed(t)
    if i == 0 and not told:
        return
    left = t.owed_count - i
    for k in range(left):
        t.owed[k] = t.owed[i + k]
    t.owed_count = left
    ring_ring(&t.events)
