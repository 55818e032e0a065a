"""The PROXY header: what a trusted proxy says, before the first byte of a connection, about who is behind it.

Source: haproxy.org/download/2.9/doc/proxy-protocol.txt (versions 1 and 2). `core/proxy_protocol.py` is its oracle.
"""
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.string cimport memchr, memcmp, memcpy, memset

cdef extern from "arpa/inet.h" nogil:
    int inet_pton(int family, const char* text, void* out)

cdef extern from "sys/socket.h" nogil:
    enum: AF_INET, AF_INET6

cdef enum:
    V1_MOST = 107                   # bytes with CRLF (section 2.1)
    ADDRESS_MOST = 45               # characters of an IPv6 address

cdef const char* V2 = b"\r\n\r\n\x00\r\nQUIT\n"
cdef const char* V1 = b"PROXY "


cdef void mapped(uint8_t* out, const uint8_t* four) noexcept nogil:
    """An IPv4 address in IPv6's clothes (RFC 4291, 2.5.5.2)."""
    memset(out, 0, 10)
    out[10] = out[11] = 0xFF
    memcpy(out + 12, four, 4)


cdef bint address(const uint8_t* word, size_t size, bint six, uint8_t* out) noexcept nogil:
    cdef char text[ADDRESS_MOST + 1]
    cdef uint8_t four[4]
    if size == 0 or size > ADDRESS_MOST or memchr(word, 0, size) != NULL:
        return False
    memcpy(text, word, size)
    text[size] = 0
    if six:
        return inet_pton(AF_INET6, text, out) == 1
    if inet_pton(AF_INET, text, four) != 1:
        return False
    mapped(out, four)
    return True


cdef int number(const uint8_t* word, size_t size) noexcept nogil:
    """A port (section 2.1: decimal digits, no leading zeroes, 0 to 65535), or -1."""
    cdef int value = 0
    cdef size_t i
    if size == 0 or size > 5 or (word[0] == c"0" and size > 1):
        return -1
    for i in range(size):
        if word[i] < c"0" or word[i] > c"9":
            return -1
        value = value * 10 + (word[i] - c"0")
    return value if value <= 65535 else -1


cdef int line(const uint8_t* data, size_t size, Proxied* out) noexcept nogil:
    """Version 1: one line."""
    cdef const uint8_t* end
    cdef const uint8_t* stop
    cdef const uint8_t* words[6]
    cdef size_t sizes[6]
    cdef uint8_t other[16]
    cdef size_t most = size if size < V1_MOST else V1_MOST, length
    cdef int count = 0
    cdef bint six
    end = <const uint8_t*> memchr(data, c"\n", most)
    if end == NULL:
        return PROXY_BAD if size >= V1_MOST else PROXY_MORE
    if end[-1] != c"\r":  # six bytes stand before it at least
        return PROXY_BAD
    length = <size_t> (end - data) - 1
    # The words between single spaces; a seventh, or an empty one, shows below.
    words[0] = data
    while True:
        stop = <const uint8_t*> memchr(words[count], c" ", length - <size_t> (words[count] - data))
        if stop == NULL:
            sizes[count] = length - <size_t> (words[count] - data)
            count += 1
            break
        sizes[count] = <size_t> (stop - words[count])
        count += 1
        if count == 6:
            count = 7
            break
        words[count] = stop + 1
    if count >= 2 and sizes[1] == 7 and memcmp(words[1], b"UNKNOWN", 7) == 0:
        return <int> length + 2  # section 2.1: what follows on the line is ignored
    if count != 6 or sizes[1] != 4 or memcmp(words[1], b"TCP", 3) != 0 or (words[1][3] != c"4" and words[1][3] != c"6"):
        return PROXY_BAD
    six = words[1][3] == c"6"
    if not address(words[2], sizes[2], six, out.source) or not address(words[3], sizes[3], six, other):
        return PROXY_BAD
    count = number(words[4], sizes[4])
    if count < 0 or number(words[5], sizes[5]) < 0:
        return PROXY_BAD
    out.port = <uint16_t> count
    out.known = True
    return <int> length + 2


cdef int binary(const uint8_t* data, size_t size, Proxied* out) noexcept nogil:
    """Version 2, behind its signature."""
    cdef size_t whole, width
    cdef uint8_t family
    if size > 12 and data[12] != 0x20 and data[12] != 0x21:
        return PROXY_BAD
    if size < 16:
        return PROXY_MORE
    whole = 16 + (<size_t> data[14] << 8 | data[15])
    if whole > PROXY_MOST:
        return PROXY_BAD
    if size < whole:
        return PROXY_MORE
    family = data[13] >> 4
    # LOCAL: the proxy's own connection. Families and transports that are not ours say nothing we can use (section 2.2).
    if data[12] & 15 == 0 or (family != 1 and family != 2) or data[13] & 15 != 1:
        return <int> whole
    width = 4 if family == 1 else 16
    if whole - 16 < 2 * width + 4:
        return PROXY_BAD
    if family == 1:
        mapped(out.source, data + 16)
    else:
        memcpy(out.source, data + 16, 16)
    out.port = <uint16_t> (data[16 + 2 * width] << 8 | data[17 + 2 * width])
    out.known = True
    return <int> whole


cdef int proxy_header(const uint8_t* data, size_t size, Proxied* out) noexcept nogil:
    """Read the header that `data` begins with: its size in bytes, PROXY_MORE or PROXY_BAD."""
    memset(out, 0, sizeof(Proxied))
    if memcmp(data, V2, size if size < 12 else 12) == 0:
        return binary(data, size, out)
    if memcmp(data, V1, size if size < 6 else 6) == 0:
        return line(data, size, out) if size >= 6 else PROXY_MORE
    return PROXY_BAD


def parse(data) -> tuple:
    """`data`: any object with a buffer. (bytes of the header, or 0 when it is not whole; the source as 16 bytes and port, None when the header names none).

    Raises ValueError: this is no PROXY header.
    """
    cdef Proxied out
    cdef Py_buffer view
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    cdef int size = proxy_header(<const uint8_t*> view.buf, <size_t> view.len, &out)
    PyBuffer_Release(&view)
    if size < 0:
        raise ValueError("not a PROXY header")
    return size, ((<char*> out.source)[:16], out.port) if out.known else None
