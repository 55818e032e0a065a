"""Answers that need no Python: an object with its conditions and ranges (RFC 9110, sections 13 and 14), and the reactor's own errors."""
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdio cimport snprintf
from libc.string cimport memcmp, memset

from nova.ext.http1 cimport (
    HF_ACCEPT_GZIP, HF_HAS_CONDITION, HF_HAS_RANGE, HTTP_HEAD, Header, http1_date, http1_etag_match, http1_range,
)
from nova.ext.conn cimport conn_id
from nova.ext.objects cimport Variant
from nova.ext.ring cimport ring_put
from nova.ext.transport cimport tx_copy, tx_rope
from nova.ext.wire cimport EV_REFUSED

cdef extern from "sys/random.h" nogil:
    ssize_t getrandom(void* data, size_t size, unsigned int flags)
    enum: GRND_NONBLOCK

cdef enum:
    REFUSALS = 32               # errors a second and thread that trio hears of; a flood is no reason to wake it


cdef const char* phrase_of(int status) noexcept nogil:
    """The reason phrase of RFC 9110."""
    if status == 400: return b"Bad Request"
    if status == 403: return b"Forbidden"
    if status == 408: return b"Request Timeout"
    if status == 412: return b"Precondition Failed"
    if status == 414: return b"URI Too Long"
    if status == 417: return b"Expectation Failed"
    if status == 426: return b"Upgrade Required"
    if status == 431: return b"Request Header Fields Too Large"
    if status == 501: return b"Not Implemented"
    if status == 503: return b"Service Unavailable"
    if status == 505: return b"HTTP Version Not Supported"
    return b"Error"


cdef const char* title_of(int status) noexcept nogil:
    """As core.errors has it for the code; a test compares them."""
    if status == 403: return b"Requests from this origin are not allowed"
    if status == 408: return b"The request did not arrive in time"
    if status == 412: return b"A precondition does not hold"
    if status == 414: return b"The request target is too long"
    if status == 417: return b"The expectation is not known"
    if status == 426: return b"This protocol is spoken in another version here"
    if status == 431: return b"The request head is too large"
    if status == 501: return b"The transfer coding is not known"
    if status == 503: return b"The service is not available now"
    if status == 505: return b"This version of HTTP is not spoken here"
    return b"The request is malformed"


cdef const char* code_of(int status) noexcept nogil:
    if status == 403: return b"bad_origin"
    if status == 408: return b"request_timeout"
    if status == 412: return b"precondition_failed"
    if status == 414: return b"target_too_long"
    if status == 417: return b"expectation_failed"
    if status == 426: return b"upgrade_required"
    if status == 431: return b"head_too_large"
    if status == 501: return b"unknown_coding"
    if status == 503: return b"unavailable"
    if status == 505: return b"unknown_version"
    return b"bad_request"


cdef const char* detail_of(int status) noexcept nogil:
    if status == 403: return b"with a browser session this needs an Origin of ours; http.cors_origins names others"
    if status == 408: return b"the request head did not arrive in time"
    if status == 414: return b"the request target is too long"
    if status == 417: return b"the expectation is not known"
    if status == 426: return b"WebSockets are spoken here in version 13 only"
    if status == 431: return b"the request head is too large"
    if status == 501: return b"the transfer coding is not known"
    if status == 503: return b"what the request waits for did not come in time: ask again"
    if status == 505: return b"only HTTP/1.0 and HTTP/1.1 are spoken here"
    return b"the request is malformed, or asks for something that can not be"


cdef void correlation_id(Thread* t, char* out) noexcept nogil:
    """A UUIDv7 (RFC 9562, 5.7) of 36 characters and NUL: the request may have had none that can be read."""
    cdef uint8_t b[16]
    cdef uint64_t ms = <uint64_t> t.now_unix * 1000
    cdef int i
    if getrandom(b, sizeof(b), GRND_NONBLOCK) != sizeof(b):
        memset(b, 0, sizeof(b))
    for i in range(6):
        b[i] = <uint8_t> (ms >> (40 - 8 * i))
    b[6] = b[6] & 0x0F | 0x70
    b[8] = b[8] & 0x3F | 0x80
    snprintf(out, 37, b"%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1], b[2], b[3], b[4], b[5],
             b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15])


cdef void end_of_head(Thread* t, Conn* c, bint keep, int minor) noexcept nogil:
    tx_copy(t, c, t.date, t.date_size)
    if not keep:
        tx_copy(t, c, b"Connection: close\r\n\r\n", 21)
    elif minor == 0:
        tx_copy(t, c, b"Connection: keep-alive\r\n\r\n", 26)
    else:
        tx_copy(t, c, b"\r\n", 2)


cdef void tell(Thread* t, Conn* c, int status, const char* correlation) noexcept nogil:
    """An error was answered without Python: its correlation id belongs into the log. Not owed: without room it is left out."""
    if t.now_ms - t.refusals_at >= 1000 or t.now_ms < t.refusals_at:
        t.refusals_at = t.now_ms
        t.refusals = 0
    if t.refusals < REFUSALS:
        t.refusals += 1
        ring_put(&t.events, EV_REFUSED, 0, conn_id(t, c), 0, <uint32_t> status, c.peer, 16, correlation, 36)


cdef void answer_error(Thread* t, Conn* c, int status, bint head_only, bint close) noexcept nogil:
    """A problem document (RFC 9457) without Python."""
    cdef char body[512]
    cdef char head[512]
    cdef int body_size, head_size
    cdef char correlation[37]
    correlation_id(t, correlation)
    body_size = snprintf(
        body, sizeof(body),
        b'{"type":"urn:nova:problem:%s","title":"%s","status":%d,"detail":"%s","code":"%s","correlation_id":"%s"}',
        code_of(status), title_of(status), status, detail_of(status), code_of(status), correlation)
    head_size = snprintf(
        head, sizeof(head),
        b"HTTP/1.1 %d %s\r\nContent-Type: application/problem+json\r\nCache-Control: no-store\r\n"
        b"Access-Control-Allow-Origin: *\r\nX-Correlation-ID: %s\r\n%sContent-Length: %d\r\n",
        status, phrase_of(status), correlation, b"Retry-After: 1\r\n" if status == 503 else b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" if status == 426 else b"", body_size)
    tx_copy(t, c, head, <size_t> head_size)
    end_of_head(t, c, not close, 1)
    if not head_only:
        tx_copy(t, c, body, <size_t> body_size)
    tell(t, c, status, correlation)


cdef inline const uint8_t* field(const uint8_t* data, Head* head, int i, size_t* size) noexcept nogil:
    size[0] = head.headers[i].value_len
    return data + head.headers[i].value


cdef int precondition(const uint8_t* data, Head* head, Body* body, Variant* variant) noexcept nogil:
    """200, 304 or 412, in the order of RFC 9110, 13.2.2."""
    cdef size_t size
    cdef const uint8_t* value
    cdef int64_t date
    if head.if_match_i >= 0:
        value = field(data, head, head.if_match_i, &size)
        if not http1_etag_match(value, size, variant.etag, variant.etag_size, False):
            return 412
    elif head.if_unmodified_since_i >= 0 and body.modified >= 0:
        value = field(data, head, head.if_unmodified_since_i, &size)
        date = http1_date(value, size)
        if date >= 0 and body.modified > date:
            return 412
    if head.if_none_match_i >= 0:
        value = field(data, head, head.if_none_match_i, &size)
        if variant.etag_size and http1_etag_match(value, size, variant.etag, variant.etag_size, True):
            return 304
    elif head.if_modified_since_i >= 0 and body.modified >= 0:
        value = field(data, head, head.if_modified_since_i, &size)
        date = http1_date(value, size)
        if date >= 0 and body.modified <= date:
            return 304
    return 200


cdef bint range_applies(const uint8_t* data, Head* head, Body* body, Variant* variant) noexcept nogil:
    """If-Range (RFC 9110, 13.1.5): a strong comparison, else the whole."""
    cdef size_t size
    cdef const uint8_t* value
    if head.if_range_i < 0:
        return True
    value = field(data, head, head.if_range_i, &size)
    if size > 1 and (value[0] == c'"' or (value[0] == c'W' and value[1] == c'/')):  # `Wed, …` is a date
        return variant.etag_size == size and value[0] == c'"' and memcmp(value, variant.etag, size) == 0
    return body.modified >= 0 and http1_date(value, size) == body.modified


cdef void answer_body(Thread* t, Conn* c, const uint8_t* data, Head* head, Body* body, bint keep) noexcept nogil:
    """200, 206, 304, 412 or 416 for one object."""
    cdef Variant* variant = &body.plain
    cdef int status = 200
    cdef char line[256]
    cdef int n
    cdef size_t size
    cdef const uint8_t* value
    cdef int64_t first = 0, last = 0
    cdef int r
    if body.gzip.head != NULL and head.flags & HF_ACCEPT_GZIP and not head.flags & HF_HAS_RANGE:
        variant = &body.gzip
    if head.flags & HF_HAS_CONDITION:
        status = precondition(data, head, body, variant)
    if status == 200 and head.flags & HF_HAS_RANGE and head.method != HTTP_HEAD and range_applies(data, head, body, variant):
        value = field(data, head, head.range_i, &size)
        r = http1_range(value, size, <int64_t> variant.total, &first, &last)
        if r == 1:
            status = 206
        elif r < 0:
            status = 416
    if status == 200:
        tx_copy(t, c, variant.head.data, variant.head.size)
        end_of_head(t, c, keep, head.minor)
        if head.method != HTTP_HEAD:
            tx_rope(t, c, variant.slices, variant.count, 0, variant.total)
        return
    if status == 412:
        answer_error(t, c, 412, head.method == HTTP_HEAD, not keep)
        return
    if status == 206:
        n = snprintf(line, sizeof(line), b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes %lld-%lld/%lld\r\nContent-Length: %lld\r\n",
                     <long long> first, <long long> last, <long long> variant.total, <long long> (last - first + 1))
    elif status == 304:
        n = snprintf(line, sizeof(line), b"HTTP/1.1 304 Not Modified\r\n")
    else:
        n = snprintf(line, sizeof(line), b"HTTP/1.1 416 Range Not Satisfiable\r\nContent-Range: bytes */%lld\r\nContent-Length: 0\r\n",
                     <long long> variant.total)
    tx_copy(t, c, line, <size_t> n)
    tx_copy(t, c, body.headers.data, body.headers.size)
    if variant.etag_size:
        tx_copy(t, c, b"ETag: ", 6)
        tx_copy(t, c, variant.etag, variant.etag_size)
        tx_copy(t, c, b"\r\nAccept-Ranges: bytes\r\n", 24)
    end_of_head(t, c, keep, head.minor)
    if status == 206:
        tx_rope(t, c, variant.slices, variant.count, <size_t> first, <size_t> (last - first + 1))
