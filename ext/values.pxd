"""One JSON value in its two spellings, JSON text and msgpack: check, measure, and turn one into the other. Pure, nogil.

Every function takes exactly the grammar that the other spelling has: no NaN, no binary, no extension types, names are strings,
strings are UTF-8 without lone surrogates, numbers fit a double or 64 bits. Nothing that one reader gets can another not get.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t

from nova.ext.bytevec cimport ByteVec

cdef enum Form:
    FORM_JSON = 0
    FORM_MSGPACK = 1

cdef enum:
    VALUE_DEPTH = 32                # arrays and objects inside one another, in `data` of a publication
    ITEM_DEPTH = 264                # of a push or a reply: data as deep as it is scanned, and what stands around it
    VALUE_SCAN_DEPTH = 256          # beyond VALUE_DEPTH and up to here a value is skipped and reported, beyond it refused unread

cdef enum ValueError_:
    VALUE_E_SYNTAX = -1             # no JSON (RFC 8259; a string that is not UTF-8 or has half a surrogate pair is none), no msgpack, cut short
    VALUE_E_UTF8 = -2               # msgpack: a string that is not UTF-8
    VALUE_E_NUMBER = -3             # JSON: above the range of a double; msgpack: NaN or an infinity
    VALUE_E_TYPE = -4               # msgpack: binary, an extension, or a name that is no string
    VALUE_E_DEPTH = -5              # above the depth
    VALUE_E_NO_MEMORY = -6

cdef enum ValueKind:
    VALUE_NULL = 0
    VALUE_FALSE
    VALUE_TRUE
    VALUE_INTEGER
    VALUE_FLOAT
    VALUE_STRING
    VALUE_ARRAY
    VALUE_OBJECT

ctypedef struct ValueScan:
    uint32_t size                   # bytes of the value; 0: its end could not be found
    uint16_t depth                  # 0: no array or object
    uint8_t kind                    # ValueKind
    bint spaced                     # JSON: white space between tokens; json_compact takes it out

# The value that begins at text[0]; what follows it is not looked at. 0, or a ValueError_; after VALUE_E_NUMBER, _TYPE and _UTF8
# `size` is known, so that the bytes behind it can still be read.
cdef int value_scan(int form, const uint8_t* text, size_t size, ValueScan* out) noexcept nogil
# A value that value_scan found, all of `text`, appended in the wanted form; the same form: JSON is made compact, msgpack is copied.
# 0, VALUE_E_DEPTH (above VALUE_DEPTH), or VALUE_E_NO_MEMORY; VALUE_E_SYNTAX for bytes that value_scan did not see.
# msgpack is at most 3 times its JSON, JSON at most 6 times its msgpack; integers and floats stay apart.
cdef int value_convert(int form, int wanted, const uint8_t* text, size_t size, ByteVec* out) noexcept nogil
# A push or a reply of ours from JSON to the wanted form, as value_convert; its data may lie some levels down. Above ITEM_DEPTH: VALUE_E_DEPTH.
cdef int value_item(int wanted, const uint8_t* text, size_t size, ByteVec* out) noexcept nogil
# JSON that was scanned appended without the white space between its tokens, so that it has no line breaks. 0 or VALUE_E_NO_MEMORY.
cdef int json_compact(const uint8_t* text, size_t size, ByteVec* out) noexcept nogil
# A string of UTF-8 appended as JSON, quotes included. 0 or VALUE_E_NO_MEMORY.
cdef int json_quote(const uint8_t* text, size_t size, ByteVec* out) noexcept nogil
cdef const char* value_error(int error) noexcept nogil          # "value_depth" …
