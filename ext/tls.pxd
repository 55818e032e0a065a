from nova.ext.ssl cimport SSL_CTX

cdef enum:
    MAX_NAMES = 64

ctypedef struct Names:          # server names that have a certificate of their own (SNI)
    int count
    char name[MAX_NAMES][256]
    SSL_CTX* ctx[MAX_NAMES]

cdef class TlsContext:
    cdef SSL_CTX* ctx
    cdef Names* names
    cdef bytes alpn
    cdef bytes ticket_keys
    cdef SSL_CTX* make(self, bytes cert, bytes key) except NULL
