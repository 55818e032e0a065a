from libc.stdint cimport int64_t, uint64_t

from nova.ext.channels cimport Chan
from nova.ext.io cimport Conn, Thread

# The connection is a member from item `cursor` on; `last`: offset of the newest publication that it has.
cdef void fan_join(Thread* t, Conn* c, Chan* chan, uint64_t cursor, uint64_t last) noexcept nogil
# The channel has new items.
cdef void fan_news(Thread* t, Chan* chan) noexcept nogil
# Once a turn: a bounded part of every sweep, and those that a tick begins.
cdef void fan_turn(Thread* t) noexcept nogil
# Milliseconds until fan_turn has something to do; large when it has nothing.
cdef int64_t fan_sleep(Thread* t) noexcept nogil
# The connection takes bytes again: what waits at its cursors goes out.
cdef void fan_pump(Thread* t, Conn* c) noexcept nogil
