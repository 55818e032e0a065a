"""One JSON value as JSON text (RFC 8259) or as msgpack: check it, measure it, turn it into the other form.

Channels carry any JSON value and serve readers of both forms, so what one form cannot say is refused in the other. Nothing
recurses and nothing is built: a value is walked once, with a small stack of the arrays and objects that are open. Names within
an object are not compared with one another.
"""
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memchr, memcpy, memmove, memset

from nova.ext.bytevec cimport vec_append, vec_free, vec_reserve
from nova.ext.json_scan cimport JsonCursor, json_scan_number, json_scan_string, json_scan_word, json_space, json_string
from nova.ext.msgpack cimport (
    MP_ARRAY, MP_BINARY, MP_EXTENSION, MP_FALSE, MP_FLOAT, MP_MAP, MP_NEGATIVE, MP_NIL, MP_ROOM, MP_STRING, MP_TRUE, MP_UNSIGNED,
    MpItem, mp_item, mp_put_array, mp_put_double, mp_put_map, mp_put_negative, mp_put_string, mp_put_unsigned,
)
from nova.ext.utf8 cimport utf8_valid

cdef extern from "<math.h>" nogil:
    bint isfinite(double value)

cdef extern from "nova_json.h" nogil:
    const uint8_t* nova_json_bare(const uint8_t* p, const uint8_t* end)

cdef extern from "nova_number.h" nogil:
    enum: NUMBER_WRONG, NUMBER_UNSIGNED, NUMBER_NEGATIVE, NUMBER_ROOM
    int nova_read_number(const uint8_t* p, size_t size, uint64_t* whole, double* real)
    size_t nova_put_integer(uint8_t* out, uint64_t value)
    size_t nova_put_double(uint8_t* out, double value)

cdef enum:
    MAX_SIZE = 0x7FFFFFFF       # bytes of a value
    SURE_DIGITS = 300           # a number so long, without an exponent, is within the range of a double

cdef const uint8_t* HEX = b"0123456789abcdef"


# -- JSON -------------------------------------------------------------------------------------------------------------

cdef inline void gap(JsonCursor* c, bint* spaced) noexcept nogil:
    cdef size_t before = c.at
    if c.at < c.size and c.text[c.at] <= c' ':
        json_space(c)
        if c.at > before:
            spaced[0] = True


cdef inline int over_colon(JsonCursor* c, bint* spaced) noexcept nogil:
    """From the end of a name to its value; 0 or VALUE_E_SYNTAX."""
    gap(c, spaced)
    if c.at >= c.size or c.text[c.at] != c':':
        return VALUE_E_SYNTAX
    c.at += 1
    gap(c, spaced)
    return 0


cdef int over_number(JsonCursor* c, uint8_t* kind) noexcept nogil:
    """0, VALUE_E_SYNTAX, or VALUE_E_NUMBER with the cursor behind it."""
    cdef size_t start = c.at
    cdef size_t i
    cdef uint64_t whole
    cdef double real
    cdef bint exponent = False
    if json_scan_number(c) != 0:
        return VALUE_E_SYNTAX
    kind[0] = VALUE_INTEGER
    for i in range(start, c.at):
        if c.text[i] > c'9':
            exponent = True
            kind[0] = VALUE_FLOAT
            break
        if c.text[i] == c'.':
            kind[0] = VALUE_FLOAT
    if (exponent or c.at - start > SURE_DIGITS) and nova_read_number(c.text + start, c.at - start, &whole, &real) == NUMBER_WRONG:
        return VALUE_E_NUMBER
    return 0


cdef int over_scalar(JsonCursor* c, uint8_t* kind) noexcept nogil:
    """Over a string, number or word at the cursor; 0 or a ValueError_."""
    cdef uint32_t start, length
    cdef uint8_t b = c.text[c.at]
    if b == c'"':
        kind[0] = VALUE_STRING
        return 0 if json_scan_string(c, &start, &length) == 0 else VALUE_E_SYNTAX
    if b == c't':
        kind[0] = VALUE_TRUE
        return 0 if json_scan_word(c, b"true") == 0 else VALUE_E_SYNTAX
    if b == c'f':
        kind[0] = VALUE_FALSE
        return 0 if json_scan_word(c, b"false") == 0 else VALUE_E_SYNTAX
    if b == c'n':
        kind[0] = VALUE_NULL
        return 0 if json_scan_word(c, b"null") == 0 else VALUE_E_SYNTAX
    return over_number(c, kind)


cdef int scan_json(const uint8_t* text, size_t size, ValueScan* out) noexcept nogil:
    cdef uint8_t[VALUE_SCAN_DEPTH] opened
    cdef JsonCursor c
    cdef uint32_t depth = 0
    cdef uint32_t start, length
    cdef uint8_t b, kind
    cdef bint spaced = False
    cdef int flaw = 0
    cdef int said
    c.text = text
    c.size = size
    c.at = 0
    out.size = 0
    out.depth = 0
    while True:
        # A value begins at the cursor.
        if c.at >= size:
            return VALUE_E_SYNTAX
        b = text[c.at]
        if b == c'{' or b == c'[':
            if depth == VALUE_SCAN_DEPTH:
                return VALUE_E_DEPTH
            if depth == 0:
                out.kind = VALUE_OBJECT if b == c'{' else VALUE_ARRAY
            opened[depth] = b
            depth += 1
            if depth > out.depth:
                out.depth = <uint16_t> depth
            c.at += 1
            gap(&c, &spaced)
            if c.at >= size:
                return VALUE_E_SYNTAX
            if text[c.at] != b + 2:  # in ASCII, a closing bracket is two behind its opening one
                if b == c'{':
                    if json_scan_string(&c, &start, &length) != 0:
                        return VALUE_E_SYNTAX
                    said = over_colon(&c, &spaced)
                    if said:
                        return said
                continue
            c.at += 1
            depth -= 1
        else:
            said = over_scalar(&c, &kind)
            if said == VALUE_E_NUMBER:
                flaw = said
            elif said:
                return said
            if depth == 0:
                out.kind = kind
        # A value ended.
        while depth:
            gap(&c, &spaced)
            if c.at >= size:
                return VALUE_E_SYNTAX
            b = text[c.at]
            c.at += 1
            if b == c',':
                gap(&c, &spaced)
                if opened[depth - 1] == c'{':
                    if json_scan_string(&c, &start, &length) != 0:
                        return VALUE_E_SYNTAX
                    said = over_colon(&c, &spaced)
                    if said:
                        return said
                break
            if b != opened[depth - 1] + 2:
                return VALUE_E_SYNTAX
            depth -= 1
        else:
            out.size = <uint32_t> c.at
            out.spaced = spaced
            return flaw


cdef int json_compact(const uint8_t* text, size_t size, ByteVec* out) noexcept nogil:
    cdef const uint8_t* p = text
    cdef const uint8_t* end = text + size
    cdef const uint8_t* start
    cdef uint8_t* at = vec_reserve(out, size)
    if at == NULL:
        return VALUE_E_NO_MEMORY
    while p < end:
        start = p
        while p < end and p[0] > c' ' and p[0] != c'"':
            p += 1
        if p < end and p[0] == c'"':
            p = nova_json_bare(p + 1, end)
            while p < end and p[0] != c'"':  # an escape: its second character may be a quote
                p = nova_json_bare(p + 2 if end - p > 2 else end, end)
            if p < end:
                p += 1
        memcpy(at, start, <size_t> (p - start))
        at += p - start
        while p < end and p[0] <= c' ':
            p += 1
    out.len = <size_t> (at - out.data)
    return 0


cdef int json_quote(const uint8_t* text, size_t size, ByteVec* out) noexcept nogil:
    cdef const uint8_t* p = text
    cdef const uint8_t* end = text + size
    cdef const uint8_t* stop
    cdef uint8_t* at = vec_reserve(out, 6 * size + 2)
    cdef uint8_t b
    if at == NULL:
        return VALUE_E_NO_MEMORY
    at[0] = c'"'
    at += 1
    while p < end:
        stop = nova_json_bare(p, end)
        memcpy(at, p, <size_t> (stop - p))
        at += stop - p
        p = stop
        if p == end:
            break
        b = p[0]
        p += 1
        at[0] = c'\\'
        at[1] = b
        if b < c' ':
            at[1] = c'n' if b == 10 else c't' if b == 9 else c'r' if b == 13 else c'b' if b == 8 else c'f' if b == 12 else c'u'
            if at[1] == c'u':
                at[2] = c'0'
                at[3] = c'0'
                at[4] = HEX[b >> 4]
                at[5] = HEX[b & 15]
                at += 4
        at += 2
    at[0] = c'"'
    out.len = <size_t> (at + 1 - out.data)
    return 0


# -- msgpack ----------------------------------------------------------------------------------------------------------

cdef int scan_msgpack(const uint8_t* data, size_t size, ValueScan* out) noexcept nogil:
    cdef uint32_t[VALUE_SCAN_DEPTH] left       # items to come on each level; of a map twice its pairs: an even number is a name's turn
    cdef uint8_t[VALUE_SCAN_DEPTH] named
    cdef uint32_t depth = 0
    cdef size_t at = 0
    cdef size_t used
    cdef uint64_t items
    cdef int flaw = 0
    cdef MpItem item
    out.size = 0
    out.depth = 0
    out.spaced = False
    while True:
        used = mp_item(data + at, size - at, &item)
        if used == 0:
            return VALUE_E_SYNTAX
        at += used
        if depth and named[depth - 1] and not left[depth - 1] & 1 and item.kind != MP_STRING:
            flaw = VALUE_E_TYPE
        if item.kind == MP_STRING or item.kind == MP_BINARY or item.kind == MP_EXTENSION:
            if item.count > size - at:
                return VALUE_E_SYNTAX
            if item.kind != MP_STRING:
                flaw = VALUE_E_TYPE
            elif not utf8_valid(data + at, item.count):
                flaw = VALUE_E_UTF8
            at += item.count
        elif item.kind == MP_FLOAT and not isfinite(item.real):
            flaw = VALUE_E_NUMBER
        if depth == 0:
            out.kind = kind_of(item.kind)
        if item.kind == MP_ARRAY or item.kind == MP_MAP:
            items = item.count if item.kind == MP_ARRAY else 2 * <uint64_t> item.count
            if items > size - at:  # each takes a byte at least
                return VALUE_E_SYNTAX
            if depth == VALUE_SCAN_DEPTH:
                return VALUE_E_DEPTH
            if depth + 1 > out.depth:
                out.depth = <uint16_t> (depth + 1)
            if items:
                left[depth] = <uint32_t> items
                named[depth] = item.kind == MP_MAP
                depth += 1
                continue
        while depth:
            left[depth - 1] -= 1
            if left[depth - 1]:
                break
            depth -= 1
        else:
            out.size = <uint32_t> at
            return flaw


cdef inline uint8_t kind_of(uint8_t kind) noexcept nogil:
    if kind == MP_NIL:
        return VALUE_NULL
    if kind == MP_FALSE:
        return VALUE_FALSE
    if kind == MP_TRUE:
        return VALUE_TRUE
    if kind == MP_FLOAT:
        return VALUE_FLOAT
    if kind == MP_STRING:
        return VALUE_STRING
    if kind == MP_ARRAY:
        return VALUE_ARRAY
    return VALUE_OBJECT if kind == MP_MAP else VALUE_INTEGER


cdef int value_scan(int form, const uint8_t* text, size_t size, ValueScan* out) noexcept nogil:
    if size > MAX_SIZE:
        return VALUE_E_SYNTAX
    return scan_json(text, size, out) if form == FORM_JSON else scan_msgpack(text, size, out)


# -- one form to the other --------------------------------------------------------------------------------------------

cdef int put_string(const uint8_t* raw, size_t size, ByteVec* out) noexcept nogil:
    """A scanned JSON string, without its quotes, as msgpack."""
    cdef uint8_t* at = vec_reserve(out, MP_ROOM + size)
    cdef uint8_t[MP_ROOM] head
    cdef size_t used
    cdef Py_ssize_t decoded
    if at == NULL:
        return VALUE_E_NO_MEMORY
    if memchr(raw, c'\\', size) == NULL:
        used = mp_put_string(at, <uint32_t> size)
        memcpy(at + used, raw, size)
        out.len += used + size
        return 0
    decoded = json_string(raw, size, at + MP_ROOM)
    if decoded < 0:
        return VALUE_E_SYNTAX
    used = mp_put_string(head, <uint32_t> decoded)
    memcpy(at, head, used)
    memmove(at + used, at + MP_ROOM, <size_t> decoded)
    out.len += used + <size_t> decoded
    return 0


cdef int put_scalar(JsonCursor* c, ByteVec* out) noexcept nogil:
    """The string, number or word at the cursor as msgpack."""
    cdef size_t start = c.at
    cdef uint32_t inside, length
    cdef uint64_t whole = 0
    cdef double real = 0
    cdef uint8_t* at
    cdef uint8_t kind
    cdef int said = over_scalar(c, &kind)
    if said:
        return said
    if kind == VALUE_STRING:
        inside = <uint32_t> start + 1
        length = <uint32_t> (c.at - start) - 2
        return put_string(c.text + inside, length, out)
    at = vec_reserve(out, MP_ROOM)
    if at == NULL:
        return VALUE_E_NO_MEMORY
    if kind == VALUE_INTEGER or kind == VALUE_FLOAT:
        said = nova_read_number(c.text + start, c.at - start, &whole, &real)
        out.len += mp_put_unsigned(at, whole) if said == NUMBER_UNSIGNED else mp_put_negative(at, <int64_t> whole) \
            if said == NUMBER_NEGATIVE else mp_put_double(at, real)
    else:
        at[0] = 0xC0 if kind == VALUE_NULL else 0xC2 if kind == VALUE_FALSE else 0xC3
        out.len += 1
    return 0


cdef int put_name(JsonCursor* c, ByteVec* out) noexcept nogil:
    """The name of an object's member at the cursor, and on to the value."""
    cdef uint32_t start, length
    cdef bint spaced
    cdef int said
    if json_scan_string(c, &start, &length) != 0:
        return VALUE_E_SYNTAX
    said = put_string(c.text + start, length, out)
    return said if said else over_colon(c, &spaced)


cdef int end_container(size_t head, uint32_t count, bint named, ByteVec* out) noexcept nogil:
    """Write the head of what begins at `head`, where one byte was left for it."""
    cdef uint8_t[MP_ROOM] bytes
    cdef size_t used = mp_put_map(bytes, count) if named else mp_put_array(bytes, count)
    if used > 1:
        if vec_reserve(out, used) == NULL:
            return VALUE_E_NO_MEMORY
        # At most as often for a byte as it is deep: a level moves what is in it once.
        memmove(out.data + head + used, out.data + head + 1, out.len - head - 1)
        out.len += used - 1
    memcpy(out.data + head, bytes, used)
    return 0


cdef int json_to_msgpack(const uint8_t* text, size_t size, uint32_t most, ByteVec* out) noexcept nogil:
    cdef uint32_t[ITEM_DEPTH] heads
    cdef uint32_t[ITEM_DEPTH] counts
    cdef uint8_t[ITEM_DEPTH] opened
    cdef JsonCursor c
    cdef uint32_t depth = 0
    cdef uint8_t b
    cdef bint spaced
    cdef int said
    cdef size_t base = out.len     # heads are counted from here, so that they fit 32 bits
    c.text = text
    c.size = size
    c.at = 0
    while True:
        if c.at >= size:
            return VALUE_E_SYNTAX
        b = text[c.at]
        if b == c'{' or b == c'[':
            if depth == most:
                return VALUE_E_DEPTH
            opened[depth] = b
            heads[depth] = <uint32_t> (out.len - base)
            counts[depth] = 0
            depth += 1
            if vec_reserve(out, 1) == NULL:
                return VALUE_E_NO_MEMORY
            out.len += 1
            c.at += 1
            gap(&c, &spaced)
            if c.at >= size:
                return VALUE_E_SYNTAX
            if text[c.at] != b + 2:
                if b == c'{':
                    said = put_name(&c, out)
                    if said:
                        return said
                continue
        else:
            said = put_scalar(&c, out)
            if said:
                return said
            if depth:
                counts[depth - 1] += 1
        while depth:
            gap(&c, &spaced)
            if c.at >= size:
                return VALUE_E_SYNTAX
            b = text[c.at]
            c.at += 1
            if b == c',':
                gap(&c, &spaced)
                if opened[depth - 1] == c'{':
                    said = put_name(&c, out)
                    if said:
                        return said
                break
            if b != opened[depth - 1] + 2:
                return VALUE_E_SYNTAX
            depth -= 1
            said = end_container(base + heads[depth], counts[depth], opened[depth] == c'{', out)
            if said:
                return said
            if depth:
                counts[depth - 1] += 1
        else:
            return 0


cdef int msgpack_to_json(const uint8_t* data, size_t size, ByteVec* out) noexcept nogil:
    cdef uint32_t[VALUE_DEPTH] left
    cdef uint8_t[VALUE_DEPTH] named
    cdef uint32_t depth = 0
    cdef size_t at = 0
    cdef size_t used
    cdef uint64_t items
    cdef uint8_t* put
    cdef MpItem item
    while True:
        used = mp_item(data + at, size - at, &item)
        if used == 0:
            return VALUE_E_SYNTAX
        at += used
        put = vec_reserve(out, NUMBER_ROOM)
        if put == NULL:
            return VALUE_E_NO_MEMORY
        if item.kind == MP_STRING:
            if item.count > size - at or json_quote(data + at, item.count, out) != 0:
                return VALUE_E_NO_MEMORY if item.count <= size - at else VALUE_E_SYNTAX
            at += item.count
        elif item.kind == MP_UNSIGNED:
            out.len += nova_put_integer(put, item.whole)
        elif item.kind == MP_NEGATIVE:
            put[0] = c'-'
            out.len += 1 + nova_put_integer(put + 1, 0 - item.whole)
        elif item.kind == MP_FLOAT:
            if not isfinite(item.real):
                return VALUE_E_NUMBER
            out.len += nova_put_double(put, item.real)
        elif item.kind == MP_NIL:
            memcpy(put, b"null", 4)
            out.len += 4
        elif item.kind == MP_TRUE:
            memcpy(put, b"true", 4)
            out.len += 4
        elif item.kind == MP_FALSE:
            memcpy(put, b"false", 5)
            out.len += 5
        elif item.kind == MP_ARRAY or item.kind == MP_MAP:
            items = item.count if item.kind == MP_ARRAY else 2 * <uint64_t> item.count
            if items > size - at:
                return VALUE_E_SYNTAX
            if depth == VALUE_DEPTH:
                return VALUE_E_DEPTH
            put[0] = c'{' if item.kind == MP_MAP else c'['
            put[1] = put[0] + 2
            if items:
                out.len += 1
                left[depth] = <uint32_t> items
                named[depth] = item.kind == MP_MAP
                depth += 1
                continue
            out.len += 2
        else:
            return VALUE_E_TYPE
        while depth:
            put = vec_reserve(out, 1)
            if put == NULL:
                return VALUE_E_NO_MEMORY
            out.len += 1
            left[depth - 1] -= 1
            if left[depth - 1]:
                put[0] = c':' if named[depth - 1] and left[depth - 1] & 1 else c','
                break
            depth -= 1
            put[0] = c'}' if named[depth] else c']'
        else:
            return 0


cdef int value_convert(int form, int wanted, const uint8_t* text, size_t size, ByteVec* out) noexcept nogil:
    if form == wanted:
        if form == FORM_JSON:
            return json_compact(text, size, out)
        return VALUE_E_NO_MEMORY if vec_append(out, text, size) else 0
    return json_to_msgpack(text, size, VALUE_DEPTH, out) if form == FORM_JSON else msgpack_to_json(text, size, out)


cdef int value_item(int wanted, const uint8_t* text, size_t size, ByteVec* out) noexcept nogil:
    return json_compact(text, size, out) if wanted == FORM_JSON else json_to_msgpack(text, size, ITEM_DEPTH, out)


cdef const char* value_error(int error) noexcept nogil:
    if error == VALUE_E_SYNTAX:
        return b"value_syntax"
    if error == VALUE_E_UTF8:
        return b"value_utf8"
    if error == VALUE_E_NUMBER:
        return b"value_number"
    if error == VALUE_E_TYPE:
        return b"value_type"
    if error == VALUE_E_DEPTH:
        return b"value_depth"
    return b"value_no_memory"


# -- Python -----------------------------------------------------------------------------------------------------------

JSON = FORM_JSON
MSGPACK = FORM_MSGPACK
DEPTH = VALUE_DEPTH
KINDS = ("null", "false", "true", "integer", "float", "string", "array", "object")


class ValueRefused(ValueError):
    """The bytes are no value that both forms can say. `code`: a name that `value_error` gives."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def scan(int form, data) -> tuple[int, int, str, bool]:
    """(size, depth, kind, spaced) of the value at the beginning of `data`. Raises ValueRefused."""
    cdef const uint8_t[::1] view = data
    cdef size_t size = <size_t> len(view)
    cdef ValueScan found
    cdef int said
    with nogil:
        said = value_scan(form, &view[0] if size else NULL, size, &found)
    if said:
        raise ValueRefused(value_error(said).decode())
    return found.size, found.depth, KINDS[found.kind], bool(found.spaced)


def convert(int form, int wanted, data) -> bytes:
    """The value that `data` is, in the wanted form. Raises ValueRefused, also when something follows it."""
    cdef const uint8_t[::1] view = data
    cdef size_t size = <size_t> len(view)
    cdef const uint8_t* at = &view[0] if size else NULL
    cdef ValueScan found
    cdef ByteVec out
    cdef int said
    memset(&out, 0, sizeof(out))
    try:
        with nogil:
            said = value_scan(form, at, size, &found)
            if said == 0:
                said = value_convert(form, wanted, at, size, &out) if found.size == size else VALUE_E_SYNTAX
        if said == VALUE_E_NO_MEMORY:
            raise MemoryError
        if said:
            raise ValueRefused(value_error(said).decode())
        return (<const char*> out.data)[:out.len]
    finally:
        vec_free(&out)


def item(int wanted, data) -> bytes:
    """A push or a reply of ours, JSON, in the wanted form; deeper than `convert` allows. Raises ValueRefused."""
    cdef const uint8_t[::1] view = data
    cdef size_t size = <size_t> len(view)
    cdef ByteVec out
    cdef int said
    memset(&out, 0, sizeof(out))
    try:
        with nogil:
            said = value_item(wanted, &view[0] if size else NULL, size, &out)
        if said == VALUE_E_NO_MEMORY:
            raise MemoryError
        if said:
            raise ValueRefused(value_error(said).decode())
        return (<const char*> out.data)[:out.len]
    finally:
        vec_free(&out)


def quote(data) -> bytes:
    """UTF-8 as a JSON string."""
    cdef const uint8_t[::1] view = data
    cdef size_t size = <size_t> len(view)
    cdef ByteVec out
    memset(&out, 0, sizeof(out))
    try:
        if json_quote(&view[0] if size else NULL, size, &out):
            raise MemoryError
        return (<const char*> out.data)[:out.len]
    finally:
        vec_free(&out)
