/* What the kernel takes to send one small message to each of many sockets, by a bare loop of send() and nothing else: the floor under
 * a fan-out by `send`. The readers are a process on the core that this program was started on, the loop goes to the other core.
 *
 * send_floor -c CORE [-n READERS] [-s BYTES] [-d SECONDS]   One JSON line: sends per CPU-second, one message in flight.
 */
#include "common.h"
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>

static double cpu_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Adds what has come, in bytes, to `got`, for as long as its parent lives. */
__attribute__((noreturn)) static void read_all(int port, int readers, _Atomic uint64_t *got) {
    static char data[65536];
    struct epoll_event events[512];
    int poll = epoll_create1(EPOLL_CLOEXEC);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (int i = 0; i < readers; i++) {
        int fd = connect_to("127.0.0.1", port);
        struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
        make_nonblocking(fd);
        if (epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event)) give_up("epoll_ctl: %s", strerror(errno));
    }
    for (;;) {
        int count = epoll_wait(poll, events, 512, -1);
        uint64_t bytes = 0;
        for (int i = 0; i < count; i++) {
            ssize_t n = recv(events[i].data.fd, data, sizeof data, 0);
            if (n > 0) bytes += (uint64_t)n;
        }
        atomic_fetch_add(got, bytes);
    }
}

int main(int count, char **words) {
    int readers = 1000, core = -1, option, one = 1;
    size_t size = 128;
    double seconds = 2;
    while ((option = getopt(count, words, "c:n:s:d:")) != -1) {
        if (option == 'c') core = atoi(optarg);
        else if (option == 'n') readers = atoi(optarg);
        else if (option == 's') size = (size_t)atoi(optarg);
        else if (option == 'd') seconds = atof(optarg);
        else give_up("usage: send_floor -c CORE [-n READERS] [-s BYTES] [-d SECONDS]");
    }
    if (core < 0 || readers < 1 || size < 1 || size > 65536) give_up("send_floor: -c CORE is missing, or a number is out of range");
    struct rlimit files;
    if (!getrlimit(RLIMIT_NOFILE, &files)) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, length) || listen(listener, 4096)) give_up("listen: %s", strerror(errno));
    getsockname(listener, (struct sockaddr *)&address, &length);
    _Atomic uint64_t *got = mmap(NULL, sizeof *got, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (got == MAP_FAILED) give_up("mmap: %s", strerror(errno));
    pid_t reader = fork();
    if (reader < 0) give_up("fork: %s", strerror(errno));
    if (!reader) read_all(ntohs(address.sin_port), readers, got);
    cpu_set_t cores;
    CPU_ZERO(&cores);
    CPU_SET(core, &cores);
    if (sched_setaffinity(0, sizeof cores, &cores)) give_up("core %d: %s", core, strerror(errno));
    int *sockets = calloc((size_t)readers, sizeof *sockets);
    char *message = calloc(1, size);
    if (!sockets || !message) give_up("no memory");
    for (int i = 0; i < readers; i++) {
        if ((sockets[i] = accept(listener, NULL, NULL)) < 0) give_up("accept: %s", strerror(errno));
        setsockopt(sockets[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    }
    uint64_t sent = 0, until = now_ns() + (uint64_t)(seconds * 1e9);
    double began = cpu_s();
    while (now_ns() < until) {
        for (int i = 0; i < readers; i++)
            if (send(sockets[i], message, size, MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t)size) give_up("send: %s", strerror(errno));
        sent += (uint64_t)readers;
        while (atomic_load(got) < sent * size) usleep(50);
    }
    double took = cpu_s() - began;
    kill(reader, SIGKILL);
    printf("{\"per_cpu_s\":%.0f}\n", (double)sent / took);
    return 0;
}
