/* The compiled PNG path (PNG, third edition): shared types of png_*.c.
 *
 * What a file inflates to comes in pieces of any size. Rows are unfiltered in fours, split into planes with their colours weighed by
 * alpha, and go through a ring to the resizers of the JPEG path; no more of the picture is held than one row of the smallest target sees.
 */
#ifndef NOVA_PNG_H
#define NOVA_PNG_H
#include "nova_jpeg.h"

enum { PNG_OK, PNG_CORRUPT };

enum {
    PNG_ROWS = 4,  /* unfiltered at once */
    PNG_PAD = 128  /* bytes that kernels may read behind a row, or write */
};

/* Filter types (9.2). */
enum { PNG_NONE, PNG_SUB, PNG_UP, PNG_AVERAGE, PNG_PAETH };

/* Each with a scalar twin that gives the same bits. */
typedef struct {
    const char *name;
    /* Undoes the filters of PNG_ROWS rows of `size` bytes, `bpp` of them a pixel. above: the row before, zeros for the first.
     * `above` and `to` have room behind. */
    void (*rows)(const uint8_t types[PNG_ROWS], const uint8_t *const from[PNG_ROWS], const uint8_t *above, uint8_t *const to[PNG_ROWS],
                 size_t size, int bpp);
    /* Packed samples (1 grey, 2 grey and alpha, 3 RGB, 4 RGBA) to planes; colours are multiplied by alpha. Returns all alphas, anded. */
    uint8_t (*split)(const uint8_t *from, int width, int channels, uint8_t *const to[4]);
} NovaPngKernels;

extern const NovaPngKernels nova_png_scalar, nova_png_avx2;
/* name: "scalar", "avx2", or "" for the best of this machine. NULL: this machine has it not. */
const NovaPngKernels *nova_png_kernels(const char *name);
/* One row of any type, in plain C. */
void nova_png_row(int type, const uint8_t *from, const uint8_t *above, uint8_t *to, size_t size, int bpp);

typedef struct {
    NovaJpegWeights across, down;
    int first, columns; /* of the source that it sees; `across` counts from the first */
    int next;           /* row */
    uint8_t *to;        /* packed, as many channels as the job gives */
} NovaPngTarget;

typedef struct {
    const NovaPngKernels *k;
    const NovaJpegKernels *resize;
    int width, height, bpp;
    int channels;            /* of the samples: 1 to 4; of what the palette gives: 4 */
    int given;               /* channels of the results: 1, 3 or 4 */
    size_t stride;           /* bytes of a row, without its filter type */
    const uint8_t *palette;  /* 256 times RGBA; NULL: none */
    uint8_t *staged;         /* rows that have not come whole */
    size_t staged_size;
    uint8_t *rows[PNG_ROWS + 1]; /* the one above, and those that are unfiltered */
    uint8_t *packed;         /* what the palette gave */
    uint8_t *ring;           /* rows of planes */
    size_t pitch;            /* bytes of a plane's row */
    size_t ring_pitch;       /* of all planes' */
    int ring_rows;
    int16_t *line, *out;     /* of one target's row: between the two passes, and behind them */
    size_t out_pitch;
    const uint8_t **lines;
    NovaPngTarget *targets;
    int count;
    int done;                /* rows */
    uint8_t alpha;           /* all of them, anded */
} NovaPngJob;

/* Takes what the file inflates to, in any split; what comes behind the last row is not looked at. */
int nova_png_feed(NovaPngJob *job, const uint8_t *data, size_t size);

#endif
