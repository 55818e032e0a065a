from nova.ext.bytevec cimport ByteVec
from nova.ext.io cimport Conn, Thread
from nova.ext.token_cache cimport TokenResult

# Who the connection is, for trio: a WhoInfo with its texts appended. 0, or -1 when memory is out.
cdef int who_append(Conn* c, ByteVec* out) noexcept nogil
# The connection's identity from now on: what a verified token says. 0, or -1 when memory is out.
cdef int who_set(Conn* c, const ByteVec* claims, const TokenResult* token) noexcept nogil
# The name of `connect`. 0, or -1 when memory is out.
cdef int who_name(Conn* c, const unsigned char* name, size_t size) noexcept nogil
# `client` of the connection; the bytes written, at most CLIENT_ROOM.
cdef enum:
    CLIENT_ROOM = 40
cdef size_t who_client(Thread* t, Conn* c, unsigned char* out) noexcept nogil
