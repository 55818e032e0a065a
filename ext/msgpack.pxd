"""Single items of msgpack (github.com/msgpack/msgpack/blob/master/spec.md): read with any spelling, written in the shortest.

Inline: there is no module behind it. Writers take a place with room for MP_ROOM bytes and give the bytes written.
"""
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

cdef enum:
    MP_ROOM = 9                     # bytes of the longest head, a 64-bit number

cdef enum MpKind:
    MP_NIL
    MP_FALSE
    MP_TRUE
    MP_UNSIGNED                     # in MpItem.whole
    MP_NEGATIVE                     # in MpItem.whole, as two's complement
    MP_FLOAT                        # in MpItem.real
    MP_STRING                       # MpItem.count bytes follow the head
    MP_ARRAY                        # MpItem.count items follow
    MP_MAP                          # MpItem.count pairs of items follow
    MP_BINARY                       # MpItem.count bytes follow
    MP_EXTENSION                    # MpItem.count bytes follow, the type among them

ctypedef struct MpItem:
    uint64_t whole
    double real
    uint32_t count
    uint8_t kind

cdef inline uint64_t mp_big(const uint8_t* p, int width) noexcept nogil:
    cdef uint64_t value = 0
    cdef int i
    for i in range(width):
        value = value << 8 | p[i]
    return value

cdef inline size_t mp_item(const uint8_t* p, size_t size, MpItem* out) noexcept nogil:
    """Bytes of the head of the item at `p`; 0: cut short, or the byte that is never used."""
    cdef uint8_t first
    cdef uint32_t bits
    cdef uint64_t wide
    cdef float single
    cdef int width
    out.kind = MP_NIL
    out.whole = 0
    out.real = 0
    out.count = 0
    if size == 0:
        return 0
    first = p[0]
    if first < 0x80:
        out.kind = MP_UNSIGNED
        out.whole = first
        return 1
    if first >= 0xE0:
        out.kind = MP_NEGATIVE
        out.whole = <uint64_t> (<int64_t> first - 256)
        return 1
    if first < 0x90:
        out.kind = MP_MAP
        out.count = first & 15
        return 1
    if first < 0xA0:
        out.kind = MP_ARRAY
        out.count = first & 15
        return 1
    if first < 0xC0:
        out.kind = MP_STRING
        out.count = first & 31
        return 1
    if first <= 0xC3:
        if first == 0xC1:
            return 0
        out.kind = MP_NIL if first == 0xC0 else MP_FALSE if first == 0xC2 else MP_TRUE
        return 1
    if 0xCA <= first <= 0xD3:       # numbers
        width = 4 if first == 0xCA else 8 if first == 0xCB else 1 << ((first - 0xCC) & 3)
        if size < <size_t> width + 1:
            return 0
        wide = mp_big(p + 1, width)
        if first == 0xCA:
            bits = <uint32_t> wide
            memcpy(&single, &bits, 4)
            out.real = single
            out.kind = MP_FLOAT
        elif first == 0xCB:
            memcpy(&out.real, &wide, 8)
            out.kind = MP_FLOAT
        else:
            out.kind = MP_UNSIGNED
            out.whole = wide
            if first >= 0xD0 and wide >> (8 * width - 1):
                out.kind = MP_NEGATIVE
                if width < 8:
                    out.whole = wide | (~<uint64_t> 0 << (8 * width))
        return <size_t> width + 1
    if 0xD4 <= first <= 0xD8:       # extensions of 1 to 16 bytes
        out.kind = MP_EXTENSION
        out.count = (1 << (first - 0xD4)) + 1
        return 1
    if first >= 0xDC:
        width = 2 if first == 0xDC or first == 0xDE else 4
        out.kind = MP_ARRAY if first <= 0xDD else MP_MAP
    elif first >= 0xD9:
        width = 1 << (first - 0xD9)
        out.kind = MP_STRING
    else:
        width = 1 << ((first - 0xC4) % 3)
        out.kind = MP_BINARY if first <= 0xC6 else MP_EXTENSION
    if size < <size_t> width + 1:
        return 0
    out.count = <uint32_t> mp_big(p + 1, width)
    if out.kind == MP_EXTENSION:
        if out.count == 0xFFFFFFFFu:
            return 0
        out.count += 1
    return <size_t> width + 1

cdef inline size_t mp_put_big(uint8_t* out, uint8_t first, uint64_t value, int width) noexcept nogil:
    cdef int i
    out[0] = first
    for i in range(width):
        out[1 + i] = <uint8_t> (value >> (8 * (width - 1 - i)))
    return <size_t> width + 1

cdef inline size_t mp_put_unsigned(uint8_t* out, uint64_t value) noexcept nogil:
    if value < 0x80:
        out[0] = <uint8_t> value
        return 1
    if value <= 0xFF:
        return mp_put_big(out, 0xCC, value, 1)
    if value <= 0xFFFF:
        return mp_put_big(out, 0xCD, value, 2)
    if value >> 32 == 0:
        return mp_put_big(out, 0xCE, value, 4)
    return mp_put_big(out, 0xCF, value, 8)

cdef inline size_t mp_put_negative(uint8_t* out, int64_t value) noexcept nogil:
    if value >= -32:
        out[0] = <uint8_t> (value + 256)
        return 1
    if value >= -128:
        return mp_put_big(out, 0xD0, <uint64_t> value, 1)
    if value >= -32768:
        return mp_put_big(out, 0xD1, <uint64_t> value, 2)
    if value >= -2147483648LL:
        return mp_put_big(out, 0xD2, <uint64_t> value, 4)
    return mp_put_big(out, 0xD3, <uint64_t> value, 8)

cdef inline size_t mp_put_double(uint8_t* out, double value) noexcept nogil:
    cdef uint64_t bits
    memcpy(&bits, &value, 8)
    return mp_put_big(out, 0xCB, bits, 8)

cdef inline size_t mp_put_string(uint8_t* out, uint32_t size) noexcept nogil:
    """The head of a string of `size` bytes."""
    if size < 32:
        out[0] = 0xA0 | <uint8_t> size
        return 1
    if size <= 0xFF:
        return mp_put_big(out, 0xD9, size, 1)
    return mp_put_big(out, 0xDA, size, 2) if size <= 0xFFFF else mp_put_big(out, 0xDB, size, 4)

cdef inline size_t mp_put_array(uint8_t* out, uint32_t count) noexcept nogil:
    if count < 16:
        out[0] = 0x90 | <uint8_t> count
        return 1
    return mp_put_big(out, 0xDC, count, 2) if count <= 0xFFFF else mp_put_big(out, 0xDD, count, 4)

cdef inline size_t mp_put_map(uint8_t* out, uint32_t count) noexcept nogil:
    if count < 16:
        out[0] = 0x80 | <uint8_t> count
        return 1
    return mp_put_big(out, 0xDE, count, 2) if count <= 0xFFFF else mp_put_big(out, 0xDF, count, 4)
