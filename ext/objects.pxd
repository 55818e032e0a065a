from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from nova.ext.buffer cimport Buf
from nova.ext.eviction cimport Evict
from nova.ext.pthread cimport pthread_mutex_t
from nova.ext.sequence cimport Seq

ctypedef struct Slice:
    Buf* buf
    size_t offset
    size_t size

ctypedef struct Variant:        # one encoding of a body
    Buf* head                   # status line and header lines of a 200, up to Date
    size_t total                # bytes of the body
    uint32_t count
    Slice* slices
    uint8_t etag[72]            # quotes included
    uint32_t etag_size

ctypedef struct Body:           # immutable; shared by every answer under way
    int32_t refs
    Buf* headers                # the header lines as given
    Variant plain
    Variant gzip                # head NULL: none
    int64_t modified            # unix seconds, -1: unknown

cdef enum KeptFlag:
    K_PASS = 1                  # nothing is kept: each request for it goes to the origin by itself
    K_ALWAYS = 2                # kept, and the origin is asked each time (no-cache)
    K_VARY = 4                  # `head` lists names of fields: the answers lie under keys with their values
    K_WHOLE = 8                 # a 200: conditions and, once its length is known, ranges are answered from it
    K_PIECE = 16                # part of an object: trio puts answers together from it
    K_COOKIE = 32               # has Set-Cookie
    K_SPENT = 64                # nobody will ask for it any more (live window)

ctypedef struct Kept:           # an origin's answer
    int32_t refs
    uint16_t status
    uint16_t flags
    # unix seconds
    uint32_t born               # its age is counted from here
    uint32_t fresh_until
    uint32_t stale_until        # served until then while a new one is fetched
    uint32_t error_until        # served until then while the origin fails
    uint32_t line_size          # bytes of the status line in `head`
    uint32_t fields_size        # bytes of status line and fields; Content-Length follows
    uint32_t etag_at            # in `head`
    uint32_t etag_size
    int64_t modified            # unix seconds, -1: unknown
    int64_t total               # bytes of the body, -1: not known yet
    Buf* head
    Seq* seq                    # the body while it grows
    Kept** alternates           # the same in gzip, br, zstd; NULL: none. Set and filled later, with the lock; read without it
    Slice* slices               # `one`, or a list
    Slice one
    uint32_t count
    uint32_t requests           # since somebody looked
    int64_t bytes
    uint32_t charged            # bytes that count for it where its head counts, beside its buffers

cdef enum EntryFlag:
    E_KEPT = 16                 # `body` is a Kept, `tag` its place in the eviction order plus one
    E_PRIVATE = 1               # only behind a valid session prefix
    E_VERSIONED = 2             # has versions to wait for
    E_EXPECTED = 4              # named, not there yet
    E_ASKED = 8                 # trio was asked to render it

cdef struct Entry

cdef struct Waiter:
    Waiter* next
    Waiter** prev               # what points here; NULL: in no list
    uint64_t conn
    uint64_t wanted
    Entry* entry                # NULL: can be answered

cdef enum:
    ENTRY_BYTES = 48            # of an entry beside its key, whose first byte stands in the struct

cdef struct Entry:
    uint64_t hash
    Body* body
    uint64_t version
    uint32_t tag
    uint16_t site
    uint8_t flags
    uint8_t advance             # parts beyond the last that may be asked for
    uint32_t waiting
    uint32_t key_size
    Waiter* waiters
    uint8_t key[1]

ctypedef struct ObjectMap:
    pthread_mutex_t lock
    Entry** slots
    size_t cap                  # below 2^32
    size_t used                 # entries and tombstones
    size_t live
    uint64_t seed
    int threads
    Waiter* ready[17]           # one more than there can be I/O threads: trio reads, too
    int bells[17]
    uint64_t max_waiting
    uint64_t waiting
    Evict* order                # of what is kept

cdef enum Found:
    F_MISS = 0
    F_BODY = 1
    F_PARKED = 2
    F_RENDER = 3                # parked, and trio must be asked to render
    F_TOO_FAR = 4
    F_FULL = 5

ctypedef struct Hit:
    Body* body
    uint32_t tag
    uint16_t flags

cdef ObjectMap* objects_new() noexcept nogil
cdef void objects_free(ObjectMap* map) noexcept nogil
cdef bint objects_versioned(ObjectMap* map, uint16_t site, const uint8_t* path, size_t size) noexcept nogil
cdef int objects_find(ObjectMap* map, uint16_t site, const uint8_t* path, size_t size, bint session,
                      int64_t msn, int64_t part, bint park, uint64_t conn, Waiter** waiter, Hit* hit) noexcept nogil
cdef void objects_unpark(ObjectMap* map, Waiter* waiter) noexcept nogil
cdef void objects_unask(ObjectMap* map, Waiter* waiter) noexcept nogil
cdef Waiter* objects_ready(ObjectMap* map, int thread) noexcept nogil
cdef void body_unref(Body* body) noexcept nogil
cdef void kept_unref(Kept* kept) noexcept nogil
# `size` bytes of a body in slices, from `first` on, as Buffers that share them.
cdef list rope_cut(const Slice* slices, uint32_t count, size_t first, size_t size)
cdef uint64_t key_hash(uint64_t seed, uint16_t site, const uint8_t* path, size_t size) noexcept nogil
# For `kept`, with the lock held.
cdef Entry* objects_entry(ObjectMap* map, uint16_t site, const uint8_t* path, size_t size) noexcept nogil
cdef Entry* objects_obtain(ObjectMap* map, uint16_t site, const uint8_t* path, size_t size) noexcept nogil
cdef Waiter* objects_place(ObjectMap* map, Entry* entry, uint64_t conn) noexcept nogil
cdef void objects_release(ObjectMap* map, Entry* entry) noexcept nogil
cdef void objects_discard(ObjectMap* map, Entry* entry) noexcept nogil

cdef class ObjectTable:
    cdef ObjectMap* map
    cdef readonly object now
