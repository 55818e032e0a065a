"""Tokens that were verified, by their SHA-256: a second look costs a hash and a copy instead of a signature check.

Bounded (a set-associative table, the least recently used of a set goes first) and only good tokens enter, so nobody can
fill it without a valid signature. Sharded: I/O threads seldom meet at one lock. What is in it is valid until it ends: a
revocation or a removed key drops its entries, and `version` keeps a verification that began before that from entering after.
"""
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy

from nova.ext.atomics cimport nova_add64, nova_load64
from nova.ext.bytevec cimport ByteVec, vec_append
from nova.ext.pthread cimport pthread_mutex_destroy, pthread_mutex_init, pthread_mutex_lock, pthread_mutex_unlock


cdef int cache_init(Cache* c, size_t entries) noexcept nogil:
    """Room for `entries` (rounded up to a power of two; pages are taken when used); 0, or -1 when memory is out."""
    cdef size_t sets = 1
    cdef int i
    c.sets = 0
    c.count = 0
    for i in range(CACHE_SHARDS):
        pthread_mutex_init(&c.shards[i].lock, NULL)
        c.shards[i].entries = NULL
        c.shards[i].turn = 0
    if entries == 0:
        return 0
    while sets * (CACHE_WAYS * CACHE_SHARDS) < entries:
        sets *= 2
    for i in range(CACHE_SHARDS):
        c.shards[i].entries = <Entry*> calloc(sets * CACHE_WAYS, sizeof(Entry))
        if c.shards[i].entries == NULL:
            return -1
    c.sets = sets
    return 0


cdef void cache_free(Cache* c) noexcept nogil:
    cdef int i
    cdef size_t j
    for i in range(CACHE_SHARDS):
        for j in range(c.sets * CACHE_WAYS):
            free(c.shards[i].entries[j].claims)
        free(c.shards[i].entries)
        pthread_mutex_destroy(&c.shards[i].lock)
    c.sets = 0


cdef inline Shard* shard_of(Cache* c, const uint8_t* digest) noexcept nogil:
    return &c.shards[digest[0] & (CACHE_SHARDS - 1)]


cdef inline Entry* set_of(Cache* c, Shard* shard, const uint8_t* digest) noexcept nogil:
    cdef uint64_t hash
    memcpy(&hash, digest + 8, 8)
    return shard.entries + (<size_t> hash & (c.sets - 1)) * CACHE_WAYS


cdef inline void release(Cache* c, Entry* entry) noexcept nogil:
    if entry.until == 0:
        return
    free(entry.claims)
    entry.claims = NULL
    entry.until = 0
    nova_add64(&c.count, -1)


cdef bint cache_get(Cache* c, const uint8_t* digest, int64_t now, ByteVec* claims, TokenResult* out) noexcept nogil:
    """Append the claims of the token with `digest` to `claims` and copy its result; False when it is not known at `now`."""
    cdef Shard* shard = shard_of(c, digest)
    cdef Entry* entry
    cdef bint found = False
    cdef int i
    if c.sets == 0:
        return False
    pthread_mutex_lock(&shard.lock)
    entry = set_of(c, shard, digest)
    for i in range(CACHE_WAYS):
        if entry.until != 0 and memcmp(entry.digest, digest, 32) == 0:
            if entry.until <= now:
                release(c, entry)
            elif vec_append(claims, entry.claims, entry.claims_len) == 0:
                shard.turn += 1
                entry.used = shard.turn
                out[0] = entry.result
                found = True
            break
        entry += 1
    pthread_mutex_unlock(&shard.lock)
    return found


cdef void cache_put(Cache* c, const uint8_t* digest, int64_t until, int64_t now, const uint8_t* claims, size_t claims_len,
                    const TokenResult* result, uint64_t* version, uint64_t seen) noexcept nogil:
    """Keep a verified token, unless keys or revocations changed since `seen` was read from `version`."""
    cdef Shard* shard = shard_of(c, digest)
    cdef Entry* entry
    cdef Entry* chosen
    cdef uint8_t* copy
    cdef int i
    if c.sets == 0 or claims_len > CACHE_MAX_CLAIMS or until <= now:
        return
    copy = <uint8_t*> malloc(claims_len)
    if copy == NULL:
        return
    memcpy(copy, claims, claims_len)
    pthread_mutex_lock(&shard.lock)
    if nova_load64(version) != seen:
        pthread_mutex_unlock(&shard.lock)
        free(copy)
        return
    entry = set_of(c, shard, digest)
    chosen = entry
    for i in range(CACHE_WAYS):
        if entry.until <= now or memcmp(entry.digest, digest, 32) == 0:
            chosen = entry
            break
        # The difference is right across the wrap of the 32-bit turn.
        if <uint32_t> (shard.turn - entry.used) > <uint32_t> (shard.turn - chosen.used):
            chosen = entry
        entry += 1
    release(c, chosen)
    shard.turn += 1
    memcpy(chosen.digest, digest, 32)
    chosen.until = until
    chosen.used = shard.turn
    chosen.claims = copy
    chosen.claims_len = <uint32_t> claims_len
    chosen.result = result[0]
    nova_add64(&c.count, 1)
    pthread_mutex_unlock(&shard.lock)


cdef void drop(Cache* c, uint64_t serial, const uint8_t* jti, const uint8_t* user, int64_t not_before_ms) noexcept nogil:
    cdef Shard* shard
    cdef Entry* entry
    cdef int i
    cdef size_t j
    for i in range(CACHE_SHARDS):
        shard = &c.shards[i]
        pthread_mutex_lock(&shard.lock)
        # Looked at with the lock: who enters one at this moment either has counted it by then, or sees the new version afterwards.
        if nova_add64(&c.count, 0) == 0:
            pthread_mutex_unlock(&shard.lock)
            continue
        for j in range(c.sets * CACHE_WAYS):
            entry = &shard.entries[j]
            if entry.until == 0:
                continue
            if ((serial != 0 and entry.result.key == serial)
                    or (jti != NULL and memcmp(entry.result.jti, jti, 16) == 0)
                    or (user != NULL and memcmp(entry.result.user, user, 16) == 0 and entry.result.issued_ms <= not_before_ms)):
                release(c, entry)
        pthread_mutex_unlock(&shard.lock)


cdef void cache_drop_key(Cache* c, uint64_t serial) noexcept nogil:
    """Forget the tokens that this key signed."""
    drop(c, serial, NULL, NULL, 0)


cdef void cache_drop_jti(Cache* c, const uint8_t* jti) noexcept nogil:
    """Forget the token whose jti has this digest."""
    drop(c, 0, jti, NULL, 0)


cdef void cache_drop_user(Cache* c, const uint8_t* user, int64_t not_before_ms) noexcept nogil:
    """Forget the tokens of this user that were issued at `not_before_ms` or earlier."""
    drop(c, 0, NULL, user, not_before_ms)
