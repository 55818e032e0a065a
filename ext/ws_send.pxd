from libc.stdint cimport uint8_t, uint16_t, uint32_t

from nova.ext.bytevec cimport ByteVec
from nova.ext.io cimport Conn, Thread

# One whole frame behind what was gathered; goes out at the next tx_flush. 0, or -1: the connection is to be closed.
cdef int ws_put(Thread* t, Conn* c, uint8_t first, const uint8_t* data, size_t size) noexcept nogil
# A message, deflated where that was agreed and pays. 0, or -1.
cdef int ws_message(Thread* t, Conn* c, uint8_t opcode, const uint8_t* data, size_t size) noexcept nogil
# A reply or push as JSON: goes out at the end of the turn, with the others in one frame.
cdef void ws_item(Thread* t, Conn* c, const uint8_t* json, size_t size) noexcept nogil
# Where an item in the connection's own form may be appended; the caller then says so with ws_item_done. NULL when memory is out.
cdef ByteVec* ws_item_open(Thread* t, Conn* c) noexcept nogil
cdef void ws_item_done(Thread* t, Conn* c, int failed) noexcept nogil
# What was gathered of items becomes frames. 0, or -1.
cdef int ws_items(Thread* t, Conn* c) noexcept nogil
cdef void ws_dirty(Thread* t) noexcept nogil
# Our close frame; no message goes either way after it. The peer's is awaited for a moment.
cdef void ws_close(Thread* t, Conn* c, uint16_t code, const uint8_t* reason, size_t size) noexcept nogil
# `bye`, and then the close frame.
cdef void ws_bye(Thread* t, Conn* c, uint16_t code, const uint8_t* reason, size_t size, uint32_t reconnect_ms) noexcept nogil
# The peer broke the framing (WsError): a close frame, and the end of the connection behind it.
cdef void ws_fail(Thread* t, Conn* c, int error) noexcept nogil
# After a turn's work on the connection: flush, then arm socket and timer.
cdef void ws_settle(Thread* t, Conn* c) noexcept nogil
cdef void ws_timer(Thread* t, Conn* c) noexcept nogil
# Whether nothing of its input can be taken now.
cdef bint ws_stopped(Thread* t, Conn* c) noexcept nogil
cdef uint32_t ws_random(Thread* t, uint32_t most) noexcept nogil
