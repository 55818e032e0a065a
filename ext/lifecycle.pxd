from libc.stdint cimport uint16_t

from nova.ext.io cimport Conn, Thread

cdef void conn_close(Thread* t, Conn* c, uint16_t reason) noexcept nogil
cdef void conn_part(Thread* t, Conn* c, uint16_t reason) noexcept nogil
cdef void conn_linger(Thread* t, Conn* c, uint16_t reason) noexcept nogil
cdef void conn_finish(Thread* t, Conn* c, uint16_t reason) noexcept nogil
cdef void pay_debts(Thread* t) noexcept nogil
cdef void follow_end(Thread* t, Conn* c) noexcept nogil
cdef bint records_up(Thread* t, Conn* c) noexcept nogil
