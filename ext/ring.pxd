from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cdef enum:
    RING_LEAST = 262144 # bytes; the largest record that is put without asking twice (64 KiB) fits when half of it is free
    PIECE_MOST = 65536  # bytes of payload that are copied into a record; more goes by reference

ctypedef struct Record:
    uint32_t size       # bytes of header and payload, rounded up to 8
    uint16_t kind
    uint16_t flags
    uint64_t conn
    uint64_t arg
    uint32_t length     # bytes of payload
    uint32_t aux

ctypedef struct Ring:
    uint8_t* data
    uint64_t capacity   # a power of two
    uint64_t head       # bytes ever read; the consumer's
    uint8_t gap0[104]   # head and tail on cache lines of their own
    uint64_t tail       # bytes ever written; the producer's
    uint8_t gap1[120]
    uint32_t sleeping   # the consumer is about to wait, or waits, for the doorbell
    uint32_t starved    # the producer found no room and wants to hear when there is
    int bell            # the consumer's eventfd
    int room_bell       # the producer's eventfd

cdef int ring_open(Ring* ring, uint64_t capacity, int bell, int room_bell) noexcept nogil
cdef void ring_close(Ring* ring) noexcept nogil
cdef bint ring_put(Ring* ring, uint16_t kind, uint16_t flags, uint64_t conn, uint64_t arg, uint32_t aux,
                   const void* payload, uint32_t length, const void* more, uint32_t more_length) noexcept nogil
cdef bint ring_room(Ring* ring, size_t payload) noexcept nogil
cdef Record* ring_peek(Ring* ring) noexcept nogil
cdef void ring_pop(Ring* ring, Record* record) noexcept nogil
cdef void ring_ring(Ring* ring) noexcept nogil
cdef bint ring_doze(Ring* ring) noexcept nogil
cdef void ring_woke(Ring* ring) noexcept nogil
cdef void bell_ring(int fd) noexcept nogil
cdef void bell_clear(int fd) noexcept nogil
