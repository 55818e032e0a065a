"""C layout of the cache of verified tokens; see token_cache.pyx."""
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from nova.ext.bytevec cimport ByteVec
from nova.ext.pthread cimport pthread_mutex_t

ctypedef struct TokenResult:
    int64_t expires_ms      # unix milliseconds
    int64_t issued_ms       # 0: the token does not say
    uint64_t scopes         # bit i: the i-th name given to the TokenTable
    uint32_t sub            # offset within the claims; no escapes inside
    uint32_t sub_len
    uint32_t device         # the same; device_len 0: none
    uint32_t device_len
    uint64_t key            # serial of the key that signed
    uint8_t user[16]        # digest of sub: what a revocation of the user names
    uint8_t jti[16]         # digest of jti, zeros when there is none: what a revocation of the token names

cdef enum:
    CACHE_SHARDS = 16
    CACHE_WAYS = 8
    CACHE_MAX_CLAIMS = 2048  # bytes; longer ones are verified each time

ctypedef struct Entry:
    uint8_t digest[32]
    int64_t until           # unix seconds; 0 = free
    uint32_t used           # the shard's turn when it was last found
    uint32_t claims_len
    uint8_t* claims
    TokenResult result

ctypedef struct Shard:
    pthread_mutex_t lock
    Entry* entries
    uint32_t turn

ctypedef struct Cache:
    Shard shards[CACHE_SHARDS]
    size_t sets             # of CACHE_WAYS entries in each shard; a power of two, 0 = no cache
    int64_t count           # entries in use

cdef int cache_init(Cache* c, size_t entries) noexcept nogil
cdef void cache_free(Cache* c) noexcept nogil
cdef bint cache_get(Cache* c, const uint8_t* digest, int64_t now, ByteVec* claims, TokenResult* out) noexcept nogil
cdef void cache_put(Cache* c, const uint8_t* digest, int64_t until, int64_t now, const uint8_t* claims, size_t claims_len,
                    const TokenResult* result, uint64_t* version, uint64_t seen) noexcept nogil
cdef void cache_drop_key(Cache* c, uint64_t serial) noexcept nogil
cdef void cache_drop_jti(Cache* c, const uint8_t* jti) noexcept nogil
cdef void cache_drop_user(Cache* c, const uint8_t* user, int64_t not_before_ms) noexcept nogil
