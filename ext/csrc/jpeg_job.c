/* A job: what to decode for these targets, rows of MCUs through their resizers, smaller targets out of larger ones, files out of planes. */
#include "nova_jpeg.h"
#include <math.h>
#include <string.h>

enum {
    MAX_PLANS = JPEG_MAX_TARGETS + 2, /* and those of the placeholder, and of linear light */
    PLACEHOLDER_SIDE = 48,            /* pixels; thumbhash keeps 7 x 7 terms of it */
    FEW_SCANS = 20,
    SCANNED_PIXELS = 800 * 1000 * 1000, /* 100 scans up to 10 MP, 36 at 50 MP */
    SMALL = 64                        /* pixels: a target so small may be resized from block means */
};

/* Decoded samples for each of a target's: below 1.5 it shows (Y-PSNR falls by more than 0.05 dB), above it nothing is gained. */
static const double GAP = 1.5, FAST_GAP = 1.0;
/* A target is made from a larger one when that is this much larger. */
static const double CHAIN = 2.0;

typedef struct {
    NovaJpegTarget *target;
    int width, height, sub, filter; /* as stored, before orientation */
    int shift_x, shift_y;           /* pixels that the chroma grid begins before the luma grid: a mirrored odd side */
    double x, y, step_x, step_y;    /* window's corner, and a pixel's size, in stored source pixels */
    int parent;                     /* index of the plan it is made from; -1: the decoder */
    NovaJpegPlane planes[3];
    NovaJpegResizer resizers[3];
} Plan;

/* A grid of samples over the stored source: sample i of an axis begins at origin + i * step (source pixels), there are `size`. */
typedef struct {
    double origin, step;
    int size;
} Axis;

static int turned(int orientation) { return orientation >= 5; }
static int mirrored_x(int o) { return o == 2 || o == 3 || o == 7 || o == 8; }
static int mirrored_y(int o) { return o == 3 || o == 4 || o == 6 || o == 7; }

static int plan_target(const NovaJpegFile *f, NovaJpegTarget *t, int orientation, Plan *p) {
    double w = f->width, h = f->height, x = 0, y = 0;
    if (t->width < 1 || t->height < 1 || t->width > JPEG_MAX_SIDE || t->height > JPEG_MAX_SIDE) return JPEG_BAD_TARGET;
    if (t->w > 0) {
        const double upright_w = turned(orientation) ? h : w, upright_h = turned(orientation) ? w : h, slack = 1e-6;
        if (!(t->h > 0 && t->x >= -slack && t->y >= -slack && t->x + t->w <= upright_w + slack && t->y + t->h <= upright_h + slack))
            return JPEG_BAD_TARGET;
        const double left = turned(orientation) ? t->y : t->x, top = turned(orientation) ? t->x : t->y;
        const double wide = turned(orientation) ? t->h : t->w, high = turned(orientation) ? t->w : t->h;
        x = mirrored_x(orientation) ? w - left - wide : left;
        y = mirrored_y(orientation) ? h - top - high : top;
        w = wide;
        h = high;
    }
    p->target = t;
    p->width = turned(orientation) ? t->height : t->width;
    p->height = turned(orientation) ? t->width : t->height;
    p->sub = t->output == JPEG_OUT_RGB || t->sub != 2 ? 1 : 2;
    p->filter = t->filter;
    p->shift_x = mirrored_x(orientation) && p->sub == 2 ? p->width & 1 : 0;
    p->shift_y = mirrored_y(orientation) && p->sub == 2 ? p->height & 1 : 0;
    p->x = x;
    p->y = y;
    p->step_x = w / p->width;
    p->step_y = h / p->height;
    p->parent = -1;
    if (p->step_x < 1e-3 || p->step_y < 1e-3) return JPEG_BAD_TARGET;
    return JPEG_OK;
}

static Axis plan_axis(const Plan *p, int component, int vertical) {
    const int sub = component ? p->sub : 1, size = vertical ? p->height : p->width, shift = vertical ? p->shift_y : p->shift_x;
    const double step = vertical ? p->step_y : p->step_x, origin = vertical ? p->y : p->x;
    return (Axis){origin - (component ? shift * step : 0), step * sub, (size + sub - 1) / sub};
}

/* The decoder's strips, from the first MCU on that is wanted. */
static Axis strip_axis(const NovaJpegFile *f, int component, int vertical) {
    const NovaJpegComponent *c = &f->c[component];
    const uint32_t factor = vertical ? c->v : c->h, most = vertical ? f->vmax : f->hmax, n = c->n;
    const uint32_t first = vertical ? f->y0 : f->x0, behind = vertical ? f->y1 : f->x1, full = vertical ? f->height : f->width;
    const double step = 8.0 * most / (factor * n);
    const uint32_t real = (uint32_t)ceil(full / step - 1e-9), all = behind * factor * n;
    return (Axis){first * 8.0 * most, step, (int)((all < real ? all : real) - first * factor * n)};
}

/* -- what to decode -------------------------------------------------------------------------------------------------------- */

static int contains(const Plan *outer, const Plan *inner) {
    const double slack = 1e-6;
    return outer->x <= inner->x + slack && outer->y <= inner->y + slack &&
           outer->x + outer->step_x * outer->width >= inner->x + inner->step_x * inner->width - slack &&
           outer->y + outer->step_y * outer->height >= inner->y + inner->step_y * inner->height - slack;
}

static double smaller(double a, double b) { return a < b ? a : b; }

/* Larger ones first; each from the smallest of those that is large enough. */
static void chain(Plan *plans, int count, double gap) {
    for (int i = 1; i < count; i++) {
        Plan moving = plans[i];
        int j = i;
        for (; j > 0 && plans[j - 1].step_x * plans[j - 1].step_y > moving.step_x * moving.step_y; j--) plans[j] = plans[j - 1];
        plans[j] = moving;
    }
    for (int i = 1; i < count; i++)
        for (int j = i - 1; j >= 0; j--) {
            const Plan *a = &plans[j], *b = &plans[i];
            const double ratio = smaller(b->step_x / a->step_x, b->step_y / a->step_y);
            if (ratio >= gap && ratio * b->sub / a->sub >= gap && contains(a, b)) {
                plans[i].parent = j;
                break;
            }
        }
}

static int whole_n(double least) {
    int n = (int)ceil(8 * least - 1e-6);
    return n < 1 ? 1 : n > 8 ? 8 : n;
}

static void choose(NovaJpegFile *f, const Plan *plans, int count, int fast) {
    for (int i = 0; i < f->components; i++) {
        NovaJpegComponent *c = &f->c[i];
        int n = 1;
        for (int j = 0; j < count; j++) {
            const Plan *p = &plans[j];
            if (p->parent >= 0) continue;
            const double gap = fast ? FAST_GAP : GAP;
            const int sub = i ? p->sub : 1;
            /* Source samples of this component for each sample of the target's. */
            const double per_x = p->step_x * sub * c->h / f->hmax, per_y = p->step_y * sub * c->v / f->vmax;
            int need = whole_n(gap / smaller(per_x, per_y));
            if (need < 2 && !fast && (p->width > SMALL || p->height > SMALL)) need = 2;
            if (need > n) n = need;
        }
        c->n = (uint8_t)n;
        c->last = nova_jpeg_last[n];
    }
}

static void choose_window(NovaJpegFile *f, const Plan *plans, int count) {
    double left = 1e9, top = 1e9, right = 0, bottom = 0;
    for (int j = 0; j < count; j++) {
        const Plan *p = &plans[j];
        if (p->parent >= 0) continue;
        /* Lanczos reaches three samples beyond, of the target when it shrinks, of the decoded plane when it does not. */
        const double margin_x = 6 * fmax(p->step_x, 8.0 * f->hmax) + 16, margin_y = 6 * fmax(p->step_y, 8.0 * f->vmax) + 16;
        left = smaller(left, p->x - margin_x);
        top = smaller(top, p->y - margin_y);
        right = fmax(right, p->x + p->step_x * p->width + margin_x);
        bottom = fmax(bottom, p->y + p->step_y * p->height + margin_y);
    }
    const double wide = 8.0 * f->hmax, high = 8.0 * f->vmax;
    f->x0 = left <= 0 ? 0 : (uint32_t)(left / wide);
    f->y0 = top <= 0 ? 0 : (uint32_t)(top / high);
    f->x1 = right >= f->width ? f->mcus_w : (uint32_t)ceil(right / wide);
    f->y1 = bottom >= f->height ? f->mcus_h : (uint32_t)ceil(bottom / high);
    if (f->x1 > f->mcus_w) f->x1 = f->mcus_w;
    if (f->y1 > f->mcus_h) f->y1 = f->mcus_h;
}

/* -- from samples to planes -------------------------------------------------------------------------------------------------- */

/* shared: the weights of component 1 are right for component 2 as well. */
static int connect(NovaJpegArena *arena, Plan *p, int component, Axis from_x, Axis from_y, int in_width, int shared) {
    const Axis x = plan_axis(p, component, 0), y = plan_axis(p, component, 1);
    NovaJpegResizer *r = &p->resizers[component];
    int rc;
    if (shared) {
        r->across = p->resizers[1].across;
        r->down = p->resizers[1].down;
    } else {
        rc = nova_jpeg_weigh(arena, &r->across, x.size, (x.origin - from_x.origin) / from_x.step, x.step / from_x.step, from_x.size, p->filter, 16);
        if (rc) return rc;
        rc = nova_jpeg_weigh(arena, &r->down, y.size, (y.origin - from_y.origin) / from_y.step, y.step / from_y.step, from_y.size, p->filter, 2);
        if (rc) return rc;
    }
    rc = nova_jpeg_plane(arena, &p->planes[component], x.size, y.size);
    return rc ? rc : nova_jpeg_resizer(arena, r, &p->planes[component], in_width);
}

static int prepare(NovaJpegJob *job, Plan *plans, int count) {
    NovaJpegFile *f = job->file;
    int rc;
    for (int i = 0; i < f->components; i++) {
        NovaJpegComponent *c = &f->c[i];
        const Axis x = strip_axis(f, i, 0), y = strip_axis(f, i, 1);
        int widest = 0;
        for (int j = 0; j < count; j++) {
            if (plans[j].parent >= 0) continue;
            const int shared = i == 2 && f->c[1].n == c->n && f->c[1].h == c->h && f->c[1].v == c->v;
            if ((rc = connect(&job->arena, &plans[j], i, x, y, x.size, shared))) return rc;
            if (plans[j].resizers[i].down.widest > widest) widest = plans[j].resizers[i].down.widest;
        }
        const uint32_t strip = (uint32_t)c->v * c->n;
        c->ring = ((uint32_t)widest + strip + strip - 1) / strip * strip;
        c->pitch = ((f->x1 - f->x0) * c->h * c->n + JPEG_PAD + 63) & ~63u;
        c->strip = nova_jpeg_alloc(&job->arena, (size_t)c->pitch * c->ring + JPEG_PAD);
        if (!c->strip) return JPEG_MEMORY;
    }
    return JPEG_OK;
}

static int decode(NovaJpegJob *job, Plan *plans, int count) {
    NovaJpegFile *f = job->file;
    const int streaming = !f->progressive && f->scan.count == f->components;
    int rc = streaming ? nova_jpeg_begin_scan(f) : nova_jpeg_read_all(f);
    if (rc) return rc;
    if ((rc = prepare(job, plans, count))) return rc;
    for (uint32_t row = streaming ? 0 : f->y0; row < f->y1; row++) {
        if ((rc = streaming ? nova_jpeg_row(f, row) : nova_jpeg_buffered_row(f, row))) return rc;
        if (row < f->y0) continue;
        for (int i = 0; i < f->components; i++) {
            const NovaJpegComponent *c = &f->c[i];
            const int all = strip_axis(f, i, 1).size;
            int there = (int)((row - f->y0 + 1) * c->v * c->n);
            if (there > all) there = all;
            for (int j = 0; j < count; j++)
                if (plans[j].parent < 0) nova_jpeg_resize(&plans[j].resizers[i], f->k, c->strip, (int)c->pitch, (int)c->ring, there);
        }
    }
    return streaming && f->y1 == f->mcus_h ? nova_jpeg_end_scan(f) : JPEG_OK;
}

static int derive(NovaJpegJob *job, Plan *plans, int index) {
    Plan *p = &plans[index];
    const Plan *from = &plans[p->parent];
    for (int i = 0; i < job->file->components; i++) {
        const NovaJpegPlane *source = &from->planes[i];
        int rc = connect(&job->arena, p, i, plan_axis(from, i, 0), plan_axis(from, i, 1), source->width, i == 2);
        if (rc) return rc;
        nova_jpeg_resize(&p->resizers[i], job->file->k, source->data, source->pitch, source->height, source->height);
    }
    return JPEG_OK;
}

/* -- in linear light ----------------------------------------------------------------------------------------------------------- */

/* The whole picture at the size that was decoded, chroma brought up to luma: RGB can be made of it. */
static int decode_whole(NovaJpegJob *job, Plan *whole) {
    NovaJpegFile *f = job->file;
    /* Coefficients that are left out are a filter too, of curved samples: all of them count here, unless it has to be fast. */
    const int n = job->fast ? f->c[0].n : 8;
    memset(whole, 0, sizeof *whole);
    for (int i = 0; i < f->components; i++) {
        const int factor = i && smaller((double)f->hmax / f->c[i].h, (double)f->vmax / f->c[i].v) >= 2 ? 2 : 1;
        f->c[i].n = (uint8_t)(n * factor < 8 ? n * factor : 8);
        f->c[i].last = nova_jpeg_last[f->c[i].n];
    }
    whole->width = (int)lrint(ceil(f->width * n / 8.0));
    whole->height = (int)lrint(ceil(f->height * n / 8.0));
    whole->sub = 1;
    whole->step_x = (double)f->width / whole->width;
    whole->step_y = (double)f->height / whole->height;
    whole->parent = -1;
    f->x0 = f->y0 = 0;
    f->x1 = f->mcus_w;
    f->y1 = f->mcus_h;
    return decode(job, whole, 1);
}

static int derive_linear(NovaJpegJob *job, const Plan *whole, Plan *p) {
    const NovaJpegFile *f = job->file;
    const Axis from_x = plan_axis(whole, 0, 0), from_y = plan_axis(whole, 0, 1), x = plan_axis(p, 0, 0), y = plan_axis(p, 0, 1);
    NovaJpegWeights across, down;
    const int channels = f->components == 1 ? 1 : 3;
    uint8_t *rgb = nova_jpeg_alloc(&job->arena, (size_t)p->width * (size_t)p->height * (size_t)channels);
    if (!rgb) return JPEG_MEMORY;
    int rc = nova_jpeg_weigh(&job->arena, &across, x.size, (x.origin - from_x.origin) / from_x.step, x.step / from_x.step, from_x.size, p->filter, 16);
    if (!rc) rc = nova_jpeg_weigh(&job->arena, &down, y.size, (y.origin - from_y.origin) / from_y.step, y.step / from_y.step, from_y.size, p->filter, 2);
    if (!rc) rc = nova_jpeg_resize_linear(&job->arena, f->k, whole->planes, f->components, &across, &down, rgb);
    return rc ? rc : nova_jpeg_from_rgb(&job->arena, rgb, channels, p->width, p->height, p->sub, p->shift_x, p->shift_y, p->planes);
}

/* -- what the caller gets ------------------------------------------------------------------------------------------------------ */

static int upright(NovaJpegJob *job, const Plan *p, int orientation, NovaJpegPlane out[3]) {
    const int count = job->file->components;
    for (int i = 0; i < count; i++) {
        const NovaJpegPlane *plane = &p->planes[i];
        if (orientation == 1) {
            out[i] = *plane;
            continue;
        }
        const int w = turned(orientation) ? plane->height : plane->width, h = turned(orientation) ? plane->width : plane->height;
        if (nova_jpeg_plane(&job->arena, &out[i], w, h)) return JPEG_MEMORY;
        nova_jpeg_orient(plane, &out[i], orientation);
    }
    return JPEG_OK;
}

static int deliver(NovaJpegJob *job, const Plan *p, int orientation) {
    NovaJpegTarget *t = p->target;
    NovaJpegPlane planes[3];
    NovaJpegArena *arena = &job->arena;
    const int count = job->file->components;
    int rc = upright(job, p, orientation, planes);
    if (rc) return rc;
    if (t->output == JPEG_OUT_JPEG) {
        for (int i = 0; i < count; i++) nova_jpeg_pad(&planes[i]);
        return nova_jpeg_encode(job->file->k, arena, planes, count, p->sub, &t->options, &t->out);
    }
    size_t size = 0;
    t->plane_count = t->output == JPEG_OUT_PLANES ? count : 0;
    for (int i = 0; i < t->plane_count; i++) {
        t->plane_at[i] = (int)size;
        t->plane_w[i] = planes[i].width;
        t->plane_h[i] = planes[i].height;
        size += (size_t)planes[i].width * (size_t)planes[i].height;
    }
    if (t->output == JPEG_OUT_RGB) size = (size_t)t->width * (size_t)t->height * 3;
    if (!(t->out.data = nova_jpeg_alloc(arena, size))) return JPEG_MEMORY;
    t->out.size = size;
    t->out.fits = 1;
    if (t->output == JPEG_OUT_RGB) {
        nova_jpeg_to_rgb(planes, count, t->out.data);
        return JPEG_OK;
    }
    for (int i = 0; i < count; i++)
        for (int y = 0; y < planes[i].height; y++)
            memcpy(t->out.data + t->plane_at[i] + (size_t)y * (size_t)planes[i].width, planes[i].data + (size_t)y * (size_t)planes[i].pitch,
                   (size_t)planes[i].width);
    return JPEG_OK;
}

static void small_target(const NovaJpegFile *f, int orientation, NovaJpegTarget *t) {
    int w = turned(orientation) ? f->height : f->width, h = turned(orientation) ? f->width : f->height;
    const int longest = w > h ? w : h;
    memset(t, 0, sizeof *t);
    t->width = longest > PLACEHOLDER_SIDE ? (w * PLACEHOLDER_SIDE + longest / 2) / longest : w;
    t->height = longest > PLACEHOLDER_SIDE ? (h * PLACEHOLDER_SIDE + longest / 2) / longest : h;
    if (t->width < 1) t->width = 1;
    if (t->height < 1) t->height = 1;
    t->output = JPEG_OUT_RGB;
    t->filter = JPEG_AREA;
}

int nova_jpeg_run(NovaJpegJob *job) {
    NovaJpegFile *f = job->file;
    NovaJpegTarget small;
    int count = 0, rc = nova_jpeg_open(f, job->max_pixels);
    if (rc) return rc;
    if (f->reason) return JPEG_UNSUPPORTED;
    /* Real files have ten scans or so, whatever their size; a scan of a large picture may cost much and say little. */
    const uint64_t most = FEW_SCANS + SCANNED_PIXELS / ((uint64_t)f->width * f->height);
    if (f->max_scans > most) f->max_scans = (uint32_t)most;
    const int orientation = job->orient ? f->orientation : 1;
    Plan *plans = nova_jpeg_alloc(&job->arena, MAX_PLANS * sizeof *plans);
    if (!plans) return JPEG_MEMORY;
    for (int i = 0; i < job->count; i++)
        if ((rc = plan_target(f, &job->targets[i], orientation, &plans[count++]))) return rc;
    if (job->placeholder) {
        small_target(f, orientation, &small);
        if ((rc = plan_target(f, &small, orientation, &plans[count++]))) return rc;
    }
    if (!count) return JPEG_BAD_TARGET;
    if (!job->linear) chain(plans, count, job->fast ? GAP : CHAIN);
    choose(f, plans, count, job->fast);
    choose_window(f, plans, count);
    if ((rc = job->linear ? decode_whole(job, &plans[count]) : decode(job, plans, count))) return rc;
    for (int i = 0; i < count; i++) {
        if (nova_jpeg_late(f)) return JPEG_DEADLINE;
        if (plans[i].parent >= 0 && (rc = derive(job, plans, i))) return rc;
        if (job->linear && (rc = derive_linear(job, &plans[count], &plans[i]))) return rc;
        if ((rc = deliver(job, &plans[i], orientation))) return rc;
        if (plans[i].target == &small)
            job->hash_size = nova_jpeg_placeholder(small.out.data, small.width, small.height, job->color, job->hash);
    }
    return JPEG_OK;
}
