from libc.stdint cimport int64_t, uint32_t

from nova.ext.io cimport Conn, Thread

cdef void wheel_open(Thread* t) noexcept nogil
cdef void wheel_back(Thread* t) noexcept nogil
cdef void wheel_link(Thread* t, Conn* c) noexcept nogil
cdef void wheel_unlink(Thread* t, Conn* c) noexcept nogil
cdef uint32_t wheel_due(Thread* t) noexcept nogil
cdef int64_t wheel_sleep(Thread* t) noexcept nogil
