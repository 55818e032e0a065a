"""A byte ring between one producing and one consuming thread, with an eventfd as doorbell.

Records never wrap: where one does not fit before the end, a filler takes the rest. The doorbell is written only when the
consumer has said that it sleeps, so that a busy ring costs no system call. When the producer finds no room it says so, and the
consumer rings back once it has read on.
"""
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from nova.ext.atomics cimport nova_fence, nova_load32, nova_load64, nova_store32, nova_store64, nova_swap32

cdef extern from "sys/eventfd.h" nogil:
    int eventfd(unsigned int count, int flags)
    enum: EFD_CLOEXEC, EFD_NONBLOCK

cdef extern from "unistd.h" nogil:
    int close(int fd)
    Py_ssize_t read(int fd, void* buf, size_t count)
    Py_ssize_t write(int fd, const void* buf, size_t count)

cdef enum:
    FILLER = 0xFFFF


cdef int ring_open(Ring* ring, uint64_t capacity, int bell, int room_bell) noexcept nogil:
    """`capacity`: bytes, a power of two, at least RING_LEAST. 0, or -1 when memory is out."""
    ring.data = <uint8_t*> malloc(capacity)
    if ring.data == NULL:
        return -1
    ring.capacity = capacity
    ring.head = ring.tail = 0
    ring.sleeping = 0
    ring.starved = 0
    ring.bell = bell
    ring.room_bell = room_bell
    return 0


cdef void ring_close(Ring* ring) noexcept nogil:
    free(ring.data)
    ring.data = NULL


cdef inline uint64_t rounded(uint64_t payload) noexcept nogil:
    return (sizeof(Record) + payload + 7) & ~(<uint64_t> 7)


cdef bint ring_room(Ring* ring, size_t payload) noexcept nogil:
    """Whether a record of `payload` bytes surely fits now; when not, the producer's own bell will ring as soon as one may."""
    cdef uint64_t need = rounded(payload) * 2  # a filler may be as long as the record, less one
    if ring.capacity - (ring.tail - nova_load64(&ring.head)) >= need:
        return True
    nova_swap32(&ring.starved, 1)
    return ring.capacity - (ring.tail - nova_load64(&ring.head)) >= need


cdef bint ring_put(Ring* ring, uint16_t kind, uint16_t flags, uint64_t conn, uint64_t arg, uint32_t aux,
                   const void* payload, uint32_t length, const void* more, uint32_t more_length) noexcept nogil:
    """Write one record of `payload` then `more`. False when there is no room: nothing was written."""
    cdef uint64_t size = rounded(<uint64_t> length + more_length)
    cdef uint64_t at, rest
    cdef Record* record
    if not ring_room(ring, <size_t> length + more_length):
        return False
    at = ring.tail & (ring.capacity - 1)
    rest = ring.capacity - at
    if rest < size:
        record = <Record*> (ring.data + at)
        record.size = <uint32_t> rest
        record.kind = FILLER
        nova_store64(&ring.tail, ring.tail + rest)
        at = 0
    record = <Record*> (ring.data + at)
    record.size = <uint32_t> size
    record.kind = kind
    record.flags = flags
    record.conn = conn
    record.arg = arg
    record.aux = aux
    record.length = length + more_length
    if length:
        memcpy(<uint8_t*> record + sizeof(Record), payload, length)
    if more_length:
        memcpy(<uint8_t*> record + sizeof(Record) + length, more, more_length)
    nova_store64(&ring.tail, ring.tail + size)
    return True


cdef Record* ring_peek(Ring* ring) noexcept nogil:
    """The oldest record, or NULL. It stays readable until `ring_pop`."""
    cdef Record* record
    cdef uint64_t tail = nova_load64(&ring.tail)
    while ring.head != tail:
        record = <Record*> (ring.data + (ring.head & (ring.capacity - 1)))
        if record.kind != FILLER:
            return record
        nova_store64(&ring.head, ring.head + record.size)
    return NULL


cdef void ring_pop(Ring* ring, Record* record) noexcept nogil:
    nova_store64(&ring.head, ring.head + record.size)
    nova_fence()  # the producer says that it starves, then looks at `head`: one of the two must see the other
    if nova_load32(&ring.starved) and (nova_load64(&ring.tail) - ring.head) * 2 < ring.capacity:
        if nova_swap32(&ring.starved, 0):
            bell_ring(ring.room_bell)


cdef void ring_ring(Ring* ring) noexcept nogil:
    """Wake the consumer if it sleeps. Call once after a batch of `ring_put`."""
    nova_fence()
    if nova_load32(&ring.sleeping) and nova_swap32(&ring.sleeping, 0):
        bell_ring(ring.bell)


cdef bint ring_doze(Ring* ring) noexcept nogil:
    """The consumer's step before it waits for its bell; False when there is something to read after all."""
    nova_swap32(&ring.sleeping, 1)
    nova_fence()
    if nova_load64(&ring.tail) != ring.head:
        nova_store32(&ring.sleeping, 0)
        return False
    return True


cdef void ring_woke(Ring* ring) noexcept nogil:
    nova_swap32(&ring.sleeping, 0)


cdef void bell_ring(int fd) noexcept nogil:
    cdef uint64_t one = 1
    write(fd, &one, 8)  # the only failure is a counter that is full, and then the bell rings already


cdef void bell_clear(int fd) noexcept nogil:
    cdef uint64_t count
    read(fd, &count, 8)


cdef class ByteRing:
    """A ring by itself: the kernel under test, from one thread."""
    cdef Ring ring
    cdef readonly int bell
    cdef readonly int room_bell

    def __cinit__(self, uint64_t capacity=RING_LEAST):
        self.bell = self.room_bell = -1
        if ring_open(&self.ring, capacity, -1, -1):
            raise MemoryError
        self.bell = self.ring.bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)
        self.room_bell = self.ring.room_bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)
        if self.bell < 0 or self.room_bell < 0:
            raise OSError("no eventfd to be had")

    def __dealloc__(self):
        ring_close(&self.ring)
        if self.bell >= 0:
            close(self.bell)
        if self.room_bell >= 0:
            close(self.room_bell)

    def put(self, uint16_t kind, bytes payload, bytes more=b"") -> bool:
        return ring_put(&self.ring, kind, 0, 0, 0, 0, <const char*> payload, <uint32_t> len(payload), <const char*> more, <uint32_t> len(more))

    def take(self) -> tuple | None:
        """(kind, payload) of the oldest record."""
        cdef Record* record = ring_peek(&self.ring)
        if record == NULL:
            return None
        found = (record.kind, (<char*> record + sizeof(Record))[:record.length])
        ring_pop(&self.ring, record)
        return found

    def room(self, size_t payload) -> bool:
        return ring_room(&self.ring, payload)

    def tell(self) -> None:
        ring_ring(&self.ring)

    def doze(self) -> bool:
        return ring_doze(&self.ring)

    def woke(self) -> None:
        ring_woke(&self.ring)
