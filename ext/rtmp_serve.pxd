from libc.stdint cimport int64_t, uint32_t, uint64_t, uint16_t

from nova.ext.io cimport Conn, Thread
from nova.ext.sequence cimport Seq

cdef int rtmp_open(Thread* t, Conn* c) noexcept nogil
cdef void rtmp_ready(Thread* t) noexcept nogil
cdef void rtmp_turn(Thread* t) noexcept nogil
cdef int64_t rtmp_sleep(Thread* t) noexcept nogil
cdef void rtmp_input(Thread* t, Conn* c) noexcept nogil
cdef void rtmp_output(Thread* t, Conn* c) noexcept nogil
cdef void rtmp_timeout(Thread* t, Conn* c) noexcept nogil
cdef void rtmp_sent(Thread* t, Conn* c) noexcept nogil
cdef void rtmp_wake_at(Thread* t, Conn* c, uint32_t timestamp) noexcept nogil
cdef void follow_start(Thread* t, Conn* c, Seq* seq) noexcept nogil
cdef void follow_news(Thread* t, Seq* seq) noexcept nogil
