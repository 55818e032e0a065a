# nova: libraries=crypto
"""RTMP handshake: the plain form of RTMP 1.0 (section 5.2) and the digest form ("complex", HMAC-SHA256).

The digest form is not in the specification; every encoder that descends from librtmp or Flash speaks it. A block of 1536
bytes carries a digest of 32 bytes at a place that four of its bytes choose, in its first (scheme 1) or second (scheme 0)
half. The answer signs the peer's digest in the last 32 bytes of the third block. No part of it is secret: the keys are
published constants, so it proves nothing about the peer and serves only peers that insist on it.
"""
from libc.string cimport memcmp, memcpy

cdef extern from "openssl/evp.h" nogil:
    ctypedef struct EVP_MD:
        pass
    const EVP_MD* EVP_sha256()

cdef extern from "openssl/hmac.h" nogil:
    unsigned char* HMAC(const EVP_MD* md, const void* key, int key_len, const unsigned char* data, size_t size, unsigned char* out, unsigned int* out_len)

cdef extern from "openssl/rand.h" nogil:
    int RAND_bytes(unsigned char* out, int size)

cdef enum:
    DIGEST = 32
    CLIENT_NAME = 30      # the part of a key that digests a first block
    SERVER_NAME = 36
    CLIENT_KEY = 62       # the whole key, which signs the peer's digest
    SERVER_KEY = 68
    PLACES = 728          # a digest begins at one of so many places in its half

# "Genuine Adobe Flash Player 001" and "Genuine Adobe Flash Media Server 001", each followed by the same 32 bytes.
cdef const uint8_t* client_key = (
    b"Genuine Adobe Flash Player 001"
    b"\xf0\xee\xc2\x4a\x80\x68\xbe\xe8\x2e\x00\xd0\xd1\x02\x9e\x7e\x57\x6e\xec\x5d\x2d\x29\x80\x6f\xab\x93\xb8\xe6\x36\xcf\xeb\x31\xae"
)
cdef const uint8_t* server_key = (
    b"Genuine Adobe Flash Media Server 001"
    b"\xf0\xee\xc2\x4a\x80\x68\xbe\xe8\x2e\x00\xd0\xd1\x02\x9e\x7e\x57\x6e\xec\x5d\x2d\x29\x80\x6f\xab\x93\xb8\xe6\x36\xcf\xeb\x31\xae"
)


cdef inline void put32(uint8_t* at, uint32_t value) noexcept nogil:
    at[0] = <uint8_t> (value >> 24)
    at[1] = <uint8_t> (value >> 16)
    at[2] = <uint8_t> (value >> 8)
    at[3] = <uint8_t> value


cdef inline int digest_place(const uint8_t* block, int scheme) noexcept nogil:
    cdef int base = 8 if scheme == 1 else 772
    return base + 4 + (block[base] + block[base + 1] + block[base + 2] + block[base + 3]) % PLACES


cdef void digest_at(const uint8_t* block, int place, bint client, uint8_t* out) noexcept nogil:
    """The digest of a first block: over everything but the digest itself."""
    cdef uint8_t[RTMP_C1 - DIGEST] rest
    memcpy(rest, block, place)
    memcpy(rest + place, block + place + DIGEST, RTMP_C1 - DIGEST - place)
    if client:
        HMAC(EVP_sha256(), client_key, CLIENT_NAME, rest, RTMP_C1 - DIGEST, out, NULL)
    else:
        HMAC(EVP_sha256(), server_key, SERVER_NAME, rest, RTMP_C1 - DIGEST, out, NULL)


cdef int handshake_digest(const uint8_t* block, bint client) noexcept nogil:
    """Where the digest of C1 (client) or S1 begins; 0 when the block has none, that is, the peer speaks the plain form."""
    cdef uint8_t[DIGEST] expected
    cdef int scheme, place
    # Version bytes of zero are the plain form's four zero bytes; no digest peer sends them.
    if block[4] == 0 and block[5] == 0 and block[6] == 0 and block[7] == 0:
        return 0
    for scheme in range(2):
        place = digest_place(block, scheme)
        digest_at(block, place, client, expected)
        if memcmp(expected, block + place, DIGEST) == 0:
            return place
    return 0


cdef int sign(const uint8_t* digest, bint client, uint8_t* block) noexcept nogil:
    """A third block: random bytes and, last, their signature under the peer's digest. 0, or -1 without random bytes."""
    cdef uint8_t[DIGEST] key
    if RAND_bytes(block, RTMP_C1 - DIGEST) != 1:
        return -1
    if client:
        HMAC(EVP_sha256(), client_key, CLIENT_KEY, digest, DIGEST, key, NULL)
    else:
        HMAC(EVP_sha256(), server_key, SERVER_KEY, digest, DIGEST, key, NULL)
    HMAC(EVP_sha256(), key, DIGEST, block, RTMP_C1 - DIGEST, block + RTMP_C1 - DIGEST, NULL)
    return 0


cdef void echo(const uint8_t* first, uint32_t now_ms, uint8_t* third) noexcept nogil:
    """The plain third block: the peer's first block with the time at which it was read (section 5.2.4)."""
    memcpy(third, first, RTMP_C1)
    put32(third + 4, now_ms)


cdef int handshake_answer(const uint8_t* c1, uint32_t now_ms, uint8_t* s0s1s2) noexcept nogil:
    """S0, S1 and S2 (1 + 2 * RTMP_C1 bytes) for a whole C1, in the form that C1 speaks. 0, or -1 without random bytes."""
    cdef uint8_t* s1 = s0s1s2 + 1
    cdef uint8_t* s2 = s1 + RTMP_C1
    cdef int theirs = handshake_digest(c1, True)
    cdef int scheme, ours
    s0s1s2[0] = RTMP_VERSION
    if RAND_bytes(s1, RTMP_C1) != 1:
        return -1
    put32(s1, now_ms)
    put32(s1 + 4, 0)
    if theirs == 0:
        echo(c1, now_ms, s2)
        return 0
    put32(s1 + 4, 0x04050001)  # a version from 3 on is what tells clients to look for a digest
    scheme = 1 if theirs < 772 else 0
    ours = digest_place(s1, scheme)
    digest_at(s1, ours, False, s1 + ours)
    return sign(c1 + theirs, False, s2)


cdef int handshake_begin(uint32_t now_ms, uint8_t* c0c1) noexcept nogil:
    """C0 and C1 (1 + RTMP_C1 bytes) of a client, with a digest: plain servers take it as random bytes. 0, or -1."""
    cdef uint8_t* c1 = c0c1 + 1
    cdef int place
    c0c1[0] = RTMP_VERSION
    if RAND_bytes(c1, RTMP_C1) != 1:
        return -1
    put32(c1, now_ms)
    put32(c1 + 4, 0x09007C02)  # Flash 9, the first version with digests
    place = digest_place(c1, 0)
    digest_at(c1, place, True, c1 + place)
    return 0


cdef int handshake_finish(const uint8_t* s1, uint32_t now_ms, uint8_t* c2) noexcept nogil:
    """C2 for a whole S1, in the form that S1 speaks. 0, or -1 without random bytes."""
    cdef int place = handshake_digest(s1, False)
    if place == 0:
        echo(s1, now_ms, c2)
        return 0
    return sign(s1 + place, True, c2)


def answer(c1: bytes, now_ms: int) -> bytes:
    """S0, S1 and S2 for C1 (1536 bytes); for tests."""
    cdef uint8_t[1 + 2 * RTMP_C1] out
    if len(c1) != RTMP_C1:
        raise ValueError("C1 has 1536 bytes")
    if handshake_answer(c1, now_ms, out) != 0:
        raise OSError("no random bytes")
    return out[: 1 + 2 * RTMP_C1]


def begin(now_ms: int) -> bytes:
    """C0 and C1 of a client; for tests."""
    cdef uint8_t[1 + RTMP_C1] out
    if handshake_begin(now_ms, out) != 0:
        raise OSError("no random bytes")
    return out[: 1 + RTMP_C1]


def digest(block: bytes, client: bool) -> int:
    """Where the digest of C1 (client) or S1 begins, 0 for the plain form; for tests."""
    if len(block) != RTMP_C1:
        raise ValueError("a handshake block has 1536 bytes")
    return handshake_digest(block, client)
