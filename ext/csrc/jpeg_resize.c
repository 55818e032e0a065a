/* Resizing of planes: weights, rows in and rows out, edges, and the eight orientations of EXIF.
 *
 * Down the columns first: that kernel is the cheaper one, and it leaves the other only as many rows as the target has. */
#include "nova_jpeg.h"
#include <math.h>
#include <string.h>

enum { FINE = 1024 }; /* entries of the table for each unit */

static float lanczos_table[3 * FINE + 2];

__attribute__((constructor)) static void fill_lanczos(void) {
    lanczos_table[0] = 1;
    for (int i = 1; i < 3 * FINE; i++) {
        double x = M_PI * i / FINE;
        lanczos_table[i] = (float)(3 * sin(x) * sin(x / 3) / (x * x));
    }
}

static double lanczos(double x) {
    double at = fabs(x) * FINE;
    if (at >= 3 * FINE) return 0;
    int i = (int)at;
    return lanczos_table[i] + (at - i) * (lanczos_table[i + 1] - lanczos_table[i]);
}

int nova_jpeg_weigh(NovaJpegArena *arena, NovaJpegWeights *to, int out, double origin, double step, int size, int filter, int multiple) {
    const double wide = step > 1 ? step : 1, support = filter == JPEG_AREA ? wide / 2 : 3 * wide;
    const int padded = (out + 7) & ~7;
    double most = 2 * support + 2;
    if (!(most < 1e6)) return JPEG_BAD_TARGET;
    if (most > size + 1) most = size + 1; /* no more than there are, and the zero that makes a count even */
    to->out = out;
    to->taps = ((int)most + multiple) / multiple * multiple;
    to->start = nova_jpeg_alloc(arena, (size_t)padded * sizeof(int32_t));
    to->count = nova_jpeg_alloc(arena, (size_t)padded * sizeof(int32_t));
    to->weights = nova_jpeg_alloc(arena, (size_t)padded * (size_t)to->taps * sizeof(int16_t));
    double *sums = nova_jpeg_alloc(arena, (size_t)to->taps * sizeof(double));
    if (!to->start || !to->count || !to->weights || !sums) return JPEG_MEMORY;
    to->widest = 0;
    for (int i = 0; i < out; i++) {
        double center = origin + (i + 0.5) * step, total = 0;
        if (center < -1e6) center = -1e6;
        if (center > 1e6) center = 1e6;
        int first = (int)floor(center - support + 0.5), behind = (int)floor(center + support + 0.5), best = 0, whole = 0;
        if (filter == JPEG_AREA) {
            first = (int)floor(center - support);
            behind = (int)ceil(center + support);
        }
        if (first < 0) first = 0;
        if (behind > size) behind = size;
        if (behind - first > to->taps) behind = first + to->taps;
        if (behind <= first) { /* beside the picture: its edge */
            first = center < 0 ? 0 : center >= size ? size - 1 : (int)center;
            behind = first + 1;
        }
        int count = behind - first;
        for (int j = 0; j < count; j++) {
            double x = first + j + 0.5 - center;
            if (filter == JPEG_AREA) {
                double left = fmax(x - 0.5, -support), right = fmin(x + 0.5, support);
                sums[j] = right > left ? right - left : 0;
            } else {
                sums[j] = lanczos(x / wide);
            }
            total += sums[j];
        }
        if (fabs(total) < 1e-9) {
            sums[0] = total = 1;
            count = 1;
        }
        int16_t *w = to->weights + (size_t)i * (size_t)to->taps;
        const double scale = 16384 / total;
        for (int j = 0; j < count; j++) {
            w[j] = (int16_t)lrint(sums[j] * scale);
            whole += w[j];
            if (w[j] > w[best]) best = j;
        }
        w[best] = (int16_t)(w[best] + 16384 - whole);
        to->start[i] = first;
        to->count[i] = count;
        if (count > to->widest) to->widest = count;
    }
    return JPEG_OK;
}

int nova_jpeg_plane(NovaJpegArena *arena, NovaJpegPlane *p, int width, int height) {
    p->width = width;
    p->height = height;
    p->pitch = ((width + 15) & ~15) + 16;
    p->rows = (height + 15) & ~15;
    p->data = nova_jpeg_alloc(arena, (size_t)p->pitch * (size_t)p->rows + JPEG_PAD);
    return p->data ? JPEG_OK : JPEG_MEMORY;
}

void nova_jpeg_pad(NovaJpegPlane *p) {
    for (int y = 0; y < p->height; y++) {
        uint8_t *row = p->data + (size_t)y * (size_t)p->pitch;
        memset(row + p->width, row[p->width - 1], (size_t)(((p->width + 15) & ~15) - p->width));
    }
    const uint8_t *last = p->data + (size_t)(p->height - 1) * (size_t)p->pitch;
    for (int y = p->height; y < p->rows; y++) memcpy(p->data + (size_t)y * (size_t)p->pitch, last, (size_t)p->pitch);
}

int nova_jpeg_resizer(NovaJpegArena *arena, NovaJpegResizer *r, NovaJpegPlane *to, int in_width) {
    r->in_width = in_width;
    r->next = 0;
    r->to = to;
    /* A kernel reads all taps of an output, also of the last ones, whose weights behind the row are 0. */
    r->line = nova_jpeg_alloc(arena, ((size_t)in_width + (size_t)r->across.taps + 2 * JPEG_PAD) * sizeof(int16_t));
    r->rows = nova_jpeg_alloc(arena, ((size_t)r->down.taps + 2) * sizeof(uint8_t *));
    return r->line && r->rows ? JPEG_OK : JPEG_MEMORY;
}

void nova_jpeg_resize(NovaJpegResizer *r, const NovaJpegKernels *k, const uint8_t *from, int pitch, int ring, int there) {
    for (; r->next < r->to->height; r->next++) {
        const int first = r->down.start[r->next], count = r->down.count[r->next];
        if (first + count > there) return;
        for (int i = 0; i < count; i++) r->rows[i] = from + (size_t)((first + i) % ring) * (size_t)pitch;
        r->rows[count] = r->rows[count - 1]; /* its weight is 0 */
        k->vertical(r->rows, r->down.weights + (size_t)r->next * (size_t)r->down.taps, (count + 1) & ~1, r->line, r->in_width);
        k->horizontal(r->line, r->across.start, r->across.weights, r->across.taps, r->to->data + (size_t)r->next * (size_t)r->to->pitch,
                      r->to->width);
    }
}

/* -- orientation --------------------------------------------------------------------------------------------------------- */

void nova_jpeg_orient(const NovaJpegPlane *from, NovaJpegPlane *to, int orientation) {
    const int w = from->width, h = from->height;
    const int turned = orientation >= 5;
    const int flip_x = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
    const int flip_y = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
    if (!turned) {
        for (int y = 0; y < h; y++) {
            const uint8_t *row = from->data + (size_t)(flip_y ? h - 1 - y : y) * (size_t)from->pitch;
            uint8_t *out = to->data + (size_t)y * (size_t)to->pitch;
            if (!flip_x) memcpy(out, row, (size_t)w);
            else
                for (int x = 0; x < w; x++) out[x] = row[w - 1 - x];
        }
        return;
    }
    for (int y0 = 0; y0 < h; y0 += 16) /* in tiles: both sides stay in the cache */
        for (int x0 = 0; x0 < w; x0 += 16)
            for (int y = y0; y < y0 + 16 && y < h; y++) {
                const uint8_t *row = from->data + (size_t)y * (size_t)from->pitch;
                uint8_t *out = to->data + (flip_y ? h - 1 - y : y);
                for (int x = x0; x < x0 + 16 && x < w; x++) out[(size_t)(flip_x ? w - 1 - x : x) * (size_t)to->pitch] = row[x];
            }
}
