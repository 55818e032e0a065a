/* Atomic operations for Cython code, which has no syntax of its own for them. */
#ifndef NOVA_ATOMICS_H
#define NOVA_ATOMICS_H
#include <stdint.h>

static inline int32_t nova_add32(int32_t *p, int32_t v) { return __atomic_add_fetch(p, v, __ATOMIC_ACQ_REL); }
static inline void nova_ref(int32_t *p) { __atomic_add_fetch(p, 1, __ATOMIC_RELAXED); }
static inline int64_t nova_add64(int64_t *p, int64_t v) { return __atomic_add_fetch(p, v, __ATOMIC_RELAXED); }
/* As nova_add64, but orders what comes before and after it: for reference counts. */
static inline int64_t nova_sum64(int64_t *p, int64_t v) { return __atomic_add_fetch(p, v, __ATOMIC_ACQ_REL); }
static inline uint64_t nova_load64(uint64_t *p) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }
static inline void nova_store64(uint64_t *p, uint64_t v) { __atomic_store_n(p, v, __ATOMIC_RELEASE); }
static inline uint8_t nova_load8(uint8_t *p) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }
static inline void nova_store8(uint8_t *p, uint8_t v) { __atomic_store_n(p, v, __ATOMIC_RELEASE); }
static inline uint32_t nova_load32(uint32_t *p) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }
static inline void nova_store32(uint32_t *p, uint32_t v) { __atomic_store_n(p, v, __ATOMIC_RELEASE); }
/* From `was` to `v`; 0: it was another one, which is in `was` now, or nothing at all has changed. */
static inline int nova_turn64(uint64_t *p, uint64_t *was, uint64_t v) {
    return __atomic_compare_exchange_n(p, was, v, 1, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}
static inline uint32_t nova_swap32(uint32_t *p, uint32_t v) { return __atomic_exchange_n(p, v, __ATOMIC_SEQ_CST); }
static inline void nova_fence(void) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }

#endif
