/* Tables: zig-zag order, transforms, and Huffman codes laid out for looking up (ITU-T T.81 annexes A, C and F.2.2.3). */
#include "nova_jpeg.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A.3.6, figure 5; a run behind the end lands on the last. */
const uint8_t nova_jpeg_zigzag[80] = {
    0,  1,  8,  16, 9,  2,  3,  10, 17, 24, 32, 25, 18, 11, 4,  5,  12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13,
    6,  7,  14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31,
    39, 46, 53, 60, 61, 54, 47, 55, 62, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63,
};
uint8_t nova_jpeg_last[9];
int16_t nova_jpeg_idct_matrix[9][8][8];
int16_t nova_jpeg_fdct_matrix[8][8];

void nova_jpeg_init(void) {
    for (int n = 1; n <= 8; n++) {
        for (int k = 0; k < 64; k++)
            if (nova_jpeg_zigzag[k] / 8 < n && nova_jpeg_zigzag[k] % 8 < n) nova_jpeg_last[n] = (uint8_t)k;
        /* The orthonormal N-point transform of coefficients of an 8-point one: sqrt(N / 8) keeps the samples' size. */
        for (int x = 0; x < n; x++)
            for (int u = 0; u < n; u++) {
                double a = sqrt((u ? 2.0 : 1.0) / n) * sqrt(n / 8.0) * cos((2 * x + 1) * u * M_PI / (2 * n));
                nova_jpeg_idct_matrix[n][x][u] = (int16_t)lrint(a * 8192);
            }
    }
    for (int u = 0; u < 8; u++)
        for (int x = 0; x < 8; x++)
            nova_jpeg_fdct_matrix[u][x] = (int16_t)lrint(sqrt((u ? 2.0 : 1.0) / 8) * cos((2 * x + 1) * u * M_PI / 16) * 8192);
}

/* -- memory ---------------------------------------------------------------------------------------------------------- */

void *nova_jpeg_alloc(NovaJpegArena *arena, size_t size) {
    /* calloc of much is pages that exist when they are touched: a bomb's planes cost nothing until it has data for them. */
    size_t whole = size + 128;
    if (whole < size || arena->used + whole < whole || arena->used + whole > arena->limit) return NULL;
    NovaJpegChunk *chunk = calloc(1, whole);
    if (!chunk) return NULL;
    arena->used += whole;
    chunk->next = arena->first;
    arena->first = chunk;
    return (void *)(((uintptr_t)chunk + sizeof *chunk + 63) & ~(uintptr_t)63);
}

void nova_jpeg_free(NovaJpegArena *arena) {
    while (arena->first) {
        NovaJpegChunk *chunk = arena->first;
        arena->first = chunk->next;
        free(chunk);
    }
    arena->used = 0;
}

/* -- Huffman codes ----------------------------------------------------------------------------------------------------- */

/* Annex C: codes in order of length. Fills `rest` and calls back for the codes that `bits` hold. */
typedef void (*Enter)(void *to, uint32_t code, int length, uint8_t symbol);

static int build(const NovaJpegDht *raw, NovaJpegLong *rest, int bits, Enter enter, void *to) {
    uint32_t code = 0;
    int at = 0;
    for (int length = 1; length <= 16; length++, code <<= 1) {
        rest->offset[length] = at - (int32_t)code;
        rest->maxcode[length] = -1;
        for (int i = 0; i < raw->counts[length]; i++, at++, code++) {
            if (code >= 1u << length) return JPEG_CORRUPT; /* more codes than fit */
            if (length <= bits) enter(to, code, length, raw->values[at]);
        }
        if (raw->counts[length]) rest->maxcode[length] = (int32_t)code - 1;
    }
    rest->maxcode[17] = INT32_MAX;
    memcpy(rest->values, raw->values, 256);
    return JPEG_OK;
}

/* The difference that `size` bits stand for (F.2.2.1, EXTEND). */
static int32_t extend(uint32_t bits, int size) {
    return size && bits < 1u << (size - 1) ? (int32_t)bits - (int32_t)(1u << size) + 1 : (int32_t)bits;
}

static uint32_t entry(int length, int step, int32_t value) {
    return (uint32_t)length | (uint32_t)step << 8 | (uint32_t)(uint16_t)value << 16;
}

static void enter_dc(void *table, uint32_t code, int length, uint8_t symbol) {
    uint32_t *look = ((NovaJpegDc *)table)->look;
    uint32_t at = code << (JPEG_DC_BITS - length);
    for (uint32_t i = 0; i < 1u << (JPEG_DC_BITS - length); i++) {
        int spare = JPEG_DC_BITS - length;
        if (symbol <= spare) look[at + i] = entry(length + symbol, 1, extend(i >> (spare - symbol), symbol));
        else look[at + i] = entry(length, 0, symbol);
    }
}

int nova_jpeg_build_dc(const NovaJpegDht *raw, NovaJpegDc *to) {
    memset(to->look, 0, sizeof to->look);
    for (int i = 0; i < 256; i++)
        if (raw->values[i] > 15) return JPEG_CORRUPT;
    return build(raw, &to->rest, JPEG_DC_BITS, enter_dc, to);
}

static void enter_ac(void *table, uint32_t code, int length, uint8_t symbol) {
    uint32_t *look = ((NovaJpegAc *)table)->look;
    int spare = JPEG_AC_BITS - length, run = symbol >> 4, size = symbol & 15;
    uint32_t at = code << spare;
    for (uint32_t i = 0; i < 1u << spare; i++) {
        if (symbol == 0) look[at + i] = entry(length, JPEG_EOB, 0);
        else if (symbol == 0xF0) look[at + i] = entry(length, 16, 0);
        else if (size && size <= spare) look[at + i] = entry(length + size, run + 1, extend(i >> (spare - size), size));
        else look[at + i] = entry(length, 0, symbol);
    }
}

int nova_jpeg_build_ac(const NovaJpegDht *raw, NovaJpegAc *to, int skipping) {
    memset(to->look, 0, sizeof to->look);
    int rc = build(raw, &to->rest, JPEG_AC_BITS, enter_ac, to);
    if (rc || !skipping) return rc;
    for (uint32_t index = 0; index < 1u << JPEG_AC_BITS; index++) {
        int used = 0, steps = 0, eob = 0;
        while (used < JPEG_AC_BITS) {
            uint32_t e = to->look[(index << used) & ((1 << JPEG_AC_BITS) - 1)];
            int step = e >> 8 & 0xFF, length = e & 63, symbol = e >> 16 & 0xFF;
            /* Bits that are not known must not matter: the code has to lie within those that are, its value need not. */
            if (step == 0) {
                if (length == 0 || used + length > JPEG_AC_BITS || (symbol & 15) == 0) break;
                length += symbol & 15;
                step = (symbol >> 4) + 1;
            } else if (used + length > JPEG_AC_BITS) {
                break; /* either the code or only its value reaches beyond: the next look-up knows */
            }
            if (used + length > 28) break;
            used += length;
            if (step == JPEG_EOB) {
                eob = 1;
                break;
            }
            steps += step;
            if (steps > 63) break;
        }
        to->skip[index] = (uint16_t)(used == 0 || steps > 63 ? 0 : (uint32_t)used | (uint32_t)steps << 6 | (uint32_t)eob << 15);
    }
    return JPEG_OK;
}
