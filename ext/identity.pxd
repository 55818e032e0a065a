from libc.stdint cimport uint8_t, uint64_t

from nova.ext.bytevec cimport ByteVec
from nova.ext.http1 cimport Head
from nova.ext.io cimport Conn, Thread
from nova.ext.token_cache cimport TokenResult

cdef enum:
    NO_TOKEN = 1

cdef int identify(Thread* t, const uint8_t* data, Head* head, ByteVec* claims, TokenResult* result, uint8_t* in_query) noexcept nogil
# The browser session's token in the Cookie fields; False when there is none, or more than one.
cdef bint cookie_of(const uint8_t* data, Head* head, bint secure, const uint8_t** token, size_t* size) noexcept nogil
# Whether a cookie counts under the request's Host, and whether its Origin may open a WebSocket with it.
cdef bint host_allowed(Thread* t, const uint8_t* data, Head* head) noexcept nogil
cdef bint origin_allowed(Thread* t, const uint8_t* data, Head* head, bint secure) noexcept nogil
cdef bint session_of(Thread* t, const uint8_t* path, size_t size, const uint8_t** stripped, size_t* stripped_len, uint64_t* viewer) noexcept nogil
cdef uint64_t viewer_of(Conn* c, const uint8_t* data, Head* head) noexcept nogil
