/* Numbers as JSON spells them: text to integer or double, and back, the same in every locale and without allocation.
 *
 * A double is written as a short decimal that reads back as the same double (Grisu2: F. Loitsch, "Printing floating-point numbers
 * quickly and accurately with integers", PLDI 2010): the shortest one nearly always, never a wrong one. Reading is exact: small
 * numbers by one multiplication (W. Clinger, "How to read floating point numbers accurately", PLDI 1990), others by strtod. */
#ifndef NOVA_NUMBER_H
#define NOVA_NUMBER_H
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum {
    NUMBER_WRONG = -1,    /* above the range of a double */
    NUMBER_UNSIGNED = 1,  /* in `whole` */
    NUMBER_NEGATIVE = 2,  /* in `whole`, as two's complement */
    NUMBER_FLOAT = 3,     /* in `real`: it has a fraction or an exponent, is no 64-bit integer, or is -0 */
    NUMBER_ROOM = 32,     /* bytes that nova_put_double and nova_put_integer may take */
};

/* -- reading ---------------------------------------------------------------------------------------------------------- */

enum {
    NUMBER_DIGITS = 800, /* 768 significant digits and one that says "and more" decide every rounding */
};

/* The double of a number's significant digits times ten to the `power`. */
static double nova_digits_to_double(const uint8_t *p, const uint8_t *end, int64_t power, int negative) {
    char text[NUMBER_DIGITS + 32];
    size_t used = 0;
    int more = 0;
    text[used++] = negative ? '-' : '+';
    for (; p < end; p++) {
        if (*p == '.') continue;
        if (used == 1 && *p == '0') continue;
        if (used <= NUMBER_DIGITS)
            text[used++] = (char)*p;
        else {
            more |= *p != '0';
            power++;
        }
    }
    if (used == 1) return negative ? -0.0 : 0.0;
    if (more) {
        text[used++] = '1';
        power--;
    }
    if (power > 99999) power = 99999;
    if (power < -99999) power = -99999;
    text[used++] = 'e';
    text[used++] = power < 0 ? '-' : '+';
    if (power < 0) power = -power;
    for (int64_t place = 10000; place; place /= 10) text[used++] = (char)('0' + power / place % 10);
    text[used] = 0;
    return strtod(text, NULL); /* no decimal point in it, so no locale changes its meaning */
}

/* `p` is a number of RFC 8259, checked already. One of the kinds above. */
static int nova_read_number(const uint8_t *p, size_t size, uint64_t *whole, double *real) {
    static const double tens[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                  1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    const uint8_t *end = p + size, *digits, *stop;
    int negative = *p == '-', fraction = 0, exact = 1;
    uint64_t value = 0;
    int64_t power = 0, said = 0;
    if (negative) p++;
    digits = p;
    for (; p < end && (*p | 32) != 'e'; p++) {
        if (*p == '.') {
            fraction = 1;
            continue;
        }
        if (fraction) power--;
        if (value > (UINT64_MAX - (uint64_t)(*p - '0')) / 10)
            exact = 0;
        else
            value = value * 10 + (uint64_t)(*p - '0');
    }
    stop = p;
    if (p == end && !fraction && exact) {
        if (!negative) {
            *whole = value;
            return NUMBER_UNSIGNED;
        }
        if (value && value <= (uint64_t)1 << 63) {
            *whole = -value;
            return NUMBER_NEGATIVE;
        }
    }
    if (p < end) {
        int minus = p[1] == '-';
        p += p[1] == '-' || p[1] == '+' ? 2 : 1;
        for (; p < end; p++)
            if (said < 1000000) said = said * 10 + (*p - '0');
        power += minus ? -said : said;
    }
    if (exact && value <= (uint64_t)1 << 53 && power >= -22 && power <= 22) {
        *real = power < 0 ? (double)value / tens[-power] : (double)value * tens[power];
        if (negative) *real = -*real;
    } else
        *real = nova_digits_to_double(digits, stop, power, negative);
    return isinf(*real) ? NUMBER_WRONG : NUMBER_FLOAT;
}

/* -- writing ---------------------------------------------------------------------------------------------------------- */

static inline size_t nova_put_integer(uint8_t *out, uint64_t value) {
    uint8_t text[20];
    size_t at = 20;
    do text[--at] = (uint8_t)('0' + value % 10);
    while (value /= 10);
    memcpy(out, text + at, 20 - at);
    return 20 - at;
}

typedef struct {
    uint64_t f;
    int e;
} nova_fp; /* f times two to the e */

/* Ten to the -348, -340 … 340: 64 bits, the highest of them set, rounded to nearest. */
static const nova_fp nova_tens[87] = {
    {0xfa8fd5a0081c0288u, -1220}, {0xbaaee17fa23ebf76u, -1193}, {0x8b16fb203055ac76u, -1166}, {0xcf42894a5dce35eau, -1140},
    {0x9a6bb0aa55653b2du, -1113}, {0xe61acf033d1a45dfu, -1087}, {0xab70fe17c79ac6cau, -1060}, {0xff77b1fcbebcdc4fu, -1034},
    {0xbe5691ef416bd60cu, -1007}, {0x8dd01fad907ffc3cu, -980}, {0xd3515c2831559a83u, -954}, {0x9d71ac8fada6c9b5u, -927},
    {0xea9c227723ee8bcbu, -901}, {0xaecc49914078536du, -874}, {0x823c12795db6ce57u, -847}, {0xc21094364dfb5637u, -821},
    {0x9096ea6f3848984fu, -794}, {0xd77485cb25823ac7u, -768}, {0xa086cfcd97bf97f4u, -741}, {0xef340a98172aace5u, -715},
    {0xb23867fb2a35b28eu, -688}, {0x84c8d4dfd2c63f3bu, -661}, {0xc5dd44271ad3cdbau, -635}, {0x936b9fcebb25c996u, -608},
    {0xdbac6c247d62a584u, -582}, {0xa3ab66580d5fdaf6u, -555}, {0xf3e2f893dec3f126u, -529}, {0xb5b5ada8aaff80b8u, -502},
    {0x87625f056c7c4a8bu, -475}, {0xc9bcff6034c13053u, -449}, {0x964e858c91ba2655u, -422}, {0xdff9772470297ebdu, -396},
    {0xa6dfbd9fb8e5b88fu, -369}, {0xf8a95fcf88747d94u, -343}, {0xb94470938fa89bcfu, -316}, {0x8a08f0f8bf0f156bu, -289},
    {0xcdb02555653131b6u, -263}, {0x993fe2c6d07b7facu, -236}, {0xe45c10c42a2b3b06u, -210}, {0xaa242499697392d3u, -183},
    {0xfd87b5f28300ca0eu, -157}, {0xbce5086492111aebu, -130}, {0x8cbccc096f5088ccu, -103}, {0xd1b71758e219652cu, -77},
    {0x9c40000000000000u, -50}, {0xe8d4a51000000000u, -24}, {0xad78ebc5ac620000u, 3}, {0x813f3978f8940984u, 30},
    {0xc097ce7bc90715b3u, 56}, {0x8f7e32ce7bea5c70u, 83}, {0xd5d238a4abe98068u, 109}, {0x9f4f2726179a2245u, 136},
    {0xed63a231d4c4fb27u, 162}, {0xb0de65388cc8ada8u, 189}, {0x83c7088e1aab65dbu, 216}, {0xc45d1df942711d9au, 242},
    {0x924d692ca61be758u, 269}, {0xda01ee641a708deau, 295}, {0xa26da3999aef774au, 322}, {0xf209787bb47d6b85u, 348},
    {0xb454e4a179dd1877u, 375}, {0x865b86925b9bc5c2u, 402}, {0xc83553c5c8965d3du, 428}, {0x952ab45cfa97a0b3u, 455},
    {0xde469fbd99a05fe3u, 481}, {0xa59bc234db398c25u, 508}, {0xf6c69a72a3989f5cu, 534}, {0xb7dcbf5354e9beceu, 561},
    {0x88fcf317f22241e2u, 588}, {0xcc20ce9bd35c78a5u, 614}, {0x98165af37b2153dfu, 641}, {0xe2a0b5dc971f303au, 667},
    {0xa8d9d1535ce3b396u, 694}, {0xfb9b7cd9a4a7443cu, 720}, {0xbb764c4ca7a44410u, 747}, {0x8bab8eefb6409c1au, 774},
    {0xd01fef10a657842cu, 800}, {0x9b10a4e5e9913129u, 827}, {0xe7109bfba19c0c9du, 853}, {0xac2820d9623bf429u, 880},
    {0x80444b5e7aa7cf85u, 907}, {0xbf21e44003acdd2du, 933}, {0x8e679c2f5e44ff8fu, 960}, {0xd433179d9c8cb841u, 986},
    {0x9e19db92b4e31ba9u, 1013}, {0xeb96bf6ebadf77d9u, 1039}, {0xaf87023b9bf0ee6bu, 1066},
};

static inline nova_fp nova_fp_times(nova_fp a, nova_fp b) {
    unsigned __int128 p = (unsigned __int128)a.f * b.f;
    nova_fp r = {(uint64_t)(p >> 64) + (uint64_t)((uint64_t)p >> 63), a.e + b.e + 64};
    return r;
}

static inline nova_fp nova_fp_normal(nova_fp a) {
    int shift = __builtin_clzll(a.f);
    a.f <<= shift;
    a.e -= shift;
    return a;
}

/* Walk the last digit towards the value itself while that stays inside the interval. */
static inline void nova_grisu_round(uint8_t *digits, int size, uint64_t delta, uint64_t rest, uint64_t ten, uint64_t distance) {
    while (rest < distance && delta - rest >= ten && (rest + ten < distance || distance - rest > rest + ten - distance)) {
        digits[size - 1]--;
        rest += ten;
    }
}

/* The digits of a positive finite double: it is digits times ten to the `power`. */
static int nova_grisu(double value, uint8_t *digits, int *power) {
    static const uint64_t tens[] = {
        1u, 10u, 100u, 1000u, 10000u, 100000u, 1000000u, 10000000u, 100000000u, 1000000000u, 10000000000u, 100000000000u, 1000000000000u,
        10000000000000u, 100000000000000u, 1000000000000000u, 10000000000000000u, 100000000000000000u, 1000000000000000000u,
        10000000000000000000u,
    };
    const uint64_t hidden = (uint64_t)1 << 52;
    uint64_t bits, delta, high, low, one;
    nova_fp v, upper, lower, cached, w;
    int index, kappa, size = 0, shift;
    double k;
    memcpy(&bits, &value, 8);
    v.f = bits & (hidden - 1);
    v.e = (int)(bits >> 52 & 0x7FF);
    if (v.e) {
        v.f |= hidden;
        v.e -= 1075;
    } else
        v.e = -1074;
    upper.f = 2 * v.f + 1;
    upper.e = v.e - 1;
    upper = nova_fp_normal(upper);
    lower.f = v.f == hidden ? 4 * v.f - 1 : 2 * v.f - 1;
    lower.e = v.f == hidden ? v.e - 2 : v.e - 1;
    lower.f <<= lower.e - upper.e;
    lower.e = upper.e;

    k = (-61 - upper.e) * 0.30102999566398114 + 347;
    index = (int)k;
    index = (index + (k > index)) / 8 + 1;
    cached = nova_tens[index];
    *power = 348 - 8 * index;
    w = nova_fp_times(nova_fp_normal(v), cached);
    upper = nova_fp_times(upper, cached);
    lower = nova_fp_times(lower, cached);
    lower.f++;
    upper.f--;
    delta = upper.f - lower.f;

    shift = -upper.e;
    one = (uint64_t)1 << shift;
    high = upper.f >> shift;
    low = upper.f & (one - 1);
    for (kappa = 10; kappa > 1 && high < tens[kappa - 1];) kappa--;
    while (kappa > 0) {
        uint64_t digit = high / tens[kappa - 1], rest;
        high %= tens[kappa - 1];
        if (digit || size) digits[size++] = (uint8_t)('0' + digit);
        kappa--;
        rest = (high << shift) + low;
        if (rest <= delta) {
            *power += kappa;
            nova_grisu_round(digits, size, delta, rest, tens[kappa] << shift, upper.f - w.f);
            return size;
        }
    }
    for (;;) {
        uint64_t digit;
        low *= 10;
        delta *= 10;
        digit = low >> shift;
        if (digit || size) digits[size++] = (uint8_t)('0' + digit);
        low &= one - 1;
        kappa--;
        if (low < delta) {
            *power += kappa;
            nova_grisu_round(digits, size, delta, low, one, -kappa < 20 ? (upper.f - w.f) * tens[-kappa] : 0);
            return size;
        }
    }
}

/* A finite double, always with a point or an exponent, so that it is read back as one; the bytes written. */
static size_t nova_put_double(uint8_t *out, double value) {
    uint8_t digits[20];
    uint8_t *at = out;
    int size, power, point;
    if (signbit(value)) {
        *at++ = '-';
        value = -value;
    }
    if (value == 0) {
        memcpy(at, "0.0", 3);
        return (size_t)(at + 3 - out);
    }
    size = nova_grisu(value, digits, &power);
    point = size + power; /* digits before the decimal point */
    if (point > 0 && point <= 17) {
        for (int i = 0; i < point || i < size; i++) {
            if (i == point) *at++ = '.';
            *at++ = i < size ? digits[i] : '0';
        }
        if (size <= point) {
            *at++ = '.';
            *at++ = '0';
        }
        return (size_t)(at - out);
    }
    if (point <= 0 && point > -5) {
        *at++ = '0';
        *at++ = '.';
        for (; point < 0; point++) *at++ = '0';
        memcpy(at, digits, (size_t)size);
        return (size_t)(at + size - out);
    }
    *at++ = digits[0];
    if (size > 1) {
        *at++ = '.';
        memcpy(at, digits + 1, (size_t)size - 1);
        at += size - 1;
    }
    *at++ = 'e';
    point--;
    *at++ = point < 0 ? '-' : '+';
    return (size_t)(at - out) + nova_put_integer(at, (uint64_t)(point < 0 ? -point : point));
}

#endif
