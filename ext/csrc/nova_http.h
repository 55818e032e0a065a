/* Byte classes and scanners of HTTP/1.1 heads (RFC 9110 section 5.6.2, RFC 9112, RFC 3986). SSE2 is the baseline of
 * x86-64; other machines take the table. No scanner reads at or behind `end`. */
#ifndef NOVA_HTTP_H
#define NOVA_HTTP_H
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

enum {
    HC_TOKEN = 1,  /* tchar */
    HC_PATH = 2,   /* pchar and "/"; without "%", which the caller looks at; with [ ] | ^, which browsers send unescaped */
    HC_QUERY = 4,  /* the same with "?", "%" and { } ` \ (browsers again); never " < > or # */
    HC_NAME = 8,   /* registered name: letters, digits, - . _ ~; sub-delims are left out (a joined "a,b" is no host) */
    HC_VALUE = 16, /* field value: visible, space, tab, obs-text */
    HC_IPV6 = 32,
};

#define HC_ALNUM (HC_TOKEN | HC_PATH | HC_QUERY | HC_NAME | HC_VALUE)
static const uint8_t nova_http_class[256] = {
    ['0' ... '9'] = HC_ALNUM | HC_IPV6,
    ['a' ... 'f'] = HC_ALNUM | HC_IPV6, ['g' ... 'z'] = HC_ALNUM,
    ['A' ... 'F'] = HC_ALNUM | HC_IPV6, ['G' ... 'Z'] = HC_ALNUM,
    ['-'] = HC_ALNUM, ['.'] = HC_ALNUM | HC_IPV6, ['_'] = HC_ALNUM, ['~'] = HC_ALNUM,
    ['!'] = HC_TOKEN | HC_PATH | HC_QUERY | HC_VALUE, ['$'] = HC_TOKEN | HC_PATH | HC_QUERY | HC_VALUE,
    ['&'] = HC_TOKEN | HC_PATH | HC_QUERY | HC_VALUE, ['\''] = HC_TOKEN | HC_PATH | HC_QUERY | HC_VALUE,
    ['*'] = HC_TOKEN | HC_PATH | HC_QUERY | HC_VALUE, ['+'] = HC_TOKEN | HC_PATH | HC_QUERY | HC_VALUE,
    ['^'] = HC_TOKEN | HC_PATH | HC_QUERY | HC_VALUE, ['|'] = HC_TOKEN | HC_PATH | HC_QUERY | HC_VALUE,
    ['`'] = HC_TOKEN | HC_QUERY | HC_VALUE, ['%'] = HC_TOKEN | HC_QUERY | HC_VALUE, ['#'] = HC_TOKEN | HC_VALUE,
    ['('] = HC_PATH | HC_QUERY | HC_VALUE, [')'] = HC_PATH | HC_QUERY | HC_VALUE,
    [','] = HC_PATH | HC_QUERY | HC_VALUE, [';'] = HC_PATH | HC_QUERY | HC_VALUE,
    ['='] = HC_PATH | HC_QUERY | HC_VALUE, ['@'] = HC_PATH | HC_QUERY | HC_VALUE,
    ['/'] = HC_PATH | HC_QUERY | HC_VALUE, [':'] = HC_PATH | HC_QUERY | HC_VALUE | HC_IPV6,
    ['['] = HC_PATH | HC_QUERY | HC_VALUE, [']'] = HC_PATH | HC_QUERY | HC_VALUE,
    ['?'] = HC_QUERY | HC_VALUE, ['{'] = HC_QUERY | HC_VALUE, ['}'] = HC_QUERY | HC_VALUE, ['\\'] = HC_QUERY | HC_VALUE,
    ['"'] = HC_VALUE, ['<'] = HC_VALUE, ['>'] = HC_VALUE, [' '] = HC_VALUE, ['\t'] = HC_VALUE,
    [0x80 ... 0xff] = HC_VALUE,
};

static inline int nova_http_is(uint8_t byte, int cls) { return nova_http_class[byte] & cls; }

/* Value of a hexadecimal digit, -1 for anything else. */
static inline int nova_hex(uint8_t byte) {
    if (byte >= '0' && byte <= '9') return byte - '0';
    byte |= 0x20;
    return byte >= 'a' && byte <= 'f' ? byte - 'a' + 10 : -1;
}

/* The first byte outside the class, or `end`. */
static inline const uint8_t *nova_http_span(const uint8_t *p, const uint8_t *end, int cls) {
    while (p < end && (nova_http_class[*p] & cls)) p++;
    return p;
}

/* The same for HC_VALUE, sixteen bytes at a time: the first control byte but tab. */
static inline const uint8_t *nova_http_value(const uint8_t *p, const uint8_t *end) {
#ifdef __SSE2__
    const __m128i last = _mm_set1_epi8(0x1f), tab = _mm_set1_epi8('\t'), del = _mm_set1_epi8(0x7f);
    for (; end - p >= 16; p += 16) {
        __m128i x = _mm_loadu_si128((const __m128i *)p);
        __m128i control = _mm_andnot_si128(_mm_cmpeq_epi8(x, tab), _mm_cmpeq_epi8(_mm_min_epu8(x, last), x));
        int bad = _mm_movemask_epi8(_mm_or_si128(control, _mm_cmpeq_epi8(x, del)));
        if (bad) return p + __builtin_ctz((unsigned)bad);
    }
#endif
    return nova_http_span(p, end, HC_VALUE);
}

/* The first CRLFCRLF, or NULL. */
static inline const uint8_t *nova_http_blank_line(const uint8_t *p, const uint8_t *end) {
#ifdef __SSE2__
    const __m128i cr = _mm_set1_epi8('\r');
    for (; end - p >= 19; p += 16) {
        __m128i here = _mm_cmpeq_epi8(_mm_loadu_si128((const __m128i *)p), cr);
        __m128i ahead = _mm_cmpeq_epi8(_mm_loadu_si128((const __m128i *)(p + 2)), cr);
        for (int at = _mm_movemask_epi8(_mm_and_si128(here, ahead)); at; at &= at - 1) {
            const uint8_t *found = p + __builtin_ctz((unsigned)at);
            if (found[1] == '\n' && found[3] == '\n') return found;
        }
    }
#endif
    for (; end - p >= 4; p++)
        if (!memcmp(p, "\r\n\r\n", 4)) return p;
    return NULL;
}

/* Is the token `p` equal to the lower-case word of letters and hyphens, case aside? Only for bytes known to be tchars:
 * there, setting bit 5 maps nothing but A-Z onto a letter and nothing but "-" onto a hyphen. */
static inline int nova_http_word(const uint8_t *p, const char *word, size_t len) {
    const uint64_t fold8 = 0x2020202020202020u;
    const uint32_t fold4 = 0x20202020u;
    uint64_t a, b;
    uint32_t c, d;
    size_t at = 0;
    for (; at + 8 <= len; at += 8) {
        memcpy(&a, p + at, 8);
        memcpy(&b, word + at, 8);
        if ((a | fold8) != b) return 0;
    }
    if (at + 4 <= len) {
        memcpy(&c, p + at, 4);
        memcpy(&d, word + at, 4);
        if ((c | fold4) != d) return 0;
        at += 4;
    }
    for (; at < len; at++)
        if ((p[at] | 0x20) != (uint8_t)word[at]) return 0;
    return 1;
}

#endif
