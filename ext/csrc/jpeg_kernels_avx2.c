/* The kernels with AVX2: bit for bit what jpeg_kernels.c does. */
#if defined(__x86_64__)
#pragma GCC target("avx2,bmi,bmi2")
#include "nova_jpeg.h"
#include <immintrin.h>
#include <string.h>

static size_t unstuff(const uint8_t *from, size_t size, uint8_t *to, size_t room, size_t *used, int *marker) {
    const __m256i ones = _mm256_set1_epi8(-1);
    size_t in = 0, out = 0;
    while (size - in >= 33 && room - out >= 32) {
        __m256i bytes = _mm256_loadu_si256((const __m256i *)(from + in));
        uint32_t found = (uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(bytes, ones));
        _mm256_storeu_si256((__m256i *)(to + out), bytes);
        if (!found) {
            in += 32;
            out += 32;
            continue;
        }
        unsigned before = (unsigned)__builtin_ctz(found);
        in += before;
        out += before;
        if (from[in + 1] == 0xFF) in++;
        else if (from[in + 1]) {
            *used = in;
            *marker = from[in + 1];
            return out;
        } else { /* the byte is stored already */
            in += 2;
            out++;
        }
    }
    size_t more, rest = nova_jpeg_scalar.unstuff(from + in, size - in, to + out, room - out, &more, marker);
    *used = in + more;
    return out + rest;
}

/* -- transforms --------------------------------------------------------------------------------------------------------- */

/* Coefficients 2j and 2j+1 of a row of the matrix, for madd. */
static inline __m256i pair(const int16_t *row, int j) {
    int32_t two;
    memcpy(&two, row + 2 * j, 4);
    return _mm256_set1_epi32(two);
}

/* Samples x0 to x0+3 of coefficient pair j: the same in both lanes. */
static inline __m256i four(const int16_t (*m)[8], int x0, int j) {
    int32_t p[4];
    for (int i = 0; i < 4; i++) memcpy(p + i, m[x0 + i] + 2 * j, 4);
    return _mm256_setr_epi32(p[0], p[1], p[2], p[3], p[0], p[1], p[2], p[3]);
}

/* Two passes of sums of products: down the columns, then along two rows at once, one in each lane. `n` is a constant. */
static inline __attribute__((always_inline)) void idct_n(const int16_t *block, uint8_t *to, ptrdiff_t pitch, const int n) {
    const int16_t(*m)[8] = (const int16_t(*)[8])nova_jpeg_idct_matrix[n];
    const int pairs = (n + 1) / 2;
    const __m256i round1 = _mm256_set1_epi32(1 << 9), round2 = _mm256_set1_epi32(1 << 15);
    __m256i columns[4], sums[8], low[4], high[4];
    for (int j = 0; j < pairs; j++) {
        __m128i a = _mm_load_si128((const __m128i *)(block + 16 * j)), b = _mm_load_si128((const __m128i *)(block + 16 * j + 8));
        columns[j] = _mm256_set_m128i(_mm_unpackhi_epi16(a, b), _mm_unpacklo_epi16(a, b));
        low[j] = four(m, 0, j);
        high[j] = n > 4 ? four(m, 4, j) : _mm256_setzero_si256();
    }
    for (int y = 0; y < n; y++) {
        __m256i sum = round1;
        for (int j = 0; j < pairs; j++) sum = _mm256_add_epi32(sum, _mm256_madd_epi16(columns[j], pair(m[y], j)));
        sums[y] = _mm256_srai_epi32(sum, 10);
    }
    if (n & 1) sums[n] = sums[n - 1];
    for (int y = 0; y < n; y += 2) {
        __m256i rows = _mm256_permute4x64_epi64(_mm256_packs_epi32(sums[y], sums[y + 1]), 0xD8);
        __m256i lo = round2, hi = round2;
        for (int j = 0; j < pairs; j++) {
            __m256i both = j == 0   ? _mm256_shuffle_epi32(rows, 0x00)
                           : j == 1 ? _mm256_shuffle_epi32(rows, 0x55)
                           : j == 2 ? _mm256_shuffle_epi32(rows, 0xAA)
                                    : _mm256_shuffle_epi32(rows, 0xFF);
            lo = _mm256_add_epi32(lo, _mm256_madd_epi16(both, low[j]));
            if (n > 4) hi = _mm256_add_epi32(hi, _mm256_madd_epi16(both, high[j]));
        }
        /* packs saturates what is no sample anyway, and the sum with 128 is what the scalar twin clamps. */
        __m256i words = _mm256_packs_epi32(_mm256_srai_epi32(lo, 16), _mm256_srai_epi32(hi, 16));
        __m256i bytes = _mm256_packus_epi16(_mm256_adds_epi16(words, _mm256_set1_epi16(128)), words);
        _mm_storel_epi64((__m128i *)(to + y * pitch), _mm256_castsi256_si128(bytes));
        if (y + 1 < n) _mm_storel_epi64((__m128i *)(to + (y + 1) * pitch), _mm256_extracti128_si256(bytes, 1));
    }
}

static void idct(const int16_t *block, uint8_t *to, ptrdiff_t pitch, int n) {
    switch (n) {
    case 1: idct_n(block, to, pitch, 1); break;
    case 2: idct_n(block, to, pitch, 2); break;
    case 3: idct_n(block, to, pitch, 3); break;
    case 4: idct_n(block, to, pitch, 4); break;
    case 5: idct_n(block, to, pitch, 5); break;
    case 6: idct_n(block, to, pitch, 6); break;
    case 7: idct_n(block, to, pitch, 7); break;
    default: idct_n(block, to, pitch, 8);
    }
}

static void fdct(const uint8_t *from, ptrdiff_t pitch, int16_t *to) {
    const int16_t(*m)[8] = (const int16_t(*)[8])nova_jpeg_fdct_matrix;
    const __m256i round1 = _mm256_set1_epi32(1 << 8), round2 = _mm256_set1_epi32(1 << 12);
    __m256i columns[4], sums[8], low[4], high[4];
    for (int j = 0; j < 4; j++) {
        __m128i a = _mm_cvtepu8_epi16(_mm_loadl_epi64((const __m128i *)(from + 2 * j * pitch)));
        __m128i b = _mm_cvtepu8_epi16(_mm_loadl_epi64((const __m128i *)(from + (2 * j + 1) * pitch)));
        a = _mm_sub_epi16(a, _mm_set1_epi16(128));
        b = _mm_sub_epi16(b, _mm_set1_epi16(128));
        columns[j] = _mm256_set_m128i(_mm_unpackhi_epi16(a, b), _mm_unpacklo_epi16(a, b));
        low[j] = four(m, 0, j);
        high[j] = four(m, 4, j);
    }
    for (int v = 0; v < 8; v++) {
        __m256i sum = round1;
        for (int j = 0; j < 4; j++) sum = _mm256_add_epi32(sum, _mm256_madd_epi16(columns[j], pair(m[v], j)));
        sums[v] = _mm256_srai_epi32(sum, 9);
    }
    for (int v = 0; v < 8; v += 2) {
        __m256i rows = _mm256_permute4x64_epi64(_mm256_packs_epi32(sums[v], sums[v + 1]), 0xD8);
        __m256i both[4] = {_mm256_shuffle_epi32(rows, 0x00), _mm256_shuffle_epi32(rows, 0x55), _mm256_shuffle_epi32(rows, 0xAA),
                           _mm256_shuffle_epi32(rows, 0xFF)};
        __m256i lo = round2, hi = round2;
        for (int j = 0; j < 4; j++) {
            lo = _mm256_add_epi32(lo, _mm256_madd_epi16(both[j], low[j]));
            hi = _mm256_add_epi32(hi, _mm256_madd_epi16(both[j], high[j]));
        }
        _mm256_storeu_si256((__m256i *)(to + 8 * v), _mm256_packs_epi32(_mm256_srai_epi32(lo, 13), _mm256_srai_epi32(hi, 13)));
    }
}

static void quantise(const int16_t *from, const float *reciprocal, int16_t *to) {
    for (int i = 0; i < 64; i += 16) {
        __m256 a = _mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(_mm_loadu_si128((const __m128i *)(from + i))));
        __m256 b = _mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(_mm_loadu_si128((const __m128i *)(from + i + 8))));
        __m256i whole = _mm256_packs_epi32(_mm256_cvtps_epi32(_mm256_mul_ps(a, _mm256_loadu_ps(reciprocal + i))),
                                           _mm256_cvtps_epi32(_mm256_mul_ps(b, _mm256_loadu_ps(reciprocal + i + 8))));
        _mm256_storeu_si256((__m256i *)(to + i), _mm256_permute4x64_epi64(whole, 0xD8));
    }
}

/* -- resizing ----------------------------------------------------------------------------------------------------------- */

static void vertical(const uint8_t *const *rows, const int16_t *weights, int count, int16_t *to, int width) {
    for (int x = 0; x < width; x += 16) {
        __m256i a = _mm256_set1_epi32(1 << 7), b = a;
        for (int i = 0; i < count; i += 2) {
            __m256i w = pair(weights + i, 0);
            __m128i p = _mm_loadu_si128((const __m128i *)(rows[i] + x)), q = _mm_loadu_si128((const __m128i *)(rows[i + 1] + x));
            a = _mm256_add_epi32(a, _mm256_madd_epi16(_mm256_cvtepu8_epi16(_mm_unpacklo_epi8(p, q)), w));
            b = _mm256_add_epi32(b, _mm256_madd_epi16(_mm256_cvtepu8_epi16(_mm_unpackhi_epi8(p, q)), w));
        }
        __m256i both = _mm256_packs_epi32(_mm256_srai_epi32(a, 8), _mm256_srai_epi32(b, 8));
        _mm256_storeu_si256((__m256i *)(to + x), _mm256_permute4x64_epi64(both, 0xD8));
    }
}

static void vertical16(const int16_t *const *rows, const int16_t *weights, int count, int16_t *to, int width) {
    for (int x = 0; x < width; x += 16) {
        __m256i a = _mm256_set1_epi32(1 << 13), b = a;
        for (int i = 0; i < count; i += 2) {
            __m256i w = pair(weights + i, 0);
            __m256i p = _mm256_loadu_si256((const __m256i *)(rows[i] + x)), q = _mm256_loadu_si256((const __m256i *)(rows[i + 1] + x));
            a = _mm256_add_epi32(a, _mm256_madd_epi16(_mm256_unpacklo_epi16(p, q), w));
            b = _mm256_add_epi32(b, _mm256_madd_epi16(_mm256_unpackhi_epi16(p, q), w));
        }
        _mm256_storeu_si256((__m256i *)(to + x), _mm256_packs_epi32(_mm256_srai_epi32(a, 14), _mm256_srai_epi32(b, 14)));
    }
}

/* The sums of eight outputs. */
static inline __attribute__((always_inline)) __m256i eight(const int16_t *from, const int32_t *start, const int16_t *weights, int taps) {
    __m256i sums[8];
    for (int o = 0; o < 8; o++) {
        const int16_t *p = from + start[o], *w = weights + o * taps;
        __m256i sum = _mm256_madd_epi16(_mm256_loadu_si256((const __m256i *)p), _mm256_loadu_si256((const __m256i *)w));
        for (int i = 16; i < taps; i += 16)
            sum = _mm256_add_epi32(
                sum, _mm256_madd_epi16(_mm256_loadu_si256((const __m256i *)(p + i)), _mm256_loadu_si256((const __m256i *)(w + i))));
        sums[o] = sum;
    }
    __m256i a = _mm256_hadd_epi32(_mm256_hadd_epi32(sums[0], sums[1]), _mm256_hadd_epi32(sums[2], sums[3]));
    __m256i b = _mm256_hadd_epi32(_mm256_hadd_epi32(sums[4], sums[5]), _mm256_hadd_epi32(sums[6], sums[7]));
    return _mm256_add_epi32(_mm256_permute2x128_si256(a, b, 0x20), _mm256_permute2x128_si256(a, b, 0x31));
}

static void horizontal(const int16_t *from, const int32_t *start, const int16_t *weights, int taps, uint8_t *to, int width) {
    const __m256i round = _mm256_set1_epi32(1 << 19);
    for (int x = 0; x < width; x += 8, start += 8, weights += 8 * taps) {
        __m256i sum = _mm256_srai_epi32(_mm256_add_epi32(eight(from, start, weights, taps), round), 20);
        __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
        _mm_storel_epi64((__m128i *)(to + x), _mm_packus_epi16(words, words));
    }
}

static void horizontal16(const int16_t *from, const int32_t *start, const int16_t *weights, int taps, int16_t *to, int width) {
    const __m256i round = _mm256_set1_epi32(1 << 13);
    for (int x = 0; x < width; x += 8, start += 8, weights += 8 * taps) {
        __m256i sum = _mm256_srai_epi32(_mm256_add_epi32(eight(from, start, weights, taps), round), 14);
        _mm_storeu_si128((__m128i *)(to + x), _mm_packs_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1)));
    }
}

const NovaJpegKernels nova_jpeg_avx2 = {
    "avx2", unstuff, idct, vertical, vertical16, horizontal, horizontal16, fdct, quantise, nova_jpeg_row_avx2, nova_jpeg_scan_avx2,
};
#endif
