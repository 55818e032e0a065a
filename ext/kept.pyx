"""What is kept of origins' answers: entries of the object table under a site's number, by host, path and query, and by the values of the
fields that an answer varies with (RFC 9111, 4.1).

The I/O threads find and send; trio decides what is kept, for how long, and what goes. The first request for something that is not here
goes up as its leader, the others wait on its entry: whatever becomes of the fetch, all of them look again at once.
"""
cimport cython
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy, memset

from nova.ext.atomics cimport nova_add32, nova_add64, nova_load64, nova_ref, nova_store32, nova_store64
from nova.ext.buffer cimport BUF_OVERHEAD, Account, Buf, Buffer, Ledger, buf_charge, buf_copy, buf_cost, buf_unref
from nova.ext.bytevec cimport vec_append, vec_free, vec_reserve
from nova.ext.eviction cimport (
    EV_NONE, Evict, Node, evict_add, evict_admits, evict_again, evict_close, evict_first, evict_forget, evict_grow, evict_hit, evict_open,
    evict_pause, evict_remove, evict_replace, evict_victim,
)
from nova.ext.http1 cimport HF_ABSOLUTE, HF_ACCEPT_BR, HF_ACCEPT_GZIP, HF_ACCEPT_ZSTD, http1_parse
from nova.ext.objects cimport (
    Body, ENTRY_BYTES, E_ASKED, E_EXPECTED, E_KEPT, Entry, K_ALWAYS, K_COOKIE, K_PASS, K_PIECE, K_SPENT, K_VARY, K_WHOLE, ObjectTable, Slice,
    kept_unref, key_hash, objects_discard, objects_entry, objects_obtain, objects_place, objects_release, rope_cut,
)
from nova.ext.pthread cimport pthread_mutex_lock, pthread_mutex_unlock
from nova.ext.sequence cimport Sequence

from nova.ext.eviction import POLICIES as _POLICIES

cdef enum:
    MAX_KEY = 16384             # bytes; a longer one is never kept
    MAX_VARY = 2048             # bytes of values that an answer varies with
    K_OVERHEAD = 256            # bytes that an answer takes beside its key and its buffers: its struct, its places, and what trio knows of it
    IN_USE_MOST = 128           # answers that are being read, and passed over, in one search for room


# Keys

cdef bint kept_key(ByteVec* key, const uint8_t* data, Head* head, bint host, size_t skip) noexcept nogil:
    """skip: bytes of the path that name the site; a slash takes their place."""
    cdef uint8_t* at
    cdef uint32_t i
    cdef uint32_t end = head.target + head.target_len
    key.len = 0
    if host:
        at = vec_reserve(key, head.host_len)
        if at == NULL:
            return False
        for i in range(head.host_len):
            at[i] = data[head.host + i] | 0x20 if c'A' <= data[head.host + i] <= c'Z' else data[head.host + i]
        key.len = head.host_len
    if skip and vec_append(key, b"/", 1) < 0:
        return False
    if head.path >= head.target and not (head.flags & HF_ABSOLUTE and head.path < head.host):
        return vec_append(key, data + head.path + skip, end - head.path - skip) == 0
    # An absolute form without a path.
    if vec_append(key, b"/", 1) < 0:
        return False
    if head.query_len:
        return vec_append(key, b"?", 1) == 0 and vec_append(key, data + head.query, head.query_len) == 0
    return True


cdef inline bint same_name(const uint8_t* a, const uint8_t* lower, size_t size) noexcept nogil:
    cdef size_t i
    for i in range(size):
        if (a[i] | 0x20 if c'A' <= a[i] <= c'Z' else a[i]) != lower[i]:
            return False
    return True


cdef bint vary_value(ByteVec* key, const uint8_t* name, size_t size, const uint8_t* data, Head* head) noexcept nogil:
    """Append one field's value in the form in which equal meanings are equal: encodings as a set of those that we know, else lines
    joined, white space gone around commas and single within. 8 among the encodings: there is no such field, which takes any; what an
    origin sends then is not for who takes identity alone."""
    cdef uint8_t* out
    cdef const uint8_t* value
    cdef size_t i, n, length
    cdef bint space, any = False
    cdef int index
    if size == 15 and memcmp(name, b"accept-encoding", 15) == 0:
        out = vec_reserve(key, 1)
        if out == NULL:
            return False
        out[0] = <uint8_t> (c'0' + (1 if head.flags & HF_ACCEPT_GZIP else 0) + (2 if head.flags & HF_ACCEPT_BR else 0)
                            + (4 if head.flags & HF_ACCEPT_ZSTD else 0) + (8 if head.accept_encoding_i < 0 else 0))
        key.len += 1
        return True
    for index in range(head.count):
        if head.headers[index].name_len != size or not same_name(data + head.headers[index].name, name, size):
            continue
        value = data + head.headers[index].value
        length = head.headers[index].value_len
        out = vec_reserve(key, length + 2)
        if out == NULL:
            return False
        n = 0
        if any:
            out[n] = c','
            n += 1
        any = True
        space = False
        for i in range(length):
            if value[i] == c' ' or value[i] == c'\t':
                space = True
                continue
            if space and n and out[n - 1] != c',' and value[i] != c',' and i:
                out[n] = c' '
                n += 1
            space = False
            out[n] = value[i]
            n += 1
        key.len += n
    if not any:
        out = vec_reserve(key, 1)
        if out == NULL:
            return False
        out[0] = 1  # absent is not empty
        key.len += 1
    return True


cdef bint vary_append(ByteVec* key, Buf* names, const uint8_t* data, Head* head) noexcept nogil:
    """The key of the answer that suits this request. names: lower case, each ended by a newline. False: there is none."""
    cdef size_t at = 0, start = 0, before = key.len
    if vec_append(key, b"\0", 1) < 0:
        return False
    while at < names.size:
        if names.data[at] == c'\n':
            if not vary_value(key, names.data + start, at - start, data, head) or vec_append(key, b"\n", 1) < 0:
                return False
            start = at + 1
        at += 1
    return key.len - before <= MAX_VARY


# Finding, on the I/O threads

cdef inline Kept* kept_of(Entry* entry) noexcept nogil:
    return <Kept*> entry.body if entry != NULL and entry.flags & E_KEPT else NULL


cdef bint came_by_proxy(const uint8_t* data, Head* head) noexcept nogil:
    """Whether the request has a Via. It may be our own fetch that comes back: what it would wait for is its own answer. trio looks."""
    cdef int i
    for i in range(head.count):
        if head.headers[i].name_len == 3 and same_name(data + head.headers[i].name, b"via", 3):
            return True
    return False


cdef int kept_find(ObjectMap* map, uint16_t site, ByteVec* key, const uint8_t* data, Head* head, uint32_t now, bint park, bint lead,
                   uint64_t conn, Waiter** waiter, Kept** found) noexcept nogil:
    """Look a request up. `key` becomes the key under which an answer to it lies.

    park: whether it may wait. lead: whether others may wait for it. KF_HIT and KF_STALE leave a counted reference in `found`,
    KF_PARKED the request's place in `waiter`. After KF_LEAD trio must settle the key, whatever happens.
    """
    cdef Entry* entry
    cdef Kept* kept
    cdef bint asked
    cdef int answer = KF_UP
    if key.len > MAX_KEY:
        return KF_UP
    pthread_mutex_lock(&map.lock)
    entry = objects_entry(map, site, key.data, key.len)
    kept = kept_of(entry)
    if kept != NULL and kept.flags & K_VARY:
        if not vary_append(key, kept.head, data, head):
            pthread_mutex_unlock(&map.lock)
            return KF_UP
        entry = objects_entry(map, site, key.data, key.len)
        kept = kept_of(entry)
    asked = entry != NULL and entry.flags & E_ASKED
    if kept != NULL:
        if kept.flags & (K_PASS | K_ALWAYS | K_PIECE | K_VARY):
            # What is passed for a while is looked at again afterwards, by one request at a time.
            if not kept.flags & K_PASS or now < kept.fresh_until:
                pthread_mutex_unlock(&map.lock)
                return KF_UP
            if not asked and lead:
                entry.flags |= E_ASKED
                answer = KF_LEAD
            pthread_mutex_unlock(&map.lock)
            return answer
        if kept.seq != NULL or now < kept.fresh_until:
            answer = KF_HIT
        elif now < kept.stale_until:
            answer = KF_HIT
            if not asked:
                entry.flags |= E_ASKED
                answer = KF_STALE
        if answer:
            nova_ref(&kept.refs)
            kept.requests += 1
            if entry.tag:
                evict_hit(map.order, entry.tag - 1)
            found[0] = kept
            pthread_mutex_unlock(&map.lock)
            return answer
    if asked:
        if park and not came_by_proxy(data, head):
            waiter[0] = objects_place(map, entry, conn)
            answer = KF_PARKED if waiter[0] != NULL else KF_FULL
    elif lead:
        if entry == NULL:
            entry = objects_obtain(map, site, key.data, key.len)
        if entry != NULL:
            entry.flags |= E_ASKED | E_EXPECTED
            answer = KF_LEAD
    pthread_mutex_unlock(&map.lock)
    return answer


cdef void settle(ObjectMap* map, Entry* entry) noexcept nogil:
    entry.flags &= ~<uint16_t> (E_ASKED | E_EXPECTED)
    if entry.body == NULL:
        objects_discard(map, entry)
    else:
        objects_release(map, entry)


cdef void kept_unask(ObjectMap* map, uint16_t site, ByteVec* key) noexcept nogil:
    """The leader did not get up to trio, or trio was not told that it is stale: the next request leads."""
    cdef Entry* entry
    pthread_mutex_lock(&map.lock)
    entry = objects_entry(map, site, key.data, key.len)
    if entry != NULL:
        settle(map, entry)
    pthread_mutex_unlock(&map.lock)


# The Python side

PASS = K_PASS
ALWAYS = K_ALWAYS
VARY = K_VARY
PIECE = K_PIECE
COOKIE = K_COOKIE
WHOLE = K_WHOLE
SPENT = K_SPENT
OVERHEAD = K_OVERHEAD + 2 * BUF_OVERHEAD  # of an answer whose body is one buffer
PICTURES = PICTURES_SITE


cdef class Answer:
    """A kept answer as it was when it was found."""
    cdef Kept* kept

    def __dealloc__(self):
        if self.kept != NULL:
            kept_unref(self.kept)

    @property
    def status(self) -> int:
        return self.kept.status

    @property
    def flags(self) -> int:
        return self.kept.flags

    @property
    def born(self) -> int:
        return self.kept.born

    @property
    def fresh_until(self) -> int:
        return self.kept.fresh_until

    @property
    def stale_until(self) -> int:
        return self.kept.stale_until

    @property
    def error_until(self) -> int:
        return self.kept.error_until

    @property
    def modified(self) -> int:
        return self.kept.modified

    @property
    def total(self) -> int:
        """Bytes of the body, -1: not known yet."""
        return self.kept.total

    @property
    def growing(self) -> bool:
        return self.kept.seq != NULL

    @property
    def etag(self) -> bytes:
        return (<char*> self.kept.head.data)[self.kept.etag_at:self.kept.etag_at + self.kept.etag_size]

    @property
    def lines(self) -> bytes:
        """The field lines, without status line and Content-Length; of a VARY answer, the names."""
        return (<char*> self.kept.head.data)[self.kept.line_size:self.kept.fields_size]

    @property
    def status_line(self) -> bytes:
        return (<char*> self.kept.head.data)[:self.kept.line_size]

    @property
    def encodings(self) -> int:
        """Bits of the encodings that it is kept in too: gzip 1, br 2, zstd 4."""
        cdef int bits = 0, i
        if self.kept.alternates != NULL:
            for i in range(3):
                if self.kept.alternates[i] != NULL:
                    bits |= 1 << i
        return bits

    def same(self, Answer other not None) -> bool:
        """Whether it is the very one: what was kept anew meanwhile is not."""
        return self.kept == other.kept

    def alternate(self, int index) -> Answer:
        """The same in gzip (0), br (1) or zstd (2). Raises IndexError: it is not kept in that."""
        cdef Answer found
        if not self.encodings >> index & 1:
            raise IndexError("not kept in this encoding")
        found = Answer.__new__(Answer)
        found.kept = self.kept.alternates[index]
        nova_ref(&found.kept.refs)
        return found

    def body(self, size_t first=0, size=None) -> list:
        """`size` bytes from `first` on, as Buffers that share what is kept."""
        return rope_cut(self.kept.slices, self.kept.count, first, <size_t> self.kept.total - first if size is None else <size_t> size)

    def sent(self, int64_t size) -> None:
        """Trio has sent that much of it."""
        nova_add64(&self.kept.bytes, size)


cdef Kept* make(bytes head, uint32_t line_size, uint32_t fields_size, int status, int flags, uint32_t born, uint32_t fresh_until,
                uint32_t stale_until, uint32_t error_until, int64_t modified, bytes etag, body, Sequence sequence, int64_t total,
                Ledger* ledger, uint32_t also) except NULL:
    cdef Kept* kept = <Kept*> calloc(1, sizeof(Kept))
    cdef Buffer piece
    cdef Py_ssize_t i = 0, at
    cdef list pieces
    if kept == NULL:
        raise MemoryError
    kept.refs = 1
    kept.status = <uint16_t> status
    kept.flags = <uint16_t> flags
    kept.born = born
    kept.fresh_until = fresh_until
    kept.stale_until = stale_until
    kept.error_until = error_until
    kept.line_size = line_size
    kept.fields_size = fields_size
    kept.modified = modified
    kept.slices = &kept.one
    try:
        kept.head = buf_copy(<const char*> head, <size_t> len(head))
        if kept.head == NULL:
            raise MemoryError
        buf_charge(kept.head, ledger)
        kept.charged = K_OVERHEAD + also
        nova_add64(&ledger.bytes, <int64_t> kept.charged)
        if etag:
            at = head.find(etag, line_size, fields_size)
            if at < 0:
                raise ValueError("the ETag stands in the fields")
            kept.etag_at = <uint32_t> at
            kept.etag_size = <uint32_t> len(etag)
        if sequence is not None:
            nova_ref(&sequence.seq.refs)
            kept.seq = sequence.seq
            kept.total = total
            return kept
        pieces = [part if isinstance(part, Buffer) else Buffer(part) for part in body]
        if len(pieces) > 1:
            kept.slices = <Slice*> calloc(len(pieces), sizeof(Slice))
            if kept.slices == NULL:
                kept.slices = &kept.one
                raise MemoryError
        for piece in pieces:
            if piece.size == 0:
                continue
            # Neighbours in one memfd become one slice: one sendfile instead of many.
            if i and kept.slices[i - 1].buf == piece.buf and kept.slices[i - 1].offset + kept.slices[i - 1].size == piece.offset:
                kept.slices[i - 1].size += piece.size
            else:
                buf_charge(piece.buf, ledger)
                nova_ref(&piece.buf.refs)
                kept.slices[i].buf = piece.buf
                kept.slices[i].offset = piece.offset
                kept.slices[i].size = piece.size
                i += 1
                kept.count = <uint32_t> i
            kept.total += <int64_t> piece.size
    except BaseException:
        kept_unref(kept)
        raise
    return kept


cdef uint64_t weigh(Kept* kept) noexcept nogil:
    """Bytes that go when it goes and nobody reads it, compressed forms not counted."""
    cdef uint64_t size = kept.charged + buf_cost(kept.head)
    cdef uint32_t i
    for i in range(kept.count):
        size += buf_cost(kept.slices[i].buf)
    return size


cdef inline int64_t sent_of(Kept* kept) noexcept nogil:
    """Bytes of it that went out: those whom it is being sent to still count."""
    return <int64_t> nova_load64(<uint64_t*> &kept.bytes)


cdef bint in_use(Kept* kept) noexcept nogil:
    """Whether somebody reads it, or its bytes, so that nothing is gained by its going. The table's lock is held: nobody can begin to."""
    cdef uint32_t i
    if nova_add32(&kept.refs, 0) > 1:
        return True
    for i in range(kept.count):
        if nova_add32(&kept.slices[i].buf.refs, 0) > 1:
            return True
    if kept.alternates != NULL:
        for i in range(3):
            if kept.alternates[i] != NULL and in_use(kept.alternates[i]):
                return True
    return False


cdef uint64_t _hash(ObjectTable table, int site, bytes key):
    return key_hash(table.map.seed, <uint16_t> site, <const uint8_t*> <const char*> key, <size_t> len(key))


# No Python object is made while the table's lock is held: that may begin a garbage collection, which runs anybody's code, and all I/O
# threads would wait for its end. What is found is noted, and told afterwards.

ctypedef struct Row:            # and the key behind it
    Kept* kept
    int64_t bytes
    uint32_t requests
    uint32_t key_size
    uint16_t site


cdef bint row_add(ByteVec* rows, Entry* entry, int64_t bytes) noexcept nogil:
    """Note an entry that keeps an answer; False when memory is out."""
    cdef Row row
    cdef Kept* kept = <Kept*> entry.body
    if vec_reserve(rows, sizeof(Row) + entry.key_size) == NULL:
        return False
    row.kept = kept
    row.bytes = bytes
    row.requests = kept.requests
    row.key_size = entry.key_size
    row.site = entry.site
    vec_append(rows, &row, sizeof(Row))
    vec_append(rows, entry.key, entry.key_size)
    return True


@cython.no_gc_clear  # __dealloc__ needs the table
cdef class KeptTable:
    """The trio thread's side: what is kept of every site, in one order of leaving.

    policy, capacity: as `Eviction`. account: what is kept counts there until nobody holds it any more. Raises ValueError: no such policy,
    or the table has one already.
    """
    cdef ObjectTable table
    cdef Account account
    cdef Evict order

    def __cinit__(self, ObjectTable table not None, str policy, uint64_t capacity, Account account not None):
        if policy not in _POLICIES:
            raise ValueError(f"there is no policy {policy!r}")
        if table.map.order != NULL:
            raise ValueError("an object table has one order")
        if evict_open(&self.order, _POLICIES[policy], capacity) < 0:
            raise MemoryError
        self.table, self.account = table, account
        table.map.order = &self.order

    def __dealloc__(self):
        cdef size_t i
        if self.table is None:
            return
        pthread_mutex_lock(&self.table.map.lock)
        for i in range(self.table.map.cap):
            if <size_t> self.table.map.slots[i] > 1 and self.table.map.slots[i].flags & E_KEPT:
                self.table.map.slots[i].tag = 0
        self.table.map.order = NULL
        pthread_mutex_unlock(&self.table.map.lock)
        evict_close(&self.order)

    @property
    def count(self) -> int:
        """Answers that have a place in the order."""
        return self.order.count

    @property
    def bytes(self) -> int:
        """Bytes of the answers that have a place in the order."""
        return self.order.bytes

    @property
    def memory(self) -> int:
        """Bytes of the index: entries beside their keys, places in the table and in the order, ghosts."""
        return (self.table.map.live * ENTRY_BYTES + self.table.map.cap * sizeof(void*) + self.order.cap * sizeof(Node)
                + self.order.ghost_cap * sizeof(uint64_t))

    def key_hash(self, int site, bytes key) -> int:
        """64 bits that name a key in this process."""
        return _hash(self.table, site, key)

    def keep(self, int site, bytes key, bytes head, int line_size, int fields_size, body, *, int status, int flags, uint32_t born,
             uint32_t fresh_until, uint32_t stale_until=0, uint32_t error_until=0, int64_t modified=-1, bytes etag=b"",
             uint32_t also=0, Sequence sequence=None, int64_t total=-1, bint asked=False) -> tuple | None:
        """Put an answer under its key, in place of the one before; who waits looks again.

        head: status line, fields, Content-Length. also: bytes that it takes elsewhere, and counts for. sequence: the body while it grows, of `total` bytes (-1: not known); it has no place in
        the order, and what is appended is the writer's to charge. asked: its leader is not done with it, who waits goes on
        waiting. Answers what was asked of the one before: (requests, bytes), None when there was none.
        """
        cdef Kept* kept = make(head, <uint32_t> line_size, <uint32_t> fields_size, status, flags, born, fresh_until, stale_until, error_until,
                               modified, etag, body, sequence, total, self.account.ledger, <uint32_t> len(key) + also)
        cdef Entry* entry
        cdef Kept* old
        cdef uint32_t handle
        cdef object usage = None
        pthread_mutex_lock(&self.table.map.lock)
        entry = objects_obtain(self.table.map, <uint16_t> site, <const uint8_t*> <const char*> key, <size_t> len(key))
        if entry == NULL:
            pthread_mutex_unlock(&self.table.map.lock)
            kept_unref(kept)
            raise MemoryError
        old = kept_of(entry)
        if entry.tag and (sequence is not None or not evict_replace(&self.order, entry.tag - 1, weigh(kept))):
            evict_pause(&self.order, entry.tag - 1, entry.hash)
            entry.tag = 0
        if sequence is None and not entry.tag:
            handle = evict_add(&self.order, entry.hash, weigh(kept), entry)
            entry.tag = 0 if handle == EV_NONE else handle + 1
        entry.body = <Body*> kept
        entry.flags = (entry.flags & E_ASKED if asked or sequence is not None else 0) | E_KEPT
        if not asked:
            objects_release(self.table.map, entry)
        pthread_mutex_unlock(&self.table.map.lock)
        if old != NULL:
            usage = (old.requests, sent_of(old))
            kept_unref(old)
        return usage

    def alternate(self, int site, bytes key, Answer of not None, int index, bytes head, int line_size, int fields_size, body, bytes etag) -> bool:
        """Keep the same in gzip (0), br (1) or zstd (2). False: another answer has come meanwhile."""
        cdef Kept* kept = make(head, <uint32_t> line_size, <uint32_t> fields_size, of.kept.status, of.kept.flags, of.kept.born, of.kept.fresh_until,
                               of.kept.stale_until, of.kept.error_until, of.kept.modified, etag, body, None, -1, self.account.ledger, 0)
        cdef Entry* entry
        cdef bint done = False
        pthread_mutex_lock(&self.table.map.lock)
        entry = objects_entry(self.table.map, <uint16_t> site, <const uint8_t*> <const char*> key, <size_t> len(key))
        if kept_of(entry) == of.kept and of.kept.flags & K_WHOLE:
            # Whoever has the answer already looks here without the lock: see `alternate_of`.
            if of.kept.alternates == NULL:
                nova_store64(<uint64_t*> &of.kept.alternates, <uint64_t> calloc(3, sizeof(void*)))
            if of.kept.alternates != NULL and of.kept.alternates[index] == NULL:
                nova_store64(<uint64_t*> &of.kept.alternates[index], <uint64_t> kept)
                done = True
                if entry.tag:
                    evict_grow(&self.order, entry.tag - 1, weigh(kept))
        pthread_mutex_unlock(&self.table.map.lock)
        if not done:
            kept_unref(kept)
        return done

    def answering(self, int most) -> int:
        """How many of those who have waited can be answered, and are not yet; `most` of them are counted."""
        cdef ObjectMap* map = self.table.map
        cdef Waiter* waiter
        cdef int t, count = 0
        pthread_mutex_lock(&map.lock)
        for t in range(map.threads):
            waiter = map.ready[t]
            while waiter != NULL and count < most:
                count += 1
                waiter = waiter.next
        pthread_mutex_unlock(&map.lock)
        return count

    def settle(self, int site, bytes key) -> None:
        """The leader of this key is done: who waits looks again."""
        cdef Entry* entry
        pthread_mutex_lock(&self.table.map.lock)
        entry = objects_entry(self.table.map, <uint16_t> site, <const uint8_t*> <const char*> key, <size_t> len(key))
        if entry != NULL:
            settle(self.table.map, entry)
        pthread_mutex_unlock(&self.table.map.lock)

    def lead(self, int site, bytes key) -> bool:
        """Become the leader of a key; False: somebody is."""
        cdef Entry* entry
        cdef bint free_ = False
        pthread_mutex_lock(&self.table.map.lock)
        entry = objects_obtain(self.table.map, <uint16_t> site, <const uint8_t*> <const char*> key, <size_t> len(key))
        if entry != NULL and not entry.flags & E_ASKED:
            entry.flags |= E_ASKED | (E_EXPECTED if entry.body == NULL else 0)
            free_ = True
        pthread_mutex_unlock(&self.table.map.lock)
        return free_

    def find(self, int site, bytes key, *, bint hit=False) -> Answer | None:
        """What lies under a key, VARY and PASS included. hit: counts as asked for."""
        cdef Entry* entry
        cdef Kept* kept
        cdef Answer found = None
        pthread_mutex_lock(&self.table.map.lock)
        entry = objects_entry(self.table.map, <uint16_t> site, <const uint8_t*> <const char*> key, <size_t> len(key))
        kept = kept_of(entry)
        if kept != NULL:
            nova_ref(&kept.refs)
            if hit:
                kept.requests += 1
                if entry.tag:
                    evict_hit(&self.order, entry.tag - 1)
        pthread_mutex_unlock(&self.table.map.lock)
        if kept != NULL:
            found = Answer.__new__(Answer)
            found.kept = kept
        return found

    def drop(self, int site, bytes key) -> tuple | None:
        """Forget an answer: (requests, bytes) that were asked of it, None when there was none. A leader stays one."""
        cdef Entry* entry
        cdef Kept* kept
        cdef object usage = None
        pthread_mutex_lock(&self.table.map.lock)
        entry = objects_entry(self.table.map, <uint16_t> site, <const uint8_t*> <const char*> key, <size_t> len(key))
        kept = kept_of(entry)
        if kept != NULL:
            nova_ref(&kept.refs)
            self.unkeep(entry)
        pthread_mutex_unlock(&self.table.map.lock)
        if kept != NULL:
            usage = (kept.requests, sent_of(kept))
            kept_unref(kept)
        return usage

    cdef void unkeep(self, Entry* entry) noexcept:
        cdef Kept* kept = kept_of(entry)
        if entry.tag:
            evict_remove(&self.order, entry.tag - 1)
            entry.tag = 0
        if entry.flags & E_ASKED:
            entry.flags = E_ASKED | E_EXPECTED
            entry.body = NULL
            kept_unref(kept)
        else:
            objects_discard(self.table.map, entry)

    def soften(self, int site, bytes key, uint32_t now) -> bool:
        """It is stale from now on, as if its lifetime had ended: what may be done with it once it is stale counts from now. False: there was
        none."""
        cdef Entry* entry
        cdef Kept* kept
        pthread_mutex_lock(&self.table.map.lock)
        entry = objects_entry(self.table.map, <uint16_t> site, <const uint8_t*> <const char*> key, <size_t> len(key))
        kept = kept_of(entry)
        if kept != NULL and not kept.flags & (K_VARY | K_PASS):
            if kept.fresh_until > now:
                kept.stale_until = now + (kept.stale_until - kept.fresh_until if kept.stale_until > kept.fresh_until else 0)
                kept.error_until = now + (kept.error_until - kept.fresh_until if kept.error_until > kept.fresh_until else 0)
                nova_store32(&kept.fresh_until, now)  # an answer under way tells its ttl without the lock
        pthread_mutex_unlock(&self.table.map.lock)
        return kept != NULL

    def spend(self, int site, bytes key) -> bool:
        """Nobody will ask for it any more: it goes first. False: it is not kept."""
        cdef Entry* entry
        cdef bint found = False
        pthread_mutex_lock(&self.table.map.lock)
        entry = objects_entry(self.table.map, <uint16_t> site, <const uint8_t*> <const char*> key, <size_t> len(key))
        if kept_of(entry) != NULL and entry.tag:
            evict_first(&self.order, entry.tag - 1)
            found = True
        pthread_mutex_unlock(&self.table.map.lock)
        return found

    def admits(self, int site, bytes key, uint64_t weight) -> bool:
        return evict_admits(&self.order, _hash(self.table, site, key), weight)

    def evict(self, int64_t most) -> list:
        """Let answers go until the account holds at most `most` bytes, or no more can go: [(site, key, requests, bytes)].

        Those that are being read are passed over: their bytes would stay, and only be found no more.
        """
        cdef uint32_t handle
        cdef Entry* entry
        cdef Kept* kept
        cdef list gone = []
        cdef int patience = IN_USE_MOST
        while nova_add64(&self.account.ledger.bytes, 0) > most:
            pthread_mutex_lock(&self.table.map.lock)
            handle = evict_victim(&self.order)
            if handle == EV_NONE or patience == 0:
                pthread_mutex_unlock(&self.table.map.lock)
                break
            entry = <Entry*> self.order.nodes[handle].owner
            kept = kept_of(entry)
            if in_use(kept):
                evict_again(&self.order, handle)
                patience -= 1
                pthread_mutex_unlock(&self.table.map.lock)
                continue
            nova_ref(&kept.refs)
            entry.tag = 0
            evict_forget(&self.order, handle, entry.hash)
            site = entry.site
            key = (<char*> entry.key)[:entry.key_size]
            self.unkeep(entry)
            pthread_mutex_unlock(&self.table.map.lock)
            gone.append((site, key, kept.requests, sent_of(kept)))
            kept_unref(kept)
        return gone

    def scan(self, size_t at, int most=4096, int site=-1, bytes prefix=b"") -> tuple:
        """([(site, key, Answer)], where to go on, -1: that was all): kept answers whose key begins with `prefix`, in no order.

        Looks at `most` places of the table. What comes and goes meanwhile may be seen or not.
        """
        cdef list found = []
        cdef ByteVec rows
        cdef Row row
        cdef Entry* entry
        cdef Answer answer
        cdef size_t end, cap, used = 0
        cdef uint32_t length = <uint32_t> len(prefix)
        cdef const char* begin = prefix
        cdef bint room = True
        memset(&rows, 0, sizeof(rows))
        pthread_mutex_lock(&self.table.map.lock)
        cap = self.table.map.cap
        end = at + <size_t> most if at + <size_t> most < cap else cap
        while at < end and room:
            entry = self.table.map.slots[at]
            at += 1
            if <size_t> entry <= 1 or not entry.flags & E_KEPT or (site >= 0 and entry.site != site) or entry.key_size < length or \
                    memcmp(entry.key, begin, length) != 0:
                continue
            room = row_add(&rows, entry, 0)
            if room:
                nova_ref(&(<Kept*> entry.body).refs)
        pthread_mutex_unlock(&self.table.map.lock)
        try:
            if not room:
                raise MemoryError
            while used < rows.len:
                memcpy(&row, rows.data + used, sizeof(Row))
                answer = Answer.__new__(Answer)
                answer.kept = row.kept
                used += sizeof(Row) + row.key_size
                found.append((row.site, (<char*> rows.data + used - row.key_size)[:row.key_size], answer))
        finally:
            while used < rows.len:
                memcpy(&row, rows.data + used, sizeof(Row))
                kept_unref(row.kept)
                used += sizeof(Row) + row.key_size
            vec_free(&rows)
        return found, -1 if at >= cap else <Py_ssize_t> at

    @property
    def places(self) -> int:
        """Places of the table: when it changes, a scan must begin anew."""
        return self.table.map.cap

    def drain_usage(self, size_t at, int most=4096) -> tuple:
        """([(site, key, requests, bytes)], where to go on): what was asked since the last look."""
        cdef list found = []
        cdef ByteVec rows
        cdef Row row
        cdef Entry* entry
        cdef Kept* kept
        cdef size_t end, cap, used = 0
        cdef int64_t sent
        memset(&rows, 0, sizeof(rows))
        pthread_mutex_lock(&self.table.map.lock)
        cap = self.table.map.cap
        end = at + <size_t> most if at + <size_t> most < cap else cap
        while at < end:
            entry = self.table.map.slots[at]
            at += 1
            if <size_t> entry <= 1 or not entry.flags & E_KEPT:
                continue
            kept = <Kept*> entry.body
            if kept.requests:
                sent = nova_add64(&kept.bytes, 0)
                if not row_add(&rows, entry, sent):
                    break  # it is told of at the next look
                nova_add64(&kept.bytes, -sent)
                kept.requests = 0
        pthread_mutex_unlock(&self.table.map.lock)
        try:
            while used < rows.len:
                memcpy(&row, rows.data + used, sizeof(Row))
                used += sizeof(Row) + row.key_size
                found.append((row.site, (<char*> rows.data + used - row.key_size)[:row.key_size], row.requests, row.bytes))
        finally:
            vec_free(&rows)
        return found, -1 if at >= cap else <Py_ssize_t> at

    def waiting(self, int site, bytes key) -> int:
        """Requests that wait for a key."""
        return self.table.waiting(key, site=site)


def variant_key(bytes key, bytes names, list fields) -> bytes | None:
    """`key` with the values of the fields `names` (lower case, each ended by a newline) of a request; None: not one that can be kept.

    fields: (name, value) pairs of the request.
    """
    cdef Head* head
    cdef ByteVec out
    cdef Buf* listed
    cdef bytes text = b"GET / HTTP/1.1\r\nhost: h\r\n" + b"".join([
        b"%s: %s\r\n" % (name, value) for name, value in fields
        if name not in (b"host", b"content-length", b"transfer-encoding", b"connection", b"upgrade", b"expect")
    ]) + b"\r\n"
    out.data = NULL
    out.len = out.cap = 0
    listed = buf_copy(<const char*> names, <size_t> len(names))
    head = <Head*> PyMem_Malloc(sizeof(Head))
    try:
        if listed == NULL or head == NULL or vec_append(&out, <const char*> key, <size_t> len(key)) < 0:
            raise MemoryError
        if http1_parse(<const uint8_t*> <const char*> text, <size_t> len(text), 1 << 20, head) != 1:
            return None
        if not vary_append(&out, listed, <const uint8_t*> <const char*> text, head):
            return None
        return (<char*> out.data)[:out.len]
    finally:
        vec_free(&out)
        PyMem_Free(head)
        if listed != NULL:
            buf_unref(listed)
