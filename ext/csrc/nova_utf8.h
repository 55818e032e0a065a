/* UTF-8 (RFC 3629: no overlong form, no surrogate, up to U+10FFFF), checked in pieces. The first octet that can not be part
 * of any valid text is where it fails. SSE2 is the baseline of x86-64; other machines take eight bytes at a time. */
#ifndef NOVA_UTF8_H
#define NOVA_UTF8_H
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

enum {
    UTF8_START = 0, /* between two characters */
    UTF8_WRONG = 1,
    UTF8_LAST = 2,   /* one octet 80-BF to come */
    UTF8_TWO = 3,    /* two of them */
    UTF8_THREE = 4,  /* three of them */
    UTF8_AFTER_E0 = 5, /* A0-BF, then one more */
    UTF8_AFTER_ED = 6, /* 80-9F, then one more */
    UTF8_AFTER_F0 = 7, /* 90-BF, then two more */
    UTF8_AFTER_F4 = 8, /* 80-8F, then two more */
};

static inline uint8_t nova_utf8_step(uint8_t state, uint8_t byte) {
    switch (state) {
    case UTF8_START:
        if (byte < 0x80) return UTF8_START;
        if (byte < 0xC2 || byte > 0xF4) return UTF8_WRONG;
        if (byte < 0xE0) return UTF8_LAST;
        if (byte < 0xF0) return byte == 0xE0 ? UTF8_AFTER_E0 : byte == 0xED ? UTF8_AFTER_ED : UTF8_TWO;
        return byte == 0xF0 ? UTF8_AFTER_F0 : byte == 0xF4 ? UTF8_AFTER_F4 : UTF8_THREE;
    case UTF8_LAST: return (byte & 0xC0) == 0x80 ? UTF8_START : UTF8_WRONG;
    case UTF8_TWO: return (byte & 0xC0) == 0x80 ? UTF8_LAST : UTF8_WRONG;
    case UTF8_THREE: return (byte & 0xC0) == 0x80 ? UTF8_TWO : UTF8_WRONG;
    case UTF8_AFTER_E0: return byte >= 0xA0 && byte <= 0xBF ? UTF8_LAST : UTF8_WRONG;
    case UTF8_AFTER_ED: return byte >= 0x80 && byte <= 0x9F ? UTF8_LAST : UTF8_WRONG;
    case UTF8_AFTER_F0: return byte >= 0x90 && byte <= 0xBF ? UTF8_TWO : UTF8_WRONG;
    case UTF8_AFTER_F4: return byte >= 0x80 && byte <= 0x8F ? UTF8_TWO : UTF8_WRONG;
    default: return UTF8_WRONG;
    }
}

/* The first octet that is not ASCII, or at most fifteen before it; never behind `end`. */
static inline const uint8_t *nova_ascii_run(const uint8_t *p, const uint8_t *end) {
#ifdef __SSE2__
    for (; end - p >= 64; p += 64) {
        const __m128i *at = (const __m128i *)p;
        __m128i all = _mm_or_si128(_mm_or_si128(_mm_loadu_si128(at), _mm_loadu_si128(at + 1)),
                                   _mm_or_si128(_mm_loadu_si128(at + 2), _mm_loadu_si128(at + 3)));
        if (_mm_movemask_epi8(all)) break;
    }
    for (; end - p >= 16; p += 16)
        if (_mm_movemask_epi8(_mm_loadu_si128((const __m128i *)p))) break;
#endif
    for (uint64_t word; end - p >= 8; p += 8) {
        memcpy(&word, p, 8);
        if (word & 0x8080808080808080u) break;
    }
    return p;
}

#define NOVA_TAIL(byte) (((byte) & 0xC0) == 0x80)

/* The state after `size` more octets, UTF8_WRONG when one of them is wrong. */
static inline uint8_t nova_utf8(uint8_t state, const uint8_t *p, size_t size) {
    const uint8_t *end = p + size;
    while (p < end) {
        if (state != UTF8_START || end - p < 4) {
            state = nova_utf8_step(state, *p++);
            if (state == UTF8_WRONG) return state;
            continue;
        }
        if (p[0] < 0x80) {
            const uint8_t *run = nova_ascii_run(p, end);
            if (run == p)
                do p++;
                while (p < end && *p < 0x80);
            else
                p = run;
        } else if (p[0] < 0xE0) {
            if (p[0] < 0xC2 || !NOVA_TAIL(p[1])) return UTF8_WRONG;
            p += 2;
        } else if (p[0] < 0xF0) {
            if (!NOVA_TAIL(p[1]) || !NOVA_TAIL(p[2]) || (p[0] == 0xE0 && p[1] < 0xA0) || (p[0] == 0xED && p[1] > 0x9F)) return UTF8_WRONG;
            p += 3;
        } else {
            if (p[0] > 0xF4 || !NOVA_TAIL(p[1]) || !NOVA_TAIL(p[2]) || !NOVA_TAIL(p[3]) || (p[0] == 0xF0 && p[1] < 0x90) ||
                (p[0] == 0xF4 && p[1] > 0x8F))
                return UTF8_WRONG;
            p += 4;
        }
    }
    return state;
}

#undef NOVA_TAIL
#endif
