"""Who asks: the token of a request, the signed session in its path, and the mark by which a viewer is counted.

The tables are Python objects of other modules; their look-ups are called by address, since an I/O thread may not touch an object.
"""
from libc.stdint cimport int64_t, uint32_t
from libc.string cimport memcmp, memcpy, memset

from nova.ext.http1 cimport Header, http1_query
from nova.ext.session cimport SESSION_TEXT
from nova.ext.token_cache cimport TokenResult

cdef enum:
    PREFIX = 7                  # bytes of "/live/~"
    NO_TOKEN = 1


cdef int identify(Thread* t, const uint8_t* data, Head* head, ByteVec* claims, uint8_t* in_query) noexcept nogil:
    """Check the bearer token of the Authorization field, else of `access_token`. NO_TOKEN, 0 with the claims appended, or TOKEN_E_*."""
    cdef const uint8_t* token = NULL
    cdef size_t size = 0
    cdef Header* field
    cdef const uint8_t* value
    cdef TokenResult result
    if t.shared.token_verify == NULL:
        return NO_TOKEN
    if head.authorization_i >= 0:
        field = &head.headers[head.authorization_i]
        value = data + field.value
        if field.value_len > 7 and (value[0] | 0x20) == c'b' and (value[1] | 0x20) == c'e' and (value[2] | 0x20) == c'a' and \
                (value[3] | 0x20) == c'r' and (value[4] | 0x20) == c'e' and (value[5] | 0x20) == c'r' and value[6] == c' ':
            token = value + 7
            size = field.value_len - 7
            while size and token[0] == c' ':
                token += 1
                size -= 1
    if token == NULL and head.query_len:
        if not http1_query(data + head.query, head.query_len, b"access_token", 12, &token, &size):
            token = NULL
        in_query[0] = token != NULL
    if token == NULL:
        return NO_TOKEN
    memset(&result, 0, sizeof(TokenResult))
    return t.shared.token_verify(t.shared.tokens, token, size, t.now_unix, claims, &result)


cdef bint session_of(Thread* t, const uint8_t* path, size_t size, const uint8_t** stripped, size_t* stripped_len,
                     uint64_t* viewer) noexcept nogil:
    """Check `/live/~{session}/{stream}/…`; the same path without the session, valid until the next call on this thread."""
    cdef const uint8_t* rest
    cdef size_t rest_len, scope = 0
    if t.shared.session_verify == NULL or size < PREFIX + SESSION_TEXT + 2 or path[PREFIX + SESSION_TEXT] != c'/':
        return False
    rest = path + PREFIX + SESSION_TEXT + 1
    rest_len = size - PREFIX - SESSION_TEXT - 1
    while scope < rest_len and rest[scope] != c'/':
        scope += 1
    if 6 + rest_len > sizeof(t.path):
        return False
    if t.shared.session_verify(t.shared.sessions, path + PREFIX, SESSION_TEXT, rest, scope, t.now_unix, viewer) != 0:
        return False
    memcpy(t.path, b"/live/", 6)
    memcpy(t.path + 6, rest, rest_len)
    stripped[0] = t.path
    stripped_len[0] = 6 + rest_len
    return True


cdef uint64_t viewer_of(Conn* c, const uint8_t* data, Head* head) noexcept nogil:
    """The mark of a viewer without a session: address and User-Agent."""
    cdef uint64_t h = <uint64_t> 0xCBF29CE484222325
    cdef size_t i, size = 0
    cdef const uint8_t* agent = NULL
    for i in range(16):
        h = (h ^ c.peer[i]) * <uint64_t> 0x100000001B3
    if head.user_agent_i >= 0:
        agent = data + head.headers[head.user_agent_i].value
        size = head.headers[head.user_agent_i].value_len
    for i in range(size):
        h = (h ^ agent[i]) * <uint64_t> 0x100000001B3
    return h
