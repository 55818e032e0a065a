# nova: libraries=ssl,crypto,z
"""What goes out of a WebSocket, in one order: frames, replies and pushes gathered to one frame a turn, close frames; then socket and timer.

A frame enters the backlog whole, and control frames queue behind it, so that none comes inside a half-sent one and none is lost.
"""
from libc.stdint cimport int64_t
from libc.string cimport memcpy

from nova.ext.bytevec cimport vec_append, vec_free, vec_reserve
from nova.ext.commands cimport COMMANDS_MAX, Text
from nova.ext.conn cimport conn_again, conn_arm, conn_at, list_push, timer_set
from nova.ext.io cimport CF_CLOSE_AFTER, CF_EOF, CF_IN, CF_STARVED, P_WS
from nova.ext.lifecycle cimport conn_close, conn_linger
from nova.ext.pushes cimport BATCH_ROOM, batch_close, batch_next, batch_open, push_bye
from nova.ext.rooms cimport rooms_leave
from nova.ext.ssl cimport SSL_pending
from nova.ext.transport cimport tx_copy, tx_flush
from nova.ext.values cimport FORM_JSON, value_item
from nova.ext.wire cimport R_LOCAL, R_RESET
from nova.ext.ws cimport (
    WS_BINARY, WS_FIN, WS_HEAD_MAX, WS_RSV1, WS_TEXT, ws_close_frame, ws_close_sent, ws_failure, ws_head,
)
from nova.ext.ws_conn cimport WF_CLOSE_SENT, WF_CONNECTED, WF_DIRTY, WP_CHANNELS
from nova.ext.ws_deflate cimport ws_deflate, ws_window_holds

cdef enum:
    ROOM = 16                   # before the items: the head of an array, at most 5 bytes
    ITEMS_MOST = 49152          # bytes of items in one frame, unless one alone is longer
    DEFLATE_LEAST = 256         # bytes of a message below which deflating is not tried
    CLOSE_WAIT_MS = 5000        # how long the peer may take to answer our close frame
    BACKLOG_STOP = 262144       # bytes not taken by the peer above which nothing more of it is read


cdef uint32_t ws_random(Thread* t, uint32_t most) noexcept nogil:
    """0 to `most` - 1. For spreading things over time, not for secrets."""
    t.random ^= t.random << 13
    t.random ^= t.random >> 7
    t.random ^= t.random << 17
    return <uint32_t> ((t.random >> 16) % most) if most else 0


# -- frames -----------------------------------------------------------------------------------------------------------

cdef int ws_put(Thread* t, Conn* c, uint8_t first, const uint8_t* data, size_t size) noexcept nogil:
    cdef uint8_t[WS_HEAD_MAX] head
    tx_copy(t, c, head, ws_head(head, first, size))
    if size:
        tx_copy(t, c, data, size)
        if size > 16384:
            return tx_flush(t, c)
    return 0


cdef int ws_message(Thread* t, Conn* c, uint8_t opcode, const uint8_t* data, size_t size) noexcept nogil:
    cdef ByteVec packed
    cdef int said
    if c.ws.deflate and size >= DEFLATE_LEAST and ws_window_holds(c.ws.window_bits, size):
        packed.data = NULL
        packed.len = packed.cap = 0
        said = ws_deflate(&t.zip, data, size, &packed)
        if said == 1:
            said = ws_put(t, c, WS_FIN | WS_RSV1 | opcode, packed.data, packed.len)
            vec_free(&packed)
            return said
        vec_free(&packed)
    return ws_put(t, c, WS_FIN | opcode, data, size)


# -- items ------------------------------------------------------------------------------------------------------------

cdef ByteVec* ws_item_open(Thread* t, Conn* c) noexcept nogil:
    cdef uint8_t[1] comma
    if c.ws.items.len > ITEMS_MOST and ws_items(t, c) < 0:
        return NULL
    if c.ws.items.len == 0:
        if vec_reserve(&c.ws.items, ROOM) == NULL:
            return NULL
        c.ws.items.len = ROOM
    elif batch_next(c.ws.form, comma) and vec_append(&c.ws.items, comma, 1) < 0:
        return NULL
    return &c.ws.items


cdef void ws_item_done(Thread* t, Conn* c, int failed) noexcept nogil:
    if failed:
        conn_close(t, c, R_RESET)  # memory is out: what is half written can not be sent
        return
    c.ws.item_count += 1
    if not c.ws.flags & WF_DIRTY and list_push(&t.dirty, &t.dirty_count, &t.dirty_cap, c.index):
        c.ws.flags |= WF_DIRTY  # else memory is out: they go with what comes next


cdef void ws_item(Thread* t, Conn* c, const uint8_t* json, size_t size) noexcept nogil:
    cdef ByteVec* out
    if c.ws.flags & WF_CLOSE_SENT or c.flags & CF_CLOSE_AFTER:
        return
    out = ws_item_open(t, c)
    if out == NULL:
        ws_item_done(t, c, -1)
    elif c.ws.form == FORM_JSON:
        ws_item_done(t, c, vec_append(out, json, size))
    else:
        ws_item_done(t, c, value_item(c.ws.form, json, size, out))


cdef int ws_items(Thread* t, Conn* c) noexcept nogil:
    cdef uint8_t[BATCH_ROOM] piece
    cdef uint8_t opcode = WS_TEXT if c.ws.form == FORM_JSON else WS_BINARY
    cdef size_t start = ROOM, size
    cdef int said
    if c.ws.item_count == 0:
        return 0
    if c.ws.item_count > 1:
        size = batch_open(c.ws.form, piece, c.ws.item_count)
        start = ROOM - size
        memcpy(c.ws.items.data + start, piece, size)
        size = batch_close(c.ws.form, piece)
        if size and vec_append(&c.ws.items, piece, size) < 0:
            return -1
    c.ws.item_count = 0
    said = ws_message(t, c, opcode, c.ws.items.data + start, c.ws.items.len - start)
    vec_free(&c.ws.items)
    return said


cdef void ws_dirty(Thread* t) noexcept nogil:
    """The end of a batch of commands: every connection that got items sends them."""
    cdef uint32_t i, count = t.dirty_count
    cdef Conn* c
    for i in range(count):
        c = conn_at(t, t.dirty[i])
        if c.ws == NULL or not c.ws.flags & WF_DIRTY:
            continue
        c.ws.flags &= ~WF_DIRTY
        if c.fd < 0 or c.proto != P_WS:
            continue
        if ws_items(t, c) < 0:
            conn_close(t, c, R_RESET)
        else:
            ws_settle(t, c)
    for i in range(t.dirty_count - count):
        t.dirty[i] = t.dirty[count + i]
    t.dirty_count -= count


# -- the end ----------------------------------------------------------------------------------------------------------

cdef void ws_close(Thread* t, Conn* c, uint16_t code, const uint8_t* reason, size_t size) noexcept nogil:
    cdef ByteVec frame
    if c.ws.flags & WF_CLOSE_SENT or c.flags & CF_CLOSE_AFTER:
        return
    frame.data = NULL
    frame.len = frame.cap = 0
    if ws_items(t, c) < 0 or ws_close_frame(&frame, code, reason, size, NULL) < 0:
        conn_close(t, c, R_RESET)
        return
    tx_copy(t, c, frame.data, frame.len)
    vec_free(&frame)
    ws_close_sent(&c.ws.reader)
    c.ws.flags |= WF_CLOSE_SENT
    c.ws.end_ms = t.now_ms + CLOSE_WAIT_MS
    c.ws.open_items = 0
    c.flags &= ~<uint32_t> CF_STARVED
    rooms_leave(t, c)  # presence hears of it with the end of the connection; publications it gets no more


cdef void ws_bye(Thread* t, Conn* c, uint16_t code, const uint8_t* reason, size_t size, uint32_t reconnect_ms) noexcept nogil:
    cdef ByteVec* out
    cdef Text text
    if c.ws.path == WP_CHANNELS and not (c.ws.flags & WF_CLOSE_SENT or c.flags & CF_CLOSE_AFTER):
        text.data = reason
        text.size = <uint32_t> size
        out = ws_item_open(t, c)
        ws_item_done(t, c, -1 if out == NULL else push_bye(c.ws.form, out, code, &text, reconnect_ms))
    if c.fd >= 0:
        ws_close(t, c, code, reason, size)


cdef void ws_fail(Thread* t, Conn* c, int error) noexcept nogil:
    cdef ByteVec frame
    frame.data = NULL
    frame.len = frame.cap = 0
    t.stats.ws_failed += 1
    if not c.ws.flags & WF_CLOSE_SENT:
        if ws_items(t, c) < 0 or ws_failure(&frame, error, NULL) < 0:
            conn_close(t, c, R_RESET)
            return
        tx_copy(t, c, frame.data, frame.len)
        vec_free(&frame)
    rooms_leave(t, c)
    c.flags |= CF_CLOSE_AFTER
    c.ws.end_ms = t.now_ms + CLOSE_WAIT_MS


# -- socket and timer -------------------------------------------------------------------------------------------------

cdef bint ws_stopped(Thread* t, Conn* c) noexcept nogil:
    return c.flags & (CF_STARVED | CF_CLOSE_AFTER | CF_EOF) != 0 or c.out_bytes > BACKLOG_STOP or c.ws.open_items >= COMMANDS_MAX


cdef void ws_timer(Thread* t, Conn* c) noexcept nogil:
    """The nearest of all that may come due."""
    cdef int64_t at, other
    if c.flags & CF_CLOSE_AFTER or c.ws.flags & WF_CLOSE_SENT:
        timer_set(t, c, c.ws.end_ms)
        return
    at = c.ws.ping_ms
    if t.shared.ws.silent_ms:
        other = c.ws.heard_ms + t.shared.ws.silent_ms
        if other <= t.now_ms:  # it could not be heard, and is given as long again
            other += t.shared.ws.silent_ms
        if other < at:
            at = other
    if c.ws.end_ms and c.ws.end_ms < at:
        at = c.ws.end_ms
    if not c.ws.flags & WF_CONNECTED and c.ws.born_ms + t.shared.ws.connect_ms < at:
        at = c.ws.born_ms + t.shared.ws.connect_ms
    if c.ws.expires:
        other = t.now_ms + (c.ws.expires - t.now_unix) * 1000
        if other < at:
            at = other
    timer_set(t, c, at if at > t.now_ms else t.now_ms + 1)


cdef void ws_settle(Thread* t, Conn* c) noexcept nogil:
    if tx_flush(t, c) < 0:
        conn_close(t, c, R_RESET)
        return
    if c.fd < 0 or c.proto != P_WS:
        return
    if c.out_count == 0 and c.flags & CF_CLOSE_AFTER:
        conn_linger(t, c, c.reason if c.reason else R_LOCAL)
        return
    if c.flags & CF_CLOSE_AFTER or c.ws.flags & WF_CLOSE_SENT:
        timer_set(t, c, c.ws.end_ms)
    conn_arm(t, c, not ws_stopped(t, c), c.out_count > 0)
    if c.ssl != NULL and c.flags & CF_IN and SSL_pending(c.ssl) > 0:
        conn_again(t, c)
