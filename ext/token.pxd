"""What I/O threads call to check a token; see token.pyx.

    code = token_verify(table, token, size, now, &claims, &result)      # 0, or a negative TOKEN_E_*
"""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

from nova.ext.bytevec cimport ByteVec
from nova.ext.jws_key cimport Key
from nova.ext.marks cimport Marks
from nova.ext.rwlock cimport pthread_rwlock_t
from nova.ext.token_cache cimport Cache, TokenResult

cdef enum:
    TOKEN_MAX = 8192        # bytes of a token
    TOKEN_MAX_HEADER = 1024 # bytes of its decoded header
    TOKEN_MAX_KEYS = 64
    TOKEN_MAX_ID = 64       # characters of sub and device
    TOKEN_MAX_JTI = 256     # bytes
    TOKEN_CODES = 14

# Reasons to refuse; docs and metrics take their names from `REASONS` in token.pyx.
cdef enum:
    TOKEN_E_MALFORMED = -1
    TOKEN_E_TOO_LARGE = -2
    TOKEN_E_ALGORITHM = -3
    TOKEN_E_KEY = -4
    TOKEN_E_SIGNATURE = -5
    TOKEN_E_EXPIRED = -6
    TOKEN_E_NOT_YET = -7
    TOKEN_E_ISSUER = -8
    TOKEN_E_AUDIENCE = -9
    TOKEN_E_SUBJECT = -10
    TOKEN_E_CRITICAL = -11
    TOKEN_E_LIFETIME = -12
    TOKEN_E_REVOKED = -13
    TOKEN_E_MEMORY = -14

ctypedef struct KeyRow:
    int32_t refs
    uint64_t serial         # from 1, never used again
    Key* key
    uint8_t* text           # kid, issuer and audience, one after the other
    uint32_t kid_len
    uint32_t issuer_len
    uint32_t audience_len
    int64_t skew            # seconds by which the issuer's clock may differ from ours

cdef class TokenTable:
    cdef pthread_rwlock_t lock      # rows, jtis, users; held for look-ups only, never during a signature check
    cdef KeyRow* rows[TOKEN_MAX_KEYS]
    cdef int row_count
    cdef uint64_t serials
    cdef uint64_t version           # moves with every change of rows, jtis or users
    cdef Marks jtis
    cdef Marks users                # value: milliseconds; what was issued then or earlier is refused
    cdef Cache cache
    cdef int64_t max_lifetime       # seconds
    cdef int64_t hits
    cdef int64_t verified
    cdef int64_t refused[TOKEN_CODES + 1]
    cdef bytes scope_text           # the names; scope_at[i] to scope_at[i + 1]
    cdef const uint8_t* scope_names
    cdef uint32_t scope_at[65]
    cdef int scope_count
    cdef void changed(self) noexcept nogil
    cdef revoke_result(self, int code)
    cdef bytes checked(self, token, int64_t now, TokenResult* result)

cdef int token_verify(TokenTable table, const uint8_t* token, size_t size, int64_t now, ByteVec* claims,
                      TokenResult* out) noexcept nogil
cdef const char* token_error(int code) noexcept nogil
