# nova: libraries=crypto
"""Bearer tokens: compact JWS (RFC 7515) with JWT claims (RFC 7519), checked without the GIL by any thread.

One writer (the trio thread) adds and removes keys and revokes; any thread verifies. The rules follow RFC 8725: the key
decides the algorithm, a `kid` is looked up in the table and nowhere else, `jku`, `x5u` and `jwk` are never followed,
`crit` is refused, and `iss` and `aud` must be those that the key was added for. `exp` and `sub` are required. The
signature is checked before a claim is read.
"""
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer, Py_buffer
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memchr, memcmp, memcpy, memset

from nova.ext.atomics cimport nova_add32, nova_add64, nova_load64, nova_ref, nova_store64
from nova.ext.base64url cimport base64url_decode
from nova.ext.bytevec cimport ByteVec, vec_append, vec_free
from nova.ext.json_scan cimport (
    JSON_ARRAY, JSON_NUMBER, JSON_STRING, JsonMember, JsonMembers, json_array_has, json_member, json_milliseconds, json_object,
    json_string, json_string_is,
)
from nova.ext.jws_key cimport ALG_NONE, JwsKey, Key, alg_named, key_unref, key_verify
from nova.ext.marks cimport marks_free, marks_get, marks_put
from nova.ext.rwlock cimport (
    pthread_rwlock_destroy, pthread_rwlock_init, pthread_rwlock_rdlock, pthread_rwlock_unlock, pthread_rwlock_wrlock,
)
from nova.ext.sha256 cimport nova_sha256
from nova.ext.token_cache cimport (
    Cache, TokenResult, cache_drop_jti, cache_drop_key, cache_drop_user, cache_free, cache_get, cache_init, cache_put,
)

cdef enum:
    MAX_KID = 128                  # bytes
    MAX_PAYLOAD = TOKEN_MAX * 3 // 4
    MAX_SIGNATURE = 1024           # bytes: RSA of 8192 bits
    MAX_REVOKED = 262144           # of each kind: 10 MiB; each ends with the longest life of a token

cdef const char* WORDS[TOKEN_CODES + 1]
WORDS[:] = [b"ok", b"malformed", b"too_large", b"algorithm", b"unknown_key", b"signature", b"expired", b"not_yet", b"issuer",
            b"audience", b"subject", b"critical", b"lifetime", b"revoked", b"memory"]

REASONS = {
    "malformed": "not a compact JWS with a strict JSON header and claims",
    "too_large": "more than 8192 bytes",
    "algorithm": "an algorithm that we do not accept, or not the one of its key",
    "unknown_key": "no key with this kid; or no kid, and not exactly one key that fits",
    "signature": "the signature is not the key's",
    "expired": "exp is past",
    "not_yet": "nbf or iat is in the future",
    "issuer": "iss is not the one that the key belongs to",
    "audience": "aud does not name this service",
    "subject": "sub or device is not 1 to 64 characters of A-Z a-z 0-9 _ -",
    "critical": "the header names an extension in crit",
    "lifetime": "exp is further away than a token may live",
    "revoked": "the token or its user was revoked",
    "memory": "no memory",
}


class TokenError(ValueError):
    """A token that was refused. `reason` is a word of REASONS."""

    def __init__(self, reason):
        super().__init__(f"{reason}: {REASONS[reason]}")
        self.reason = reason


cdef const char* token_error(int code) noexcept nogil:
    """The word for a result of token_verify."""
    return WORDS[-code] if -TOKEN_CODES <= code <= 0 else WORDS[1]


cdef void row_unref(KeyRow* row) noexcept nogil:
    if nova_add32(&row.refs, -1) != 0:
        return
    key_unref(row.key)
    free(row.text)
    free(row)


cdef bint is_id(const uint8_t* text, size_t size) noexcept nogil:
    """1 to 64 of [A-Za-z0-9_-]: no escape can hide in it, so the raw bytes are the value."""
    cdef size_t i
    cdef uint8_t b
    if size == 0 or size > TOKEN_MAX_ID:
        return False
    for i in range(size):
        b = text[i]
        if not (c'a' <= b <= c'z' or c'A' <= b <= c'Z' or c'0' <= b <= c'9' or b == c'_' or b == c'-'):
            return False
    return True


cdef bint is_type(const uint8_t* text, size_t size) noexcept nogil:
    """Whether `typ` says that this is an access token, in any case of letters (RFC 7519, 5.1; RFC 9068, 2.1).

    Others are JWTs for other ends (logout, DPoP, event), which the same issuer signs with the same key.
    """
    cdef uint8_t lower[18]
    cdef size_t i
    if size > 18:
        return False
    for i in range(size):
        lower[i] = text[i] | 32 if c'A' <= text[i] <= c'Z' else text[i]
    return ((size == 3 and memcmp(lower, b"jwt", 3) == 0) or (size == 6 and memcmp(lower, b"at+jwt", 6) == 0)
            or (size == 18 and memcmp(lower, b"application/at+jwt", 18) == 0))


cdef void digest16(const uint8_t* data, size_t size, uint8_t* out) noexcept nogil:
    cdef uint8_t digest[32]
    nova_sha256(data, size, digest)
    memcpy(out, digest, 16)


cdef KeyRow* find_row(TokenTable table, int alg, const uint8_t* kid, Py_ssize_t kid_len, int* code) noexcept nogil:
    """The row that checks this token, with a reference; NULL with the reason. `kid_len` -1: the token names no key."""
    cdef KeyRow* row
    cdef KeyRow* found = NULL
    cdef int fitting = 0
    cdef int i
    code[0] = TOKEN_E_KEY
    pthread_rwlock_rdlock(&table.lock)
    for i in range(table.row_count):
        row = table.rows[i]
        if kid_len < 0:
            if row.key.alg == alg:
                fitting += 1
                found = row
        elif row.kid_len == <size_t> kid_len and memcmp(row.text, kid, <size_t> kid_len) == 0:
            fitting = 1
            found = row
            break
    if fitting == 1 and found.key.alg != alg:
        code[0] = TOKEN_E_ALGORITHM
        fitting = 0
    if fitting == 1:
        nova_ref(&found.refs)
    pthread_rwlock_unlock(&table.lock)
    return found if fitting == 1 else NULL


cdef uint64_t scope_bits(TokenTable table, const uint8_t* text, size_t size) noexcept nogil:
    """The known names in a space separated list (RFC 6749, section 3.3). Unknown ones are for somebody else."""
    cdef uint64_t bits = 0
    cdef size_t at = 0
    cdef size_t end
    cdef size_t length
    cdef int i
    while at < size:
        end = at
        while end < size and text[end] != c' ':
            end += 1
        for i in range(table.scope_count):
            length = table.scope_at[i + 1] - table.scope_at[i]
            if length == end - at and memcmp(table.scope_names + table.scope_at[i], text + at, length) == 0:
                bits |= <uint64_t> 1 << i
        at = end + 1
    return bits


cdef int read_header(const uint8_t* text, size_t size, int* alg, uint8_t* kid, Py_ssize_t* kid_len) noexcept nogil:
    """The algorithm and key id of a header; 0 or TOKEN_E_*. `kid`: room for TOKEN_MAX_HEADER."""
    cdef uint8_t scratch[TOKEN_MAX_HEADER]
    cdef JsonMembers members
    cdef const JsonMember* m
    if json_object(text, size, scratch, &members) != 0:
        return TOKEN_E_MALFORMED
    if json_member(&members, "crit") != NULL:
        return TOKEN_E_CRITICAL  # RFC 7515, section 4.1.11: we understand none
    m = json_member(&members, "typ")
    if m != NULL and (m.kind != JSON_STRING or not is_type(text + m.value, m.value_len)):
        return TOKEN_E_MALFORMED
    m = json_member(&members, "alg")
    if m == NULL or m.kind != JSON_STRING:
        return TOKEN_E_MALFORMED
    alg[0] = alg_named(text + m.value, m.value_len)
    if alg[0] == ALG_NONE:
        return TOKEN_E_ALGORITHM
    kid_len[0] = -1
    m = json_member(&members, "kid")
    if m != NULL:
        if m.kind != JSON_STRING:
            return TOKEN_E_MALFORMED
        kid_len[0] = json_string(text + m.value, m.value_len, kid)
        if kid_len[0] < 0 or kid_len[0] > MAX_KID:
            return TOKEN_E_KEY
    return 0


cdef int read_time(const JsonMembers* members, const char* name, const uint8_t* text, int64_t* out) noexcept nogil:
    """A NumericDate in milliseconds: 1 found, 0 absent, or TOKEN_E_MALFORMED."""
    cdef const JsonMember* m = json_member(members, name)
    if m == NULL:
        return 0
    if m.kind != JSON_NUMBER:
        return TOKEN_E_MALFORMED
    out[0] = json_milliseconds(text + m.value, m.value_len)
    return 1 if out[0] >= 0 else TOKEN_E_MALFORMED


cdef int check_claims(TokenTable table, KeyRow* row, const uint8_t* text, size_t size, int64_t now, TokenResult* out) noexcept nogil:
    """The claims of a token whose signature is good; 0 or TOKEN_E_*."""
    cdef uint8_t scratch[MAX_PAYLOAD]
    cdef JsonMembers members
    cdef const JsonMember* m
    cdef const uint8_t* issuer = row.text + row.kid_len
    cdef const uint8_t* audience = issuer + row.issuer_len
    cdef int64_t not_before = 0
    cdef int64_t early = (now - row.skew) * 1000
    cdef int64_t late = (now + row.skew) * 1000 + 999  # `now` is rounded down: the second that runs counts as come
    cdef Py_ssize_t length
    cdef int found
    if json_object(text, size, scratch, &members) != 0:
        return TOKEN_E_MALFORMED
    found = read_time(&members, "exp", text, &out.expires_ms)
    if found != 1:
        return TOKEN_E_MALFORMED
    if out.expires_ms <= early:
        return TOKEN_E_EXPIRED
    if out.expires_ms > late + table.max_lifetime * 1000:
        return TOKEN_E_LIFETIME
    found = read_time(&members, "nbf", text, &not_before)
    if found < 0:
        return found
    if not_before > late:
        return TOKEN_E_NOT_YET
    found = read_time(&members, "iat", text, &out.issued_ms)
    if found < 0:
        return found
    if out.issued_ms > late:
        return TOKEN_E_NOT_YET  # else it would be newer than any revocation of its user
    m = json_member(&members, "iss")
    if m == NULL or m.kind != JSON_STRING or not json_string_is(text + m.value, m.value_len, issuer, row.issuer_len):
        return TOKEN_E_ISSUER
    m = json_member(&members, "aud")
    if m == NULL:
        return TOKEN_E_AUDIENCE
    if m.kind == JSON_STRING:
        if not json_string_is(text + m.value, m.value_len, audience, row.audience_len):
            return TOKEN_E_AUDIENCE
    elif m.kind == JSON_ARRAY:
        found = json_array_has(text + m.value, m.value_len, audience, row.audience_len)
        if found != 1:
            return TOKEN_E_AUDIENCE if found == 0 else TOKEN_E_MALFORMED
    else:
        return TOKEN_E_MALFORMED
    m = json_member(&members, "sub")
    if m == NULL or m.kind != JSON_STRING or not is_id(text + m.value, m.value_len):
        return TOKEN_E_SUBJECT
    out.sub = m.value
    out.sub_len = m.value_len
    digest16(text + m.value, m.value_len, out.user)
    m = json_member(&members, "device")
    if m != NULL:
        if m.kind != JSON_STRING or not is_id(text + m.value, m.value_len):
            return TOKEN_E_SUBJECT
        out.device = m.value
        out.device_len = m.value_len
    m = json_member(&members, "scope")
    if m != NULL:
        if m.kind != JSON_STRING:
            return TOKEN_E_MALFORMED
        # RFC 6749 allows no backslash in a scope: what is escaped is no name of ours.
        out.scopes = scope_bits(table, text + m.value, m.value_len)
    m = json_member(&members, "jti")
    if m != NULL:
        if m.kind != JSON_STRING or m.value_len > TOKEN_MAX_JTI:
            return TOKEN_E_MALFORMED
        length = json_string(text + m.value, m.value_len, scratch)  # the names in it are not needed any more
        digest16(scratch, <size_t> length, out.jti)
    return 0


cdef bint is_revoked(TokenTable table, const TokenResult* result) noexcept nogil:
    cdef int64_t value = 0
    cdef bint revoked
    pthread_rwlock_rdlock(&table.lock)
    revoked = marks_get(&table.jtis, result.jti, &value)
    if not revoked:
        revoked = marks_get(&table.users, result.user, &value) and result.issued_ms <= value
    pthread_rwlock_unlock(&table.lock)
    return revoked


cdef int verify_new(TokenTable table, const uint8_t* token, size_t size, int64_t now, const uint8_t* digest, ByteVec* claims,
                    TokenResult* out) noexcept nogil:
    cdef uint8_t header[TOKEN_MAX_HEADER]
    cdef uint8_t kid[TOKEN_MAX_HEADER]
    cdef uint8_t signature[MAX_SIGNATURE]
    cdef uint8_t payload[MAX_PAYLOAD]
    cdef uint64_t seen = nova_load64(&table.version)
    cdef const uint8_t* first = <const uint8_t*> memchr(token, c'.', size)
    cdef const uint8_t* second
    cdef const uint8_t* end = token + size
    cdef Py_ssize_t header_len
    cdef Py_ssize_t payload_len
    cdef Py_ssize_t signature_len
    cdef Py_ssize_t kid_len = -1
    cdef KeyRow* row
    cdef int alg = ALG_NONE
    cdef int code = 0
    if first == NULL:
        return TOKEN_E_MALFORMED
    second = <const uint8_t*> memchr(first + 1, c'.', <size_t> (end - first - 1))
    if second == NULL or first - token > TOKEN_MAX_HEADER or end - second - 1 > MAX_SIGNATURE:
        return TOKEN_E_MALFORMED
    header_len = base64url_decode(token, <size_t> (first - token), header)
    signature_len = base64url_decode(second + 1, <size_t> (end - second - 1), signature)  # refuses a third dot
    if header_len < 0 or signature_len < 0:
        return TOKEN_E_MALFORMED
    code = read_header(header, <size_t> header_len, &alg, kid, &kid_len)
    if code != 0:
        return code
    payload_len = base64url_decode(first + 1, <size_t> (second - first - 1), payload)
    if payload_len < 0:
        return TOKEN_E_MALFORMED
    row = find_row(table, alg, kid, kid_len, &code)
    if row == NULL:
        return code
    code = TOKEN_E_SIGNATURE
    if key_verify(row.key, token, <size_t> (second - token), signature, <size_t> signature_len):
        memset(out, 0, sizeof(TokenResult))
        out.key = row.serial
        code = check_claims(table, row, payload, <size_t> payload_len, now, out)
    if code == 0 and is_revoked(table, out):
        code = TOKEN_E_REVOKED
    if code == 0 and vec_append(claims, payload, <size_t> payload_len) != 0:
        code = TOKEN_E_MEMORY
    if code == 0:
        # Milliseconds are rounded down, so that the cache is never more lenient than the check.
        cache_put(&table.cache, digest, out.expires_ms // 1000 + row.skew, now, payload, <size_t> payload_len, out,
                  &table.version, seen)
    row_unref(row)
    return code


cdef int token_verify(TokenTable table, const uint8_t* token, size_t size, int64_t now, ByteVec* claims,
                      TokenResult* out) noexcept nogil:
    """Check a token at `now` (unix seconds). Any thread, no GIL.

    0: its claims (the JSON as sent) are appended to `claims`, and `out` says where its parts are, relative to their
    first byte. Else a negative TOKEN_E_*, and `claims` is as before. The bytes of `token` are not kept.
    """
    cdef uint8_t digest[32]
    cdef int code
    if size > TOKEN_MAX:
        code = TOKEN_E_TOO_LARGE
    else:
        nova_sha256(token, size, digest)
        if cache_get(&table.cache, digest, now, claims, out):
            nova_add64(&table.hits, 1)
            return 0
        code = verify_new(table, token, size, now, digest, claims, out)
    if code == 0:
        nova_add64(&table.verified, 1)
    else:
        nova_add64(&table.refused[-code], 1)
    return code


cdef class TokenTable:
    """The keys that may sign tokens, what is revoked, and the cache of tokens that were verified.

    scopes: the names that get a bit in TokenResult.scopes, at most 64. max_lifetime: seconds from now that an `exp` may
    lie ahead; it bounds how long a revocation is remembered. cache_entries: verified tokens remembered, each at most
    2 KiB of claims; 0 turns the cache off.
    """

    def __cinit__(self, *, scopes=(), max_lifetime: int = 366 * 86400, cache_entries: int = 16384):
        cdef int i
        pthread_rwlock_init(&self.lock, NULL)
        self.jtis.limit = MAX_REVOKED
        self.users.limit = MAX_REVOKED
        self.max_lifetime = max_lifetime
        if cache_init(&self.cache, <size_t> cache_entries) != 0:
            raise MemoryError
        names = [name.encode() for name in scopes]
        if len(names) > 64:
            raise ValueError("at most 64 scopes")
        self.scope_text = b"".join(names)
        self.scope_names = <const uint8_t*> <const char*> self.scope_text
        self.scope_count = <int> len(names)
        for i in range(self.scope_count):
            self.scope_at[i + 1] = self.scope_at[i] + <uint32_t> len(names[i])

    def __dealloc__(self):
        cdef int i
        for i in range(self.row_count):
            row_unref(self.rows[i])
        marks_free(&self.jtis)
        marks_free(&self.users)
        cache_free(&self.cache)
        pthread_rwlock_destroy(&self.lock)

    cdef void changed(self) noexcept nogil:
        """Under the write lock: verifications that run now may not enter the cache."""
        nova_store64(&self.version, self.version + 1)

    def add(self, kid: str, JwsKey key not None, *, issuer: str, audience: str, skew: int = 30) -> None:
        """Tokens with this `kid`, `iss` and `aud` are checked with `key`. Replaces the key of the same kid and issuer.

        skew: seconds that the issuer's clock may differ from ours.
        Raises ValueError: the kid belongs to another issuer, an empty name, or the table is full.
        """
        cdef bytes kid_bytes = kid.encode()
        cdef bytes issuer_bytes = issuer.encode()
        cdef bytes audience_bytes = audience.encode()
        cdef bytes text = kid_bytes + issuer_bytes + audience_bytes
        cdef KeyRow* row
        cdef KeyRow* old = NULL
        cdef int i
        if not 1 <= len(kid_bytes) <= MAX_KID or not issuer_bytes or not audience_bytes:
            raise ValueError("a key has a kid of 1 to 128 bytes, an issuer and an audience")
        if not 0 <= skew <= 600:
            raise ValueError("clocks may differ by 0 to 600 seconds")
        for i in range(self.row_count):
            row = self.rows[i]
            if (<char*> row.text)[:row.kid_len] == kid_bytes:
                if (<char*> row.text)[row.kid_len:row.kid_len + row.issuer_len] != issuer_bytes:
                    raise ValueError("this kid belongs to a key of another issuer")
                old = row
                break
        else:
            i = self.row_count
        if i == TOKEN_MAX_KEYS:
            raise ValueError(f"at most {TOKEN_MAX_KEYS} keys")
        row = <KeyRow*> calloc(1, sizeof(KeyRow))
        if row == NULL:
            raise MemoryError
        row.text = <uint8_t*> malloc(<size_t> len(text))
        if row.text == NULL:
            free(row)
            raise MemoryError
        memcpy(row.text, <const char*> text, <size_t> len(text))
        row.refs = 1
        row.kid_len = <uint32_t> len(kid_bytes)
        row.issuer_len = <uint32_t> len(issuer_bytes)
        row.audience_len = <uint32_t> len(audience_bytes)
        row.skew = skew
        row.key = key.key
        nova_ref(&row.key.refs)
        pthread_rwlock_wrlock(&self.lock)
        self.serials += 1
        row.serial = self.serials
        self.rows[i] = row
        if old == NULL:
            self.row_count += 1
        self.changed()
        pthread_rwlock_unlock(&self.lock)
        if old != NULL:
            cache_drop_key(&self.cache, old.serial)
            row_unref(old)

    def remove(self, kid: str) -> None:
        """Tokens of this key are refused from now on. Raises KeyError when there is none."""
        cdef bytes wanted = kid.encode()
        cdef KeyRow* row
        cdef int i
        for i in range(self.row_count):
            row = self.rows[i]
            if (<char*> row.text)[:row.kid_len] == wanted:
                pthread_rwlock_wrlock(&self.lock)
                self.row_count -= 1
                self.rows[i] = self.rows[self.row_count]
                self.changed()
                pthread_rwlock_unlock(&self.lock)
                cache_drop_key(&self.cache, row.serial)
                row_unref(row)
                return
        raise KeyError(kid)

    def kids(self, issuer: str) -> list[str]:
        """The ids of the keys of this issuer."""
        cdef bytes wanted = issuer.encode()
        cdef KeyRow* row
        cdef int i
        out = []
        for i in range(self.row_count):
            row = self.rows[i]
            if (<char*> row.text)[row.kid_len:row.kid_len + row.issuer_len] == wanted:
                out.append((<char*> row.text)[:row.kid_len].decode())
        return out

    def revoke_token(self, jti: str, *, until: int, now: int) -> None:
        """Refuse the token with this jti, and remember it until `until` (unix seconds).

        Raises OverflowError when 262144 revocations that have not ended are remembered already.
        """
        cdef bytes name = jti.encode()
        cdef uint8_t key[16]
        cdef int64_t end = until
        cdef int64_t at = now
        cdef int code
        digest16(<const uint8_t*> <const char*> name, <size_t> len(name), key)
        pthread_rwlock_wrlock(&self.lock)
        code = marks_put(&self.jtis, key, 0, end, at)
        self.changed()
        pthread_rwlock_unlock(&self.lock)
        cache_drop_jti(&self.cache, key)
        self.revoke_result(code)

    def revoke_user(self, user: str, *, not_before_ms: int, until: int, now: int) -> None:
        """Refuse the user's tokens that were issued at `not_before_ms` (unix milliseconds) or earlier, or do not say when.

        Raises OverflowError as `revoke_token`.
        """
        cdef bytes name = user.encode()
        cdef uint8_t key[16]
        cdef int64_t moment = not_before_ms
        cdef int64_t end = until
        cdef int64_t at = now
        cdef int64_t before = 0
        cdef int code
        digest16(<const uint8_t*> <const char*> name, <size_t> len(name), key)
        pthread_rwlock_wrlock(&self.lock)
        if marks_get(&self.users, key, &before) and before > moment:
            moment = before
        code = marks_put(&self.users, key, moment, end, at)
        self.changed()
        pthread_rwlock_unlock(&self.lock)
        cache_drop_user(&self.cache, key, moment)
        self.revoke_result(code)

    cdef revoke_result(self, int code):
        if code == -1:
            raise MemoryError
        if code == -2:
            raise OverflowError("too many revocations are remembered: remove the key instead")

    def verify(self, token, now: int) -> bytes:
        """The claims (JSON as sent) of a good token (any bytes-like object). Raises TokenError with the reason otherwise."""
        cdef TokenResult result
        return self.checked(token, now, &result)

    def scopes(self, token, now: int) -> int:
        """The scope bits of a good token, as the I/O threads see them. Raises TokenError."""
        cdef TokenResult result
        self.checked(token, now, &result)
        return result.scopes

    cdef bytes checked(self, token, int64_t now, TokenResult* result):
        cdef Py_buffer given
        cdef ByteVec claims
        cdef int code
        memset(&claims, 0, sizeof(claims))
        PyObject_GetBuffer(token, &given, PyBUF_SIMPLE)
        try:
            # With the GIL released: a check takes up to 0.1 ms, and other threads may want to run.
            with nogil:
                code = token_verify(self, <const uint8_t*> given.buf, <size_t> given.len, now, &claims, result)
            if code != 0:
                raise TokenError(token_error(code).decode())
            return (<char*> claims.data)[:claims.len]
        finally:
            PyBuffer_Release(&given)
            vec_free(&claims)

    def stats(self) -> dict[str, int]:
        """Counts since the start: `hits` of the cache, `verified`, one per reason to refuse, and what is held now."""
        cdef int i
        counts = {"hits": self.hits, "verified": self.verified, "cached": self.cache.count, "keys": self.row_count,
                  "revoked_tokens": self.jtis.count, "revoked_users": self.users.count}
        for i in range(1, TOKEN_CODES + 1):
            counts["refused_" + WORDS[i].decode()] = self.refused[i]
        return counts
