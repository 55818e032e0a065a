/* rtmp_load: publishes one FLV file on N connections, at the pace of its timestamps or as fast as the server reads. One thread, epoll.
 *
 *   rtmp_load -p PORT [-h 127.0.0.1] [-a live] (-K KEYFILE | -n PREFIX) [-c N] [-s 1] [-d MEDIA_S] [-g STAGGER_S] [-k CHUNK] [-l LOG] FLV
 *
 * -K: one stream key a line; -n: PREFIX0, PREFIX1 … · -s 0: full speed · -d: media seconds to publish, the file is repeated ·
 * -g: paced publishers start spread over this time, as people do · -l: for the first connection, one line for each video message:
 * its number, timestamp (ms), size, and when the kernel took its last byte (ns of CLOCK_MONOTONIC).
 * Prints "go" when every connection publishes, then, when the server has read everything, one JSON line.
 *
 * The chunk stream is made once and shared: what is measured is the server.
 */
#include "common.h"
#include <sys/resource.h>

enum { AUDIO = 8, VIDEO = 9, DATA = 18, COMMAND = 20, SET_CHUNK_SIZE = 1 };

typedef struct {
    uint8_t *data;
    size_t size, room;
} bytes;

typedef struct {
    uint32_t timestamp; /* ms */
    uint32_t size;
    size_t end;         /* in the chunk stream */
    bool video;
} message;

typedef struct {
    int fd;
    size_t sent;
    unsigned due;       /* messages whose time has come */
    uint64_t start;     /* ns */
    enum { SENDING, DRAINING, CLOSED } state;
} publisher;

static bytes stream;
static message *messages;
static unsigned message_count;
static unsigned chunk_size = 4096;

static void append(bytes *b, const void *data, size_t size) {
    if (b->size + size > b->room) {
        b->room = (b->size + size) * 2;
        b->data = realloc(b->data, b->room);
        if (!b->data) give_up("out of memory");
    }
    memcpy(b->data + b->size, data, size);
    b->size += size;
}

/* One message as chunks (RTMP 1.0, section 5.3.1): type 0 with `full`, else type 1 whose timestamp is a difference. */
static void append_message(bytes *b, unsigned chunk_stream, bool full, uint32_t timestamp, uint8_t type, uint32_t stream_id,
                           const uint8_t *data, size_t size, unsigned chunk) {
    uint32_t field = timestamp < 0xffffff ? timestamp : 0xffffff;
    uint8_t extended[4] = {timestamp >> 24, timestamp >> 16, timestamp >> 8, timestamp};
    uint8_t header[12] = {(full ? 0 : 0x40) | chunk_stream, field >> 16, field >> 8, field, size >> 16, size >> 8, size, type,
                          stream_id, stream_id >> 8, stream_id >> 16, stream_id >> 24};
    append(b, header, full ? 12 : 8);
    if (field == 0xffffff) append(b, extended, 4);
    for (size_t at = 0; at < size;) {
        size_t part = size - at < chunk ? size - at : chunk;
        uint8_t next = 0xc0 | chunk_stream;
        if (at) {
            append(b, &next, 1);
            if (field == 0xffffff) append(b, extended, 4);
        }
        append(b, data + at, part);
        at += part;
    }
}

/* --- AMF0 --- */

static void amf_key(bytes *b, const char *text) {
    size_t size = strlen(text);
    uint8_t length[2] = {size >> 8, size};
    append(b, length, 2);
    append(b, text, size);
}

static void amf_string(bytes *b, const char *text) {
    append(b, "\2", 1);
    amf_key(b, text);
}

static void amf_number(bytes *b, double value) {
    uint64_t bits;
    uint8_t out[9] = {0};
    memcpy(&bits, &value, 8);
    for (int i = 0; i < 8; i++) out[1 + i] = bits >> (56 - 8 * i);
    append(b, out, 9);
}

static void amf_null(bytes *b) { append(b, "\5", 1); }

/* --- the file --- */

static bool is_sequence_header(uint8_t type, const uint8_t *data, size_t size) {
    if (size < 2) return false;
    if (type == VIDEO) return data[0] & 0x80 ? (data[0] & 15) == 0 : (data[0] & 15) == 7 && data[1] == 0;
    return type == AUDIO && data[0] >> 4 == 10 && data[1] == 0;
}

static void read_flv(const char *path, double seconds) {
    FILE *file = fopen(path, "rb");
    if (!file) give_up("%s: %s", path, strerror(errno));
    fseek(file, 0, SEEK_END);
    size_t size = (size_t)ftell(file), room = 0;
    rewind(file);
    uint8_t *flv = malloc(size);
    if (fread(flv, 1, size, file) != size || size < 24 || memcmp(flv, "FLV", 3)) give_up("%s is no FLV file", path);
    fclose(file);

    uint32_t base = 0, last[2] = {0, 0};
    bool begun[2] = {false, false};
    for (bool again = false;; again = true) {
        uint32_t longest = 0;
        for (size_t at = 13; at + 11 <= size;) { /* FLV header 9, size of the tag before 4 */
            const uint8_t *tag = flv + at, *data = tag + 11;
            uint8_t type = tag[0];
            size_t length = (size_t)tag[1] << 16 | (size_t)tag[2] << 8 | tag[3];
            uint32_t own = (uint32_t)tag[7] << 24 | (uint32_t)tag[4] << 16 | (uint32_t)tag[5] << 8 | tag[6];
            at += 11 + length + 4;
            if (at > size + 4) break;
            if (again && (type == DATA || is_sequence_header(type, data, length))) continue;
            if (own > longest) longest = own;
            uint32_t timestamp = base + own;
            if (timestamp > seconds * 1000) {
                free(flv);
                return;
            }
            if (message_count == room) messages = realloc(messages, (room = room ? room * 2 : 4096) * sizeof *messages);
            message *m = &messages[message_count++];
            *m = (message){.timestamp = timestamp, .size = (uint32_t)length, .video = type == VIDEO};
            if (type == DATA) {
                bytes tagged = {0};
                amf_string(&tagged, "@setDataFrame");
                append(&tagged, data, length);
                append_message(&stream, 4, true, timestamp, DATA, 1, tagged.data, tagged.size, chunk_size);
                free(tagged.data);
            } else {
                int track = type == VIDEO;
                append_message(&stream, track ? 7 : 6, !begun[track], begun[track] ? timestamp - last[track] : timestamp, type, 1, data,
                               length, chunk_size);
                begun[track] = true;
                last[track] = timestamp;
            }
            m->end = stream.size;
        }
        if (!longest) give_up("%s holds no media", path);
        base += longest + 33;
    }
}

/* --- one connection, up to publishing; blocking --- */

static void send_all(int fd, const void *data, size_t size) {
    for (const uint8_t *at = data; size;) {
        ssize_t sent = send(fd, at, size, MSG_NOSIGNAL);
        if (sent <= 0) give_up("send: %s", strerror(errno));
        at += sent;
        size -= (size_t)sent;
    }
}

static void send_command(int fd, const bytes *body, uint32_t stream_id) {
    bytes out = {0};
    append_message(&out, stream_id ? 8 : 3, true, 0, COMMAND, stream_id, body->data, body->size, chunk_size);
    send_all(fd, out.data, out.size);
    free(out.data);
}

/* Reads until the bytes are seen: enough of a client for servers that work. */
static void await(int fd, const void *wanted, size_t size, const char *what) {
    static uint8_t held[65536];
    for (size_t have = 0; !memmem(held, have, wanted, size);) {
        ssize_t got = have < sizeof held ? recv(fd, held + have, sizeof held - have, 0) : 0;
        if (got <= 0) give_up("the server did not answer %s", what);
        have += (size_t)got;
    }
}

static int publish(const char *host, int port, const char *app, const char *key) {
    int fd = connect_to(host, port);
    struct timeval patience = {10, 0};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    uint8_t hello[1537] = {3}, theirs[1 + 2 * 1536];
    for (size_t i = 9; i < sizeof hello; i++) hello[i] = (uint8_t)rand();
    send_all(fd, hello, sizeof hello);
    for (size_t have = 0; have < sizeof theirs;) {
        ssize_t got = recv(fd, theirs + have, sizeof theirs - have, 0);
        if (got <= 0) give_up("the handshake was not answered");
        have += (size_t)got;
    }
    send_all(fd, theirs + 1, 1536);

    bytes out = {0}, body = {0};
    uint8_t size[4] = {chunk_size >> 24, chunk_size >> 16, chunk_size >> 8, chunk_size};
    append_message(&out, 2, true, 0, SET_CHUNK_SIZE, 0, size, 4, 128);
    send_all(fd, out.data, out.size);
    char url[512];
    snprintf(url, sizeof url, "rtmp://%s:%d/%s", host, port, app);
    amf_string(&body, "connect");
    amf_number(&body, 1);
    append(&body, "\3", 1);
    amf_key(&body, "app");
    amf_string(&body, app);
    amf_key(&body, "type");
    amf_string(&body, "nonprivate");
    amf_key(&body, "flashVer");
    amf_string(&body, "FMLE/3.0 (compatible; rtmp_load)");
    amf_key(&body, "tcUrl");
    amf_string(&body, url);
    append(&body, "\0\0\11", 3);
    send_command(fd, &body, 0);
    await(fd, "NetConnection.Connect.Success", 29, "connect");

    const char *before[] = {"releaseStream", "FCPublish"};
    for (int i = 0; i < 2; i++) {
        body.size = 0;
        amf_string(&body, before[i]);
        amf_number(&body, 2 + i);
        amf_null(&body);
        amf_string(&body, key);
        send_command(fd, &body, 0);
    }
    body.size = out.size = 0;
    amf_string(&body, "createStream");
    amf_number(&body, 4);
    amf_null(&body);
    send_command(fd, &body, 0);
    amf_string(&out, "_result");
    amf_number(&out, 4);
    await(fd, out.data, out.size, "createStream");
    body.size = 0;
    amf_string(&body, "publish");
    amf_number(&body, 5);
    amf_null(&body);
    amf_string(&body, key);
    amf_string(&body, "live");
    send_command(fd, &body, 1);
    await(fd, "NetStream.Publish.Start", 23, "publish");
    free(out.data);
    free(body.data);
    make_nonblocking(fd);
    return fd;
}

/* --- all of them --- */

int main(int argc, char **argv) {
    const char *host = "127.0.0.1", *app = "live", *prefix = "s", *key_file = NULL, *log_file = NULL;
    int port = 0;
    unsigned count = 1;
    double speed = 1, seconds = 10, stagger = 2;
    for (int option; (option = getopt(argc, argv, "h:p:a:n:K:c:s:d:g:k:l:")) != -1;) switch (option) {
            case 'h': host = optarg; break;
            case 'p': port = atoi(optarg); break;
            case 'a': app = optarg; break;
            case 'n': prefix = optarg; break;
            case 'K': key_file = optarg; break;
            case 'c': count = (unsigned)atoi(optarg); break;
            case 's': speed = atof(optarg); break;
            case 'd': seconds = atof(optarg); break;
            case 'g': stagger = atof(optarg); break;
            case 'k': chunk_size = (unsigned)atoi(optarg); break;
            case 'l': log_file = optarg; break;
            default: return 2;
        }
    if (!port || optind + 1 != argc || !count) give_up("usage: rtmp_load -p PORT [-K KEYFILE] [-c N] [-s 0|1] [-d S] [-l LOG] FLV");
    read_flv(argv[optind], seconds);
    FILE *keys = key_file ? fopen(key_file, "r") : NULL, *log = log_file ? fopen(log_file, "w") : NULL;
    if ((key_file && !keys) || (log_file && !log)) give_up("%s: %s", keys || !key_file ? log_file : key_file, strerror(errno));

    publisher *all = calloc(count, sizeof *all);
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    for (unsigned i = 0; i < count; i++) {
        char key[256];
        if (keys && fscanf(keys, "%255s", key) != 1) give_up("%s holds fewer than %u keys", key_file, count);
        if (!keys) snprintf(key, sizeof key, "%s%u", prefix, i);
        all[i].fd = publish(host, port, app, key);
    }
    uint64_t begin = now_ns();
    for (unsigned i = 0; i < count; i++) {
        all[i].start = begin + (speed > 0 ? (uint64_t)(stagger * 1e9 * i / count) : 0);
        struct epoll_event event = {.events = EPOLLIN | (speed > 0 ? 0 : EPOLLOUT), .data.u32 = i};
        epoll_ctl(epoll, EPOLL_CTL_ADD, all[i].fd, &event);
    }
    puts("go");
    fflush(stdout);

    uint64_t sent = 0, waits = 0, all_sent = 0;
    unsigned alive = count, errors = 0, sending = count, logged = 0, frame = 0;
    static uint8_t ignored[65536];
    while (alive) {
        struct epoll_event events[256];
        int ready = epoll_wait(epoll, events, 256, speed > 0 ? 2 : 1000);
        for (int j = 0; j < ready; j++) {
            publisher *p = &all[events[j].data.u32];
            if (p->state == CLOSED || !(events[j].events & (EPOLLIN | EPOLLHUP | EPOLLERR))) continue;
            ssize_t got;
            while ((got = recv(p->fd, ignored, sizeof ignored, 0)) > 0) {}
            if (got == 0 || errno != EAGAIN) {
                if (p->state == SENDING) errors++, sending--;
                p->state = CLOSED;
                close(p->fd);
                alive--;
            }
        }
        uint64_t now = now_ns();
        for (unsigned i = 0; i < count; i++) {
            publisher *p = &all[i];
            if (p->state != SENDING) continue;
            size_t until = stream.size;
            if (speed > 0) {
                double media_ms = now > p->start ? (double)(now - p->start) / 1e6 * speed : -1;
                while (p->due < message_count && messages[p->due].timestamp <= media_ms) p->due++;
                until = p->due ? messages[p->due - 1].end : 0;
            }
            for (int turns = speed > 0 ? 64 : 4; p->sent < until && turns; turns--) {
                size_t part = until - p->sent < 262144 ? until - p->sent : 262144;
                ssize_t took = send(p->fd, stream.data + p->sent, part, MSG_NOSIGNAL);
                if (took <= 0) {
                    if (errno == EAGAIN) {
                        waits++;
                    } else {
                        errors++, sending--, alive--;
                        p->state = CLOSED;
                        close(p->fd);
                    }
                    break;
                }
                p->sent += (size_t)took;
                sent += (uint64_t)took;
            }
            if (i == 0 && log) {
                uint64_t taken = now_ns();
                for (; logged < message_count && messages[logged].end <= p->sent; logged++)
                    if (messages[logged].video)
                        fprintf(log, "%u %u %u %llu\n", frame++, messages[logged].timestamp, messages[logged].size,
                                (unsigned long long)taken);
                fflush(log);
            }
            if (p->state == SENDING && p->sent == stream.size) {
                p->state = DRAINING;
                shutdown(p->fd, SHUT_WR);
                struct epoll_event event = {.events = EPOLLIN, .data.u32 = i};
                epoll_ctl(epoll, EPOLL_CTL_MOD, p->fd, &event);
                if (--sending == 0) all_sent = now_ns();
            }
        }
        if (all_sent && now_ns() - all_sent > 8000000000u) break; /* a server that never closes has read it by then */
    }
    uint64_t end = now_ns();
    struct rusage own;
    getrusage(RUSAGE_SELF, &own);
    double wall = (double)(end - begin) / 1e9, media = messages[message_count - 1].timestamp / 1000.0;
    printf("{\"publishers\":%u,\"media_s\":%.3f,\"bytes\":%llu,\"sent_s\":%.3f,\"seconds\":%.3f,\"stream_seconds\":%.2f,\"waits\":%llu,"
           "\"errors\":%u,\"unclosed\":%u,\"own_cpu_s\":%.3f,\"begin_ns\":%llu}\n",
           count, media, (unsigned long long)sent, all_sent ? (double)(all_sent - begin) / 1e9 : wall, wall, media * count,
           (unsigned long long)waits, errors, alive, (double)(own.ru_utime.tv_sec + own.ru_stime.tv_sec) +
           1e-6 * (double)(own.ru_utime.tv_usec + own.ru_stime.tv_usec), (unsigned long long)begin);
    return errors ? 3 : 0;
}
