/* Resizing in linear light (IEC 61966-2-1): samples are lifted out of sRGB's curve, weighed, and put back.
 *
 * Asked for, not the default: it needs RGB, so it pays for the colour conversion that the planes' path saves. */
#include "nova_jpeg.h"
#include <math.h>
#include <string.h>

enum { WHITE = 16384 }; /* of linear samples: Lanczos swings a third beyond, an int16_t holds it */

static int16_t to_linear[256];
static uint8_t from_linear[WHITE + 1];

__attribute__((constructor)) static void fill_curves(void) {
    for (int i = 0; i < 256; i++) {
        double v = i / 255.0;
        to_linear[i] = (int16_t)lrint(WHITE * (v <= 0.04045 ? v / 12.92 : pow((v + 0.055) / 1.055, 2.4)));
    }
    for (int i = 0; i <= WHITE; i++) {
        double v = (double)i / WHITE;
        from_linear[i] = (uint8_t)lrint(255 * (v <= 0.0031308 ? v * 12.92 : 1.055 * pow(v, 1 / 2.4) - 0.055));
    }
}

static uint8_t curved(int16_t v) { return from_linear[v < 0 ? 0 : v > WHITE ? WHITE : v]; }
static uint8_t sample(int32_t v) { return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v); }

/* Row y of the planes, all of one size, as linear R, G and B (or grey). */
static void lift(const NovaJpegPlane *planes, int count, int y, int16_t *const rows[3]) {
    const uint8_t *l = planes[0].data + (size_t)y * (size_t)planes[0].pitch;
    const int width = planes[0].width;
    if (count == 1) {
        for (int x = 0; x < width; x++) rows[0][x] = to_linear[l[x]];
        return;
    }
    const uint8_t *b = planes[1].data + (size_t)y * (size_t)planes[1].pitch, *r = planes[2].data + (size_t)y * (size_t)planes[2].pitch;
    for (int x = 0; x < width; x++) {
        const int32_t luma = (l[x] << 16) + (1 << 15), cb = b[x] - 128, cr = r[x] - 128;
        rows[0][x] = to_linear[sample((luma + 91881 * cr) >> 16)];
        rows[1][x] = to_linear[sample((luma - 22554 * cb - 46802 * cr) >> 16)];
        rows[2][x] = to_linear[sample((luma + 116130 * cb) >> 16)];
    }
}

int nova_jpeg_resize_linear(NovaJpegArena *arena, const NovaJpegKernels *k, const NovaJpegPlane *from, int count,
                            const NovaJpegWeights *across, const NovaJpegWeights *down, uint8_t *rgb) {
    const int in_width = from[0].width, width = across->out, height = down->out, pitch = in_width + across->taps + 2 * JPEG_PAD;
    const int channels = count == 1 ? 1 : 3, ring = down->widest + 1;
    int16_t *lines = nova_jpeg_alloc(arena, (size_t)pitch * (size_t)ring * (size_t)channels * sizeof(int16_t));
    int16_t *line = nova_jpeg_alloc(arena, (size_t)pitch * sizeof(int16_t));
    int16_t *out = nova_jpeg_alloc(arena, ((size_t)width + JPEG_PAD) * 3 * sizeof(int16_t));
    const int16_t **rows = nova_jpeg_alloc(arena, ((size_t)down->taps + 2) * sizeof(int16_t *));
    int lifted = 0;
    if (!lines || !line || !out || !rows) return JPEG_MEMORY;
    for (int y = 0; y < height; y++) {
        const int first = down->start[y], n = down->count[y];
        if (lifted < first) lifted = first;
        for (; lifted < first + n; lifted++) {
            int16_t *const to[3] = {lines + (size_t)(lifted % ring) * (size_t)pitch,
                                    lines + (size_t)(lifted % ring + ring * (channels > 1)) * (size_t)pitch,
                                    lines + (size_t)(lifted % ring + 2 * ring * (channels > 1)) * (size_t)pitch};
            lift(from, count, lifted, to);
        }
        for (int c = 0; c < channels; c++) {
            for (int i = 0; i < n; i++) rows[i] = lines + (size_t)((first + i) % ring + ring * c) * (size_t)pitch;
            rows[n] = rows[n - 1]; /* its weight is 0 */
            k->vertical16(rows, down->weights + (size_t)y * (size_t)down->taps, (n + 1) & ~1, line, in_width);
            k->horizontal16(line, across->start, across->weights, across->taps, out + (size_t)c * (size_t)(width + JPEG_PAD), width);
        }
        for (int x = 0; x < width; x++, rgb += channels)
            for (int c = 0; c < channels; c++) rgb[c] = curved(out[(size_t)c * (size_t)(width + JPEG_PAD) + (size_t)x]);
    }
    return JPEG_OK;
}
