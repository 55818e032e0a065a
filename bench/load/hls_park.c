/* hls_park: N viewers who all wait for the same part of a live playlist, again and again.
 *
 *   hls_park -p PORT [-h 127.0.0.1] [-c VIEWERS] [-r ROUNDS] [-a PARTS_AHEAD] PLAYLIST
 *
 * PLAYLIST: path of an LL-HLS media playlist. Each round reads it, picks the part that lies PARTS_AHEAD (2) behind its last one, asks for
 * it on every connection with _HLS_msn and _HLS_part (RFC 8216bis, section 6.2.5.2), and waits for every answer. One JSON line a round:
 * which part, and when each viewer had its answer (ns of CLOCK_MONOTONIC). All answers of a round must be the same bytes.
 */
#include "common.h"

typedef struct {
    int fd;
    size_t have;
    uint64_t answered;
    char data[32768]; /* head and playlist */
} viewer;

static const char *host = "127.0.0.1";
static int port;

static void ask(viewer *v, const char *path, const char *query) {
    char request[1024];
    int size = snprintf(request, sizeof request, "GET %s%s HTTP/1.1\r\nHost: %s:%d\r\n\r\n", path, query, host, port);
    v->have = 0;
    v->answered = 0;
    if (send(v->fd, request, (size_t)size, MSG_NOSIGNAL) != size) give_up("send: %s", strerror(errno));
}

/* The body once the answer is complete, else NULL. */
static char *body_of(viewer *v) {
    v->data[v->have] = 0;
    char *end = strstr(v->data, "\r\n\r\n"), *length = strcasestr(v->data, "\r\ncontent-length:");
    if (!end || !length || length > end) return NULL;
    if (strncmp(v->data, "HTTP/1.1 200", 12)) give_up("not a playlist:\n%s", v->data);
    return v->have >= (size_t)(end + 4 - v->data) + (size_t)atoll(length + 17) ? end + 4 : NULL;
}

static void receive(viewer *v) {
    if (v->have == sizeof v->data - 1) give_up("a playlist above %zu bytes", sizeof v->data);
    ssize_t got = recv(v->fd, v->data + v->have, sizeof v->data - 1 - v->have, 0);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) give_up("the server closed a waiting viewer");
    v->have += (size_t)got;
    if (body_of(v)) v->answered = now_ns();
}

/* The media sequence number and part that follow the playlist's last part. */
static void next_part(const char *playlist, long *msn, long *part) {
    const char *at = strstr(playlist, "#EXT-X-MEDIA-SEQUENCE:");
    *msn = at ? atol(at + 22) : 0;
    *part = 0;
    for (const char *line = playlist; line && *line; line = strchr(line, '\n'), line = line ? line + 1 : NULL) {
        if (!strncmp(line, "#EXTINF:", 8)) ++*msn, *part = 0;
        if (!strncmp(line, "#EXT-X-PART:", 12)) ++*part;
    }
}

int main(int argc, char **argv) {
    unsigned count = 1000, rounds = 10, ahead = 2;
    for (int option; (option = getopt(argc, argv, "h:p:c:r:a:")) != -1;) switch (option) {
            case 'h': host = optarg; break;
            case 'p': port = atoi(optarg); break;
            case 'c': count = (unsigned)atoi(optarg); break;
            case 'r': rounds = (unsigned)atoi(optarg); break;
            case 'a': ahead = (unsigned)atoi(optarg); break;
            default: return 2;
        }
    if (!port || optind + 1 != argc || !count) give_up("usage: hls_park -p PORT [-c VIEWERS] [-r ROUNDS] [-a PARTS] PLAYLIST");
    viewer *viewers = calloc(count, sizeof *viewers);
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    for (unsigned i = 0; i < count; i++) {
        viewers[i].fd = connect_to(host, port);
        make_nonblocking(viewers[i].fd);
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &viewers[i]};
        epoll_ctl(epoll, EPOLL_CTL_ADD, viewers[i].fd, &event);
    }
    for (unsigned round = 0; round <= rounds; round++) { /* round 0 warms up and is not printed */
        struct epoll_event events[512];
        long msn, part;
        ask(&viewers[0], argv[optind], "");
        while (!viewers[0].answered)
            if (epoll_wait(epoll, events, 1, 5000) == 1) receive(events[0].data.ptr); else give_up("the playlist was not answered");
        next_part(body_of(&viewers[0]), &msn, &part);
        part += ahead; /* past the end of a segment: the server takes it for the next one's first part (section 6.2.5.2) */
        char query[64];
        snprintf(query, sizeof query, "?_HLS_msn=%ld&_HLS_part=%ld", msn, part);
        for (unsigned i = 0; i < count; i++) ask(&viewers[i], argv[optind], query);
        uint64_t asked = now_ns();
        for (unsigned left = count; left;) {
            int ready = epoll_wait(epoll, events, 512, 10000);
            if (ready <= 0) give_up("%u of %u viewers got no answer", left, count);
            for (int i = 0; i < ready; i++) {
                viewer *v = events[i].data.ptr;
                if (v->answered) continue;
                receive(v);
                left -= v->answered != 0;
            }
        }
        for (unsigned i = 1; i < count; i++)
            if (strcmp(body_of(&viewers[i]), body_of(&viewers[0]))) give_up("two viewers of one part got different playlists");
        if (!round) continue;
        printf("{\"msn\":%ld,\"part\":%ld,\"asked_ns\":%llu,\"answered_ns\":[", msn, part, (unsigned long long)asked);
        for (unsigned i = 0; i < count; i++) printf(i ? ",%llu" : "%llu", (unsigned long long)viewers[i].answered);
        puts("]}");
        fflush(stdout);
    }
    return 0;
}
