/* The kernels with AVX2: bit for bit what png_kernels.c does. */
#if defined(__x86_64__)
#pragma GCC target("avx2")
#include "nova_png.h"
#include <immintrin.h>
#include <string.h>

/* -- filters ------------------------------------------------------------------------------------------------------------ */

/* For averages and Paeth's filter. Four rows at once, each a pixel behind the one above it: what a pixel waits for is its left
 * neighbour, so one row alone leaves most of the machine idle. Each of four 64-bit lanes holds a pixel of one row, as four 16-bit samples. */
typedef struct {
    __m256i left, upper_left;             /* of the pixels that come next */
    __m256i with_left, with_upper, with_upper_left, average; /* masks: what a row's filter looks at */
} Wave;

/* Paeth's choice among bytes that are masked away is what the other filters add: left of (left, 0, 0), upper of (0, upper, 0). */
static inline __attribute__((always_inline)) __m256i next(Wave *w, __m128i raw, __m128i above, const int averages) {
    __m256i upper = _mm256_blend_epi32(_mm256_permute4x64_epi64(w->left, 0x90), _mm256_castsi128_si256(_mm_cvtepu8_epi16(above)), 0x03);
    __m256i a = _mm256_and_si256(w->left, w->with_left), b = _mm256_and_si256(upper, w->with_upper);
    __m256i c = _mm256_and_si256(w->upper_left, w->with_upper_left);
    __m256i bc = _mm256_sub_epi16(b, c), ac = _mm256_sub_epi16(a, c);
    __m256i pa = _mm256_abs_epi16(bc), pb = _mm256_abs_epi16(ac), pc = _mm256_abs_epi16(_mm256_add_epi16(bc, ac));
    __m256i least = _mm256_min_epi16(_mm256_min_epi16(pa, pb), pc);
    __m256i guess = _mm256_blendv_epi8(_mm256_blendv_epi8(c, b, _mm256_cmpeq_epi16(pb, least)), a, _mm256_cmpeq_epi16(pa, least));
    if (averages) guess = _mm256_blendv_epi8(guess, _mm256_srli_epi16(_mm256_add_epi16(w->left, upper), 1), w->average);
    w->upper_left = upper;
    w->left = _mm256_and_si256(_mm256_add_epi16(_mm256_cvtepu8_epi16(raw), guess), _mm256_set1_epi16(255));
    return _mm256_packus_epi16(w->left, w->left);
}

static inline int32_t load(const uint8_t *from) {
    int32_t v;
    memcpy(&v, from, 4);
    return v;
}

static inline void store(uint8_t *to, int v) { memcpy(to, &v, 4); }

/* The pixel at `at`, no byte behind the row; zeros beside it. */
static int32_t within(const uint8_t *from, ptrdiff_t at, ptrdiff_t size) {
    int32_t v = 0;
    if (at >= 0 && at < size) memcpy(&v, from + at, size - at < 4 ? (size_t)(size - at) : 4);
    return v;
}

/* A store writes four bytes: those that are no part of the pixel belong to later ones, or to the room behind. */
static inline __attribute__((always_inline)) void wave(Wave *w, const uint8_t *const from[PNG_ROWS], const uint8_t *above,
                                                       uint8_t *const to[PNG_ROWS], ptrdiff_t size, const ptrdiff_t bpp,
                                                       const int averages) {
    const ptrdiff_t end = size + (PNG_ROWS - 1) * bpp;
    const uint8_t *const f0 = from[0], *const f1 = from[1] - bpp, *const f2 = from[2] - 2 * bpp, *const f3 = from[3] - 3 * bpp;
    uint8_t *const t0 = to[0], *const t1 = to[1] - bpp, *const t2 = to[2] - 2 * bpp, *const t3 = to[3] - 3 * bpp;
    for (ptrdiff_t at = 0; at < end;) {
        for (; at >= 3 * bpp && at + 4 <= size; at += bpp) {
            __m256i out = next(w, _mm_setr_epi32(load(f0 + at), load(f1 + at), load(f2 + at), load(f3 + at)),
                               _mm_cvtsi32_si128(load(above + at)), averages);
            __m128i low = _mm256_castsi256_si128(out), high = _mm256_extracti128_si256(out, 1);
            store(t0 + at, _mm_cvtsi128_si32(low));
            store(t1 + at, _mm_extract_epi32(low, 1));
            store(t2 + at, _mm_cvtsi128_si32(high));
            store(t3 + at, _mm_extract_epi32(high, 1));
        }
        if (at >= end) break;
        int32_t raw[PNG_ROWS], made[8];
        for (int i = 0; i < PNG_ROWS; i++) raw[i] = within(from[i], at - i * bpp, size);
        __m256i out = next(w, _mm_loadu_si128((const __m128i *)raw), _mm_cvtsi32_si128(within(above, at, size)), averages);
        _mm256_storeu_si256((__m256i *)made, out);
        for (int i = 0; i < PNG_ROWS; i++)
            if (at >= i * bpp && at - i * bpp < size) store(to[i] + at - i * bpp, made[i < 2 ? i : i + 2]);
        at += bpp;
    }
}

/* `v` so many bytes further on; the instruction wants a number that it can hold. */
static inline __attribute__((always_inline)) __m128i behind(__m128i v, const int bytes) {
    switch (bytes) {
    case 1: return _mm_slli_si128(v, 1);
    case 2: return _mm_slli_si128(v, 2);
    case 3: return _mm_slli_si128(v, 3);
    case 4: return _mm_slli_si128(v, 4);
    case 6: return _mm_slli_si128(v, 6);
    default: return _mm_slli_si128(v, 8);
    }
}

/* Sums of all pixels so far, sixteen bytes at a time: sums within them, and what came before. */
static inline __attribute__((always_inline)) void sums(const uint8_t *from, uint8_t *to, size_t size, const int bpp) {
    const size_t step = bpp == 3 ? 12 : 16;
    int8_t bytes[16];
    for (int i = 0; i < 16; i++) bytes[i] = (int8_t)((int)step - bpp + i % bpp);
    const __m128i last = _mm_loadu_si128((const __m128i *)bytes);
    __m128i before = _mm_setzero_si128();
    size_t at = 0;
    for (; at + 16 <= size; at += step) {
        __m128i v = _mm_loadu_si128((const __m128i *)(from + at));
        v = _mm_add_epi8(v, behind(v, bpp));
        v = _mm_add_epi8(v, behind(v, 2 * bpp));
        if (bpp < 3) v = _mm_add_epi8(v, behind(v, 4 * bpp));
        if (bpp == 1) v = _mm_add_epi8(v, behind(v, 8));
        v = _mm_add_epi8(v, before);
        before = _mm_shuffle_epi8(v, last);
        _mm_storeu_si128((__m128i *)(to + at), v);
    }
    for (; at < size; at++) to[at] = (uint8_t)(from[at] + (at < (size_t)bpp ? 0 : to[at - (size_t)bpp]));
}

static void row(int type, const uint8_t *from, const uint8_t *above, uint8_t *to, size_t size, int bpp) {
    if (type != PNG_SUB) {
        nova_png_row(type, from, above, to, size, bpp);
        return;
    }
    switch (bpp) {
    case 1: sums(from, to, size, 1); break;
    case 2: sums(from, to, size, 2); break;
    case 3: sums(from, to, size, 3); break;
    default: sums(from, to, size, 4);
    }
}

static void rows(const uint8_t types[PNG_ROWS], const uint8_t *const from[PNG_ROWS], const uint8_t *above, uint8_t *const to[PNG_ROWS],
                 size_t size, int bpp) {
    int slow = 0;
    for (int i = 0; i < PNG_ROWS; i++) slow |= types[i] >= PNG_AVERAGE;
    if (!slow) { /* nothing waits for long */
        for (int i = 0; i < PNG_ROWS; i++) row(types[i], from[i], i ? to[i - 1] : above, to[i], size, bpp);
        return;
    }
    int64_t masks[4][PNG_ROWS];
    int averages = 0;
    Wave w = {_mm256_setzero_si256(), _mm256_setzero_si256()};
    for (int i = 0; i < PNG_ROWS; i++) {
        masks[0][i] = types[i] == PNG_SUB || types[i] == PNG_PAETH ? -1 : 0;
        masks[1][i] = types[i] == PNG_UP || types[i] == PNG_PAETH ? -1 : 0;
        masks[2][i] = types[i] == PNG_PAETH ? -1 : 0;
        masks[3][i] = types[i] == PNG_AVERAGE ? -1 : 0;
        averages |= types[i] == PNG_AVERAGE;
    }
    w.with_left = _mm256_loadu_si256((const __m256i *)masks[0]);
    w.with_upper = _mm256_loadu_si256((const __m256i *)masks[1]);
    w.with_upper_left = _mm256_loadu_si256((const __m256i *)masks[2]);
    w.average = _mm256_loadu_si256((const __m256i *)masks[3]);
    const ptrdiff_t n = (ptrdiff_t)size;
    switch (2 * bpp + averages) {
    case 2: wave(&w, from, above, to, n, 1, 0); break;
    case 3: wave(&w, from, above, to, n, 1, 1); break;
    case 4: wave(&w, from, above, to, n, 2, 0); break;
    case 5: wave(&w, from, above, to, n, 2, 1); break;
    case 6: wave(&w, from, above, to, n, 3, 0); break;
    case 7: wave(&w, from, above, to, n, 3, 1); break;
    case 8: wave(&w, from, above, to, n, 4, 0); break;
    default: wave(&w, from, above, to, n, 4, 1);
    }
}

/* -- planes ------------------------------------------------------------------------------------------------------------- */

static inline __m256i weighed(__m256i colour, __m256i alpha) {
    const __m256i zero = _mm256_setzero_si256(), half = _mm256_set1_epi16(128);
    __m256i low = _mm256_add_epi16(_mm256_mullo_epi16(_mm256_unpacklo_epi8(colour, zero), _mm256_unpacklo_epi8(alpha, zero)), half);
    __m256i high = _mm256_add_epi16(_mm256_mullo_epi16(_mm256_unpackhi_epi8(colour, zero), _mm256_unpackhi_epi8(alpha, zero)), half);
    low = _mm256_srli_epi16(_mm256_add_epi16(low, _mm256_srli_epi16(low, 8)), 8);
    high = _mm256_srli_epi16(_mm256_add_epi16(high, _mm256_srli_epi16(high, 8)), 8);
    return _mm256_packus_epi16(low, high);
}

static void keep(uint8_t *to, __m256i v) { _mm256_storeu_si256((__m256i *)to, v); }
static __m256i at(const uint8_t *from) { return _mm256_loadu_si256((const __m256i *)from); }

/* Eight pixels to eight bytes of R, G, B and A each. */
static inline __m256i eight(const uint8_t *from) {
    const __m128i bytes = _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    __m256i v = _mm256_shuffle_epi8(at(from), _mm256_broadcastsi128_si256(bytes));
    return _mm256_permutevar8x32_epi32(v, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

/* Both return how many pixels they took: whole blocks of 32, or 16. */
static int split_rgba(const uint8_t *from, int width, uint8_t *const to[4], __m256i *all) {
    int x = 0;
    for (; x + 32 <= width; x += 32) {
        const uint8_t *p = from + 4 * x;
        __m256i p0 = eight(p), p1 = eight(p + 32), p2 = eight(p + 64), p3 = eight(p + 96);
        __m256i rb0 = _mm256_unpacklo_epi64(p0, p1), ga0 = _mm256_unpackhi_epi64(p0, p1);
        __m256i rb1 = _mm256_unpacklo_epi64(p2, p3), ga1 = _mm256_unpackhi_epi64(p2, p3);
        __m256i r = _mm256_permute2x128_si256(rb0, rb1, 0x20), b = _mm256_permute2x128_si256(rb0, rb1, 0x31);
        __m256i g = _mm256_permute2x128_si256(ga0, ga1, 0x20), a = _mm256_permute2x128_si256(ga0, ga1, 0x31);
        *all = _mm256_and_si256(*all, a);
        keep(to[0] + x, weighed(r, a));
        keep(to[1] + x, weighed(g, a));
        keep(to[2] + x, weighed(b, a));
        keep(to[3] + x, a);
    }
    return x;
}

static int split_grey(const uint8_t *from, int width, uint8_t *const to[4], __m256i *all) {
    const __m256i low = _mm256_set1_epi16(255);
    int x = 0;
    for (; x + 32 <= width; x += 32) {
        __m256i p = at(from + 2 * x), q = at(from + 2 * x + 32);
        __m256i l = _mm256_permute4x64_epi64(_mm256_packus_epi16(_mm256_and_si256(p, low), _mm256_and_si256(q, low)), 0xD8);
        __m256i a = _mm256_permute4x64_epi64(_mm256_packus_epi16(_mm256_srli_epi16(p, 8), _mm256_srli_epi16(q, 8)), 0xD8);
        *all = _mm256_and_si256(*all, a);
        keep(to[0] + x, weighed(l, a));
        keep(to[1] + x, a);
    }
    return x;
}

static int split_rgb(const uint8_t *from, int width, uint8_t *const to[4]) {
    __m128i take[3][3]; /* [channel][which 16 bytes of 48] */
    for (int c = 0; c < 3; c++)
        for (int part = 0; part < 3; part++) {
            int8_t bytes[16];
            for (int i = 0; i < 16; i++) bytes[i] = (int8_t)((3 * i + c) / 16 == part ? (3 * i + c) % 16 : -1);
            take[c][part] = _mm_loadu_si128((const __m128i *)bytes);
        }
    int x = 0;
    for (; x + 16 <= width; x += 16) {
        const __m128i *p = (const __m128i *)(from + 3 * x);
        __m128i p0 = _mm_loadu_si128(p), p1 = _mm_loadu_si128(p + 1), p2 = _mm_loadu_si128(p + 2);
        for (int c = 0; c < 3; c++) {
            __m128i v = _mm_or_si128(_mm_shuffle_epi8(p0, take[c][0]), _mm_shuffle_epi8(p1, take[c][1]));
            _mm_storeu_si128((__m128i *)(to[c] + x), _mm_or_si128(v, _mm_shuffle_epi8(p2, take[c][2])));
        }
    }
    return x;
}

static uint8_t split(const uint8_t *from, int width, int channels, uint8_t *const to[4]) {
    if (channels == 1) {
        memcpy(to[0], from, (size_t)width);
        return 255;
    }
    __m256i all = _mm256_set1_epi8(-1);
    const int done = channels == 4   ? split_rgba(from, width, to, &all)
                     : channels == 3 ? split_rgb(from, width, to)
                                     : split_grey(from, width, to, &all);
    uint8_t bytes[32], *rest[4];
    _mm256_storeu_si256((__m256i *)bytes, all);
    for (int c = 0; c < channels; c++) rest[c] = to[c] + done;
    uint8_t anded = nova_png_scalar.split(from + (size_t)done * (size_t)channels, width - done, channels, rest);
    for (int i = 0; i < 32; i++) anded &= bytes[i];
    return anded;
}

const NovaPngKernels nova_png_avx2 = {"avx2", rows, split};
#endif
