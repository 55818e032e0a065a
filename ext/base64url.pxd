"""Base64url without padding (RFC 4648, section 5; RFC 7515, section 2). Inline, so there is no module behind it."""
from libc.stdint cimport uint8_t, uint32_t

cdef extern from "nova_base64url.h" nogil:
    # Decode all of `text` into `out` (room for size * 3 / 4); the bytes written, or -1 when it is not the one spelling of a value.
    Py_ssize_t base64url_decode "nova_base64url_decode"(const uint8_t* text, size_t size, uint8_t* out)


cdef inline size_t base64url_encode(const uint8_t* data, size_t size, uint8_t* out) noexcept nogil:
    """Encode `data` into `out` (room for (size * 4 + 2) / 3); the characters written."""
    cdef const char* digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    cdef size_t at = 0
    cdef size_t written = 0
    cdef uint32_t bits
    while at + 3 <= size:
        bits = <uint32_t> data[at] << 16 | <uint32_t> data[at + 1] << 8 | data[at + 2]
        out[written] = <uint8_t> digits[bits >> 18]
        out[written + 1] = <uint8_t> digits[bits >> 12 & 63]
        out[written + 2] = <uint8_t> digits[bits >> 6 & 63]
        out[written + 3] = <uint8_t> digits[bits & 63]
        at += 3
        written += 4
    if size - at == 1:
        out[written] = <uint8_t> digits[data[at] >> 2]
        out[written + 1] = <uint8_t> digits[data[at] << 4 & 63]
        written += 2
    elif size - at == 2:
        bits = <uint32_t> data[at] << 8 | data[at + 1]
        out[written] = <uint8_t> digits[bits >> 10]
        out[written + 1] = <uint8_t> digits[bits >> 4 & 63]
        out[written + 2] = <uint8_t> digits[bits << 2 & 63]
        written += 3
    return written
