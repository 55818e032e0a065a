"""Who a WebSocket is: the claims of its token and the name it gave, in one stretch of memory a connection."""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from nova.ext.bytevec cimport vec_append
from nova.ext.conn cimport conn_id
from nova.ext.wire cimport WhoInfo

cdef const uint8_t* HEX = b"0123456789abcdef"


cdef int who_append(Conn* c, ByteVec* out) noexcept nogil:
    cdef WhoInfo info
    memset(&info, 0, sizeof(info))
    info.scopes = c.ws.scopes
    info.claims_size = c.ws.claims_size
    info.sub = c.ws.sub
    info.sub_size = c.ws.sub_size
    info.name_size = c.ws.name_size
    info.form = c.ws.form
    info.known = c.ws.sub_size != 0
    info.listener = c.listener
    info.peer_port = c.peer_port
    memcpy(info.peer, c.peer, 16)
    if vec_append(out, &info, sizeof(info)) < 0:
        return -1
    return vec_append(out, c.ws.who, <size_t> c.ws.claims_size + c.ws.name_size)


cdef int put(Conn* c, const uint8_t* claims, size_t claims_size, const uint8_t* name, size_t name_size) noexcept nogil:
    cdef uint8_t* who = <uint8_t*> malloc(claims_size + name_size + 1)
    if who == NULL:
        return -1
    if claims_size:
        memcpy(who, claims, claims_size)
    if name_size:
        memcpy(who + claims_size, name, name_size)
    free(c.ws.who)
    c.ws.who = who
    c.ws.claims_size = <uint32_t> claims_size
    c.ws.name_size = <uint16_t> name_size
    return 0


cdef int who_set(Conn* c, const ByteVec* claims, const TokenResult* token) noexcept nogil:
    if put(c, claims.data, claims.len, c.ws.who + c.ws.claims_size, c.ws.name_size) < 0:
        return -1
    c.ws.sub = token.sub
    c.ws.sub_size = <uint8_t> token.sub_len
    c.ws.scopes = token.scopes
    c.ws.expires = token.expires_ms // 1000
    c.ws.issued_ms = token.issued_ms
    memcpy(c.ws.user, token.user, 16)
    memcpy(c.ws.jti, token.jti, 16)
    return 0


cdef int who_name(Conn* c, const unsigned char* name, size_t size) noexcept nogil:
    return put(c, c.ws.who, c.ws.claims_size, name, size)


cdef size_t who_client(Thread* t, Conn* c, unsigned char* out) noexcept nogil:
    cdef uint64_t id = conn_id(t, c)
    cdef size_t size = t.shared.ws.node_size
    cdef int shift = 60
    memcpy(out, t.shared.ws.node, size)
    out[size] = c"-"
    size += 1
    while shift > 0 and not id >> shift:
        shift -= 4
    while shift >= 0:
        out[size] = HEX[id >> shift & 15]
        size += 1
        shift -= 4
    return size
