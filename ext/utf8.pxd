"""UTF-8 (RFC 3629) in pieces: the C side is `csrc/nova_utf8.h`. A state is one byte; it starts at UTF8_START.

A text is valid when it was fed without UTF8_WRONG and the last state is UTF8_START; the first octet that can not be part
of any valid text gives UTF8_WRONG, whatever follows.
"""
from libc.stdint cimport uint8_t

cdef extern from "nova_utf8.h" nogil:
    enum: UTF8_START, UTF8_WRONG
    uint8_t nova_utf8(uint8_t state, const uint8_t* data, size_t size)

cdef inline bint utf8_valid(const uint8_t* data, size_t size) noexcept nogil:
    return nova_utf8(UTF8_START, data, size) == UTF8_START
