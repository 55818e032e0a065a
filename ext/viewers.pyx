"""Who watches what: distinct viewers per tag with a request in the last seconds, counted where requests are answered.

A viewer is 64 bits: of a signed session, else of address and user agent. The table is bounded; when it is full of live
viewers, new ones are served but not counted, and `overflow` says so.
"""

from libc.stdlib cimport calloc, free, malloc

from nova.ext.pthread cimport pthread_mutex_destroy, pthread_mutex_init, pthread_mutex_lock, pthread_mutex_unlock

import os

cdef enum:
    FIRST_CAP = 1024
    MAX_CAP = 1 << 22           # 4 Mi viewers, 100 MB: beyond that the count is not worth its memory


cdef ViewerMap* viewers_new(uint32_t window) noexcept nogil:
    """`window`: seconds that a viewer counts after a request. NULL when memory is out."""
    cdef ViewerMap* map = <ViewerMap*> calloc(1, sizeof(ViewerMap))
    if map == NULL:
        return NULL
    map.seen = <Seen*> calloc(FIRST_CAP, sizeof(Seen))
    if map.seen == NULL:
        free(map)
        return NULL
    map.cap = FIRST_CAP
    map.window = window
    map.secret = 1
    map.full_at = -1
    pthread_mutex_init(&map.lock, NULL)
    return map


cdef void viewers_free(ViewerMap* map) noexcept nogil:
    pthread_mutex_destroy(&map.lock)
    free(map.seen)
    free(map)


cdef inline size_t place(ViewerMap* map, uint32_t tag, uint64_t viewer, size_t cap) noexcept nogil:
    cdef uint64_t mixed = (viewer ^ (<uint64_t> tag * <uint64_t> 0x9E3779B97F4A7C15)) * map.secret
    return <size_t> (mixed >> 32 ^ mixed >> 52) & (cap - 1)


cdef void put(ViewerMap* map, Seen* seen, size_t cap, uint32_t tag, uint64_t viewer, int64_t at) noexcept nogil:
    cdef size_t i = place(map, tag, viewer, cap)
    while seen[i].viewer != 0:
        i = (i + 1) & (cap - 1)
    seen[i].viewer = viewer
    seen[i].tag = tag
    seen[i].at = at


cdef bint rebuild(ViewerMap* map, int64_t now) noexcept nogil:
    """Leave out who is gone; grow when half of the table is still live. False: as large as it may be, and nearly full of live viewers."""
    cdef size_t i, live = 0, cap = map.cap
    cdef Seen* fresh
    if map.full_at == now:  # a walk over the whole table for every stranger would be a gift to whoever sends them
        return False
    for i in range(map.cap):
        if map.seen[i].viewer and now - map.seen[i].at <= map.window:
            live += 1
    if live * 2 > cap and cap < MAX_CAP:
        cap *= 2
    if live * 4 >= cap * 3:
        map.full_at = now
        return False
    fresh = <Seen*> calloc(cap, sizeof(Seen))
    if fresh == NULL:
        map.full_at = now
        return False
    for i in range(map.cap):
        if map.seen[i].viewer and now - map.seen[i].at <= map.window:
            put(map, fresh, cap, map.seen[i].tag, map.seen[i].viewer, map.seen[i].at)
    free(map.seen)
    map.seen = fresh
    map.cap = cap
    map.used = live
    if live * 8 >= cap * 5:  # little was won: not again before the next second
        map.full_at = now
    return True


cdef void viewers_touch(ViewerMap* map, uint32_t tag, uint64_t viewer, int64_t now) noexcept nogil:
    """`viewer` asked for something of `tag` at `now` (unix seconds)."""
    cdef size_t i
    if viewer == 0:
        viewer = 1
    pthread_mutex_lock(&map.lock)
    i = place(map, tag, viewer, map.cap)
    while map.seen[i].viewer != 0:
        if map.seen[i].viewer == viewer and map.seen[i].tag == tag:
            map.seen[i].at = now
            pthread_mutex_unlock(&map.lock)
            return
        i = (i + 1) & (map.cap - 1)
    if map.used * 4 >= map.cap * 3 and not rebuild(map, now):
        map.overflow += 1
    else:
        put(map, map.seen, map.cap, tag, viewer, now)
        map.used += 1
    pthread_mutex_unlock(&map.lock)


cdef uint64_t viewer_mark(const uint8_t* peer, const uint8_t* agent, size_t size) noexcept nogil:
    """What a viewer without a session is known by: the 16 bytes of the address, and the User-Agent. The same over every protocol."""
    cdef uint64_t h = <uint64_t> 0xCBF29CE484222325
    cdef size_t i
    for i in range(16):
        h = (h ^ peer[i]) * <uint64_t> 0x100000001B3
    for i in range(size):
        h = (h ^ agent[i]) * <uint64_t> 0x100000001B3
    return h


def mark(bytes peer, bytes agent) -> int:
    """`viewer_mark`. peer: 16 bytes, an IPv4 address mapped into them. Raises ValueError: other bytes than 16."""
    if len(peer) != 16:
        raise ValueError("an address is 16 bytes")
    return viewer_mark(<const uint8_t*> <const char*> peer, <const uint8_t*> <const char*> agent, <size_t> len(agent))


cdef class Viewers:
    """The Python side of the table; `window` in seconds."""

    def __cinit__(self, uint32_t window=10):
        self.map = viewers_new(window)
        if self.map == NULL:
            raise MemoryError
        self.map.secret = int.from_bytes(os.urandom(8), "little") | 1

    def __dealloc__(self):
        if self.map != NULL:
            viewers_free(self.map)

    def touch(self, uint32_t tag, uint64_t viewer, int64_t now) -> None:
        """Count a request that another path than the reactor answered."""
        viewers_touch(self.map, tag, viewer, now)

    def counts(self, int64_t now) -> dict:
        """{tag: distinct viewers within the window}. Walks the table: call it once a second, not per request."""
        cdef size_t i, found = 0
        cdef uint32_t* tags
        cdef dict counted = {}
        with nogil:
            pthread_mutex_lock(&self.map.lock)
            tags = <uint32_t*> malloc(self.map.used * sizeof(uint32_t) + 1)
            if tags != NULL:
                for i in range(self.map.cap):
                    if self.map.seen[i].viewer and now - self.map.seen[i].at <= self.map.window:
                        tags[found] = self.map.seen[i].tag
                        found += 1
            pthread_mutex_unlock(&self.map.lock)
        if tags == NULL:
            raise MemoryError
        try:
            for i in range(found):
                counted[tags[i]] = counted.get(tags[i], 0) + 1
        finally:
            free(tags)
        return counted

    def count(self, uint32_t tag, int64_t now) -> int:
        """Distinct viewers of one tag within the window."""
        cdef size_t i
        cdef uint64_t found = 0
        with nogil:
            pthread_mutex_lock(&self.map.lock)
            for i in range(self.map.cap):
                if self.map.seen[i].viewer and self.map.seen[i].tag == tag and now - self.map.seen[i].at <= self.map.window:
                    found += 1
            pthread_mutex_unlock(&self.map.lock)
        return found

    @property
    def overflow(self) -> int:
        """Requests of viewers that found no place in the table."""
        return self.map.overflow
