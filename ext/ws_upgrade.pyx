# nova: libraries=crypto
"""The WebSocket upgrade as pure functions: which subprotocol, which extension, and the answer (RFC 6455 section 4.2).

`http1` has already found that the request is an HTTP/1.1 GET with `Connection: upgrade` and `Upgrade: websocket`. Who asks, and
from which origin, is not looked at here.
"""
from cpython.buffer cimport PyBUF_SIMPLE, Py_buffer, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int16_t, uint32_t
from libc.string cimport memcmp, memcpy, memset, strlen

from nova.ext.bytevec cimport vec_append, vec_free
from nova.ext.http cimport HC_TOKEN, is_digit, is_space, is_word, next_item, nova_http_span
from nova.ext.http1 cimport HF_CHUNKED, HF_UPGRADE_WEBSOCKET, Header, http1_parse

cdef extern from "nova_sha1.h" nogil:
    void nova_sha1(const void* first, size_t first_size, const void* second, size_t second_size, uint8_t* out)

cdef enum:
    KEY_SIZE = 24               # base64 of sixteen bytes
    VALUE_MAX = 16              # of an extension's parameter; the longest that means anything has two digits
    SEMICOLON = 59
    COMMA = 44
    EQUALS = 61
    QUOTE = 34
    BACKSLASH = 92

cdef enum:                      # parameters of one offer that were seen (RFC 7692, section 7.1)
    SERVER_CONTEXT = 1
    CLIENT_CONTEXT = 2
    SERVER_BITS = 4
    CLIENT_BITS = 8
    UNACCEPTABLE = 16

cdef const uint8_t* GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
cdef const uint8_t* BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


# -- the key (section 4.2.1, 5 and 4.2.2, 5.4) ------------------------------------------------------------------------

cdef inline bint is_base64(uint8_t byte) noexcept nogil:
    return (65 <= (byte & 0xDF) <= 90) or is_digit(byte) or byte == 43 or byte == 47


cdef bint valid_key(const uint8_t* key, size_t size) noexcept nogil:
    cdef size_t i
    if size != KEY_SIZE or key[22] != EQUALS or key[23] != EQUALS:
        return False
    for i in range(22):
        if not is_base64(key[i]):
            return False
    return True


cdef void ws_accept(const uint8_t* key, size_t size, uint8_t* out) noexcept nogil:
    cdef uint8_t[21] digest
    cdef uint32_t three
    cdef int i
    nova_sha1(key, size, GUID, 36, digest)
    digest[20] = 0
    for i in range(7):
        three = <uint32_t> digest[3 * i] << 16 | <uint32_t> digest[3 * i + 1] << 8 | digest[3 * i + 2]
        out[4 * i] = BASE64[three >> 18]
        out[4 * i + 1] = BASE64[three >> 12 & 63]
        out[4 * i + 2] = BASE64[three >> 6 & 63]
        out[4 * i + 3] = BASE64[three & 63]
    out[WS_ACCEPT_SIZE - 1] = EQUALS


# -- the subprotocol --------------------------------------------------------------------------------------------------

cdef inline bint same(const uint8_t* name, size_t size, const char* word) noexcept nogil:
    """Subprotocols, extensions and their parameters are compared as they are: no section lets their case differ."""
    return size == strlen(word) and memcmp(name, word, size) == 0


cdef const char* protocol_name(uint8_t protocol) noexcept nogil:
    if protocol == WS_JSON_V1:
        return b"nova.json.v1"
    if protocol == WS_MSGPACK_V1:
        return b"nova.msgpack.v1"
    return b"nova.e2ee.v1"


cdef uint8_t protocol_of(const uint8_t* name, size_t size) noexcept nogil:
    cdef uint8_t protocol = WS_JSON_V1
    while protocol <= WS_E2EE_V1:
        if same(name, size, protocol_name(protocol)):
            return protocol
        protocol <<= 1
    return WS_PLAIN


cdef int ws_choose(const uint8_t* value, size_t size, uint8_t spoken, bint* seen) noexcept nogil:
    """The client names them in its order of preference (section 4.1, 10)."""
    cdef const uint8_t* at = value
    cdef const uint8_t* end = value + size
    cdef const uint8_t* item
    cdef size_t item_size
    cdef uint8_t protocol
    cdef uint8_t chosen = WS_PLAIN
    while next_item(&at, end, &item, &item_size):
        if nova_http_span(item, item + item_size, HC_TOKEN) != item + item_size:
            return -400
        seen[0] = True
        protocol = protocol_of(item, item_size)
        if chosen == WS_PLAIN and protocol & spoken:
            chosen = protocol
    return chosen


# -- the extension (section 9.1; RFC 7692, section 7.1) ---------------------------------------------------------------

cdef inline const uint8_t* over_space(const uint8_t* p, const uint8_t* end) noexcept nogil:
    while p < end and is_space(p[0]):
        p += 1
    return p


cdef const uint8_t* read_value(const uint8_t* p, const uint8_t* end, uint8_t* out, size_t* size) noexcept nogil:
    """A token, or a quoted string that holds one; NULL when it is neither. out: its first VALUE_MAX bytes."""
    cdef bint quoted = p < end and p[0] == QUOTE
    size[0] = 0
    if quoted:
        p += 1
    while p < end and p[0] != QUOTE:
        if quoted and p[0] == BACKSLASH:
            p += 1
            if p == end:
                return NULL
        if nova_http_span(p, p + 1, HC_TOKEN) == p:
            if quoted:
                return NULL  # section 9.1: what the quotes hold must be a token too
            break
        if size[0] < VALUE_MAX:
            out[size[0]] = p[0]
        size[0] += 1
        p += 1
    if quoted:
        if p == end:
            return NULL
        p += 1
    return p if size[0] else NULL


cdef uint32_t parameter(const uint8_t* name, size_t name_size, const uint8_t* value, size_t size, uint8_t* window_bits) noexcept nogil:
    """Which one it is; UNACCEPTABLE when it is unknown or its value is not allowed, which declines the offer."""
    cdef int bits = 0
    if size:
        if is_digit(value[0]) and (size == 1 or (size == 2 and value[0] == 49 and is_digit(value[1]))):
            bits = value[0] - 48 if size == 1 else 10 + value[1] - 48
        if not 8 <= bits <= 15:
            return UNACCEPTABLE
    if same(name, name_size, b"server_no_context_takeover"):
        return UNACCEPTABLE if size else SERVER_CONTEXT
    if same(name, name_size, b"client_no_context_takeover"):
        return UNACCEPTABLE if size else CLIENT_CONTEXT
    if same(name, name_size, b"client_max_window_bits"):
        return CLIENT_BITS  # ours are 15: whatever the client uses is fine
    if same(name, name_size, b"server_max_window_bits") and size:
        window_bits[0] = <uint8_t> bits
        return SERVER_BITS
    return UNACCEPTABLE


cdef int ws_offer(const uint8_t* value, size_t size, uint8_t* window_bits, bint* asked) noexcept nogil:
    cdef const uint8_t* p = value
    cdef const uint8_t* end = value + size
    cdef const uint8_t* name
    cdef size_t name_size, text_size
    cdef uint8_t[VALUE_MAX] text
    cdef uint32_t seen, which
    cdef uint8_t bits
    cdef bint ours
    cdef int found = 0
    while True:
        p = over_space(p, end)
        if p < end and p[0] == COMMA:  # empty elements are allowed in lists
            p += 1
            continue
        if p == end:
            return found
        name = p
        p = nova_http_span(p, end, HC_TOKEN)
        if p == name:
            return -400
        ours = same(name, p - name, b"permessage-deflate")
        seen = 0
        bits = 15
        while True:
            p = over_space(p, end)
            if p == end or p[0] == COMMA:
                break
            if p[0] != SEMICOLON:
                return -400
            p = over_space(p + 1, end)
            name = p
            p = nova_http_span(p, end, HC_TOKEN)
            if p == name:
                return -400
            name_size = p - name
            text_size = 0
            if p < end and p[0] == EQUALS:
                p = read_value(p + 1, end, text, &text_size)
                if p == NULL:
                    return -400
            which = parameter(name, name_size, text, text_size, &bits)
            if seen & which:  # a parameter twice
                which = UNACCEPTABLE
            seen |= which
        if ours and not found and not seen & UNACCEPTABLE:
            window_bits[0] = bits
            asked[0] = seen & SERVER_BITS != 0
            found = 1  # go on: what follows must be well formed too


# -- the upgrade ------------------------------------------------------------------------------------------------------

cdef bint next_line(const uint8_t* data, const Head* head, const char* name, size_t size, int* at, const Header** line) noexcept nogil:
    """The next field called `name` from `at` on; a list may be sent in several."""
    cdef const Header* header
    while 0 <= at[0] < head.count:
        header = &head.headers[at[0]]
        at[0] += 1
        if is_word(data + header.name, header.name_len, name, size):
            line[0] = header
            return True
    return False


cdef bint only_line(const uint8_t* data, const Head* head, const char* name, size_t size, int16_t first, const Header** line) noexcept nogil:
    """The one field called `name`."""
    cdef const Header* second
    cdef int at = first
    return next_line(data, head, name, size, &at, line) and not next_line(data, head, name, size, &at, &second)


cdef int ws_upgrade(const uint8_t* data, const Head* head, const WsRoute* route, WsUpgrade* out) noexcept nogil:
    cdef const Header* line
    cdef bint seen = False
    cdef bint asked = False
    cdef uint8_t bits
    cdef int at, said
    cdef int chosen = WS_PLAIN
    if not head.flags & HF_UPGRADE_WEBSOCKET or head.flags & HF_CHUNKED or head.content_length > 0:
        return -400  # a body would be read as frames
    if head.ws_version_i < 0:
        return -426
    if not only_line(data, head, b"sec-websocket-version", 21, head.ws_version_i, &line):
        return -400
    if line.value_len != 2 or memcmp(data + line.value, b"13", 2) != 0:
        return -426
    if not only_line(data, head, b"sec-websocket-key", 17, head.ws_key_i, &line) or not valid_key(data + line.value, line.value_len):
        return -400
    at = head.ws_protocol_i
    if route.protocols:
        while next_line(data, head, b"sec-websocket-protocol", 22, &at, &line):
            said = ws_choose(data + line.value, line.value_len, route.protocols, &seen)
            if said < 0:
                return said
            if chosen == WS_PLAIN:
                chosen = said
    out.named = chosen != WS_PLAIN
    if not out.named and route.protocols:
        chosen = route.default_protocol
        if seen or chosen == WS_PLAIN:
            return -400
    out.protocol = <uint8_t> chosen
    out.deflate = False
    out.window_bits = 15
    out.window_asked = False
    at = head.ws_extensions_i
    while next_line(data, head, b"sec-websocket-extensions", 24, &at, &line):
        bits = 15
        said = ws_offer(data + line.value, line.value_len, &bits, &asked)
        if said < 0:
            return said
        if said and not out.deflate:
            out.deflate = True
            out.window_bits = bits
            out.window_asked = asked
    if not route.deflate:
        out.deflate = False
    return 0


cdef int put(ByteVec* out, const char* text) noexcept nogil:
    return vec_append(out, text, strlen(text))


cdef int ws_upgrade_answer(const uint8_t* data, const Head* head, const WsUpgrade* agreed, ByteVec* out) noexcept nogil:
    cdef const Header* key = &head.headers[head.ws_key_i]
    cdef uint8_t[WS_ACCEPT_SIZE] accept
    cdef int failed = put(out, b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ")
    ws_accept(data + key.value, key.value_len, accept)
    failed |= vec_append(out, accept, WS_ACCEPT_SIZE)
    if agreed.named:
        failed |= put(out, b"\r\nSec-WebSocket-Protocol: ")
        failed |= put(out, protocol_name(agreed.protocol))
    if agreed.deflate:
        failed |= put(out, b"\r\nSec-WebSocket-Extensions: ")
        failed |= ws_deflate_answer(agreed.window_bits if agreed.window_asked else 0, out)
    failed |= put(out, b"\r\n\r\n")
    return failed


cdef int ws_deflate_answer(uint8_t window_bits, ByteVec* out) noexcept nogil:
    cdef uint8_t digit = 48 + window_bits % 10
    cdef int failed = put(out, b"permessage-deflate; server_no_context_takeover; client_no_context_takeover")
    if window_bits:  # section 7.1.2.1: who accepts an offer with it says it again, 15 too
        failed |= put(out, b"; server_max_window_bits=1" if window_bits >= 10 else b"; server_max_window_bits=")
        failed |= vec_append(out, &digit, 1)
    return failed


# -- Python -----------------------------------------------------------------------------------------------------------

PLAIN = WS_PLAIN
JSON = WS_JSON_V1
MSGPACK = WS_MSGPACK_V1
E2EE = WS_E2EE_V1
PROTOCOLS = {protocol_name(bit).decode(): bit for bit in (WS_JSON_V1, WS_MSGPACK_V1, WS_E2EE_V1)}


def upgrade(data, *, int protocols=0, int default=0, bint deflate=True):
    """Answer a request head: (101 answer, protocol, deflate, window bits), or -(status). Raises ValueError: no complete head."""
    cdef Head head
    cdef Py_buffer view
    cdef WsRoute route
    cdef WsUpgrade agreed
    cdef ByteVec out
    cdef int said
    memset(&out, 0, sizeof(out))
    route.protocols = <uint8_t> protocols
    route.default_protocol = <uint8_t> default
    route.deflate = deflate
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        if http1_parse(<const uint8_t*> view.buf, view.len, 65536, &head) != 1:
            raise ValueError("no complete head")
        said = ws_upgrade(<const uint8_t*> view.buf, &head, &route, &agreed)
        if said:
            return said
        if ws_upgrade_answer(<const uint8_t*> view.buf, &head, &agreed, &out):
            raise MemoryError
        return (<const char*> out.data)[:out.len], agreed.protocol, bool(agreed.deflate), agreed.window_bits
    finally:
        PyBuffer_Release(&view)
        vec_free(&out)


def choose(value, int spoken) -> tuple[int, bool]:
    """(the protocol of a Sec-WebSocket-Protocol field or -400, whether any was named)."""
    cdef const uint8_t[::1] view = value
    cdef size_t size = <size_t> len(view)
    cdef bint seen = False
    said = ws_choose(&view[0] if size else NULL, size, <uint8_t> spoken, &seen)
    return said, bool(seen)


def offer(value) -> tuple[int, int, bytes]:
    """(1, 0 or -400 for a Sec-WebSocket-Extensions field, window bits, the field that agrees)."""
    cdef const uint8_t[::1] view = value
    cdef size_t size = <size_t> len(view)
    cdef uint8_t bits = 15
    cdef bint asked = False
    cdef ByteVec out
    memset(&out, 0, sizeof(out))
    said = ws_offer(&view[0] if size else NULL, size, &bits, &asked)
    try:
        if ws_deflate_answer(bits if asked else 0, &out):
            raise MemoryError
        return said, bits, (<const char*> out.data)[:out.len] if said == 1 else b""
    finally:
        vec_free(&out)


def accept(bytes key) -> bytes:
    """Sec-WebSocket-Accept of a key."""
    cdef uint8_t[WS_ACCEPT_SIZE] out
    ws_accept(<const uint8_t*> <const char*> key, <size_t> len(key), out)
    return (<const char*> out)[:WS_ACCEPT_SIZE]
