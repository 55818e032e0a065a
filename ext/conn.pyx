"""The connection table of one I/O thread: slots in slabs that never move, with generations.

A connection's id is thread (8 bits), generation (32) and index (24). An fd may be used again at once; an id is not before 2^32 other
connections had its slot, so that a message for a connection that is gone reaches nobody.
"""
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memset

from nova.ext.io cimport (
    CF_AGAIN, CF_EOF, CF_HUP, CF_IN, CF_OUT, CF_OWED, CONN_CHUNK, H_HEAD, NO_CONN, P_HTTP, P_RAW, P_RTMP, P_WS,
)
from nova.ext.timer cimport wheel_link, wheel_unlink

cdef extern from "sys/epoll.h" nogil:
    ctypedef union epoll_data_t:
        uint64_t u64
    cdef struct epoll_event:
        uint32_t events
        epoll_data_t data
    int epoll_ctl(int epfd, int op, int fd, epoll_event* event)
    enum: EPOLL_CTL_ADD, EPOLL_CTL_MOD, EPOLLIN, EPOLLOUT, EPOLLRDHUP


cdef Conn* conn_at(Thread* t, uint32_t index) noexcept nogil:
    return t.slabs[index // CONN_CHUNK] + index % CONN_CHUNK


cdef uint64_t conn_id(Thread* t, Conn* c) noexcept nogil:
    return <uint64_t> t.index << 56 | <uint64_t> c.generation << 24 | c.index


cdef Conn* conn_get(Thread* t, uint64_t name) noexcept nogil:
    """The connection of that id, NULL when it is gone."""
    cdef uint32_t index = <uint32_t> name & 0xFFFFFF
    cdef Conn* c
    if index >= t.slab_count * CONN_CHUNK:
        return NULL
    c = conn_at(t, index)
    if c.fd < 0 or c.generation != <uint32_t> (name >> 24):
        return NULL
    return c


cdef bint grow(Thread* t) noexcept nogil:
    cdef Conn** slabs
    cdef Conn* slab
    cdef uint32_t* owed
    cdef uint32_t i, base = t.slab_count * CONN_CHUNK
    if base > 0xFFFFFF - CONN_CHUNK:  # the index has 24 bits in an id
        return False
    if t.slab_count == t.slab_cap:
        slabs = <Conn**> realloc(t.slabs, (t.slab_cap + 64) * sizeof(Conn*))
        if slabs == NULL:
            return False
        t.slabs = slabs
        t.slab_cap += 64
    owed = <uint32_t*> realloc(t.owed, (base + CONN_CHUNK) * sizeof(uint32_t))  # what trio must hear has its place, come what may
    if owed == NULL:
        return False
    t.owed = owed
    slab = <Conn*> calloc(CONN_CHUNK, sizeof(Conn))
    if slab == NULL:
        return False
    for i in range(CONN_CHUNK):
        slab[i].fd = -1
        slab[i].index = base + i
        slab[i].wheel_slot = NO_CONN
        slab[i].wheel_next = base + i + 1 if i + 1 < CONN_CHUNK else t.free_first
    t.slabs[t.slab_count] = slab
    t.slab_count += 1
    t.free_first = base
    return True


cdef Conn* conn_new(Thread* t, int fd) noexcept nogil:
    """A clean slot for `fd`; NULL when memory is out."""
    cdef Conn* c
    cdef uint32_t index, generation
    if t.free_first == NO_CONN and not grow(t):
        return NULL
    c = conn_at(t, t.free_first)
    t.free_first = c.wheel_next
    index = c.index
    generation = c.generation + 1
    memset(c, 0, sizeof(Conn))
    c.index = index
    c.generation = generation
    c.wheel_slot = NO_CONN
    c.fd = fd
    t.live += 1
    return c


cdef void conn_free(Thread* t, Conn* c) noexcept nogil:
    """Give the slot back. Its memory must be free and its fd closed."""
    wheel_unlink(t, c)
    c.fd = -1
    c.wheel_next = t.free_first
    t.free_first = c.index
    t.live -= 1


cdef void conn_table_free(Thread* t) noexcept nogil:
    cdef uint32_t i
    for i in range(t.slab_count):
        free(t.slabs[i])
    free(t.slabs)
    t.slabs = NULL
    t.slab_count = 0
    t.free_first = NO_CONN


cdef int conn_arm(Thread* t, Conn* c, bint input, bint output) noexcept nogil:
    """Say which readiness of the socket matters; a system call only when that changes.

    That the peer has finished sending is news while trio works on its request; else who reads on will find out, and a loop that
    neither reads nor closes would be woken for ever.
    """
    cdef uint32_t want = (CF_IN if input else 0) | (CF_OUT if output else 0)
    cdef epoll_event event
    if input or (not c.flags & CF_EOF and (c.proto == P_RAW or c.proto == P_WS or (c.proto == P_HTTP and c.phase != H_HEAD))):
        want |= CF_HUP
    if c.flags & (CF_IN | CF_OUT | CF_HUP) == want or c.fd < 0:
        return 0
    event.events = (EPOLLIN if input else 0) | (EPOLLOUT if output else 0) | (EPOLLRDHUP if want & CF_HUP else 0)
    event.data.u64 = conn_id(t, c)
    c.flags = (c.flags & ~<uint32_t> (CF_IN | CF_OUT | CF_HUP)) | want
    return epoll_ctl(t.rtmp_epfd if c.proto == P_RTMP else t.epfd, EPOLL_CTL_MOD, c.fd, &event)


cdef bint list_push(uint32_t** items, uint32_t* count, uint32_t* cap, uint32_t index) noexcept nogil:
    cdef uint32_t* grown
    if count[0] == cap[0]:
        grown = <uint32_t*> realloc(items[0], (cap[0] * 2 + 64) * sizeof(uint32_t))
        if grown == NULL:
            return False
        items[0] = grown
        cap[0] = cap[0] * 2 + 64
    items[0][count[0]] = index
    count[0] += 1
    return True


cdef void conn_again(Thread* t, Conn* c) noexcept nogil:
    """What was read is not all parsed, or a body goes on: come back in the next turn, after everybody else."""
    if not c.flags & CF_AGAIN and list_push(&t.again, &t.again_count, &t.again_cap, c.index):
        c.flags |= CF_AGAIN  # else memory is out: its next event or its deadline comes back to it


cdef void conn_owe(Thread* t, Conn* c, uint16_t what) noexcept nogil:
    """Trio is owed an event that may not fit into the ring now. It is written from the slot, so it can not be lost."""
    c.owed |= what
    if not c.flags & CF_OWED:
        c.flags |= CF_OWED
        t.owed[t.owed_count] = c.index
        t.owed_count += 1


cdef void timer_set(Thread* t, Conn* c, int64_t deadline) noexcept nogil:
    """Deadline in ms of the reactor's clock. Moving it later costs nothing: the wheel looks again when it comes by."""
    cdef bint sooner = c.wheel_slot == NO_CONN or c.deadline == 0 or deadline < c.deadline
    c.deadline = deadline
    if sooner:
        wheel_unlink(t, c)
        wheel_link(t, c)


cdef void timer_clear(Thread* t, Conn* c) noexcept nogil:
    """No deadline. The wheel drops the connection when it comes by; until then its place says nothing."""
    c.deadline = 0
