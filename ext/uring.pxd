"""The second way out of a sweep: sends gathered in an io_uring; see uring.pyx."""
from nova.ext.buffer cimport Buf
from nova.ext.io cimport Conn, Thread

# The thread's own ring, where the settings want one and the kernel gives one. By the thread itself.
cdef void uring_open(Thread* t) noexcept nogil
cdef void uring_close(Thread* t) noexcept nogil
# Send shared bytes with the next `uring_go`, by which the connection must get nothing else. False: not this way.
cdef bint uring_send(Thread* t, Conn* c, Buf* buf, size_t offset, size_t size) noexcept nogil
# Carry out what was gathered; the rest of a short send becomes backlog, who has failed is closed.
cdef void uring_go(Thread* t) noexcept nogil
