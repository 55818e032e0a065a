from libc.stdint cimport uint8_t, uint32_t

from nova.ext.http1 cimport Head
from nova.ext.io cimport Conn, Thread

cdef enum:
    WS_IS_OPEN = 1              # the connection is a WebSocket now
    WS_NOT_HERE = 0             # no path of ours: it is a request like any other

# An upgrade: one of the above, or -(status): it is refused. Settles nothing.
cdef int ws_upgraded(Thread* t, Conn* c, const uint8_t* data, Head* head) noexcept nogil
cdef void ws_input(Thread* t, Conn* c) noexcept nogil
cdef void ws_again(Thread* t, Conn* c) noexcept nogil
cdef void ws_output(Thread* t, Conn* c) noexcept nogil
cdef void ws_timeout(Thread* t, Conn* c) noexcept nogil
# The thread drains: the connection is told so, and closes when its moment in the window has come.
cdef void ws_drain(Thread* t, Conn* c) noexcept nogil
# Trio's word: answers are out, or the ring has room again.
cdef void ws_resume(Thread* t, Conn* c) noexcept nogil
