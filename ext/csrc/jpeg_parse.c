/* Markers of a JPEG file (ITU-T T.81 annex B), and what EXIF, ICC and Adobe segments say about the picture.
 *
 * Every length and count comes from the sender: each is held against what is there and against the standard's limits. */
#include "nova_jpeg.h"
#include <string.h>

static uint32_t be16(const uint8_t *p) { return (uint32_t)p[0] << 8 | p[1]; }

/* -- EXIF: orientation and copyright, nothing else --------------------------------------------------------------------- */

static uint32_t tiff16(const uint8_t *p, int little) { return little ? (uint32_t)p[1] << 8 | p[0] : be16(p); }
static uint32_t tiff32(const uint8_t *p, int little) {
    return little ? tiff16(p + 2, 1) << 16 | tiff16(p, 1) : be16(p) << 16 | be16(p + 2);
}

static void read_exif(NovaJpegFile *f, const uint8_t *p, size_t size) {
    if (size < 14) return;
    int little = p[0] == 'I' && p[1] == 'I';
    if (!little && !(p[0] == 'M' && p[1] == 'M')) return;
    if (tiff16(p + 2, little) != 42) return;
    size_t at = tiff32(p + 4, little);
    if (at > size - 2) return;
    uint32_t count = tiff16(p + at, little);
    at += 2;
    for (uint32_t i = 0; i < count && i < 512 && size >= 12 && at <= size - 12; i++, at += 12) {
        uint32_t tag = tiff16(p + at, little), type = tiff16(p + at + 2, little), n = tiff32(p + at + 4, little);
        if (tag == 0x0112 && type == 3 && n == 1) {
            uint32_t said = tiff16(p + at + 8, little);
            if (said >= 1 && said <= 8) f->orientation = (uint8_t)said;
        } else if (tag == 0x8298 && type == 2 && n > 0 && n <= JPEG_MAX_COPYRIGHT) {
            size_t where = n <= 4 ? at + 8 : tiff32(p + at + 8, little);
            if (where <= size && n <= size - where) {
                f->copyright_at = (size_t)(p - f->data) + where;
                f->copyright_size = n;
            }
        }
    }
}

static void read_app(NovaJpegFile *f, int marker, const uint8_t *p, size_t size) {
    if (marker == 0xE0 && size >= 5 && !memcmp(p, "JFIF", 5)) f->jfif = 1;
    if (marker == 0xE1 && size >= 6 && !memcmp(p, "Exif\0", 6) && !f->has_exif) {
        f->has_exif = 1;
        read_exif(f, p + 6, size - 6);
    }
    if (marker == 0xE2 && size >= 14 && !memcmp(p, "ICC_PROFILE", 12)) {
        f->has_icc = 1;
        if (p[12] && !f->icc_size[p[12]] && (!f->icc_count || f->icc_count == p[13])) {
            f->icc_count = p[13];
            f->icc_at[p[12]] = (size_t)(p + 14 - f->data);
            f->icc_size[p[12]] = (uint32_t)(size - 14);
        }
    }
    if (marker == 0xEE && size >= 12 && !memcmp(p, "Adobe", 5)) {
        f->adobe = 1;
        f->adobe_transform = p[11];
    }
}

/* -- tables (B.2.4) ---------------------------------------------------------------------------------------------------- */

static int read_dqt(NovaJpegFile *f, const uint8_t *p, size_t size) {
    while (size) {
        int wide = p[0] >> 4, slot = p[0] & 15;
        size_t need = 1 + (size_t)(wide ? 128 : 64);
        if (wide > 1 || slot > 3 || size < need) return JPEG_CORRUPT;
        for (int i = 0; i < 64; i++) {
            uint32_t q = wide ? be16(p + 1 + 2 * i) : p[1 + i];
            if (!q) return JPEG_CORRUPT;
            f->quant[slot][i] = (uint16_t)q;
        }
        f->quant_set |= (uint8_t)(1 << slot);
        p += need;
        size -= need;
    }
    return JPEG_OK;
}

static int read_dht(NovaJpegFile *f, const uint8_t *p, size_t size) {
    while (size) {
        int class = p[0] >> 4, slot = p[0] & 15, total = 0;
        if (class > 1 || slot > 3 || size < 17) return JPEG_CORRUPT;
        for (int i = 1; i <= 16; i++) total += p[i];
        if (total > 256 || size < 17 + (size_t)total) return JPEG_CORRUPT;
        NovaJpegDht *to = &f->dht[class][slot];
        memset(to, 0, sizeof *to);
        memcpy(to->counts + 1, p + 1, 16);
        memcpy(to->values, p + 17, (size_t)total);
        to->set = 1;
        f->dirty[class][slot] = 1;
        p += 17 + total;
        size -= 17 + (size_t)total;
    }
    return JPEG_OK;
}

/* -- the frame (B.2.2) ------------------------------------------------------------------------------------------------- */

static uint32_t up(uint32_t a, uint32_t b) { return (a + b - 1) / b; }

static int read_sof(NovaJpegFile *f, int marker, const uint8_t *p, size_t size) {
    if (f->components) return JPEG_CORRUPT; /* a second frame */
    if (size < 6) return JPEG_CORRUPT;
    uint32_t n = p[5];
    f->height = (uint16_t)be16(p + 1);
    f->width = (uint16_t)be16(p + 3);
    if (!n || size != 6 + 3 * (size_t)n || !f->width || !f->height) return JPEG_CORRUPT;
    f->components = (uint8_t)n;
    f->progressive = marker == 0xC2;
    f->hmax = f->vmax = 1;
    for (uint32_t i = 0; i < n && i < 4; i++) {
        NovaJpegComponent *c = &f->c[i];
        c->id = p[6 + 3 * i];
        c->h = p[7 + 3 * i] >> 4;
        c->v = p[7 + 3 * i] & 15;
        c->tq = p[8 + 3 * i];
        if (c->h < 1 || c->h > 4 || c->v < 1 || c->v > 4 || c->tq > 3) return JPEG_CORRUPT;
        for (uint32_t j = 0; j < i; j++)
            if (f->c[j].id == c->id) return JPEG_CORRUPT;
        if (n == 1) c->h = c->v = 1; /* its scans are not interleaved, whatever it says (A.2.2) */
        if (c->h > f->hmax) f->hmax = c->h;
        if (c->v > f->vmax) f->vmax = c->v;
        memset(c->al, -1, sizeof c->al);
    }
    if (marker == 0xC3 || marker == 0xC7 || marker == 0xCB || marker == 0xCF) f->reason = JPEG_R_LOSSLESS;
    else if (marker == 0xC5 || marker == 0xC6 || marker == 0xCD || marker == 0xCE) f->reason = JPEG_R_HIERARCHICAL;
    else if (marker >= 0xC9) f->reason = JPEG_R_ARITHMETIC;
    else if (p[0] != 8) f->reason = JPEG_R_PRECISION;
    else if (n == 4) f->reason = JPEG_R_CMYK;
    else if (n != 1 && n != 3) f->reason = JPEG_R_COMPONENTS;
    if (n > 4) return JPEG_OK;
    f->mcus_w = up(f->width, 8u * f->hmax);
    f->mcus_h = up(f->height, 8u * f->vmax);
    for (uint32_t i = 0; i < n; i++) {
        NovaJpegComponent *c = &f->c[i];
        c->width = up((uint32_t)f->width * c->h, f->hmax);
        c->height = up((uint32_t)f->height * c->v, f->vmax);
        c->blocks_w = up(c->width, 8);
        c->blocks_h = up(c->height, 8);
        c->padded_w = f->mcus_w * c->h;
        c->padded_h = f->mcus_h * c->v;
        c->n = 8;
        c->last = 63;
    }
    return JPEG_OK;
}

/* -- the scan (B.2.3) -------------------------------------------------------------------------------------------------- */

static int progression(NovaJpegFile *f) {
    NovaJpegScan *s = &f->scan;
    if (!f->progressive) {
        for (int i = 0; i < s->count; i++) {
            if (f->c[s->at[i]].seen) return JPEG_CORRUPT; /* a sequential component has one scan */
            f->c[s->at[i]].seen = 1;
        }
        s->ss = 0;
        s->se = 63; /* some writers leave them at 0 */
        s->ah = s->al = 0;
        return JPEG_OK;
    }
    if (s->ss > s->se || s->se > 63 || s->al > 13 || (s->ss == 0) != (s->se == 0) || (s->ss && s->count != 1)) return JPEG_CORRUPT;
    if (s->ah && s->ah != s->al + 1) return JPEG_CORRUPT;
    for (int i = 0; i < s->count; i++) {
        NovaJpegComponent *c = &f->c[s->at[i]];
        if (s->ss && !c->seen) return JPEG_CORRUPT;
        c->seen = 1;
        /* Each scan adds a bit to what is known: a file of scans that say nothing new ends here. */
        for (int k = s->ss; k <= s->se; k++) {
            if (s->ah ? c->al[k] != s->ah : c->al[k] != -1) return JPEG_CORRUPT;
            c->al[k] = (int8_t)s->al;
        }
    }
    return JPEG_OK;
}

static int read_sos(NovaJpegFile *f, const uint8_t *p, size_t size) {
    NovaJpegScan *s = &f->scan;
    uint32_t n = size ? p[0] : 0, blocks = 0;
    if (!f->components || n < 1 || n > 4 || n > f->components || size != 4 + 2 * (size_t)n) return JPEG_CORRUPT;
    if (f->reason) return JPEG_OK;
    if (++f->scans > f->max_scans) return JPEG_TOO_MANY_SCANS;
    s->count = (uint8_t)n;
    for (uint32_t i = 0; i < n; i++) {
        int found = -1;
        for (int j = 0; j < f->components; j++)
            if (f->c[j].id == p[1 + 2 * i]) found = j;
        if (found < 0 || (i && found <= s->at[i - 1])) return JPEG_CORRUPT; /* in the frame's order (B.2.3) */
        NovaJpegComponent *c = &f->c[found];
        s->at[i] = (uint8_t)found;
        c->dc = p[2 + 2 * i] >> 4;
        c->ac = p[2 + 2 * i] & 15;
        if (c->dc > 3 || c->ac > 3) return JPEG_CORRUPT;
        blocks += (uint32_t)c->h * c->v;
        if (!c->latched) {
            if (!(f->quant_set >> c->tq & 1)) return JPEG_CORRUPT;
            memcpy(c->q, f->quant[c->tq], sizeof c->q);
            c->latched = 1;
        }
    }
    if (n > 1 && blocks > JPEG_MAX_BLOCKS) return JPEG_CORRUPT;
    s->ss = p[1 + 2 * n];
    s->se = p[2 + 2 * n];
    s->ah = p[3 + 2 * n] >> 4;
    s->al = p[3 + 2 * n] & 15;
    return progression(f);
}

/* The colours of three components, as libjpeg tells them. */
static int is_rgb(const NovaJpegFile *f) {
    if (f->jfif) return 0;
    if (f->adobe) return f->adobe_transform == 0;
    return f->c[0].id == 'R' && f->c[1].id == 'G' && f->c[2].id == 'B';
}

/* -- from marker to marker --------------------------------------------------------------------------------------------- */

int nova_jpeg_next_scan(NovaJpegFile *f) {
    for (;;) {
        if (f->size - f->at < 2) return JPEG_TRUNCATED;
        if (f->data[f->at] != 0xFF) return JPEG_CORRUPT;
        while (f->at < f->size && f->data[f->at] == 0xFF) f->at++; /* fill bytes (B.1.1.2) */
        if (f->at == f->size) return JPEG_TRUNCATED;
        int marker = f->data[f->at++], rc = JPEG_OK;
        if (marker == 0xD9) {
            if (!f->components) return JPEG_CORRUPT;
            f->ended = 1;
            return JPEG_OK;
        }
        if (marker == 0x01) continue; /* TEM */
        if (marker < 0xC0 || (marker >= 0xD0 && marker <= 0xD8)) return JPEG_CORRUPT;
        if (++f->segments > JPEG_MAX_SEGMENTS) return JPEG_TOO_MANY_SEGMENTS;
        if (f->size - f->at < 2) return JPEG_TRUNCATED;
        size_t length = be16(f->data + f->at);
        if (length < 2) return JPEG_CORRUPT;
        if (length > f->size - f->at) return JPEG_TRUNCATED;
        const uint8_t *p = f->data + f->at + 2;
        f->at += length;
        length -= 2;
        if (marker == 0xC4) rc = read_dht(f, p, length);
        else if (marker == 0xCC) f->reason = f->reason ? f->reason : JPEG_R_ARITHMETIC;
        else if (marker >= 0xC0 && marker <= 0xCF && marker != 0xC8) rc = read_sof(f, marker, p, length);
        else if (marker == 0xDB) rc = read_dqt(f, p, length);
        else if (marker == 0xDD) {
            if (length != 2) return JPEG_CORRUPT;
            f->restart = be16(p);
        } else if (marker == 0xDC) rc = JPEG_CORRUPT; /* DNL: the height was known */
        else if (marker == 0xDE || marker == 0xDF) f->reason = JPEG_R_HIERARCHICAL;
        else if (marker >= 0xE0 && marker <= 0xEF && !f->scans) read_app(f, marker, p, length);
        else if (marker == 0xDA) {
            rc = read_sos(f, p, length);
            if (rc == JPEG_OK && !f->reason && f->components == 3 && is_rgb(f)) f->reason = JPEG_R_RGB;
            return rc;
        }
        if (rc) return rc;
    }
}

int nova_jpeg_open(NovaJpegFile *f, uint64_t max_pixels) {
    f->orientation = 1;
    if (f->size < 4 || f->data[0] != 0xFF || f->data[1] != 0xD8 || f->data[2] != 0xFF) return JPEG_NOT_JPEG;
    f->at = 2;
    int rc = nova_jpeg_next_scan(f);
    /* Size comes first: what is too large is so whatever else is wrong with it. */
    if (f->components && (uint64_t)f->width * f->height > max_pixels) return JPEG_TOO_LARGE;
    if (rc) return rc;
    if (f->ended) return JPEG_CORRUPT; /* no scan */
    return JPEG_OK;
}
