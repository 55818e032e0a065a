/* Batches of sends by io_uring, by its system calls alone: no liburing. One thread per ring, the one that opened it.
 *
 * Sends are MSG_DONTWAIT, so all of them are over when `nova_uring_go` returns. A send that took all its bytes posts no completion
 * where the kernel can tell it from a short one (asked once, when the ring is opened); else every send posts one.
 */
#ifndef NOVA_URING_H
#define NOVA_URING_H
#include <errno.h>
#include <linux/io_uring.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef IORING_SETUP_SUBMIT_ALL
#define IORING_SETUP_SUBMIT_ALL (1U << 7)
#endif
#ifndef IORING_SETUP_SINGLE_ISSUER
#define IORING_SETUP_SINGLE_ISSUER (1U << 12)
#endif
#ifndef IORING_SETUP_DEFER_TASKRUN
#define IORING_SETUP_DEFER_TASKRUN (1U << 13)
#endif

typedef struct {
    int fd;
    int quiet;       /* sends that took everything post nothing */
    unsigned mask, queued;
    unsigned *sq_tail, *sq_head, *cq_head, *cq_tail;
    unsigned cq_mask;
    struct io_uring_sqe *sqes;
    struct io_uring_cqe *cqes;
    void *ring;
    size_t ring_size, sqes_size;
} nova_uring;

static inline void nova_uring_close(nova_uring *u) {
    if (u->ring) munmap(u->ring, u->ring_size);
    if (u->sqes) munmap(u->sqes, u->sqes_size);
    if (u->fd >= 0) close(u->fd);
    memset(u, 0, sizeof *u);
    u->fd = -1;
}

/* 0: queued; -1: the ring is full, go first. */
static inline int nova_uring_send(nova_uring *u, int fd, const void *data, uint32_t size, uint64_t user) {
    unsigned tail = *u->sq_tail;
    if (u->queued > u->mask) return -1;
    struct io_uring_sqe *e = &u->sqes[tail & u->mask];
    memset(e, 0, sizeof *e);
    e->opcode = IORING_OP_SEND;
    e->flags = u->quiet ? IOSQE_CQE_SKIP_SUCCESS : 0;
    e->fd = fd;
    e->addr = (uint64_t)(uintptr_t)data;
    e->len = size;
    e->msg_flags = MSG_DONTWAIT | MSG_NOSIGNAL | MSG_WAITALL; /* with WAITALL a short send is a failed one, and posts its completion */
    e->user_data = user;
    __atomic_store_n(u->sq_tail, tail + 1, __ATOMIC_RELEASE);
    u->queued++;
    return 0;
}

/* Carry out what is queued. 0, or -1: the ring is broken; what was not carried out is not told apart. */
static inline int nova_uring_go(nova_uring *u) {
    while (u->queued) {
        long n = syscall(__NR_io_uring_enter, u->fd, u->queued, 0, IORING_ENTER_GETEVENTS, NULL, 0);
        if (n < 0) {
            if (errno == EINTR || errno == EAGAIN || errno == EBUSY) continue;
            return -1;
        }
        u->queued -= (unsigned)n;
    }
    return 0;
}

/* The next completion: 1 with whose and how many bytes (or -errno), 0: none. */
static inline int nova_uring_said(nova_uring *u, uint64_t *user, int *result) {
    unsigned head = *u->cq_head;
    if (head == __atomic_load_n(u->cq_tail, __ATOMIC_ACQUIRE)) return 0;
    struct io_uring_cqe *c = &u->cqes[head & u->cq_mask];
    *user = c->user_data;
    *result = c->res;
    __atomic_store_n(u->cq_head, head + 1, __ATOMIC_RELEASE);
    return 1;
}

/* Two sends, to see whether the ring may be entered (a sandbox may allow to set one up, but not that) and what it tells: 1: a short send
 * posts a completion even though successes post none; 0: it does not; -1 with errno: the ring is of no use. */
static inline int nova_uring_tells_short(nova_uring *u) {
    int pair[2], small = 4096, told = 0, result, error;
    uint64_t user;
    char *data = calloc(1, 1 << 22);
    if (!data || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair)) {
        free(data);
        return -1;
    }
    setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    u->quiet = 1;
    nova_uring_send(u, pair[0], data, 1, 1);
    nova_uring_send(u, pair[0], data, 1 << 22, 2);
    if (nova_uring_go(u) == 0) {
        int count = 0;
        while (nova_uring_said(u, &user, &result)) {
            count++;
            told = count == 1 && user == 2 && result > 0 && result < 1 << 22;
        }
    } else {
        told = -1;
    }
    error = errno;
    close(pair[0]);
    close(pair[1]);
    free(data);
    errno = error;
    return told;
}

/* A ring for `entries` sends (a power of two); 0, or -1 with errno. */
static inline int nova_uring_open(nova_uring *u, unsigned entries) {
    struct io_uring_params p;
    memset(u, 0, sizeof *u);
    memset(&p, 0, sizeof p);
    p.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE;
    p.cq_entries = entries * 2;
    u->fd = (int)syscall(__NR_io_uring_setup, entries, &p);
    if (u->fd < 0) return -1;
    if (!(p.features & IORING_FEAT_SINGLE_MMAP) || !(p.features & IORING_FEAT_CQE_SKIP)) {
        nova_uring_close(u);
        errno = ENOSYS;
        return -1;
    }
    size_t sq = p.sq_off.array + p.sq_entries * sizeof(unsigned), cq = p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe);
    u->ring_size = sq > cq ? sq : cq;
    u->sqes_size = p.sq_entries * sizeof(struct io_uring_sqe);
    u->ring = mmap(NULL, u->ring_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, u->fd, IORING_OFF_SQ_RING);
    u->sqes = mmap(NULL, u->sqes_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, u->fd, IORING_OFF_SQES);
    if (u->ring == MAP_FAILED || u->sqes == MAP_FAILED) {
        int error = errno;
        u->ring = u->ring == MAP_FAILED ? NULL : u->ring;
        u->sqes = u->sqes == MAP_FAILED ? NULL : u->sqes;
        nova_uring_close(u);
        errno = error;
        return -1;
    }
    char *base = u->ring;
    u->sq_head = (unsigned *)(base + p.sq_off.head);
    u->sq_tail = (unsigned *)(base + p.sq_off.tail);
    u->cq_head = (unsigned *)(base + p.cq_off.head);
    u->cq_tail = (unsigned *)(base + p.cq_off.tail);
    u->mask = p.sq_entries - 1;
    u->cq_mask = p.cq_entries - 1;
    u->cqes = (struct io_uring_cqe *)(base + p.cq_off.cqes);
    unsigned *array = (unsigned *)(base + p.sq_off.array);
    for (unsigned i = 0; i < p.sq_entries; i++) array[i] = i;
    u->quiet = nova_uring_tells_short(u);
    if (u->quiet < 0) {
        int error = errno;
        nova_uring_close(u);
        errno = error;
        return -1;
    }
    return 0;
}

#endif
