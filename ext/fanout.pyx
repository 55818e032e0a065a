# nova: libraries=ssl,crypto,z
"""Fan-out on one I/O thread: sweeps over the members of a channel, in slices, with bytes that all members share.

A quiet channel is swept at once. A busy one gathers, at most for a tick from its oldest item on, and sends that as one frame (an array),
made once for each form in use. Who has a backlog is passed over and goes on from its cursor when its socket takes bytes again; what the window has left
behind by then is told in a `gap`.
"""
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcpy, memset

from nova.ext.atomics cimport nova_load32, nova_load64, nova_ref, nova_swap32
from nova.ext.buffer cimport Buf, buf_copy, buf_unref
from nova.ext.bytevec cimport ByteVec, vec_append, vec_free, vec_reserve
from nova.ext.channels cimport (
    FRAME_ROOM, POLICY_DISCONNECT, PUB_END, Pub, TAKE_MOST, chan_epoch, chan_name, chan_take, pub_form, pub_frame, pub_unref,
)
from nova.ext.commands cimport Text
from nova.ext.conn cimport conn_again, conn_arm, conn_at
from nova.ext.io cimport CF_CLOSE_AFTER, CF_IN, P_WS
from nova.ext.lifecycle cimport conn_close
from nova.ext.pushes cimport BATCH_ROOM, batch_close, batch_next, batch_open, push_gap
from nova.ext.rooms cimport batch_drop, place_of, room_enter, room_leave, room_list
from nova.ext.transport cimport tx_direct, tx_flush, tx_slice
from nova.ext.uring cimport uring_go, uring_send
from nova.ext.values cimport FORM_JSON
from nova.ext.wire cimport R_LIMIT, R_RESET
from nova.ext.ws cimport WS_BINARY, WS_FIN, WS_HEAD_MAX, WS_RSV1, WS_TEXT, ws_head
from nova.ext.ws_conn cimport Place, Room, Sub, WF_LATE
from nova.ext.ws_deflate cimport WS_WINDOW_BITS, WsZip, ws_deflate
from nova.ext.ws_send cimport ws_close, ws_item_done, ws_item_open, ws_items, ws_settle

cdef extern from * nogil:
    void prefetch "__builtin_prefetch"(const void* at)

cdef enum:
    SLICE = 256                 # sends of one sweep in one turn
    TURN = 512                  # ... of all sweeps
    FRAME_MOST = 49152          # bytes of items in one frame, unless one alone is longer
    DEFLATE_LEAST = 256
    AHEAD = 8                   # members of a sweep whose memory is asked for before their turn comes
    RATE_MS = 500               # what the rate of publications is an average of
    SILENCE = 4                 # times the usual distance of publications: after that without one the writer has paused
    PROBE_AFTER = 3             # ticks in a row that gathered nothing: the writer waits for its readers, so waiting is of no use
    PROBE_AGAIN = 256           # sweeps after which that is tried again, unless one gathers something by itself

cdef enum:                      # Room.batch_made
    NOT_MADE = 0
    MADE = 1
    NOT_ALIKE = 2               # members need bytes of their own


# -- the bytes of a sweep ---------------------------------------------------------------------------------------------

cdef int frame_of(Thread* t, Room* room, Pub** found, int count, int form, bint packed, ByteVec* out) noexcept nogil:
    """Items as one frame appended: an array. 0, or -1 when memory is out."""
    cdef uint8_t[BATCH_ROOM] piece
    cdef uint8_t[WS_HEAD_MAX] head
    cdef ByteVec body, small
    cdef Buf* item
    cdef int i
    cdef int failed = 0
    cdef uint8_t first = WS_FIN | (WS_TEXT if form == FORM_JSON else WS_BINARY)
    memset(&body, 0, sizeof(body))
    memset(&small, 0, sizeof(small))
    failed |= vec_append(&body, piece, batch_open(form, piece, <uint32_t> count))
    for i in range(count):
        item = pub_form(room.chan, found[i], form)
        if item == NULL:
            failed = -1
            break
        if i and batch_next(form, piece):
            failed |= vec_append(&body, piece, 1)
        failed |= vec_append(&body, item.data + FRAME_ROOM, item.size - FRAME_ROOM)
    if batch_close(form, piece):
        failed |= vec_append(&body, piece, 1)
    if not failed and packed and body.len >= DEFLATE_LEAST and ws_deflate(&t.zip, body.data, body.len, &small) == 1:
        failed |= vec_append(out, head, ws_head(head, first | WS_RSV1, small.len))
        failed |= vec_append(out, small.data, small.len)
    elif not failed:
        failed |= vec_append(out, head, ws_head(head, first, body.len))
        failed |= vec_append(out, body.data, body.len)
    vec_free(&small)
    vec_free(&body)
    return failed


cdef void batch_make(Thread* t, Room* room, int form, bint packed) noexcept nogil:
    """What this sweep sends to members of one form, in step with one another."""
    cdef Pub* found[TAKE_MOST]
    cdef uint64_t gap[2]
    cdef uint64_t cursor = room.start, last = 0
    cdef int which = form | (2 if packed else 0)
    cdef int count, i
    cdef size_t at = 0
    cdef ByteVec out
    cdef Buf* buf
    cdef int failed = 0
    memset(&out, 0, sizeof(out))
    room.batch_made[which] = NOT_ALIKE
    t.stats.ws_encoded += 1
    while cursor < room.told:
        count = chan_take(room.chan, &cursor, room.told, &last, found, TAKE_MOST, FRAME_MOST, gap)
        if gap[1] or cursor < room.start:
            failed = 1  # the window has left the sweep behind: members hear of the gap, each of its own
        elif count == 1 and out.len == 0 and cursor >= room.told:
            buf = pub_frame(room.chan, found[0], form, &t.zip if packed else NULL, &at)
            if buf == NULL and packed:
                buf = pub_frame(room.chan, found[0], form, NULL, &at)
            if buf == NULL:
                failed = 1
            else:
                nova_ref(&buf.refs)
                room.batch[which] = buf
                room.batch_at[which] = at
                room.batch_made[which] = MADE
        elif count and not failed and frame_of(t, room, found, count, form, packed, &out) < 0:
            failed = 1
        for i in range(count):
            pub_unref(found[i])
        if failed or (count == 0 and cursor < room.told):
            break
    if not failed and out.len:
        buf = buf_copy(out.data, out.len)
        if buf != NULL:
            room.batch[which] = buf
            room.batch_at[which] = 0
            room.batch_made[which] = MADE
    vec_free(&out)


# -- one member -------------------------------------------------------------------------------------------------------

cdef bint tell_gap(Thread* t, Conn* c, Room* room, uint64_t first, uint64_t last) noexcept nogil:
    """The window has left this member behind. False when that ends its connection."""
    cdef Text name = chan_name(room.chan)
    cdef Text epoch = chan_epoch(room.chan)
    cdef ByteVec* out
    t.stats.ws_gaps += 1
    t.stats.ws_dropped += last - first + 1
    if room.chan.policy == POLICY_DISCONNECT:
        slow(t, c)
        return False
    out = ws_item_open(t, c)
    ws_item_done(t, c, -1 if out == NULL else push_gap(c.ws.form, out, &name, &epoch, first, last))
    return c.fd >= 0


cdef void slow(Thread* t, Conn* c) noexcept nogil:
    t.stats.ws_slow += 1
    ws_close(t, c, 4005, b"slow_reader", 11)
    if c.fd >= 0:
        ws_settle(t, c)


cdef int serve(Thread* t, Conn* c, Place* place) noexcept nogil:
    """Send a member what waits at its cursor, up to a frame's worth: 1 there is more, 0 it is in step, -1 it is no member any more."""
    cdef Room* room = place.room
    cdef Sub* sub = &room.subs[place.index]
    cdef Pub* found[TAKE_MOST]
    cdef uint64_t gap[2]
    cdef uint64_t until = room.told, first
    cdef size_t at = 0
    cdef int count, i, form = c.ws.form
    cdef bint over = False
    cdef bint failed = False
    cdef Buf* buf
    cdef WsZip* zip = &t.zip if c.ws.deflate and c.ws.window_bits == WS_WINDOW_BITS else NULL
    if sub.cursor >= until:
        return 0
    first = nova_load64(&room.chan.first)  # approximately: the writer may be moving it
    if sub.cursor < first:
        t.stats.ws_passed += first - sub.cursor
    count = chan_take(room.chan, &sub.cursor, until, &sub.last, found, TAKE_MOST, FRAME_MOST, gap)
    if gap[1] and not tell_gap(t, c, room, gap[0], gap[1]):
        for i in range(count):
            pub_unref(found[i])
        return -1
    if ws_items(t, c) < 0:
        failed = True
    for i in range(count):
        buf = NULL
        if not failed and zip != NULL:
            buf = pub_frame(room.chan, found[i], form, zip, &at)
        if not failed and buf == NULL:
            buf = pub_frame(room.chan, found[i], form, NULL, &at)
        if buf == NULL:
            failed = True
        else:
            tx_slice(t, c, buf, at, buf.size - at)
        over = found[i].kind == PUB_END
        pub_unref(found[i])
    if tx_flush(t, c) < 0 or failed:
        conn_close(t, c, R_RESET)
        return -1
    t.stats.ws_sends += 1
    t.stats.ws_deliveries += <uint64_t> count
    if c.out_count:
        conn_arm(t, c, c.flags & CF_IN != 0, True)
    if over:
        room_leave(t, c, place)
        return -1
    return 1 if sub.cursor < until else 0


cdef void fan_pump(Thread* t, Conn* c) noexcept nogil:
    cdef uint32_t i = 0, before
    cdef int said
    if not c.ws.flags & WF_LATE or c.flags & CF_CLOSE_AFTER:
        return
    c.ws.flags &= ~WF_LATE
    while i < c.ws.place_count:
        if c.out_count:
            c.ws.flags |= WF_LATE
            return
        before = c.ws.place_count
        said = serve(t, c, &c.ws.places[i])
        if c.fd < 0 or c.proto != P_WS:
            return
        if said == 1:
            c.ws.flags |= WF_LATE
            if c.out_count == 0:
                conn_again(t, c)  # in the next turn, after everybody else
        if c.ws.place_count == before:
            i += 1


cdef void fan_join(Thread* t, Conn* c, Chan* chan, uint64_t cursor, uint64_t last) noexcept nogil:
    cdef Sub* sub = room_enter(t, c, chan, cursor, last)
    cdef Room* room
    if sub == NULL:
        conn_close(t, c, R_LIMIT)
        return
    room = c.ws.places[sub.place].room
    if cursor < room.told:
        c.ws.flags |= WF_LATE
        fan_pump(t, c)
    elif room.count == 1 and nova_load64(&chan.next) > room.told:
        fan_news(t, chan)  # its bell may have been rung before there was a room to hear it, and rings once for all that came meanwhile


# -- sweeps -----------------------------------------------------------------------------------------------------------

cdef void newest(Room* room) noexcept nogil:
    """What the last item of the sweep says: the offset that its members have then, and whether it is the end of the channel.

    Asked of the item itself: the writer may be closing the channel at this moment.
    """
    cdef Pub* found[1]
    cdef uint64_t gap[2]
    cdef uint64_t cursor = room.told - 1
    room.last = 0
    room.ends = False
    if chan_take(room.chan, &cursor, room.told, &room.last, found, 1, 1, gap):
        room.ends = found[0].kind == PUB_END
        pub_unref(found[0])


cdef void begin(Thread* t, Room* room, bint waited) noexcept nogil:
    batch_drop(room)
    room.start = room.told
    room.told = nova_load64(&room.chan.next)
    room.pubs = <uint32_t> (room.told - room.start)
    newest(room)
    room.at = room.count
    room.due = room.first_ms = 0
    room.flushed_ms = t.now_ms
    if waited:
        room.alone = room.alone + 1 if room.pubs == 1 else 0
    elif room.alone >= PROBE_AFTER:
        room.alone += 1
        if room.alone >= PROBE_AGAIN or room.pubs > 1:
            room.alone = PROBE_AFTER - 1
    t.stats.ws_sweeps += 1
    if not room_list(t, room):
        room.at = 0  # the next one serves each of its members from its cursor


cdef void decide(Thread* t, Room* room) noexcept nogil:
    """New items: send them now, or wait for more.

    A wait ends a tick after its oldest item came, or when the writer has paused: it may be waiting for its readers. None begins when the
    sweep before lies as far back as the items of a channel that is not busy do: a burst of joins makes no slow writer wait.
    """
    cdef Chan* chan = room.chan
    cdef int64_t paused_ms
    # Each of these is of its own moment: what follows is no more than a guess at how long to wait.
    cdef uint64_t next = nova_load64(&chan.next)
    cdef uint64_t waiting = next - room.told
    cdef uint64_t kept = next - nova_load64(&chan.first)
    if waiting == 0:
        return
    if room.first_ms == 0:
        room.first_ms = t.now_ms
    if chan.tick_ms and not nova_load32(&chan.closed) and (room.due or t.now_ms < room.flushed_ms + chan.tick_ms * 4 // 5) and room.alone < PROBE_AFTER and \
            room.rate > <uint64_t> chan.busy_rate * 1250 and waiting * 2 < chan.max_items and waiting * (nova_load64(&chan.bytes) // (kept if kept else 1)) < chan.flush_bytes:
        paused_ms = t.now_ms + SILENCE * 1000000 // <int64_t> room.rate + 1
        room.due = room.first_ms + chan.tick_ms
        if paused_ms < room.due:
            room.due = paused_ms
        room_list(t, room)
        return
    begin(t, room, False)


cdef void fan_news(Thread* t, Chan* chan) noexcept nogil:
    cdef Room* room = <Room*> chan.rooms[t.index]
    cdef uint64_t next
    cdef int64_t elapsed
    nova_swap32(&chan.queued[t.index], 0)
    if room == NULL:
        return
    next = nova_load64(&chan.next)
    elapsed = t.now_ms - room.rate_ms
    room.rate_ms = t.now_ms
    if elapsed >= RATE_MS or elapsed < 0:
        room.rate = 0
    else:
        room.rate -= room.rate * <uint64_t> elapsed // RATE_MS
    room.rate += (next - room.seen) * (1000000 // RATE_MS)
    room.seen = next
    if room.first_ms == 0 and next > room.told:
        room.first_ms = t.now_ms
    if room.at == 0:  # else the end of the sweep under way looks again
        decide(t, room)


cdef void send_batch(Thread* t, Conn* c, Room* room, Sub* sub, int which) noexcept nogil:
    """The sweep's bytes to a member that is in step."""
    cdef Buf* buf = room.batch[which]
    cdef size_t at = room.batch_at[which]
    sub.cursor = room.told
    sub.last = room.last
    if c.ws.item_count and (ws_items(t, c) < 0 or tx_flush(t, c) < 0):
        conn_close(t, c, R_RESET)
        return
    t.stats.ws_sends += 1
    t.stats.ws_deliveries += room.pubs
    if t.uring != NULL and uring_send(t, c, buf, at, buf.size - at):
        return
    if tx_direct(t, c, buf, at, buf.size - at) < 0:
        conn_close(t, c, R_RESET)
        return
    if c.out_count:
        conn_arm(t, c, c.flags & CF_IN != 0, True)


cdef int sweep(Thread* t, Room* room, int budget) noexcept nogil:
    """Go on with a sweep; the sends that it took."""
    cdef int used
    t.sweeping = room
    used = slice_of(t, room, budget)
    if t.uring != NULL:
        uring_go(t)
    if t.sweeping == NULL:  # its last member has left
        return used
    if room.at == 0:
        batch_drop(room)
        decide(t, room)
    t.sweeping = NULL
    return used


cdef int slice_of(Thread* t, Room* room, int budget) noexcept nogil:
    """The next members of a sweep, from the end of the array on. The room may be gone afterwards: then `sweeping` is NULL."""
    cdef Sub* sub
    cdef Conn* c
    cdef Place* place
    cdef int which, said, used = 0
    while room.at > 0 and used < budget:
        if room.at > 2 * AHEAD:
            prefetch(conn_at(t, room.subs[room.at - 2 * AHEAD].conn))
            prefetch(conn_at(t, room.subs[room.at - AHEAD].conn).ws)
        room.at -= 1
        sub = &room.subs[room.at]
        c = conn_at(t, sub.conn)
        if sub.cursor >= room.told:
            continue
        if c.out_count or c.ws.flags & WF_LATE:
            c.ws.flags |= WF_LATE
            if room.chan.policy == POLICY_DISCONNECT and sub.cursor < nova_load64(&room.chan.first):
                slow(t, c)
                if t.sweeping == NULL:
                    return used
            continue
        used += 1
        which = c.ws.form
        if c.ws.deflate and c.ws.window_bits == WS_WINDOW_BITS:
            which |= 2
        if sub.cursor == room.start:
            if room.batch_made[which] == NOT_MADE:
                batch_make(t, room, which & 1, which & 2 != 0)
            if room.batch_made[which] == MADE:
                send_batch(t, c, room, sub, which)
                if t.sweeping == NULL:
                    return used
                if room.ends and c.fd >= 0 and c.ws != NULL:
                    place = place_of(c, room.chan)
                    if place != NULL:
                        room_leave(t, c, place)
                if t.sweeping == NULL:
                    return used
                continue
        said = serve(t, c, &c.ws.places[sub.place])
        if t.sweeping == NULL:
            return used
        if said == 1 and c.fd >= 0 and c.proto == P_WS:
            c.ws.flags |= WF_LATE
            if c.out_count == 0:
                conn_again(t, c)
    return used


cdef void fan_turn(Thread* t) noexcept nogil:
    cdef uint32_t i = 0
    cdef int left = TURN
    cdef Room* room
    while i < t.room_count:
        room = t.rooms[i]
        if room.at == 0 and room.due and t.now_ms >= room.due:
            begin(t, room, True)
        if room.at:
            if left <= 0:
                i += 1
                continue
            left -= sweep(t, room, SLICE if left > SLICE else left)
            if i >= t.room_count or t.rooms[i] != room:
                continue  # it came to its end meanwhile, and another one has its place
        if room.at == 0 and room.due == 0:
            room.listed = False
            t.room_count -= 1
            t.rooms[i] = t.rooms[t.room_count]
            continue
        i += 1
    if t.room_count > 1 and left <= 0:  # those that had no turn come first in the next one
        room = t.rooms[0]
        t.rooms[0] = t.rooms[t.room_count - 1]
        t.rooms[t.room_count - 1] = room


cdef int64_t fan_sleep(Thread* t) noexcept nogil:
    cdef uint32_t i
    cdef int64_t least = 1000
    for i in range(t.room_count):
        if t.rooms[i].at:
            return 0
        if t.rooms[i].due - t.now_ms < least:
            least = t.rooms[i].due - t.now_ms
    return least if least > 0 else 0
