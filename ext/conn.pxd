from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t

from nova.ext.io cimport Conn, Thread

cdef Conn* conn_at(Thread* t, uint32_t index) noexcept nogil
cdef Conn* conn_get(Thread* t, uint64_t name) noexcept nogil
cdef uint64_t conn_id(Thread* t, Conn* c) noexcept nogil
cdef Conn* conn_new(Thread* t, int fd) noexcept nogil
cdef void conn_free(Thread* t, Conn* c) noexcept nogil
cdef void conn_table_free(Thread* t) noexcept nogil
cdef int conn_arm(Thread* t, Conn* c, bint input, bint output) noexcept nogil
# False: memory is out.
cdef bint list_push(uint32_t** items, uint32_t* count, uint32_t* cap, uint32_t index) noexcept nogil
cdef void conn_again(Thread* t, Conn* c) noexcept nogil
cdef void conn_owe(Thread* t, Conn* c, uint16_t what) noexcept nogil

cdef void timer_set(Thread* t, Conn* c, int64_t deadline) noexcept nogil
cdef void timer_clear(Thread* t, Conn* c) noexcept nogil
