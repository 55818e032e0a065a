/* The kernels in plain C: what every machine runs, and what the others must equal bit for bit. */
#include "nova_png.h"
#include <stdlib.h>
#include <string.h>

/* 9.4: of the left, the upper and the upper left byte the one that is nearest to left + upper - upper left. Without branches: which one
 * it is cannot be foretold. */
static inline uint8_t paeth(int a, int b, int c) {
    const int pa = abs(b - c), pb = abs(a - c), pc = abs(a + b - 2 * c), other = pb <= pc ? b : c;
    return (uint8_t)((pa <= pb) & (pa <= pc) ? a : other);
}

void nova_png_row(int type, const uint8_t *from, const uint8_t *above, uint8_t *to, size_t size, int bpp) {
    const size_t first = (size_t)bpp < size ? (size_t)bpp : size; /* bytes with nothing to their left */
    switch (type) {
    case PNG_NONE: memcpy(to, from, size); break;
    case PNG_SUB:
        memcpy(to, from, first);
        for (size_t i = first; i < size; i++) to[i] = (uint8_t)(from[i] + to[i - first]);
        break;
    case PNG_UP:
        for (size_t i = 0; i < size; i++) to[i] = (uint8_t)(from[i] + above[i]);
        break;
    case PNG_AVERAGE:
        for (size_t i = 0; i < first; i++) to[i] = (uint8_t)(from[i] + above[i] / 2);
        for (size_t i = first; i < size; i++) to[i] = (uint8_t)(from[i] + (to[i - first] + above[i]) / 2);
        break;
    default:
        for (size_t i = 0; i < first; i++) to[i] = (uint8_t)(from[i] + above[i]);
        for (size_t c = 0; c < first; c++) { /* a channel at a time: what the next pixel waits for stays in registers */
            int left = to[c], upper_left = above[c];
            for (size_t i = first + c; i < size; i += first) {
                left = (from[i] + paeth(left, above[i], upper_left)) & 255;
                upper_left = above[i];
                to[i] = (uint8_t)left;
            }
        }
    }
}

static void rows(const uint8_t types[PNG_ROWS], const uint8_t *const from[PNG_ROWS], const uint8_t *above, uint8_t *const to[PNG_ROWS],
                 size_t size, int bpp) {
    for (int i = 0; i < PNG_ROWS; i++) nova_png_row(types[i], from[i], i ? to[i - 1] : above, to[i], size, bpp);
}

static uint8_t weighed(unsigned colour, unsigned alpha) {
    const unsigned v = colour * alpha + 128;
    return (uint8_t)((v + (v >> 8)) >> 8); /* divided by 255, rounded */
}

static uint8_t split(const uint8_t *from, int width, int channels, uint8_t *const to[4]) {
    uint8_t all = 255;
    for (int x = 0; x < width; x++, from += channels) {
        if (channels & 1) {
            for (int c = 0; c < channels; c++) to[c][x] = from[c];
            continue;
        }
        const uint8_t alpha = from[channels - 1];
        for (int c = 0; c < channels - 1; c++) to[c][x] = weighed(from[c], alpha);
        to[channels - 1][x] = alpha;
        all &= alpha;
    }
    return all;
}

const NovaPngKernels nova_png_scalar = {"scalar", rows, split};

const NovaPngKernels *nova_png_kernels(const char *name) {
    const NovaPngKernels *best = &nova_png_scalar;
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2")) best = &nova_png_avx2;
#endif
    if (!*name || !strcmp(name, best->name)) return best;
    return strcmp(name, "scalar") ? NULL : &nova_png_scalar;
}
