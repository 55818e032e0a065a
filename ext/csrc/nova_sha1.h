/* SHA-1 for Sec-WebSocket-Accept, which is no secret: without allocation or lock, see nova_sha256.h. */
#ifndef NOVA_SHA1_H
#define NOVA_SHA1_H
#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/sha.h>
#include <stddef.h>
#include <stdint.h>

/* The digest of two runs of bytes, one after the other. */
static inline void nova_sha1(const void *first, size_t first_size, const void *second, size_t second_size, uint8_t out[20]) {
    SHA_CTX c;
    SHA1_Init(&c);
    SHA1_Update(&c, first, first_size);
    SHA1_Update(&c, second, second_size);
    SHA1_Final(out, &c);
}

#endif
