# nova: libraries=ssl,crypto,z
"""The talk of /v1/ws: commands in, replies and pushes out.

What needs nobody is answered here: `connect`, `refresh`, `ping`, and commands that are wrong in themselves. Everything else goes up to
trio, with who asks. Replies keep the order of the commands: while trio owes one, what could be answered here goes up with its reply, and
comes down again when its turn has come.
"""
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy, memmove, memset, strlen

from nova.ext.buffer cimport Buf, buf_copy, buf_unref
from nova.ext.bytevec cimport ByteVec, vec_append, vec_free, vec_reserve
from nova.ext.channels cimport Chan, chan_unref
from nova.ext.commands cimport (
    CE_ID_IN_USE, CE_OK, CF_NAME, CF_TOKEN, CMD_CONNECT, CMD_PING, CMD_REFRESH, CMD_SUBSCRIBE, COMMANDS_MAX, Command, Text, command_error,
    command_message, commands_read, field_name, frame_error,
)
from nova.ext.conn cimport conn_again, conn_at, conn_id
from nova.ext.fanout cimport fan_join, fan_news
from nova.ext.io cimport CF_CLOSE_AFTER, CF_KNOWN, CONN_CHUNK, P_WS
from nova.ext.lifecycle cimport conn_close
from nova.ext.pushes cimport reply_connect, reply_empty, reply_error, reply_refresh
from nova.ext.ring cimport PIECE_MOST, ring_put, ring_ring
from nova.ext.rooms cimport place_named, place_of, room_leave
from nova.ext.token cimport TOKEN_E_EXPIRED, TOKEN_E_REVOKED
from nova.ext.token_cache cimport TokenResult
from nova.ext.values cimport FORM_JSON, json_compact, value_convert
from nova.ext.wire cimport (
    CM_WS_CLOSE, CM_WS_ITEM, CM_WS_JOIN, CM_WS_LEAVE, CM_WS_NEWS, CM_WS_REVOKE, CM_WS_USER, CommandInfo, EV_WS_COMMANDS, R_LIMIT, R_RESET,
)
from nova.ext.ws_conn cimport Place, WF_CLOSE_SENT, WF_CONNECTED, WF_GREETED
from nova.ext.ws_send cimport ws_bye, ws_close, ws_item, ws_item_done, ws_item_open, ws_settle, ws_timer
from nova.ext.ws_who cimport CLIENT_ROOM, who_append, who_client, who_name, who_set

cdef enum:
    DIGEST = 16                 # bytes of the digest of a user or jti
    ASKS = 2                    # of `answer`

cdef uint32_t SUBSCRIBES = <uint32_t> 1 << 31    # in `Ws.ids`, whose ids are below: the command is counted in `Ws.asked`


# -- answers that need nobody -----------------------------------------------------------------------------------------

cdef Text word(const char* text) noexcept nogil:
    cdef Text out
    out.data = <const uint8_t*> text
    out.size = <uint32_t> strlen(text)
    return out


cdef int refuse(int form, ByteVec* out, uint32_t id, const char* code, const char* message) noexcept nogil:
    cdef Text c = word(code), m = word(message)
    return reply_error(form, out, id, &c, &m, 0)


cdef int refuse_command(int form, ByteVec* out, Command* command) noexcept nogil:
    """What is wrong with it, and with which of its members."""
    cdef char[128] said
    cdef const char* wrong = field_name(command.wrong)
    snprintf(said, sizeof(said), b"%s%s%s", command_message(command.error), b": " if wrong[0] else b"", wrong)
    return refuse(form, out, command.id, command_error(command.error), said)


cdef int check_token(Thread* t, Conn* c, const Text* text, bint same) noexcept nogil:
    """Take the token as the connection's identity. same: it must be of the same user. 0, or TOKEN_E_*."""
    cdef ByteVec claims
    cdef TokenResult token
    cdef int said
    if t.shared.token_verify == NULL:
        return -1
    memset(&claims, 0, sizeof(claims))
    memset(&token, 0, sizeof(token))
    said = t.shared.token_verify(t.shared.tokens, text.data, text.size, t.now_unix, &claims, &token)
    if said == 0 and same and (c.ws.sub_size == 0 or memcmp(token.user, c.ws.user, DIGEST) != 0):
        said = -1
    if said == 0 and who_set(c, &claims, &token) < 0:
        said = -1
    vec_free(&claims)
    return said


cdef int bad_token(int form, ByteVec* out, uint32_t id, int error) noexcept nogil:
    if error == TOKEN_E_EXPIRED:
        return refuse(form, out, id, b"token_expired", b"The token has expired")
    if error == TOKEN_E_REVOKED:
        return refuse(form, out, id, b"token_revoked", b"The token was revoked")
    return refuse(form, out, id, b"bad_token", b"The token is not valid")


cdef uint32_t seconds_left(Thread* t, Conn* c) noexcept nogil:
    """Of the token; 0: it does not expire."""
    cdef int64_t left = c.ws.expires - t.now_unix if c.ws.expires else 0
    return <uint32_t> left if left > 0 else 0


cdef int connected(Thread* t, Conn* c, int form, ByteVec* out, uint32_t id) noexcept nogil:
    cdef uint8_t[CLIENT_ROOM] name
    cdef Text client, user
    client.data = name
    client.size = <uint32_t> who_client(t, c, name)
    user.data = c.ws.who + c.ws.sub
    user.size = c.ws.sub_size
    return reply_connect(form, out, id, &client, &user, seconds_left(t, c), t.shared.ws.ping_ms // 1000)


cdef int connect(Thread* t, Conn* c, Command* command, int form, ByteVec* out) noexcept nogil:
    """As `answer`."""
    cdef int said
    if c.ws.flags & WF_GREETED:
        refuse(form, out, command.id, b"conflict", b"This conflicts with what exists")
        return 1
    if command.fields & CF_TOKEN:
        said = check_token(t, c, &command.token, c.ws.sub_size != 0)
        if said < 0:
            bad_token(form, out, command.id, said)
            return 1
    if command.fields & CF_NAME and who_name(c, command.name.data, command.name.size) < 0:
        return -1
    c.ws.flags |= WF_GREETED | WF_CONNECTED
    ws_timer(t, c)
    if t.shared.ws.ask_connect:
        return 0
    return -1 if connected(t, c, form, out, command.id) else 1


cdef int answer(Thread* t, Conn* c, Command* command, int form, ByteVec* out) noexcept nogil:
    """1: the reply is appended; 0: trio has to answer; ASKS: so it has, and the connection may follow one channel more; -1: memory is out."""
    cdef int said = 0
    if command.error != CE_OK:
        said = refuse_command(form, out, command)
    elif command.command == CMD_CONNECT:
        return connect(t, c, command, form, out)
    elif not c.ws.flags & WF_CONNECTED:
        said = refuse(form, out, command.id, b"unauthenticated", b"Credentials are missing or not valid")
    elif command.command == CMD_PING:
        said = reply_empty(form, out, command.id, CMD_PING)
    elif command.command == CMD_REFRESH:
        said = check_token(t, c, &command.token, True)
        if said == 0:
            ws_timer(t, c)
            said = reply_refresh(form, out, command.id, seconds_left(t, c))
        else:
            said = bad_token(form, out, command.id, said)
    elif command.command == CMD_SUBSCRIBE and place_named(c, command.channel.data, command.channel.size) == NULL:
        if c.ws.place_count + c.ws.asked >= t.shared.ws.max_channels:
            said = refuse(form, out, command.id, b"quota_exceeded", b"A limit on how many of these may exist is reached")
        else:
            c.ws.asked += 1
            return ASKS
    else:
        return 0
    return -1 if said else 1


# -- up ---------------------------------------------------------------------------------------------------------------

cdef int command_up(Thread* t, Conn* c, Command* command, const ByteVec* reply) noexcept nogil:
    """The record of one command, appended to what goes up. 0, or -1 when memory is out."""
    cdef CommandInfo info
    cdef size_t place = t.up.len, start
    cdef int failed
    memset(&info, 0, sizeof(info))
    info.id = command.id
    info.command = command.command
    if reply.len:
        failed = vec_append(&t.up, &info, sizeof(info)) | vec_append(&t.up, reply.data, reply.len)
        info.reply_size = <uint32_t> reply.len
    else:
        info.limit = command.limit
        info.offset = command.offset
        info.fields = command.fields
        info.channel_size = <uint16_t> command.channel.size
        info.idempotency_size = <uint16_t> command.idempotency_key.size
        info.conflate_size = <uint8_t> command.conflate_key.size
        info.epoch_size = <uint8_t> command.epoch.size
        info.member = command.channel.size and place_named(c, command.channel.data, command.channel.size) != NULL
        failed = vec_append(&t.up, &info, sizeof(info))
        failed |= vec_append(&t.up, command.channel.data, command.channel.size)
        start = t.up.len
        if command.data.size:
            if c.ws.form != FORM_JSON:
                failed |= value_convert(c.ws.form, FORM_JSON, command.data.data, command.data.size, &t.up)
            elif command.spaced:
                failed |= json_compact(command.data.data, command.data.size, &t.up)
            else:
                failed |= vec_append(&t.up, command.data.data, command.data.size)
        info.data_size = <uint32_t> (t.up.len - start)
        failed |= vec_append(&t.up, command.idempotency_key.data, command.idempotency_key.size)
        failed |= vec_append(&t.up, command.conflate_key.data, command.conflate_key.size)
        failed |= vec_append(&t.up, command.epoch.data, command.epoch.size)
    if failed:
        return -1
    memcpy(t.up.data + place, &info, sizeof(info))
    return 0


cdef int remember(Conn* c, uint32_t id) noexcept nogil:
    """Trio owes a reply to this command."""
    if c.ws.ids == NULL:
        c.ws.ids = <uint32_t*> malloc(COMMANDS_MAX * 2 * sizeof(uint32_t))
        if c.ws.ids == NULL:
            return -1
    c.ws.ids[c.ws.open_items] = id
    c.ws.open_items += 1
    return 0


cdef bint is_open(Conn* c, uint32_t id) noexcept nogil:
    cdef int i
    for i in range(c.ws.open_items):
        if c.ws.ids[i] & ~SUBSCRIBES == id:
            return True
    return False


cdef void send_up(Thread* t, Conn* c, uint32_t count) noexcept nogil:
    cdef Buf* buf
    cdef bint sent
    if t.up.len > PIECE_MOST:
        buf = buf_copy(t.up.data, t.up.len)
        sent = buf != NULL and ring_put(&t.events, EV_WS_COMMANDS, 0, conn_id(t, c), <uint64_t> buf, count, NULL, 0, NULL, 0)
        if buf != NULL and not sent:
            buf_unref(buf)
    else:
        sent = ring_put(&t.events, EV_WS_COMMANDS, 0, conn_id(t, c), 0, count, t.up.data, <uint32_t> t.up.len, NULL, 0)
    if not sent:
        conn_close(t, c, R_LIMIT)  # the caller has seen that there was room
        return
    ring_ring(&t.events)
    c.flags |= CF_KNOWN
    t.stats.ws_handed_up += count


cdef void talk_message(Thread* t, Conn* c, uint8_t* data, size_t size) noexcept nogil:
    cdef Command* commands
    cdef Command* command
    cdef ByteVec reply
    cdef ByteVec* out
    cdef bint up = c.ws.open_items != 0
    cdef int i, said
    cdef int count
    cdef uint32_t sent = 0
    cdef const char* reason
    if t.words == NULL:
        t.words = calloc(COMMANDS_MAX, sizeof(Command))
    commands = <Command*> t.words
    if commands == NULL:
        conn_close(t, c, R_LIMIT)
        return
    count = commands_read(c.ws.form, data, size, commands, COMMANDS_MAX)
    if count < 0:
        reason = frame_error(count)
        ws_close(t, c, 4300, <const uint8_t*> reason, strlen(reason))
        return
    t.stats.ws_commands += <uint64_t> count
    memset(&reply, 0, sizeof(reply))
    for i in range(count):
        command = &commands[i]
        if is_open(c, command.id):
            command.error = CE_ID_IN_USE
        reply.len = 0
        said = answer(t, c, command, FORM_JSON if up else c.ws.form, &reply)
        if said == 1 and not up:
            out = ws_item_open(t, c)
            ws_item_done(t, c, -1 if out == NULL else vec_append(out, reply.data, reply.len))
            if c.fd < 0:
                break
            continue
        if not up or sent == 0:
            up = True
            t.up.len = 0
            if who_append(c, &t.up) < 0:
                said = -1
        if said < 0 or remember(c, command.id | (SUBSCRIBES if said == ASKS else 0)) < 0 or command_up(t, c, command, &reply) < 0:
            conn_close(t, c, R_RESET)
            break
        sent += 1
    vec_free(&reply)
    if sent and c.fd >= 0:
        send_up(t, c, sent)


cdef void talk_connected(Thread* t, Conn* c) noexcept nogil:
    cdef Command command
    cdef ByteVec reply
    memset(&command, 0, sizeof(command))
    memset(&reply, 0, sizeof(reply))
    command.command = CMD_CONNECT
    t.up.len = 0
    if who_append(c, &t.up) < 0 or command_up(t, c, &command, &reply) < 0:
        conn_close(t, c, R_RESET)
        return
    send_up(t, c, 1)


# -- down -------------------------------------------------------------------------------------------------------------

cdef void item_down(Thread* t, Conn* c, Record* r, const uint8_t* json, size_t size) noexcept nogil:
    if r.flags & 1 and c.ws.open_items:
        if c.ws.ids[0] & SUBSCRIBES:
            c.ws.asked -= 1
        c.ws.open_items -= 1
        if c.ws.open_items == 0:
            free(c.ws.ids)
            c.ws.ids = NULL
        else:
            memmove(c.ws.ids, c.ws.ids + 1, c.ws.open_items * sizeof(uint32_t))
        if c.rbuf.len:
            conn_again(t, c)
    ws_item(t, c, json, size)


cdef void user_down(Thread* t, Record* r, const uint8_t* payload) noexcept nogil:
    """Every connection of a user: out of a channel, or closed."""
    cdef Chan* chan = <Chan*> r.arg
    cdef Conn* c
    cdef Place* place
    cdef uint32_t i
    if r.length < DIGEST:
        return
    for i in range(t.slab_count * CONN_CHUNK):
        c = conn_at(t, i)
        if c.fd < 0 or c.proto != P_WS or c.ws.sub_size == 0 or memcmp(c.ws.user, payload, DIGEST) != 0:
            continue
        if chan == NULL:
            ws_close(t, c, <uint16_t> r.aux, payload + DIGEST, r.length - DIGEST)
            if c.fd >= 0:
                ws_settle(t, c)
            continue
        place = place_of(c, chan)
        if place != NULL:
            room_leave(t, c, place)
            ws_item(t, c, payload + DIGEST, r.length - DIGEST)


cdef void revoke(Thread* t, Record* r, const uint8_t* payload) noexcept nogil:
    cdef Conn* c
    cdef uint32_t i
    cdef bint hit
    if r.length != DIGEST:
        return
    for i in range(t.slab_count * CONN_CHUNK):
        c = conn_at(t, i)
        if c.fd < 0 or c.proto != P_WS or c.ws.sub_size == 0:
            continue
        if r.flags & 1:
            hit = memcmp(c.ws.jti, payload, DIGEST) == 0
        else:
            hit = memcmp(c.ws.user, payload, DIGEST) == 0 and (r.arg == 0 or c.ws.issued_ms <= <int64_t> r.arg)
        if hit:
            ws_close(t, c, 4203, b"token_revoked", 13)
            if c.fd >= 0:
                ws_settle(t, c)


cdef void join_missed(Thread* t, uint64_t conn, Chan* chan) noexcept nogil:
    """Trio takes a connection for a member that had ended before it became one: it is told, as of the end of one that was."""
    cdef uint8_t size = <uint8_t> chan.name_size
    if not chan.watched or vec_reserve(&t.missed, sizeof(conn) + 1 + size) == NULL:
        return
    vec_append(&t.missed, &conn, sizeof(conn))
    vec_append(&t.missed, &size, 1)
    vec_append(&t.missed, chan.text, size)


cdef void talk_command(Thread* t, Conn* c, Record* r) noexcept nogil:
    cdef const uint8_t* payload = <const uint8_t*> r + sizeof(Record)
    cdef uint64_t place[2]
    cdef Place* found
    cdef bint here = c != NULL and c.proto == P_WS and not c.flags & CF_CLOSE_AFTER and not c.ws.flags & WF_CLOSE_SENT
    if r.kind == CM_WS_ITEM:
        if here:
            if r.arg:
                item_down(t, c, r, (<Buf*> r.arg).data, (<Buf*> r.arg).size)
            else:
                item_down(t, c, r, payload, r.length)
    elif r.kind == CM_WS_JOIN:
        if here:
            memcpy(place, payload, sizeof(place))
            fan_join(t, c, <Chan*> r.arg, place[0], place[1])
        else:
            join_missed(t, r.conn, <Chan*> r.arg)
    elif r.kind == CM_WS_LEAVE:
        if here:
            found = place_of(c, <Chan*> r.arg)
            if found != NULL:
                room_leave(t, c, found)
    elif r.kind == CM_WS_CLOSE:
        if here:
            if r.flags & 1:
                ws_bye(t, c, <uint16_t> r.aux, payload, r.length, <uint32_t> r.arg)
            else:
                ws_close(t, c, <uint16_t> r.aux, payload, r.length)
            if c.fd >= 0:
                ws_settle(t, c)
    elif r.kind == CM_WS_NEWS:
        fan_news(t, <Chan*> r.arg)
    elif r.kind == CM_WS_USER:
        user_down(t, r, payload)
    elif r.kind == CM_WS_REVOKE:
        revoke(t, r, payload)
    talk_drop(r.kind, r.arg)


cdef void talk_drop(uint16_t kind, unsigned long long arg) noexcept nogil:
    if arg == 0:
        return
    if kind == CM_WS_ITEM:
        buf_unref(<Buf*> arg)
    elif kind == CM_WS_JOIN or kind == CM_WS_LEAVE or kind == CM_WS_NEWS or kind == CM_WS_USER:
        chan_unref(<Chan*> arg)
