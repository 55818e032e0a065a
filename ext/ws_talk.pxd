from libc.stdint cimport uint8_t, uint16_t

from nova.ext.io cimport Conn, Thread
from nova.ext.ring cimport Record

# A whole message of /v1/ws: its commands are answered here or go up.
cdef void talk_message(Thread* t, Conn* c, uint8_t* data, size_t size) noexcept nogil
# The token of the upgrade was good, and trio wants to be asked.
cdef void talk_connected(Thread* t, Conn* c) noexcept nogil
# A command of trio (CM_WS_*). c: its connection, NULL: gone, or none is meant.
cdef void talk_command(Thread* t, Conn* c, Record* r) noexcept nogil
# What such a command holds that nobody will carry out.
cdef void talk_drop(uint16_t kind, unsigned long long arg) noexcept nogil
