"""The object table for readers in trio: what HTTP/2 and HTTP/3 answer from, by the same names, versions and waiting list as the I/O threads."""
cimport cython
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.stdlib cimport free

from nova.ext.objects cimport (
    Body, F_BODY, F_FULL, F_MISS, F_PARKED, F_RENDER, F_TOO_FAR, Hit, ObjectTable, Variant, Waiter, body_unref, objects_find,
    objects_ready, objects_unpark, rope_cut,
)
from nova.ext.pthread cimport pthread_mutex_lock, pthread_mutex_unlock
from nova.ext.ring cimport bell_clear

import os

cdef extern from "sys/eventfd.h" nogil:
    int eventfd(unsigned int count, int flags)
    enum: EFD_CLOEXEC, EFD_NONBLOCK

cdef extern from "unistd.h" nogil:
    int close(int fd)

cdef enum:
    MAX_READERS = 17            # the table's lists of those who can be answered: one a thread, and one for trio

MISS = F_MISS
FOUND = F_BODY
PARKED = F_PARKED
RENDER = F_RENDER
TOO_FAR = F_TOO_FAR
FULL = F_FULL


cdef class Resident:
    """A body as it was when it was found; later changes of the table do not touch it."""
    cdef Body* body

    def __dealloc__(self):
        if self.body != NULL:
            body_unref(self.body)

    cdef Variant* variant(self, bint gzip) noexcept:
        return &self.body.gzip if gzip and self.body.gzip.head != NULL else &self.body.plain

    @property
    def headers(self) -> bytes:
        """The header lines as they were put."""
        return (<char*> self.body.headers.data)[:self.body.headers.size]

    @property
    def modified(self) -> int:
        """Unix seconds, -1: unknown."""
        return self.body.modified

    @property
    def has_gzip(self) -> bool:
        return self.body.gzip.head != NULL

    def etag(self, bint gzip=False) -> bytes:
        cdef Variant* variant = self.variant(gzip)
        return (<char*> variant.etag)[:variant.etag_size]

    def size(self, bint gzip=False) -> int:
        """Bytes of the body."""
        return self.variant(gzip).total

    def pieces(self, size_t first, size_t size, bint gzip=False) -> list:
        """`size` bytes from `first` on, as Buffers that share the table's bytes."""
        cdef Variant* variant = self.variant(gzip)
        return rope_cut(variant.slices, variant.count, first, size)


@cython.no_gc_clear  # __dealloc__ needs the table
cdef class ObjectReader:
    """One more reader of a table, beside the I/O threads. Make it before the first request is served.

    `bell` is readable when requests that waited can be answered. Raises ValueError when the table has readers enough.
    """
    cdef ObjectTable table
    cdef int index
    cdef readonly int bell
    cdef dict places            # token: address of its Waiter
    cdef uint64_t tokens

    def __cinit__(self, ObjectTable table not None):
        self.bell = -1
        if table.map.threads >= MAX_READERS:
            raise ValueError(f"an object table has at most {MAX_READERS} readers")
        self.bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)
        if self.bell < 0:
            raise OSError("no eventfd to be had: raise the limit of open files")
        self.table = table
        self.places = {}
        pthread_mutex_lock(&table.map.lock)
        self.index = table.map.threads
        table.map.bells[self.index] = self.bell
        table.map.threads += 1
        pthread_mutex_unlock(&table.map.lock)

    def __dealloc__(self):
        if self.bell < 0:
            return
        pthread_mutex_lock(&self.table.map.lock)
        self.table.map.bells[self.index] = -1  # nobody may ring a descriptor that is another's by then
        pthread_mutex_unlock(&self.table.map.lock)
        for address in self.places.values():
            objects_unpark(self.table.map, <Waiter*> <uint64_t> address)
        close(self.bell)

    def find(self, bytes path, *, bint session=False, int64_t msn=-1, int64_t part=-1, bint park=True, int site=0) -> tuple:
        """(what was found, Resident or None, tag, token). PARKED and RENDER leave a place in the waiting list, named by the token."""
        cdef Hit hit
        cdef Waiter* waiter = NULL
        cdef Resident found = None
        cdef int answer
        cdef uint64_t token
        hit.body = NULL
        hit.tag = 0
        hit.flags = 0
        self.tokens = (self.tokens + 1) & <uint64_t> 0xFFFFFFFFFFFFFF
        token = self.tokens
        answer = objects_find(self.table.map, <unsigned short> site, <const uint8_t*> <const char*> path, <size_t> len(path), session,
                              msn, part, park, <uint64_t> self.index << 56 | token, &waiter, &hit)
        if answer == F_BODY:
            found = Resident.__new__(Resident)
            found.body = hit.body
        if waiter != NULL:
            self.places[token] = <uint64_t> waiter
        return answer, found, hit.tag, token

    def forget(self, uint64_t token) -> None:
        """The request of that place is over."""
        address = self.places.pop(token, None)
        if address is not None:
            objects_unpark(self.table.map, <Waiter*> <uint64_t> address)

    def ready(self) -> list:
        """Tokens of the requests that can be looked up again; their places are given back."""
        cdef Waiter* waiter
        cdef list found = []
        bell_clear(self.bell)
        while True:
            waiter = objects_ready(self.table.map, self.index)
            if waiter == NULL:
                return found
            token = waiter.conn & <uint64_t> 0xFFFFFFFFFFFFFF
            free(waiter)
            self.places.pop(token, None)
            found.append(token)
