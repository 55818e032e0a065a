"""C layout of a key that checks signatures of tokens; see jws_key.pyx."""
from libc.stdint cimport int32_t, uint8_t

from nova.ext.sha256 cimport nova_hmac_key

cdef extern from "openssl/evp.h" nogil:
    ctypedef struct EVP_PKEY:
        pass
    ctypedef struct EVP_PKEY_CTX:
        pass

cdef enum:
    ALG_NONE = 0
    ALG_HS256 = 1
    ALG_RS256 = 2
    ALG_ES256 = 3
    ALG_EDDSA = 4

ctypedef struct Key:
    int32_t refs
    int alg                 # the only algorithm that this key may be used with
    EVP_PKEY* pkey          # NULL for HS256
    EVP_PKEY_CTX* verifier  # RS256 and ES256: set up once, copied for each check
    uint8_t point[32]       # EdDSA: the public key
    nova_hmac_key hmac      # HS256

cdef int alg_named(const uint8_t* name, size_t size) noexcept nogil
cdef void key_unref(Key* key) noexcept nogil
cdef bint key_verify(Key* key, const uint8_t* data, size_t size, const uint8_t* signature, size_t signature_len) noexcept nogil

cdef class JwsKey:
    cdef Key* key
    cdef bint private
