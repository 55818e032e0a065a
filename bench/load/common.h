/* What the load generators share: clock, connecting, a latency histogram, giving up. */
#ifndef BENCH_COMMON_H
#define BENCH_COMMON_H
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t); /* the clock of Python's time.monotonic_ns */
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

__attribute__((noreturn, format(printf, 1, 2))) static void give_up(const char *format, ...) {
    va_list list;
    va_start(list, format);
    vfprintf(stderr, format, list);
    va_end(list);
    fputc('\n', stderr);
    exit(2);
}

/* A connected socket, blocking, without Nagle's delay. */
static inline int connect_to(const char *host, int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
    if (fd < 0 || inet_pton(AF_INET, host, &address.sin_addr) != 1) give_up("no socket for %s: %s", host, strerror(errno));
    if (connect(fd, (struct sockaddr *)&address, sizeof address)) give_up("connect to %s:%d: %s", host, port, strerror(errno));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

static inline void make_nonblocking(int fd) { fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK); }

/* Latencies in microseconds, 1.6 % wide buckets: 64 per power of two. */
typedef struct {
    uint64_t count, buckets[40 * 64];
} histogram;

static unsigned bucket_of(uint64_t us) {
    if (us < 64) return (unsigned)us;
    unsigned power = 63 - (unsigned)__builtin_clzll(us);
    unsigned at = (power - 5) * 64 + (unsigned)(us >> (power - 6)) - 64;
    return at < 40 * 64 ? at : 40 * 64 - 1;
}

static inline void record(histogram *h, uint64_t us) {
    h->count++;
    h->buckets[bucket_of(us)]++;
}

/* Lower edge of the bucket in which the share of values (0..1) is reached; 0 when empty. */
static inline uint64_t percentile(const histogram *h, double share) {
    uint64_t wanted = (uint64_t)((double)h->count * share), seen = 0;
    for (unsigned at = 0; at < 40 * 64; at++) {
        seen += h->buckets[at];
        if (seen > wanted || (seen && seen == h->count)) return at < 64 ? at : (uint64_t)(at % 64 + 64) << (at / 64 - 1);
    }
    return 0;
}

#endif
