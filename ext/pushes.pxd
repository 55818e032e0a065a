"""Replies and pushes of the channel protocol, encoded once in JSON or msgpack. Pure, nogil; `form` is a Form of values.pxd.

Every function appends one whole item and answers 0, or -1 when memory is out. Strings are UTF-8 without their quotes; `data` and `info`
are values in the same form.
"""
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from nova.ext.bytevec cimport ByteVec
from nova.ext.commands cimport Text
from nova.ext.msgpack cimport mp_put_array
from nova.ext.values cimport FORM_JSON

ctypedef struct Publication:
    uint64_t offset
    int64_t at                      # ms since 1970
    Text data                       # in the form that is written
    Text info                       # size 0: none

ctypedef struct Member:
    Text user                       # size 0: null
    Text client
    int64_t since                   # ms since 1970

# --- pushes ---
cdef int push_pub(int form, ByteVec* out, const Text* channel, const Publication* publication) noexcept nogil
cdef int push_join(int form, ByteVec* out, bint joined, const Text* channel, const Text* user, const Text* client) noexcept nogil
cdef int push_gap(int form, ByteVec* out, const Text* channel, const Text* epoch, uint64_t first, uint64_t last) noexcept nogil
cdef int push_unsub(int form, ByteVec* out, const Text* channel, uint16_t code, const Text* reason) noexcept nogil
cdef int push_bye(int form, ByteVec* out, uint16_t code, const Text* reason, uint32_t reconnect_after_ms) noexcept nogil
# --- replies ---
# retry_ms: 0: the field is left out.
cdef int reply_error(int form, ByteVec* out, uint32_t id, const Text* code, const Text* message, uint32_t retry_ms) noexcept nogil
# {id, <command>: {}}: unsubscribe and ping
cdef int reply_empty(int form, ByteVec* out, uint32_t id, int command) noexcept nogil
# user of size 0: null; expires_in in seconds, 0: null (the connection does not expire)
cdef int reply_connect(int form, ByteVec* out, uint32_t id, const Text* client, const Text* user, uint32_t expires_in,
                       uint32_t ping_s) noexcept nogil
# expires_in: as in `reply_connect`
cdef int reply_refresh(int form, ByteVec* out, uint32_t id, uint32_t expires_in) noexcept nogil
cdef int reply_publish(int form, ByteVec* out, uint32_t id, uint64_t offset, const Text* epoch, bint durable) noexcept nogil
cdef int reply_subscribe(int form, ByteVec* out, uint32_t id, uint64_t offset, const Text* epoch, bint recovered,
                         const Publication* publications, uint32_t count) noexcept nogil
cdef int reply_history(int form, ByteVec* out, uint32_t id, uint64_t offset, const Text* epoch, bint more,
                       const Publication* publications, uint32_t count) noexcept nogil
cdef int reply_presence(int form, ByteVec* out, uint32_t id, uint64_t total, bint more, const Member* members, uint32_t count) noexcept nogil
# --- several items in one frame: open, item, next, item … close ---
# Each writes to `out` and gives the bytes: at most BATCH_ROOM for the opening, 1 or 0 for the others.
cdef enum:
    BATCH_ROOM = 5

cdef inline size_t batch_open(int form, uint8_t* out, uint32_t count) noexcept nogil:
    if form == FORM_JSON:
        out[0] = c'['
        return 1
    return mp_put_array(out, count)

cdef inline size_t batch_next(int form, uint8_t* out) noexcept nogil:
    out[0] = c','
    return 1 if form == FORM_JSON else 0

cdef inline size_t batch_close(int form, uint8_t* out) noexcept nogil:
    out[0] = c']'
    return 1 if form == FORM_JSON else 0
