"""Who asks: the token of a request, the signed session in its path, and the mark by which a viewer is counted.

The tables are Python objects of other modules; their look-ups are called by address, since an I/O thread may not touch an object.
"""
from libc.stdint cimport int64_t, uint32_t
from libc.string cimport memcmp, memcpy, memset

from nova.ext.http cimport is_space, is_word
from nova.ext.http1 cimport Header, http1_query
from nova.ext.session cimport SESSION_TEXT
from nova.ext.viewers cimport viewer_mark

cdef enum:
    PREFIX = 7                  # bytes of "/live/~"


cdef int identify(Thread* t, const uint8_t* data, Head* head, ByteVec* claims, TokenResult* result, uint8_t* in_query) noexcept nogil:
    """Check the bearer token of the Authorization field, else of `access_token`. NO_TOKEN, 0 with the claims appended, or TOKEN_E_*."""
    cdef const uint8_t* token = NULL
    cdef size_t size = 0
    cdef Header* field
    cdef const uint8_t* value
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
    memset(result, 0, sizeof(TokenResult))
    return t.shared.token_verify(t.shared.tokens, token, size, t.now_unix, claims, result)


cdef bint cookie_of(const uint8_t* data, Head* head, bint secure, const uint8_t** token, size_t* size) noexcept nogil:
    cdef const uint8_t* wanted = b"__Host-nova_session" if secure else b"nova_session"
    cdef size_t wanted_size = 19 if secure else 12
    cdef const uint8_t* p
    cdef const uint8_t* end
    cdef const uint8_t* name
    cdef const uint8_t* stop
    cdef int i, found = 0
    if head.cookie_i < 0:
        return False
    for i in range(head.cookie_i, head.count):
        if not is_word(data + head.headers[i].name, head.headers[i].name_len, b"cookie", 6):
            continue
        p = data + head.headers[i].value
        end = p + head.headers[i].value_len
        while p < end:
            while p < end and (is_space(p[0]) or p[0] == c";"):
                p += 1
            name = p
            while p < end and p[0] != c";":
                p += 1
            stop = p
            while stop > name and is_space(stop[-1]):
                stop -= 1
            if <size_t> (stop - name) > wanted_size and memcmp(name, wanted, wanted_size) == 0 and name[wanted_size] == c"=":
                token[0] = name + wanted_size + 1
                size[0] = <size_t> (stop - name) - wanted_size - 1
                found += 1
    return found == 1 and size[0] > 0


cdef bint listed(const uint8_t* list, size_t list_size, const uint8_t* word, size_t size) noexcept nogil:
    """Whether `word` is one of the lines of `list`, whose letters are small; each line stands between two line feeds."""
    cdef size_t at = 0, i
    while at + size + 2 <= list_size:
        if list[at] == 10 and list[at + 1 + size] == 10:
            i = 0
            while i < size and list[at + 1 + i] == lower(word[i]):
                i += 1
            if i == size:
                return True
        at += 1
    return False


cdef inline uint8_t lower(uint8_t byte) noexcept nogil:
    return byte | 0x20 if 65 <= byte <= 90 else byte


cdef bint host_allowed(Thread* t, const uint8_t* data, Head* head) noexcept nogil:
    cdef const uint8_t* host = data + head.host
    cdef size_t size = head.host_len, i
    if size and host[0] == c"[":
        i = 0
        while i < size and host[i] != c"]":
            i += 1
        host += 1
        size = i - 1 if i else 0
    else:
        i = size
        while i > 0 and 48 <= host[i - 1] <= 57:
            i -= 1
        if i > 0 and host[i - 1] == c":":
            size = i - 1
    if size and host[size - 1] == c".":
        size -= 1
    if listed(t.shared.ws.hosts, t.shared.ws.hosts_size, host, size):
        return True
    if not t.shared.ws.hosts_open or size == 0:
        return False
    if host > data + head.host:
        return True  # in brackets: an address of IPv6
    i = 0
    while i < size and (48 <= host[i] <= 57 or host[i] == c"."):
        i += 1
    return i == size or (size > 10 and memcmp(host + size - 10, b".localhost", 10) == 0)


cdef bint origin_allowed(Thread* t, const uint8_t* data, Head* head, bint secure) noexcept nogil:
    cdef const uint8_t* origin
    cdef size_t size, scheme = 8 if secure else 7, i
    if head.origin_i < 0:
        return False
    origin = data + head.headers[head.origin_i].value
    size = head.headers[head.origin_i].value_len
    if listed(t.shared.ws.origins, t.shared.ws.origins_size, origin, size):
        return True
    if size != scheme + head.host_len or memcmp(origin, b"https://" if secure else b"http://", scheme) != 0:
        return False
    for i in range(head.host_len):
        if lower(origin[scheme + i]) != lower(data[head.host + i]):
            return False
    return True


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
    if head.user_agent_i < 0:
        return viewer_mark(c.peer, NULL, 0)
    return viewer_mark(c.peer, data + head.headers[head.user_agent_i].value, head.headers[head.user_agent_i].value_len)
