"""The object table: what the reactor answers without Python. Names lead to bodies; requests may wait for a name or a version.

A body is a rope of immutable slices, so that a segment is its parts. The trio thread writes; the I/O threads find, under one
short lock, and send outside it. A reader of something that is named but not there (`expect`), or of a version that is still to
come, parks on the entry; `put` hands the parked readers that it satisfies back to their threads. What is rendered only when
somebody asks (`advance`) is asked for once, however many readers wait.
"""
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy, memset

from nova.ext.atomics cimport nova_add32, nova_add64, nova_load64, nova_ref, nova_store64
from nova.ext.buffer cimport Buf, Buffer, buf_copy, buf_unref, buffer_wrap
from nova.ext.eviction cimport evict_remove
from nova.ext.pthread cimport pthread_mutex_destroy, pthread_mutex_init, pthread_mutex_lock, pthread_mutex_unlock
from nova.ext.ring cimport bell_ring
from nova.ext.sequence cimport seq_unref

import os

cdef extern from "nova_hash.h" nogil:
    uint64_t nova_fold(uint64_t a, uint64_t b)

cdef enum:
    FIRST_CAP = 1024
    MAX_WAITING = 200000        # parked requests of one table; above it a reader gets 503 instead of a place

cdef Entry* TOMB = <Entry*> 1


cdef uint64_t key_hash(uint64_t seed, uint16_t site, const uint8_t* path, size_t size) noexcept nogil:
    """seed: secret. Who does not know it cannot choose keys that share a hash."""
    cdef uint64_t secret = (seed ^ <uint64_t> 0x9E3779B97F4A7C15) | 1
    cdef uint64_t h = nova_fold(seed ^ (<uint64_t> site + (<uint64_t> size << 16)), <uint64_t> 0xD6E8FEB86659FD93)
    cdef uint64_t word
    cdef size_t i = 0
    while i + 8 <= size:
        memcpy(&word, path + i, 8)
        h = nova_fold(h ^ word, secret)
        i += 8
    if i < size:
        word = 0
        memcpy(&word, path + i, size - i)
        h = nova_fold(h ^ word, secret)
    return nova_fold(h ^ secret, <uint64_t> 0xD6E8FEB86659FD93)


cdef ObjectMap* objects_new() noexcept nogil:
    cdef ObjectMap* map = <ObjectMap*> calloc(1, sizeof(ObjectMap))
    if map == NULL:
        return NULL
    map.slots = <Entry**> calloc(FIRST_CAP, sizeof(Entry*))
    if map.slots == NULL:
        free(map)
        return NULL
    map.cap = FIRST_CAP
    map.max_waiting = MAX_WAITING
    pthread_mutex_init(&map.lock, NULL)
    return map


cdef void objects_free(ObjectMap* map) noexcept nogil:
    cdef size_t i
    cdef int t
    cdef Waiter* waiter
    for i in range(map.cap):
        if map.slots[i] != NULL and map.slots[i] != TOMB:
            entry_drop(map, map.slots[i])
    for t in range(map.threads):
        while map.ready[t] != NULL:
            waiter = map.ready[t]
            map.ready[t] = waiter.next
            free(waiter)
    pthread_mutex_destroy(&map.lock)
    free(map.slots)
    free(map)


cdef void variant_clear(Variant* variant) noexcept nogil:
    cdef uint32_t i
    if variant.head != NULL:
        buf_unref(variant.head)
    for i in range(variant.count):
        buf_unref(variant.slices[i].buf)
    free(variant.slices)


cdef void body_unref(Body* body) noexcept nogil:
    if body == NULL or nova_add32(&body.refs, -1) != 0:
        return
    variant_clear(&body.plain)
    variant_clear(&body.gzip)
    if body.headers != NULL:
        buf_unref(body.headers)
    free(body)


cdef void kept_unref(Kept* kept) noexcept nogil:
    cdef uint32_t i
    if kept == NULL or nova_add32(&kept.refs, -1) != 0:
        return
    for i in range(kept.count):
        buf_unref(kept.slices[i].buf)
    if kept.slices != &kept.one:
        free(kept.slices)
    if kept.head != NULL:
        if kept.charged:
            nova_add64(&kept.head.ledger.bytes, -<int64_t> kept.charged)
        buf_unref(kept.head)
    if kept.seq != NULL:
        seq_unref(kept.seq)
    if kept.alternates != NULL:
        for i in range(3):
            kept_unref(kept.alternates[i])
        free(kept.alternates)
    free(kept)


# Lists of waiting requests. What points to their first one is stored whole: threads look without the lock whether there is one

cdef inline void link(Waiter** first, Waiter* waiter) noexcept nogil:
    waiter.next = first[0]
    waiter.prev = first
    if first[0] != NULL:
        first[0].prev = &waiter.next
    nova_store64(<uint64_t*> first, <uint64_t> waiter)


cdef inline void unlink(Waiter* waiter) noexcept nogil:
    if waiter.prev == NULL:
        return
    nova_store64(<uint64_t*> waiter.prev, <uint64_t> waiter.next)
    if waiter.next != NULL:
        waiter.next.prev = waiter.prev
    waiter.prev = NULL
    waiter.next = NULL


cdef void release(ObjectMap* map, Entry* entry, uint64_t version, bint all) noexcept nogil:
    """Hand the readers of `entry` that `version` satisfies to their threads."""
    cdef Waiter* waiter = entry.waiters
    cdef Waiter* after
    cdef uint32_t touched = 0
    cdef int t
    while waiter != NULL:
        after = waiter.next
        if all or waiter.wanted <= version:
            unlink(waiter)
            waiter.entry = NULL
            t = <int> (waiter.conn >> 56)
            link(&map.ready[t], waiter)
            entry.waiting -= 1
            map.waiting -= 1
            touched |= <uint32_t> 1 << t
        waiter = after
    for t in range(map.threads):
        if touched >> t & 1:
            bell_ring(map.bells[t])


cdef void objects_unpark(ObjectMap* map, Waiter* waiter) noexcept nogil:
    """The reader is gone, or was answered: forget its place. Frees `waiter`."""
    pthread_mutex_lock(&map.lock)
    if waiter.entry != NULL:
        waiter.entry.waiting -= 1
        map.waiting -= 1
    unlink(waiter)
    pthread_mutex_unlock(&map.lock)
    free(waiter)


cdef void objects_unask(ObjectMap* map, Waiter* waiter) noexcept nogil:
    """As `objects_unpark`, and trio was not asked to render after all: the next reader asks again."""
    pthread_mutex_lock(&map.lock)
    if waiter.entry != NULL:
        waiter.entry.flags &= ~<uint16_t> E_ASKED
    pthread_mutex_unlock(&map.lock)
    objects_unpark(map, waiter)


cdef Waiter* objects_ready(ObjectMap* map, int thread) noexcept nogil:
    """One reader of this thread that can be answered, out of its list (the caller frees it), or NULL."""
    cdef Waiter* waiter
    if nova_load64(<uint64_t*> &map.ready[thread]) == 0:  # a race here is settled by the doorbell that follows
        return NULL
    pthread_mutex_lock(&map.lock)
    waiter = map.ready[thread]
    if waiter != NULL:
        unlink(waiter)
    pthread_mutex_unlock(&map.lock)
    return waiter


# Entries

cdef inline size_t home(uint64_t h, size_t cap) noexcept nogil:
    """The first slot of a hash, in a table of any size."""
    return <size_t> ((h >> 32) * cap >> 32)


cdef Entry* find(ObjectMap* map, uint16_t site, const uint8_t* path, size_t size) noexcept nogil:
    cdef uint64_t h = key_hash(map.seed, site, path, size)
    cdef size_t i = home(h, map.cap)
    cdef Entry* entry
    while True:
        entry = map.slots[i]
        if entry == NULL:
            return NULL
        if entry != TOMB and entry.hash == h and entry.key_size == size and entry.site == site \
                and memcmp(entry.key, path, size) == 0:
            return entry
        i = i + 1 if i + 1 < map.cap else 0


cdef bint regrow(ObjectMap* map) noexcept nogil:
    """Half to three quarters of the slots are taken while entries come: 11 to 16 bytes each."""
    cdef size_t cap = map.cap, i, j
    cdef Entry** fresh
    while map.live * 8 > cap * 5:
        cap += cap >> 1
    fresh = <Entry**> calloc(cap, sizeof(Entry*))
    if fresh == NULL:
        return False
    for i in range(map.cap):
        if map.slots[i] != NULL and map.slots[i] != TOMB:
            j = home(map.slots[i].hash, cap)
            while fresh[j] != NULL:
                j = j + 1 if j + 1 < cap else 0
            fresh[j] = map.slots[i]
    free(map.slots)
    map.slots = fresh
    map.cap = cap
    map.used = map.live
    return True


cdef Entry* obtain(ObjectMap* map, uint16_t site, const uint8_t* path, size_t size) noexcept nogil:
    """The entry of that name, made when there is none; NULL when memory is out."""
    cdef Entry* entry = find(map, site, path, size)
    cdef size_t i
    if entry != NULL:
        return entry
    if map.used * 4 >= map.cap * 3 and not regrow(map):
        return NULL
    entry = <Entry*> calloc(1, ENTRY_BYTES + size)
    if entry == NULL:
        return NULL
    entry.hash = key_hash(map.seed, site, path, size)
    entry.site = site
    entry.key_size = <uint32_t> size
    memcpy(entry.key, path, size)
    i = home(entry.hash, map.cap)
    while map.slots[i] != NULL:
        if map.slots[i] == TOMB:
            map.used -= 1
            break
        i = i + 1 if i + 1 < map.cap else 0
    map.slots[i] = entry
    map.used += 1
    map.live += 1
    return entry


cdef void entry_drop(ObjectMap* map, Entry* entry) noexcept nogil:
    release(map, entry, 0, True)
    if entry.flags & E_KEPT:
        if entry.tag:
            evict_remove(map.order, entry.tag - 1)
        kept_unref(<Kept*> entry.body)
    else:
        body_unref(entry.body)
    free(entry)


# What `kept` needs, with the lock held

cdef Entry* objects_entry(ObjectMap* map, uint16_t site, const uint8_t* path, size_t size) noexcept nogil:
    return find(map, site, path, size)


cdef Entry* objects_obtain(ObjectMap* map, uint16_t site, const uint8_t* path, size_t size) noexcept nogil:
    return obtain(map, site, path, size)


cdef Waiter* objects_place(ObjectMap* map, Entry* entry, uint64_t conn) noexcept nogil:
    """A place among those who wait for `entry`, NULL: no more can wait."""
    cdef Waiter* place
    if map.waiting >= map.max_waiting:
        return NULL
    place = <Waiter*> malloc(sizeof(Waiter))
    if place == NULL:
        return NULL
    place.conn = conn
    place.wanted = 0
    place.entry = entry
    link(&entry.waiters, place)
    entry.waiting += 1
    map.waiting += 1
    return place


cdef void objects_release(ObjectMap* map, Entry* entry) noexcept nogil:
    """All who wait for `entry` look again."""
    release(map, entry, 0, True)


cdef void objects_discard(ObjectMap* map, Entry* entry) noexcept nogil:
    """Forget `entry`; who waits looks again."""
    cdef size_t i = home(entry.hash, map.cap)
    while map.slots[i] != entry:
        i = i + 1 if i + 1 < map.cap else 0
    map.slots[i] = TOMB
    map.live -= 1
    entry_drop(map, entry)


cdef bint objects_versioned(ObjectMap* map, uint16_t site, const uint8_t* path, size_t size) noexcept nogil:
    """Whether the name has versions, so that the query of a request for it matters."""
    cdef Entry* entry
    cdef bint versioned
    pthread_mutex_lock(&map.lock)
    entry = find(map, site, path, size)
    versioned = entry != NULL and entry.flags & E_VERSIONED
    pthread_mutex_unlock(&map.lock)
    return versioned


cdef int objects_find(ObjectMap* map, uint16_t site, const uint8_t* path, size_t size, bint session,
                      int64_t msn, int64_t part, bint park, uint64_t conn, Waiter** waiter, Hit* hit) noexcept nogil:
    """Look a name up for one request.

    session: came behind a valid session prefix. msn, part: `_HLS_msn` and `_HLS_part` (RFC 8216bis, 6.2.5.2), -1: absent.
    park: whether the request may wait. Answers a `Found`: F_BODY leaves a counted reference in `hit.body`; F_PARKED and F_RENDER
    leave the request's place in `waiter[0]`, which the caller gives back by `objects_unpark`.
    """
    cdef Entry* entry
    cdef uint64_t wanted = 0, current
    cdef Waiter* place
    cdef int answer
    pthread_mutex_lock(&map.lock)
    entry = find(map, site, path, size)
    if entry == NULL or (entry.flags & E_PRIVATE and not session):
        pthread_mutex_unlock(&map.lock)
        return F_MISS
    hit.tag = entry.tag
    hit.flags = entry.flags
    if msn >= 0 and entry.flags & E_VERSIONED:
        current = entry.version >> 16  # the segment that is being made
        if <uint64_t> msn > current + 1 or (part >= 0 and (
                (<uint64_t> msn == current and <uint64_t> part >= (entry.version & 0xFFFF) + entry.advance) or
                (<uint64_t> msn == current + 1 and <uint64_t> part >= entry.advance))):
            pthread_mutex_unlock(&map.lock)
            return F_TOO_FAR
        wanted = (<uint64_t> msn << 16) + <uint64_t> part + 1 if part >= 0 else (<uint64_t> msn + 1) << 16
    if entry.body != NULL and entry.version >= wanted:
        nova_ref(&entry.body.refs)
        hit.body = entry.body
        pthread_mutex_unlock(&map.lock)
        return F_BODY
    if not park or map.waiting >= map.max_waiting:
        pthread_mutex_unlock(&map.lock)
        return F_FULL
    place = <Waiter*> malloc(sizeof(Waiter))
    if place == NULL:
        pthread_mutex_unlock(&map.lock)
        return F_FULL
    place.conn = conn
    place.wanted = wanted
    place.entry = entry
    link(&entry.waiters, place)
    entry.waiting += 1
    map.waiting += 1
    waiter[0] = place
    answer = F_PARKED
    if entry.flags & E_VERSIONED and entry.body == NULL and entry.version >= wanted and not entry.flags & E_ASKED:
        entry.flags |= E_ASKED
        answer = F_RENDER
    pthread_mutex_unlock(&map.lock)
    return answer


# The Python side

cdef int set_variant(Variant* variant, bytes lines, body, bytes etag, bint gzipped) except -1:
    cdef Buffer piece
    cdef bytes head
    cdef Py_ssize_t i = 0
    cdef list pieces = [part if isinstance(part, Buffer) else Buffer(part) for part in body]
    if len(etag) > sizeof(variant.etag):
        raise ValueError("an ETag has at most 72 bytes")
    variant.slices = <Slice*> calloc(max(len(pieces), 1), sizeof(Slice))
    if variant.slices == NULL:
        raise MemoryError
    for piece in pieces:
        if piece.size == 0:
            continue
        nova_ref(&piece.buf.refs)
        # Neighbours in one memfd become one slice: one sendfile instead of many.
        if i and variant.slices[i - 1].buf == piece.buf and variant.slices[i - 1].offset + variant.slices[i - 1].size == piece.offset:
            variant.slices[i - 1].size += piece.size
            buf_unref(piece.buf)
        else:
            variant.slices[i].buf = piece.buf
            variant.slices[i].offset = piece.offset
            variant.slices[i].size = piece.size
            i += 1
        variant.total += piece.size
    variant.count = <uint32_t> i
    memcpy(variant.etag, <const char*> etag, len(etag))
    variant.etag_size = <uint32_t> len(etag)
    head = b"HTTP/1.1 200 OK\r\n" + lines
    if gzipped:
        head += b"Content-Encoding: gzip\r\n"
    if etag:
        head += b"ETag: " + etag + b"\r\n"
    head += b"Accept-Ranges: bytes\r\nContent-Length: %d\r\n" % variant.total
    variant.head = buf_copy(<const char*> head, <size_t> len(head))
    if variant.head == NULL:
        raise MemoryError
    return 0


cdef list rope_cut(const Slice* slices, uint32_t count, size_t first, size_t size):
    cdef list found = []
    cdef size_t skip = first, left = size, length
    cdef const Slice* part
    cdef uint32_t i
    for i in range(count):
        if left == 0:
            break
        part = &slices[i]
        if skip >= part.size:
            skip -= part.size
            continue
        length = part.size - skip
        if length > left:
            length = left
        nova_ref(&part.buf.refs)
        found.append(buffer_wrap(part.buf, part.offset + skip, length))
        left -= length
        skip = 0
    return found


cdef class ObjectTable:
    """Names, bodies and those who wait for them. Written from one thread; read by every I/O thread."""

    def __cinit__(self):
        self.map = objects_new()
        if self.map == NULL:
            raise MemoryError
        self.map.seed = int.from_bytes(os.urandom(8), "little")

    def __dealloc__(self):
        if self.map != NULL:
            objects_free(self.map)

    def __len__(self):
        return self.map.live

    def put(self, bytes path, bytes headers, body, *, bytes etag=b"", gzip=None, uint64_t version=0, uint32_t tag=0,
            bint private=False, uint16_t site=0, int64_t modified=-1) -> None:
        """Store the answer for `path` and hand it to everybody who waits for it.

        headers: complete lines, except Content-Length, ETag, Accept-Ranges, Date and Age. body: a rope of Buffers (or bytes).
        etag: quotes included. gzip: the same body compressed, chosen by Accept-Encoding; `headers` should then name Vary.
        modified: unix seconds. Raises ValueError for an ETag that is too long.
        """
        cdef Entry* entry
        cdef Body* old
        cdef Body* fresh = <Body*> calloc(1, sizeof(Body))
        cdef bytes tagged
        if fresh == NULL:
            raise MemoryError
        fresh.refs = 1
        fresh.modified = modified
        try:
            fresh.headers = buf_copy(<const char*> headers, <size_t> len(headers))
            if fresh.headers == NULL:
                raise MemoryError
            set_variant(&fresh.plain, headers, body, etag, False)
            if gzip is not None:
                tagged = etag[:len(etag) - 1] + b'-gz"' if etag else b""
                set_variant(&fresh.gzip, headers, [gzip], tagged, True)
        except BaseException:
            body_unref(fresh)
            raise
        pthread_mutex_lock(&self.map.lock)
        entry = obtain(self.map, site, <const uint8_t*> <const char*> path, <size_t> len(path))
        if entry == NULL:
            pthread_mutex_unlock(&self.map.lock)
            body_unref(fresh)
            raise MemoryError
        old = entry.body
        entry.body = fresh
        entry.version = version
        entry.tag = tag
        entry.flags = (entry.flags & E_VERSIONED) | (E_PRIVATE if private else 0)
        release(self.map, entry, version, False)
        pthread_mutex_unlock(&self.map.lock)
        body_unref(old)

    def expect(self, bytes path, *, uint32_t tag=0, bint private=False, uint16_t site=0) -> None:
        """`path` will be put soon: who asks for it waits. An entry with a body stays as it is."""
        cdef Entry* entry
        pthread_mutex_lock(&self.map.lock)
        entry = obtain(self.map, site, <const uint8_t*> <const char*> path, <size_t> len(path))
        if entry != NULL and entry.body == NULL:
            entry.tag = tag
            entry.flags = (entry.flags & (E_VERSIONED | E_ASKED)) | E_EXPECTED | (E_PRIVATE if private else 0)
        pthread_mutex_unlock(&self.map.lock)
        if entry == NULL:
            raise MemoryError

    def advance(self, bytes path, uint64_t version, *, uint32_t tag=0, bint private=False, uint32_t parts_ahead=3,
                uint16_t site=0) -> bool:
        """`version` of `path` exists but is not rendered: the old body goes.

        True when readers wait whom it satisfies: then render and `put` now. Else the next reader raises a render event.
        parts_ahead: how many parts beyond the last one a reader may ask for (RFC 8216bis, 6.2.5.2).
        """
        cdef Entry* entry
        cdef Body* old = NULL
        cdef Waiter* waiter
        cdef bint due = False
        pthread_mutex_lock(&self.map.lock)
        entry = obtain(self.map, site, <const uint8_t*> <const char*> path, <size_t> len(path))
        if entry != NULL:
            old = entry.body
            entry.body = NULL
            entry.version = version
            entry.tag = tag
            entry.advance = <uint8_t> min(parts_ahead, 255)
            entry.flags = E_VERSIONED | (E_PRIVATE if private else 0)
            waiter = entry.waiters
            while waiter != NULL:
                if waiter.wanted <= version:
                    due = True
                    entry.flags |= E_ASKED
                    break
                waiter = waiter.next
        pthread_mutex_unlock(&self.map.lock)
        body_unref(old)
        if entry == NULL:
            raise MemoryError
        return due

    def remove(self, bytes path, *, uint16_t site=0) -> bool:
        """Forget `path`; who waits for it is answered as for a name that never was. False when there was none."""
        cdef Entry* entry
        pthread_mutex_lock(&self.map.lock)
        entry = find(self.map, site, <const uint8_t*> <const char*> path, <size_t> len(path))
        if entry != NULL:
            objects_discard(self.map, entry)
        pthread_mutex_unlock(&self.map.lock)
        return entry != NULL

    def limit_waiting(self, uint64_t most) -> None:
        """How many requests may wait at once; one more is answered 503."""
        self.map.max_waiting = most

    def waiting(self, bytes path, *, uint16_t site=0) -> int:
        """Requests that wait for `path` now."""
        cdef Entry* entry
        cdef uint32_t waiting = 0
        pthread_mutex_lock(&self.map.lock)
        entry = find(self.map, site, <const uint8_t*> <const char*> path, <size_t> len(path))
        if entry != NULL:
            waiting = entry.waiting
        pthread_mutex_unlock(&self.map.lock)
        return waiting

    def __contains__(self, path):
        """Whether a request for `path` would be answered at once."""
        cdef Entry* entry
        cdef bytes key = path
        cdef bint there
        pthread_mutex_lock(&self.map.lock)
        entry = find(self.map, 0, <const uint8_t*> <const char*> key, <size_t> len(key))
        there = entry != NULL and entry.body != NULL
        pthread_mutex_unlock(&self.map.lock)
        return there
