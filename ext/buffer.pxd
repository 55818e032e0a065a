from libc.stdint cimport int32_t, int64_t, uint8_t

ctypedef struct Ledger:
    int32_t refs      # an Account's, and one for each of its buffers
    int64_t bytes

ctypedef struct Buf:
    int32_t refs      # and the next field are one 64-bit word for those who count both
    int32_t slow      # references of connections' backlogs among them
    int fd            # the memfd behind `data`, -1 for heap bytes
    int lent          # pages of the memfd were given to the kernel by reference (sendfile): they may be on their way for long
    uint8_t* data
    size_t size       # bytes written; these never change again
    size_t cap
    Ledger* ledger    # where it counts until nobody holds it, NULL: nowhere

cdef enum:
    BUF_OVERHEAD = 64 # bytes of a buffer beside those that it holds

cdef Buf* buf_new(size_t cap) noexcept nogil
cdef Buf* buf_copy(const void* data, size_t size) noexcept nogil
cdef Buf* buf_memfd(size_t cap) noexcept nogil
cdef void buf_unref(Buf* buf) noexcept nogil
cdef size_t buf_resident() noexcept nogil
# A backlog takes over one reference, and gives it back; what only backlogs hold is pinned.
cdef void buf_pin(Buf* buf) noexcept nogil
cdef void buf_unpin(Buf* buf) noexcept nogil
cdef bint buf_pinned(Buf* buf) noexcept nogil
cdef int64_t* buf_pinned_bytes() noexcept nogil
cdef size_t buf_cost(Buf* buf) noexcept nogil
cdef void buf_charge(Buf* buf, Ledger* ledger) noexcept nogil

cdef class Account:
    cdef Ledger* ledger
    cdef readonly int64_t promised

cdef class Buffer:
    cdef Buf* buf
    cdef size_t offset
    cdef size_t size
    cdef Py_ssize_t shape[1]

cdef Buffer buffer_wrap(Buf* buf, size_t offset, size_t size)

cdef class Arena:
    cdef Buf* buf
    cdef bint sealed
    cdef size_t touched  # bytes, whole pages: those below have memory
    cdef uint8_t* reserve(self, size_t size) noexcept nogil
    cdef void commit(self, size_t size) noexcept nogil
