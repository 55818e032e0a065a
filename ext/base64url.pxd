"""Base64url without padding (RFC 4648, section 5; RFC 7515, section 2). Inline, so there is no module behind it."""
from libc.stdint cimport uint8_t, uint32_t

cdef inline int base64url_value(uint8_t c) noexcept nogil:
    """The 6 bits that `c` stands for, or -1."""
    if c >= c'A' and c <= c'Z':
        return c - c'A'
    if c >= c'a' and c <= c'z':
        return c - c'a' + 26
    if c >= c'0' and c <= c'9':
        return c - c'0' + 52
    if c == c'-':
        return 62
    if c == c'_':
        return 63
    return -1


cdef inline Py_ssize_t base64url_decode(const uint8_t* text, size_t size, uint8_t* out) noexcept nogil:
    """Decode all of `text` into `out` (room for size * 3 / 4); the bytes written, or -1.

    Strict: no padding, no other byte, and the bits that no byte uses are zero, so one value has one spelling.
    """
    cdef size_t at = 0
    cdef size_t written = 0
    cdef size_t tail = size & 3
    cdef int a, b, c, d
    if tail == 1:
        return -1
    while at + 4 <= size:
        a = base64url_value(text[at])
        b = base64url_value(text[at + 1])
        c = base64url_value(text[at + 2])
        d = base64url_value(text[at + 3])
        if (a | b | c | d) < 0:
            return -1
        out[written] = <uint8_t> (a << 2 | b >> 4)
        out[written + 1] = <uint8_t> (b << 4 | c >> 2)
        out[written + 2] = <uint8_t> (c << 6 | d)
        at += 4
        written += 3
    if tail == 0:
        return <Py_ssize_t> written
    a = base64url_value(text[at])
    b = base64url_value(text[at + 1])
    c = base64url_value(text[at + 2]) if tail == 3 else 0
    if (a | b | c) < 0:
        return -1
    out[written] = <uint8_t> (a << 2 | b >> 4)
    if tail == 2:
        return <Py_ssize_t> written + 1 if b & 15 == 0 else -1
    out[written + 1] = <uint8_t> (b << 4 | c >> 2)
    return <Py_ssize_t> written + 2 if c & 3 == 0 else -1


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
