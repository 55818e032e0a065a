"""Members of channels on one I/O thread: an array of readers a channel, a list of places a connection, both with swap-remove.

A sweep goes through the array from its end. What is removed meanwhile is replaced by the last member, which the sweep has served or
which has its cursor to show that it has not: nobody is left out, nobody served twice.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcmp

from nova.ext.atomics cimport nova_add32, nova_load32, nova_ref
from nova.ext.buffer cimport buf_unref
from nova.ext.bytevec cimport vec_append, vec_free, vec_reserve
from nova.ext.channels cimport chan_unref
from nova.ext.conn cimport conn_at
from nova.ext.io cimport CF_KNOWN
from nova.ext.ws cimport ws_reader_free

cdef enum:
    FEW = 4                     # members for which a room first has room


cdef Place* place_of(Conn* c, Chan* chan) noexcept nogil:
    cdef uint16_t i
    for i in range(c.ws.place_count):
        if c.ws.places[i].room.chan == chan:
            return &c.ws.places[i]
    return NULL


cdef Place* place_named(Conn* c, const unsigned char* name, size_t size) noexcept nogil:
    cdef uint16_t i
    cdef Chan* chan
    for i in range(c.ws.place_count):
        chan = c.ws.places[i].room.chan
        if not nova_load32(&chan.closed) and chan.name_size == size and memcmp(chan.text, name, size) == 0:
            return &c.ws.places[i]
    return NULL


cdef Room* room_of(Thread* t, Chan* chan) noexcept nogil:
    """This thread's part of a channel, made when it is not there; NULL when memory is out."""
    cdef Room* room = <Room*> chan.rooms[t.index]
    if room != NULL:
        return room
    room = <Room*> calloc(1, sizeof(Room))
    if room == NULL:
        return NULL
    room.chan = chan
    nova_ref(&chan.refs)
    room.flushed_ms = t.now_ms - 60000
    room.rate_ms = t.now_ms
    chan.rooms[t.index] = room
    return room


cdef void batch_drop(Room* room) noexcept nogil:
    """The bytes of the sweep that is over."""
    cdef int i
    for i in range(4):
        if room.batch[i] != NULL:
            buf_unref(room.batch[i])
            room.batch[i] = NULL
        room.batch_made[i] = 0


cdef void room_end(Thread* t, Room* room) noexcept nogil:
    """The last member has left."""
    cdef uint32_t i
    if room.listed:
        for i in range(t.room_count):
            if t.rooms[i] == room:
                t.room_count -= 1
                t.rooms[i] = t.rooms[t.room_count]
                break
    if t.sweeping == room:
        t.sweeping = NULL
    room.chan.rooms[t.index] = NULL
    batch_drop(room)
    chan_unref(room.chan)
    free(room.subs)
    free(room)


cdef bint room_list(Thread* t, Room* room) noexcept nogil:
    """There is something to do for it: `fan_turn` looks at it. False: memory is out."""
    cdef Room** grown
    if room.listed:
        return True
    if t.room_count == t.room_cap:
        grown = <Room**> realloc(t.rooms, (t.room_cap * 2 + 16) * sizeof(Room*))
        if grown == NULL:
            return False
        t.rooms = grown
        t.room_cap = t.room_cap * 2 + 16
    t.rooms[t.room_count] = room
    t.room_count += 1
    room.listed = True
    return True


cdef Sub* room_enter(Thread* t, Conn* c, Chan* chan, uint64_t cursor, uint64_t last) noexcept nogil:
    cdef Place* place = place_of(c, chan)
    cdef Room* room
    cdef Sub* subs
    cdef Sub* sub
    cdef Place* places
    cdef uint32_t cap
    if place != NULL:
        sub = &place.room.subs[place.index]
        sub.cursor = cursor
        sub.last = last
        return sub
    room = room_of(t, chan)
    if room == NULL:
        return NULL
    if room.count == room.cap:
        cap = room.cap + room.cap // 2 if room.cap else FEW
        subs = <Sub*> realloc(room.subs, cap * sizeof(Sub))
        if subs != NULL:
            room.subs = subs
            room.cap = cap
    if c.ws.place_count == c.ws.place_cap:
        cap = c.ws.place_cap * 2 if c.ws.place_cap else 1
        places = <Place*> realloc(c.ws.places, cap * sizeof(Place))
        if places != NULL:
            c.ws.places = places
            c.ws.place_cap = <uint16_t> cap
    if room.count == room.cap or c.ws.place_count == c.ws.place_cap:
        if room.count == 0:
            room_end(t, room)
        return NULL
    if room.count == 0:
        room.told = room.start = room.seen = cursor
    sub = &room.subs[room.count]
    sub.conn = c.index
    sub.place = c.ws.place_count
    sub.cursor = cursor
    sub.last = last
    c.ws.places[c.ws.place_count].room = room
    c.ws.places[c.ws.place_count].index = room.count
    room.count += 1
    c.ws.place_count += 1
    nova_add32(&chan.members, 1)
    return sub


cdef void room_leave(Thread* t, Conn* c, Place* place) noexcept nogil:
    cdef Room* room = place.room
    cdef uint32_t index = place.index
    cdef uint32_t mine = <uint32_t> (place - c.ws.places)
    cdef uint32_t last
    # Out of the channel's array: the last member takes the place.
    room.count -= 1
    last = room.count
    if index != last:
        room.subs[index] = room.subs[last]
        conn_at(t, room.subs[index].conn).ws.places[room.subs[index].place].index = index
    if room.at > room.count:
        room.at = room.count
    # Out of the connection's list, the same way.
    c.ws.place_count -= 1
    if mine != c.ws.place_count:
        c.ws.places[mine] = c.ws.places[c.ws.place_count]
        c.ws.places[mine].room.subs[c.ws.places[mine].index].place = mine
    if c.ws.place_count == 0:
        free(c.ws.places)
        c.ws.places = NULL
        c.ws.place_cap = 0
    nova_add32(&room.chan.members, -1)
    if room.count == 0:
        room_end(t, room)


cdef void rooms_leave(Thread* t, Conn* c) noexcept nogil:
    cdef Chan* chan
    cdef uint8_t size
    while c.ws.place_count:
        chan = c.ws.places[c.ws.place_count - 1].room.chan
        size = <uint8_t> chan.name_size
        if chan.watched and c.flags & CF_KNOWN and vec_reserve(&c.ws.gone, <size_t> size + 1) != NULL:
            vec_append(&c.ws.gone, &size, 1)
            vec_append(&c.ws.gone, chan.text, chan.name_size)
        room_leave(t, c, &c.ws.places[c.ws.place_count - 1])


cdef void ws_part(Thread* t, Conn* c) noexcept nogil:
    rooms_leave(t, c)
    ws_reader_free(&c.ws.reader)
    vec_free(&c.ws.items)
    c.ws.item_count = 0
    free(c.ws.ids)
    c.ws.ids = NULL
    c.ws.open_items = 0


cdef void ws_free(Conn* c) noexcept nogil:
    """What is left of it after `ws_part`."""
    vec_free(&c.ws.gone)
    free(c.ws.who)
    free(c.ws)
    c.ws = NULL


cdef void rooms_free(Thread* t) noexcept nogil:
    """After the last connection of the thread has left."""
    free(t.rooms)
    t.rooms = NULL
    t.room_count = t.room_cap = 0
