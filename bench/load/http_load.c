/* http_load: N keep-alive connections, each asking again as soon as it is answered (closed loop). One thread, epoll.
 *
 *   http_load -p PORT [-h 127.0.0.1] [-c CONNECTIONS] [-w WARM_UP_S] [-d SECONDS] [-s STATUS] [-H 'Field: value'] [-t] PATH...
 *
 * -t: TLS. The paths are asked for in turn. Every answer must have the expected status (200) and a Content-Length.
 * Prints "go" when the window opens, then one JSON line when it closes. Bodies of plain answers are dropped in the kernel
 * (MSG_TRUNC), so that the generator stays cheaper than the server it measures.
 */
#include "common.h"
#include <openssl/ssl.h>

typedef struct {
    int fd;
    SSL *ssl;
    unsigned path;
    uint64_t asked;     /* ns */
    int64_t body_left;  /* -1: still in the head */
    uint32_t head_len;
    bool closing;       /* the server said so */
    char head[4096];
} peer;

static const char *host = "127.0.0.1", *field = NULL;
static int port, want_status = 200;
static char **paths;
static unsigned path_count;
static SSL_CTX *tls;
static uint8_t sink[1 << 20];
static uint64_t answers, bytes, errors, reconnects;
static histogram latency;

static void ask(peer *p) {
    char request[2048];
    int size = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: %s:%d\r\n%s%s\r\n", paths[p->path], host, port,
                        field ? field : "", field ? "\r\n" : "");
    p->path = (p->path + 1) % path_count;
    p->body_left = -1;
    p->head_len = 0;
    p->asked = now_ns();
    int sent = p->ssl ? SSL_write(p->ssl, request, size) : (int)send(p->fd, request, (size_t)size, MSG_NOSIGNAL);
    if (sent != size) errors++; /* the read that follows finds the connection closed */
}

static void open_peer(peer *p, int epoll) {
    p->fd = connect_to(host, port);
    if (tls) {
        p->ssl = SSL_new(tls);
        SSL_set_fd(p->ssl, p->fd);
        SSL_set_tlsext_host_name(p->ssl, "localhost");
        if (SSL_connect(p->ssl) != 1) give_up("TLS handshake failed");
    }
    make_nonblocking(p->fd);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = p};
    epoll_ctl(epoll, EPOLL_CTL_ADD, p->fd, &event);
    p->closing = false;
}

static void reopen(peer *p, int epoll) {
    if (p->ssl) SSL_free(p->ssl);
    p->ssl = NULL;
    close(p->fd);
    reconnects++;
    open_peer(p, epoll);
    ask(p);
}

/* Bytes read, 0: nothing now, -1: closed or broken. */
static ssize_t take(peer *p, void *into, size_t room, int flags) {
    if (p->ssl) {
        int got = SSL_read(p->ssl, into, (int)room);
        if (got > 0) return got;
        return SSL_get_error(p->ssl, got) == SSL_ERROR_WANT_READ ? 0 : -1;
    }
    ssize_t got = recv(p->fd, into, room, flags);
    if (got > 0) return got;
    return got < 0 && errno == EAGAIN ? 0 : -1;
}

/* Reads the status and Content-Length of a complete head. */
static bool read_head(peer *p, char *end) {
    *end = 0;
    if (strncmp(p->head, "HTTP/1.1 ", 9) || atoi(p->head + 9) != want_status) return false;
    char *length = strcasestr(p->head, "\r\ncontent-length:");
    char *connection = strcasestr(p->head, "\r\nconnection: close");
    if (!length) return false;
    p->body_left = atoll(length + 17);
    p->closing = connection != NULL;
    return true;
}

static void readable(peer *p, int epoll) {
    for (;;) {
        if (p->body_left < 0) {
            ssize_t got = take(p, p->head + p->head_len, sizeof p->head - 1 - p->head_len, 0);
            if (got == 0) return;
            if (got < 0) {
                errors += p->head_len != 0;
                reopen(p, epoll);
                return;
            }
            p->head_len += (uint32_t)got;
            p->head[p->head_len] = 0;
            bytes += (uint64_t)got;
            char *end = strstr(p->head, "\r\n\r\n");
            if (!end) {
                if (p->head_len == sizeof p->head - 1) give_up("a head above %zu bytes", sizeof p->head);
                continue;
            }
            int64_t extra = p->head + p->head_len - (end + 4);
            if (!read_head(p, end)) give_up("not the answer that was expected:\n%s", p->head);
            p->body_left -= extra;
            if (p->body_left < 0) give_up("more bytes than Content-Length says");
        }
        while (p->body_left > 0) {
            size_t room = p->body_left < (int64_t)sizeof sink ? (size_t)p->body_left : sizeof sink;
            ssize_t got = take(p, sink, room, MSG_TRUNC);
            if (got == 0) return;
            if (got < 0) {
                errors++;
                reopen(p, epoll);
                return;
            }
            p->body_left -= got;
            bytes += (uint64_t)got;
        }
        record(&latency, (now_ns() - p->asked) / 1000);
        answers++;
        if (p->closing) {
            reopen(p, epoll);
            return;
        }
        ask(p);
        if (!p->ssl) return; /* TLS may hold decrypted bytes that epoll does not know of */
    }
}

int main(int argc, char **argv) {
    unsigned connections = 64;
    double warm_up = 0.3, seconds = 2;
    for (int option; (option = getopt(argc, argv, "h:p:c:w:d:s:H:t")) != -1;) switch (option) {
            case 'h': host = optarg; break;
            case 'p': port = atoi(optarg); break;
            case 'c': connections = (unsigned)atoi(optarg); break;
            case 'w': warm_up = atof(optarg); break;
            case 'd': seconds = atof(optarg); break;
            case 's': want_status = atoi(optarg); break;
            case 'H': field = optarg; break;
            case 't':
                tls = SSL_CTX_new(TLS_client_method());
                SSL_CTX_set_verify(tls, SSL_VERIFY_NONE, NULL);
                SSL_CTX_set_mode(tls, SSL_MODE_RELEASE_BUFFERS);
                break;
            default: return 2;
        }
    paths = argv + optind;
    path_count = (unsigned)(argc - optind);
    if (!port || !path_count || !connections) give_up("usage: http_load -p PORT [-c N] [-w S] [-d S] [-t] PATH...");

    peer *peers = calloc(connections, sizeof *peers);
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    for (unsigned i = 0; i < connections; i++) {
        peers[i].path = i % path_count;
        open_peer(&peers[i], epoll);
    }
    uint64_t begin = now_ns(), opens = begin + (uint64_t)(warm_up * 1e9), closes = 0;
    for (unsigned i = 0; i < connections; i++) ask(&peers[i]);
    for (;;) {
        struct epoll_event events[256];
        int ready = epoll_wait(epoll, events, 256, 10);
        for (int i = 0; i < ready; i++) readable(events[i].data.ptr, epoll);
        uint64_t now = now_ns();
        if (!closes && now >= opens) {
            answers = bytes = errors = reconnects = 0;
            memset(&latency, 0, sizeof latency);
            puts("go");
            fflush(stdout);
            opens = now_ns();
            closes = opens + (uint64_t)(seconds * 1e9);
        } else if (closes && now >= closes) {
            break;
        }
    }
    printf("{\"answers\":%llu,\"bytes\":%llu,\"seconds\":%.4f,\"errors\":%llu,\"reconnects\":%llu,\"p50_us\":%llu,\"p99_us\":%llu}\n",
           (unsigned long long)answers, (unsigned long long)bytes, (double)(now_ns() - opens) / 1e9, (unsigned long long)errors,
           (unsigned long long)reconnects, (unsigned long long)percentile(&latency, 0.5), (unsigned long long)percentile(&latency, 0.99));
    return errors != 0;
}
