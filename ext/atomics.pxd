"""Atomic reads, writes and counters; the C compiler's builtins under names that Cython can call."""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

cdef extern from "nova_atomics.h" nogil:
    int32_t nova_add32(int32_t *p, int32_t v)
    void nova_ref(int32_t *p)
    int64_t nova_add64(int64_t *p, int64_t v)
    int64_t nova_sum64(int64_t *p, int64_t v)
    uint64_t nova_load64(uint64_t *p)
    void nova_store64(uint64_t *p, uint64_t v)
    uint8_t nova_load8(uint8_t *p)
    void nova_store8(uint8_t *p, uint8_t v)
    uint32_t nova_load32(uint32_t *p)
    void nova_store32(uint32_t *p, uint32_t v)
    bint nova_turn64(uint64_t *p, uint64_t *was, uint64_t v)
    uint32_t nova_swap32(uint32_t *p, uint32_t v)
    void nova_fence()
