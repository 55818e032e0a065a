"""Immutable, reference-counted bytes, shared by every reader and thread that sends them.

A `Buf` is the C side: heap bytes, or a stretch of a memfd that `sendfile` can send from. A `Buffer` is a Python view of
one (offset and length, buffer protocol). An `Arena` is the writer's side of a memfd: it appends, hands out `Buffer`s of
what it wrote, and never changes a byte that it handed out. An `Account` knows what of these a part of the server really holds: a
buffer that is charged to it counts there until its last reference goes, whoever has that.
"""
from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer, PyBUF_SIMPLE, Py_buffer
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy

from nova.ext.atomics cimport nova_add32, nova_add64, nova_load64, nova_ref, nova_sum64, nova_turn64

cdef extern from "sys/mman.h" nogil:
    int memfd_create(const char* name, unsigned int flags)
    void* mmap(void* addr, size_t length, int prot, int flags, int fd, long offset)
    int munmap(void* addr, size_t length)
    int madvise(void* addr, size_t length, int advice)
    enum: MFD_CLOEXEC, PROT_READ, PROT_WRITE, MAP_SHARED, MAP_NORESERVE
    void* MAP_FAILED

cdef extern from "unistd.h" nogil:
    int ftruncate(int fd, long length)
    int close(int fd)

cdef enum:
    PAGE = 4096
    POPULATE_WRITE = 23  # MADV_POPULATE_WRITE, which glibc of Debian 12 does not name (Linux 5.14)

cdef int64_t resident = 0  # bytes of heap buffers and of committed memfd pages
cdef int64_t pinned = 0  # ... of those that only the backlogs of connections hold
cdef int64_t SLOW = <int64_t> 1 << 32  # one in `Buf.slow`


cdef size_t buf_resident() noexcept nogil:
    return <size_t> nova_add64(&resident, 0)


cdef Buf* buf_new(size_t cap) noexcept nogil:
    """Room for `cap` bytes on the heap, one reference, `size` 0; NULL when memory is out."""
    cdef Buf* buf = <Buf*> malloc(sizeof(Buf) + cap)
    if buf == NULL:
        return NULL
    buf.refs = 1
    buf.slow = 0
    buf.fd = -1
    buf.data = <uint8_t*> buf + sizeof(Buf)
    buf.size = 0
    buf.cap = cap
    buf.lent = 0
    buf.ledger = NULL
    nova_add64(&resident, <int64_t> cap)
    return buf


cdef Buf* buf_copy(const void* data, size_t size) noexcept nogil:
    cdef Buf* buf = buf_new(size)
    if buf != NULL:
        memcpy(buf.data, data, size)
        buf.size = size
    return buf


cdef Buf* buf_memfd(size_t cap) noexcept nogil:
    """A memfd of `cap` bytes (sparse: only pages that are written take memory); NULL when there is none to be had."""
    cdef int fd
    cdef void* at
    cdef Buf* buf
    cap = (cap + PAGE - 1) & ~(<size_t> PAGE - 1)
    fd = memfd_create(b"nova", MFD_CLOEXEC)
    if fd < 0:
        return NULL
    if ftruncate(fd, <long> cap) != 0:
        close(fd)
        return NULL
    at = mmap(NULL, cap, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0)
    if at == MAP_FAILED:
        close(fd)
        return NULL
    buf = <Buf*> malloc(sizeof(Buf))
    if buf == NULL:
        munmap(at, cap)
        close(fd)
        return NULL
    buf.refs = 1
    buf.slow = 0
    buf.fd = fd
    buf.data = <uint8_t*> at
    buf.size = 0
    buf.cap = cap
    buf.lent = 0
    buf.ledger = NULL
    return buf


cdef inline size_t weight(Buf* buf) noexcept nogil:
    return buf.size if buf.fd >= 0 else buf.cap


cdef void ledger_unref(Ledger* ledger) noexcept nogil:
    if nova_add32(&ledger.refs, -1) == 0:
        free(ledger)


cdef size_t buf_cost(Buf* buf) noexcept nogil:
    """Bytes for which it counts in an account."""
    return weight(buf) + BUF_OVERHEAD


cdef void buf_charge(Buf* buf, Ledger* ledger) noexcept nogil:
    """It counts there until its last reference goes; nothing, when it counts somewhere already. The caller holds a reference, and is
    the thread of its writer."""
    if buf.ledger == NULL:
        nova_ref(&ledger.refs)
        buf.ledger = ledger
        nova_add64(&ledger.bytes, <int64_t> buf_cost(buf))


cdef void release(Buf* buf) noexcept nogil:
    nova_add64(&resident, -<int64_t> weight(buf))
    if buf.ledger != NULL:
        nova_add64(&buf.ledger.bytes, -<int64_t> buf_cost(buf))
        ledger_unref(buf.ledger)
    if buf.fd >= 0:
        munmap(buf.data, buf.cap)
        close(buf.fd)
    free(buf)


cdef inline void left(Buf* buf, uint64_t both, size_t size) noexcept nogil:
    """A reference is gone. `size` was read before that: the last slow reader may free it under our eyes."""
    if <uint32_t> both == 0:
        release(buf)
    elif <uint32_t> both == both >> 32:  # those who are left are all slow readers: nobody else will ever join them
        nova_add64(&pinned, <int64_t> size)


cdef void buf_unref(Buf* buf) noexcept nogil:
    cdef uint64_t both
    cdef size_t size
    if buf.fd < 0:
        size = buf.cap
        left(buf, <uint64_t> nova_sum64(<int64_t*> &buf.refs, -1), size)
        return
    # What lies in a memfd grows while its writer has a reference. So its size counts only where ours is the last one that is not slow:
    # one that the writer still changes afterwards would be added to the pinned bytes, and another one be taken off.
    both = nova_load64(<uint64_t*> &buf.refs)
    while True:
        size = buf.size if <uint32_t> both - 1 == both >> 32 else 0
        if nova_turn64(<uint64_t*> &buf.refs, &both, both - 1):
            left(buf, both - 1, size)
            return


cdef void buf_pin(Buf* buf) noexcept nogil:
    cdef uint64_t both = <uint64_t> nova_sum64(<int64_t*> &buf.refs, SLOW)
    if <uint32_t> both == both >> 32:
        nova_add64(&pinned, <int64_t> weight(buf))


cdef void buf_unpin(Buf* buf) noexcept nogil:
    if <uint32_t> nova_sum64(<int64_t*> &buf.refs, -SLOW - 1) == 0:
        nova_add64(&pinned, -<int64_t> weight(buf))  # the last one was slow, so it was pinned
        release(buf)


cdef bint buf_pinned(Buf* buf) noexcept nogil:
    """Whether only backlogs hold it. Once true, it stays so."""
    cdef uint64_t both = <uint64_t> nova_sum64(<int64_t*> &buf.refs, 0)
    return <uint32_t> both == both >> 32


cdef int64_t* buf_pinned_bytes() noexcept nogil:
    return &pinned


def pinned_bytes() -> int:
    """Bytes that nobody but slow readers hold."""
    return nova_add64(&pinned, 0)


def resident_bytes() -> int:
    """Bytes that live buffers hold, heap and memfd together."""
    return buf_resident()


cdef Buffer buffer_wrap(Buf* buf, size_t offset, size_t size):
    """A view of `buf`; takes over one reference."""
    cdef Buffer view = Buffer.__new__(Buffer)
    view.buf = buf
    view.offset = offset
    view.size = size
    return view


cdef class Buffer:
    """A view of immutable bytes. `Buffer(data)` copies `data` once; slices and the buffer protocol never copy."""

    def __cinit__(self, data=None):
        cdef Py_buffer given
        self.buf = NULL
        if data is None:
            return
        PyObject_GetBuffer(data, &given, PyBUF_SIMPLE)
        try:
            self.buf = buf_copy(given.buf, <size_t> given.len)
            self.size = <size_t> given.len
        finally:
            PyBuffer_Release(&given)
        if self.buf == NULL:
            raise MemoryError

    def __dealloc__(self):
        if self.buf != NULL:
            buf_unref(self.buf)

    def __len__(self):
        return self.size

    def __bytes__(self):
        if self.buf == NULL:
            return b""
        return (<char*> self.buf.data)[self.offset:self.offset + self.size]

    def __getitem__(self, part):
        cdef Py_ssize_t start, stop, step
        if not isinstance(part, slice):
            return memoryview(self)[part]
        start, stop, step = part.indices(self.size)
        if step != 1:
            raise ValueError("a Buffer is sliced with step 1")
        if stop < start:
            stop = start
        if self.buf != NULL:
            nova_ref(&self.buf.refs)
        return buffer_wrap(self.buf, self.offset + <size_t> start, <size_t> (stop - start))

    def __getbuffer__(self, Py_buffer* view, int flags):
        if flags & PyBUF_WRITABLE == PyBUF_WRITABLE:
            raise BufferError("a Buffer is immutable")
        self.shape[0] = <Py_ssize_t> self.size
        view.buf = self.buf.data + self.offset if self.buf != NULL else <void*> &self.size
        view.obj = self
        view.len = <Py_ssize_t> self.size
        view.readonly = 1
        view.itemsize = 1
        # Cython's typed memoryviews ask for the format, and do not take NULL for an answer.
        view.format = <char*> b"B"
        view.ndim = 1
        view.shape = self.shape
        view.strides = &view.itemsize
        view.suboffsets = NULL
        view.internal = NULL

    def __releasebuffer__(self, Py_buffer* view):
        pass

    def __repr__(self):
        return f"<Buffer {self.size} bytes>"

    def in_memfd(self) -> bool:
        """Whether `sendfile` can send these bytes."""
        return self.buf != NULL and self.buf.fd >= 0


cdef class Arena:
    """The writer of one memfd: append only, up to `capacity` bytes. One writer; any number of readers of its Buffers."""

    def __cinit__(self, size_t capacity):
        self.sealed = False
        self.touched = 0
        self.buf = buf_memfd(capacity)
        if self.buf == NULL:
            raise MemoryError("no memfd to be had: raise the limit of open files")

    def __dealloc__(self):
        if self.buf != NULL:
            buf_unref(self.buf)

    def __len__(self):
        return self.buf.size

    @property
    def capacity(self) -> int:
        return self.buf.cap

    cdef uint8_t* reserve(self, size_t size) noexcept nogil:
        """Where the next `size` bytes go; NULL when the arena is sealed or has no room for them.

        Their pages are there: one call takes them all, else each costs a fault of its own at its first byte.
        """
        cdef size_t end
        if self.sealed or self.buf.cap - self.buf.size < size:
            return NULL
        if self.buf.size + size > self.touched:
            end = (self.buf.size + size + PAGE - 1) & ~(<size_t> PAGE - 1)
            madvise(self.buf.data + self.touched, end - self.touched, POPULATE_WRITE)  # refused by older kernels: then they fault
            self.touched = end
        return self.buf.data + self.buf.size

    cdef void commit(self, size_t size) noexcept nogil:
        """The first `size` bytes at `reserve()` are written, and final."""
        self.buf.size += size
        nova_add64(&resident, <int64_t> size)
        if self.buf.ledger != NULL:
            nova_add64(&self.buf.ledger.bytes, <int64_t> size)

    def append(self, data) -> Buffer:
        """Append a copy of `data`; the Buffer of it. Raises ValueError when there is no room."""
        cdef Py_buffer given
        cdef uint8_t* at
        cdef size_t offset = self.buf.size
        PyObject_GetBuffer(data, &given, PyBUF_SIMPLE)
        try:
            at = self.reserve(<size_t> given.len)
            if at == NULL:
                raise ValueError(f"the arena has no room for {given.len} more bytes")
            memcpy(at, given.buf, <size_t> given.len)
            self.commit(<size_t> given.len)
            return self.view(offset, <size_t> given.len)
        finally:
            PyBuffer_Release(&given)

    def view(self, size_t offset, size_t size) -> Buffer:
        """The Buffer of bytes that are written. Raises ValueError outside of them."""
        if offset + size > self.buf.size or offset + size < offset:
            raise ValueError("only bytes that are written can be viewed")
        nova_ref(&self.buf.refs)
        return buffer_wrap(self.buf, offset, size)

    def recycle(self) -> bool:
        """Start anew on the pages that were written: touching fresh ones costs several times the copy into them.

        False, and nothing changes: somebody holds bytes of them, or the kernel may (`lent`), or the arena is sealed.
        """
        cdef long used = <long> ((self.buf.size + PAGE - 1) & ~(<size_t> PAGE - 1))
        if self.sealed or self.buf.lent or nova_add32(&self.buf.refs, 0) != 1:
            return False
        # What an earlier, longer use has touched beyond the last one goes back.
        if ftruncate(self.buf.fd, used) != 0 or ftruncate(self.buf.fd, <long> self.buf.cap) != 0:
            return False
        nova_add64(&resident, -<int64_t> self.buf.size)
        if self.buf.ledger != NULL:
            nova_add64(&self.buf.ledger.bytes, -<int64_t> self.buf.size)
        self.touched = <size_t> used
        self.buf.size = 0
        return True

    def seal(self) -> None:
        """No more appends; gives the address space and file size beyond the last page back."""
        cdef size_t used = (self.buf.size + PAGE - 1) & ~(<size_t> PAGE - 1)
        if self.sealed:
            return
        self.sealed = True
        if used == 0:
            used = PAGE
        if used < self.buf.cap:
            munmap(self.buf.data + used, self.buf.cap - used)
            ftruncate(self.buf.fd, <long> used)
            self.buf.cap = used


cdef class Account:
    """What one part of the server holds in buffers: every thread that lets a last reference go takes it off.

    promised: bytes that are on their way, as its one writer says by `promise`. They are held by nobody yet.
    """

    def __cinit__(self):
        self.ledger = <Ledger*> calloc(1, sizeof(Ledger))
        if self.ledger == NULL:
            raise MemoryError
        self.ledger.refs = 1
        self.promised = 0

    def __dealloc__(self):
        if self.ledger != NULL:
            ledger_unref(self.ledger)

    @property
    def bytes(self) -> int:
        """Bytes of the buffers that somebody still holds, with what each of them takes itself."""
        return nova_add64(&self.ledger.bytes, 0)

    def charge(self, what) -> None:
        """This Buffer, or this Arena with all that will be appended, counts here from now on; nothing, when it counts already."""
        if isinstance(what, Arena):
            buf_charge((<Arena> what).buf, self.ledger)
        elif (<Buffer?> what).buf != NULL:
            buf_charge((<Buffer> what).buf, self.ledger)

    def promise(self, int64_t size) -> None:
        """So many bytes will come; less than 0: have come, or will not."""
        self.promised += size
