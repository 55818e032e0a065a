# nova: libraries=z
"""A channel: trio appends publications to a bounded window, members follow it by cursors, and nothing is copied for any of them.

The window is the backlog of all who lag: a reader that is held up costs its cursor. An item is encoded when somebody first needs
that form of it (JSON at once, msgpack and deflated frames lazily), and all threads share the bytes.
"""
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy, memset

from nova.ext.atomics cimport nova_add32, nova_load64, nova_ref, nova_store32, nova_store64
from nova.ext.buffer cimport buf_new, buf_unref
from nova.ext.bytevec cimport vec_append, vec_free
from nova.ext.commands cimport CONFLATE_KEY_MAX, channel_valid
from nova.ext.pthread cimport pthread_mutex_destroy, pthread_mutex_init, pthread_mutex_lock, pthread_mutex_unlock
from nova.ext.pushes cimport Publication, push_gap, push_pub, push_unsub
from nova.ext.values cimport FORM_JSON, ValueScan, value_item, value_scan
from nova.ext.ws cimport WS_BINARY, WS_FIN, WS_RSV1, WS_TEXT, ws_head
from nova.ext.ws_deflate cimport ws_deflate

cdef enum:
    DEFLATE_LEAST = 256         # bytes of a message below which deflating is not tried
    JSON = 0                    # FORM_JSON, where a form is an index


# -- one item ---------------------------------------------------------------------------------------------------------

cdef inline size_t head_size(size_t size) noexcept nogil:
    return 2 if size < 126 else 4 if size < 65536 else 10


cdef inline uint8_t opcode_of(int form) noexcept nogil:
    return WS_FIN | (WS_TEXT if form == FORM_JSON else WS_BINARY)


cdef Buf* framed(ByteVec* made, uint8_t first) noexcept nogil:
    """A Buf of FRAME_ROOM bytes and `made`, the head of its frame in the room; NULL when memory is out."""
    cdef Buf* buf = buf_new(FRAME_ROOM + made.len)
    if buf == NULL:
        return NULL
    ws_head(buf.data + FRAME_ROOM - head_size(made.len), first, made.len)
    memcpy(buf.data + FRAME_ROOM, made.data, made.len)
    buf.size = FRAME_ROOM + made.len
    return buf


cdef void pub_unref(Pub* pub) noexcept nogil:
    cdef int i
    if nova_add32(&pub.refs, -1) != 0:
        return
    for i in range(2):
        if pub.forms[i] != NULL:
            buf_unref(pub.forms[i])
        if pub.packed[i] != NULL:
            buf_unref(pub.packed[i])
    free(pub)


cdef Buf* pub_form(Chan* chan, Pub* pub, int form) noexcept nogil:
    cdef Buf* buf = <Buf*> nova_load64(<uint64_t*> &pub.forms[form])
    cdef ByteVec made
    if buf != NULL:
        return buf
    memset(&made, 0, sizeof(made))
    pthread_mutex_lock(&chan.lock)
    buf = pub.forms[form]
    if buf == NULL:
        if value_item(form, pub.forms[JSON].data + FRAME_ROOM, pub.forms[JSON].size - FRAME_ROOM, &made) == 0:
            buf = framed(&made, opcode_of(form))
            nova_store64(<uint64_t*> &pub.forms[form], <uint64_t> buf)
        vec_free(&made)
    pthread_mutex_unlock(&chan.lock)
    return buf


cdef Buf* pub_frame(Chan* chan, Pub* pub, int form, WsZip* zip, size_t* offset) noexcept nogil:
    cdef Buf* plain = pub_form(chan, pub, form)
    cdef Buf* buf
    cdef ByteVec made
    if plain == NULL:
        return NULL
    offset[0] = FRAME_ROOM - head_size(plain.size - FRAME_ROOM)
    if zip == NULL:
        return plain
    buf = <Buf*> nova_load64(<uint64_t*> &pub.packed[form])
    if buf == NULL:
        if plain.size - FRAME_ROOM < DEFLATE_LEAST:
            return NULL
        memset(&made, 0, sizeof(made))
        pthread_mutex_lock(&chan.lock)
        buf = pub.packed[form]
        if buf == NULL and not pub.whole[form]:
            if ws_deflate(zip, plain.data + FRAME_ROOM, plain.size - FRAME_ROOM, &made) == 1:
                buf = framed(&made, opcode_of(form) | WS_RSV1)
                nova_store64(<uint64_t*> &pub.packed[form], <uint64_t> buf)
            else:
                pub.whole[form] = 1
        pthread_mutex_unlock(&chan.lock)
        vec_free(&made)
        if buf == NULL:
            return NULL
    offset[0] = FRAME_ROOM - head_size(buf.size - FRAME_ROOM)
    return buf


cdef uint64_t hash_of(const uint8_t* data, size_t size) noexcept nogil:
    cdef uint64_t h = <uint64_t> 0xCBF29CE484222325
    cdef size_t i
    for i in range(size):
        h = (h ^ data[i]) * <uint64_t> 0x100000001B3
    return h


cdef Pub* pub_new(uint8_t kind, uint64_t offset, ByteVec* made, const uint8_t* key, size_t key_size) noexcept nogil:
    """An item of JSON text; NULL when memory is out."""
    cdef Pub* pub = <Pub*> calloc(1, sizeof(Pub) + key_size)
    if pub == NULL:
        return NULL
    pub.refs = 1
    pub.kind = kind
    pub.offset = offset
    pub.forms[JSON] = framed(made, opcode_of(FORM_JSON))
    if pub.forms[JSON] == NULL:
        free(pub)
        return NULL
    pub.key = <uint8_t*> pub + sizeof(Pub)
    if key_size:
        pub.key_size = <uint16_t> key_size
        memcpy(pub.key, key, key_size)
        pub.key_hash = hash_of(key, key_size)
    return pub


# -- the window -------------------------------------------------------------------------------------------------------

cdef Chan* chan_new(const uint8_t* text, uint32_t name_size, uint32_t epoch_size, uint64_t max_items, size_t max_bytes) noexcept nogil:
    cdef Chan* chan = <Chan*> calloc(1, sizeof(Chan))
    if chan == NULL:
        return NULL
    chan.refs = 1
    chan.cap = 16
    while chan.cap < max_items + 1:
        chan.cap *= 2
    chan.max_items = max_items
    chan.max_bytes = max_bytes
    chan.cap = 16 if max_items > 15 else chan.cap  # it grows to what is used: most channels are quiet
    chan.items = <Pub**> calloc(chan.cap, sizeof(Pub*))
    chan.text = <uint8_t*> malloc(name_size + epoch_size)
    if chan.items == NULL or chan.text == NULL:
        free(chan.items)
        free(chan.text)
        free(chan)
        return NULL
    memcpy(chan.text, text, name_size + epoch_size)
    chan.name_size = name_size
    chan.epoch_size = epoch_size
    chan.first = chan.next = 1
    pthread_mutex_init(&chan.lock, NULL)
    return chan


cdef void chan_unref(Chan* chan) noexcept nogil:
    if nova_add32(&chan.refs, -1) != 0:
        return
    while chan.first < chan.next:
        pub_unref(chan.items[chan.first & (chan.cap - 1)])
        chan.first += 1
    pthread_mutex_destroy(&chan.lock)
    free(chan.items)
    free(chan.text)
    free(chan)


cdef Text chan_name(Chan* chan) noexcept nogil:
    cdef Text out
    out.data = chan.text
    out.size = chan.name_size
    return out


cdef Text chan_epoch(Chan* chan) noexcept nogil:
    cdef Text out
    out.data = chan.text + chan.name_size
    out.size = chan.epoch_size
    return out


cdef bint grow(Chan* chan) noexcept nogil:
    """Room for one item more in the ring; False when memory is out."""
    cdef Pub** items
    cdef uint64_t n
    if chan.next - chan.first + 1 < chan.cap:
        return True
    items = <Pub**> calloc(chan.cap * 2, sizeof(Pub*))
    if items == NULL:
        return False
    n = chan.first
    while n < chan.next:
        items[n & (chan.cap * 2 - 1)] = chan.items[n & (chan.cap - 1)]
        n += 1
    free(chan.items)
    chan.items = items
    chan.cap *= 2
    return True


cdef bint chan_append(Chan* chan, Pub* pub) noexcept nogil:
    """Add an item (takes over its reference); the oldest ones go when the window is full. False when memory is out."""
    cdef Pub* old
    cdef uint64_t n
    cdef size_t size = pub.forms[JSON].size
    cdef bint fits
    pthread_mutex_lock(&chan.lock)
    while chan.first < chan.next and (chan.next - chan.first >= chan.max_items or chan.bytes + size > chan.max_bytes):
        old = chan.items[chan.first & (chan.cap - 1)]
        if old.kind == PUB_DATA and not old.replaced:
            chan.dropped = old.offset
        nova_store64(&chan.bytes, chan.bytes - old.forms[JSON].size)
        nova_store64(&chan.first, chan.first + 1)
        pub_unref(old)
    fits = grow(chan)
    if fits:
        if pub.key_size and chan.policy == POLICY_CONFLATE:
            n = chan.next
            while n > chan.first:
                n -= 1
                old = chan.items[n & (chan.cap - 1)]
                if old.key_size == pub.key_size and old.key_hash == pub.key_hash and memcmp(old.key, pub.key, pub.key_size) == 0:
                    old.replaced = 1
                    break
        if pub.kind == PUB_DATA:
            chan.offset = pub.offset
        else:
            pub.offset = chan.offset
        chan.items[chan.next & (chan.cap - 1)] = pub
        nova_store64(&chan.bytes, chan.bytes + size)
        nova_store64(&chan.next, chan.next + 1)
    pthread_mutex_unlock(&chan.lock)
    if not fits:
        pub_unref(pub)
    return fits


cdef int chan_take(Chan* chan, uint64_t* cursor, uint64_t until, uint64_t* last, Pub** out, int most, size_t bytes, uint64_t* gap) noexcept nogil:
    cdef int count = 0
    cdef size_t taken = 0
    cdef Pub* pub
    gap[0] = gap[1] = 0
    pthread_mutex_lock(&chan.lock)
    if cursor[0] < chan.first:
        cursor[0] = chan.first
        if chan.dropped > last[0]:
            gap[0] = last[0] + 1
            gap[1] = chan.dropped
            last[0] = chan.dropped
    if until > chan.next:
        until = chan.next
    while count < most and cursor[0] < until:
        pub = chan.items[cursor[0] & (chan.cap - 1)]
        if not pub.replaced:
            taken += pub.forms[JSON].size
            if count and taken > bytes:
                break
            nova_ref(&pub.refs)
            out[count] = pub
            count += 1
        last[0] = pub.offset
        cursor[0] += 1
    pthread_mutex_unlock(&chan.lock)
    return count


# -- Python -----------------------------------------------------------------------------------------------------------

POLICIES = {"drop_oldest": POLICY_DROP_OLDEST, "conflate": POLICY_CONFLATE, "disconnect": POLICY_DISCONNECT}
KINDS = ("pub", "push", "unsub")

cdef uint64_t MAX_OFFSET = 9007199254740991    # 2^53 - 1: every client's numbers hold it


cdef Text text_of(bytes value):
    cdef Text out
    out.data = <const uint8_t*> <const char*> value if value is not None else NULL
    out.size = <uint32_t> len(value) if value is not None else 0
    return out


cdef int whole_value(bytes value) except -1:
    """Raises ValueError unless `value` is one JSON value and nothing else."""
    cdef ValueScan found
    if value_scan(FORM_JSON, <const uint8_t*> <const char*> value, <size_t> len(value), &found) != 0 or found.size != <size_t> len(value):
        raise ValueError("no JSON value")
    return 0


cdef class Channel:
    """The writer's handle of a channel. Called from one thread, trio's.

    policy: of POLICIES. window_items, window_bytes: what is kept for readers that lag. tick_ms: longest wait of a busy channel,
    0: it never waits; busy_rate: publications a second from which on it waits; flush_bytes: what it gathers at most.
    watched: the end of a member's connection is told with this channel's name. Raises ValueError: the name, the epoch or a number is not allowed.
    """

    def __cinit__(self, str name, str epoch, str policy="drop_oldest", uint64_t window_items=1024, size_t window_bytes=1 << 20,
                  uint32_t tick_ms=20, uint32_t busy_rate=50, uint32_t flush_bytes=32768, bint watched=False, uint64_t offset=0):
        cdef bytes text = name.encode()
        cdef uint32_t name_size = <uint32_t> len(text)
        if not channel_valid(<const uint8_t*> <const char*> text, name_size):
            raise ValueError("no name of a channel")
        if not (0 < len(epoch) <= 16 and epoch.isascii() and epoch.isalnum()):
            raise ValueError("an epoch has 1 to 16 letters and digits")
        if not 1 <= window_items <= 1 << 20 or tick_ms > 1000:
            raise ValueError("a window has 1 to 1048576 items, a tick at most 1000 ms")
        text += epoch.encode()
        self.chan = chan_new(<const uint8_t*> <const char*> text, name_size, <uint32_t> len(text) - name_size, window_items, window_bytes)
        if self.chan == NULL:
            raise MemoryError
        self.name = name
        self.epoch = epoch
        self.chan.policy = <uint8_t> POLICIES[policy]
        self.chan.watched = watched
        self.chan.offset = self.chan.dropped = offset
        self.chan.tick_ms = tick_ms
        self.chan.busy_rate = busy_rate
        self.chan.flush_bytes = flush_bytes
        self.notify = None

    def __dealloc__(self):
        if self.chan != NULL:
            chan_unref(self.chan)

    def on_append(self, notify) -> None:
        """`notify(channel)` is called after every append, in the writer's thread: how readers are woken."""
        self.notify = notify

    cdef int append(self, uint8_t kind, uint64_t offset, ByteVec* made, bytes key) except -1:
        cdef Pub* pub = pub_new(kind, offset, made, <const uint8_t*> <const char*> key, <size_t> len(key))
        vec_free(made)
        if pub == NULL or not chan_append(self.chan, pub):
            raise MemoryError
        if self.notify is not None:
            self.notify(self)
        return 0

    def publish(self, uint64_t offset, bytes data not None, int64_t at, bytes info=None, str conflate_key="") -> None:
        """A publication for every member. offset: above the one before; data, info: one JSON value each; at: ms since 1970.

        Raises ValueError: the channel is closed, the offset does not ascend, data or info is no JSON, the key is too long.
        """
        cdef ByteVec made
        cdef Publication p
        cdef Text name = chan_name(self.chan)
        cdef bytes key = conflate_key.encode()
        if self.chan.closed:
            raise ValueError("the channel is closed")
        if not self.chan.offset < offset <= MAX_OFFSET:
            raise ValueError("offsets ascend")
        if len(key) > CONFLATE_KEY_MAX:
            raise ValueError("the conflate key is too long")
        whole_value(data)
        if info is not None:
            whole_value(info)
        memset(&made, 0, sizeof(made))
        p.offset = offset
        p.at = at
        p.data = text_of(data)
        p.info = text_of(info)
        if push_pub(FORM_JSON, &made, &name, &p):
            vec_free(&made)
            raise MemoryError
        self.append(PUB_DATA, offset, &made, key)

    def push(self, bytes item not None) -> None:
        """A push without an offset for every member, in order with publications. item: the whole push as JSON.

        Raises ValueError: the channel is closed, or it is no JSON.
        """
        cdef ByteVec made
        if self.chan.closed:
            raise ValueError("the channel is closed")
        whole_value(item)
        memset(&made, 0, sizeof(made))
        if vec_append(&made, <const char*> item, <size_t> len(item)):
            raise MemoryError
        self.append(PUB_PUSH, 0, &made, b"")

    def close(self, int code, str reason) -> None:
        """Every member gets `unsub`, behind what was published, and is none any more. A second call does nothing."""
        cdef ByteVec made
        cdef Text name = chan_name(self.chan)
        cdef bytes words = reason.encode()
        cdef Text said = text_of(words)
        if self.chan.closed:
            return
        memset(&made, 0, sizeof(made))
        if push_unsub(FORM_JSON, &made, &name, <uint16_t> code, &said):
            vec_free(&made)
            raise MemoryError
        pthread_mutex_lock(&self.chan.lock)
        nova_store32(&self.chan.closed, 1)
        pthread_mutex_unlock(&self.chan.lock)
        self.append(PUB_END, 0, &made, b"")

    @property
    def closed(self) -> bool:
        return self.chan.closed != 0

    @property
    def offset(self) -> int:
        """Of the newest publication, 0 before the first."""
        return self.chan.offset

    @property
    def next(self) -> int:
        """Number of the item to come: where a new reader begins."""
        return self.chan.next

    @property
    def members(self) -> int:
        """Sockets that are subscribed."""
        return nova_add32(&self.chan.members, 0)

    @property
    def policy(self) -> str:
        return next(name for name, value in POLICIES.items() if value == self.chan.policy)

    def cursor(self, uint64_t offset) -> int:
        """Number of the first item in the window behind the publication `offset`."""
        cdef uint64_t n
        pthread_mutex_lock(&self.chan.lock)
        n = self.chan.next
        while n > self.chan.first and self.chan.items[(n - 1) & (self.chan.cap - 1)].offset > offset:
            n -= 1
        pthread_mutex_unlock(&self.chan.lock)
        # What has left the window counts as a gap from there on, if it was behind `offset`.
        return n if self.chan.dropped <= offset else 0

    def take(self, uint64_t cursor, uint64_t last, int most=TAKE_MOST) -> tuple:
        """(items, cursor after them, last offset, gap) for a reader in trio; items are (kind, the push as JSON, its offset), gap is the
        push that tells of what was missed, or None. With the policy `disconnect` a gap raises BufferError instead."""
        cdef Pub* found[TAKE_MOST]
        cdef uint64_t missed[2]
        cdef Text name = chan_name(self.chan)
        cdef Text epoch = chan_epoch(self.chan)
        cdef ByteVec made
        cdef Buf* buf
        cdef int i
        cdef int count = chan_take(self.chan, &cursor, self.chan.next, &last, found, min(most, TAKE_MOST), 1 << 20, missed)
        cdef list items = []
        gap = None
        for i in range(count):
            buf = found[i].forms[JSON]
            items.append((KINDS[found[i].kind], (<char*> buf.data)[FRAME_ROOM:buf.size], found[i].offset))
            pub_unref(found[i])
        if missed[1]:
            if self.chan.policy == POLICY_DISCONNECT:
                raise BufferError("the reader is too slow")
            memset(&made, 0, sizeof(made))
            if push_gap(FORM_JSON, &made, &name, &epoch, missed[0], missed[1]):
                vec_free(&made)
                raise MemoryError
            gap = (<char*> made.data)[:made.len]
            vec_free(&made)
        return items, cursor, last, gap
