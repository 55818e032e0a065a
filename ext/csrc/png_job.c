/* A job: rows out of the pieces that come, through the ring, to the targets. */
#include "nova_png.h"
#include <string.h>

enum { FULL = 255 << 6 }; /* a sample of 255, as the first pass leaves it */

static uint8_t sample(int32_t v) { return (uint8_t)(v < 0 ? 0 : v > 255 << 6 ? 255 : (v + 32) >> 6); }

/* One row of a target: planes to packed samples, colours no longer weighed by alpha. */
static void pack(const NovaPngJob *job, int width, uint8_t *to) {
    const int16_t *c0 = job->out, *c1 = c0 + job->out_pitch, *c2 = c1 + job->out_pitch, *c3 = c2 + job->out_pitch;
    if (job->given == 1) {
        for (int x = 0; x < width; x++) to[x] = sample(c0[x]);
        return;
    }
    if (job->given == 3) {
        for (int x = 0; x < width; x++, to += 3) {
            to[0] = sample(c0[x]);
            to[1] = sample(c1[x]);
            to[2] = sample(c2[x]);
        }
        return;
    }
    const int grey = job->channels == 2;
    const int16_t *alpha = grey ? c1 : c3, *green = grey ? c0 : c1, *blue = grey ? c0 : c2;
    for (int x = 0; x < width; x++, to += 4) {
        const int a = alpha[x];
        to[3] = sample(a);
        if (a == FULL) {
            to[0] = sample(c0[x]);
            to[1] = sample(green[x]);
            to[2] = sample(blue[x]);
        } else if (to[3]) {
            const float whole = (float)FULL / (float)a;
            to[0] = sample((int32_t)((float)c0[x] * whole));
            to[1] = sample((int32_t)((float)green[x] * whole));
            to[2] = sample((int32_t)((float)blue[x] * whole));
        } else {
            to[0] = to[1] = to[2] = 0;
        }
    }
}

static void emit(NovaPngJob *job, NovaPngTarget *t) {
    for (; t->next < t->down.out; t->next++) {
        const int first = t->down.start[t->next], count = t->down.count[t->next];
        if (first + count > job->done) return;
        const int planes = job->given == 3 ? 3 : job->channels;
        for (int c = 0; c < planes; c++) {
            for (int i = 0; i < count; i++)
                job->lines[i] = job->ring + (size_t)((first + i) % job->ring_rows) * job->ring_pitch + (size_t)c * job->pitch + t->first;
            job->lines[count] = job->lines[count - 1]; /* its weight is 0 */
            const int16_t *weights = t->down.weights + (size_t)t->next * (size_t)t->down.taps;
            job->resize->vertical(job->lines, weights, (count + 1) & ~1, job->line, t->columns);
            job->resize->horizontal16(job->line, t->across.start, t->across.weights, t->across.taps, job->out + (size_t)c * job->out_pitch,
                                      t->across.out);
        }
        pack(job, t->across.out, t->to + (size_t)t->next * (size_t)t->across.out * (size_t)job->given);
    }
}

static void enter(NovaPngJob *job, const uint8_t *row) {
    uint8_t *planes[4];
    for (int c = 0; c < job->channels; c++)
        planes[c] = job->ring + (size_t)(job->done % job->ring_rows) * job->ring_pitch + (size_t)c * job->pitch;
    if (job->palette) {
        for (int x = 0; x < job->width; x++) memcpy(job->packed + 4 * (size_t)x, job->palette + 4 * (size_t)row[x], 4);
        row = job->packed;
    }
    job->alpha &= job->k->split(row, job->width, job->channels, planes);
    job->done++;
}

static int group(NovaPngJob *job, const uint8_t *data, int count) {
    const uint8_t *from[PNG_ROWS];
    uint8_t types[PNG_ROWS], **rows = job->rows;
    for (int i = 0; i < count; i++, data += job->stride + 1) {
        types[i] = data[0];
        from[i] = data + 1;
        if (types[i] > PNG_PAETH) return PNG_CORRUPT;
    }
    if (count == PNG_ROWS) job->k->rows(types, from, rows[0], rows + 1, job->stride, job->bpp);
    else
        for (int i = 0; i < count; i++) nova_png_row(types[i], from[i], rows[i], rows[i + 1], job->stride, job->bpp);
    for (int i = 0; i < count; i++) enter(job, rows[i + 1]);
    uint8_t *above = rows[count];
    rows[count] = rows[0];
    rows[0] = above;
    for (int i = 0; i < job->count; i++) emit(job, &job->targets[i]);
    return PNG_OK;
}

int nova_png_feed(NovaPngJob *job, const uint8_t *data, size_t size) {
    while (size && job->done < job->height) {
        const int rest = job->height - job->done, count = rest < PNG_ROWS ? rest : PNG_ROWS;
        const size_t whole = (size_t)count * (job->stride + 1);
        const uint8_t *from = data;
        size_t used = whole;
        if (job->staged_size || size < whole) {
            used = whole - job->staged_size < size ? whole - job->staged_size : size;
            memcpy(job->staged + job->staged_size, data, used);
            job->staged_size += used;
            from = job->staged;
        }
        data += used;
        size -= used;
        if (from == job->staged && job->staged_size < whole) return PNG_OK;
        job->staged_size = 0;
        const int rc = group(job, from, count);
        if (rc) return rc;
    }
    return PNG_OK;
}
