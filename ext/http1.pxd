"""HTTP/1.1 as bytes (RFC 9112): request heads and chunked bodies. Header values are in `httpfields`, re-exported here.

Every function is pure, holds no memory and needs no GIL. Offsets are relative to the first byte that was handed in.
"""
from libc.stdint cimport int16_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from nova.ext.httpfields cimport (
    HTTP_DATE_SIZE, http1_date, http1_date_at, http1_etag_match, http1_format_date, http1_query, http1_range, http1_remove_query,
)

cdef enum:
    HTTP_MAX_HEADERS = 100       # field lines of one head; a browser sends about 15
    HTTP_MAX_TARGET = 8192       # bytes; RFC 9112 section 3 asks for at least 8000
    HTTP_MAX_METHOD = 32         # bytes; no registered method is longer than 17
    CHUNKED_MAX_EXTENSIONS = 16384   # bytes of chunk extensions in one body
    CHUNKED_MAX_TRAILERS = 8192      # bytes of the trailer section

cdef enum HttpMethod:
    HTTP_GET
    HTTP_HEAD
    HTTP_POST
    HTTP_PUT
    HTTP_DELETE
    HTTP_PATCH
    HTTP_OPTIONS
    HTTP_OTHER
    HTTP_CONNECT

cdef enum HeadFlag:
    HF_CHUNKED = 1
    HF_KEEP_ALIVE = 2            # the connection may carry another request (RFC 9112 section 9.3)
    HF_CONNECTION_CLOSE = 4      # the client said `close`
    HF_EXPECT_CONTINUE = 8       # only HTTP/1.1, and only with a body to come
    HF_UPGRADE_WEBSOCKET = 16    # GET, HTTP/1.1, Connection: upgrade, and websocket among the protocols
    HF_UPGRADE_OTHER = 32        # Connection: upgrade to anything else, such as h2c
    HF_HAS_RANGE = 64
    HF_HAS_CONDITION = 128       # any of the five If- fields
    HF_HAS_AUTH = 256            # Authorization or Cookie
    HF_ACCEPT_GZIP = 512         # q=0 respected, `*` counted
    HF_ACCEPT_BR = 1024
    HF_ACCEPT_ZSTD = 2048
    HF_ABSOLUTE = 4096           # the target came in absolute form

ctypedef struct Header:
    uint32_t name
    uint32_t name_len
    uint32_t value               # without the white space around it
    uint32_t value_len

ctypedef struct Head:
    uint32_t size                # bytes of the head: a tolerated leading CRLF and the closing CRLFCRLF included
    uint8_t method               # HttpMethod
    uint8_t minor                # HTTP/1.minor
    uint16_t count               # headers
    uint32_t flags               # HeadFlag
    uint32_t method_at           # 0, or 2 after a tolerated leading CRLF
    uint32_t method_len
    uint32_t target              # as sent
    uint32_t target_len
    uint32_t path                # "/" when an absolute form has none; empty for CONNECT; "*" only for OPTIONS
    uint32_t path_len
    uint32_t query               # without the "?"
    uint32_t query_len
    uint32_t host                # authority of the absolute form, else Host; checked: name or address, optional port
    uint32_t host_len            # 0 only in HTTP/1.0
    int64_t content_length       # -1: none
    # Index in `headers` of the first line of that name, -1: none.
    int16_t range_i
    int16_t if_range_i
    int16_t if_none_match_i
    int16_t if_modified_since_i
    int16_t if_match_i
    int16_t if_unmodified_since_i
    int16_t authorization_i
    int16_t cookie_i
    int16_t origin_i
    int16_t user_agent_i
    int16_t upgrade_i
    int16_t ws_key_i
    int16_t ws_version_i
    int16_t ws_protocol_i
    int16_t ws_extensions_i
    int16_t forwarded_i
    int16_t xff_i
    int16_t accept_encoding_i
    Header headers[HTTP_MAX_HEADERS]

ctypedef struct Chunked:         # all zero: before the first chunk
    uint64_t left                # bytes of the current chunk still to come
    uint32_t extensions          # bytes so far
    uint32_t trailers            # bytes so far
    int16_t error                # what every later call answers, 0: none
    uint8_t state
    uint8_t digits

# 1: complete · 0: more bytes needed · else -(status): 400, 414, 417, 431, 501, 505; the connection can not go on.
# A longer input never changes an error. Call it on the first read; when it answers 0, ask `http1_head_end` before calling again.
cdef int http1_parse(const uint8_t* data, size_t size, size_t max_size, Head* out) noexcept nogil
# Bytes of the head, 0: not complete yet, -400: can never be one. `seen`: bytes that an earlier call has looked at.
cdef Py_ssize_t http1_head_end(const uint8_t* data, size_t size, size_t seen) noexcept nogil
# One step: takes `used` bytes, of which `body_len` from `body` are payload. 1: the body is over; 0: call again with what is left
# (none left: read more); else -(status). Trailers are checked and dropped.
cdef int chunked_feed(Chunked* state, const uint8_t* data, size_t size, size_t* used,
                      const uint8_t** body, size_t* body_len) noexcept nogil
