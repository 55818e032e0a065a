"""A growable run of bytes for kernels: what a C++ vector is, without exceptions. Inline, so there is no module behind it."""
from libc.stdint cimport uint8_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memmove

ctypedef struct ByteVec:
    uint8_t* data
    size_t len
    size_t cap

cdef inline uint8_t* vec_reserve(ByteVec* v, size_t extra) noexcept nogil:
    """Room for `extra` more bytes; the address of the first of them, NULL when memory is out. `len` is the caller's to move."""
    cdef size_t need = v.len + extra
    cdef size_t cap
    cdef uint8_t* grown
    if need > v.cap:
        cap = v.cap * 2 if v.cap else 512
        while cap < need:
            cap *= 2
        grown = <uint8_t*> realloc(v.data, cap)
        if grown == NULL:
            return NULL
        v.data = grown
        v.cap = cap
    return v.data + v.len

cdef inline int vec_append(ByteVec* v, const void* data, size_t size) noexcept nogil:
    """0, or -1 when memory is out."""
    cdef uint8_t* at = vec_reserve(v, size)
    if at == NULL:
        return -1
    memcpy(at, data, size)
    v.len += size
    return 0

cdef inline void vec_drop_front(ByteVec* v, size_t size) noexcept nogil:
    if size >= v.len:
        v.len = 0
        return
    memmove(v.data, v.data + size, v.len - size)
    v.len -= size

cdef inline void vec_free(ByteVec* v) noexcept nogil:
    free(v.data)
    v.data = NULL
    v.len = 0
    v.cap = 0
