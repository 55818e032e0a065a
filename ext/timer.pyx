"""A timer wheel: one deadline a connection, 50 ms a slot, lists threaded through the slots of the connection table.

A deadline that moves later leaves its connection where it is; when the wheel comes by it is linked anew.
"""
from nova.ext.conn cimport conn_at
from nova.ext.io cimport NO_CONN, WHEEL_SLOTS, WHEEL_TICK_MS


cdef void wheel_open(Thread* t) noexcept nogil:
    cdef int i
    for i in range(WHEEL_SLOTS):
        t.wheel[i] = NO_CONN
    t.wheel_now = t.now_ms // WHEEL_TICK_MS


cdef void wheel_back(Thread* t) noexcept nogil:
    """A test has set the clock back: the wheel goes on from there, and looks at every connection again within its round."""
    if t.now_ms // WHEEL_TICK_MS < t.wheel_now:
        t.wheel_now = t.now_ms // WHEEL_TICK_MS


cdef void wheel_link(Thread* t, Conn* c) noexcept nogil:
    cdef int64_t tick = c.deadline // WHEEL_TICK_MS + 1
    cdef uint32_t slot
    if tick <= t.wheel_now:
        tick = t.wheel_now + 1
    if tick > t.wheel_now + WHEEL_SLOTS - 1:  # farther than the wheel reaches: looked at again then
        tick = t.wheel_now + WHEEL_SLOTS - 1
    slot = <uint32_t> (tick % WHEEL_SLOTS)
    c.wheel_slot = slot
    c.wheel_prev = NO_CONN
    c.wheel_next = t.wheel[slot]
    if c.wheel_next != NO_CONN:
        conn_at(t, c.wheel_next).wheel_prev = c.index
    t.wheel[slot] = c.index


cdef void wheel_unlink(Thread* t, Conn* c) noexcept nogil:
    if c.wheel_slot == NO_CONN:
        return
    if c.wheel_prev == NO_CONN:
        t.wheel[c.wheel_slot] = c.wheel_next
    else:
        conn_at(t, c.wheel_prev).wheel_next = c.wheel_next
    if c.wheel_next != NO_CONN:
        conn_at(t, c.wheel_next).wheel_prev = c.wheel_prev
    c.wheel_slot = NO_CONN
    c.wheel_next = c.wheel_prev = NO_CONN


cdef uint32_t wheel_due(Thread* t) noexcept nogil:
    """The next connection whose deadline has passed, off the wheel; NO_CONN when there is none before `now_ms`."""
    cdef int64_t target = t.now_ms // WHEEL_TICK_MS
    cdef uint32_t index
    cdef Conn* c
    if target - t.wheel_now > WHEEL_SLOTS:  # a clock that a test moved: every slot once is all there is to see
        t.wheel_now = target - WHEEL_SLOTS
    while t.wheel_now < target or t.wheel[t.wheel_now % WHEEL_SLOTS] != NO_CONN:
        index = t.wheel[t.wheel_now % WHEEL_SLOTS]
        if index == NO_CONN:
            t.wheel_now += 1
            continue
        c = conn_at(t, index)
        wheel_unlink(t, c)
        if c.deadline == 0:
            continue
        if c.deadline > t.now_ms:
            wheel_link(t, c)
            continue
        c.deadline = 0
        return index
    return NO_CONN


cdef int64_t wheel_sleep(Thread* t) noexcept nogil:
    """Milliseconds until the wheel has to be looked at; at most 1000."""
    cdef int64_t i
    cdef int64_t ms
    for i in range(1, 1000 // WHEEL_TICK_MS + 1):
        if t.wheel[(t.wheel_now + i) % WHEEL_SLOTS] != NO_CONN:
            ms = (t.wheel_now + i) * WHEEL_TICK_MS - t.now_ms
            return ms if ms > 0 else 0
    return 1000
