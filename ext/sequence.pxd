from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t

from nova.ext.buffer cimport Buf
from nova.ext.pthread cimport pthread_mutex_t

ctypedef struct Item:
    Buf* buf
    size_t offset
    size_t size
    bint key

ctypedef struct Seq:
    int32_t refs
    pthread_mutex_t lock
    Item* items             # a ring; item of offset n lies at n & (cap - 1)
    uint64_t cap            # a power of two
    uint64_t first          # offset of the oldest item that is kept
    uint64_t next           # offset of the item to come
    uint64_t last_key       # offset of the newest key item, or `next` + nothing when there is none
    bint has_key
    size_t bytes
    size_t max_bytes
    uint64_t max_items
    bint closed
    bint broken             # closed before its end was reached
    # readers on I/O threads: the first connection of each thread, that thread's own to change
    uint32_t readers[16]
    uint32_t queued[16]     # the thread has been told and has not looked yet
    int32_t reader_count

cdef Seq* seq_new(uint64_t max_items, size_t max_bytes) noexcept nogil
cdef void seq_unref(Seq* seq) noexcept nogil
cdef uint64_t seq_append(Seq* seq, Buf* buf, size_t offset, size_t size, bint key) noexcept nogil
cdef uint64_t seq_join(Seq* seq) noexcept nogil
cdef int seq_take(Seq* seq, uint64_t* cursor, Item* out, int most, uint64_t* lost, bint* ended) noexcept nogil

cdef class Sequence:
    cdef Seq* seq
    cdef readonly str epoch
    cdef object notify
