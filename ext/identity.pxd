from libc.stdint cimport uint8_t, uint64_t

from nova.ext.bytevec cimport ByteVec
from nova.ext.http1 cimport Head
from nova.ext.io cimport Conn, Thread

cdef int identify(Thread* t, const uint8_t* data, Head* head, ByteVec* claims, uint8_t* in_query) noexcept nogil
cdef bint session_of(Thread* t, const uint8_t* path, size_t size, const uint8_t** stripped, size_t* stripped_len, uint64_t* viewer) noexcept nogil
cdef uint64_t viewer_of(Conn* c, const uint8_t* data, Head* head) noexcept nogil
