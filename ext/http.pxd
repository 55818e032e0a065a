"""Byte classes and scanners shared by the HTTP kernels: the C side is `csrc/nova_http.h`."""
from libc.stdint cimport uint8_t

cdef extern from "nova_http.h" nogil:
    enum: HC_TOKEN, HC_PATH, HC_QUERY, HC_NAME, HC_VALUE, HC_IPV6
    bint nova_http_is(uint8_t byte, int cls)
    int nova_hex(uint8_t byte)
    const uint8_t* nova_http_span(const uint8_t* p, const uint8_t* end, int cls)
    const uint8_t* nova_http_value(const uint8_t* p, const uint8_t* end)
    const uint8_t* nova_http_blank_line(const uint8_t* p, const uint8_t* end)
    bint nova_http_word(const uint8_t* p, const char* word, size_t len)

cdef inline bint is_space(uint8_t byte) noexcept nogil:
    return byte == 32 or byte == 9

cdef inline bint is_digit(uint8_t byte) noexcept nogil:
    return 48 <= byte <= 57

cdef inline bint is_word(const uint8_t* p, size_t len, const char* word, size_t word_len) noexcept nogil:
    return len == word_len and nova_http_word(p, word, word_len)

cdef inline bint next_item(const uint8_t** at, const uint8_t* end, const uint8_t** item, size_t* len) noexcept nogil:
    """The next element of a comma-separated list without quoted strings, trimmed; empty ones are skipped
    (RFC 9110 section 5.6.1.2). False: none left."""
    cdef const uint8_t* p = at[0]
    cdef const uint8_t* stop
    while p < end:
        while p < end and (is_space(p[0]) or p[0] == 44):
            p += 1
        if p == end:
            break
        item[0] = p
        while p < end and p[0] != 44:
            p += 1
        stop = p
        while is_space((stop - 1)[0]):
            stop -= 1
        len[0] = stop - item[0]
        at[0] = p
        return True
    at[0] = end
    return False
