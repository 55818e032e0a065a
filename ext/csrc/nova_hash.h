/* The step of hashes for tables whose keys strangers choose. */
#ifndef NOVA_HASH_H
#define NOVA_HASH_H
#include <stdint.h>

/* Both halves of the product. With one factor secret, what a difference in the other one does to the sum is not known; of a product by a
   constant that keeps its lower half alone, the highest bits are. */
static inline uint64_t nova_fold(uint64_t a, uint64_t b) {
    unsigned __int128 p = (unsigned __int128)a * b;
    return (uint64_t)p ^ (uint64_t)(p >> 64);
}

#endif
