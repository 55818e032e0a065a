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

/* Where the lines come from: planes of one size, or packed samples. */
typedef struct {
    const NovaJpegPlane *planes;
    const uint8_t *packed;
    int width, channels; /* of the lines: 1 grey, 3 RGB, 4 RGB premultiplied and A */
} Source;

/* Row y of the planes, all of one size, as linear R, G and B (or grey). */
static void lift_planes(const NovaJpegPlane *planes, int count, int y, int16_t *const rows[4]) {
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

/* Row y of packed samples. What shines through has no more light than its alpha lets through. */
static void lift_packed(const Source *from, int y, int16_t *const rows[4]) {
    const int channels = from->channels;
    const uint8_t *at = from->packed + (size_t)y * (size_t)from->width * (size_t)channels;
    for (int x = 0; x < from->width; x++, at += channels) {
        if (channels < 4) {
            for (int c = 0; c < channels; c++) rows[c][x] = to_linear[at[c]];
            continue;
        }
        for (int c = 0; c < 3; c++) rows[c][x] = (int16_t)((to_linear[at[c]] * at[3] + 127) / 255);
        rows[3][x] = (int16_t)((WHITE * at[3] + 127) / 255);
    }
}

static void lift(const Source *from, int y, int16_t *const rows[4]) {
    if (from->packed)
        lift_packed(from, y, rows);
    else
        lift_planes(from->planes, from->channels, y, rows);
}

/* One pixel back into sRGB's curve; lines are `step` apart. */
static void put(const int16_t *line, size_t step, int channels, uint8_t *to) {
    if (channels < 4) {
        for (int c = 0; c < channels; c++) to[c] = curved(line[(size_t)c * step]);
        return;
    }
    const int32_t alpha = line[3 * step];
    for (int c = 0; c < 3; c++) {
        const int32_t v = alpha <= 0 ? 0 : (line[(size_t)c * step] * WHITE + alpha / 2) / alpha;
        to[c] = curved((int16_t)(v < 0 ? 0 : v > WHITE ? WHITE : v));
    }
    to[3] = sample((alpha * 255 + WHITE / 2) / WHITE);
}

static int resize(NovaJpegArena *arena, const NovaJpegKernels *k, const Source *from, const NovaJpegWeights *across,
                  const NovaJpegWeights *down, uint8_t *to) {
    const int in_width = from->width, width = across->out, height = down->out, pitch = in_width + across->taps + 2 * JPEG_PAD;
    const int channels = from->channels, ring = down->widest + 1;
    int16_t *lines = nova_jpeg_alloc(arena, (size_t)pitch * (size_t)ring * (size_t)channels * sizeof(int16_t));
    int16_t *line = nova_jpeg_alloc(arena, (size_t)pitch * sizeof(int16_t));
    int16_t *out = nova_jpeg_alloc(arena, ((size_t)width + JPEG_PAD) * (size_t)channels * sizeof(int16_t));
    const int16_t **rows = nova_jpeg_alloc(arena, ((size_t)down->taps + 2) * sizeof(int16_t *));
    int lifted = 0;
    if (!lines || !line || !out || !rows) return JPEG_MEMORY;
    for (int y = 0; y < height; y++) {
        const int first = down->start[y], n = down->count[y];
        if (lifted < first) lifted = first;
        for (; lifted < first + n; lifted++) {
            int16_t *into[4];
            for (int c = 0; c < 4; c++) into[c] = lines + (size_t)(lifted % ring + (c < channels ? c : 0) * ring) * (size_t)pitch;
            lift(from, lifted, into);
        }
        for (int c = 0; c < channels; c++) {
            for (int i = 0; i < n; i++) rows[i] = lines + (size_t)((first + i) % ring + ring * c) * (size_t)pitch;
            rows[n] = rows[n - 1]; /* its weight is 0 */
            k->vertical16(rows, down->weights + (size_t)y * (size_t)down->taps, (n + 1) & ~1, line, in_width);
            k->horizontal16(line, across->start, across->weights, across->taps, out + (size_t)c * (size_t)(width + JPEG_PAD), width);
        }
        for (int x = 0; x < width; x++, to += channels) put(out + x, (size_t)(width + JPEG_PAD), channels, to);
    }
    return JPEG_OK;
}

int nova_jpeg_resize_linear(NovaJpegArena *arena, const NovaJpegKernels *k, const NovaJpegPlane *from, int count,
                            const NovaJpegWeights *across, const NovaJpegWeights *down, uint8_t *rgb) {
    const Source source = {from, NULL, from[0].width, count == 1 ? 1 : 3};
    return resize(arena, k, &source, across, down, rgb);
}

int nova_jpeg_resize_packed(NovaJpegArena *arena, const NovaJpegKernels *k, const uint8_t *from, int in_width, int in_height, int channels,
                            const double window[4], int width, int height, uint8_t *to) {
    const Source source = {NULL, from, in_width, channels};
    NovaJpegWeights across, down;
    int rc = nova_jpeg_weigh(arena, &across, width, window[0], window[2] / width, in_width, JPEG_LANCZOS3, 16);
    if (!rc) rc = nova_jpeg_weigh(arena, &down, height, window[1], window[3] / height, in_height, JPEG_LANCZOS3, 2);
    return rc ? rc : resize(arena, k, &source, &across, &down, to);
}
