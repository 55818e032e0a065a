/* Entropy decoding (ITU-T T.81, F.2.2 and G.2): included by jpeg_entropy.c and, with other instructions, by jpeg_entropy_avx2.c.
 *
 * The reader holds 56 bits or more after each fill, so that four looked-up symbols, or two of any kind, need no further one. It is
 * checked against the end once for each MCU: `guard` leaves room for the largest (JPEG_MAX_MCU_BYTES). What lies behind the end are
 * bytes of this job's own buffer; who read them is found out at the next MCU, or at the end of the interval. */
#include "nova_jpeg.h"
#include <string.h>

#define ALWAYS static inline __attribute__((always_inline))
#define LIKELY(x) __builtin_expect(!!(x), 1)
#define RARELY(x) __builtin_expect(!!(x), 0)

typedef struct {
    uint64_t bits; /* the next one on top */
    int count;     /* of them */
    const uint8_t *p;
} Reader;

ALWAYS Reader load(const NovaJpegStream *s) { return (Reader){s->bits, s->count, s->p}; }
ALWAYS void save(NovaJpegStream *s, Reader r) {
    s->bits = r.bits;
    s->count = r.count;
    s->p = r.p;
}

ALWAYS void fill(Reader *r) {
    uint64_t word;
    memcpy(&word, r->p, 8);
    r->bits |= __builtin_bswap64(word) >> r->count;
    r->p += (63 - r->count) >> 3;
    r->count |= 56;
}

ALWAYS void drop(Reader *r, int n) {
    r->bits <<= n & 63;
    r->count -= n;
}

/* 0 to 16 bits of those that are there. */
ALWAYS uint32_t take(Reader *r, int n) {
    uint32_t value = (uint32_t)((r->bits >> 1) >> (63 - n));
    drop(r, n);
    return value;
}

/* EXTEND (F.2.2.1): the value that `n` bits stand for. */
ALWAYS int32_t take_value(Reader *r, int n) {
    int32_t value = (int32_t)take(r, n);
    return n && value < 1 << (n - 1) ? value - (1 << n) + 1 : value;
}

/* A symbol whose code may be long; -1: no such code. */
static int long_symbol(Reader *r, const NovaJpegLong *t) {
    uint32_t bits = (uint32_t)(r->bits >> 48);
    for (int length = 1; length <= 16; length++) {
        int32_t code = (int32_t)(bits >> (16 - length));
        if (code <= t->maxcode[length]) {
            drop(r, length);
            return t->values[(t->offset[length] + code) & 255];
        }
    }
    return -1;
}

ALWAYS int symbol_of(Reader *r, uint32_t e, const NovaJpegLong *t) {
    if (e & 63) {
        drop(r, (int)(e & 63));
        return (int)(e >> 16 & 0xFF);
    }
    return long_symbol(r, t);
}

/* The DC difference; bits for it are there. JPEG_CORRUPT by *bad. */
ALWAYS int32_t difference(Reader *r, const NovaJpegDc *t, int *bad) {
    uint32_t e = t->look[r->bits >> (64 - JPEG_DC_BITS)];
    if (LIKELY(e & 0xFF00)) {
        drop(r, (int)(e & 63));
        return (int32_t)e >> 16;
    }
    int symbol = symbol_of(r, e, &t->rest);
    if (RARELY(symbol < 0)) {
        *bad = 1;
        return 0;
    }
    return take_value(r, symbol);
}

/* AC coefficients behind `k` up to the end of the block, for their bits alone. Nonzero: corrupt. */
ALWAYS int skip_ac(Reader *r, const NovaJpegAc *t, int k) {
    for (;;) {
        fill(r);
        uint32_t e = t->skip[r->bits >> (64 - JPEG_AC_BITS)];
        int next = k + (int)(e >> 6 & 127);
        if (LIKELY(e && next < 63)) {
            drop(r, (int)(e & 63));
            if (e >> 15) return 0;
            k = next;
            e = t->skip[r->bits >> (64 - JPEG_AC_BITS)];
            next = k + (int)(e >> 6 & 127);
            if (LIKELY(e && next < 63)) {
                drop(r, (int)(e & 63));
                if (e >> 15) return 0;
                k = next;
                continue;
            }
            fill(r);
        }
        uint32_t one = t->look[r->bits >> (64 - JPEG_AC_BITS)];
        int step = (int)(one >> 8 & 0xFF);
        if (step) {
            drop(r, (int)(one & 63));
            if (step == JPEG_EOB) return 0;
            k += step;
        } else {
            int symbol = symbol_of(r, one, &t->rest);
            if (symbol == 0) return 0;
            if (symbol < 0 || ((symbol & 15) == 0 && symbol != 0xF0)) return 1;
            drop(r, symbol & 15);
            k += (symbol >> 4) + 1;
        }
        if (k >= 63) return k > 63;
    }
}

/* AC coefficients of a block: those up to `last` go dequantised to their places. Returns the index of the last one stored, -1: corrupt. */
ALWAYS int read_ac(Reader *r, const NovaJpegAc *t, int last, const uint16_t *q, int16_t *block) {
    int k = 0, stored = 0;
    for (;;) {
        fill(r);
        for (int i = 0; i < 4; i++) {
            uint32_t e = t->look[r->bits >> (64 - JPEG_AC_BITS)];
            int step = (int)(e >> 8 & 0xFF);
            if (RARELY(step == 0)) {
                fill(r);
                int symbol = symbol_of(r, e, &t->rest);
                if (symbol < 0) return -1;
                if ((symbol & 15) == 0) {
                    if (symbol == 0) return stored;
                    if (symbol != 0xF0) return -1;
                }
                int32_t value = take_value(r, symbol & 15);
                k += (symbol >> 4) + 1;
                if (k > 63) return -1;
                block[nova_jpeg_zigzag[k]] = (int16_t)(value * q[k]);
                stored = k;
                if (k >= last) goto behind;
                break;
            }
            drop(r, (int)(e & 63));
            k += step;
            if (k >= last) {
                if (k > 63) return step == JPEG_EOB ? stored : -1;
                block[nova_jpeg_zigzag[k]] = (int16_t)(((int32_t)e >> 16) * q[k]);
                stored = k;
                goto behind;
            }
            block[nova_jpeg_zigzag[k]] = (int16_t)(((int32_t)e >> 16) * q[k]);
            stored = k;
        }
    }
behind:
    if (k == 63) return 63;
    return skip_ac(r, t, k) ? -1 : stored;
}

/* A block's place in the MCU, with all that its row shares. */
typedef struct {
    const NovaJpegDc *dc;
    const NovaJpegAc *ac;
    const uint16_t *q;
    uint32_t *pred;
    uint8_t *to; /* of the next MCU */
    ptrdiff_t pitch, step;
    int n, last;
} Place;

/* One row of MCUs of a scan that holds every component, through the inverse transform into the strips. */
static int mcu_row(NovaJpegFile *f, uint32_t row) {
    NovaJpegStream *s = &f->stream;
    Reader r = load(s);
    Place places[JPEG_MAX_BLOCKS];
    int count = 0, rc;
    const int seen_row = row >= f->y0 && row < f->y1;
    void (*const idct)(const int16_t *, uint8_t *, ptrdiff_t, int) = f->k->idct;
    for (int i = 0; i < f->components; i++) {
        NovaJpegComponent *c = &f->c[i];
        for (uint32_t y = 0; y < c->v; y++)
            for (uint32_t x = 0; x < c->h; x++) {
                const uint32_t line = seen_row ? ((row - f->y0) * c->v + y) * c->n % c->ring : 0;
                places[count++] = (Place){f->dc[c->dc], f->ac[c->ac], c->q, &f->pred[i], c->strip + (size_t)line * c->pitch + x * c->n,
                                          (ptrdiff_t)c->pitch, (ptrdiff_t)c->h * c->n, c->n, c->last};
            }
    }
    for (uint32_t column = 0; column < f->mcus_w; column++) {
        if (RARELY(f->restart && f->left == 0)) {
            save(s, r);
            if ((rc = nova_jpeg_restart(f))) return rc;
            r = load(s);
        }
        f->left--;
        if (RARELY(r.p > s->guard)) {
            save(s, r);
            if ((rc = nova_jpeg_more(f))) return rc;
            r = load(s);
        }
        const int seen = seen_row && column >= f->x0 && column < f->x1;
        int reached[JPEG_MAX_BLOCKS], bad = 0;
        for (int i = 0; i < count; i++) {
            const Place *p = &places[i];
            int16_t *block = f->blocks + 64 * i;
            fill(&r);
            const uint32_t dc = *p->pred += (uint32_t)difference(&r, p->dc, &bad);
            reached[i] = 0;
            if (!seen || p->last == 0) {
                block[0] = (int16_t)(dc * p->q[0]);
                if (RARELY(skip_ac(&r, p->ac, 0))) return JPEG_CORRUPT;
                continue;
            }
            block[0] = (int16_t)(dc * p->q[0]);
            reached[i] = read_ac(&r, p->ac, p->last, p->q, block);
            if (RARELY(reached[i] < 0)) return JPEG_CORRUPT;
        }
        if (RARELY(bad)) return JPEG_CORRUPT;
        if (!seen) continue;
        for (int i = 0; i < count; i++) {
            Place *p = &places[i];
            int16_t *block = f->blocks + 64 * i;
            if (reached[i] == 0) {
                int32_t flat = ((block[0] + 4) >> 3) + 128;
                flat = flat < 0 ? 0 : flat > 255 ? 255 : flat;
                const uint64_t eight = (uint64_t)flat * 0x0101010101010101u;
                for (int y = 0; y < p->n; y++) memcpy(p->to + y * p->pitch, &eight, 8);
            } else {
                idct(block, p->to, p->pitch, p->n);
                memset(block, 0, 128);
            }
            p->to += p->step;
        }
    }
    save(s, r);
    return JPEG_OK;
}

/* -- scans into coefficients ------------------------------------------------------------------------------------------- */

ALWAYS int ready(NovaJpegFile *f, Reader *r) {
    int rc = JPEG_OK;
    if (RARELY(f->restart && f->left == 0)) {
        save(&f->stream, *r);
        if ((rc = nova_jpeg_restart(f))) return rc;
        *r = load(&f->stream);
    }
    f->left--;
    if (RARELY(r->p > f->stream.guard)) {
        save(&f->stream, *r);
        if ((rc = nova_jpeg_more(f))) return rc;
        *r = load(&f->stream);
    }
    return rc;
}

/* G.2.2 with EOB runs, and F.2.2.2 without. Nonzero: corrupt. */
ALWAYS int first_ac(NovaJpegFile *f, Reader *r, const NovaJpegAc *t, NovaJpegComponent *c, size_t at) {
    const int se = f->scan.se, al = f->scan.al;
    int k = f->scan.ss ? f->scan.ss - 1 : 0;
    int16_t *coef = c->coef + at * c->stride;
    uint64_t mask = 0;
    if (k == se) return 0; /* sequential, of DC alone: there is none such */
    for (;;) {
        fill(r);
        uint32_t e = t->look[r->bits >> (64 - JPEG_AC_BITS)];
        int step = (int)(e >> 8 & 0xFF);
        int32_t value;
        if (LIKELY(step)) {
            drop(r, (int)(e & 63));
            if (step == JPEG_EOB) break;
            value = (int32_t)e >> 16;
        } else {
            int symbol = symbol_of(r, e, &t->rest), size = symbol & 15, run = symbol >> 4;
            if (symbol < 0) return 1;
            if (size == 0 && run < 15) {
                if (run && !f->progressive) return 1;
                f->eobrun = (1u << run) + take(r, run) - 1;
                break;
            }
            value = take_value(r, size);
            step = run + 1;
        }
        k += step;
        if (RARELY(k > se)) return 1;
        if (value) {
            mask |= 1ull << k;
            if (k <= c->last) coef[k] = (int16_t)((uint32_t)value << al);
        }
        if (k == se) break;
    }
    if (mask) c->mask[at] |= mask;
    return 0;
}

/* A bit more of coefficients that are known (G.1.2.3). */
ALWAYS void correct(Reader *r, NovaJpegComponent *c, int16_t *coef, uint64_t known, int al) {
    while (known) {
        int k = __builtin_ctzll(known);
        known &= known - 1;
        if (RARELY(r->count < 1)) fill(r);
        if (take(r, 1) && k <= c->last && !(coef[k] & 1 << al))
            coef[k] = (int16_t)(coef[k] >= 0 ? coef[k] + (1 << al) : coef[k] - (1 << al));
    }
}

ALWAYS uint64_t from_to(int first, int last) { return (~0ull >> (63 - last)) & (~0ull << first); }

ALWAYS int refine_ac(NovaJpegFile *f, Reader *r, const NovaJpegAc *t, NovaJpegComponent *c, size_t at) {
    const int se = f->scan.se, al = f->scan.al;
    int k = f->scan.ss;
    int16_t *coef = c->coef + at * c->stride;
    uint64_t mask = c->mask[at], fresh = 0;
    if (f->eobrun == 0) {
        while (k <= se) {
            fill(r);
            uint32_t e = t->look[r->bits >> (64 - JPEG_AC_BITS)];
            int symbol, run, size;
            int32_t value = 0;
            /* The looked-up form has read the sign already: give its meaning back. */
            int step = (int)(e >> 8 & 0xFF);
            if (step == JPEG_EOB) {
                drop(r, (int)(e & 63));
                break;
            }
            if (step) {
                drop(r, (int)(e & 63));
                run = step - 1;
                value = (int32_t)e >> 16;
                if (value > 1 || value < -1) return 1;
                size = value != 0;
            } else {
                symbol = symbol_of(r, e, &t->rest);
                if (symbol < 0) return 1;
                run = symbol >> 4;
                size = symbol & 15;
                if (size > 1) return 1;
                if (size == 0 && run < 15) {
                    f->eobrun = (1u << run) + take(r, run);
                    break;
                }
                if (size) value = take(r, 1) ? 1 : -1;
            }
            /* Over `run` zeros, correcting what is known on the way; a ZRL is 15 of them and one more. */
            uint64_t zeros = ~mask & from_to(k, se);
            for (int i = 0; i < run && zeros; i++) zeros &= zeros - 1;
            int to = zeros ? __builtin_ctzll(zeros) : se + 1;
            if (to > k) {
                uint64_t known = mask & from_to(k, to - 1);
                fill(r);
                correct(r, c, coef, known, al);
            }
            if (size) {
                if (to > se) return 1;
                fresh |= 1ull << to;
                if (to <= c->last) coef[to] = (int16_t)(value > 0 ? 1 << al : -(1 << al));
            }
            k = to + 1;
        }
    }
    if (f->eobrun) {
        if (k <= se) {
            uint64_t known = mask & from_to(k, se);
            if (known) {
                fill(r);
                correct(r, c, coef, known, al);
            }
        }
        f->eobrun--;
    } else if (k <= se) { /* EOB0: the rest is corrected all the same */
        uint64_t known = mask & from_to(k, se);
        if (known) {
            fill(r);
            correct(r, c, coef, known, al);
        }
    }
    if (fresh) c->mask[at] = mask | fresh;
    return 0;
}

ALWAYS int dc_block(NovaJpegFile *f, Reader *r, int which, size_t at) {
    NovaJpegComponent *c = &f->c[which];
    int16_t *coef = c->coef + at * c->stride;
    int bad = 0;
    fill(r);
    if (f->scan.ah) {
        if (take(r, 1)) *coef |= (int16_t)(1 << f->scan.al);
        return 0;
    }
    f->pred[which] += (uint32_t)difference(r, f->dc[c->dc], &bad);
    *coef = (int16_t)(f->pred[which] << f->scan.al);
    if (!f->progressive && first_ac(f, r, f->ac[c->ac], c, at)) return 1;
    return bad;
}

/* A whole scan into coefficients: DC (and, sequential, AC) of one or more components, or AC of one. */
static int whole_scan(NovaJpegFile *f) {
    const NovaJpegScan *scan = &f->scan;
    Reader r = load(&f->stream);
    int rc;
    if (scan->count > 1) {
        for (uint32_t y = 0; y < f->mcus_h; y++) {
            if (nova_jpeg_late(f)) return JPEG_DEADLINE;
            for (uint32_t x = 0; x < f->mcus_w; x++) {
                if ((rc = ready(f, &r))) return rc;
                for (int i = 0; i < scan->count; i++) {
                    NovaJpegComponent *c = &f->c[scan->at[i]];
                    for (uint32_t j = 0; j < c->v; j++)
                        for (uint32_t k = 0; k < c->h; k++)
                            if (dc_block(f, &r, scan->at[i], (size_t)(y * c->v + j) * c->padded_w + x * c->h + k)) return JPEG_CORRUPT;
                }
            }
        }
    } else {
        NovaJpegComponent *c = &f->c[scan->at[0]];
        for (uint32_t y = 0; y < c->blocks_h; y++) {
            if (nova_jpeg_late(f)) return JPEG_DEADLINE;
            size_t at = (size_t)y * c->padded_w;
            for (uint32_t x = 0; x < c->blocks_w; x++, at++) {
                if (scan->ss && f->eobrun && !scan->ah) { /* blocks without anything new, all at once */
                    uint32_t n = c->blocks_w - x < f->eobrun ? c->blocks_w - x : f->eobrun;
                    if (f->restart && n > f->left) n = f->left;
                    if (n) {
                        f->eobrun -= n;
                        f->left -= n;
                        x += n - 1;
                        at += n - 1;
                        continue;
                    }
                }
                if (scan->ah && scan->ss) { /* those of a run without anything to correct */
                    const uint64_t band = from_to(scan->ss, scan->se);
                    while (f->eobrun > 0 && x < c->blocks_w && !(c->mask[at] & band) && !(f->restart && f->left == 0)) {
                        f->eobrun--;
                        f->left--;
                        x++;
                        at++;
                    }
                    if (x == c->blocks_w) break;
                }
                if ((rc = ready(f, &r))) return rc;
                if (!scan->ss) {
                    if (dc_block(f, &r, scan->at[0], at)) return JPEG_CORRUPT;
                } else if (scan->ah) {
                    if (refine_ac(f, &r, f->ac[c->ac], c, at)) return JPEG_CORRUPT;
                } else if (first_ac(f, &r, f->ac[c->ac], c, at)) {
                    return JPEG_CORRUPT;
                }
            }
        }
    }
    save(&f->stream, r);
    return nova_jpeg_end_scan(f);
}
