"""Header values and query strings that a hot answer depends on (RFC 9110 sections 5.6.7, 8.8.3, 13, 14; RFC 3986 section 3.4).

A value that a client got wrong never fails a request here: a malformed Range, entity tag or date counts as absent.
"""
from array import array

from cpython.buffer cimport PyBUF_SIMPLE, Py_buffer, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint8_t
from libc.string cimport memchr, memcmp, memcpy, memmove
from libc.time cimport time

from nova.ext.http cimport HC_TOKEN, is_digit, is_space, is_word, nova_hex, nova_http_span, nova_http_value

cdef enum:
    DAY = 86400
    QUOTE = 34
    COMMA = 44
    MINUS = 45

cdef int64_t MAX_NUMBER = 0x7fffffffffffffff

cdef const char* DAYS = b"MonTueWedThuFriSatSun"
cdef const char* MONTHS = b"JanFebMarAprMayJunJulAugSepOctNovDec"
cdef const char* LONG_DAYS = b"Monday\0   Tuesday\0  Wednesday\0Thursday\0 Friday\0   Saturday\0 Sunday\0   "


# --- ranges (section 14) ---

cdef inline bint read_number(const uint8_t** at, const uint8_t* end, int64_t* out) noexcept nogil:
    """Digits, at least one; too large a number stays at the largest."""
    cdef const uint8_t* p = at[0]
    cdef int64_t value = 0
    while p < end and is_digit(p[0]):
        value = MAX_NUMBER if value > (MAX_NUMBER - 9) // 10 else value * 10 + (p[0] - 48)
        p += 1
    if p == at[0]:
        return False
    at[0] = p
    out[0] = value
    return True


cdef int http1_range(const uint8_t* value, size_t len, int64_t size, int64_t* first, int64_t* last) noexcept nogil:
    cdef const uint8_t* p = value
    cdef const uint8_t* end = value + len
    cdef int64_t from_
    cdef int64_t to = MAX_NUMBER
    if len < 7 or not is_word(p, 5, b"bytes", 5) or p[5] != 61:
        return 0
    p += 6
    while p < end and is_space(p[0]):
        p += 1
    while end > p and is_space((end - 1)[0]):
        end -= 1
    if p < end and p[0] == MINUS:  # suffix-range: the last n bytes
        p += 1
        if not read_number(&p, end, &to) or p != end:
            return 0
        if to == 0:
            return -416
        if size == 0:  # satisfiable by section 14.1.2, but no Content-Range can say so: the whole representation
            return 0
        first[0] = size - to if to < size else 0
        last[0] = size - 1
        return 1
    if not read_number(&p, end, &from_) or p == end or p[0] != MINUS:
        return 0
    p += 1
    if p != end and (not read_number(&p, end, &to) or p != end):  # a comma lands here too: several ranges are not served
        return 0
    if to < from_:
        return 0
    if from_ >= size:
        return -416
    first[0] = from_
    last[0] = to if to < size else size - 1
    return 1


# --- entity tags (sections 8.8.3 and 13.1) ---

cdef bint http1_etag_match(const uint8_t* list, size_t len, const uint8_t* etag, size_t etag_len, bint weak) noexcept nogil:
    cdef const uint8_t* p = list
    cdef const uint8_t* end = list + len
    cdef const uint8_t* opaque
    cdef bint item_weak
    cdef bint etag_weak = etag_len > 2 and etag[0] == 87  # W/
    if etag_weak:
        etag += 2
        etag_len -= 2
    while end > p and is_space((end - 1)[0]):
        end -= 1
    while p < end and is_space(p[0]):
        p += 1
    if end - p == 1 and p[0] == 42:  # "*": any representation
        return True
    while True:
        while p < end and (is_space(p[0]) or p[0] == COMMA):
            p += 1
        item_weak = end - p > 2 and p[0] == 87 and p[1] == 47
        if item_weak:
            p += 2
        if p >= end or p[0] != QUOTE:
            return False
        opaque = p
        p += 1
        while p < end and p[0] != QUOTE:
            p += 1
        if p == end:
            return False
        p += 1
        if p < end and not is_space(p[0]) and p[0] != COMMA:
            return False
        if (weak or not (item_weak or etag_weak)) and <size_t> (p - opaque) == etag_len and memcmp(opaque, etag, etag_len) == 0:
            return True


# --- dates (section 5.6.7) ---

cdef inline int64_t days_from_civil(int64_t year, int month, int day) noexcept nogil:
    """Days since 1970-01-01 in the Gregorian calendar (Hinnant's algorithm; years from 0)."""
    cdef int64_t y = year - 1 if month <= 2 else year
    cdef int64_t era = y // 400
    cdef int64_t yoe = y - era * 400
    cdef int64_t doy = (153 * (month - 3 if month > 2 else month + 9) + 2) // 5 + day - 1
    return era * 146097 + yoe * 365 + yoe // 4 - yoe // 100 + doy - 719468


cdef inline int64_t year_of(int64_t unix_seconds) noexcept nogil:
    cdef int64_t year, days
    cdef int month, day
    civil_from_days(unix_seconds // DAY, &year, &month, &day)
    return year


cdef inline void civil_from_days(int64_t days, int64_t* year, int* month, int* day) noexcept nogil:
    cdef int64_t z = days + 719468
    cdef int64_t era = z // 146097
    cdef int64_t doe = z - era * 146097
    cdef int64_t yoe = (doe - doe // 1460 + doe // 36524 - doe // 146096) // 365
    cdef int64_t doy = doe - (365 * yoe + yoe // 4 - yoe // 100)
    cdef int64_t mp = (5 * doy + 2) // 153
    day[0] = <int> (doy - (153 * mp + 2) // 5 + 1)
    month[0] = <int> (mp + 3 if mp < 10 else mp - 9)
    year[0] = yoe + era * 400 + (1 if month[0] <= 2 else 0)


cdef inline int two(const uint8_t* p) noexcept nogil:
    """Two digits, or a number so small that every later check fails."""
    if not is_digit(p[0]) or not is_digit(p[1]):
        return -1000000
    return (p[0] - 48) * 10 + (p[1] - 48)


cdef inline int find3(const uint8_t* p, const char* table, int count) noexcept nogil:
    cdef int i
    for i in range(count):
        if memcmp(p, table + 3 * i, 3) == 0:
            return i
    return -1


cdef int64_t seconds(int64_t year, int month, int day, int hour, int minute, int second) noexcept nogil:
    cdef int longest = 31
    if month in (4, 6, 9, 11):
        longest = 30
    elif month == 2:
        longest = 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    if year < 1970 or not 1 <= month <= 12 or not 1 <= day <= longest:
        return -1
    if not 0 <= hour <= 23 or not 0 <= minute <= 59 or not 0 <= second <= 60:  # 60: a leap second
        return -1
    return days_from_civil(year, month, day) * DAY + hour * 3600 + minute * 60 + second


cdef int64_t clock_of(const uint8_t* p, int64_t year, int month, int day) noexcept nogil:
    """With the `hh:mm:ss` at p."""
    if p[2] != 58 or p[5] != 58:
        return -1
    return seconds(year, month, day, two(p), two(p + 3), two(p + 6))


cdef int64_t http1_date_at(const uint8_t* value, size_t len, int64_t now) noexcept nogil:
    cdef const uint8_t* p = value
    cdef size_t i = 0
    cdef int64_t year, newest
    if len == 29 and memcmp(p + 3, b", ", 2) == 0:  # IMF-fixdate: Sun, 06 Nov 1994 08:49:37 GMT
        if find3(p, DAYS, 7) < 0 or p[7] != 32 or p[11] != 32 or p[16] != 32 or memcmp(p + 25, b" GMT", 4) != 0:
            return -1
        return clock_of(p + 17, two(p + 12) * 100 + two(p + 14), find3(p + 8, MONTHS, 12) + 1, two(p + 5))
    if len == 24 and p[3] == 32:  # asctime: Sun Nov  6 08:49:37 1994
        if find3(p, DAYS, 7) < 0 or p[7] != 32 or p[10] != 32 or p[19] != 32:
            return -1
        return clock_of(p + 11, two(p + 20) * 100 + two(p + 22), find3(p + 4, MONTHS, 12) + 1,
                        (p[9] - 48 if is_digit(p[9]) else -1) if p[8] == 32 else two(p + 8))
    while i < len and p[i] != COMMA:
        i += 1
    if i < 6 or i > 9 or len != i + 24:  # RFC 850: Sunday, 06-Nov-94 08:49:37 GMT
        return -1
    if not is_long_day(p, i):
        return -1
    p += i
    if p[1] != 32 or p[4] != MINUS or p[8] != MINUS or p[11] != 32 or memcmp(p + 20, b" GMT", 4) != 0:
        return -1
    # "More than 50 years in the future" means the last such year in the past.
    newest = year_of(now) + 50
    year = two(p + 9)
    if year < 0:
        return -1
    year += newest - newest % 100
    if year > newest:
        year -= 100
    return clock_of(p + 12, year, find3(p + 5, MONTHS, 12) + 1, two(p + 2))


cdef inline bint is_long_day(const uint8_t* p, size_t len) noexcept nogil:
    cdef int i
    for i in range(7):
        if LONG_DAYS[10 * i + <int> len] == 0 and memcmp(p, LONG_DAYS + 10 * i, len) == 0:
            return True
    return False


cdef int64_t http1_date(const uint8_t* value, size_t len) noexcept nogil:
    return http1_date_at(value, len, time(NULL))


cdef inline void put2(uint8_t* out, int value) noexcept nogil:
    out[0] = <uint8_t> (48 + value // 10)
    out[1] = <uint8_t> (48 + value % 10)


cdef size_t http1_format_date(int64_t unix_seconds, uint8_t* out) noexcept nogil:
    cdef int64_t days = unix_seconds // DAY
    cdef int rest = <int> (unix_seconds - days * DAY)
    cdef int64_t year
    cdef int month, day
    civil_from_days(days, &year, &month, &day)
    memcpy(out, b"Thu, 00 Jan 0000 00:00:00 GMT", HTTP_DATE_SIZE)
    memcpy(out, DAYS + 3 * ((days + 3) % 7), 3)  # 1970-01-01 was a Thursday
    put2(out + 5, day)
    memcpy(out + 8, MONTHS + 3 * (month - 1), 3)
    put2(out + 12, <int> (year // 100))
    put2(out + 14, <int> (year % 100))
    put2(out + 17, rest // 3600)
    put2(out + 20, rest // 60 % 60)
    put2(out + 23, rest % 60)
    return HTTP_DATE_SIZE


# --- query parameters (application/x-www-form-urlencoded) ---

cdef inline bint is_named(const uint8_t* p, const uint8_t* end, const char* name, size_t name_len) noexcept nogil:
    """Is the percent-decoded run from p to end the name?"""
    cdef size_t i = 0
    cdef int byte
    while p < end:
        byte = p[0]
        if byte == 37 and end - p >= 3 and nova_hex(p[1]) >= 0 and nova_hex(p[2]) >= 0:
            byte = nova_hex(p[1]) * 16 + nova_hex(p[2])
            p += 2
        p += 1
        if i == name_len or byte != <uint8_t> name[i]:
            return False
        i += 1
    return i == name_len


cdef inline const uint8_t* span_to(const uint8_t* p, const uint8_t* end, uint8_t byte) noexcept nogil:
    while p < end and p[0] != byte:
        p += 1
    return p


cdef size_t http1_remove_query(uint8_t* query, size_t len, const char* name, size_t name_len) noexcept nogil:
    cdef const uint8_t* p = query
    cdef const uint8_t* end = query + len
    cdef const uint8_t* stop
    cdef uint8_t* out = query
    cdef bint first = True
    while True:
        stop = span_to(p, end, 38)  # &
        if not is_named(p, span_to(p, stop, 61), name, name_len):
            if not first:
                out[0] = 38
                out += 1
            memmove(out, p, stop - p)
            out += stop - p
            first = False
        if stop == end:
            return out - query
        p = stop + 1


cdef bint http1_query(const uint8_t* query, size_t len, const char* name, size_t name_len,
                      const uint8_t** value, size_t* value_len) noexcept nogil:
    cdef const uint8_t* p = query
    cdef const uint8_t* end = query + len
    cdef const uint8_t* stop
    cdef const uint8_t* equals
    while p < end:
        stop = span_to(p, end, 38)
        equals = span_to(p, stop, 61)
        if is_named(p, equals, name, name_len):
            value[0] = equals + 1 if equals < stop else stop
            value_len[0] = stop - value[0]
            return True
        p = stop + 1
    return False


# --- the same for Python; `value` and the like are any object with a buffer ---

def byte_range(value, int64_t size):
    """(first, last), or None to ignore the field, or -416."""
    cdef int64_t first = 0
    cdef int64_t last = 0
    cdef Py_buffer view
    PyObject_GetBuffer(value, &view, PyBUF_SIMPLE)
    cdef int answer = http1_range(<const uint8_t*> view.buf, view.len, size, &first, &last)
    PyBuffer_Release(&view)
    return (first, last) if answer == 1 else answer or None


def etag_match(wanted, bytes etag, bint weak):
    cdef Py_buffer view
    PyObject_GetBuffer(wanted, &view, PyBUF_SIMPLE)
    cdef bint answer = http1_etag_match(<const uint8_t*> view.buf, view.len, etag, len(etag), weak)
    PyBuffer_Release(&view)
    return answer


def parse_date(value, int64_t now):
    """Unix seconds, or -1."""
    cdef Py_buffer view
    PyObject_GetBuffer(value, &view, PyBUF_SIMPLE)
    cdef int64_t answer = http1_date_at(<const uint8_t*> view.buf, view.len, now)
    PyBuffer_Release(&view)
    return answer


def format_date(int64_t unix_seconds):
    cdef uint8_t[HTTP_DATE_SIZE] out
    return (<char*> out)[:http1_format_date(unix_seconds, out)]


def remove_query(query, bytes name):
    cdef Py_buffer view
    held = array("B", query)
    PyObject_GetBuffer(held, &view, PyBUF_SIMPLE)
    cdef size_t size = http1_remove_query(<uint8_t*> view.buf, view.len, name, len(name))
    PyBuffer_Release(&view)
    return held.tobytes()[:size]


def find_query(query, bytes name):
    """The raw value, or None."""
    cdef const uint8_t* value = NULL
    cdef size_t size = 0
    cdef Py_buffer view
    PyObject_GetBuffer(query, &view, PyBUF_SIMPLE)
    found = http1_query(<const uint8_t*> view.buf, view.len, name, len(name), &value, &size)
    answer = (<const char*> value)[:size] if found else None
    PyBuffer_Release(&view)
    return answer


cdef inline const uint8_t* line_end(const uint8_t* p, const uint8_t* end) noexcept nogil:
    """The next CRLF, or `end`."""
    while True:
        p = <const uint8_t*> memchr(p, 13, end - p)
        if p == NULL:
            return end
        if end - p > 1 and p[1] == 10:
            return p
        p += 1


def field_lines(bytes head, Py_ssize_t at):
    """(name in small letters, value) of each line of `head` from `at` on; None: one of them is no field (RFC 9110, 5.1 and 5.5)."""
    cdef const uint8_t* start = <const uint8_t*> <const char*> head
    cdef const uint8_t* end = start + len(head)
    cdef const uint8_t* p = start + at
    cdef const uint8_t* stop
    cdef const uint8_t* value
    cdef const uint8_t* colon
    cdef char* name
    cdef bytes word
    cdef Py_ssize_t i
    cdef list found = []
    if at < 0 or at > len(head):
        raise ValueError("the fields begin within the head")
    while True:
        stop = line_end(p, end)
        colon = nova_http_span(p, stop, HC_TOKEN)
        if colon == p or colon == stop or colon[0] != 58:
            return None
        value = colon + 1
        if nova_http_value(value, stop) != stop:
            return None
        word = PyBytes_FromStringAndSize(NULL, colon - p)
        name = word
        for i in range(colon - p):
            name[i] = <char> (p[i] | 0x20 if 65 <= p[i] <= 90 else p[i])
        p = stop
        while p > value and is_space((p - 1)[0]):
            p -= 1
        while value < p and is_space(value[0]):
            value += 1
        found.append((word, (<const char*> value)[:p - value]))
        if stop == end:
            return found
        p = stop + 2
