"""The signed path prefix of a viewer, `/live/~{session}/{scope}/…`; see session.pyx."""
from libc.stdint cimport int64_t, uint8_t, uint64_t

from nova.ext.marks cimport Marks
from nova.ext.rwlock cimport pthread_rwlock_t
from nova.ext.sha256 cimport nova_hmac_key

cdef enum:
    SESSION_TEXT = 52           # characters after the `~`
    SESSION_BYTES = 39          # version 1, key id 1, expiry 5, viewer 16, code 16
    SESSION_KEYS = 4
    SESSION_MAX_SCOPE = 128     # bytes

cdef enum:
    SESSION_E_MALFORMED = -1
    SESSION_E_KEY = -2
    SESSION_E_EXPIRED = -3
    SESSION_E_CODE = -4         # forged, or made for another scope
    SESSION_E_REVOKED = -5

ctypedef struct SessionKey:
    nova_hmac_key hmac
    int id                      # 0 to 255; -1: this slot is free

cdef class SessionKeys:
    cdef pthread_rwlock_t lock
    cdef SessionKey keys[SESSION_KEYS]
    cdef int current            # the slot that mints, -1: none yet
    cdef Marks revoked

cdef int session_verify(SessionKeys keys, const uint8_t* text, size_t size, const uint8_t* scope, size_t scope_len,
                        int64_t now, uint64_t* viewer) noexcept nogil
