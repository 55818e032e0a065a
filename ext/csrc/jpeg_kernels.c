/* The kernels in plain C: what every machine runs, and what the others must equal bit for bit. */
#include "nova_jpeg.h"
#include <math.h>
#include <string.h>

static uint8_t sample(int32_t v) { return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v); }
static int16_t narrow(int32_t v) { return (int16_t)(v < -32768 ? -32768 : v > 32767 ? 32767 : v); }

static size_t unstuff(const uint8_t *from, size_t size, uint8_t *to, size_t room, size_t *used, int *marker) {
    size_t in = 0, out = 0;
    *marker = -1;
    while (out < room) {
        if (in == size) {
            *marker = 0;
            break;
        }
        uint8_t byte = from[in];
        if (byte == 0xFF) {
            if (size - in < 2) { /* half a marker, or half of a stuffed byte */
                *marker = 0;
                in = size;
                break;
            }
            if (from[in + 1] == 0xFF) { /* fill (B.1.1.2) */
                in++;
                continue;
            }
            if (from[in + 1]) {
                *marker = from[in + 1];
                break;
            }
            in++;
        }
        to[out++] = byte;
        in++;
    }
    *used = in;
    return out;
}

static void idct(const int16_t *block, uint8_t *to, ptrdiff_t pitch, int n) {
    const int16_t(*m)[8] = nova_jpeg_idct_matrix[n];
    int16_t half[8][8];
    for (int y = 0; y < n; y++)
        for (int u = 0; u < n; u++) {
            int32_t sum = 1 << 9;
            for (int v = 0; v < n; v++) sum += m[y][v] * block[8 * v + u];
            half[y][u] = narrow(sum >> 10); /* 3 bits of fraction */
        }
    for (int y = 0; y < n; y++)
        for (int x = 0; x < n; x++) {
            int32_t sum = 1 << 15;
            for (int u = 0; u < n; u++) sum += m[x][u] * half[y][u];
            to[y * pitch + x] = sample((sum >> 16) + 128);
        }
}

/* Sixteen columns at once: compilers make vectors of them. */
static void vertical(const uint8_t *const *rows, const int16_t *weights, int count, int16_t *to, int width) {
    for (int x = 0; x < width; x += 16) {
        int32_t sums[16];
        for (int j = 0; j < 16; j++) sums[j] = 1 << 7;
        for (int i = 0; i < count; i++) {
            const uint8_t *row = rows[i] + x;
            for (int j = 0; j < 16; j++) sums[j] += weights[i] * row[j];
        }
        for (int j = 0; j < 16; j++) to[x + j] = narrow(sums[j] >> 8);
    }
}

static void vertical16(const int16_t *const *rows, const int16_t *weights, int count, int16_t *to, int width) {
    for (int x = 0; x < width; x++) {
        int32_t sum = 1 << 13;
        for (int i = 0; i < count; i++) sum += weights[i] * rows[i][x];
        to[x] = narrow(sum >> 14);
    }
}

static void horizontal(const int16_t *from, const int32_t *start, const int16_t *weights, int taps, uint8_t *to, int width) {
    for (int x = 0; x < width; x++, weights += taps) {
        int32_t sum = 1 << 19;
        for (int i = 0; i < taps; i++) sum += weights[i] * from[start[x] + i];
        to[x] = sample(sum >> 20);
    }
}

static void horizontal16(const int16_t *from, const int32_t *start, const int16_t *weights, int taps, int16_t *to, int width) {
    for (int x = 0; x < width; x++, weights += taps) {
        int32_t sum = 1 << 13;
        for (int i = 0; i < taps; i++) sum += weights[i] * from[start[x] + i];
        to[x] = narrow(sum >> 14);
    }
}

static void fdct(const uint8_t *from, ptrdiff_t pitch, int16_t *to) {
    int16_t half[8][8];
    for (int v = 0; v < 8; v++)
        for (int x = 0; x < 8; x++) {
            int32_t sum = 1 << 8;
            for (int y = 0; y < 8; y++) sum += nova_jpeg_fdct_matrix[v][y] * (from[y * pitch + x] - 128);
            half[v][x] = (int16_t)(sum >> 9); /* 4 bits of fraction */
        }
    for (int v = 0; v < 8; v++)
        for (int u = 0; u < 8; u++) {
            int32_t sum = 1 << 12;
            for (int x = 0; x < 8; x++) sum += nova_jpeg_fdct_matrix[u][x] * half[v][x];
            to[8 * v + u] = (int16_t)(sum >> 13);
        }
}

static void quantise(const int16_t *from, const float *reciprocal, int16_t *to) {
    for (int i = 0; i < 64; i++) to[i] = (int16_t)lrintf((float)from[i] * reciprocal[i]);
}

const NovaJpegKernels nova_jpeg_scalar = {
    "scalar", unstuff, idct, vertical, vertical16, horizontal, horizontal16, fdct, quantise, nova_jpeg_row_scalar, nova_jpeg_scan_scalar,
};

const NovaJpegKernels *nova_jpeg_kernels(const char *name) {
    const NovaJpegKernels *best = &nova_jpeg_scalar;
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2")) best = &nova_jpeg_avx2;
#endif
    if (!*name || !strcmp(name, best->name)) return best;
    return strcmp(name, "scalar") ? NULL : &nova_jpeg_scalar;
}
