/* Base64url without padding (RFC 4648, section 5; RFC 7515, section 2), decoded by a table: which kind of character comes next in a
 * signature is chance, so comparisons would be predicted wrongly more often than not. */
#ifndef NOVA_BASE64URL_H
#define NOVA_BASE64URL_H
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* The 6 bits that a character stands for, and 64; 0 for any other byte. */
static const uint8_t nova_base64url_bits[256] = {
    [0x20] = 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 126, 0, 0,
    116, 117, 118, 119, 120, 121, 122, 123, 124, 125, 0, 0, 0, 0, 0, 0,
    0, 64, 65, 66, 67, 68, 69, 70, 71, 72, 73, 74, 75, 76, 77, 78,
    79, 80, 81, 82, 83, 84, 85, 86, 87, 88, 89, 0, 0, 0, 0, 127,
    0, 90, 91, 92, 93, 94, 95, 96, 97, 98, 99, 100, 101, 102, 103, 104,
    105, 106, 107, 108, 109, 110, 111, 112, 113, 114, 115, 0, 0, 0, 0, 0,
};

/* Decode all of `text` into `out` (room for size * 3 / 4); the bytes written, or -1, and then `out` holds anything.
 * Strict: no padding, no other byte, and the bits that no byte uses are zero, so one value has one spelling. */
static inline ssize_t nova_base64url_decode(const uint8_t *text, size_t size, uint8_t *out) {
    const uint8_t *end = text + (size & ~(size_t)3), *start = out;
    const uint8_t *bits = nova_base64url_bits;
    uint32_t good = 64, four;
    for (; text < end; text += 4, out += 3) {
        uint32_t a = bits[text[0]], b = bits[text[1]], c = bits[text[2]], d = bits[text[3]];
        good &= a & b & c & d;
        four = (a & 63) << 18 | (b & 63) << 12 | (c & 63) << 6 | (d & 63);
        out[0] = (uint8_t)(four >> 16);
        out[1] = (uint8_t)(four >> 8);
        out[2] = (uint8_t)four;
    }
    switch (size & 3) {
    case 1: return -1;
    case 2:
        good &= bits[text[0]] & bits[text[1]];
        four = (bits[text[0]] & 63u) << 6 | (bits[text[1]] & 63u);
        if (four & 15) return -1;
        *out++ = (uint8_t)(four >> 4);
        break;
    case 3:
        good &= bits[text[0]] & bits[text[1]] & bits[text[2]];
        four = (bits[text[0]] & 63u) << 12 | (bits[text[1]] & 63u) << 6 | (bits[text[2]] & 63u);
        if (four & 3) return -1;
        *out++ = (uint8_t)(four >> 10);
        *out++ = (uint8_t)(four >> 2);
        break;
    }
    return good ? out - start : -1;
}

#endif
