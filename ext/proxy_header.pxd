"""The PROXY header, versions 1 and 2: who is behind a trusted proxy. Pure, nogil."""
from libc.stdint cimport uint8_t, uint16_t

cdef enum:
    PROXY_MOST = 2064               # bytes of a header; section 2.2 wants room for 536, names of certificates fit below this

cdef enum:                          # what `proxy_header` answers instead of a size
    PROXY_MORE = 0                  # it may become one
    PROXY_BAD = -1                  # it is none

ctypedef struct Proxied:
    uint8_t source[16]              # IPv6, or IPv4 mapped into it
    uint16_t port
    bint known                      # False: the proxy speaks for itself (a health check), or does not know

cdef int proxy_header(const uint8_t* data, size_t size, Proxied* out) noexcept nogil
