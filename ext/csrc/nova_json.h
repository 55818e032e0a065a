/* The plain run of a JSON string: what needs no look at all. SSE2 is the baseline of x86-64; other machines go byte by byte. */
#ifndef NOVA_JSON_H
#define NOVA_JSON_H
#include <stddef.h>
#include <stdint.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* The first byte that is a quote, a backslash, a control character or not ASCII; or `end`. */
static inline const uint8_t *nova_json_plain(const uint8_t *p, const uint8_t *end) {
#ifdef __SSE2__
    const __m128i space = _mm_set1_epi8(' '), quote = _mm_set1_epi8('"'), backslash = _mm_set1_epi8('\\');
    for (; end - p >= 16; p += 16) {
        __m128i x = _mm_loadu_si128((const __m128i *)p);
        __m128i stop = _mm_cmplt_epi8(x, space); /* signed: bytes from 0x80 on are below zero */
        stop = _mm_or_si128(stop, _mm_or_si128(_mm_cmpeq_epi8(x, quote), _mm_cmpeq_epi8(x, backslash)));
        int found = _mm_movemask_epi8(stop);
        if (found) return p + __builtin_ctz((unsigned)found);
    }
#endif
    while (p < end && *p >= ' ' && *p < 0x80 && *p != '"' && *p != '\\') p++;
    return p;
}

/* The same for writing: characters that are not ASCII stand for themselves. */
static inline const uint8_t *nova_json_bare(const uint8_t *p, const uint8_t *end) {
#ifdef __SSE2__
    const __m128i last = _mm_set1_epi8(0x1f), quote = _mm_set1_epi8('"'), backslash = _mm_set1_epi8('\\');
    for (; end - p >= 16; p += 16) {
        __m128i x = _mm_loadu_si128((const __m128i *)p);
        __m128i stop = _mm_cmpeq_epi8(_mm_min_epu8(x, last), x);
        stop = _mm_or_si128(stop, _mm_or_si128(_mm_cmpeq_epi8(x, quote), _mm_cmpeq_epi8(x, backslash)));
        int found = _mm_movemask_epi8(stop);
        if (found) return p + __builtin_ctz((unsigned)found);
    }
#endif
    while (p < end && *p >= ' ' && *p != '"' && *p != '\\') p++;
    return p;
}

#endif
