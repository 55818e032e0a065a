/* WebSocket fan-out: N readers of one channel and a publisher on one thread; deliveries, messages per receive, latencies.
 *
 * ws_load -p PORT -n READERS -s BYTES (-w IN_FLIGHT | -r RATE) -d SECONDS [-C CHANNEL] [-q PATH] [-Q PUBLISHER_PATH] [-z] [-S STALLED]
 * A message begins with 16 hex digits: when it was (-r: should have been) sent, in ns of CLOCK_MONOTONIC.
 * -C speaks nova.json.v1: readers subscribe to CHANNEL, the publisher publishes; each publication in a frame counts. Without it every binary
 * message that comes counts, and what the publisher sends is for the server to spread.
 * -w: closed loop, the next message when fewer than so many are under way. -r: open loop, so many a second.
 * -z: readers offer permessage-deflate and count messages unread. -S: so many readers stop reading when the measuring begins.
 */
#include "common.h"
#include <sys/resource.h>

enum { CONNECTING, UPGRADING, OPEN, STALLED };

typedef struct {
    int fd, state;
    uint8_t *held;
    uint32_t size;
} reader;

static const char *host = "127.0.0.1", *path = "/v1/ws", *publisher_path = NULL, *channel = NULL;
static int port, readers = 1000, bytes = 128, in_flight = 1, stalled, deflate;
static double rate, seconds = 3;
static reader *all;
static int ep;
static uint64_t deliveries, receives, failed, now;
static histogram late;
static uint8_t room[1 << 20];

static void post(int fd, int opcode, const char *data, size_t size) {
    static uint8_t frame[70000];
    size_t head = 2, at = 0;
    frame[0] = (uint8_t)(0x80 | opcode);
    if (size < 126) {
        frame[1] = (uint8_t)(0x80 | size);
    } else {
        frame[1] = 0x80 | 126;
        frame[2] = (uint8_t)(size >> 8);
        frame[3] = (uint8_t)size;
        head = 4;
    }
    memset(frame + head, 0, 4); /* a mask of zeros is one */
    head += 4;
    memcpy(frame + head, data, size);
    while (at < head + size) {
        ssize_t n = send(fd, frame + at, head + size - at, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN) {
            usleep(50);
            continue;
        }
        if (n < 0) give_up("the server closed a connection: %s", strerror(errno));
        at += (size_t)n;
    }
}

static void begin(int i) {
    reader *r = &all[i];
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)}, from = {.sin_family = AF_INET};
    int one = 1;
    r->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (r->fd < 0) give_up("no socket: %s", strerror(errno));
    setsockopt(r->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    inet_pton(AF_INET, host, &to.sin_addr);
    from.sin_addr.s_addr = htonl(0x7F000002u + (uint32_t)(i / 20000)); /* more than one address when ports would run out */
    setsockopt(r->fd, IPPROTO_IP, 24 /* IP_BIND_ADDRESS_NO_PORT */, &one, sizeof one);
    bind(r->fd, (struct sockaddr *)&from, sizeof from);
    if (connect(r->fd, (struct sockaddr *)&to, sizeof to) && errno != EINPROGRESS) give_up("connect: %s", strerror(errno));
    r->state = CONNECTING;
    struct epoll_event event = {.events = EPOLLOUT, .data.u32 = (uint32_t)i};
    epoll_ctl(ep, EPOLL_CTL_ADD, r->fd, &event);
}

static void upgrade(int i) {
    char head[12000];
    const char *where = i == 0 && publisher_path ? publisher_path : path;
    int n = snprintf(head, sizeof head,
                     "GET %s HTTP/1.1\r\nHost: %s:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                     "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%s%s\r\n",
                     where, host, port,
                     channel ? "Sec-WebSocket-Protocol: nova.json.v1\r\n" : "",
                     deflate && i ? "Sec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover; server_no_context_takeover\r\n" : "");
    if (send(all[i].fd, head, (size_t)n, MSG_NOSIGNAL) != n) give_up("upgrade: %s", strerror(errno));
    all[i].state = UPGRADING;
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = (uint32_t)i};
    epoll_ctl(ep, EPOLL_CTL_MOD, all[i].fd, &event);
}

static void stamp(const uint8_t *text) {
    uint64_t then = 0;
    for (int k = 0; k < 16; k++) {
        int c = text[k], digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
        if (digit < 0) return;
        then = then << 4 | (uint64_t)digit;
    }
    deliveries++;
    record(&late, now > then ? (now - then) / 1000 : 0);
}

static void message(int i, int first, const uint8_t *data, size_t size) {
    if (first & 0x40) { /* deflated: how many it holds is not looked at, so -z goes with one message a frame */
        deliveries++;
        return;
    }
    if (!channel) {
        if (size >= 16) stamp(data);
        return;
    }
    if (i == 0) {
        if (memmem(data, size, "\"error\"", 7) && !failed++) fprintf(stderr, "publisher: %.*s\n", (int)(size < 200 ? size : 200), data);
        return;
    }
    const uint8_t *at = data, *end = data + size;
    while ((at = memmem(at, (size_t)(end - at), "\"data\":\"", 8))) {
        at += 8;
        if (end - at < 16) break;
        stamp(at);
    }
}

/* Whole frames out of `data`; the bytes that are left. */
static size_t frames(int i, uint8_t *data, size_t size) {
    size_t at = 0;
    while (size - at >= 2) {
        size_t head = 2, length = data[at + 1] & 127;
        if (length == 126) {
            if (size - at < 4) break;
            length = (size_t)data[at + 2] << 8 | data[at + 3];
            head = 4;
        } else if (length == 127) {
            if (size - at < 10) break;
            length = 0;
            for (int k = 0; k < 8; k++) length = length << 8 | data[at + 2 + (size_t)k];
            head = 10;
        }
        if (size - at < head + length) break;
        int opcode = data[at] & 15;
        if (opcode == 1 || opcode == 2) message(i, data[at], data + at + head, length);
        if (opcode == 9) post(all[i].fd, 10, (char *)data + at + head, length);
        if (opcode == 8) give_up("reader %d was closed with %d", i, length >= 2 ? data[at + head] << 8 | data[at + head + 1] : 0);
        at += head + length;
    }
    memmove(data, data + at, size - at);
    return size - at;
}

static void input(int i) {
    reader *r = &all[i];
    memcpy(room, r->held, r->size);
    ssize_t n = recv(r->fd, room + r->size, sizeof room - r->size, 0);
    receives++;
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) give_up("reader %d: %s", i, n ? strerror(errno) : "the server closed the connection");
    size_t size = r->size + (size_t)n;
    if (r->state == UPGRADING) {
        uint8_t *end = memmem(room, size, "\r\n\r\n", 4);
        if (end) {
            if (memcmp(room, "HTTP/1.1 101", 12)) give_up("no upgrade: %.*s", (int)(size < 200 ? size : 200), room);
            r->state = OPEN;
            size -= (size_t)(end + 4 - room);
            memmove(room, end + 4, size);
            if (channel) {
                char text[512];
                int k = 0;
                k = snprintf(text, sizeof text, "[{\"id\":1,\"connect\":{}}");
                if (i) k += snprintf(text + k, sizeof text - (size_t)k, ",{\"id\":2,\"subscribe\":{\"channel\":\"%s\"}}", channel);
                k += snprintf(text + k, sizeof text - (size_t)k, "]");
                post(r->fd, 1, text, (size_t)k);
            }
        }
    }
    if (r->state == OPEN) size = frames(i, room, size);
    if (size) {
        r->held = realloc(r->held, size);
        memcpy(r->held, room, size);
    }
    r->size = (uint32_t)size;
}

static void poll_once(int ms) {
    static struct epoll_event events[4096];
    int n = epoll_wait(ep, events, 4096, ms);
    now = now_ns();
    for (int k = 0; k < n; k++) {
        int i = (int)events[k].data.u32;
        if ((k & 15) == 15) now = now_ns();
        if (all[i].state == CONNECTING) {
            int error = 0;
            socklen_t size = sizeof error;
            getsockopt(all[i].fd, SOL_SOCKET, SO_ERROR, &error, &size);
            if (error) give_up("connect: %s", strerror(error));
            upgrade(i);
        } else if (all[i].state != STALLED) {
            input(i);
        }
    }
}

static void publish(uint64_t when, char *text) {
    static char command[70000];
    static unsigned id = 10;
    char digits[17];
    snprintf(digits, sizeof digits, "%016llx", (unsigned long long)when);
    memcpy(text, digits, 16);
    if (!channel) {
        post(all[0].fd, 2, text, (size_t)bytes);
        return;
    }
    int n = snprintf(command, sizeof command, "{\"id\":%u,\"publish\":{\"channel\":\"%s\",\"data\":\"%.*s\"}}", id++, channel, bytes, text);
    post(all[0].fd, 1, command, (size_t)n);
}

int main(int count, char **words) {
    static const char *talk[] = {"lol ", "that ", "was ", "amazing ", "gg ", "streamer ", "clip ", "please ", "boss ", "fight ", "hello "};
    int option;
    while ((option = getopt(count, words, "p:n:s:w:r:d:C:q:Q:zS:")) != -1) {
        if (option == 'p') port = atoi(optarg);
        else if (option == 'n') readers = atoi(optarg);
        else if (option == 's') bytes = atoi(optarg);
        else if (option == 'w') in_flight = atoi(optarg);
        else if (option == 'r') rate = atof(optarg);
        else if (option == 'd') seconds = atof(optarg);
        else if (option == 'C') channel = optarg;
        else if (option == 'q') path = optarg;
        else if (option == 'Q') publisher_path = optarg;
        else if (option == 'z') deflate = 1;
        else if (option == 'S') stalled = atoi(optarg);
        else give_up("unknown option");
    }
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    if (!port || bytes < 16 || bytes > 60000) give_up("-p PORT is needed, -s from 16 to 60000");
    ep = epoll_create1(EPOLL_CLOEXEC);
    all = calloc((size_t)readers + 1, sizeof *all);
    uint64_t began = now_ns();
    int started = 0, open = 0;
    while (open <= readers) {
        while (started <= readers && started - open < 256) begin(started++);
        poll_once(1000);
        open = 0;
        for (int i = 0; i < started; i++) open += all[i].state == OPEN;
        if (now_ns() - began > 60000000000u) give_up("%d of %d connections opened", open, readers + 1);
    }
    double connecting = (double)(now_ns() - began) / 1e9;
    uint64_t settle = now_ns() + 500000000u;
    while (now_ns() < settle) poll_once(20);
    char *text = malloc((size_t)bytes + 16);
    unsigned seed = 12345;
    for (int at = 0; at < bytes;) {
        seed = seed * 1103515245u + 12345u;
        for (const char *word = talk[(seed >> 16) % 11]; *word && at < bytes; word++) text[at++] = *word;
    }
    for (int i = 1; i <= stalled; i++) all[i].state = STALLED;
    uint64_t listeners = (uint64_t)(readers - stalled);
    deliveries = receives = 0;
    memset(&late, 0, sizeof late);
    printf("go\n"); /* the server's CPU is read now */
    fflush(stdout);
    began = now_ns();
    uint64_t end = began + (uint64_t)(seconds * 1e9), next = began, sent = 0, moved = began, seen = 0;
    for (;;) {
        uint64_t at = now_ns();
        if (at < end) {
            if (rate > 0) {
                for (; next <= at; next += (uint64_t)(1e9 / rate), sent++) publish(next, text);
            } else {
                while (sent * listeners < deliveries + (uint64_t)in_flight * listeners - (listeners - 1)) {
                    publish(now_ns(), text);
                    sent++;
                }
            }
        } else if (deliveries >= sent * listeners) {
            break;
        }
        poll_once(rate > 0 && at < end ? (next > at + 1000000 ? (int)((next - at) / 1000000) : 0) : 100);
        if (deliveries != seen) {
            seen = deliveries;
            moved = now;
        } else if (now - moved > 4000000000u) {
            give_up("%llu of %llu deliveries came", (unsigned long long)deliveries, (unsigned long long)(sent * listeners));
        }
    }
    double took = (double)(now_ns() - began) / 1e9;
    printf("{\"seconds\":%.6f,\"deliveries\":%llu,\"sent\":%llu,\"receives\":%llu,\"connecting\":%.6f,\"p50_us\":%llu,\"p99_us\":%llu,\"p999_us\":%llu}\n",
           took, (unsigned long long)deliveries, (unsigned long long)sent, (unsigned long long)receives, connecting,
           (unsigned long long)percentile(&late, 0.5), (unsigned long long)percentile(&late, 0.99), (unsigned long long)percentile(&late, 0.999));
    return 0;
}
