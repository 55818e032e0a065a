from libc.stdint cimport uint16_t, uint32_t, uint64_t

from nova.ext.buffer cimport Buf
from nova.ext.io cimport Conn, Thread
from nova.ext.objects cimport Slice

cdef enum:
    READ_AGAIN = -1
    READ_FAILED = -2

cdef enum:
    SMALL = 16384               # bodies up to this are copied next to their head: one stretch, one send

cdef Py_ssize_t conn_read(Thread* t, Conn* c, void* at, size_t size) noexcept nogil
cdef int tls_step(Thread* t, Conn* c) noexcept nogil
cdef void tx_copy(Thread* t, Conn* c, const void* data, size_t size) noexcept nogil
cdef void tx_slice(Thread* t, Conn* c, Buf* buf, size_t offset, size_t size) noexcept nogil
cdef void tx_rope(Thread* t, Conn* c, const Slice* slices, uint32_t count, size_t first, size_t size) noexcept nogil
cdef int tx_flush(Thread* t, Conn* c) noexcept nogil
cdef void tx_forget(Thread* t, Conn* c) noexcept nogil
cdef int out_resume(Thread* t, Conn* c) noexcept nogil
cdef void out_free(Conn* c) noexcept nogil
cdef void send_fin(Conn* c) noexcept nogil
cdef int tx_direct(Thread* t, Conn* c, Buf* buf, size_t offset, size_t size) noexcept nogil
cdef int out_share(Conn* c, Buf* buf, size_t offset, size_t size) noexcept nogil
