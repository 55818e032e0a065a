"""SHA-256 and HMAC-SHA256 for kernels: no allocation, no lock. A module that cimports this links libcrypto."""
from libc.stdint cimport uint8_t

cdef extern from "nova_sha256.h" nogil:
    ctypedef struct nova_hmac_key:
        pass
    ctypedef struct nova_hmac_state:
        pass
    void nova_sha256(const void* data, size_t size, uint8_t* out)
    void nova_hmac_prepare(nova_hmac_key* key, const void* secret, size_t size)
    void nova_hmac_start(nova_hmac_state* state, const nova_hmac_key* key)
    void nova_hmac_add(nova_hmac_state* state, const void* data, size_t size)
    void nova_hmac_end(nova_hmac_state* state, const nova_hmac_key* key, uint8_t* out)
    bint nova_equal(const void* a, const void* b, size_t size)
    void nova_wipe(void* data, size_t size)
