/* From planes to a JPEG file: sequential or progressive, standard or optimal Huffman codes (ITU-T T.81, annexes F, G and K). */
#include "nova_jpeg.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* K.1 and K.2, natural order. */
static const uint8_t luminance[64] = {16, 11, 10, 16, 24,  40,  51,  61,  12, 12, 14, 19, 26,  58,  60,  55,  14, 13, 16, 24, 40,  57,
                                      69, 56, 14, 17, 22,  29,  51,  87,  80, 62, 18, 22, 37,  56,  68,  109, 103, 77, 24, 35, 55,  64,
                                      81, 104, 113, 92, 49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99};
static const uint8_t chrominance[64] = {17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99,
                                        99, 99, 47, 66, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99,
                                        99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99};
/* K.3 to K.6. */
static const NovaJpegDht standard[2][2] = {
    {{1, {0, 0, 1, 5, 1, 1, 1, 1, 1, 1}, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}},
     {1, {0, 0, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1}, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}}},
    {{1,
      {0, 0, 2, 1, 3, 3, 2, 4, 3, 5, 5, 4, 4, 0, 0, 1, 0x7d},
      {0x01, 0x02, 0x03, 0x00, 0x04, 0x11, 0x05, 0x12, 0x21, 0x31, 0x41, 0x06, 0x13, 0x51, 0x61, 0x07, 0x22, 0x71, 0x14, 0x32, 0x81,
       0x91, 0xa1, 0x08, 0x23, 0x42, 0xb1, 0xc1, 0x15, 0x52, 0xd1, 0xf0, 0x24, 0x33, 0x62, 0x72, 0x82, 0x09, 0x0a, 0x16, 0x17, 0x18,
       0x19, 0x1a, 0x25, 0x26, 0x27, 0x28, 0x29, 0x2a, 0x34, 0x35, 0x36, 0x37, 0x38, 0x39, 0x3a, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48,
       0x49, 0x4a, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58, 0x59, 0x5a, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x73, 0x74, 0x75,
       0x76, 0x77, 0x78, 0x79, 0x7a, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x92, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99,
       0x9a, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xb2, 0xb3, 0xb4, 0xb5, 0xb6, 0xb7, 0xb8, 0xb9, 0xba, 0xc2, 0xc3,
       0xc4, 0xc5, 0xc6, 0xc7, 0xc8, 0xc9, 0xca, 0xd2, 0xd3, 0xd4, 0xd5, 0xd6, 0xd7, 0xd8, 0xd9, 0xda, 0xe1, 0xe2, 0xe3, 0xe4, 0xe5,
       0xe6, 0xe7, 0xe8, 0xe9, 0xea, 0xf1, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8, 0xf9, 0xfa}},
     {1,
      {0, 0, 2, 1, 2, 4, 4, 3, 4, 7, 5, 4, 4, 0, 1, 2, 0x77},
      {0x00, 0x01, 0x02, 0x03, 0x11, 0x04, 0x05, 0x21, 0x31, 0x06, 0x12, 0x41, 0x51, 0x07, 0x61, 0x71, 0x13, 0x22, 0x32, 0x81, 0x08,
       0x14, 0x42, 0x91, 0xa1, 0xb1, 0xc1, 0x09, 0x23, 0x33, 0x52, 0xf0, 0x15, 0x62, 0x72, 0xd1, 0x0a, 0x16, 0x24, 0x34, 0xe1, 0x25,
       0xf1, 0x17, 0x18, 0x19, 0x1a, 0x26, 0x27, 0x28, 0x29, 0x2a, 0x35, 0x36, 0x37, 0x38, 0x39, 0x3a, 0x43, 0x44, 0x45, 0x46, 0x47,
       0x48, 0x49, 0x4a, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58, 0x59, 0x5a, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x73, 0x74,
       0x75, 0x76, 0x77, 0x78, 0x79, 0x7a, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x92, 0x93, 0x94, 0x95, 0x96, 0x97,
       0x98, 0x99, 0x9a, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xb2, 0xb3, 0xb4, 0xb5, 0xb6, 0xb7, 0xb8, 0xb9, 0xba,
       0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7, 0xc8, 0xc9, 0xca, 0xd2, 0xd3, 0xd4, 0xd5, 0xd6, 0xd7, 0xd8, 0xd9, 0xda, 0xe2, 0xe3, 0xe4,
       0xe5, 0xe6, 0xe7, 0xe8, 0xe9, 0xea, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8, 0xf9, 0xfa}}},
};

/* [row][which of its eight are not zero]: the same in zig-zag order. */
static uint64_t spread[8][256];

__attribute__((constructor)) static void fill_spread(void) {
    for (int k = 0; k < 64; k++)
        for (int bits = 0; bits < 256; bits++)
            if (bits >> (nova_jpeg_zigzag[k] & 7) & 1) spread[nova_jpeg_zigzag[k] >> 3][bits] |= 1ull << k;
}

/* -- a bit at a time, or sixty-four ------------------------------------------------------------------------------------- */

typedef struct {
    uint32_t code[256];
    uint8_t length[256];
} Codes;

typedef struct {
    NovaJpegOut *out;
    uint64_t bits;
    int count;    /* of them, at the low end; below 32 between calls */
    int counting; /* symbols are counted in `seen`, nothing is written */
    int failed;
    uint32_t seen[257];
    const Codes *codes;
} Writer;

static int room(Writer *w, size_t bytes) {
    NovaJpegOut *o = w->out;
    if (o->cap - o->size >= bytes) return 1;
    size_t cap = o->cap * 2 + bytes + 16384;
    uint8_t *grown = realloc(o->data, cap);
    if (!grown) {
        w->failed = 1;
        return 0;
    }
    o->data = grown;
    o->cap = cap;
    return 1;
}

/* 0 to 32 bits. Room is the caller's: 8 bytes a call at most. */
static inline void put(Writer *w, uint32_t value, int n) {
    w->bits = w->bits << n | value;
    w->count += n;
    if (w->count >= 32) {
        NovaJpegOut *o = w->out;
        w->count -= 32;
        uint32_t four = (uint32_t)(w->bits >> w->count);
        if (four & 0x80808080u & ~(four + 0x01010101u)) { /* perhaps 0xFF among them */
            for (int shift = 24; shift >= 0; shift -= 8) {
                uint8_t byte = (uint8_t)(four >> shift);
                o->data[o->size++] = byte;
                if (byte == 0xFF) o->data[o->size++] = 0;
            }
        } else {
            four = __builtin_bswap32(four);
            memcpy(o->data + o->size, &four, 4);
            o->size += 4;
        }
    }
}

static void finish(Writer *w) {
    if (w->counting || !room(w, 32)) return;
    if (w->count & 7) put(w, (1u << (8 - (w->count & 7))) - 1, 8 - (w->count & 7)); /* ones (F.1.2.3) */
    while (w->count >= 8) {
        w->count -= 8;
        uint8_t byte = (uint8_t)(w->bits >> w->count);
        w->out->data[w->out->size++] = byte;
        if (byte == 0xFF) w->out->data[w->out->size++] = 0;
    }
    w->bits = 0;
    w->count = 0;
}

static inline int size_of(uint32_t magnitude) { return magnitude ? 32 - __builtin_clz(magnitude) : 0; }

/* -- codes (annex C, K.2) ------------------------------------------------------------------------------------------------ */

static void make_codes(const NovaJpegDht *raw, Codes *to) {
    uint32_t code = 0;
    int at = 0;
    memset(to, 0, sizeof *to);
    for (int length = 1; length <= 16; length++, code <<= 1)
        for (int i = 0; i < raw->counts[length]; i++, at++) {
            to->code[raw->values[at]] = code++;
            to->length[raw->values[at]] = (uint8_t)length;
        }
}

/* K.2: code lengths from how often each symbol was seen, none above 16, none of ones alone. */
static void optimal(const uint32_t counted[257], NovaJpegDht *to) {
    uint32_t seen[257];
    int size[257] = {0}, other[257], bits[300] = {0};
    memcpy(seen, counted, sizeof seen);
    memset(to, 0, sizeof *to);
    to->set = 1;
    seen[256] = 1;
    for (int i = 0; i < 257; i++) other[i] = -1;
    for (;;) {
        int a = -1, b = -1;
        for (int i = 0; i < 257; i++) { /* the least, and of equals the highest */
            if (!seen[i]) continue;
            if (a < 0 || seen[i] <= seen[a]) {
                b = a;
                a = i;
            } else if (b < 0 || seen[i] <= seen[b]) {
                b = i;
            }
        }
        if (b < 0) break;
        seen[a] += seen[b];
        seen[b] = 0;
        for (size[a]++; other[a] >= 0; size[a]++) a = other[a];
        other[a] = b;
        for (size[b]++; other[b] >= 0; size[b]++) b = other[b];
    }
    for (int i = 0; i < 257; i++)
        if (size[i]) bits[size[i]]++;
    for (int i = 299; i > 16; i--)
        while (bits[i] > 0) {
            int j = i - 2;
            while (!bits[j]) j--;
            bits[i] -= 2;
            bits[i - 1]++;
            bits[j + 1] += 2;
            bits[j]--;
        }
    int longest = 16, at = 0;
    while (longest && !bits[longest]) longest--;
    bits[longest]--;
    for (int i = 1; i <= 16; i++) to->counts[i] = (uint8_t)bits[i];
    for (int length = 1; length < 257; length++)
        for (int i = 0; i < 256; i++)
            if (size[i] == length) to->values[at++] = (uint8_t)i;
}

/* -- an encoding ---------------------------------------------------------------------------------------------------------- */

typedef struct {
    const NovaJpegKernels *k;
    const NovaJpegPlane *planes;
    const NovaJpegOptions *options;
    int count, sub, mcus_w, mcus_h, mcu_blocks;
    uint8_t q[2][64];                                         /* natural order */
    float reciprocal[2][64] __attribute__((aligned(32)));
    int16_t *coef[3];                                         /* of one row of MCUs, or of all (whole) */
    int whole, w[3], h[3];                                    /* blocks a row and rows, padded to MCUs */
    int real_w[3], real_h[3];                                 /* blocks of a scan of its own */
    NovaJpegDht dht[2][2];
    Codes codes[2][2];
    Writer writer;
} Encoding;

static void set_quality(Encoding *e, int quality) {
    const int scale = quality < 50 ? 5000 / quality : 200 - 2 * quality; /* as libjpeg has it */
    for (int t = 0; t < 2; t++)
        for (int i = 0; i < 64; i++) {
            int q = ((t ? chrominance : luminance)[i] * scale + 50) / 100;
            q = q < 1 ? 1 : q > 255 ? 255 : q;
            e->q[t][i] = (uint8_t)q;
            e->reciprocal[t][i] = 1.0f / (16.0f * (float)q);
        }
}

static int across(const Encoding *e, int c) { return c == 0 ? e->sub : 1; }

/* The quantised coefficients of a row of MCUs. */
static void transform_row(Encoding *e, int row) {
    int16_t raw[64] __attribute__((aligned(32)));
    for (int c = 0; c < e->count; c++) {
        const NovaJpegPlane *p = &e->planes[c];
        const int v = across(e, c);
        for (int y = 0; y < v; y++) {
            int line = row * v + y;
            int16_t *to = e->coef[c] + (size_t)(e->whole ? line : y) * (size_t)e->w[c] * 64;
            int top = line * 8 < p->rows ? line * 8 : p->rows - 8;
            const uint8_t *from = p->data + (size_t)top * (size_t)p->pitch;
            for (int x = 0; x < e->w[c]; x++, to += 64) {
                e->k->fdct(from + 8 * x, p->pitch, raw);
                e->k->quantise(raw, e->reciprocal[c > 0], to);
            }
        }
    }
}

static uint64_t nonzero(const int16_t *coef) {
    uint64_t mask = 0;
#ifdef __SSE2__
    const __m128i zero = _mm_setzero_si128();
    for (int row = 0; row < 8; row += 2) {
        __m128i a = _mm_cmpeq_epi16(_mm_loadu_si128((const __m128i *)(coef + 8 * row)), zero);
        __m128i b = _mm_cmpeq_epi16(_mm_loadu_si128((const __m128i *)(coef + 8 * row + 8)), zero);
        uint32_t both = (uint32_t)_mm_movemask_epi8(_mm_packs_epi16(a, b)) ^ 0xFFFF;
        mask |= spread[row][both & 255] | spread[row + 1][both >> 8];
    }
#else
    for (int k = 0; k < 64; k++) mask |= (uint64_t)(coef[nova_jpeg_zigzag[k]] != 0) << k;
#endif
    return mask;
}

/* One block, sequential (F.1.2): the difference to `before`, runs and values. */
static inline __attribute__((always_inline)) void block(Writer *w, const int16_t *coef, int *before, const Codes *dc, const Codes *ac,
                                                        uint32_t *seen_dc, uint32_t *seen_ac, const int counting) {
    int32_t value = coef[0] - *before, sign = value >> 31;
    int size = size_of((uint32_t)((value ^ sign) - sign)), last = 0;
    uint64_t mask = nonzero(coef) & ~1ull;
    *before = coef[0];
    if (counting) seen_dc[size]++;
    else put(w, dc->code[size] << size | ((uint32_t)(value + sign) & ((1u << size) - 1)), dc->length[size] + size);
    while (mask) {
        int k = __builtin_ctzll(mask), run = k - last - 1;
        mask &= mask - 1;
        last = k;
        for (; run > 15; run -= 16) {
            if (counting) seen_ac[0xF0]++;
            else put(w, ac->code[0xF0], ac->length[0xF0]);
        }
        value = coef[nova_jpeg_zigzag[k]];
        sign = value >> 31;
        size = size_of((uint32_t)((value ^ sign) - sign));
        int symbol = run << 4 | size;
        if (counting) seen_ac[symbol]++;
        else put(w, ac->code[symbol] << size | ((uint32_t)(value + sign) & ((1u << size) - 1)), ac->length[symbol] + size);
    }
    if (last != 63) {
        if (counting) seen_ac[0]++;
        else put(w, ac->code[0], ac->length[0]);
    }
}

static inline __attribute__((always_inline)) void emit_row(Encoding *e, int row, int before[3], uint32_t seen[2][2][257], const int counting) {
    for (int x = 0; x < e->mcus_w; x++) {
        if (!counting && !room(&e->writer, 6 * 512)) return;
        for (int c = 0; c < e->count; c++) {
            const int v = across(e, c), t = c > 0;
            for (int y = 0; y < v; y++) {
                const int16_t *coef = e->coef[c] + ((size_t)(e->whole ? row * v + y : y) * (size_t)e->w[c] + (size_t)(x * v)) * 64;
                for (int i = 0; i < v; i++, coef += 64)
                    block(&e->writer, coef, &before[c], &e->codes[0][t], &e->codes[1][t], counting ? seen[0][t] : NULL,
                          counting ? seen[1][t] : NULL, counting);
            }
        }
    }
}

/* -- segments (B.2) ------------------------------------------------------------------------------------------------------- */

static void byte(Writer *w, int v) {
    if (room(w, 1)) w->out->data[w->out->size++] = (uint8_t)v;
}
static void word(Writer *w, int v) {
    byte(w, v >> 8);
    byte(w, v & 255);
}
static void bytes(Writer *w, const void *p, size_t n) {
    if (!n || !room(w, n)) return;
    memcpy(w->out->data + w->out->size, p, n);
    w->out->size += n;
}

static void write_dht(Writer *w, int class, int slot, const NovaJpegDht *t) {
    int total = 0;
    for (int i = 1; i <= 16; i++) total += t->counts[i];
    word(w, 0xFFC4);
    word(w, 2 + 17 + total);
    byte(w, class << 4 | slot);
    bytes(w, t->counts + 1, 16);
    bytes(w, t->values, (size_t)total);
}

/* EXIF with one tag: who holds the rights. */
static void write_copyright(Writer *w, const uint8_t *text, size_t size) {
    static const uint8_t head[] = {'E', 'x', 'i', 'f', 0, 0, 'M', 'M', 0, 42, 0, 0, 0, 8, 0, 1, 0x82, 0x98, 0, 2};
    word(w, 0xFFE1);
    word(w, (int)(2 + sizeof head + 12 + (size + 1 < 4 ? 4 : size + 1)));
    bytes(w, head, sizeof head);
    word(w, 0);
    word(w, (int)size + 1);
    if (size + 1 > 4) {
        word(w, 0);
        word(w, 26);
        word(w, 0); /* no further directory */
        word(w, 0);
        bytes(w, text, size);
        byte(w, 0);
    } else {
        for (size_t i = 0; i < 4; i++) byte(w, i < size ? text[i] : 0);
        word(w, 0);
        word(w, 0);
        word(w, 0); /* the length above counts four more */
        word(w, 0);
    }
}

static void write_head(Encoding *e) {
    Writer *w = &e->writer;
    const NovaJpegOptions *o = e->options;
    static const uint8_t jfif[] = {0xFF, 0xD8, 0xFF, 0xE0, 0, 16, 'J', 'F', 'I', 'F', 0, 1, 1, 0, 0, 1, 0, 1, 0, 0};
    bytes(w, jfif, sizeof jfif);
    if (o->copyright_size) write_copyright(w, o->copyright, o->copyright_size);
    const size_t piece = 65519;
    for (size_t at = 0, i = 1; at < o->icc_size; at += piece, i++) {
        size_t n = o->icc_size - at < piece ? o->icc_size - at : piece;
        word(w, 0xFFE2);
        word(w, (int)n + 16);
        bytes(w, "ICC_PROFILE", 12);
        byte(w, (int)i);
        byte(w, (int)((o->icc_size + piece - 1) / piece));
        bytes(w, o->icc + at, n);
    }
    for (int t = 0; t < (e->count > 1 ? 2 : 1); t++) {
        word(w, 0xFFDB);
        word(w, 67);
        byte(w, t);
        for (int k = 0; k < 64; k++) byte(w, e->q[t][nova_jpeg_zigzag[k]]);
    }
    word(w, o->progressive ? 0xFFC2 : 0xFFC0);
    word(w, 8 + 3 * e->count);
    byte(w, 8);
    word(w, e->planes[0].height);
    word(w, e->planes[0].width);
    byte(w, e->count);
    for (int c = 0; c < e->count; c++) {
        byte(w, c + 1);
        byte(w, across(e, c) << 4 | across(e, c));
        byte(w, c > 0);
    }
}

static void write_sos(Encoding *e, int first, int count, int ss, int se, int ah, int al) {
    Writer *w = &e->writer;
    word(w, 0xFFDA);
    word(w, 6 + 2 * count);
    byte(w, count);
    for (int c = first; c < first + count; c++) {
        byte(w, c + 1);
        byte(w, (c > 0) << 4 | (c > 0));
    }
    byte(w, ss);
    byte(w, se);
    byte(w, ah << 4 | al);
}

/* -- progressive (annex G) ------------------------------------------------------------------------------------------------- */

typedef struct {
    Writer *w;
    uint32_t eobrun;
    int kept; /* correction bits that wait for the run's end */
    uint8_t bits[1024];
} Run;

static void symbol(Writer *w, int s) {
    if (w->counting) w->seen[s]++;
    else if (room(w, 16)) put(w, w->codes->code[s], w->codes->length[s]);
}
static void raw_bits(Writer *w, uint32_t value, int n) {
    if (!w->counting && n && room(w, 16)) put(w, value & ((1u << n) - 1), n);
}

static void end_run(Run *r) {
    if (r->eobrun) {
        int n = size_of(r->eobrun) - 1;
        symbol(r->w, n << 4);
        raw_bits(r->w, r->eobrun, n);
        r->eobrun = 0;
        for (int i = 0; i < r->kept; i++) raw_bits(r->w, r->bits[i], 1);
        r->kept = 0;
    }
}

static void first_block(Run *r, const int16_t *coef, int ss, int se, int al) {
    int run = 0;
    for (int k = ss; k <= se; k++) {
        int32_t value = coef[nova_jpeg_zigzag[k]], sign = value >> 31;
        uint32_t magnitude = (uint32_t)((value ^ sign) - sign) >> al;
        if (!magnitude) {
            run++;
            continue;
        }
        end_run(r);
        for (; run > 15; run -= 16) symbol(r->w, 0xF0);
        int size = size_of(magnitude);
        symbol(r->w, run << 4 | size);
        raw_bits(r->w, sign ? ~magnitude : magnitude, size);
        run = 0;
    }
    if (run && ++r->eobrun == 0x7FFF) end_run(r);
}

static void refine_block(Run *r, const int16_t *coef, int ss, int se, int al) {
    uint32_t magnitude[64];
    int run = 0, last = 0, own = 0; /* own: correction bits of this block since its last symbol */
    uint8_t held[64];
    for (int k = ss; k <= se; k++) {
        int32_t value = coef[nova_jpeg_zigzag[k]], sign = value >> 31;
        magnitude[k] = (uint32_t)((value ^ sign) - sign) >> al;
        if (magnitude[k] == 1) last = k;
    }
    for (int k = ss; k <= se; k++) {
        if (!magnitude[k]) {
            run++;
            continue;
        }
        for (; run > 15 && k <= last; run -= 16) {
            end_run(r);
            symbol(r->w, 0xF0);
            for (int i = 0; i < own; i++) raw_bits(r->w, held[i], 1);
            own = 0;
        }
        if (magnitude[k] > 1) {
            held[own++] = magnitude[k] & 1;
            continue;
        }
        end_run(r);
        symbol(r->w, run << 4 | 1);
        raw_bits(r->w, coef[nova_jpeg_zigzag[k]] > 0, 1);
        for (int i = 0; i < own; i++) raw_bits(r->w, held[i], 1);
        own = 0;
        run = 0;
    }
    if (run || own) {
        r->eobrun++;
        memcpy(r->bits + r->kept, held, (size_t)own);
        r->kept += own;
        if (r->eobrun == 0x7FFF || r->kept > 1024 - 64) end_run(r);
    }
}

static void ac_pass(Encoding *e, int c, int ss, int se, int ah, int al) {
    Run run = {.w = &e->writer};
    for (int y = 0; y < e->real_h[c]; y++) {
        const int16_t *coef = e->coef[c] + (size_t)y * (size_t)e->w[c] * 64;
        for (int x = 0; x < e->real_w[c]; x++, coef += 64) {
            if (ah) refine_block(&run, coef, ss, se, al);
            else first_block(&run, coef, ss, se, al);
        }
    }
    end_run(&run);
    finish(&e->writer);
}

static void ac_scan(Encoding *e, int c, int ss, int se, int ah, int al) {
    NovaJpegDht table;
    Codes codes;
    if (c >= e->count) return;
    memset(e->writer.seen, 0, sizeof e->writer.seen);
    e->writer.counting = 1;
    ac_pass(e, c, ss, se, ah, al);
    e->writer.counting = 0;
    optimal(e->writer.seen, &table);
    make_codes(&table, &codes);
    e->writer.codes = &codes;
    write_dht(&e->writer, 1, c > 0, &table);
    write_sos(e, c, 1, ss, se, ah, al);
    ac_pass(e, c, ss, se, ah, al);
    e->writer.codes = NULL;
}

static void dc_pass(Encoding *e, uint32_t seen[2][257], const Codes codes[2], int ah, int al) {
    Writer *w = &e->writer;
    int before[3] = {0, 0, 0};
    for (int y = 0; y < e->mcus_h; y++)
        for (int x = 0; x < e->mcus_w; x++) {
            if (!seen && !room(w, 256)) return;
            for (int c = 0; c < e->count; c++)
                for (int j = 0; j < across(e, c); j++)
                    for (int i = 0; i < across(e, c); i++) {
                        const int v = across(e, c);
                        int32_t dc = e->coef[c][((size_t)(y * v + j) * (size_t)e->w[c] + (size_t)(x * v + i)) * 64] >> al;
                        if (ah) {
                            put(w, (uint32_t)dc & 1, 1);
                            continue;
                        }
                        int32_t value = dc - before[c], sign = value >> 31;
                        int size = size_of((uint32_t)((value ^ sign) - sign));
                        before[c] = dc;
                        if (seen) seen[c > 0][size]++;
                        else {
                            const Codes *t = &codes[c > 0];
                            put(w, t->code[size] << size | ((uint32_t)(value + sign) & ((1u << size) - 1)), t->length[size] + size);
                        }
                    }
        }
    if (!seen) finish(w);
}

/* The scans that libjpeg's simple progression has. */
static void progressive_scans(Encoding *e) {
    uint32_t seen[2][257];
    Codes codes[2];
    memset(seen, 0, sizeof seen);
    dc_pass(e, seen, NULL, 0, 1);
    for (int t = 0; t < (e->count > 1 ? 2 : 1); t++) {
        NovaJpegDht table;
        optimal(seen[t], &table);
        make_codes(&table, &codes[t]);
        write_dht(&e->writer, 0, t, &table);
    }
    write_sos(e, 0, e->count, 0, 0, 0, 1);
    dc_pass(e, NULL, codes, 0, 1);
    ac_scan(e, 0, 1, 5, 0, 2);
    ac_scan(e, 2, 1, 63, 0, 1);
    ac_scan(e, 1, 1, 63, 0, 1);
    ac_scan(e, 0, 6, 63, 0, 2);
    ac_scan(e, 0, 1, 63, 2, 1);
    write_sos(e, 0, e->count, 0, 0, 1, 0);
    dc_pass(e, NULL, codes, 1, 0);
    ac_scan(e, 2, 1, 63, 1, 0);
    ac_scan(e, 1, 1, 63, 1, 0);
    ac_scan(e, 0, 1, 63, 1, 0);
}

/* -- the file --------------------------------------------------------------------------------------------------------------- */

static void sequential_scan(Encoding *e) {
    Writer *w = &e->writer;
    int before[3] = {0, 0, 0};
    const int tables = e->count > 1 ? 2 : 1;
    if (e->options->optimize) {
        uint32_t seen[2][2][257];
        memset(seen, 0, sizeof seen);
        for (int row = 0; row < e->mcus_h; row++) emit_row(e, row, before, seen, 1);
        memset(before, 0, sizeof before);
        for (int class = 0; class < 2; class++)
            for (int t = 0; t < tables; t++) optimal(seen[class][t], &e->dht[class][t]);
    } else {
        memcpy(e->dht, standard, sizeof e->dht);
    }
    for (int t = 0; t < tables; t++)
        for (int class = 0; class < 2; class++) {
            make_codes(&e->dht[class][t], &e->codes[class][t]);
            write_dht(w, class, t, &e->dht[class][t]);
        }
    write_sos(e, 0, e->count, 0, 63, 0, 0);
    for (int row = 0; row < e->mcus_h && !w->failed; row++) {
        if (!e->whole) transform_row(e, row);
        emit_row(e, row, before, NULL, 0);
    }
    finish(w);
}

static int attempt(Encoding *e, int quality) {
    Writer *w = &e->writer;
    NovaJpegOut *out = w->out;
    memset(w, 0, sizeof *w);
    w->out = out;
    out->size = 0;
    out->quality = quality;
    set_quality(e, quality);
    write_head(e);
    if (e->whole)
        for (int row = 0; row < e->mcus_h; row++) transform_row(e, row);
    if (e->options->progressive) progressive_scans(e);
    else sequential_scan(e);
    word(w, 0xFFD9);
    return w->failed ? JPEG_MEMORY : JPEG_OK;
}

enum { LEAST_QUALITY = 10 };

int nova_jpeg_encode(const NovaJpegKernels *k, NovaJpegArena *arena, const NovaJpegPlane *planes, int count, int sub,
                     const NovaJpegOptions *options, NovaJpegOut *out) {
    Encoding *e = nova_jpeg_alloc(arena, sizeof *e);
    if (!e) return JPEG_MEMORY;
    e->k = k;
    e->planes = planes;
    e->options = options;
    e->count = count;
    e->sub = count == 1 ? 1 : sub;
    e->mcus_w = (planes->width + 8 * e->sub - 1) / (8 * e->sub);
    e->mcus_h = (planes->height + 8 * e->sub - 1) / (8 * e->sub);
    e->whole = options->progressive || options->optimize;
    e->writer.out = out;
    for (int c = 0; c < count; c++) {
        const int v = across(e, c);
        e->w[c] = e->mcus_w * v;
        e->h[c] = e->mcus_h * v;
        e->real_w[c] = (planes[c].width + 7) / 8;
        e->real_h[c] = (planes[c].height + 7) / 8;
        e->coef[c] = nova_jpeg_alloc(arena, (size_t)e->w[c] * (size_t)(e->whole ? e->h[c] : v) * 64 * sizeof(int16_t));
        if (!e->coef[c]) return JPEG_MEMORY;
    }
    int rc = attempt(e, options->quality), low = LEAST_QUALITY, high = options->quality - 1;
    out->fits = 1;
    if (rc || options->max_bytes <= 0 || out->size <= (size_t)options->max_bytes) return rc;
    int best = 0;
    while (low <= high) {
        int middle = (low + high) / 2;
        if ((rc = attempt(e, middle))) return rc;
        if (out->size <= (size_t)options->max_bytes) {
            best = middle;
            low = middle + 1;
        } else {
            high = middle - 1;
        }
    }
    if (!best) best = options->quality < LEAST_QUALITY ? options->quality : LEAST_QUALITY;
    if (out->quality != best) rc = attempt(e, best);
    out->fits = out->size <= (size_t)options->max_bytes;
    return rc;
}
