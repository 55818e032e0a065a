"""One writer, many readers: a bounded window of immutable items with offsets from 1, and cursors that follow it.

A reader that falls out of the window goes on at the newest key item (an item that a reader can start from), or waits for the next
one, and is told how many it lost. The same window serves the connections of the I/O threads and the readers in trio; nothing is copied for either.
"""
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from nova.ext.atomics cimport nova_add32, nova_ref
from nova.ext.buffer cimport Buffer, buf_unref, buffer_wrap
from nova.ext.pthread cimport pthread_mutex_destroy, pthread_mutex_init, pthread_mutex_lock, pthread_mutex_unlock

import os


cdef Seq* seq_new(uint64_t max_items, size_t max_bytes) noexcept nogil:
    """A window of at most `max_items` items and `max_bytes` bytes, 0 items: everything is kept; NULL when memory is out."""
    cdef Seq* seq = <Seq*> calloc(1, sizeof(Seq))
    cdef int t
    if seq == NULL:
        return NULL
    seq.refs = 1
    seq.cap = 16
    while seq.cap < max_items + 1:
        seq.cap *= 2
    seq.items = <Item*> calloc(seq.cap, sizeof(Item))
    if seq.items == NULL:
        free(seq)
        return NULL
    seq.max_items = max_items
    seq.max_bytes = max_bytes
    seq.first = seq.next = 1
    for t in range(16):
        seq.readers[t] = 0xFFFFFFFF
    pthread_mutex_init(&seq.lock, NULL)
    return seq


cdef void seq_unref(Seq* seq) noexcept nogil:
    if nova_add32(&seq.refs, -1) != 0:
        return
    while seq.first < seq.next:
        buf_unref(seq.items[seq.first & (seq.cap - 1)].buf)
        seq.first += 1
    pthread_mutex_destroy(&seq.lock)
    free(seq.items)
    free(seq)


cdef bint widen(Seq* seq) noexcept nogil:
    """Twice the room for items; False when memory is out."""
    cdef Item* fresh = <Item*> calloc(seq.cap * 2, sizeof(Item))
    cdef uint64_t at
    if fresh == NULL:
        return False
    for at in range(seq.first, seq.next):
        fresh[at & (seq.cap * 2 - 1)] = seq.items[at & (seq.cap - 1)]
    free(seq.items)
    seq.items = fresh
    seq.cap *= 2
    return True


cdef uint64_t seq_append(Seq* seq, Buf* buf, size_t offset, size_t size, bint key) noexcept nogil:
    """Append an item (takes over one reference of `buf`); its offset. The oldest items go when the window is full."""
    cdef Item* item
    cdef uint64_t at
    pthread_mutex_lock(&seq.lock)
    if seq.max_items == 0:
        if seq.next - seq.first + 1 >= seq.cap and not widen(seq):
            seq.broken = seq.closed = True  # memory is out: readers end, visibly
            pthread_mutex_unlock(&seq.lock)
            buf_unref(buf)
            return 0
    else:
        while seq.first < seq.next and (seq.next - seq.first >= seq.max_items or seq.bytes + size > seq.max_bytes):
            item = &seq.items[seq.first & (seq.cap - 1)]
            seq.bytes -= item.size
            buf_unref(item.buf)
            seq.first += 1
    at = seq.next
    item = &seq.items[at & (seq.cap - 1)]
    item.buf = buf
    item.offset = offset
    item.size = size
    item.key = key
    seq.bytes += size
    if key:
        seq.last_key = at
        seq.has_key = True
    seq.next = at + 1
    pthread_mutex_unlock(&seq.lock)
    return at


cdef uint64_t seq_join(Seq* seq) noexcept nogil:
    """Where a new reader starts: the newest key item in the window, 0 (the next key item) when that has left it, and without any
    key item so far the item to come."""
    cdef uint64_t at
    pthread_mutex_lock(&seq.lock)
    if not seq.has_key:
        at = seq.next
    else:
        at = seq.last_key if seq.last_key >= seq.first else 0
    pthread_mutex_unlock(&seq.lock)
    return at


cdef int seq_take(Seq* seq, uint64_t* cursor, Item* out, int most, uint64_t* lost, bint* ended) noexcept nogil:
    """Up to `most` items from `cursor` on, each with a reference of its own; moves `cursor` behind them.

    lost: items that the reader missed because the window had gone on. It goes on at the newest key item, and waits for one when
    there is none in the window; a sequence that never had one is entered anywhere. ended: nothing was taken, and nothing will come.
    """
    cdef int count = 0
    cdef uint64_t at
    lost[0] = 0
    ended[0] = False
    pthread_mutex_lock(&seq.lock)
    if cursor[0] < seq.first:
        at = seq.last_key if seq.has_key else seq.first
        if at < seq.first:
            ended[0] = seq.closed
            pthread_mutex_unlock(&seq.lock)
            return 0
        lost[0] = at - cursor[0] if cursor[0] else 0
        cursor[0] = at
    while count < most and cursor[0] < seq.next:
        out[count] = seq.items[cursor[0] & (seq.cap - 1)]
        nova_ref(&out[count].buf.refs)
        count += 1
        cursor[0] += 1
    ended[0] = seq.closed and count == 0
    pthread_mutex_unlock(&seq.lock)
    return count


cdef class Sequence:
    """The writer's handle, and the reading side of trio (`take`).

    window_items, window_bytes: what is kept for readers that lag; 0 items: everything. `epoch` names this run of offsets.
    """

    def __cinit__(self, uint64_t window_items=4096, size_t window_bytes=16 << 20):
        self.seq = seq_new(window_items, window_bytes)
        if self.seq == NULL:
            raise MemoryError
        self.epoch = os.urandom(6).hex()
        self.notify = None

    def __dealloc__(self):
        if self.seq != NULL:
            seq_unref(self.seq)

    def on_append(self, notify) -> None:
        """`notify(sequence)` is called after every append and at the close, in the writer's thread: how readers are woken."""
        self.notify = notify

    def append(self, data, bint key=False) -> int:
        """Append `data` (bytes are copied once, a Buffer is shared); its offset. Raises ValueError when closed."""
        cdef Buffer item = data if isinstance(data, Buffer) else Buffer(data)
        cdef uint64_t at
        if self.seq.closed:
            raise ValueError("the sequence is closed")
        if item.size == 0:
            raise ValueError("an item has at least one byte")
        nova_ref(&item.buf.refs)
        at = seq_append(self.seq, item.buf, item.offset, item.size, key)
        if self.notify is not None:
            self.notify(self)
        return at

    def close(self, bint broken=False) -> None:
        """No more items: readers end once they have read what there is. broken: it is not the whole."""
        pthread_mutex_lock(&self.seq.lock)  # with it a reader that joins meanwhile either sees the end or is told of it
        self.seq.broken = broken
        self.seq.closed = True
        pthread_mutex_unlock(&self.seq.lock)
        notify, self.notify = self.notify, None  # whoever is told holds this sequence: its bytes would wait for a collection
        if notify is not None:
            notify(self)

    @property
    def closed(self) -> bool:
        return self.seq.closed

    @property
    def broken(self) -> bool:
        return self.seq.broken

    @property
    def first(self) -> int:
        """Offset of the oldest item in the window."""
        return self.seq.first

    @property
    def next(self) -> int:
        """Offset of the item to come."""
        return self.seq.next

    @property
    def readers(self) -> int:
        """Connections that follow on I/O threads."""
        return nova_add32(&self.seq.reader_count, 0)

    def join(self) -> int:
        """Where a new reader starts: the newest key item, 0 (the next one) when that has left the window; before any, the item to come."""
        return seq_join(self.seq)

    def take(self, uint64_t cursor, int most=32) -> tuple:
        """(items as Buffers, the cursor after them, items lost before them)."""
        cdef Item items[64]
        cdef uint64_t lost = 0
        cdef bint ended = False
        cdef int count, i
        count = seq_take(self.seq, &cursor, items, min(most, 64), &lost, &ended)
        return [buffer_wrap(items[i].buf, items[i].offset, items[i].size) for i in range(count)], cursor, lost
