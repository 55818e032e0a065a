# nova: libraries=crypto
"""Signed path prefixes: `/live/~{session}/{id}/…` lets one viewer watch one stream until it ends or is revoked.

Text: base64url of version (1 byte, 1), key id (1), expiry (5, unix seconds, big endian), viewer (16, random) and the
first 16 bytes of HMAC-SHA256 over `nova session`, those 23 bytes and the scope. The relative URIs of a playlist keep the
prefix, so each request of a viewer carries it; a check takes well under a microsecond and no memory. (There is no cache:
a look-up under a lock costs as much as these four SHA-256 blocks; docs/decisions/0042.)
"""
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer, Py_buffer
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.string cimport memcpy

from nova.ext.base64url cimport base64url_decode, base64url_encode
from nova.ext.marks cimport marks_free, marks_get, marks_put
from nova.ext.rwlock cimport (
    pthread_rwlock_destroy, pthread_rwlock_init, pthread_rwlock_rdlock, pthread_rwlock_unlock, pthread_rwlock_wrlock,
)
from nova.ext.sha256 cimport (
    nova_equal, nova_hmac_add, nova_hmac_end, nova_hmac_key, nova_hmac_prepare, nova_hmac_start, nova_hmac_state, nova_wipe,
)

cdef enum:
    VERSION = 1
    SIGNED = 23                 # bytes before the code
    MAX_REVOKED = 262144

CODES = {
    SESSION_E_MALFORMED: "malformed",
    SESSION_E_KEY: "unknown_key",
    SESSION_E_EXPIRED: "expired",
    SESSION_E_CODE: "forged",
    SESSION_E_REVOKED: "revoked",
}


class SessionError(ValueError):
    """A session that was refused; `reason` is a word of CODES."""

    def __init__(self, reason):
        super().__init__(reason)
        self.reason = reason


cdef void code_of(const nova_hmac_key* key, const uint8_t* signed, const uint8_t* scope, size_t scope_len, uint8_t* out) noexcept nogil:
    cdef nova_hmac_state state
    nova_hmac_start(&state, key)
    nova_hmac_add(&state, b"nova session", 12)
    nova_hmac_add(&state, signed, SIGNED)
    nova_hmac_add(&state, scope, scope_len)  # what stands before it has a fixed length, so no other split gives the same bytes
    nova_hmac_end(&state, key, out)


cdef int session_verify(SessionKeys keys, const uint8_t* text, size_t size, const uint8_t* scope, size_t scope_len,
                        int64_t now, uint64_t* viewer) noexcept nogil:
    """Check what stands after the `~` for `scope` at `now` (unix seconds). Any thread, no GIL.

    0 with a 64-bit number of the viewer (never 0), or a negative SESSION_E_*. Constant time in the code.
    """
    cdef uint8_t data[SESSION_BYTES]
    cdef uint8_t wanted[32]
    cdef nova_hmac_key key
    cdef int64_t expires
    cdef int64_t value = 0
    cdef int i
    cdef bint known = False
    cdef bint revoked
    if size != SESSION_TEXT or scope_len == 0 or scope_len > SESSION_MAX_SCOPE or base64url_decode(text, size, data) != SESSION_BYTES:
        return SESSION_E_MALFORMED
    if data[0] != VERSION:
        return SESSION_E_MALFORMED
    pthread_rwlock_rdlock(&keys.lock)
    for i in range(SESSION_KEYS):
        if keys.keys[i].id == data[1]:
            key = keys.keys[i].hmac
            known = True
    revoked = marks_get(&keys.revoked, data + 7, &value)
    pthread_rwlock_unlock(&keys.lock)
    if not known:
        return SESSION_E_KEY
    code_of(&key, data, scope, scope_len, wanted)
    if not nova_equal(wanted, data + SIGNED, 16):
        return SESSION_E_CODE
    expires = (<int64_t> data[2] << 32) | (<int64_t> data[3] << 24) | (<int64_t> data[4] << 16) | (<int64_t> data[5] << 8) | data[6]
    if expires <= now:
        return SESSION_E_EXPIRED
    if revoked:
        return SESSION_E_REVOKED
    memcpy(viewer, data + 7, 8)
    if viewer[0] == 0:
        viewer[0] = 1
    return 0


cdef class SessionKeys:
    """The keys of signed prefixes: up to four at once, one of which mints. One writer; any thread verifies."""

    def __cinit__(self):
        cdef int i
        pthread_rwlock_init(&self.lock, NULL)
        for i in range(SESSION_KEYS):
            self.keys[i].id = -1
        self.current = -1
        self.revoked.limit = MAX_REVOKED

    def __dealloc__(self):
        nova_wipe(self.keys, sizeof(self.keys))
        marks_free(&self.revoked)
        pthread_rwlock_destroy(&self.lock)

    def add(self, key_id: int, bytes secret) -> None:
        """Add a key of at least 32 bytes (id 0 to 255) and mint with it from now on; the oldest of five goes.

        Raises ValueError: a short secret, an id out of range or in use.
        """
        cdef int slot
        if len(secret) < 32:
            raise ValueError("a session key has 32 bytes or more")
        if not 0 <= key_id <= 255 or key_id in self.ids():
            raise ValueError("a session key id is 0 to 255 and used once")
        slot = (self.current + 1) % SESSION_KEYS
        pthread_rwlock_wrlock(&self.lock)
        nova_hmac_prepare(&self.keys[slot].hmac, <const char*> secret, <size_t> len(secret))
        self.keys[slot].id = key_id
        self.current = slot
        pthread_rwlock_unlock(&self.lock)

    def ids(self) -> list[int]:
        """The ids of the keys that verify, the one that mints last."""
        cdef int i
        order = [(self.current + 1 + i) % SESSION_KEYS for i in range(SESSION_KEYS)]
        return [self.keys[slot].id for slot in order if self.keys[slot].id >= 0]

    def mint(self, bytes scope, bytes viewer, expires: int) -> bytes:
        """The text after the `~` that lets `viewer` (16 random bytes) use `scope` until `expires` (unix seconds).

        Raises ValueError: no key yet, or an argument outside its bounds.
        """
        cdef uint8_t data[SESSION_BYTES]
        cdef uint8_t code[32]
        cdef uint8_t text[SESSION_TEXT]
        if self.current < 0:
            raise ValueError("there is no session key yet")
        if not 0 < len(scope) <= SESSION_MAX_SCOPE or len(viewer) != 16 or not 0 < expires < 1 << 40:
            raise ValueError("a scope has 1 to 128 bytes, a viewer 16; an expiry is in unix seconds")
        data[0] = VERSION
        data[1] = <uint8_t> self.keys[self.current].id
        signed = <bytes> expires.to_bytes(5, "big") + viewer
        memcpy(data + 2, <const char*> signed, 21)
        code_of(&self.keys[self.current].hmac, data, <const uint8_t*> <const char*> scope, <size_t> len(scope), code)
        memcpy(data + SIGNED, code, 16)
        base64url_encode(data, SESSION_BYTES, text)
        return (<char*> text)[:SESSION_TEXT]

    def verify(self, text, bytes scope, now: int) -> int:
        """The viewer's 64-bit number. Raises SessionError."""
        cdef Py_buffer given
        cdef uint64_t viewer = 0
        cdef int64_t at = now  # before the buffer is held: it may raise
        cdef int code
        PyObject_GetBuffer(text, &given, PyBUF_SIMPLE)
        code = session_verify(self, <const uint8_t*> given.buf, <size_t> given.len, <const uint8_t*> <const char*> scope,
                              <size_t> len(scope), at, &viewer)
        PyBuffer_Release(&given)
        if code != 0:
            raise SessionError(CODES[code])
        return viewer

    def revoke(self, bytes viewer, *, until: int, now: int) -> None:
        """Refuse the sessions of `viewer`; remembered until `until` (unix seconds): no later session of it may outlive that.

        Raises ValueError: not 16 bytes; OverflowError: 262144 that have not ended are remembered already.
        """
        cdef int64_t end = until
        cdef int64_t at = now
        cdef int code
        if len(viewer) != 16:
            raise ValueError("a viewer is 16 bytes")
        pthread_rwlock_wrlock(&self.lock)
        code = marks_put(&self.revoked, <const uint8_t*> <const char*> viewer, 0, end, at)
        pthread_rwlock_unlock(&self.lock)
        if code == -1:
            raise MemoryError
        if code == -2:
            raise OverflowError("too many revoked viewers are remembered: add a new session key instead")

    @staticmethod
    def viewer(bytes text) -> bytes:
        """The 16 bytes of the viewer that a session names, unchecked: for `revoke`. Raises ValueError: not a session."""
        cdef uint8_t data[SESSION_BYTES]
        if len(text) != SESSION_TEXT or base64url_decode(<const uint8_t*> <const char*> text, SESSION_TEXT, data) != SESSION_BYTES:
            raise ValueError("not a session")
        return (<char*> data)[7:SIGNED]
