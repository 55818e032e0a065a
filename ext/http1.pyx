"""Strict, incremental HTTP/1.1 framing (RFC 9112): request heads and chunked bodies.

What two implementations could read in two ways is refused: that is where requests are smuggled. Feeding the same bytes in
any split gives the same result, and the first wrong byte decides the answer whatever follows it.
"""
from cpython.buffer cimport PyBUF_SIMPLE, Py_buffer, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int16_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memset

from nova.ext.http cimport (
    HC_IPV6, HC_NAME, HC_PATH, HC_QUERY, HC_TOKEN, HC_VALUE, is_digit, is_space, is_word, next_item, nova_hex, nova_http_blank_line,
    nova_http_is, nova_http_span, nova_http_value, nova_http_word,
)

cdef enum:
    CR = 13
    LF = 10
    SPACE = 32
    QUOTE = 34
    PERCENT = 37
    SLASH = 47
    COLON = 58
    SEMICOLON = 59
    QUESTION = 63
    BACKSLASH = 92

cdef enum:  # what is known about the body and the connection while the fields are read
    SEEN_HOST = 1
    SEEN_LENGTH = 2
    SEEN_CODING = 4
    CODING_CHUNKED = 8       # the last coding so far
    CODING_OTHER = 16
    CONNECTION_KEEP = 32
    CONNECTION_UPGRADE = 64
    UPGRADE_WEBSOCKET = 128

cdef enum:  # accepted content codings: named, refused, or covered by "*"
    ACCEPTS = HF_ACCEPT_GZIP | HF_ACCEPT_BR | HF_ACCEPT_ZSTD

cdef enum ChunkedState:
    SIZE_START
    SIZE
    SIZE_LF
    SIZE_SPACE
    EXT_NAME_START
    EXT_NAME
    EXT_NAME_SPACE
    EXT_VALUE_START
    EXT_VALUE
    EXT_QUOTED
    EXT_ESCAPED
    EXT_VALUE_END
    DATA
    DATA_CR
    DATA_LF
    TRAILER_START
    TRAILER_NAME
    TRAILER_VALUE
    TRAILER_LF
    LAST_LF
    DONE


# --- parts of the request line (RFC 9112 section 3) ---

cdef inline uint8_t method_of(const uint8_t* p, size_t len) noexcept nogil:
    if len == 3:
        return HTTP_GET if memcmp(p, b"GET", 3) == 0 else HTTP_PUT if memcmp(p, b"PUT", 3) == 0 else HTTP_OTHER
    if len == 4:
        return HTTP_HEAD if memcmp(p, b"HEAD", 4) == 0 else HTTP_POST if memcmp(p, b"POST", 4) == 0 else HTTP_OTHER
    if len == 5:
        return HTTP_PATCH if memcmp(p, b"PATCH", 5) == 0 else HTTP_OTHER
    if len == 6:
        return HTTP_DELETE if memcmp(p, b"DELETE", 6) == 0 else HTTP_OTHER
    if len == 7:
        return HTTP_OPTIONS if memcmp(p, b"OPTIONS", 7) == 0 else HTTP_CONNECT if memcmp(p, b"CONNECT", 7) == 0 else HTTP_OTHER
    return HTTP_OTHER


cdef inline const uint8_t* span_path(const uint8_t* p, const uint8_t* end) noexcept nogil:
    """The first byte that does not belong to the path; NULL: a percent sign without two hexadecimal digits."""
    while True:
        p = nova_http_span(p, end, HC_PATH)
        if p == end or p[0] != PERCENT:
            return p
        if (end - p > 1 and nova_hex(p[1]) < 0) or (end - p > 2 and nova_hex(p[2]) < 0):
            return NULL
        p = p + 3 if end - p > 2 else end


cdef bint valid_host(const uint8_t* p, size_t len, bint* has_port) noexcept nogil:
    """`uri-host [":" port]` (RFC 9110 section 7.2), the host not empty."""
    cdef const uint8_t* end = p + len
    cdef const uint8_t* start = p
    cdef int port = 0
    cdef int colons = 0
    has_port[0] = False
    if p < end and p[0] == 91:  # [IPv6]
        p += 1
        while p < end and nova_http_is(p[0], HC_IPV6):
            colons += p[0] == COLON
            p += 1
        if colons < 2 or p - start > 46 or p == end or p[0] != 93:
            return False
        p += 1
    else:
        while p < end and (nova_http_is(p[0], HC_NAME) or p[0] == PERCENT):
            if p[0] == PERCENT:
                if end - p < 3 or nova_hex(p[1]) < 0 or nova_hex(p[2]) < 0:
                    return False
                p += 2
            p += 1
        if p == start:
            return False
    if p == end:
        return True
    if p[0] != COLON:
        return False
    p += 1
    has_port[0] = p < end
    while p < end:
        if not is_digit(p[0]):
            return False
        port = port * 10 + (p[0] - 48)
        if port > 65535:
            return False
        p += 1
    return True


cdef int split_target(const uint8_t* data, Head* out) noexcept nogil:
    """Path, query and authority of a target that is not in origin form; 0 or a negative status."""
    cdef const uint8_t* target = data + out.target
    cdef const uint8_t* end = target + out.target_len
    cdef const uint8_t* p
    cdef const uint8_t* path
    cdef bint has_port
    out.path = out.target
    out.query = out.target + out.target_len
    out.query_len = 0
    if out.method == HTTP_CONNECT:  # authority-form, and no other method may have it
        out.path_len = 0
        out.host = out.target
        out.host_len = out.target_len
        return 0 if valid_host(target, out.target_len, &has_port) and has_port else -400
    if out.target_len == 1 and target[0] == 42:  # asterisk-form
        out.path_len = 1
        return 0 if out.method == HTTP_OPTIONS else -400
    if out.target_len >= 7 and nova_http_word(target, b"http", 4) and memcmp(target + 4, b"://", 3) == 0:
        p = target + 7
    elif out.target_len >= 8 and nova_http_word(target, b"https", 5) and memcmp(target + 5, b"://", 3) == 0:
        p = target + 8
    else:
        return -400
    out.flags |= HF_ABSOLUTE
    out.host = <uint32_t> (p - data)
    while p < end and p[0] != SLASH and p[0] != QUESTION:
        p += 1
    out.host_len = <uint32_t> (p - data) - out.host
    if not valid_host(data + out.host, out.host_len, &has_port):
        return -400
    path = p
    p = span_path(path, end)
    if p == NULL or (p < end and p[0] != QUESTION):
        return -400
    if p == path:  # no path means "/": the second slash of "://" is one
        out.path = out.host - 1
        out.path_len = 1
    else:
        out.path = <uint32_t> (path - data)
        out.path_len = <uint32_t> (p - path)
    if p < end:
        out.query = <uint32_t> (p + 1 - data)
        out.query_len = <uint32_t> (end - p - 1)
    return 0


cdef int read_version(const uint8_t* p, Py_ssize_t left, Head* out) noexcept nogil:
    """`HTTP/d.d` CRLF: 1, 0 when cut short, or a negative status."""
    cdef const char* form = b"HTTP/d.d\r\n"
    cdef Py_ssize_t i
    for i in range(10):
        if i == left:
            return 0
        if (not is_digit(p[i])) if form[i] == 100 else p[i] != <uint8_t> form[i]:
            return -400
    if p[5] != 49 or p[7] > 49:
        return -505
    out.minor = p[7] - 48
    return 1


# --- field values that decide framing and routing ---

cdef inline int read_length(const uint8_t* p, size_t len, int64_t* out) noexcept nogil:
    """Content-Length: digits only; a list, even of equal numbers, is refused (RFC 9112 section 6.3, rule 5)."""
    cdef int64_t value = 0
    cdef size_t i
    if len == 0 or len > 18:  # 18 digits always fit
        return -400
    for i in range(len):
        if not is_digit(p[i]):
            return -400
        value = value * 10 + (p[i] - 48)
    out[0] = value
    return 0


cdef int read_codings(const uint8_t* p, size_t len, uint32_t* seen) noexcept nogil:
    """Transfer-Encoding, one line of it; 0 or -400. Nothing may follow `chunked`, and no element may be empty."""
    cdef const uint8_t* end = p + len
    cdef const uint8_t* start
    seen[0] |= SEEN_CODING
    while True:
        while p < end and is_space(p[0]):
            p += 1
        start = p
        p = nova_http_span(p, end, HC_TOKEN)
        if p == start or seen[0] & CODING_CHUNKED:
            return -400
        seen[0] |= CODING_CHUNKED if is_word(start, p - start, b"chunked", 7) else CODING_OTHER
        while p < end and is_space(p[0]):
            p += 1
        if p == end:
            return 0
        if p[0] != 44:  # a parameter: none is defined, and `chunked` forbids them
            return -400
        p += 1


cdef void read_connection(const uint8_t* p, size_t len, uint32_t* flags, uint32_t* seen) noexcept nogil:
    cdef const uint8_t* end = p + len
    cdef const uint8_t* item
    cdef size_t size
    while next_item(&p, end, &item, &size):
        if is_word(item, size, b"close", 5):
            flags[0] |= HF_CONNECTION_CLOSE
        elif is_word(item, size, b"keep-alive", 10):
            seen[0] |= CONNECTION_KEEP
        elif is_word(item, size, b"upgrade", 7):
            seen[0] |= CONNECTION_UPGRADE


cdef bint lists_word(const uint8_t* p, size_t len, const char* word, size_t word_len) noexcept nogil:
    cdef const uint8_t* end = p + len
    cdef const uint8_t* item
    cdef size_t size
    while next_item(&p, end, &item, &size):
        if is_word(item, size, word, word_len):
            return True
    return False


cdef inline bint weighs_nothing(const uint8_t* p, const uint8_t* end) noexcept nogil:
    """Do the parameters after a coding say q=0 (RFC 9110 section 12.4.2)?"""
    while p < end:
        while p < end and (is_space(p[0]) or p[0] == SEMICOLON):
            p += 1
        if end - p >= 3 and (p[0] | 32) == 113 and p[1] == 61:
            p += 2
            while p < end and (p[0] == 48 or p[0] == 46):
                p += 1
            return p == end or not is_digit(p[0])
        while p < end and p[0] != SEMICOLON:
            p += 1
    return False


cdef void read_accept_encoding(const uint8_t* p, size_t len, uint32_t* accepts, uint32_t* refuses, bint* any) noexcept nogil:
    cdef const uint8_t* end = p + len
    cdef const uint8_t* item
    cdef const uint8_t* stop
    cdef const uint8_t* name_end
    cdef size_t size
    cdef uint32_t which
    while next_item(&p, end, &item, &size):
        stop = item
        while stop < item + size and stop[0] != SEMICOLON:
            stop += 1
        name_end = stop
        while name_end > item and is_space((name_end - 1)[0]):
            name_end -= 1
        which = 0
        if is_word(item, name_end - item, b"gzip", 4) or is_word(item, name_end - item, b"x-gzip", 6):
            which = HF_ACCEPT_GZIP
        elif is_word(item, name_end - item, b"br", 2):
            which = HF_ACCEPT_BR
        elif is_word(item, name_end - item, b"zstd", 4):
            which = HF_ACCEPT_ZSTD
        elif name_end - item == 1 and item[0] == 42:
            any[0] = not weighs_nothing(stop, item + size)
            continue
        if weighs_nothing(stop, item + size):
            refuses[0] |= which
        else:
            accepts[0] |= which


# --- the head ---

cdef inline void mark(int16_t* index, uint16_t at) noexcept nogil:
    if index[0] < 0:
        index[0] = <int16_t> at


cdef int http1_parse(const uint8_t* data, size_t size, size_t max_size, Head* out) noexcept nogil:
    cdef const uint8_t* p = data
    cdef const uint8_t* end = data + (size if size < max_size else max_size)
    cdef int short_target = -414 if size >= max_size else 0
    cdef int short_head = -431 if size >= max_size else 0
    cdef const uint8_t* start
    cdef const uint8_t* stop
    cdef const uint8_t* value
    cdef const uint8_t* value_end
    cdef Header* header
    cdef uint32_t seen = 0
    cdef uint32_t flags = 0
    cdef uint32_t accepts = 0
    cdef uint32_t refuses = 0
    cdef uint32_t host_at = 0
    cdef uint32_t host_len = 0
    cdef uint16_t count = 0
    cdef size_t name_len, value_len
    cdef bint any_coding = False
    cdef bint has_port
    cdef int status

    # Request line. Section 2.2: one empty line before it is tolerated.
    if p < end and p[0] == CR:
        if end - p > 1 and p[1] != LF:
            return -400
        p = p + 2 if end - p > 1 else end
    start = p
    stop = end if end - p <= HTTP_MAX_METHOD else p + HTTP_MAX_METHOD + 1
    p = nova_http_span(p, stop, HC_TOKEN)
    if p - start > HTTP_MAX_METHOD:
        return -501
    if p == end:
        return short_head
    if p == start or p[0] != SPACE:
        return -400
    out.method_at = <uint32_t> (start - data)
    out.method_len = <uint32_t> (p - start)
    out.method = method_of(start, p - start)

    p += 1
    start = p
    out.target = <uint32_t> (p - data)
    stop = end if end - p <= HTTP_MAX_TARGET else p + HTTP_MAX_TARGET + 1
    if p < stop and p[0] == SLASH and out.method != HTTP_CONNECT:  # origin-form
        out.path = out.target
        p = span_path(p, stop)
        if p == NULL:
            return -400
        out.path_len = <uint32_t> (p - start)
        out.query = <uint32_t> (p - data)
        out.query_len = 0
        if p < stop and p[0] == QUESTION:
            value = p + 1
            out.query = <uint32_t> (value - data)
            p = nova_http_span(value, stop, HC_QUERY)
            out.query_len = <uint32_t> (p - value)
    else:
        p = nova_http_span(p, stop, HC_QUERY)
    if p - start > HTTP_MAX_TARGET:
        return -414
    if p == end:
        return short_target
    if p == start or p[0] != SPACE:
        return -400
    out.target_len = <uint32_t> (p - start)
    p += 1
    if end - p >= 10 and memcmp(p, b"HTTP/1.1\r\n", 10) == 0:
        out.minor = 1
    else:
        status = read_version(p, end - p, out)
        if status <= 0:
            return status if status else short_head
    p += 10
    out.flags = 0
    out.host_len = 0
    if data[out.target] != SLASH or out.method == HTTP_CONNECT:
        status = split_target(data, out)
        if status:
            return status
    flags = out.flags

    # Field lines (section 5).
    memset(&out.range_i, 0xff, 18 * sizeof(int16_t))
    out.content_length = -1
    while True:
        if p == end:
            return short_head
        if p[0] == CR:
            if end - p < 2:
                return short_head
            if p[1] != LF:
                return -400
            p += 2
            break
        start = p
        p = nova_http_span(p, end, HC_TOKEN)
        if p == end:
            return short_head
        if p == start or p[0] != COLON:  # also obs-fold, and white space before the colon
            return -400
        name_len = p - start
        p += 1
        while p < end and is_space(p[0]):
            p += 1
        value = p
        p = nova_http_value(p, end)
        if end - p < 2:
            return -400 if p < end and p[0] != CR else short_head
        if p[0] != CR or p[1] != LF:
            return -400
        value_end = p
        while value_end > value and is_space((value_end - 1)[0]):
            value_end -= 1
        value_len = value_end - value
        p += 2
        if count == HTTP_MAX_HEADERS:
            return -431
        header = &out.headers[count]
        header.name = <uint32_t> (start - data)
        header.name_len = <uint32_t> name_len
        header.value = <uint32_t> (value - data)
        header.value_len = <uint32_t> value_len

        if name_len == 4:
            if nova_http_word(start, b"host", 4):
                if seen & SEEN_HOST:
                    return -400
                seen |= SEEN_HOST
                host_at = header.value
                host_len = header.value_len
                if not valid_host(value, value_len, &has_port) and (value_len or out.minor):
                    return -400
        elif name_len == 5:
            if nova_http_word(start, b"range", 5):
                flags |= HF_HAS_RANGE
                mark(&out.range_i, count)
        elif name_len == 6:
            if nova_http_word(start, b"cookie", 6):
                flags |= HF_HAS_AUTH
                mark(&out.cookie_i, count)
            elif nova_http_word(start, b"origin", 6):
                mark(&out.origin_i, count)
            elif nova_http_word(start, b"expect", 6):
                # RFC 9110 section 10.1.1: an HTTP/1.0 client's expectation is ignored.
                if out.minor:
                    if not is_word(value, value_len, b"100-continue", 12):
                        return -417
                    flags |= HF_EXPECT_CONTINUE
        elif name_len == 7:
            if nova_http_word(start, b"upgrade", 7):
                mark(&out.upgrade_i, count)
                if lists_word(value, value_len, b"websocket", 9):
                    seen |= UPGRADE_WEBSOCKET
        elif name_len == 8:
            if nova_http_word(start, b"if-range", 8):
                flags |= HF_HAS_CONDITION
                mark(&out.if_range_i, count)
            elif nova_http_word(start, b"if-match", 8):
                flags |= HF_HAS_CONDITION
                mark(&out.if_match_i, count)
        elif name_len == 9:
            if nova_http_word(start, b"forwarded", 9):
                mark(&out.forwarded_i, count)
        elif name_len == 10:
            if nova_http_word(start, b"user-agent", 10):
                mark(&out.user_agent_i, count)
            elif nova_http_word(start, b"connection", 10):
                read_connection(value, value_len, &flags, &seen)
        elif name_len == 13:
            if nova_http_word(start, b"if-none-match", 13):
                flags |= HF_HAS_CONDITION
                mark(&out.if_none_match_i, count)
            elif nova_http_word(start, b"authorization", 13):
                if out.authorization_i >= 0:  # two credentials: which one counts would be a guess
                    return -400
                flags |= HF_HAS_AUTH
                mark(&out.authorization_i, count)
        elif name_len == 14:
            if nova_http_word(start, b"content-length", 14):
                if seen & SEEN_LENGTH:
                    return -400
                seen |= SEEN_LENGTH
                if read_length(value, value_len, &out.content_length):
                    return -400
        elif name_len == 15:
            if nova_http_word(start, b"accept-encoding", 15):
                mark(&out.accept_encoding_i, count)
                read_accept_encoding(value, value_len, &accepts, &refuses, &any_coding)
            elif nova_http_word(start, b"x-forwarded-for", 15):
                mark(&out.xff_i, count)
        elif name_len == 17:
            if nova_http_word(start, b"transfer-encoding", 17):
                if read_codings(value, value_len, &seen):
                    return -400
            elif nova_http_word(start, b"if-modified-since", 17):
                flags |= HF_HAS_CONDITION
                mark(&out.if_modified_since_i, count)
            elif nova_http_word(start, b"sec-websocket-key", 17):
                mark(&out.ws_key_i, count)
        elif name_len == 19:
            if nova_http_word(start, b"if-unmodified-since", 19):
                flags |= HF_HAS_CONDITION
                mark(&out.if_unmodified_since_i, count)
        elif name_len == 21:
            if nova_http_word(start, b"sec-websocket-version", 21):
                mark(&out.ws_version_i, count)
        elif name_len == 22:
            if nova_http_word(start, b"sec-websocket-protocol", 22):
                mark(&out.ws_protocol_i, count)
        elif name_len == 24:
            if nova_http_word(start, b"sec-websocket-extensions", 24):
                mark(&out.ws_extensions_i, count)
        count += 1

    # The head is complete: what it means as a whole.
    out.size = <uint32_t> (p - data)
    out.count = count
    if not seen & SEEN_HOST and out.minor:
        return -400
    if out.host_len == 0:  # the authority of an absolute target wins over Host (section 3.2.2)
        out.host = host_at
        out.host_len = host_len
    if seen & SEEN_CODING:
        if seen & SEEN_LENGTH or out.minor == 0 or not seen & CODING_CHUNKED:
            return -400
        if seen & CODING_OTHER:
            return -501
        flags |= HF_CHUNKED
    if flags & HF_EXPECT_CONTINUE and not flags & HF_CHUNKED and out.content_length <= 0:
        flags &= ~<uint32_t> HF_EXPECT_CONTINUE
    if not flags & HF_CONNECTION_CLOSE and (out.minor or seen & CONNECTION_KEEP):
        flags |= HF_KEEP_ALIVE
    if out.upgrade_i >= 0 and seen & CONNECTION_UPGRADE and out.minor:
        flags |= HF_UPGRADE_WEBSOCKET if seen & UPGRADE_WEBSOCKET and out.method == HTTP_GET else HF_UPGRADE_OTHER
    if any_coding:
        accepts |= ACCEPTS
    out.flags = flags | (accepts & ~refuses)
    return 1


cdef Py_ssize_t http1_head_end(const uint8_t* data, size_t size, size_t seen) noexcept nogil:
    cdef const uint8_t* p = data
    cdef const uint8_t* end = data + size
    cdef const uint8_t* found
    if size > 1 and p[0] == CR:
        if p[1] != LF:
            return -400
        p += 2
    if p < end and not nova_http_is(p[0], HC_TOKEN) and not (p == data and p[0] == CR):
        return -400  # TLS, an RTMP handshake, garbage: no method begins so
    if seen > 3 and data + seen - 3 > p:
        p = data + seen - 3
    found = nova_http_blank_line(p, end)
    return found + 4 - data if found else 0


# --- chunked bodies (section 7.1) ---

cdef int failed(Chunked* state, const uint8_t* at, const uint8_t* data, size_t* used, int status) noexcept nogil:
    state.error = <int16_t> status
    used[0] = at - data
    return status


cdef int chunked_feed(Chunked* state, const uint8_t* data, size_t size, size_t* used,
                      const uint8_t** body, size_t* body_len) noexcept nogil:
    cdef const uint8_t* p = data
    cdef const uint8_t* end = data + size
    cdef uint8_t byte
    cdef int digit
    body[0] = data
    body_len[0] = 0
    used[0] = 0
    if state.error:
        return state.error
    while p < end:
        if state.state == DATA:
            body[0] = p
            body_len[0] = <size_t> (end - p) if <uint64_t> (end - p) < state.left else <size_t> state.left
            state.left -= body_len[0]
            if state.left == 0:
                state.state = DATA_CR
            used[0] = p + body_len[0] - data
            return 0
        if state.state == DONE:
            break
        byte = p[0]
        if SIZE_SPACE <= state.state <= EXT_VALUE_END:
            state.extensions += 1
            if state.extensions > CHUNKED_MAX_EXTENSIONS:
                return failed(state, p, data, used, -400)
        elif TRAILER_START <= state.state <= TRAILER_LF:
            state.trailers += 1
            if state.trailers > CHUNKED_MAX_TRAILERS:
                return failed(state, p, data, used, -431)

        if state.state == SIZE_START or state.state == SIZE:
            digit = nova_hex(byte)
            if digit >= 0:
                if state.digits == 15:  # 60 bits: the sum with any position stays far from overflow
                    return failed(state, p, data, used, -400)
                state.left = state.left * 16 + <uint64_t> digit
                state.digits += 1
                state.state = SIZE
            elif state.state == SIZE and byte == CR:
                state.state = SIZE_LF
            elif state.state == SIZE and byte == SEMICOLON:
                state.state = EXT_NAME_START
            elif state.state == SIZE and is_space(byte):
                state.state = SIZE_SPACE
            else:
                return failed(state, p, data, used, -400)
        elif state.state == SIZE_LF:
            if byte != LF:
                return failed(state, p, data, used, -400)
            state.state = DATA if state.left else TRAILER_START
            state.digits = 0
        elif state.state == SIZE_SPACE:  # bad white space: only before an extension
            if byte == SEMICOLON:
                state.state = EXT_NAME_START
            elif not is_space(byte):
                return failed(state, p, data, used, -400)
        elif state.state == EXT_NAME_START:
            if nova_http_is(byte, HC_TOKEN):
                state.state = EXT_NAME
            elif not is_space(byte):
                return failed(state, p, data, used, -400)
        elif state.state == EXT_NAME or state.state == EXT_NAME_SPACE:
            if byte == 61:
                state.state = EXT_VALUE_START
            elif byte == SEMICOLON:
                state.state = EXT_NAME_START
            elif is_space(byte):
                state.state = EXT_NAME_SPACE
            elif byte == CR and state.state == EXT_NAME:
                state.state = SIZE_LF
            elif state.state == EXT_NAME_SPACE or not nova_http_is(byte, HC_TOKEN):
                return failed(state, p, data, used, -400)
        elif state.state == EXT_VALUE_START:
            if byte == QUOTE:
                state.state = EXT_QUOTED
            elif nova_http_is(byte, HC_TOKEN):
                state.state = EXT_VALUE
            elif not is_space(byte):
                return failed(state, p, data, used, -400)
        elif state.state == EXT_VALUE or state.state == EXT_VALUE_END:
            if byte == SEMICOLON:
                state.state = EXT_NAME_START
            elif byte == CR:
                state.state = SIZE_LF
            elif is_space(byte):
                state.state = SIZE_SPACE
            elif state.state == EXT_VALUE_END or not nova_http_is(byte, HC_TOKEN):
                return failed(state, p, data, used, -400)
        elif state.state == EXT_QUOTED or state.state == EXT_ESCAPED:
            if not nova_http_is(byte, HC_VALUE):
                return failed(state, p, data, used, -400)
            if state.state == EXT_ESCAPED:
                state.state = EXT_QUOTED
            elif byte == QUOTE:
                state.state = EXT_VALUE_END
            elif byte == BACKSLASH:
                state.state = EXT_ESCAPED
        elif state.state == DATA_CR:
            if byte != CR:
                return failed(state, p, data, used, -400)
            state.state = DATA_LF
        elif state.state == DATA_LF:
            if byte != LF:
                return failed(state, p, data, used, -400)
            state.state = SIZE_START
        elif state.state == TRAILER_START:
            if byte == CR:
                state.state = LAST_LF
            elif nova_http_is(byte, HC_TOKEN):
                state.state = TRAILER_NAME
            else:
                return failed(state, p, data, used, -400)
        elif state.state == TRAILER_NAME:
            if byte == COLON:
                state.state = TRAILER_VALUE
            elif not nova_http_is(byte, HC_TOKEN):
                return failed(state, p, data, used, -400)
        elif state.state == TRAILER_VALUE:
            if byte == CR:
                state.state = TRAILER_LF
            elif not nova_http_is(byte, HC_VALUE):
                return failed(state, p, data, used, -400)
        elif state.state == TRAILER_LF:
            if byte != LF:
                return failed(state, p, data, used, -400)
            state.state = TRAILER_START
        else:  # LAST_LF
            if byte != LF:
                return failed(state, p, data, used, -400)
            state.state = DONE
        p += 1
    used[0] = p - data
    return 1 if state.state == DONE else 0


# --- the same for Python ---

METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "OTHER", "CONNECT")


def parse_head(data, size_t max_size=16384):
    """A dict of what the head says; 0: more bytes needed; else -(status). `data`: any object with a buffer."""
    cdef Head head
    cdef Py_buffer view
    cdef int i
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    cdef int answer = http1_parse(<const uint8_t*> view.buf, view.len, max_size, &head)
    PyBuffer_Release(&view)
    if answer != 1:
        return answer
    data = bytes(data)
    indexes = {
        "range": head.range_i, "if-range": head.if_range_i, "if-none-match": head.if_none_match_i,
        "if-modified-since": head.if_modified_since_i, "if-match": head.if_match_i, "if-unmodified-since": head.if_unmodified_since_i,
        "authorization": head.authorization_i, "cookie": head.cookie_i, "origin": head.origin_i, "user-agent": head.user_agent_i,
        "upgrade": head.upgrade_i, "sec-websocket-key": head.ws_key_i, "sec-websocket-version": head.ws_version_i,
        "sec-websocket-protocol": head.ws_protocol_i, "sec-websocket-extensions": head.ws_extensions_i,
        "forwarded": head.forwarded_i, "x-forwarded-for": head.xff_i, "accept-encoding": head.accept_encoding_i,
    }
    names = (("chunked", HF_CHUNKED), ("keep-alive", HF_KEEP_ALIVE), ("close", HF_CONNECTION_CLOSE), ("expect", HF_EXPECT_CONTINUE),
             ("websocket", HF_UPGRADE_WEBSOCKET), ("upgrade", HF_UPGRADE_OTHER), ("range", HF_HAS_RANGE),
             ("condition", HF_HAS_CONDITION), ("auth", HF_HAS_AUTH), ("gzip", HF_ACCEPT_GZIP), ("br", HF_ACCEPT_BR),
             ("zstd", HF_ACCEPT_ZSTD), ("absolute", HF_ABSOLUTE))
    return {
        "size": head.size,
        "method": METHODS[head.method],
        "method_text": data[head.method_at:head.method_at + head.method_len],
        "minor": head.minor,
        "target": data[head.target:head.target + head.target_len],
        "path": data[head.path:head.path + head.path_len],
        "query": data[head.query:head.query + head.query_len],
        "host": data[head.host:head.host + head.host_len],
        "content_length": head.content_length,
        "flags": {name for name, bit in names if head.flags & bit},
        "headers": [
            (data[head.headers[i].name:head.headers[i].name + head.headers[i].name_len],
             data[head.headers[i].value:head.headers[i].value + head.headers[i].value_len])
            for i in range(head.count)
        ],
        "indexes": {name: index for name, index in indexes.items() if index >= 0},
    }


def head_end(data, size_t seen=0):
    cdef Py_buffer view
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    answer = http1_head_end(<const uint8_t*> view.buf, view.len, seen)
    PyBuffer_Release(&view)
    return answer


cdef class ChunkedBody:
    """Decodes one body; `feed` may be called with any split of it."""
    cdef Chunked state

    def __cinit__(self):
        memset(&self.state, 0, sizeof(Chunked))

    def feed(self, data):
        """(answer, payload, bytes used): answer 1 at the end, 0 for more, else -(status)."""
        cdef Py_buffer view
        cdef const uint8_t* body
        cdef size_t used = 0
        cdef size_t step, body_len
        cdef int answer
        payload = bytearray()
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            while True:
                answer = chunked_feed(&self.state, <const uint8_t*> view.buf + used, view.len - used, &step, &body, &body_len)
                used += step
                payload += (<const char*> body)[:body_len]
                if answer or used == <size_t> view.len:
                    return answer, bytes(payload), used
        finally:
            PyBuffer_Release(&view)
