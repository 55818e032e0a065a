"""A channel: one writer (trio), a bounded window of publications, readers on every I/O thread and in trio; see channels.pyx."""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from nova.ext.buffer cimport Buf
from nova.ext.bytevec cimport ByteVec
from nova.ext.commands cimport Text
from nova.ext.pthread cimport pthread_mutex_t
from nova.ext.ws_deflate cimport WsZip

cdef enum Policy:               # what becomes of a reader that the window has left behind
    POLICY_DROP_OLDEST = 0      # it hears of the gap and goes on with the oldest that is kept
    POLICY_CONFLATE = 1         # ... but what a newer one with the same key replaces is not missed
    POLICY_DISCONNECT = 2       # its connection ends with 4005

cdef enum PubKind:
    PUB_DATA = 0                # a publication
    PUB_PUSH = 1                # join, leave …: in order with publications, without an offset
    PUB_END = 2                 # unsub: the last item of a channel that is closed

cdef enum:
    FRAME_ROOM = 10             # bytes before an item, for the head of a frame that holds nothing else
    TAKE_MOST = 64              # items of one look at the window

ctypedef struct Pub:            # one item of a channel; all but the forms is final when it is appended
    int32_t refs
    uint8_t kind                # PubKind
    uint8_t replaced            # a newer one with the same key is in the window
    uint8_t whole[2]            # per form: deflating does not make it smaller
    uint16_t key_size
    uint64_t key_hash
    uint64_t offset             # of a push: of the publication before it
    Buf* forms[2]               # per form: the whole push behind FRAME_ROOM bytes; the head's last byte is the room's
    Buf* packed[2]              # per form: the frame with the deflated push; NULL: nobody has asked for it
    uint8_t* key                # behind this structure

ctypedef struct Chan:
    int32_t refs
    pthread_mutex_t lock
    Pub** items                 # a ring; the item of number n lies at n & (cap - 1)
    uint64_t cap                # a power of two
    # `first`, `next`, `bytes` and `closed` change under the lock and are stored whole: I/O threads look at them without it
    uint64_t first              # number of the oldest item that is kept
    uint64_t next               # number of the item to come
    uint64_t offset             # of the newest publication
    uint64_t dropped            # of the newest publication that left the window, and that none replaced
    uint64_t bytes              # of JSON in the window
    size_t max_bytes
    uint64_t max_items
    uint8_t policy
    bint watched
    uint32_t closed             # 0 or 1
    uint32_t tick_ms
    uint32_t busy_rate          # publications a second
    uint32_t flush_bytes
    uint8_t* text               # name and epoch
    uint32_t name_size
    uint32_t epoch_size
    int32_t members             # sockets, over all threads
    void* rooms[16]             # Room* of each thread, that thread's own
    uint32_t queued[16]         # the thread has been told of news and has not looked yet
    uint32_t used[16]           # the thread has, or may have, members

cdef void pub_unref(Pub* pub) noexcept nogil
# The item in a form, a borrowed reference; NULL when memory is out.
cdef Buf* pub_form(Chan* chan, Pub* pub, int form) noexcept nogil
# The frame that holds just this item: a borrowed reference and where the frame begins. deflated: NULL when that is not smaller.
cdef Buf* pub_frame(Chan* chan, Pub* pub, int form, WsZip* zip, size_t* offset) noexcept nogil

cdef void chan_unref(Chan* chan) noexcept nogil
# Items from `cursor` up to `until`, each with a reference of its own; moves `cursor` behind them and `last` to the newest offset.
# gap: first and last offset of what this reader missed, 0 when it missed nothing.
cdef int chan_take(Chan* chan, uint64_t* cursor, uint64_t until, uint64_t* last, Pub** out, int most, size_t bytes, uint64_t* gap) noexcept nogil
cdef Text chan_name(Chan* chan) noexcept nogil
cdef Text chan_epoch(Chan* chan) noexcept nogil

cdef class Channel:
    cdef Chan* chan
    cdef readonly str name
    cdef readonly str epoch
    cdef object notify
    cdef int append(self, uint8_t kind, uint64_t offset, ByteVec* made, bytes key) except -1
