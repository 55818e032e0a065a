"""A set of 16-byte keys with a number each and an end: what is revoked, and since when. Inline; the owner locks it."""
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy

ctypedef struct Mark:
    uint8_t key[16]
    int64_t value
    int64_t until     # unix seconds; 0 = this slot is free

ctypedef struct Marks:
    Mark* slots       # open addressing, linear probing; never more than half full
    size_t capacity   # a power of two, or 0
    size_t count
    size_t limit      # keys at most

cdef inline Mark* marks_slot(Marks* m, const uint8_t* key) noexcept nogil:
    """The slot of `key`, or the free one where it belongs. The keys are digests: their first bytes are the hash."""
    cdef uint64_t hash
    cdef size_t at
    memcpy(&hash, key, 8)
    at = <size_t> hash & (m.capacity - 1)
    while m.slots[at].until != 0 and memcmp(m.slots[at].key, key, 16) != 0:
        at = (at + 1) & (m.capacity - 1)
    return &m.slots[at]


cdef inline bint marks_get(Marks* m, const uint8_t* key, int64_t* value) noexcept nogil:
    cdef Mark* slot
    if m.count == 0:
        return False
    slot = marks_slot(m, key)
    if slot.until == 0:
        return False
    value[0] = slot.value
    return True


cdef inline int marks_rebuild(Marks* m, size_t capacity, int64_t now) noexcept nogil:
    """Move what has not ended at `now` into `capacity` slots; 0, or -1 when memory is out (then nothing changed)."""
    cdef Marks fresh
    cdef Mark* slot
    cdef size_t i
    fresh.slots = <Mark*> calloc(capacity, sizeof(Mark))
    if fresh.slots == NULL:
        return -1
    fresh.capacity = capacity
    fresh.count = 0
    fresh.limit = m.limit
    for i in range(m.capacity):
        if m.slots[i].until > now:
            slot = marks_slot(&fresh, m.slots[i].key)
            slot[0] = m.slots[i]
            fresh.count += 1
    free(m.slots)
    m[0] = fresh
    return 0


cdef inline int marks_put(Marks* m, const uint8_t* key, int64_t value, int64_t until, int64_t now) noexcept nogil:
    """Set `key`; 0, -1 when memory is out, -2 when `limit` keys that have not ended are in it already."""
    cdef Mark* slot
    if m.count * 2 >= m.capacity:
        if marks_rebuild(m, m.capacity if m.capacity else 64, now) != 0:
            return -1
        # What ended is gone; grow only when the rest still fills more than a quarter.
        if m.count * 4 >= m.capacity and marks_rebuild(m, m.capacity * 2, now) != 0:
            return -1
    if m.count >= m.limit and marks_rebuild(m, m.capacity, now) != 0:
        return -1
    slot = marks_slot(m, key)
    if slot.until == 0:
        if m.count >= m.limit:
            return -2
        memcpy(slot.key, key, 16)
        m.count += 1
    slot.value = value
    slot.until = until if until > 0 else 1
    return 0


cdef inline void marks_free(Marks* m) noexcept nogil:
    free(m.slots)
    m.slots = NULL
    m.capacity = 0
    m.count = 0
