/* From scans to strips of samples: the stream without its stuffing, restart intervals, rows of MCUs (ITU-T T.81, F.2 and G.2). */
#include "nova_jpeg.h"
#include <string.h>
#include <time.h>

int nova_jpeg_late(const NovaJpegFile *f) {
    struct timespec now;
    if (f->deadline <= 0) return 0;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec > f->deadline;
}

/* -- the stream ------------------------------------------------------------------------------------------------------- */

/* Unstuffs what comes next behind the bytes that are still to be read. */
static int draw(NovaJpegFile *f) {
    NovaJpegStream *s = &f->stream;
    size_t kept = (size_t)(s->stop - s->p), used, got;
    memmove(s->room, s->p, kept);
    got = f->k->unstuff(s->from, (size_t)(s->end - s->from), s->room + kept, JPEG_STREAM, &used, &s->marker);
    s->from += used;
    s->p = s->room;
    s->stop = s->room + kept + got;
    /* Who reads behind the end finds the same there, whatever kernel was at work. */
    memset(s->room + kept + got, 0, JPEG_PAD);
    s->whole = s->marker >= 0;
    s->guard = s->whole ? s->stop + 8 : s->stop - JPEG_MAX_MCU_BYTES - 16;
    return JPEG_OK;
}

static int begin_interval(NovaJpegFile *f) {
    NovaJpegStream *s = &f->stream;
    s->bits = 0;
    s->count = 0;
    s->p = s->stop = s->room;
    f->left = f->restart;
    f->eobrun = 0;
    memset(f->pred, 0, sizeof f->pred);
    return draw(f);
}

int nova_jpeg_more(NovaJpegFile *f) {
    if (f->stream.whole) return f->stream.marker ? JPEG_CORRUPT : JPEG_TRUNCATED; /* it read behind the interval's end */
    return draw(f);
}

/* The interval is read: was it within its bytes? Goes on to the marker behind it. */
static int end_interval(NovaJpegFile *f) {
    NovaJpegStream *s = &f->stream;
    while (!s->whole) { /* bytes that nobody asked for */
        s->p = s->stop;
        draw(f);
        s->count = 0;
    }
    if (s->p - (s->count >> 3) > s->stop) return s->marker ? JPEG_CORRUPT : JPEG_TRUNCATED;
    return JPEG_OK;
}

int nova_jpeg_restart(NovaJpegFile *f) {
    int rc = end_interval(f);
    if (rc) return rc;
    if (f->stream.marker != 0xD0 + (int)f->next_restart) return f->stream.marker ? JPEG_CORRUPT : JPEG_TRUNCATED;
    f->next_restart = (f->next_restart + 1) & 7;
    f->stream.from += 2;
    return begin_interval(f);
}

int nova_jpeg_end_scan(NovaJpegFile *f) {
    int rc = end_interval(f);
    if (rc) return rc;
    f->at = (size_t)(f->stream.from - f->data);
    return JPEG_OK;
}

static int needs_dc(const NovaJpegFile *f) { return f->scan.ss == 0 && f->scan.ah == 0; }
static int needs_ac(const NovaJpegFile *f) { return f->scan.se > 0; }

int nova_jpeg_begin_scan(NovaJpegFile *f) {
    NovaJpegStream *s = &f->stream;
    for (int i = 0; i < f->scan.count; i++) {
        NovaJpegComponent *c = &f->c[f->scan.at[i]];
        if (needs_dc(f)) {
            if (!f->dht[0][c->dc].set) return JPEG_CORRUPT;
            if (!f->dc[c->dc] && !(f->dc[c->dc] = nova_jpeg_alloc(f->arena, sizeof(NovaJpegDc)))) return JPEG_MEMORY;
            if (f->dirty[0][c->dc] && nova_jpeg_build_dc(&f->dht[0][c->dc], f->dc[c->dc])) return JPEG_CORRUPT;
            f->dirty[0][c->dc] = 0;
        }
        if (needs_ac(f)) {
            if (!f->dht[1][c->ac].set) return JPEG_CORRUPT;
            if (!f->ac[c->ac] && !(f->ac[c->ac] = nova_jpeg_alloc(f->arena, sizeof(NovaJpegAc)))) return JPEG_MEMORY;
            if (f->dirty[1][c->ac] && nova_jpeg_build_ac(&f->dht[1][c->ac], f->ac[c->ac], !f->progressive)) return JPEG_CORRUPT;
            f->dirty[1][c->ac] = 0;
        }
    }
    if (!s->room && !(s->room = nova_jpeg_alloc(f->arena, JPEG_STREAM + 3 * JPEG_MAX_MCU_BYTES))) return JPEG_MEMORY;
    s->from = f->data + f->at;
    s->end = f->data + f->size;
    f->next_restart = 0;
    return begin_interval(f);
}

/* -- buffered: progressive files, and sequential ones of several scans ------------------------------------------------- */

int nova_jpeg_read_all(NovaJpegFile *f) {
    int rc;
    for (int i = 0; i < f->components; i++) {
        NovaJpegComponent *c = &f->c[i];
        size_t blocks = (size_t)c->padded_w * c->padded_h;
        c->stride = c->last == 0 ? 1 : (c->last + 8u) & ~7u;
        c->coef = nova_jpeg_alloc(f->arena, blocks * c->stride * sizeof(int16_t));
        c->mask = nova_jpeg_alloc(f->arena, blocks * sizeof(uint64_t));
        if (!c->coef || !c->mask) return JPEG_MEMORY;
    }
    do {
        if (nova_jpeg_late(f)) return JPEG_DEADLINE;
        /* A band above all that is needed is read too: a later scan may correct it together with what is (its bits are only there
         * for coefficients that are not zero), and then the mask has to know. */
        if ((rc = nova_jpeg_begin_scan(f)) || (rc = f->k->scan(f)) || (rc = nova_jpeg_next_scan(f))) return rc;
    } while (!f->ended);
    for (int i = 0; i < f->components; i++)
        if (!f->c[i].seen) return JPEG_CORRUPT; /* the file ends before it said anything of it */
    return JPEG_OK;
}

int nova_jpeg_buffered_row(NovaJpegFile *f, uint32_t row) {
    int16_t *block = f->blocks;
    if (nova_jpeg_late(f)) return JPEG_DEADLINE;
    for (int i = 0; i < f->components; i++) {
        NovaJpegComponent *c = &f->c[i];
        const uint64_t needed = ~0ull >> (63 - c->last) & ~1ull;
        for (uint32_t y = 0; y < c->v; y++) {
            size_t at = (size_t)(row * c->v + y) * c->padded_w + (size_t)f->x0 * c->h;
            uint32_t line = ((row - f->y0) * c->v + y) * c->n % c->ring;
            uint8_t *to = c->strip + (size_t)line * c->pitch;
            for (uint32_t x = f->x0 * c->h; x < f->x1 * c->h; x++, at++, to += c->n) {
                const int16_t *coef = c->coef + at * c->stride;
                uint64_t mask = c->mask[at] & needed;
                if (!mask) {
                    int32_t flat = (((int16_t)((uint32_t)coef[0] * c->q[0]) + 4) >> 3) + 128;
                    memset(to, flat < 0 ? 0 : flat > 255 ? 255 : flat, 8);
                    for (int j = 1; j < c->n; j++) memcpy(to + (size_t)j * c->pitch, to, 8);
                    continue;
                }
                memset(block, 0, 128);
                block[0] = (int16_t)((uint32_t)coef[0] * c->q[0]);
                while (mask) {
                    int k = __builtin_ctzll(mask);
                    mask &= mask - 1;
                    block[nova_jpeg_zigzag[k]] = (int16_t)((uint32_t)coef[k] * c->q[k]);
                }
                f->k->idct(block, to, c->pitch, c->n);
            }
        }
    }
    memset(block, 0, 128);
    return JPEG_OK;
}

int nova_jpeg_row(NovaJpegFile *f, uint32_t row) {
    if (nova_jpeg_late(f)) return JPEG_DEADLINE;
    return f->k->mcu_row(f, row);
}
