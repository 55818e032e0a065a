from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from nova.ext.pthread cimport pthread_mutex_t

ctypedef struct Seen:
    uint64_t viewer     # 0: free
    int64_t at          # unix seconds of the last request
    uint32_t tag

ctypedef struct ViewerMap:
    pthread_mutex_t lock
    Seen* seen
    size_t cap          # a power of two
    size_t used
    uint32_t window     # seconds
    uint64_t secret     # odd: peers choose half of what they are known by, and may not choose their slots
    int64_t full_at     # unix seconds: when the table was last found full of live viewers
    uint64_t overflow   # viewers that found no place

cdef ViewerMap* viewers_new(uint32_t window) noexcept nogil
cdef void viewers_free(ViewerMap* map) noexcept nogil
cdef void viewers_touch(ViewerMap* map, uint32_t tag, uint64_t viewer, int64_t now) noexcept nogil
cdef uint64_t viewer_mark(const uint8_t* peer, const uint8_t* agent, size_t size) noexcept nogil

cdef class Viewers:
    cdef ViewerMap* map
