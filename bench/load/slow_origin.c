/* slow_origin: an origin that answers after a while: one thread, epoll.
 *
 *   slow_origin -p PORT -b BYTES -d DELAY_MS [-c 'Cache-Control']
 *
 * Every request gets 200 with BYTES of body, DELAY_MS after its head came. GET /count answers at once how many others there were, and when
 * the latest of their answers began (monotonic ns).
 */
#include "common.h"

typedef struct { int fd; uint64_t due; } waiting;
typedef struct { size_t head, sent; char in[8192]; size_t got; char out[512]; bool busy; } peer;

static waiting *queue;
static size_t first, last, room;
static peer *peers[65536];
static char *body;
static size_t body_size;
static uint64_t served, began;
static int ep;

static void pump(int fd) {
    peer *p = peers[fd];
    if (p->sent == 0) began = now_ns();
    while (p->sent < p->head + body_size) {
        bool in_head = p->sent < p->head;
        const char *at = in_head ? p->out + p->sent : body + (p->sent - p->head);
        size_t left = in_head ? p->head - p->sent : p->head + body_size - p->sent;
        ssize_t n = send(fd, at, left, MSG_NOSIGNAL | (in_head ? MSG_MORE : 0));
        if (n < 0) {
            if (errno != EAGAIN) { p->busy = false; return; }
            struct epoll_event event = {.events = EPOLLIN | EPOLLOUT, .data.fd = fd};
            epoll_ctl(ep, EPOLL_CTL_MOD, fd, &event);
            return;
        }
        p->sent += (size_t)n;
    }
    p->busy = false;
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    epoll_ctl(ep, EPOLL_CTL_MOD, fd, &event);
}

int main(int argc, char **argv) {
    int port = 0, option;
    uint64_t delay = 0;
    const char *control = "max-age=3600";
    while ((option = getopt(argc, argv, "p:b:d:c:")) != -1) {
        if (option == 'p') port = atoi(optarg);
        else if (option == 'b') body_size = (size_t)atoll(optarg);
        else if (option == 'd') delay = (uint64_t)atoll(optarg) * 1000000u;
        else if (option == 'c') control = optarg;
        else give_up("usage: slow_origin -p PORT -b BYTES -d DELAY_MS [-c CONTROL]");
    }
    body = malloc(body_size + 1);
    for (size_t i = 0; i < body_size; i++) body[i] = (char)('a' + i % 23);
    int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 4096)) give_up("listen: %s", strerror(errno));
    make_nonblocking(listener);
    ep = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, events[256];
    epoll_ctl(ep, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int wait = -1;
        if (first < last) {
            uint64_t now = now_ns();
            wait = queue[first].due > now ? (int)((queue[first].due - now) / 1000000 + 1) : 0;
        }
        int count = epoll_wait(ep, events, 256, wait);
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            if (fd == listener) {
                int got;
                while ((got = accept(listener, NULL, NULL)) >= 0 && got < 65536) {
                    make_nonblocking(got);
                    setsockopt(got, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                    peers[got] = calloc(1, sizeof(peer));
                    event = (struct epoll_event){.events = EPOLLIN, .data.fd = got};
                    epoll_ctl(ep, EPOLL_CTL_ADD, got, &event);
                }
                continue;
            }
            peer *p = peers[fd];
            if (events[i].events & EPOLLOUT) pump(fd);
            if (!(events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))) continue;
            ssize_t n = recv(fd, p->in + p->got, sizeof p->in - 1 - p->got, 0);
            if (n <= 0) {
                if (n < 0 && errno == EAGAIN) continue;
                free(p);
                peers[fd] = NULL;
                close(fd);
                continue;
            }
            p->got += (size_t)n;
            p->in[p->got] = 0;
            if (!strstr(p->in, "\r\n\r\n")) continue;
            p->got = 0;
            if (!strncmp(p->in, "GET /count ", 11)) {
                char text[64];
                int size = snprintf(text, sizeof text, "%llu %llu", (unsigned long long)served, (unsigned long long)began);
                size = snprintf(p->out, sizeof p->out, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", size, text);
                send(fd, p->out, (size_t)size, MSG_NOSIGNAL);
                continue;
            }
            served++;
            p->head = (size_t)snprintf(p->out, sizeof p->out, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\nCache-Control: %s\r\nETag: \"x\"\r\n\r\n", body_size, control);
            p->sent = 0;
            p->busy = true;
            if (last == room) {
                memmove(queue, queue + first, (last - first) * sizeof *queue);
                last -= first;
                first = 0;
                if (last * 2 >= room) queue = realloc(queue, (room = room ? room * 2 : 4096) * sizeof *queue);
            }
            queue[last++] = (waiting){fd, now_ns() + delay};
        }
        uint64_t now = now_ns();
        while (first < last && queue[first].due <= now) {
            int fd = queue[first++].fd;
            if (peers[fd] && peers[fd]->busy && peers[fd]->sent == 0) pump(fd);
        }
    }
}
