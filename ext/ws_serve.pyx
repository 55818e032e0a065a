# nova: libraries=ssl,crypto,z
"""A WebSocket on a connection (RFC 6455): upgrade, input, output, deadlines, the end. What messages say is `ws_talk`'s.

The upgrade checks token, Host and Origin here, without trio. A token that does not hold is told by a close code: a browser's script
never sees the status of a refused upgrade.
"""
from libc.stdint cimport int64_t, uint16_t
from libc.stdlib cimport calloc
from libc.string cimport memcmp, memset, strlen

from nova.ext.bytevec cimport ByteVec, vec_append, vec_drop_front, vec_free
from nova.ext.conn cimport conn_again, conn_owe, timer_clear
from nova.ext.fanout cimport fan_pump
from nova.ext.identity cimport NO_TOKEN, cookie_of, host_allowed, identify, origin_allowed
from nova.ext.io cimport (
    CF_CLOSE_AFTER, CF_DRAIN, CF_KEEP, CF_PARTIAL_HEAD, CF_RATED, CF_STARTED, CF_STARVED, H_HEAD, P_WS, RECV_SIZE,
)
from nova.ext.lifecycle cimport conn_close
from nova.ext.peers cimport peers_admit
from nova.ext.ring cimport ring_room
from nova.ext.rooms cimport rooms_leave, ws_free
from nova.ext.token cimport TOKEN_E_EXPIRED, TOKEN_E_REVOKED
from nova.ext.token_cache cimport TokenResult
from nova.ext.transport cimport READ_AGAIN, conn_read, out_resume, tx_copy
from nova.ext.values cimport FORM_JSON, FORM_MSGPACK
from nova.ext.wire cimport OW_DRAINED, OW_INPUT, R_PEER, R_PROTOCOL, R_RESET, R_TIMEOUT
from nova.ext.ws cimport (
    WS_CLOSE, WS_DEFLATE, WS_FIN, WS_NO_BINARY, WS_NO_TEXT, WS_PING, WS_PONG, WsMessage, ws_close_frame, ws_next, ws_reader_init,
)
from nova.ext.ws_conn cimport WF_CLOSE_SENT, WF_CONNECTED, WF_LEAVES, WP_CHANNELS, WP_ECHO, Ws
from nova.ext.ws_deflate cimport ws_inflate
from nova.ext.ws_send cimport ws_bye, ws_close, ws_fail, ws_items, ws_message, ws_put, ws_random, ws_settle, ws_stopped, ws_timer
from nova.ext.ws_talk cimport talk_connected, talk_message
from nova.ext.ws_upgrade cimport WS_JSON_V1, WS_MSGPACK_V1, WsRoute, WsUpgrade, ws_upgrade, ws_upgrade_answer
from nova.ext.ws_who cimport who_set

cdef extern from "netinet/in.h" nogil:
    enum: IPPROTO_TCP

cdef extern from "netinet/tcp.h" nogil:
    enum: TCP_NOTSENT_LOWAT

cdef extern from "sys/socket.h" nogil:
    int setsockopt(int fd, int level, int name, const void* value, unsigned int size)

cdef enum:
    ECHO_MOST = 33554432        # bytes of a message on /v1/echo
    UNSENT = 16384              # bytes that the kernel takes ahead of what the peer has room for: the rest waits here, where it is counted
    CLOSE_WAIT_MS = 5000
    BACKLOG_LOW = 65536         # bytes below which trio is told to go on


cdef int route_of(Thread* t, const uint8_t* path, size_t size) noexcept nogil:
    if size == 6 and memcmp(path, b"/v1/ws", 6) == 0 and t.shared.ws.channels:
        return WP_CHANNELS
    if size == 8 and memcmp(path, b"/v1/echo", 8) == 0 and t.shared.ws.echo:
        return WP_ECHO
    return -1


cdef int who_asks(Thread* t, Conn* c, const uint8_t* data, Head* head, ByteVec* claims, TokenResult* token) noexcept nogil:
    """NO_TOKEN, 0, TOKEN_E_*, or -403: a page of another origin."""
    cdef uint8_t in_query = 0
    cdef const uint8_t* text = NULL
    cdef size_t size = 0
    cdef int said = identify(t, data, head, claims, token, &in_query)
    if said != NO_TOKEN or t.shared.token_verify == NULL:
        return said
    if not cookie_of(data, head, c.ssl != NULL, &text, &size) or not host_allowed(t, data, head):
        return NO_TOKEN
    said = t.shared.token_verify(t.shared.tokens, text, size, t.now_unix, claims, token)
    if said != 0:
        claims.len = 0
        return NO_TOKEN  # a session that is over is nobody's
    return 0 if origin_allowed(t, data, head, c.ssl != NULL) else -403


cdef int ws_upgraded(Thread* t, Conn* c, const uint8_t* data, Head* head) noexcept nogil:
    cdef WsRoute route
    cdef WsUpgrade agreed
    cdef ByteVec out
    cdef TokenResult token
    cdef int path = route_of(t, data + head.path, head.path_len)
    cdef int said, one = UNSENT
    cdef int known = NO_TOKEN
    if path < 0:
        return WS_NOT_HERE
    if t.draining or (path == WP_CHANNELS and not peers_admit(t.shared.peers, c.peer, t.now_ms)):
        return -503
    route.protocols = WS_JSON_V1 | WS_MSGPACK_V1 if path == WP_CHANNELS else 0
    route.default_protocol = WS_JSON_V1 if path == WP_CHANNELS else 0
    route.deflate = t.shared.ws.deflate or path == WP_ECHO
    said = ws_upgrade(data, head, &route, &agreed)
    if said < 0:
        return said
    memset(&out, 0, sizeof(out))
    if path == WP_CHANNELS:
        known = who_asks(t, c, data, head, &out, &token)
        if known == -403:
            vec_free(&out)
            return -403
    c.ws = <Ws*> calloc(1, sizeof(Ws))
    if c.ws == NULL or (known == 0 and who_set(c, &out, &token) < 0):
        vec_free(&out)
        if c.ws != NULL:
            ws_free(c)
        return -503
    out.len = 0
    if ws_upgrade_answer(data, head, &agreed, &out) < 0:
        vec_free(&out)
        ws_free(c)
        return -503
    tx_copy(t, c, out.data, out.len)
    vec_free(&out)
    setsockopt(c.fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &one, sizeof(one))
    c.proto = P_WS
    c.phase = H_HEAD
    c.flags &= ~<uint32_t> (CF_KEEP | CF_PARTIAL_HEAD | CF_RATED | CF_STARTED)
    timer_clear(t, c)
    c.ws.path = <uint8_t> path
    c.ws.protocol = agreed.protocol
    c.ws.form = FORM_MSGPACK if agreed.protocol == WS_MSGPACK_V1 else FORM_JSON
    c.ws.deflate = agreed.deflate
    c.ws.window_bits = agreed.window_bits
    c.ws.born_ms = c.ws.heard_ms = t.now_ms
    c.ws.ping_ms = t.now_ms + t.shared.ws.ping_ms - ws_random(t, t.shared.ws.ping_ms // 4)  # those who came together ping apart
    if t.shared.ws.life_ms:
        c.ws.end_ms = t.now_ms + t.shared.ws.life_ms - ws_random(t, t.shared.ws.life_jitter_ms)
    if path == WP_ECHO:
        c.ws.flags = WF_CONNECTED
        ws_reader_init(&c.ws.reader, WS_DEFLATE if agreed.deflate else 0, ECHO_MOST)
    else:
        ws_reader_init(&c.ws.reader, (WS_DEFLATE if agreed.deflate else 0) | (WS_NO_TEXT if c.ws.form == FORM_MSGPACK else WS_NO_BINARY),
                       t.shared.ws.max_message)
        if known == 0:
            c.ws.flags = WF_CONNECTED
    t.stats.ws_opened += 1
    if known < 0:
        refuse(t, c, known)
    elif known == 0 and t.shared.ws.ask_connect:
        talk_connected(t, c)
    if c.fd >= 0:
        ws_timer(t, c)
    return WS_IS_OPEN


cdef void refuse(Thread* t, Conn* c, int error) noexcept nogil:
    """The token of the upgrade does not hold."""
    cdef const char* reason = b"token_expired" if error == TOKEN_E_EXPIRED else b"token_revoked" if error == TOKEN_E_REVOKED else b"bad_token"
    cdef uint16_t code = 4202 if error == TOKEN_E_EXPIRED else 4203 if error == TOKEN_E_REVOKED else 4201
    ws_close(t, c, code, <const uint8_t*> reason, strlen(reason))


# -- input ------------------------------------------------------------------------------------------------------------

cdef void peer_closes(Thread* t, Conn* c, WsMessage* m) noexcept nogil:
    """The peer's close frame: answered with its code, then the server ends the connection first (section 7.1.1)."""
    cdef ByteVec frame
    if not c.ws.flags & WF_CLOSE_SENT:
        memset(&frame, 0, sizeof(frame))
        if ws_items(t, c) < 0 or ws_close_frame(&frame, 0 if m.code == 1005 else m.code, NULL, 0, NULL) < 0:
            conn_close(t, c, R_RESET)
            return
        tx_copy(t, c, frame.data, frame.len)
        vec_free(&frame)
        c.reason = R_PEER
    rooms_leave(t, c)
    c.flags |= CF_CLOSE_AFTER
    c.ws.end_ms = t.now_ms + CLOSE_WAIT_MS


cdef bint handle(Thread* t, Conn* c, WsMessage* m) noexcept nogil:
    """One message; False when no further one is to be looked at."""
    cdef int said
    if m.opcode == WS_CLOSE:
        peer_closes(t, c, m)
        return False
    if m.opcode == WS_PING:
        said = ws_put(t, c, WS_FIN | WS_PONG, m.data, m.size)
    elif m.opcode == WS_PONG:
        return True
    else:
        t.stats.ws_messages += 1
        if m.deflated:
            said = ws_inflate(&t.zip, m, c.ws.reader.max_message)
            if said < 0:
                ws_fail(t, c, said)
                return False
        if c.ws.path == WP_ECHO:
            said = ws_message(t, c, m.opcode, m.data, m.size)
        else:
            talk_message(t, c, m.data, m.size)
            said = 0
    if said < 0:
        conn_close(t, c, R_RESET)
    return c.fd >= 0 and not c.flags & CF_CLOSE_AFTER


cdef size_t consume(Thread* t, Conn* c, uint8_t* data, size_t size) noexcept nogil:
    """Messages out of what was read, as far as they can be taken now; the number of bytes used."""
    cdef WsMessage message
    cdef size_t used = 0, step
    cdef int said
    while not ws_stopped(t, c):
        if c.ws.path == WP_CHANNELS and not ring_room(&t.events, t.shared.largest):
            conn_owe(t, c, OW_INPUT)
            c.flags |= CF_STARVED
            break
        said = ws_next(&c.ws.reader, data + used, size - used, &step, &message)
        used += step
        if said == 0:
            return used
        if said < 0:
            c.reason = R_PROTOCOL
            ws_fail(t, c, said)
            return size
        if not handle(t, c, &message):
            return size
    return used


cdef void ws_input(Thread* t, Conn* c) noexcept nogil:
    """The socket has bytes, or its peer has finished."""
    cdef Py_ssize_t n
    cdef size_t used
    if ws_stopped(t, c):
        ws_settle(t, c)
        return
    n = conn_read(t, c, t.rx, RECV_SIZE)
    if n == READ_AGAIN:
        ws_settle(t, c)
        return
    if n <= 0:
        conn_close(t, c, R_PEER if n == 0 else R_RESET)
        return
    c.ws.heard_ms = t.now_ms
    if c.rbuf.len:
        if vec_append(&c.rbuf, t.rx, <size_t> n) < 0:
            conn_close(t, c, R_RESET)
            return
        ws_resume(t, c)
    else:
        used = consume(t, c, t.rx, <size_t> n)
        if c.fd >= 0 and used < <size_t> n and vec_append(&c.rbuf, t.rx + used, <size_t> n - used) < 0:
            conn_close(t, c, R_RESET)
        ws_settle(t, c)
    if c.fd >= 0 and n == RECV_SIZE:
        conn_again(t, c)


cdef void ws_resume(Thread* t, Conn* c) noexcept nogil:
    """Go on with what lies in `rbuf`."""
    cdef size_t used
    if c.rbuf.len and not ws_stopped(t, c):
        used = consume(t, c, c.rbuf.data, c.rbuf.len)
        if c.fd < 0:
            return
        vec_drop_front(&c.rbuf, used)
        if c.rbuf.len == 0:
            vec_free(&c.rbuf)
    ws_settle(t, c)


cdef void ws_again(Thread* t, Conn* c) noexcept nogil:
    """A turn later: go on with publications it has not got yet, and with what was read."""
    fan_pump(t, c)
    if c.fd < 0 or c.proto != P_WS:
        return
    if c.rbuf.len:
        ws_resume(t, c)
        if c.fd < 0 or c.proto != P_WS or c.rbuf.len:
            return
    ws_input(t, c)


cdef void ws_output(Thread* t, Conn* c) noexcept nogil:
    """The socket takes bytes again."""
    if out_resume(t, c) < 0:
        conn_close(t, c, R_RESET)
        return
    if c.flags & CF_DRAIN and c.out_bytes <= BACKLOG_LOW:
        c.flags &= ~<uint32_t> CF_DRAIN
        conn_owe(t, c, OW_DRAINED)
    if c.out_count == 0:
        fan_pump(t, c)
        if c.fd < 0 or c.proto != P_WS:
            return
    if c.rbuf.len:
        ws_resume(t, c)
    else:
        ws_settle(t, c)


# -- time -------------------------------------------------------------------------------------------------------------

cdef void end_with(Thread* t, Conn* c, uint16_t code, const char* reason) noexcept nogil:
    ws_close(t, c, code, <const uint8_t*> reason, strlen(reason))


cdef void ws_timeout(Thread* t, Conn* c) noexcept nogil:
    """Something has come due."""
    if c.flags & CF_CLOSE_AFTER or c.ws.flags & WF_CLOSE_SENT:
        if t.now_ms >= c.ws.end_ms:
            conn_close(t, c, R_TIMEOUT)
        else:
            ws_timer(t, c)
        return
    if not c.ws.flags & WF_CONNECTED and t.now_ms >= c.ws.born_ms + t.shared.ws.connect_ms:
        end_with(t, c, 4008, b"not_connected")
    elif c.ws.expires and t.now_unix >= c.ws.expires:
        t.stats.ws_expired += 1
        end_with(t, c, 4202, b"token_expired")
    elif t.shared.ws.silent_ms and t.now_ms >= c.ws.heard_ms + t.shared.ws.silent_ms and not ws_stopped(t, c):
        t.stats.ws_silent += 1
        end_with(t, c, 4006, b"silent")
    elif t.shared.ws.silent_ms and t.now_ms >= c.ws.heard_ms + 2 * <int64_t> t.shared.ws.silent_ms:
        t.stats.ws_silent += 1  # whatever we wait for, nothing moves any more
        end_with(t, c, 4006, b"silent")
    elif c.ws.end_ms and t.now_ms >= c.ws.end_ms:
        if c.ws.flags & WF_LEAVES:
            ws_bye(t, c, 4002, b"shutting_down", 13, ws_random(t, t.shared.ws.reconnect_ms))
        else:
            ws_bye(t, c, 4007, b"lifetime", 8, ws_random(t, t.shared.ws.reconnect_ms))
    elif t.now_ms >= c.ws.ping_ms:
        c.ws.ping_ms = t.now_ms + t.shared.ws.ping_ms
        if ws_put(t, c, WS_FIN | WS_PING, NULL, 0) < 0:
            conn_close(t, c, R_RESET)
            return
    if c.fd < 0:
        return
    ws_timer(t, c)
    ws_settle(t, c)


cdef void ws_drain(Thread* t, Conn* c) noexcept nogil:
    if c.flags & CF_CLOSE_AFTER or c.ws.flags & WF_CLOSE_SENT:
        return
    c.ws.flags |= WF_LEAVES
    c.ws.end_ms = t.now_ms + ws_random(t, t.shared.ws.spread_ms + 1)
    ws_timer(t, c)
