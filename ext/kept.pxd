from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from nova.ext.bytevec cimport ByteVec
from nova.ext.http1 cimport Head
from nova.ext.objects cimport Kept, ObjectMap, Waiter

cdef enum KeptFound:
    KF_UP = 0                   # nothing that can be used: the request goes up for itself
    KF_LEAD = 1                 # it goes up, and others wait for what comes of it
    KF_HIT = 2
    KF_STALE = 3                # as KF_HIT, and trio must be asked for a new one
    KF_PARKED = 4
    KF_FULL = 5

cdef enum:
    PICTURES_SITE = 63          # no site of the settings: results of pictures, on the listeners of the application

# The key of a request: host when `host` is set, path and query. False when memory is out.
cdef bint kept_key(ByteVec* key, const uint8_t* data, Head* head, bint host, size_t skip) noexcept nogil
cdef int kept_find(ObjectMap* map, uint16_t site, ByteVec* key, const uint8_t* data, Head* head, uint32_t now, bint park, bint lead,
                   uint64_t conn, Waiter** waiter, Kept** found) noexcept nogil
cdef void kept_unask(ObjectMap* map, uint16_t site, ByteVec* key) noexcept nogil
