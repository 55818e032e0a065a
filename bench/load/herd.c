/* herd: N open connections ask for one object at once; each takes one answer.
 *
 *   herd -p PORT -c CONNECTIONS PATH
 *
 * Prints "go" before it asks, then one JSON line: first bytes and completions from the moment of asking (`asked_ns`, monotonic), failures.
 * Of those that are readable at once, the ones that have nothing yet are read first: a first byte waits for nobody's body here.
 */
#include "common.h"

typedef struct { int fd; bool started, done; long left; size_t got; char head[4096]; } peer;
static char sink[1 << 18];

static int by_number(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

int main(int argc, char **argv) {
    int port = 0, count = 0, option;
    while ((option = getopt(argc, argv, "p:c:")) != -1) {
        if (option == 'p') port = atoi(optarg);
        else if (option == 'c') count = atoi(optarg);
        else give_up("usage: herd -p PORT -c CONNECTIONS PATH");
    }
    if (optind >= argc || !count) give_up("usage: herd -p PORT -c CONNECTIONS PATH");
    peer *peers = calloc((size_t)count, sizeof *peers);
    uint64_t *first = calloc((size_t)count, sizeof *first), *whole = calloc((size_t)count, sizeof *whole);
    int ep = epoll_create1(0), firsts = 0, wholes = 0, failed = 0;
    for (int i = 0; i < count; i++) {
        peers[i].fd = connect_to("127.0.0.1", port);
        make_nonblocking(peers[i].fd);
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &peers[i]};
        epoll_ctl(ep, EPOLL_CTL_ADD, peers[i].fd, &event);
    }
    usleep(200000);
    puts("go");
    fflush(stdout);
    char request[2048];
    int size = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n", argv[optind], port);
    uint64_t asked = now_ns();
    for (int i = 0; i < count; i++) if (send(peers[i].fd, request, (size_t)size, MSG_NOSIGNAL) != size) give_up("send");
    struct epoll_event events[256];
    uint64_t bytes = 0;
    while (wholes + failed < count) {
        int n = epoll_wait(ep, events, 256, 60000);
        if (n <= 0) break;
        for (int i = 0; i < 2 * n; i++) {
            peer *p = events[i % n].data.ptr;
            if (!p || p->done || (i < n && p->got)) continue;
            events[i % n].data.ptr = NULL;
            ssize_t got;
            if (!p->started) {
                got = recv(p->fd, p->head + p->got, sizeof p->head - 1 - p->got, 0);
                if (got <= 0) { if (got < 0 && errno == EAGAIN) continue; failed++; p->done = true; close(p->fd); continue; }
                if (!p->got) first[firsts++] = now_ns() - asked;
                p->got += (size_t)got;
                p->head[p->got] = 0;
                char *end = strstr(p->head, "\r\n\r\n"), *length = strcasestr(p->head, "content-length:");
                if (!end) continue;
                if (strncmp(p->head + 9, "200", 3) || !length || length > end) { failed++; p->done = true; close(p->fd); continue; }
                p->started = true;
                p->left = atol(length + 15) - (long)(p->got - (size_t)(end + 4 - p->head));
                bytes += (uint64_t)(p->got - (size_t)(end + 4 - p->head));
            } else {
                got = recv(p->fd, sink, sizeof sink, MSG_TRUNC);
                if (got <= 0) { if (got < 0 && errno == EAGAIN) continue; failed++; p->done = true; close(p->fd); continue; }
                p->left -= got;
                bytes += (uint64_t)got;
            }
            if (p->started && p->left <= 0) { whole[wholes++] = now_ns() - asked; p->done = true; close(p->fd); }
        }
    }
    failed += count - wholes - failed;
    qsort(first, (size_t)firsts, sizeof *first, by_number);
    qsort(whole, (size_t)wholes, sizeof *whole, by_number);
    double ms = 1e-6;
    printf("{\"failed\": %d, \"bytes\": %llu, \"asked_ns\": %llu, \"first_p50_ms\": %.2f, \"first_p99_ms\": %.2f, \"p50_ms\": %.2f, \"p99_ms\": %.2f, \"max_ms\": %.2f}\n",
           failed, (unsigned long long)bytes, (unsigned long long)asked, firsts ? (double)first[firsts / 2] * ms : 0, firsts ? (double)first[firsts * 99 / 100] * ms : 0,
           wholes ? (double)whole[wholes / 2] * ms : 0, wholes ? (double)whole[wholes * 99 / 100] * ms : 0, wholes ? (double)whole[wholes - 1] * ms : 0);
    return 0;
}
