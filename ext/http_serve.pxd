from libc.stdint cimport uint16_t, uint32_t, uint64_t

from nova.ext.io cimport Conn, Thread

cdef void http_open(Thread* t, Conn* c) noexcept nogil
cdef void http_input(Thread* t, Conn* c) noexcept nogil
cdef void http_again(Thread* t, Conn* c) noexcept nogil
cdef void http_drain(Thread* t, Conn* c) noexcept nogil
cdef void http_output(Thread* t, Conn* c) noexcept nogil
cdef void http_timeout(Thread* t, Conn* c) noexcept nogil
cdef void http_sent(Thread* t, Conn* c, uint16_t flags) noexcept nogil
cdef void http_credit(Thread* t, Conn* c, uint64_t bytes) noexcept nogil
cdef void http_continue(Thread* t, Conn* c) noexcept nogil
cdef void http_unparked(Thread* t, Conn* c) noexcept nogil
cdef void http_follow(Thread* t, Conn* c) noexcept nogil
