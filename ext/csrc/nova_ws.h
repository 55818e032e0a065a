/* Masking of WebSocket payload (RFC 6455 section 5.3), in place. */
#ifndef NOVA_WS_H
#define NOVA_WS_H
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* p[0] meets key[0]. */
static inline void nova_ws_mask(uint8_t *p, size_t size, const uint8_t key[4]) {
    uint32_t four;
    uint64_t eight, word;
    size_t at = 0;
    memcpy(&four, key, 4);
    eight = (uint64_t)four << 32 | four; /* the same in either byte order */
#ifdef __SSE2__
    const __m128i wide = _mm_set1_epi32((int)four);
    for (; size - at >= 16; at += 16) {
        __m128i *here = (__m128i *)(p + at);
        _mm_storeu_si128(here, _mm_xor_si128(_mm_loadu_si128(here), wide));
    }
#endif
    for (; size - at >= 8; at += 8) {
        memcpy(&word, p + at, 8);
        word ^= eight;
        memcpy(p + at, &word, 8);
    }
    for (; at < size; at++) p[at] ^= key[at & 3];
}

/* The key for what follows `size` masked bytes. */
static inline void nova_ws_turn(uint8_t key[4], size_t size) {
    uint8_t old[4];
    memcpy(old, key, 4);
    for (size_t i = 0; i < 4; i++) key[i] = old[(i + size) & 3];
}

#endif
