"""RTMP sockets: reads merged over a short tick, chunks parsed without the GIL, messages handed up in batches.

Publishers' sockets live in an epoll set of their own. With few of them it is read at once; with many, at most once a tick, since a
wake-up costs more than the messages it brings. Records of a connection gather until trio has use for them: when the frame that
it waits for is there (`wake_at`), a key picture, anything that is not media, 256 KiB, or 250 ms.
"""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from nova.ext.atomics cimport nova_add32, nova_swap32
from nova.ext.buffer cimport buf_unref
from nova.ext.bytevec cimport ByteVec, vec_free
from nova.ext.conn cimport conn_again, conn_arm, conn_at, conn_get, conn_id, conn_owe, timer_clear, timer_set
from nova.ext.io cimport (
    CF_AGAIN, CF_CLOSE_AFTER, CF_DRAIN, CF_FOLLOWS, CF_KNOWN, CF_LISTED, CF_STARVED, CF_VIDEO, Follow, Limits, NO_CONN, P_RTMP, RECV_SIZE,
    RW_ALWAYS, RW_AT, Rtmp,
)
from nova.ext.http_serve cimport http_follow
from nova.ext.lifecycle cimport conn_close, conn_linger, follow_end, records_up
from nova.ext.ring cimport ring_ring
from nova.ext.rtmp cimport (
    RTMP_AUDIO, RTMP_KEY, RTMP_MEDIA, RTMP_SEQUENCE_HEADER, RTMP_SERVER, RTMP_VIDEO, RtmpLimits, RtmpRecord, rtmp_handshaken,
    rtmp_limits_default, rtmp_reader_feed, rtmp_reader_new,
)
from nova.ext.sequence cimport Item, seq_join, seq_take, seq_unref
from nova.ext.transport cimport READ_AGAIN, conn_read, out_resume, tx_copy, tx_flush, tx_slice
from nova.ext.wire cimport OW_DRAINED, OW_INPUT, OW_RECORDS, R_ENDED, R_LOCAL, R_PEER, R_PROTOCOL, R_RESET, R_SLOW, R_TIMEOUT

cdef extern from "sys/epoll.h" nogil:
    ctypedef union epoll_data_t:
        uint64_t u64
    cdef struct epoll_event:
        uint32_t events
        epoll_data_t data
    int epoll_ctl(int epfd, int op, int fd, epoll_event* event)
    int epoll_wait(int epfd, epoll_event* events, int most, int timeout)
    enum: EPOLL_CTL_MOD, EPOLLIN, EPOLLOUT, EPOLLONESHOT, EPOLLHUP, EPOLLERR, EPOLLRDHUP

cdef enum:
    RTMP_BATCH = 262144         # bytes of records that are handed up without further reason
    RTMP_HOLD_MS = 250          # how long records wait at most
    RTMP_FEW = 4                # up to so many connections every read happens at once
    RTMP_TICK_MS = 30           # the longest merge of reads: less than a frame
    RTMP_EVENTS = 256
    FOLLOW_BACKLOG = 262144     # bytes unsent above which a reader takes nothing new
    FOLLOW_TAKE = 32
    BACKLOG_LOW = 65536
    STRANGER_MESSAGE = 262144   # bytes of unfinished messages before a publisher is admitted; a first key picture sent too early may fit


cdef inline Limits* limits_of(Thread* t, Conn* c) noexcept nogil:
    return &t.shared.listeners[c.listener].limits


cdef int rtmp_open(Thread* t, Conn* c) noexcept nogil:
    """A new connection, past its TLS handshake if it has one. -1 when memory is out."""
    cdef RtmpLimits limits
    c.rtmp = <Rtmp*> calloc(1, sizeof(Rtmp))
    if c.rtmp == NULL:
        return -1
    rtmp_limits_default(&limits)
    limits.role = RTMP_SERVER
    # Whoever is not admitted yet has commands to send: many such peers must not hold the largest media messages.
    limits.message = min(<uint32_t> STRANGER_MESSAGE, limits_of(t, c).message)
    limits.held = STRANGER_MESSAGE
    limits.streams = limits_of(t, c).chunk_streams
    c.rtmp.reader = rtmp_reader_new(&limits)
    if c.rtmp.reader == NULL:
        return -1
    c.rtmp.read_ms = t.now_ms
    c.flags |= CF_LISTED
    t.rtmp_conns += 1
    timer_set(t, c, t.now_ms + limits_of(t, c).handshake_ms)
    return 0


cdef void rtmp_ready(Thread* t) noexcept nogil:
    """Some publisher has sent something: decide when to read."""
    cdef int64_t tick = 0
    if t.rtmp_conns > RTMP_FEW:
        tick = t.rtmp_conns if t.rtmp_conns < RTMP_TICK_MS else RTMP_TICK_MS
    t.rtmp_due = t.rtmp_read_at + tick
    if t.rtmp_due < t.now_ms:
        t.rtmp_due = t.now_ms
    if t.rtmp_due == 0:
        t.rtmp_due = 1


cdef int64_t rtmp_sleep(Thread* t) noexcept nogil:
    """Milliseconds until publishers are to be read; large when nothing waits."""
    if t.rtmp_due == 0:
        return 1000
    return t.rtmp_due - t.now_ms if t.rtmp_due > t.now_ms else 0


cdef void rtmp_turn(Thread* t) noexcept nogil:
    """Read every publisher that has sent something, if the tick is over."""
    cdef epoll_event events[RTMP_EVENTS]
    cdef epoll_event event
    cdef Conn* c
    cdef int count = RTMP_EVENTS, i
    cdef uint32_t seen = 0
    if t.rtmp_due == 0 or t.now_ms < t.rtmp_due:
        return
    while count == RTMP_EVENTS and seen <= t.rtmp_conns:  # the set hands them out in turn: nobody comes twice before all have come
        count = epoll_wait(t.rtmp_epfd, events, RTMP_EVENTS, 0)
        for i in range(count):
            c = conn_get(t, events[i].data.u64)
            if c == NULL or c.proto != P_RTMP:
                continue
            if events[i].events & EPOLLOUT:
                rtmp_output(t, c)
            if c.fd < 0 or c.proto != P_RTMP:
                continue
            if events[i].events & (EPOLLHUP | EPOLLERR) and c.flags & CF_STARVED:
                conn_close(t, c, R_RESET)  # nothing reads it, so it would be ready for ever
            elif events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR | EPOLLRDHUP):
                rtmp_input(t, c)
        seen += RTMP_EVENTS
    ring_ring(&t.events)
    t.rtmp_due = 0
    t.rtmp_read_at = t.now_ms
    event.events = EPOLLIN | EPOLLONESHOT
    event.data.u64 = <uint64_t> 0xFFFFFFFFFFFFFFFE
    epoll_ctl(t.epfd, EPOLL_CTL_MOD, t.rtmp_epfd, &event)


cdef bint wanted(Thread* t, Conn* c) noexcept nogil:
    """Whether trio has use for the records that have gathered; looks only at those that are new."""
    cdef Rtmp* r = c.rtmp
    cdef RtmpRecord head
    cdef bint flush = False
    while r.scanned + sizeof(RtmpRecord) <= r.records.len:
        memcpy(&head, r.records.data + r.scanned, sizeof(RtmpRecord))
        r.scanned += sizeof(RtmpRecord) + head.size
        t.stats.records += 1
        if not head.flags & RTMP_MEDIA or head.flags & (RTMP_KEY | RTMP_SEQUENCE_HEADER):
            flush = True
        if head.type == RTMP_VIDEO:
            c.flags |= CF_VIDEO
        elif c.flags & CF_VIDEO:
            continue
        if r.wake == RW_ALWAYS or (r.wake == RW_AT and <int32_t> (head.timestamp - r.wake_at) >= 0):
            flush = True
    return flush or r.records.len >= RTMP_BATCH or (r.records.len and t.now_ms - r.first_ms >= RTMP_HOLD_MS)


cdef void hand_up(Thread* t, Conn* c) noexcept nogil:
    if records_up(t, c):
        c.rtmp.wake = RW_ALWAYS  # until trio says what it waits for next
    else:
        conn_owe(t, c, OW_RECORDS | OW_INPUT)
        c.flags |= CF_STARVED


cdef void set_deadline(Thread* t, Conn* c) noexcept nogil:
    cdef int64_t deadline
    if c.rtmp.reader == NULL:
        return
    if not rtmp_handshaken(c.rtmp.reader):
        return  # the handshake's deadline stands
    if c.follow != NULL:
        if c.out_count:
            if c.deadline == 0:
                c.moved = 0
                c.since = t.now_ms
                timer_set(t, c, t.now_ms + limits_of(t, c).body_ms)
        else:
            timer_clear(t, c)
        return
    deadline = c.rtmp.read_ms + limits_of(t, c).stall_ms
    if c.rtmp.records.len and c.rtmp.first_ms + RTMP_HOLD_MS < deadline:
        deadline = c.rtmp.first_ms + RTMP_HOLD_MS
    timer_set(t, c, deadline)


cdef void settle(Thread* t, Conn* c) noexcept nogil:
    if tx_flush(t, c) < 0:
        conn_close(t, c, R_RESET)
        return
    if c.fd < 0 or c.proto != P_RTMP:
        return
    if c.out_count == 0 and c.flags & CF_CLOSE_AFTER:
        conn_linger(t, c, c.reason if c.reason else R_LOCAL)
        return
    set_deadline(t, c)
    conn_arm(t, c, not c.flags & (CF_STARVED | CF_CLOSE_AFTER), c.out_count > 0)


cdef void rtmp_input(Thread* t, Conn* c) noexcept nogil:
    """The socket has bytes, or its peer has finished."""
    cdef Py_ssize_t n = 0
    cdef ByteVec reply
    cdef int r, failed
    if c.flags & CF_STARVED:
        return
    n = conn_read(t, c, t.rx, RECV_SIZE)
    if n == READ_AGAIN:
        settle(t, c)
        return
    if n <= 0:
        conn_close(t, c, R_PEER if n == 0 else R_RESET)
        return
    c.rtmp.read_ms = t.now_ms
    if c.rtmp.records.len == 0:
        c.rtmp.first_ms = t.now_ms
    memset(&reply, 0, sizeof(ByteVec))
    r = rtmp_reader_feed(c.rtmp.reader, t.rx, <size_t> n, &c.rtmp.records, &reply)
    if reply.len:
        tx_copy(t, c, reply.data, reply.len)
    vec_free(&reply)
    failed = tx_flush(t, c)
    if r < 0:
        c.reason = <uint16_t> (0x100 - r)  # the kernel's code, above the reasons of the transport
        conn_close(t, c, c.reason)
        return
    if failed < 0:
        conn_close(t, c, R_RESET)
        return
    if wanted(t, c):
        hand_up(t, c)
    settle(t, c)
    if c.fd >= 0 and n == RECV_SIZE:
        conn_again(t, c)


cdef void rtmp_output(Thread* t, Conn* c) noexcept nogil:
    """The socket takes bytes again."""
    if out_resume(t, c) < 0:
        conn_close(t, c, R_RESET)
        return
    if c.flags & CF_DRAIN and c.out_bytes <= BACKLOG_LOW:
        c.flags &= ~<uint32_t> CF_DRAIN
        conn_owe(t, c, OW_DRAINED)
    if c.follow != NULL and c.out_bytes <= BACKLOG_LOW:
        pump(t, c)
        return
    settle(t, c)


cdef void rtmp_timeout(Thread* t, Conn* c) noexcept nogil:
    """The deadline has passed."""
    cdef Limits* limits = limits_of(t, c)
    if c.rtmp.reader == NULL or not rtmp_handshaken(c.rtmp.reader):
        t.stats.timeouts += 1
        conn_close(t, c, R_TIMEOUT)
        return
    if c.follow != NULL:
        if c.out_count and c.moved < <uint64_t> limits.min_rate * limits.body_ms // 1000:
            conn_close(t, c, R_SLOW)
            return
    elif t.now_ms - c.rtmp.read_ms >= limits.stall_ms and not c.flags & CF_STARVED:
        t.stats.timeouts += 1
        conn_close(t, c, R_TIMEOUT)
        return
    elif c.rtmp.records.len and t.now_ms - c.rtmp.first_ms >= RTMP_HOLD_MS:
        hand_up(t, c)
        ring_ring(&t.events)
    settle(t, c)


cdef void rtmp_sent(Thread* t, Conn* c) noexcept nogil:
    """Trio's bytes are in the stretch list."""
    settle(t, c)


cdef void rtmp_wake_at(Thread* t, Conn* c, uint32_t timestamp) noexcept nogil:
    """Trio waits for the frame of that time stamp. The first time: it has admitted a publisher."""
    cdef uint32_t message = limits_of(t, c).message
    if c.rtmp.reader.limits.held == STRANGER_MESSAGE:
        c.rtmp.reader.limits.message = message
        c.rtmp.reader.limits.held = message * 2  # two of the largest at once
    c.rtmp.wake = RW_AT
    c.rtmp.wake_at = timestamp
    c.rtmp.scanned = 0
    if c.rtmp.records.len and wanted(t, c):
        hand_up(t, c)
        ring_ring(&t.events)


# Readers of a sequence

cdef void pump(Thread* t, Conn* c) noexcept nogil:
    """Send what the sequence has for this reader, as far as it takes it."""
    cdef Item items[FOLLOW_TAKE]
    cdef uint64_t lost
    cdef bint ended
    cdef int count, i
    while c.fd >= 0 and c.follow != NULL and c.out_bytes < FOLLOW_BACKLOG:
        count = seq_take(c.follow.seq, &c.follow.cursor, items, FOLLOW_TAKE, &lost, &ended)
        t.stats.followers_skipped += lost
        for i in range(count):
            tx_slice(t, c, items[i].buf, items[i].offset, items[i].size)
            buf_unref(items[i].buf)
        if tx_flush(t, c) < 0:
            conn_close(t, c, R_RESET)
            return
        if count == 0:
            if ended:
                follow_end(t, c)
                c.flags |= CF_CLOSE_AFTER
                c.reason = R_ENDED
            break
    settle(t, c)


cdef void follow_start(Thread* t, Conn* c, Seq* seq) noexcept nogil:
    """Read `seq` (takes over one reference) from its newest key item on."""
    cdef uint32_t first
    if c.follow != NULL:
        follow_end(t, c)
    c.follow = <Follow*> calloc(1, sizeof(Follow))
    if c.follow == NULL:
        seq_unref(seq)
        conn_close(t, c, R_RESET)
        return
    first = seq.readers[t.index]
    c.follow.seq = seq
    c.follow.cursor = seq_join(seq)
    c.follow.prev = NO_CONN
    c.follow.next = first
    if first != NO_CONN:
        conn_at(t, first).follow.prev = c.index
    seq.readers[t.index] = c.index
    nova_add32(&seq.reader_count, 1)
    timer_clear(t, c)
    pump(t, c)


cdef void follow_news(Thread* t, Seq* seq) noexcept nogil:
    """The sequence has new items, or is closed: every reader that is not held up by its own backlog goes on."""
    cdef uint32_t index = seq.readers[t.index]
    cdef Conn* c
    nova_swap32(&seq.queued[t.index], 0)
    while index != NO_CONN:
        c = conn_at(t, index)
        index = c.follow.next  # `pump` may end this one
        if c.out_bytes < FOLLOW_BACKLOG:
            if c.proto == P_RTMP:
                pump(t, c)
            elif not c.flags & CF_AGAIN:  # else its turn comes without this
                http_follow(t, c)
