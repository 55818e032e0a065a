"""RTMP handshake (RTMP 1.0, section 5.2, and the digest form that Adobe's programs added): pure functions over byte blocks."""
from libc.stdint cimport uint8_t, uint32_t

cdef enum:
    RTMP_C1 = 1536          # bytes of C1, S1, C2 and S2
    RTMP_VERSION = 3

cdef int handshake_answer(const uint8_t* c1, uint32_t now_ms, uint8_t* s0s1s2) noexcept nogil
cdef int handshake_begin(uint32_t now_ms, uint8_t* c0c1) noexcept nogil
cdef int handshake_finish(const uint8_t* s1, uint32_t now_ms, uint8_t* c2) noexcept nogil
cdef int handshake_digest(const uint8_t* block, bint client) noexcept nogil
