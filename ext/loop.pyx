# nova: libraries=ssl,crypto
"""The loop of one I/O thread: wait, hand each ready connection to its kernel, carry out trio's commands, look at the clock.

A turn's work is bounded everywhere: events of one wait, bytes of one read, requests of one connection, parked requests answered,
so that no connection and no command waits for another one's crowd.
"""
from libc.errno cimport EAGAIN, ECONNABORTED, EINTR, EMFILE, ENFILE, ENOBUFS, ENOMEM, errno
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset

from nova.ext.atomics cimport nova_add32, nova_add64, nova_load32, nova_load64
from nova.ext.buffer cimport Buf, buf_unref
from nova.ext.bytevec cimport vec_free
from nova.ext.conn cimport conn_again, conn_at, conn_get, conn_id, conn_new, conn_owe, conn_table_free, timer_set
from nova.ext.fanout cimport fan_sleep, fan_turn
from nova.ext.http1 cimport http1_format_date
from nova.ext.http_serve cimport (
    http_again, http_continue, http_credit, http_drain, http_input, http_open, http_output, http_sent, http_timeout, http_unparked,
)
from nova.ext.io cimport (
    CF_AGAIN, CF_CLOSE_AFTER, CF_CLOSED, CF_COUNTED, CF_DRAIN, CF_HANDSHAKE, CF_HUP, CF_IN, CF_KNOWN, CF_OUT, CF_PROXY, CF_TLS_WANTS_OUT, CONN_CHUNK, Conn, H_ANSWER,
    Listener, MAX_LISTENERS, NO_CONN, P_HTTP, P_RAW, P_RTMP, P_WS, RECV_SIZE, TX_SIZE,
)
from nova.ext.lifecycle cimport conn_close, conn_finish, pay_debts
from nova.ext.objects cimport Waiter, objects_ready
from nova.ext.peers cimport PEER_COUNTED, PEER_REFUSED, peers_enter, peers_leave, peers_proxy
from nova.ext.proxy_header cimport PROXY_BAD, PROXY_MORE, PROXY_MOST, Proxied, proxy_header
from nova.ext.raw_serve cimport raw_credit, raw_input, raw_open, raw_output, raw_sent, raw_timeout
from nova.ext.ring cimport Record, bell_clear, ring_doze, ring_peek, ring_pop, ring_put, ring_ring, ring_woke
from nova.ext.rooms cimport rooms_free, ws_free
from nova.ext.rtmp_serve cimport (
    follow_news, follow_start, rtmp_input, rtmp_open, rtmp_output, rtmp_ready, rtmp_sent, rtmp_sleep, rtmp_timeout, rtmp_turn,
    rtmp_wake_at,
)
from nova.ext.sequence cimport Seq, seq_unref
from nova.ext.shed cimport shed
from nova.ext.site_serve cimport heads_out
from nova.ext.ssl cimport SSL_CTX, SSL_free, SSL_get0_alpn_selected, SSL_new, SSL_set_accept_state, SSL_set_fd
from nova.ext.timer cimport wheel_back, wheel_due, wheel_open, wheel_sleep
from nova.ext.transport cimport tls_step, tx_copy, tx_flush, tx_slice
from nova.ext.uring cimport uring_close, uring_open
from nova.ext.wire cimport (
    CM_CLOSE, CM_CONTINUE, CM_CREDIT, CM_DRAIN, CM_FOLLOW, CM_LISTEN, CM_MARK, CM_RAW, CM_SEND, CM_SEND_BUF, CM_SEQUENCE, CM_UNLISTEN,
    CM_WAKE_AT, CM_WS_ITEM, EV_EMPTY, EV_OPENED, OW_DRAINED, OpenedInfo, R_DRAIN, R_LIMIT, R_LOCAL, R_PEER, R_PROTOCOL, R_RESET, R_TIMEOUT, R_TLS,
)
from nova.ext.ws_deflate cimport ws_zip_free, ws_zip_init
from nova.ext.ws_send cimport ws_dirty, ws_items
from nova.ext.ws_serve cimport ws_again, ws_drain, ws_input, ws_output, ws_timeout
from nova.ext.ws_talk cimport talk_command

cdef extern from "sys/epoll.h" nogil:
    ctypedef union epoll_data_t:
        uint64_t u64
    cdef struct epoll_event:
        uint32_t events
        epoll_data_t data
    int epoll_create1(int flags)
    int epoll_ctl(int epfd, int op, int fd, epoll_event* event)
    int epoll_wait(int epfd, epoll_event* events, int most, int timeout)
    enum: EPOLL_CLOEXEC, EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLLIN, EPOLLOUT, EPOLLRDHUP, EPOLLHUP, EPOLLERR, EPOLLONESHOT, EPOLLEXCLUSIVE

cdef extern from "sys/socket.h" nogil:
    cdef struct sockaddr:
        pass
    cdef struct sockaddr_storage:
        uint16_t ss_family
    ctypedef unsigned int socklen_t
    int accept4(int fd, sockaddr* addr, socklen_t* size, int flags)
    int setsockopt(int fd, int level, int name, const void* value, socklen_t size)
    Py_ssize_t recv(int fd, void* buf, size_t count, int flags)
    enum: SOCK_NONBLOCK, SOCK_CLOEXEC, AF_INET, AF_INET6, SOL_SOCKET, SO_RCVBUF, SO_RCVLOWAT, MSG_PEEK

cdef extern from "netinet/in.h" nogil:
    cdef struct in_addr:
        uint32_t s_addr
    cdef struct in6_addr:
        uint8_t s6_addr[16]
    cdef struct sockaddr_in:
        uint16_t sin_port
        in_addr sin_addr
    cdef struct sockaddr_in6:
        uint16_t sin6_port
        in6_addr sin6_addr
    uint16_t ntohs(uint16_t value)

cdef extern from "time.h" nogil:
    cdef struct timespec:
        long tv_sec
        long tv_nsec
    int clock_gettime(int clock, timespec* at)
    enum: CLOCK_MONOTONIC, CLOCK_REALTIME

cdef extern from "sys/random.h" nogil:
    Py_ssize_t getrandom(void* data, size_t size, unsigned int flags)

cdef extern from "sched.h" nogil:
    int sched_yield()

cdef extern from "unistd.h" nogil:
    int close(int fd)

cdef enum:
    EVENTS = 512
    ACCEPTS = 64                # connections accepted in one turn
    COMMANDS = 4096             # commands carried out in one turn
    READY = 256                 # parked requests answered in one turn
    ACCEPT_PAUSE_MS = 100       # after the machine refused an fd
    SHED_PAUSE_MS = 20          # while slow readers hold too much

cdef uint64_t TOKEN_BELL = <uint64_t> 0xFFFFFFFFFFFFFFFF
cdef uint64_t TOKEN_RTMP = <uint64_t> 0xFFFFFFFFFFFFFFFE
cdef uint64_t TOKEN_LISTENER = <uint64_t> 0xFFFFFFFFFFFFFF00  # and the listener's number


cdef void look_at_clock(Thread* t) noexcept nogil:
    cdef timespec at
    cdef int64_t unix_now
    cdef int64_t given = <int64_t> nova_load64(<uint64_t*> &t.shared.clock_ms)
    if given >= 0:
        t.now_ms = given
        wheel_back(t)
    else:
        clock_gettime(CLOCK_MONOTONIC, &at)
        t.now_ms = <int64_t> at.tv_sec * 1000 + at.tv_nsec // 1000000
    given = <int64_t> nova_load64(<uint64_t*> &t.shared.clock_unix)
    if given >= 0:
        unix_now = given
    else:
        clock_gettime(CLOCK_REALTIME, &at)
        unix_now = at.tv_sec
    if unix_now != t.now_unix or t.date_size == 0:
        t.now_unix = unix_now
        memcpy(t.date, b"Date: ", 6)
        t.date_size = 6 + http1_format_date(unix_now, t.date + 6)
        memcpy(t.date + t.date_size, b"\r\n", 2)
        t.date_size += 2


cdef int loop_open(Thread* t) noexcept nogil:
    """Make what the thread owns; 0, or -1 with errno."""
    cdef epoll_event event
    t.epfd = epoll_create1(EPOLL_CLOEXEC)
    t.rtmp_epfd = epoll_create1(EPOLL_CLOEXEC)
    if t.epfd < 0 or t.rtmp_epfd < 0:
        return -1
    event.events = EPOLLIN
    event.data.u64 = TOKEN_BELL
    if epoll_ctl(t.epfd, EPOLL_CTL_ADD, t.bell, &event) != 0:
        return -1
    event.events = EPOLLIN | EPOLLONESHOT
    event.data.u64 = TOKEN_RTMP
    if epoll_ctl(t.epfd, EPOLL_CTL_ADD, t.rtmp_epfd, &event) != 0:
        return -1
    t.rx = <uint8_t*> malloc(RECV_SIZE)
    t.tx = <uint8_t*> malloc(TX_SIZE)
    if t.rx == NULL or t.tx == NULL:
        return -1
    t.free_first = NO_CONN
    ws_zip_init(&t.zip)
    if getrandom(&t.random, sizeof(t.random), 0) != sizeof(t.random) or t.random == 0:
        t.random = 88172645463325252
    look_at_clock(t)
    wheel_open(t)
    return 0


cdef void close_all(Thread* t) noexcept nogil:
    """The end: nobody is left whom trio could hear of."""
    cdef uint32_t i
    cdef Conn* c
    for i in range(t.slab_count * CONN_CHUNK):
        c = conn_at(t, i)
        if c.fd >= 0:
            c.flags &= ~<uint32_t> CF_KNOWN
            conn_close(t, c, R_LOCAL)


cdef void loop_close(Thread* t) noexcept nogil:
    """Give everything back. After the thread has ended."""
    cdef uint32_t i
    cdef Conn* c
    close_all(t)
    for i in range(t.slab_count * CONN_CHUNK):
        c = conn_at(t, i)
        if c.rtmp != NULL:
            vec_free(&c.rtmp.records)
            free(c.rtmp)
            c.rtmp = NULL
        if c.ws != NULL:
            ws_free(c)
    conn_table_free(t)
    free(t.rx)
    free(t.tx)
    free(t.owed)
    free(t.again)
    free(t.words)
    free(t.dirty)
    rooms_free(t)
    ws_zip_free(&t.zip)
    vec_free(&t.up)
    vec_free(&t.missed)
    vec_free(&t.key)
    t.rx = t.tx = NULL
    t.owed = t.again = t.dirty = NULL
    t.words = NULL
    close(t.epfd)
    close(t.rtmp_epfd)


# Connections: opened, handed to their kernel

cdef void opened(Thread* t, Conn* c) noexcept nogil:
    """Past TLS, or never had it: the kernel of the protocol takes over."""
    cdef Listener* listener = &t.shared.listeners[c.listener]
    cdef const unsigned char* alpn = NULL
    cdef unsigned int size = 0
    cdef OpenedInfo info
    if listener.proto == P_HTTP:
        if c.ssl != NULL:
            SSL_get0_alpn_selected(c.ssl, &alpn, &size)
        if size == 2 and alpn[0] == c'h' and alpn[1] == c'2':
            c.proto = P_RAW
        else:
            http_open(t, c)
            return
    memset(&info, 0, sizeof(OpenedInfo))
    info.listener = c.listener
    info.peer_port = c.peer_port
    info.tls = c.ssl != NULL
    if size and size <= sizeof(info.alpn):
        info.alpn_size = <uint8_t> size
        memcpy(info.alpn, alpn, size)
    memcpy(info.peer, c.peer, 16)
    if not ring_put(&t.events, EV_OPENED, c.proto, conn_id(t, c), 0, 0, &info, sizeof(OpenedInfo), NULL, 0):
        conn_close(t, c, R_LIMIT)  # trio is behind by a ring of events: a newcomer is what can be spared
        return
    ring_ring(&t.events)
    c.flags |= CF_KNOWN
    c.deadline = 0
    if c.proto == P_RTMP and rtmp_open(t, c) < 0:
        conn_close(t, c, R_LIMIT)


cdef bint to_publishers(Thread* t, Conn* c) noexcept nogil:
    """From the loop's own set into that of the publishers; False when it had to close."""
    cdef epoll_event event
    epoll_ctl(t.epfd, EPOLL_CTL_DEL, c.fd, NULL)
    c.flags = (c.flags & ~<uint32_t> CF_OUT) | CF_IN | CF_HUP
    event.events = EPOLLIN | EPOLLRDHUP
    event.data.u64 = conn_id(t, c)
    if epoll_ctl(t.rtmp_epfd, EPOLL_CTL_ADD, c.fd, &event) != 0:
        conn_close(t, c, R_LIMIT)
        return False
    return True


cdef void handshake(Thread* t, Conn* c) noexcept nogil:
    cdef int r = tls_step(t, c)
    cdef epoll_event event
    if r < 0:
        conn_close(t, c, R_TLS)
        return
    if r == 0:
        event.events = EPOLLRDHUP | (EPOLLOUT if c.flags & CF_TLS_WANTS_OUT else EPOLLIN)
        event.data.u64 = conn_id(t, c)
        epoll_ctl(epfd_of(t, c), 3, c.fd, &event)
        c.flags = (c.flags & ~<uint32_t> (CF_IN | CF_OUT)) | CF_HUP | (CF_OUT if c.flags & CF_TLS_WANTS_OUT else CF_IN)
        return
    c.flags &= ~<uint32_t> CF_HANDSHAKE
    if c.proto == P_RTMP and not to_publishers(t, c):
        return
    if c.flags & CF_OUT:
        event.events = EPOLLRDHUP | EPOLLIN
        event.data.u64 = conn_id(t, c)
        epoll_ctl(epfd_of(t, c), 3, c.fd, &event)
        c.flags = (c.flags & ~<uint32_t> CF_OUT) | CF_IN
    opened(t, c)
    if c.fd >= 0:
        conn_again(t, c)  # the first bytes may have come with the end of the handshake


cdef inline int epfd_of(Thread* t, Conn* c) noexcept nogil:
    # Publishers are read by the tick, but what comes before their first own byte belongs to the loop: PROXY header, TLS handshake.
    return t.rtmp_epfd if c.proto == P_RTMP and not c.flags & (CF_HANDSHAKE | CF_PROXY) else t.epfd


cdef void turn_away(Listener* listener, int fd) noexcept nogil:
    nova_add32(&listener.conns, -1)
    close(fd)


cdef void accepted(Thread* t, Listener* listener, int fd, sockaddr_storage* addr) noexcept nogil:
    cdef Conn* c
    cdef epoll_event event
    cdef int room = 262144
    cdef uint8_t peer[16]
    cdef uint16_t port = 0
    cdef int counted
    memset(peer, 0, 16)
    if addr.ss_family == AF_INET6:
        memcpy(peer, &(<sockaddr_in6*> addr).sin6_addr, 16)
        port = ntohs((<sockaddr_in6*> addr).sin6_port)
    elif addr.ss_family == AF_INET:
        peer[10] = peer[11] = 0xFF
        memcpy(peer + 12, &(<sockaddr_in*> addr).sin_addr, 4)
        port = ntohs((<sockaddr_in*> addr).sin_port)
    if nova_add32(&listener.conns, 1) > <int> listener.limits.max_conns or t.draining:
        nova_add64(<int64_t*> &listener.refused, 1)
        turn_away(listener, fd)
        return
    counted = peers_enter(t.shared.peers, peer)
    if counted == PEER_REFUSED:
        t.stats.crowded += 1
        turn_away(listener, fd)
        return
    c = conn_new(t, fd)
    if c == NULL:
        if counted == PEER_COUNTED:
            peers_leave(t.shared.peers, peer)
        turn_away(listener, fd)
        return
    c.listener = <uint16_t> listener.id
    c.proto = listener.proto
    memcpy(c.peer, peer, 16)
    c.peer_port = port
    if c.proto == P_RTMP:
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof(int))  # a merged read finds what a tick brings
    event.events = EPOLLIN | EPOLLRDHUP
    event.data.u64 = conn_id(t, c)
    c.flags = CF_IN | CF_HUP | (CF_HANDSHAKE if listener.tls != NULL else 0) | (CF_COUNTED if counted == PEER_COUNTED else 0)
    if peers_proxy(t.shared.peers, peer):
        c.flags |= CF_PROXY
    t.stats.accepted += 1
    nova_add64(<int64_t*> &listener.accepted, 1)
    if epoll_ctl(epfd_of(t, c), EPOLL_CTL_ADD, fd, &event) != 0:
        conn_close(t, c, R_LIMIT)
        return
    if c.flags & CF_PROXY:
        timer_set(t, c, t.now_ms + listener.limits.handshake_ms)
        return
    begin(t, c)


cdef void begin(Thread* t, Conn* c) noexcept nogil:
    """It is known who the peer is: TLS, or the protocol's own first byte."""
    cdef Listener* listener = &t.shared.listeners[c.listener]
    if not c.flags & CF_HANDSHAKE:
        opened(t, c)
        return
    c.ssl = SSL_new(<SSL_CTX*> nova_load64(<uint64_t*> &listener.tls))  # a renewed certificate may come at this moment
    if c.ssl == NULL or SSL_set_fd(c.ssl, c.fd) != 1:
        conn_close(t, c, R_LIMIT)
        return
    SSL_set_accept_state(c.ssl)
    timer_set(t, c, t.now_ms + listener.limits.handshake_ms)


cdef void proxied(Thread* t, Conn* c, uint32_t events) noexcept nogil:
    """A trusted proxy says who is behind it. Its bytes are looked at where they lie: what follows the header is not ours to take."""
    cdef Proxied header
    cdef int r, low = 1
    cdef int counted
    cdef Py_ssize_t n = recv(c.fd, t.rx, PROXY_MOST, MSG_PEEK)
    if n < 0 and (errno == EAGAIN or errno == EINTR):
        return
    if n <= 0:
        conn_close(t, c, R_PEER if n == 0 else R_RESET)
        return
    r = proxy_header(t.rx, <size_t> n, &header)
    if r == PROXY_BAD or (r == PROXY_MORE and events & EPOLLRDHUP):
        conn_close(t, c, R_PROTOCOL)
        return
    if r == PROXY_MORE:
        low = <int> n + 1  # what lies there already is no news
        setsockopt(c.fd, SOL_SOCKET, SO_RCVLOWAT, &low, sizeof(int))
        return
    if recv(c.fd, t.rx, <size_t> r, 0) != r:
        conn_close(t, c, R_RESET)
        return
    setsockopt(c.fd, SOL_SOCKET, SO_RCVLOWAT, &low, sizeof(int))
    if header.known:
        if c.flags & CF_COUNTED:
            peers_leave(t.shared.peers, c.peer)
            c.flags &= ~<uint32_t> CF_COUNTED
        memcpy(c.peer, header.source, 16)
        c.peer_port = header.port
        counted = peers_enter(t.shared.peers, c.peer)
        if counted == PEER_REFUSED:
            t.stats.crowded += 1
            conn_close(t, c, R_LIMIT)
            return
        if counted == PEER_COUNTED:
            c.flags |= CF_COUNTED
    c.flags &= ~<uint32_t> CF_PROXY
    c.deadline = 0
    if c.proto == P_RTMP and not c.flags & CF_HANDSHAKE and not to_publishers(t, c):
        return
    begin(t, c)


cdef void accept_some(Thread* t, int number) noexcept nogil:
    cdef Listener* listener = &t.shared.listeners[number]
    cdef sockaddr_storage addr
    cdef socklen_t size
    cdef int i, fd, at
    for i in range(ACCEPTS):
        at = <int> nova_load32(<uint32_t*> &listener.fd)
        if at < 0:
            return
        size = sizeof(sockaddr_storage)
        fd = accept4(at, <sockaddr*> &addr, &size, SOCK_NONBLOCK | SOCK_CLOEXEC)
        if fd >= 0:
            accepted(t, listener, fd, &addr)
            continue
        if errno == EINTR or errno == ECONNABORTED:
            continue
        if errno == EMFILE or errno == ENFILE or errno == ENOBUFS or errno == ENOMEM:
            # Level-triggered: the socket would wake the loop for ever. Look again in a moment; those who wait are in the backlog.
            epoll_ctl(t.epfd, EPOLL_CTL_DEL, listener.fd, NULL)
            t.accept_off |= <uint64_t> 1 << number
            t.accept_retry = t.now_ms + ACCEPT_PAUSE_MS
        return


cdef void listen_on(Thread* t, int number) noexcept nogil:
    cdef epoll_event event
    event.events = EPOLLIN | EPOLLEXCLUSIVE
    event.data.u64 = TOKEN_LISTENER | <uint64_t> number
    epoll_ctl(t.epfd, EPOLL_CTL_ADD, t.shared.listeners[number].fd, &event)


cdef void retry_accepts(Thread* t) noexcept nogil:
    cdef int number
    for number in range(MAX_LISTENERS):
        if t.accept_off >> number & 1:
            listen_on(t, number)
    t.accept_off = 0


cdef void on_input(Thread* t, Conn* c) noexcept nogil:
    if c.flags & CF_HANDSHAKE:
        handshake(t, c)
    elif c.proto == P_HTTP:
        http_input(t, c)
    elif c.proto == P_RTMP:
        rtmp_input(t, c)
    elif c.proto == P_WS:
        ws_input(t, c)
    else:
        raw_input(t, c)


cdef void on_output(Thread* t, Conn* c) noexcept nogil:
    if c.flags & CF_HANDSHAKE:
        handshake(t, c)
    elif c.proto == P_HTTP:
        http_output(t, c)
    elif c.proto == P_RTMP:
        rtmp_output(t, c)
    elif c.proto == P_WS:
        ws_output(t, c)
    else:
        raw_output(t, c)


cdef void on_timeout(Thread* t, Conn* c) noexcept nogil:
    if c.flags & (CF_HANDSHAKE | CF_PROXY):
        t.stats.timeouts += 1
        conn_close(t, c, R_TIMEOUT)
    elif c.proto == P_HTTP:
        http_timeout(t, c)
    elif c.proto == P_RTMP:
        rtmp_timeout(t, c)
    elif c.proto == P_WS:
        ws_timeout(t, c)
    else:
        raw_timeout(t, c)


cdef void on_event(Thread* t, Conn* c, uint32_t events) noexcept nogil:
    if events & EPOLLOUT:
        on_output(t, c)
    if c.fd < 0:
        return
    if events & (EPOLLERR | EPOLLHUP):
        # Both directions are over. What lies unread is a request nobody waits for.
        conn_close(t, c, R_RESET)
    elif c.flags & CF_PROXY:
        proxied(t, c, events)
    elif events & EPOLLIN:
        on_input(t, c)
    elif events & EPOLLRDHUP:
        # Input is not armed, so nothing would ever read up to the end of the stream.
        conn_close(t, c, R_RESET)


# Commands

cdef void carry_out(Thread* t, Record* r) noexcept nogil:
    cdef uint8_t* payload = <uint8_t*> r + sizeof(Record)
    cdef Conn* c = NULL
    cdef Buf* buf
    cdef size_t span[2]
    cdef uint32_t i
    if r.conn:
        c = conn_get(t, r.conn)
    if r.kind == CM_RAW:
        if c != NULL and c.proto == P_HTTP and c.phase == H_ANSWER:
            raw_open(t, c)
        return
    if r.kind >= CM_WS_ITEM:
        talk_command(t, c, r)
        return
    if r.kind == CM_SEND:
        if c != NULL and takes(c):
            if r.length:
                tx_copy(t, c, payload, r.length)
            sent(t, c, r.flags)
    elif r.kind == CM_SEND_BUF:
        buf = <Buf*> r.arg
        if c != NULL and takes(c):
            memcpy(span, payload, sizeof(span))
            tx_slice(t, c, buf, span[0], span[1])
            sent(t, c, r.flags)
        buf_unref(buf)
    elif r.kind == CM_CREDIT:
        if c != NULL:
            if c.proto == P_HTTP:
                http_credit(t, c, r.arg)
            elif c.proto == P_RAW:
                raw_credit(t, c, r.arg)
    elif r.kind == CM_CONTINUE:
        if c != NULL:
            http_continue(t, c)
    elif r.kind == CM_CLOSE:
        if c != NULL:
            if r.aux:
                conn_finish(t, c, R_LOCAL)
            else:
                conn_close(t, c, R_LOCAL)
    elif r.kind == CM_MARK:
        if c != NULL and c.proto == P_WS and ws_items(t, c) < 0:
            conn_close(t, c, R_RESET)
        elif c != NULL:
            if c.out_bytes <= 65536:
                conn_owe(t, c, OW_DRAINED)
            else:
                c.flags |= CF_DRAIN
    elif r.kind == CM_WAKE_AT:
        if c != NULL and c.proto == P_RTMP:
            rtmp_wake_at(t, c, r.aux)
    elif r.kind == CM_FOLLOW:
        if c != NULL and c.proto == P_RTMP:
            follow_start(t, c, <Seq*> r.arg)
        else:
            seq_unref(<Seq*> r.arg)
    elif r.kind == CM_LISTEN:
        listen_on(t, <int> r.arg)
    elif r.kind == CM_UNLISTEN:
        epoll_ctl(t.epfd, EPOLL_CTL_DEL, <int> r.aux, NULL)
        t.accept_off &= ~(<uint64_t> 1 << r.arg)
    elif r.kind == CM_SEQUENCE:
        follow_news(t, <Seq*> r.arg)
        seq_unref(<Seq*> r.arg)
    elif r.kind == CM_DRAIN:
        t.draining = True
        for i in range(t.slab_count * CONN_CHUNK):
            c = conn_at(t, i)
            if c.fd >= 0 and c.proto == P_HTTP:
                http_drain(t, c)
            elif c.fd >= 0 and c.proto == P_RTMP:
                conn_finish(t, c, R_DRAIN)
            elif c.fd >= 0 and c.proto == P_WS:
                ws_drain(t, c)


cdef inline bint takes(Conn* c) noexcept nogil:
    """Whether bytes of trio belong here. An answer that the reactor has given up, and given itself, has no further ones."""
    return c.phase == H_ANSWER if c.proto == P_HTTP else c.proto != P_WS


cdef void sent(Thread* t, Conn* c, uint16_t flags) noexcept nogil:
    if c.proto == P_HTTP:
        http_sent(t, c, flags)
    elif c.proto == P_RTMP:
        rtmp_sent(t, c)
    else:
        raw_sent(t, c)


cdef bint commands(Thread* t) noexcept nogil:
    """Carry out what trio has written; False when nothing is left and it says stop."""
    cdef Record* record
    cdef int i
    for i in range(COMMANDS):
        record = ring_peek(&t.commands)
        if record == NULL:
            return nova_load64(&t.shared.stop) == 0
        carry_out(t, record)
        ring_pop(&t.commands, record)
    return True


# The turn

cdef void answer_ready(Thread* t) noexcept nogil:
    cdef int i
    cdef Waiter* waiter
    cdef Conn* c
    t.unparking = True
    for i in range(READY):
        waiter = objects_ready(t.shared.objects, t.index)
        if waiter == NULL:
            break
        c = conn_get(t, waiter.conn)
        free(waiter)
        if c != NULL:
            c.waiter = NULL
            http_unparked(t, c)
    t.unparking = False
    heads_out(t)


cdef void go_again(Thread* t) noexcept nogil:
    """Connections with input left over from the turn before; those that leave some again come after everybody else."""
    cdef uint32_t i, count = t.again_count
    cdef Conn* c
    for i in range(count):
        c = conn_at(t, t.again[i])
        if not c.flags & CF_AGAIN:
            continue
        c.flags &= ~<uint32_t> CF_AGAIN
        if c.fd < 0:
            continue
        if c.proto == P_HTTP and not c.flags & CF_HANDSHAKE:
            http_again(t, c)
        elif c.proto == P_WS:
            ws_again(t, c)
        else:
            on_input(t, c)
    for i in range(t.again_count - count):
        t.again[i] = t.again[count + i]
    t.again_count -= count


cdef void timeouts(Thread* t) noexcept nogil:
    cdef uint32_t index
    cdef Conn* c
    while True:
        index = wheel_due(t)
        if index == NO_CONN:
            return
        c = conn_at(t, index)
        if c.fd >= 0:
            on_timeout(t, c)


cdef void loop_run(Thread* t) noexcept nogil:
    """Until trio says stop; then every connection is closed."""
    cdef epoll_event events[EVENTS]
    cdef int count, i
    cdef int64_t wait, other
    cdef bint crowded
    cdef Conn* c
    cdef uint64_t token
    uring_open(t)
    while commands(t):
        t.stats.turns += 1
        answer_ready(t)
        go_again(t)
        fan_turn(t)
        ws_dirty(t)
        crowded = shed(t)
        pay_debts(t)  # behind all that may end a connection: what is owed after this waits for the next turn, for up to a second
        wait = wheel_sleep(t)
        other = rtmp_sleep(t)
        if other < wait:
            wait = other
        other = fan_sleep(t)
        if other < wait:
            wait = other
        if t.accept_off and wait > ACCEPT_PAUSE_MS:
            wait = ACCEPT_PAUSE_MS
        if crowded and wait > SHED_PAUSE_MS:
            wait = SHED_PAUSE_MS
        if <int64_t> nova_load64(<uint64_t*> &t.shared.clock_ms) >= 0 and wait > 5:
            wait = 5  # a test moves the clock without ringing
        # Whatever this turn has put up is told of before the thread waits: input that was left over comes in outside any batch.
        if nova_load64(&t.events.head) != t.events.tail:
            ring_ring(&t.events)
        if t.again_count or nova_load64(<uint64_t*> &t.shared.objects.ready[t.index]) or not ring_doze(&t.commands):
            wait = 0
        count = epoll_wait(t.epfd, events, EVENTS, <int> wait)
        ring_woke(&t.commands)
        look_at_clock(t)
        for i in range(count):
            token = events[i].data.u64
            if token == TOKEN_BELL:
                bell_clear(t.bell)
            elif token == TOKEN_RTMP:
                rtmp_ready(t)
            elif token >= TOKEN_LISTENER:
                accept_some(t, <int> (token & 0xFF))
            else:
                c = conn_get(t, token)
                if c != NULL:
                    on_event(t, c, events[i].events)
        rtmp_turn(t)
        timeouts(t)
        if not nova_load32(&t.events.sleeping):
            sched_yield()  # trio is at work and may want this core; else a turn lasts until the kernel's next tick
        if t.accept_off and t.now_ms >= t.accept_retry:
            retry_accepts(t)
        if t.draining and t.live == 0 and not t.told:
            t.told = ring_put(&t.events, EV_EMPTY, 0, 0, 0, 0, NULL, 0, NULL, 0)
            ring_ring(&t.events)
    close_all(t)
    uring_close(t)
