/* The compiled JPEG path (ITU-T T.81): shared types of jpeg_*.c.
 *
 * A job reads one file, decodes only the low N x N coefficients that its targets need, in rows of MCUs, resizes the Y, Cb and Cr
 * planes as they are, and writes JPEGs (or pixels) from them. Everything that a job allocates hangs on its arena.
 */
#ifndef NOVA_JPEG_H
#define NOVA_JPEG_H
#include <stddef.h>
#include <stdint.h>

/* Codes of the closed set; ext/jpeg.pyx names them in this order. */
enum {
    JPEG_OK,
    JPEG_NOT_JPEG,
    JPEG_UNSUPPORTED, /* right, but not for this path */
    JPEG_TRUNCATED,
    JPEG_CORRUPT,
    JPEG_TOO_LARGE,
    JPEG_TOO_MANY_SCANS,
    JPEG_TOO_MANY_SEGMENTS,
    JPEG_FILE_TOO_LARGE,
    JPEG_DEADLINE,
    JPEG_MEMORY,
    JPEG_BAD_TARGET
};

/* Why a file is not for this path. */
enum { JPEG_R_NONE, JPEG_R_CMYK, JPEG_R_RGB, JPEG_R_PRECISION, JPEG_R_ARITHMETIC, JPEG_R_LOSSLESS, JPEG_R_HIERARCHICAL, JPEG_R_COMPONENTS };

enum {
    JPEG_MAX_SEGMENTS = 1024,     /* an ICC profile takes 255 at most, all else a handful */
    JPEG_MAX_BLOCKS = 10,         /* of one MCU (B.2.3) */
    JPEG_MAX_ICC = 1 << 20,       /* bytes */
    JPEG_MAX_COPYRIGHT = 256,     /* bytes */
    JPEG_MAX_TARGETS = 32,
    JPEG_MAX_SIDE = 16384,        /* of a target, pixels */
    JPEG_AC_BITS = 11,            /* looked up at once */
    JPEG_DC_BITS = 10,
    JPEG_MAX_MCU_BYTES = JPEG_MAX_BLOCKS * 64 * 4, /* 16 bits of code and 15 of value for each coefficient, at most */
    JPEG_PAD = 64                 /* samples that kernels may read behind a row, or write */
};

/* -- memory ---------------------------------------------------------------------------------------------------------- */

typedef struct NovaJpegChunk {
    struct NovaJpegChunk *next;
} NovaJpegChunk;

typedef struct {
    NovaJpegChunk *first;
    size_t used, limit; /* bytes */
} NovaJpegArena;

/* Zeroed, aligned to 64 bytes. NULL: above the limit, or none left. */
void *nova_jpeg_alloc(NovaJpegArena *arena, size_t size);
void nova_jpeg_free(NovaJpegArena *arena);

/* -- Huffman tables -------------------------------------------------------------------------------------------------- */

typedef struct {
    uint8_t set, counts[17], values[256];
} NovaJpegDht;

/* Of a code longer than what is looked up: canonical decoding (F.2.2.3). */
typedef struct {
    int32_t maxcode[18], offset[17];
    uint8_t values[256];
} NovaJpegLong;

/* An entry of `look`: bits 0-5 the length of code and value, 8-15 the step in zig-zag order (JPEG_EOB ends the block), 16-31 the
 * value. Step 0: with a length, the symbol stands in bits 16-23 and its value is still to be read; without, the code is longer. */
enum { JPEG_EOB = 128 };

/* An entry of `skip` is several symbols at once: bits 0-5 their length, 6-12 their steps, 15 whether the block ends. 0: none fits. */
typedef struct {
    uint32_t look[1 << JPEG_AC_BITS];
    uint16_t skip[1 << JPEG_AC_BITS];
    NovaJpegLong rest;
} NovaJpegAc;

typedef struct {
    uint32_t look[1 << JPEG_DC_BITS]; /* as above: step 1 with the difference, 0 without */
    NovaJpegLong rest;
} NovaJpegDc;

/* -- a file ---------------------------------------------------------------------------------------------------------- */

typedef struct {
    uint8_t id, h, v, tq;
    uint8_t n;       /* coefficients a side that are decoded: 1 to 8 */
    uint8_t last;    /* index in zig-zag order of the last of them */
    uint8_t latched; /* `q` is that of its first scan */
    uint8_t seen;    /* it had a scan of its DC coefficients */
    uint8_t dc, ac;  /* table selectors of the current scan */
    uint32_t width, height;     /* samples (A.1.1) */
    uint32_t blocks_w, blocks_h; /* of a scan of its own */
    uint32_t padded_w, padded_h; /* whole MCUs */
    uint16_t q[64];  /* zig-zag order */
    int8_t al[64];   /* bit position known so far, -1 none: progression (G.1.1.1) */
    int16_t *coef;   /* buffered: `stride` coefficients of each block, zig-zag order, not dequantised */
    uint64_t *mask;  /* buffered: which of the 64 are not zero */
    uint32_t stride;
    /* The strip: decoded samples of the last rows, a ring. */
    uint8_t *strip;
    uint32_t pitch, ring; /* bytes a row; rows */
} NovaJpegComponent;

typedef struct {
    uint8_t count, ss, se, ah, al;
    uint8_t at[4]; /* which component */
} NovaJpegScan;

/* Entropy coded bytes without their stuffing. */
typedef struct {
    const uint8_t *from, *end; /* of the file */
    uint8_t *room;             /* JPEG_STREAM + JPEG_MAX_MCU_BYTES + … */
    const uint8_t *stop;       /* behind the last byte there is */
    const uint8_t *guard;      /* at or below it a whole MCU can be read */
    int whole;                 /* the interval ends at `stop` */
    int marker;                /* that ended it; 0: the file did */
    /* the reader's state between rows */
    uint64_t bits;
    int count;
    const uint8_t *p;
} NovaJpegStream;

enum { JPEG_STREAM = 1 << 15 }; /* bytes unstuffed at once */

struct NovaJpegKernels;

typedef struct {
    const uint8_t *data;
    size_t size, at;
    uint8_t progressive, components, adobe, adobe_transform, jfif, orientation, has_icc, has_exif, reason, ended;
    uint16_t width, height;
    uint8_t hmax, vmax;
    uint32_t mcus_w, mcus_h; /* of an interleaved scan */
    uint32_t restart;        /* MCUs in an interval; 0: none */
    uint32_t segments, scans, max_scans;
    double deadline;         /* CLOCK_MONOTONIC seconds */
    NovaJpegComponent c[4];
    uint16_t quant[4][64];
    uint8_t quant_set;
    NovaJpegDht dht[2][4];
    uint8_t dirty[2][4];
    NovaJpegDc *dc[4];
    NovaJpegAc *ac[4];
    NovaJpegScan scan;
    size_t icc_at[256];      /* payload of each chunk, by its number */
    uint32_t icc_size[256];
    uint8_t icc_count;
    size_t copyright_at;
    uint32_t copyright_size;
    NovaJpegArena *arena;
    const struct NovaJpegKernels *k;
    NovaJpegStream stream;
    uint32_t pred[4]; /* of DC: differences add up modulo 2^32 */
    uint32_t eobrun, left, next_restart;
    /* MCU columns and rows that the targets see */
    uint32_t x0, x1, y0, y1;
    int16_t blocks[JPEG_MAX_BLOCKS * 64 + 64] __attribute__((aligned(64)));
} NovaJpegFile;

/* -- kernels: each with a scalar twin that gives the same bits -------------------------------------------------------- */

typedef struct NovaJpegKernels {
    const char *name;
    /* Copies entropy coded bytes until a marker, `room` bytes (32 more may be written) or the end. Returns the bytes written;
     * *used: those read; *marker: the code that follows, -1 when there is none, 0 at the file's end. */
    size_t (*unstuff)(const uint8_t *from, size_t size, uint8_t *to, size_t room, size_t *used, int *marker);
    /* The N-point inverse transform of dequantised coefficients (natural order, 8 a row) to N rows of N samples; 8 a row are written. */
    void (*idct)(const int16_t *block, uint8_t *to, ptrdiff_t pitch, int n);
    /* Weighted sum of rows: 14 bits of weight, 6 bits of fraction out. `count` is even; `width` is rounded up to 16. */
    void (*vertical)(const uint8_t *const *rows, const int16_t *weights, int count, int16_t *to, int width);
    void (*vertical16)(const int16_t *const *rows, const int16_t *weights, int count, int16_t *to, int width);
    /* Each output is a weighted sum of `taps` (a multiple of 16) inputs from its start on; outputs are rounded up to 8. */
    void (*horizontal)(const int16_t *from, const int32_t *start, const int16_t *weights, int taps, uint8_t *to, int width);
    void (*horizontal16)(const int16_t *from, const int32_t *start, const int16_t *weights, int taps, int16_t *to, int width);
    /* The forward transform of 8 x 8 samples and its quantisation by 1/q (natural order): coefficients in natural order. */
    void (*fdct)(const uint8_t *from, ptrdiff_t pitch, int16_t *to);
    void (*quantise)(const int16_t *from, const float *reciprocal, int16_t *to);
    int (*mcu_row)(NovaJpegFile *f, uint32_t row);
    int (*scan)(NovaJpegFile *f);
} NovaJpegKernels;

extern const NovaJpegKernels nova_jpeg_scalar, nova_jpeg_avx2;
int nova_jpeg_row_scalar(NovaJpegFile *f, uint32_t row), nova_jpeg_row_avx2(NovaJpegFile *f, uint32_t row);
int nova_jpeg_scan_scalar(NovaJpegFile *f), nova_jpeg_scan_avx2(NovaJpegFile *f);
/* name: "scalar", "avx2", or "" for the best of this machine. NULL: this machine has it not. */
const NovaJpegKernels *nova_jpeg_kernels(const char *name);
/* Fills the tables. Once, before all else. */
void nova_jpeg_init(void);

extern const uint8_t nova_jpeg_zigzag[80];          /* natural index of each; 63 behind the end */
extern uint8_t nova_jpeg_last[9];                   /* zig-zag index of coefficient (N-1, N-1) */
extern int16_t nova_jpeg_idct_matrix[9][8][8];      /* [N][sample][coefficient], 13 bits */
extern int16_t nova_jpeg_fdct_matrix[8][8];         /* [coefficient][sample], 13 bits */

/* -- reading ----------------------------------------------------------------------------------------------------------- */

/* Reads markers up to the first scan. `f` is zeroed; data, size, max_scans and k set. */
int nova_jpeg_open(NovaJpegFile *f, uint64_t max_pixels);
/* Markers up to the next scan; f->ended: there is none. */
int nova_jpeg_next_scan(NovaJpegFile *f);
/* Tables and stream of the scan that was read. */
int nova_jpeg_begin_scan(NovaJpegFile *f);
int nova_jpeg_late(const NovaJpegFile *f);
/* More bytes for the reader, or JPEG_TRUNCATED where it ran past the end. */
int nova_jpeg_more(NovaJpegFile *f);
/* The end of an interval and the marker behind it. */
int nova_jpeg_restart(NovaJpegFile *f);
int nova_jpeg_end_scan(NovaJpegFile *f);
/* Buffered: all scans into coefficients. */
int nova_jpeg_read_all(NovaJpegFile *f);
/* One row of MCUs into the strips. */
int nova_jpeg_row(NovaJpegFile *f, uint32_t row);
int nova_jpeg_buffered_row(NovaJpegFile *f, uint32_t row);
int nova_jpeg_build_dc(const NovaJpegDht *raw, NovaJpegDc *to);
int nova_jpeg_build_ac(const NovaJpegDht *raw, NovaJpegAc *to, int skipping);

/* -- resizing ---------------------------------------------------------------------------------------------------------- */

enum { JPEG_LANCZOS3, JPEG_AREA };

typedef struct {
    int out, taps;    /* taps: the padded width of a row of `weights` */
    int widest;       /* real taps, at most */
    int32_t *start, *count;
    int16_t *weights; /* out x taps, 14 bits, each row sums to 16384 */
} NovaJpegWeights;

/* Output i covers inputs from origin + i * step on, `step` wide; there are `size` inputs. multiple: taps are rounded up to it. */
int nova_jpeg_weigh(NovaJpegArena *arena, NovaJpegWeights *to, int out, double origin, double step, int size, int filter, int multiple);

typedef struct {
    uint8_t *data;
    int width, height, pitch, rows; /* rows: allocated, a multiple of 16 (8 of chroma) */
} NovaJpegPlane;

/* Rows in, rows out, top to bottom. */
typedef struct {
    NovaJpegWeights across, down;
    int in_width, next;
    int16_t *line;
    const uint8_t **rows;
    NovaJpegPlane *to;
} NovaJpegResizer;

int nova_jpeg_resizer(NovaJpegArena *arena, NovaJpegResizer *r, NovaJpegPlane *to, int in_width);
/* The rows [0, there) exist, row i at from + (i % ring) * pitch. */
void nova_jpeg_resize(NovaJpegResizer *r, const NovaJpegKernels *k, const uint8_t *from, int pitch, int ring, int there);
int nova_jpeg_plane(NovaJpegArena *arena, NovaJpegPlane *p, int width, int height);
void nova_jpeg_pad(NovaJpegPlane *p);
/* `from` as orientation 2 to 8 of EXIF asks. */
void nova_jpeg_orient(const NovaJpegPlane *from, NovaJpegPlane *to, int orientation);

/* In linear light: planes of one size to packed RGB (grey: one sample a pixel) of across->out x down->out. */
int nova_jpeg_resize_linear(NovaJpegArena *arena, const NovaJpegKernels *k, const NovaJpegPlane *from, int count,
                            const NovaJpegWeights *across, const NovaJpegWeights *down, uint8_t *rgb);
/* The same for packed samples (1 grey, 3 RGB, 4 RGBA): window (x, y, width, height) of `from` to width x height of the same kind. */
int nova_jpeg_resize_packed(NovaJpegArena *arena, const NovaJpegKernels *k, const uint8_t *from, int in_width, int in_height, int channels,
                            const double window[4], int width, int height, uint8_t *to);

/* -- writing ------------------------------------------------------------------------------------------------------------ */

typedef struct {
    int quality, max_bytes, progressive, optimize;
    const uint8_t *icc;
    size_t icc_size;
    const uint8_t *copyright;
    size_t copyright_size;
} NovaJpegOptions;

typedef struct {
    uint8_t *data; /* malloc: the caller frees */
    size_t size, cap;
    int quality, fits;
} NovaJpegOut;

/* `count` planes (1 or 3); the second and third half as large (sub = 2) or not (1). */
int nova_jpeg_encode(const NovaJpegKernels *k, NovaJpegArena *arena, const NovaJpegPlane *planes, int count, int sub,
                     const NovaJpegOptions *options, NovaJpegOut *out);

/* -- colour ------------------------------------------------------------------------------------------------------------- */

void nova_jpeg_to_rgb(const NovaJpegPlane *planes, int count, uint8_t *rgb);
/* Packed RGB (or grey: channels 1) to planes. shift: pixels that the chroma grid begins before the picture, 0 or 1. */
int nova_jpeg_from_rgb(NovaJpegArena *arena, const uint8_t *rgb, int channels, int width, int height, int sub, int shift_x, int shift_y,
                       NovaJpegPlane *planes);
/* Dominant colour and thumbhash of a small picture; returns the bytes of the hash (25 at most). */
int nova_jpeg_placeholder(const uint8_t *rgb, int width, int height, uint8_t color[3], uint8_t hash[25]);

/* -- a job -------------------------------------------------------------------------------------------------------------- */

enum { JPEG_OUT_JPEG, JPEG_OUT_PLANES, JPEG_OUT_RGB };

typedef struct {
    int width, height; /* upright */
    double x, y, w, h; /* window in upright source pixels; w <= 0: everything */
    int output, sub, filter;
    NovaJpegOptions options;
    /* answers */
    NovaJpegOut out;
    int plane_count, plane_at[3], plane_w[3], plane_h[3];
} NovaJpegTarget;

typedef struct {
    NovaJpegTarget *targets;
    int count, orient, fast, linear, placeholder;
    uint64_t max_pixels;
    NovaJpegFile *file;
    NovaJpegArena arena;
    uint8_t color[3], hash[25];
    int hash_size;
} NovaJpegJob;

int nova_jpeg_run(NovaJpegJob *job);

#endif
