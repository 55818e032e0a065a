"""Bits of a byte string, most significant first, as H.264 and MPEG-4 headers are written. Inline: there is no module behind it.

Reading past the end gives zeros and sets `over`: a parser reads to its end and looks once.
"""
from libc.stdint cimport int32_t, uint8_t, uint32_t

ctypedef struct Bits:
    const uint8_t* data
    size_t size
    size_t at           # byte that is read next
    uint32_t held       # the byte being read
    int left            # bits of it still unread
    int zeros           # zero bytes in a row before `at`, for emulation prevention
    bint escaped        # H.264, 7.4.1: the 3 of 00 00 03 is no data
    bint over

cdef inline void bits_start(Bits* b, const uint8_t* data, size_t size, bint escaped) noexcept nogil:
    b.data = data
    b.size = size
    b.at = 0
    b.held = 0
    b.left = 0
    b.zeros = 0
    b.escaped = escaped
    b.over = False

cdef inline uint32_t bit(Bits* b) noexcept nogil:
    if b.left == 0:
        if b.escaped and b.zeros >= 2 and b.at < b.size and b.data[b.at] == 3:
            b.at += 1
            b.zeros = 0
        if b.at >= b.size:
            b.over = True
            return 0
        b.held = b.data[b.at]
        b.zeros = b.zeros + 1 if b.held == 0 else 0
        b.at += 1
        b.left = 8
    b.left -= 1
    return b.held >> b.left & 1

cdef inline uint32_t bits(Bits* b, int count) noexcept nogil:
    """`count` bits, at most 32."""
    cdef uint32_t value = 0
    while count > 0:
        value = value << 1 | bit(b)
        count -= 1
    return value

cdef inline size_t bits_left(Bits* b) noexcept nogil:
    """Unread bits; without regard to emulation prevention."""
    return (b.size - b.at) * 8 + <size_t> b.left

cdef inline uint32_t golomb(Bits* b) noexcept nogil:
    """ue(v) of H.264, 9.1; a code of more than 32 leading zeros counts as past the end."""
    cdef int zeros = 0
    while not b.over and bit(b) == 0:
        zeros += 1
        if zeros > 31:
            b.over = True
    if b.over:
        return 0
    return (<uint32_t> 1 << zeros) - 1 + bits(b, zeros)

cdef inline int32_t golomb_signed(Bits* b) noexcept nogil:
    """se(v) of H.264, 9.1.1."""
    cdef uint32_t code = golomb(b)
    return <int32_t> ((code + 1) >> 1) if code & 1 else -<int32_t> (code >> 1)
