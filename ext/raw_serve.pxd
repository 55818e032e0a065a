from libc.stdint cimport uint16_t, uint64_t

from nova.ext.io cimport Conn, Thread

cdef void raw_input(Thread* t, Conn* c) noexcept nogil
cdef void raw_output(Thread* t, Conn* c) noexcept nogil
cdef void raw_timeout(Thread* t, Conn* c) noexcept nogil
cdef void raw_sent(Thread* t, Conn* c) noexcept nogil
cdef void raw_credit(Thread* t, Conn* c, uint64_t bytes) noexcept nogil
cdef void raw_open(Thread* t, Conn* c) noexcept nogil
