from libc.stdint cimport uint8_t

from nova.ext.http1 cimport Head
from nova.ext.io cimport Conn, Thread
from nova.ext.objects cimport Body

cdef void answer_body(Thread* t, Conn* c, const uint8_t* data, Head* head, Body* body, bint keep) noexcept nogil
cdef void answer_error(Thread* t, Conn* c, int status, bint head_only, bint close) noexcept nogil
