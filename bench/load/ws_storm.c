/* Everybody comes at once: N WebSockets with a token each, what they get when they come, and whether all of it came, once.
 *
 * ws_storm -p PORT -n CLIENTS -t TOKENS [-q PATH] [-k AT_ONCE] [-C CHANNEL[,CHANNEL...]] [-R OFFSET,EPOCH -m MESSAGES] [-w SECONDS] [-i | -x]
 * -t: a file with a token a line, client i gives the i-th. -k: so many handshakes under way (256).
 * -C: each subscribes to these channels, in one frame; it is there when every reply came. Without it: when the upgrade was answered.
 * -R: with the first channel what was missed since OFFSET is asked for; every one of MESSAGES publications must come, once.
 * -w: refused connections are tried again for so long: the server may still be starting.
 * Prints "go" before the first connection, then one JSON line. -i: then holds all connections until stdin ends. -x: each leaves when it is there.
 */
#include "common.h"
#include <sys/resource.h>

enum { CONNECTING, UPGRADING, ASKING, THERE };
enum { MOST = 64 }; /* messages that are told apart */

typedef struct {
    int fd, state, replies;
    uint8_t *held;
    uint32_t size;
    uint64_t seen; /* bit k: offset OFFSET + 1 + k came */
} client;

static int port, clients = 1000, at_once = 256, channels, messages, hold, leave, ep;
static const char *names, *epoch, *path = "/v1/ws";
static unsigned long long offset;
static double wait_s;
static char **tokens;
static client *all;
static uint64_t there, twice, unasked, not_recovered, refused;
static uint8_t room[1 << 20];

static void begin(int i) {
    client *c = &all[i];
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)}, from = {.sin_family = AF_INET};
    int one = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0) give_up("no socket: %s", strerror(errno));
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    inet_pton(AF_INET, "127.0.0.1", &to.sin_addr);
    from.sin_addr.s_addr = htonl(0x7F000002u + (uint32_t)(i / 10000)); /* one address has not ports enough */
    setsockopt(c->fd, IPPROTO_IP, 24 /* IP_BIND_ADDRESS_NO_PORT */, &one, sizeof one);
    if (bind(c->fd, (struct sockaddr *)&from, sizeof from)) give_up("bind: %s", strerror(errno));
    if (connect(c->fd, (struct sockaddr *)&to, sizeof to) && errno != EINPROGRESS) give_up("connect: %s", strerror(errno));
    c->state = CONNECTING;
    struct epoll_event event = {.events = EPOLLOUT, .data.u32 = (uint32_t)i};
    epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &event);
}

static void arrived(client *c) {
    c->state = THERE;
    there++;
    if (leave) close(c->fd);
}

static void upgrade(int i) {
    char head[12000];
    int n = snprintf(head, sizeof head,
                     "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                     "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: nova.json.v1\r\nAuthorization: Bearer %s\r\n\r\n",
                     path, port, tokens[i]);
    if (send(all[i].fd, head, (size_t)n, MSG_NOSIGNAL) != n) give_up("upgrade: %s", strerror(errno));
    all[i].state = UPGRADING;
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = (uint32_t)i};
    epoll_ctl(ep, EPOLL_CTL_MOD, all[i].fd, &event);
}

static void ask(client *c) {
    static char frame[70000];
    char *text = frame + 8;
    int size = 0, id = 1;
    size += snprintf(text + size, 60000 - (size_t)size, "[");
    for (const char *name = names; name && *name; id++) {
        int length = (int)strcspn(name, ",");
        size += snprintf(text + size, 60000 - (size_t)size, "%s{\"id\":%d,\"subscribe\":{\"channel\":\"%.*s\"", id > 1 ? "," : "", id, length, name);
        if (id == 1 && epoch) size += snprintf(text + size, 60000 - (size_t)size, ",\"recover\":{\"offset\":%llu,\"epoch\":\"%s\"}", offset, epoch);
        size += snprintf(text + size, 60000 - (size_t)size, "}}");
        name += length;
        name += *name == ',';
    }
    size += snprintf(text + size, 60000 - (size_t)size, "]");
    int head = size < 126 ? 6 : 8;
    char *at = text - head;
    at[0] = (char)0x81;
    if (size < 126) {
        at[1] = (char)(0x80 | size);
    } else {
        at[1] = (char)(0x80 | 126);
        at[2] = (char)(size >> 8);
        at[3] = (char)size;
    }
    memset(text - 4, 0, 4); /* a mask of zeros is one */
    if (send(c->fd, at, (size_t)(head + size), MSG_NOSIGNAL) != head + size) give_up("subscribe: %s", strerror(errno));
    c->state = ASKING;
}

static void message(client *c, const uint8_t *data, size_t size) {
    const uint8_t *at = data, *end = data + size;
    if (memmem(data, size, "\"error\"", 7)) give_up("refused: %.*s", (int)(size < 200 ? size : 200), data);
    while ((at = memmem(at, (size_t)(end - at), "\"id\":", 5))) {
        at += 5;
        c->replies++;
    }
    if (epoch && memmem(data, size, "\"recovered\":false", 17)) not_recovered++;
    /* A publication begins with its offset and its data; the offset of the reply itself has the epoch behind it. */
    for (at = data; messages && (at = memmem(at, (size_t)(end - at), "\"data\":", 7)); at += 7) {
        const uint8_t *digits = at - 1; /* the comma */
        while (digits > data && digits[-1] >= '0' && digits[-1] <= '9') digits--;
        unsigned long long number = strtoull((const char *)digits, NULL, 10);
        if (number <= offset || number > offset + (unsigned)messages) {
            unasked++;
        } else {
            uint64_t bit = 1ull << (number - offset - 1);
            twice += c->seen & bit ? 1 : 0;
            c->seen |= bit;
        }
    }
    if (c->state == ASKING && c->replies >= channels) arrived(c);
}

/* Whole frames out of `data`; the bytes that are left. */
static size_t frames(client *c, uint8_t *data, size_t size) {
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
        if (opcode == 1) message(c, data + at + head, length);
        if (opcode == 8) give_up("closed with %d", length >= 2 ? data[at + head] << 8 | data[at + head + 1] : 0);
        at += head + length;
    }
    memmove(data, data + at, size - at);
    return size - at;
}

static void input(client *c) {
    memcpy(room, c->held, c->size);
    ssize_t n = recv(c->fd, room + c->size, sizeof room - c->size - 1, 0);
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) give_up("%s", n ? strerror(errno) : "the server closed a connection");
    size_t size = c->size + (size_t)n;
    room[size] = 0;
    if (c->state == UPGRADING) {
        uint8_t *end = memmem(room, size, "\r\n\r\n", 4);
        if (end) {
            if (memcmp(room, "HTTP/1.1 101", 12)) give_up("no upgrade: %.*s", (int)(size < 200 ? size : 200), room);
            size -= (size_t)(end + 4 - room);
            memmove(room, end + 4, size);
            if (channels) ask(c);
            else arrived(c);
        }
    }
    if (c->state >= ASKING) size = frames(c, room, size);
    if (size) {
        c->held = realloc(c->held, size);
        memcpy(c->held, room, size);
    } else {
        free(c->held);
        c->held = NULL;
    }
    c->size = (uint32_t)size;
}

static void poll_once(int ms, bool again) {
    static struct epoll_event events[4096];
    int n = epoll_wait(ep, events, 4096, ms);
    for (int k = 0; k < n; k++) {
        int i = (int)events[k].data.u32, error = 0;
        socklen_t size = sizeof error;
        if (all[i].state != CONNECTING) {
            input(&all[i]);
            continue;
        }
        getsockopt(all[i].fd, SOL_SOCKET, SO_ERROR, &error, &size);
        if (!error) {
            upgrade(i);
        } else if (again) {
            refused++;
            close(all[i].fd);
            begin(i);
        } else {
            give_up("connect: %s", strerror(error));
        }
    }
}

static void read_tokens(const char *file) {
    FILE *list = fopen(file, "r");
    char line[9000];
    if (!list) give_up("%s: %s", file, strerror(errno));
    tokens = calloc((size_t)clients, sizeof *tokens);
    for (int i = 0; i < clients; i++) {
        if (!fgets(line, sizeof line, list)) give_up("%s has fewer than %d lines", file, clients);
        line[strcspn(line, "\n")] = 0;
        tokens[i] = strdup(line);
    }
    fclose(list);
}

int main(int count, char **words) {
    const char *list = NULL;
    int option;
    while ((option = getopt(count, words, "p:n:t:q:k:C:R:m:w:ix")) != -1) {
        if (option == 'p') port = atoi(optarg);
        else if (option == 'n') clients = atoi(optarg);
        else if (option == 't') list = optarg;
        else if (option == 'q') path = optarg;
        else if (option == 'k') at_once = atoi(optarg);
        else if (option == 'C') names = optarg;
        else if (option == 'R') offset = strtoull(optarg, NULL, 10), epoch = strchr(optarg, ',');
        else if (option == 'm') messages = atoi(optarg);
        else if (option == 'w') wait_s = atof(optarg);
        else if (option == 'i') hold = 1;
        else if (option == 'x') leave = 1;
        else give_up("unknown option");
    }
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    if (!port || !list || messages > MOST || (files.rlim_cur != RLIM_INFINITY && (rlim_t)clients + 16 > files.rlim_cur)) {
        give_up("-p PORT and -t TOKENS are needed, at most %d messages, and fewer clients than files may be open", MOST);
    }
    epoch += epoch ? 1 : 0;
    if (names) channels = 1;
    for (const char *at = names; at && *at; at++) channels += *at == ',';
    read_tokens(list);
    ep = epoll_create1(EPOLL_CLOEXEC);
    all = calloc((size_t)clients, sizeof *all);
    printf("go\n");
    fflush(stdout);
    uint64_t began = now_ns(), moved = began, seen = 0;
    int started = 0;
    while (there < (uint64_t)clients) {
        while (started < clients && started - (int)there < at_once) begin(started++);
        poll_once(100, (double)(now_ns() - began) < wait_s * 1e9);
        if (there != seen) {
            seen = there;
            moved = now_ns();
        } else if (now_ns() - moved > 20000000000u) {
            give_up("%llu of %d came in", (unsigned long long)there, clients);
        }
    }
    double took = (double)(now_ns() - began) / 1e9;
    uint64_t settle = now_ns() + 500000000u; /* what comes too often comes after the rest */
    while (now_ns() < settle) poll_once(20, false);
    uint64_t lost = 0;
    for (int i = 0; i < clients; i++) lost += (uint64_t)messages - (uint64_t)__builtin_popcountll(all[i].seen);
    printf("{\"seconds\":%.6f,\"clients\":%d,\"lost\":%llu,\"twice\":%llu,\"unasked\":%llu,\"not_recovered\":%llu,\"refused\":%llu}\n", took, clients,
           (unsigned long long)lost, (unsigned long long)twice, (unsigned long long)unasked, (unsigned long long)not_recovered,
           (unsigned long long)refused);
    fflush(stdout);
    while (hold && getchar() != EOF) {}
    return 0;
}
