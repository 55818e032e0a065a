from nova.ext.io cimport Thread

cdef int loop_open(Thread* t) noexcept nogil
cdef void loop_run(Thread* t) noexcept nogil
cdef void loop_close(Thread* t) noexcept nogil
