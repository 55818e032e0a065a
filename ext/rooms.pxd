from libc.stdint cimport uint64_t

from nova.ext.channels cimport Chan
from nova.ext.io cimport Conn, Thread
from nova.ext.ws_conn cimport Place, Room, Sub

cdef Place* place_of(Conn* c, Chan* chan) noexcept nogil
# The place of a channel by its name; NULL: the connection is not in it.
cdef Place* place_named(Conn* c, const unsigned char* name, size_t size) noexcept nogil
# Enter a channel; NULL when memory is out. Who is in it already gets a new cursor.
cdef Sub* room_enter(Thread* t, Conn* c, Chan* chan, uint64_t cursor, uint64_t last) noexcept nogil
cdef void room_leave(Thread* t, Conn* c, Place* place) noexcept nogil
cdef bint room_list(Thread* t, Room* room) noexcept nogil
cdef void batch_drop(Room* room) noexcept nogil
# Out of all its channels; the watched ones are remembered for trio.
cdef void rooms_leave(Thread* t, Conn* c) noexcept nogil
# The end of a connection: that, and what it held is given back.
cdef void ws_part(Thread* t, Conn* c) noexcept nogil
cdef void ws_free(Conn* c) noexcept nogil
cdef void rooms_free(Thread* t) noexcept nogil
