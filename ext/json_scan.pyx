"""A strict, bounded scanner for one JSON object (RFC 8259): what a signed token's header and claims are.

It finds the members of the outer object and checks the syntax of everything inside; it makes no tree and allocates
nothing. Refused, because two readers could understand it differently: a name twice, bytes that are not UTF-8, lone
surrogates, NaN and Infinity, control characters in strings, anything after the object, and nesting or member counts
above the limits.
"""
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer, Py_buffer
from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memchr, memcmp, memmove, strlen

cdef extern from "nova_json.h" nogil:
    const uint8_t* nova_json_plain(const uint8_t* p, const uint8_t* end)


cdef inline int hex_value(uint8_t b) noexcept nogil:
    if b >= c'0' and b <= c'9':
        return b - c'0'
    b |= 32
    if b >= c'a' and b <= c'f':
        return b - c'a' + 10
    return -1


cdef int hex4(const uint8_t* at, size_t left) noexcept nogil:
    """The value of four hexadecimal digits, or -1."""
    cdef int value = 0
    cdef int digit
    cdef size_t i
    if left < 4:
        return -1
    for i in range(4):
        digit = hex_value(at[i])
        if digit < 0:
            return -1
        value = value << 4 | digit
    return value


cdef int utf8_size(const uint8_t* at, size_t left) noexcept nogil:
    """The length of the character at `at` (RFC 3629: no overlong form, no surrogate, up to U+10FFFF), or -1."""
    cdef uint8_t b = at[0]
    cdef uint8_t low = 0x80
    cdef uint8_t high = 0xBF
    cdef size_t need
    cdef size_t i
    if b < 0x80:
        return 1
    if b < 0xC2 or b > 0xF4:
        return -1
    if b < 0xE0:
        need = 2
    elif b < 0xF0:
        need = 3
        if b == 0xE0:
            low = 0xA0
        elif b == 0xED:
            high = 0x9F
    else:
        need = 4
        if b == 0xF0:
            low = 0x90
        elif b == 0xF4:
            high = 0x8F
    if left < need or at[1] < low or at[1] > high:
        return -1
    for i in range(2, need):
        if at[i] < 0x80 or at[i] > 0xBF:
            return -1
    return <int> need


cdef int escape_size(const uint8_t* at, size_t left, uint32_t* code) noexcept nogil:
    """The length of the escape that starts with the backslash at `at`, and what it stands for; -1 when it is none."""
    cdef int high
    cdef int low
    cdef uint8_t b
    if left < 2:
        return -1
    b = at[1]
    if b == c'"' or b == c'\\' or b == c'/':
        code[0] = b
    elif b == c'b':
        code[0] = 8
    elif b == c'f':
        code[0] = 12
    elif b == c'n':
        code[0] = 10
    elif b == c'r':
        code[0] = 13
    elif b == c't':
        code[0] = 9
    elif b == c'u':
        high = hex4(at + 2, left - 2)
        if high < 0 or (high >= 0xDC00 and high <= 0xDFFF):
            return -1
        if high < 0xD800 or high > 0xDBFF:
            code[0] = <uint32_t> high
            return 6
        if left < 12 or at[6] != c'\\' or at[7] != c'u':
            return -1
        low = hex4(at + 8, left - 8)
        if low < 0xDC00 or low > 0xDFFF:
            return -1
        code[0] = 0x10000 + ((<uint32_t> high - 0xD800) << 10) + (<uint32_t> low - 0xDC00)
        return 12
    else:
        return -1
    return 2


cdef inline size_t put_utf8(uint32_t code, uint8_t* out) noexcept nogil:
    if code < 0x80:
        out[0] = <uint8_t> code
        return 1
    if code < 0x800:
        out[0] = <uint8_t> (0xC0 | code >> 6)
        out[1] = <uint8_t> (0x80 | code & 63)
        return 2
    if code < 0x10000:
        out[0] = <uint8_t> (0xE0 | code >> 12)
        out[1] = <uint8_t> (0x80 | code >> 6 & 63)
        out[2] = <uint8_t> (0x80 | code & 63)
        return 3
    out[0] = <uint8_t> (0xF0 | code >> 18)
    out[1] = <uint8_t> (0x80 | code >> 12 & 63)
    out[2] = <uint8_t> (0x80 | code >> 6 & 63)
    out[3] = <uint8_t> (0x80 | code & 63)
    return 4


cdef int json_scan_string(JsonCursor* c, uint32_t* start, uint32_t* length) noexcept nogil:
    """Over the string at the cursor, quotes included; 0 with what is between them, or -1."""
    cdef uint8_t b
    cdef int step
    cdef uint32_t code
    if c.at >= c.size or c.text[c.at] != c'"':
        return -1
    c.at += 1
    start[0] = <uint32_t> c.at
    while True:
        c.at = <size_t> (nova_json_plain(c.text + c.at, c.text + c.size) - c.text)
        if c.at >= c.size:
            return -1
        b = c.text[c.at]
        if b == c'"':
            length[0] = <uint32_t> c.at - start[0]
            c.at += 1
            return 0
        if b < 0x20:
            return -1
        if b == c'\\':
            step = escape_size(c.text + c.at, c.size - c.at, &code)
        else:
            step = utf8_size(c.text + c.at, c.size - c.at)
        if step < 0:
            return -1
        c.at += <size_t> step


cdef bint scan_digits(JsonCursor* c) noexcept nogil:
    """Over one digit or more."""
    cdef size_t before = c.at
    while c.at < c.size and c.text[c.at] >= c'0' and c.text[c.at] <= c'9':
        c.at += 1
    return c.at > before


cdef int json_scan_number(JsonCursor* c) noexcept nogil:
    if c.at < c.size and c.text[c.at] == c'-':
        c.at += 1
    if c.at < c.size and c.text[c.at] == c'0':
        c.at += 1
    elif not scan_digits(c):
        return -1
    if c.at < c.size and c.text[c.at] == c'.':
        c.at += 1
        if not scan_digits(c):
            return -1
    if c.at < c.size and (c.text[c.at] | 32) == c'e':
        c.at += 1
        if c.at < c.size and (c.text[c.at] == c'+' or c.text[c.at] == c'-'):
            c.at += 1
        if not scan_digits(c):
            return -1
    return 0


cdef int json_scan_word(JsonCursor* c, const char* word) noexcept nogil:
    cdef size_t length = strlen(word)
    if c.size - c.at < length or memcmp(c.text + c.at, word, length) != 0:
        return -1
    c.at += length
    return 0


cdef int scan_value(JsonCursor* c, int depth) noexcept nogil:
    """Over one value of any kind; its kind, or -1. `depth`: how many more levels may open (a bounded recursion)."""
    cdef uint8_t b
    cdef uint32_t start
    cdef uint32_t length
    if c.at >= c.size:
        return -1
    b = c.text[c.at]
    if b == c'"':
        return JSON_STRING if json_scan_string(c, &start, &length) == 0 else -1
    if b == c'{' or b == c'[':
        if depth <= 0:
            return -1
        return scan_inside(c, b, depth)
    if b == c't':
        return JSON_TRUE if json_scan_word(c, b"true") == 0 else -1
    if b == c'f':
        return JSON_FALSE if json_scan_word(c, b"false") == 0 else -1
    if b == c'n':
        return JSON_NULL if json_scan_word(c, b"null") == 0 else -1
    return JSON_NUMBER if json_scan_number(c) == 0 else -1


cdef int scan_inside(JsonCursor* c, uint8_t opening, int depth) noexcept nogil:
    """Over the array or object at the cursor; its kind, or -1."""
    cdef uint8_t closing = c'}' if opening == c'{' else c']'
    cdef int kind = JSON_OBJECT if opening == c'{' else JSON_ARRAY
    cdef uint32_t start
    cdef uint32_t length
    c.at += 1
    json_space(c)
    if c.at < c.size and c.text[c.at] == closing:
        c.at += 1
        return kind
    while True:
        if kind == JSON_OBJECT:
            if json_scan_string(c, &start, &length) != 0:
                return -1
            json_space(c)
            if c.at >= c.size or c.text[c.at] != c':':
                return -1
            c.at += 1
            json_space(c)
        if scan_value(c, depth - 1) < 0:
            return -1
        json_space(c)
        if c.at >= c.size:
            return -1
        if c.text[c.at] == closing:
            c.at += 1
            return kind
        if c.text[c.at] != c',':
            return -1
        c.at += 1
        json_space(c)


cdef int json_object(const uint8_t* text, size_t size, uint8_t* scratch, JsonMembers* out) noexcept nogil:
    """Find the members of the one object that `text` is; 0, or -1 when it is not exactly one, strictly.

    scratch: `size` bytes for the decoded names; it must live as long as `out` is used.
    """
    cdef JsonCursor c
    cdef JsonMember* member
    cdef uint32_t start
    cdef uint32_t length
    cdef uint32_t i
    cdef int kind
    cdef Py_ssize_t decoded
    cdef size_t used = 0
    out.count = 0
    if size > 0x7FFFFFFF:
        return -1
    c.text = text
    c.size = size
    c.at = 0
    json_space(&c)
    if c.at >= size or text[c.at] != c'{':
        return -1
    c.at += 1
    json_space(&c)
    if c.at < size and text[c.at] == c'}':
        c.at += 1
        json_space(&c)
        return 0 if c.at == size else -1
    while True:
        if out.count == JSON_MAX_MEMBERS or json_scan_string(&c, &start, &length) != 0:
            return -1
        decoded = json_string(text + start, length, scratch + used)
        if decoded < 0:
            return -1
        for i in range(out.count):
            if out.items[i].name_len == <size_t> decoded and memcmp(out.items[i].name, scratch + used, <size_t> decoded) == 0:
                return -1
        member = &out.items[out.count]
        member.name = scratch + used
        member.name_len = <uint32_t> decoded
        used += <size_t> decoded
        json_space(&c)
        if c.at >= size or text[c.at] != c':':
            return -1
        c.at += 1
        json_space(&c)
        start = <uint32_t> c.at
        kind = scan_value(&c, JSON_MAX_DEPTH - 1)
        if kind < 0:
            return -1
        member.kind = <uint8_t> kind
        member.value = start
        member.value_len = <uint32_t> c.at - start
        if kind == JSON_STRING:
            member.value += 1
            member.value_len -= 2
        out.count += 1
        json_space(&c)
        if c.at >= size:
            return -1
        if text[c.at] == c'}':
            c.at += 1
            json_space(&c)
            return 0 if c.at == size else -1
        if text[c.at] != c',':
            return -1
        c.at += 1
        json_space(&c)


cdef const JsonMember* json_member(const JsonMembers* members, const char* name) noexcept nogil:
    """The member called `name`, or NULL."""
    cdef size_t length = strlen(name)
    cdef uint32_t i
    for i in range(members.count):
        if members.items[i].name_len == length and memcmp(members.items[i].name, name, length) == 0:
            return &members.items[i]
    return NULL


cdef Py_ssize_t json_string(const uint8_t* raw, size_t size, uint8_t* out) noexcept nogil:
    """Decode what stands between the quotes of a scanned string into `out` (room for `size`, or `raw` itself); the bytes, or -1."""
    cdef size_t at = 0
    cdef size_t written = 0
    cdef const uint8_t* escape
    cdef size_t run
    cdef uint32_t code
    cdef int step
    while True:
        escape = <const uint8_t*> memchr(raw + at, c'\\', size - at) if at < size else NULL
        run = <size_t> (escape - raw) - at if escape != NULL else size - at
        if run:
            memmove(out + written, raw + at, run)
            written += run
            at += run
        if escape == NULL:
            return <Py_ssize_t> written
        step = escape_size(raw + at, size - at, &code)
        if step < 0:
            return -1
        written += put_utf8(code, out + written)  # never longer than the escape
        at += <size_t> step


cdef bint json_string_is(const uint8_t* raw, size_t size, const uint8_t* wanted, size_t wanted_len) noexcept nogil:
    """Whether the scanned string `raw` means `wanted`: `https:\\/\\/a` is `https://a`."""
    cdef uint8_t code_bytes[4]
    cdef size_t at = 0
    cdef size_t matched = 0
    cdef size_t length
    cdef uint32_t code
    cdef int step
    while at < size:
        if raw[at] != c'\\':
            code_bytes[0] = raw[at]
            length = 1
            at += 1
        else:
            step = escape_size(raw + at, size - at, &code)
            if step < 0:
                return False
            length = put_utf8(code, code_bytes)
            at += <size_t> step
        if wanted_len - matched < length or memcmp(code_bytes, wanted + matched, length) != 0:
            return False
        matched += length
    return matched == wanted_len


cdef int json_array_has(const uint8_t* raw, size_t size, const uint8_t* wanted, size_t wanted_len) noexcept nogil:
    """Whether the scanned array `raw` holds the string `wanted`: 1 or 0; -1 when it holds anything but strings."""
    cdef JsonCursor c
    cdef uint32_t start
    cdef uint32_t length
    cdef int found = 0
    c.text = raw
    c.size = size
    c.at = 1
    json_space(&c)
    if c.at < size and raw[c.at] == c']':
        return 0
    while True:
        if json_scan_string(&c, &start, &length) != 0:
            return -1
        if json_string_is(raw + start, length, wanted, wanted_len):
            found = 1
        json_space(&c)
        if c.at >= size:
            return -1
        if raw[c.at] == c']':
            return found
        c.at += 1
        json_space(&c)


cdef int64_t json_milliseconds(const uint8_t* raw, size_t size) noexcept nogil:
    """A scanned number of seconds since 1970 (NumericDate, RFC 7519, section 2) as milliseconds, rounded down.

    -1: negative, or after the year 9999. Exact for every spelling: digits, a fraction, an exponent of any length.
    """
    cdef int64_t limit = 253402300799999
    cdef int64_t exponent = 3
    cdef int64_t shift = 0
    cdef int64_t value = 0
    cdef size_t at = 0
    cdef size_t end
    cdef size_t point
    cdef int64_t place
    cdef bint negative = False
    cdef uint8_t b
    if size == 0 or raw[0] == c'-':
        return -1
    end = 0
    while end < size and (raw[end] | 32) != c'e':
        end += 1
    if end < size:
        at = end + 1
        if raw[at] == c'+' or raw[at] == c'-':
            negative = raw[at] == c'-'
            at += 1
        while at < size:
            if shift < 100000:
                shift = shift * 10 + (raw[at] - c'0')
            at += 1
        exponent += -shift if negative else shift
    point = 0
    while point < end and raw[point] != c'.':
        point += 1
    # `place`: the power of ten, in milliseconds, that the next digit counts.
    place = <int64_t> point - 1 + exponent
    for at in range(end):
        b = raw[at]
        if b == c'.':
            continue
        if place < 0:
            break
        value = value * 10 + (b - c'0')
        if value > limit:
            return -1
        place -= 1
    if value == 0:
        return 0
    while place >= 0:
        value *= 10
        if value > limit:
            return -1
        place -= 1
    return value


def members(data) -> list[tuple[bytes, int, bytes]]:
    """(decoded name, kind, raw value) of each member of the object `data`. Raises ValueError when it is refused."""
    cdef Py_buffer given
    cdef uint8_t* scratch = NULL
    cdef JsonMembers found
    cdef JsonMember* m
    cdef uint32_t i
    PyObject_GetBuffer(data, &given, PyBUF_SIMPLE)  # the bytes themselves, so that a sanitizer sees where they end
    try:
        scratch = <uint8_t*> malloc(<size_t> given.len)
        if scratch == NULL and given.len:
            raise MemoryError
        if json_object(<const uint8_t*> given.buf, <size_t> given.len, scratch, &found) != 0:
            raise ValueError("not one strict JSON object")
        out = []
        for i in range(found.count):
            m = &found.items[i]
            out.append(((<const char*> m.name)[:m.name_len], m.kind, (<const char*> given.buf)[m.value:m.value + m.value_len]))
        return out
    finally:
        free(scratch)
        PyBuffer_Release(&given)


def milliseconds(data) -> int:
    """The number `data` of seconds as milliseconds, -1 when it is out of range. Raises ValueError when it is no number."""
    cdef bytes text = bytes(data)
    cdef JsonCursor c
    c.text = <const uint8_t*> <const char*> text
    c.size = <size_t> len(text)
    c.at = 0
    if json_scan_number(&c) != 0 or c.at != c.size:
        raise ValueError("not a JSON number")
    return json_milliseconds(c.text, c.size)


def array_has(data, wanted) -> bool:
    """Whether the JSON array `data` holds the string `wanted`. Raises ValueError unless it is an array of strings."""
    cdef bytes text = bytes(data)
    cdef bytes word = bytes(wanted)
    cdef JsonCursor c
    cdef int found = -1
    c.text = <const uint8_t*> <const char*> text
    c.size = <size_t> len(text)
    c.at = 0
    if scan_value(&c, 1) == JSON_ARRAY and c.at == c.size:
        found = json_array_has(c.text, c.size, <const uint8_t*> <const char*> word, <size_t> len(word))
    if found < 0:
        raise ValueError("not an array of strings")
    return found == 1
