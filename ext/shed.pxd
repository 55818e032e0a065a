from nova.ext.io cimport Thread

cdef bint shed(Thread* t) noexcept nogil
