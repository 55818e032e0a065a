/* Between YCbCr (ITU-R BT.601, full range, as JFIF says) and RGB; and what stands in for a picture until it is there. */
#include "nova_jpeg.h"
#include <math.h>
#include <string.h>

static uint8_t sample(int32_t v) { return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v); }

void nova_jpeg_to_rgb(const NovaJpegPlane *planes, int count, uint8_t *rgb) {
    for (int y = 0; y < planes->height; y++) {
        const uint8_t *l = planes[0].data + (size_t)y * (size_t)planes[0].pitch;
        if (count == 1) {
            for (int x = 0; x < planes->width; x++, rgb += 3) rgb[0] = rgb[1] = rgb[2] = l[x];
            continue;
        }
        const uint8_t *b = planes[1].data + (size_t)y * (size_t)planes[1].pitch, *r = planes[2].data + (size_t)y * (size_t)planes[2].pitch;
        for (int x = 0; x < planes->width; x++, rgb += 3) {
            const int32_t luma = (l[x] << 16) + (1 << 15), cb = b[x] - 128, cr = r[x] - 128;
            rgb[0] = sample((luma + 91881 * cr) >> 16);
            rgb[1] = sample((luma - 22554 * cb - 46802 * cr) >> 16);
            rgb[2] = sample((luma + 116130 * cb) >> 16);
        }
    }
}

static int within(int v, int size) { return v < 0 ? 0 : v < size ? v : size - 1; }

int nova_jpeg_from_rgb(NovaJpegArena *arena, const uint8_t *rgb, int channels, int width, int height, int sub, int shift_x, int shift_y,
                       NovaJpegPlane *planes) {
    const int cw = (width + sub - 1) / sub, ch = (height + sub - 1) / sub, rounds = sub == 2 ? 2 : 0;
    if (nova_jpeg_plane(arena, &planes[0], width, height)) return JPEG_MEMORY;
    if (channels == 1) {
        for (int y = 0; y < height; y++)
            memcpy(planes[0].data + (size_t)y * (size_t)planes[0].pitch, rgb + (size_t)y * (size_t)width, (size_t)width);
        return JPEG_OK;
    }
    if (nova_jpeg_plane(arena, &planes[1], cw, ch) || nova_jpeg_plane(arena, &planes[2], cw, ch)) return JPEG_MEMORY;
    for (int y = 0; y < height; y++) {
        const uint8_t *p = rgb + (size_t)y * (size_t)width * 3;
        uint8_t *l = planes[0].data + (size_t)y * (size_t)planes[0].pitch;
        for (int x = 0; x < width; x++, p += 3) l[x] = (uint8_t)((19595 * p[0] + 38470 * p[1] + 7471 * p[2] + (1 << 15)) >> 16);
    }
    for (int y = 0; y < ch; y++)
        for (int x = 0; x < cw; x++) {
            int32_t r = 0, g = 0, b = 0;
            for (int j = 0; j < sub; j++)
                for (int i = 0; i < sub; i++) {
                    const int sy = within(y * sub + j - shift_y, height), sx = within(x * sub + i - shift_x, width);
                    const uint8_t *p = rgb + ((size_t)sy * (size_t)width + (size_t)sx) * 3;
                    r += p[0];
                    g += p[1];
                    b += p[2];
                }
            const int shift = 16 + rounds, half = (1 << (shift - 1)) + (128 << shift);
            planes[1].data[(size_t)y * (size_t)planes[1].pitch + (size_t)x] = sample((-11059 * r - 21709 * g + 32768 * b + half) >> shift);
            planes[2].data[(size_t)y * (size_t)planes[2].pitch + (size_t)x] = sample((32768 * r - 27439 * g - 5329 * b + half) >> shift);
        }
    return JPEG_OK;
}

/* -- placeholders -------------------------------------------------------------------------------------------------------- */

static int rounded(double x) { return (int)floor(x + 0.5); }

typedef struct {
    double dc, scale, ac[40];
    int count;
} Channel;

/* The first terms of a cosine transform (thumbhash, encodeChannel). */
static void channel(Channel *to, const float *from, int w, int h, int nx, int ny) {
    double across[8][64];
    memset(to, 0, sizeof *to);
    for (int cx = 0; cx < nx; cx++)
        for (int x = 0; x < w; x++) across[cx][x] = cos(M_PI / w * cx * (x + 0.5));
    for (int cy = 0; cy < ny; cy++)
        for (int cx = 0; cx * ny < nx * (ny - cy); cx++) {
            double sum = 0;
            for (int y = 0; y < h; y++) {
                double line = 0;
                for (int x = 0; x < w; x++) line += from[y * w + x] * across[cx][x];
                sum += line * cos(M_PI / h * cy * (y + 0.5));
            }
            sum /= w * h;
            if (cx || cy) {
                to->ac[to->count++] = sum;
                if (fabs(sum) > to->scale) to->scale = fabs(sum);
            } else {
                to->dc = sum;
            }
        }
    if (to->scale > 0)
        for (int i = 0; i < to->count; i++) to->ac[i] = 0.5 + 0.5 / to->scale * to->ac[i];
}

int nova_jpeg_placeholder(const uint8_t *rgb, int w, int h, uint8_t color[3], uint8_t hash[25]) {
    float l[64 * 64], p[64 * 64], q[64 * 64];
    uint32_t seen[512][4];
    Channel cl, cp, cq, *all[3] = {&cl, &cp, &cq};
    const int longest = w > h ? w : h, landscape = w > h;
    int best = 0, size = 5, at = 0;
    memset(seen, 0, sizeof seen);
    for (int i = 0; i < w * h; i++) {
        const uint8_t *s = rgb + 3 * i;
        uint32_t *bin = seen[s[0] >> 5 << 6 | s[1] >> 5 << 3 | s[2] >> 5];
        bin[0]++;
        for (int j = 0; j < 3; j++) bin[1 + j] += s[j];
        l[i] = (float)((s[0] + s[1] + s[2]) / 765.0);
        p[i] = (float)((s[0] + s[1]) / 510.0 - s[2] / 255.0);
        q[i] = (float)((s[0] - s[1]) / 255.0);
    }
    /* Dominant: the mean of the fullest of 512 cells of the colour cube. */
    for (int i = 1; i < 512; i++)
        if (seen[i][0] > seen[best][0]) best = i;
    for (int j = 0; j < 3; j++) color[j] = (uint8_t)((seen[best][1 + j] + seen[best][0] / 2) / seen[best][0]);
    int lx = rounded(7.0 * w / longest), ly = rounded(7.0 * h / longest);
    if (lx < 1) lx = 1;
    if (ly < 1) ly = 1;
    channel(&cl, l, w, h, lx > 3 ? lx : 3, ly > 3 ? ly : 3);
    channel(&cp, p, w, h, 3, 3);
    channel(&cq, q, w, h, 3, 3);
    uint32_t first = (uint32_t)rounded(63 * cl.dc) | (uint32_t)rounded(31.5 + 31.5 * cp.dc) << 6 |
                     (uint32_t)rounded(31.5 + 31.5 * cq.dc) << 12 | (uint32_t)rounded(31 * cl.scale) << 18;
    uint32_t second = (uint32_t)(landscape ? ly : lx) | (uint32_t)rounded(63 * cp.scale) << 3 | (uint32_t)rounded(63 * cq.scale) << 9 |
                      (uint32_t)landscape << 15;
    memset(hash, 0, 25);
    hash[0] = (uint8_t)first;
    hash[1] = (uint8_t)(first >> 8);
    hash[2] = (uint8_t)(first >> 16);
    hash[3] = (uint8_t)second;
    hash[4] = (uint8_t)(second >> 8);
    for (int c = 0; c < 3; c++)
        for (int i = 0; i < all[c]->count; i++, at++) {
            hash[5 + at / 2] |= (uint8_t)(rounded(15 * all[c]->ac[i]) << (at & 1) * 4);
            size = 6 + at / 2;
        }
    return size;
}
