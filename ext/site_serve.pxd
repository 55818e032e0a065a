from libc.stdint cimport uint8_t, uint16_t

from nova.ext.http1 cimport Head
from nova.ext.io cimport Conn, Thread
from nova.ext.objects cimport Kept

cdef enum Pumped:
    PU_CLOSED = -1
    PU_MORE = 0                 # more will come
    PU_END = 1                  # the answer is complete

cdef uint16_t site_named(Thread* t, const uint8_t* path, size_t size, size_t* skip) noexcept nogil
cdef bint site_host_agrees(const uint8_t* data, Head* head) noexcept nogil
cdef bint site_suits(Thread* t, uint16_t site, const uint8_t* data, Head* head) noexcept nogil
cdef bint answer_suits(const uint8_t* data, Head* head, Kept* kept, bint guarded) noexcept nogil
cdef int answer_kept(Thread* t, Conn* c, const uint8_t* data, Head* head, Kept* kept, bint keep, bint guarded, bint waited,
                     uint16_t site) noexcept nogil
cdef int fill_pump(Thread* t, Conn* c) noexcept nogil
cdef bint follow_waits(Thread* t, Conn* c) noexcept nogil
# Behind a turn's parked requests: send the heads that they share.
cdef void heads_out(Thread* t) noexcept nogil
