"""Header values and query strings that a hot answer depends on: ranges, entity tags, dates, parameters (RFC 9110).

Pure functions over bytes; none needs the GIL.
"""
from libc.stdint cimport int64_t, uint8_t

cdef enum:
    HTTP_DATE_SIZE = 29          # bytes of an IMF-fixdate

# Range of a representation of `size` bytes. 1: one range, both ends inclusive; 0: ignore the field; -416: can not be satisfied.
cdef int http1_range(const uint8_t* value, size_t len, int64_t size, int64_t* first, int64_t* last) noexcept nogil
# Is `etag` (quotes included) in the list, or is the list "*"? `weak`: by weak comparison (If-None-Match), else strong.
cdef bint http1_etag_match(const uint8_t* list, size_t len, const uint8_t* etag, size_t etag_len, bint weak) noexcept nogil
# Unix seconds of an HTTP-date in any of its three forms, -1: malformed or before 1970. `now` decides the century of RFC 850's form.
cdef int64_t http1_date_at(const uint8_t* value, size_t len, int64_t now) noexcept nogil
cdef int64_t http1_date(const uint8_t* value, size_t len) noexcept nogil
# Writes HTTP_DATE_SIZE bytes and answers their number. `unix_seconds`: 0 up to the end of the year 9999.
cdef size_t http1_format_date(int64_t unix_seconds, uint8_t* out) noexcept nogil
# Takes every parameter `name` out of the query, in place, also when its name is percent-encoded; answers the new length.
cdef size_t http1_remove_query(uint8_t* query, size_t len, const char* name, size_t name_len) noexcept nogil
# The first parameter `name`; its value as sent (percent-encoded).
cdef bint http1_query(const uint8_t* query, size_t len, const char* name, size_t name_len,
                      const uint8_t** value, size_t* value_len) noexcept nogil
