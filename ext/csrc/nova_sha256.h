/* SHA-256 and HMAC-SHA256 without allocation, lock or look-up, for I/O threads.
 *
 * OpenSSL 3 calls these functions deprecated, because they bypass its providers. That is what we want on a hot path: the
 * EVP calls fetch by name and allocate a context each time, which costs more than hashing the 100-500 bytes that we hash.
 * The block function underneath is the same (SHA-NI, AVX2).
 */
#ifndef NOVA_SHA256_H
#define NOVA_SHA256_H
#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <stdint.h>
#include <string.h>

/* The states after the padded key (RFC 2104): a message then costs its own blocks and two more. */
typedef struct {
    SHA256_CTX inner, outer;
} nova_hmac_key;

typedef SHA256_CTX nova_hmac_state;

static inline void nova_sha256(const void *data, size_t size, uint8_t out[32]) {
    SHA256_CTX c;
    SHA256_Init(&c);
    SHA256_Update(&c, data, size);
    SHA256_Final(out, &c);
}

static inline void nova_hmac_prepare(nova_hmac_key *key, const void *secret, size_t size) {
    uint8_t block[64] = {0}, pad[64];
    if (size > 64)
        nova_sha256(secret, size, block);
    else
        memcpy(block, secret, size);
    for (int i = 0; i < 64; i++) pad[i] = block[i] ^ 0x36;
    SHA256_Init(&key->inner);
    SHA256_Update(&key->inner, pad, 64);
    for (int i = 0; i < 64; i++) pad[i] = block[i] ^ 0x5c;
    SHA256_Init(&key->outer);
    SHA256_Update(&key->outer, pad, 64);
    OPENSSL_cleanse(block, 64);
    OPENSSL_cleanse(pad, 64);
}

static inline void nova_hmac_start(nova_hmac_state *state, const nova_hmac_key *key) { *state = key->inner; }

static inline void nova_hmac_add(nova_hmac_state *state, const void *data, size_t size) {
    SHA256_Update(state, data, size);
}

static inline void nova_hmac_end(nova_hmac_state *state, const nova_hmac_key *key, uint8_t out[32]) {
    SHA256_CTX outer = key->outer;
    uint8_t inner[32];
    SHA256_Final(inner, state);
    SHA256_Update(&outer, inner, 32);
    SHA256_Final(out, &outer);
}

/* Constant time in the content. */
static inline int nova_equal(const void *a, const void *b, size_t size) { return CRYPTO_memcmp(a, b, size) == 0; }

static inline void nova_wipe(void *data, size_t size) { OPENSSL_cleanse(data, size); }

#endif
