from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef enum Policy:
    P_S3FIFO = 0
    P_LRU = 1
    P_SIEVE = 2
    P_FIFO = 3

cdef enum:
    EV_NONE = 0xFFFFFFFF

ctypedef struct Node:           # 24 bytes an object
    void* owner
    uint64_t size               # bytes; above bit 56: queue (bit 0) and frequency (bits 1-2)
    uint32_t prev               # towards the end that is evicted
    uint32_t next

ctypedef struct Queue:
    uint32_t oldest
    uint32_t newest
    uint64_t bytes
    uint32_t count

ctypedef struct Evict:
    uint8_t policy
    uint8_t evicted             # whether something had to go since it was empty
    uint64_t capacity           # bytes
    uint64_t bytes
    uint32_t count
    Node* nodes
    uint32_t cap
    uint32_t used               # nodes ever handed out
    uint32_t spare              # a list of those given back, by `next`
    Queue queues[2]             # S3-FIFO: small and main; others: the second
    uint32_t hand               # SIEVE
    uint64_t* ghosts            # fingerprint and time of those that were evicted from the small queue
    uint32_t ghost_cap          # a power of two
    uint64_t ghost_clock        # KiB that have gone through

cdef int evict_open(Evict* e, int policy, uint64_t capacity) noexcept nogil
cdef void evict_close(Evict* e) noexcept nogil
cdef uint32_t evict_add(Evict* e, uint64_t hash, uint64_t size, void* owner) noexcept nogil
cdef void evict_hit(Evict* e, uint32_t handle) noexcept nogil
cdef void evict_remove(Evict* e, uint32_t handle) noexcept nogil
cdef void evict_pause(Evict* e, uint32_t handle, uint64_t hash) noexcept nogil
cdef bint evict_replace(Evict* e, uint32_t handle, uint64_t size) noexcept nogil
cdef void evict_first(Evict* e, uint32_t handle) noexcept nogil
cdef uint32_t evict_victim(Evict* e) noexcept nogil
cdef void evict_again(Evict* e, uint32_t handle) noexcept nogil
cdef void evict_forget(Evict* e, uint32_t handle, uint64_t hash) noexcept nogil
cdef bint evict_admits(Evict* e, uint64_t hash, uint64_t size) noexcept nogil
cdef void evict_grow(Evict* e, uint32_t handle, uint64_t more) noexcept nogil
cdef uint64_t evict_size(Evict* e, uint32_t handle) noexcept nogil

cdef class Eviction:
    cdef Evict e
