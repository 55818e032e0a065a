"""C layout of the strict JSON scanner; see json_scan.pyx."""
from libc.stdint cimport int64_t, uint8_t, uint32_t

cdef enum:
    JSON_MAX_MEMBERS = 64   # members of the outer object; a token has about ten
    JSON_MAX_DEPTH = 8      # arrays and objects inside one another, the outer one included

cdef enum:
    JSON_STRING = 1
    JSON_NUMBER = 2
    JSON_OBJECT = 3
    JSON_ARRAY = 4
    JSON_TRUE = 5
    JSON_FALSE = 6
    JSON_NULL = 7

ctypedef struct JsonMember:
    const uint8_t* name   # decoded: escapes are gone
    uint32_t name_len
    uint32_t value        # offset of the value in the text, as sent; of a string what is between its quotes
    uint32_t value_len
    uint8_t kind

ctypedef struct JsonMembers:
    uint32_t count
    JsonMember items[JSON_MAX_MEMBERS]

ctypedef struct JsonCursor:
    const uint8_t* text
    size_t size
    size_t at


cdef inline void json_space(JsonCursor* c) noexcept nogil:
    cdef uint8_t b
    while c.at < c.size:
        b = c.text[c.at]
        if b != c' ' and b != c'\t' and b != c'\n' and b != c'\r':
            return
        c.at += 1


cdef int json_scan_string(JsonCursor* c, uint32_t* start, uint32_t* length) noexcept nogil
cdef int json_scan_number(JsonCursor* c) noexcept nogil
cdef int json_scan_word(JsonCursor* c, const char* word) noexcept nogil
cdef int json_object(const uint8_t* text, size_t size, uint8_t* scratch, JsonMembers* out) noexcept nogil
cdef const JsonMember* json_member(const JsonMembers* members, const char* name) noexcept nogil
cdef Py_ssize_t json_string(const uint8_t* raw, size_t size, uint8_t* out) noexcept nogil
cdef bint json_string_is(const uint8_t* raw, size_t size, const uint8_t* wanted, size_t wanted_len) noexcept nogil
cdef int json_array_has(const uint8_t* raw, size_t size, const uint8_t* wanted, size_t wanted_len) noexcept nogil
cdef int64_t json_milliseconds(const uint8_t* raw, size_t size) noexcept nogil
