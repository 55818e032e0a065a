# nova: libraries=ssl,crypto
"""HTTP/1.1 on a connection (RFC 9112): heads in, hot answers out; whatever is not hot goes up to trio and its answer comes down.

One request at a time: the next one on the connection is parsed when the answer before it is complete. A request that waits for a name
or a version keeps its head in `rbuf` and is parsed again when it can be answered, so that parking needs no copy of it.
"""
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy, memset, strlen

from nova.ext.atomics cimport nova_load8
from nova.ext.bytevec cimport vec_append, vec_drop_front, vec_free
from nova.ext.conn cimport conn_again, conn_arm, conn_id, conn_owe, timer_clear, timer_set
from nova.ext.hot cimport answer_body, answer_error
from nova.ext.http1 cimport (
    HF_ABSOLUTE, HF_CHUNKED, HF_EXPECT_CONTINUE, HF_HAS_AUTH, HF_KEEP_ALIVE, HF_UPGRADE_OTHER, HF_UPGRADE_WEBSOCKET, HTTP_GET, HTTP_HEAD,
    Chunked, Head, Header, chunked_feed, http1_head_end, http1_parse, http1_query, http1_remove_query,
)
from nova.ext.identity cimport identify, session_of, viewer_of
from nova.ext.io cimport (
    CF_AGAIN, CF_BODY, CF_CHUNKED, CF_CLOSE_AFTER, CF_DRAIN, CF_EOF, CF_HANDSHAKE, CF_IN, CF_KEEP, CF_KNOWN, CF_LATE, CF_PARTIAL_HEAD, CF_PROXY,
    CF_RATED, CF_STARTED, CF_STARVED, FR_CLOSE, H_ANSWER, H_HEAD, H_LINGER, H_PARKED, Limits, P_HTTP, P_WS, S_HOST, SiteStats,
)
from nova.ext.kept cimport KF_FULL, KF_HIT, KF_LEAD, KF_PARKED, KF_STALE, KF_UP, PICTURES_SITE, kept_find, kept_key, kept_unask
from nova.ext.lifecycle cimport conn_close, conn_linger, conn_part
from nova.ext.objects cimport (
    E_VERSIONED, F_BODY, F_FULL, F_MISS, F_PARKED, F_RENDER, F_TOO_FAR, Hit, Kept, body_unref, kept_unref, objects_find, objects_unask,
    objects_unpark,
)
from nova.ext.ring cimport ring_put, ring_ring, ring_room
from nova.ext.site_serve cimport PU_CLOSED, PU_END, PU_MORE, answer_kept, answer_suits, fill_pump, follow_waits, site_host_agrees, site_named, site_suits
from nova.ext.ssl cimport SSL_pending
from nova.ext.token_cache cimport TokenResult
from nova.ext.transport cimport READ_AGAIN, READ_FAILED, conn_read, out_resume, tx_copy, tx_flush
from nova.ext.viewers cimport viewers_touch
from nova.ext.wire cimport (
    EV_BODY, EV_DRAINED, EV_RENDER, EV_REQUEST, OW_DRAINED, OW_INPUT, R_DRAIN, R_LOCAL, R_PEER, R_PROTOCOL, R_RESET, R_SLOW, R_TIMEOUT,
    RequestInfo, SF_CLOSE, SF_END,
)
from nova.ext.ws_send cimport ws_settle
from nova.ext.ws_serve cimport WS_IS_OPEN, WS_NOT_HERE, ws_upgraded

cdef enum:
    HTTP_READ = 65536           # bytes of one read
    BODY_PIECE = 65536          # bytes of one event with a piece of a body
    PIPELINE = 64               # requests that one connection may have answered in a turn
    BACKLOG_STOP = 262144       # bytes not taken by the peer above which no further request of it is parsed
    BACKLOG_LOW = 65536         # bytes below which trio is told to go on
    REST_MAX = 16384            # bytes of further requests kept while an answer is awaited; then reading stops

cdef enum Took:
    T_ANSWERED = 0
    T_UP = 1
    T_PARKED = 2
    T_FULL = 3                  # the ring has no room


cdef inline Limits* limits_of(Thread* t, Conn* c) noexcept nogil:
    return &t.shared.listeners[c.listener].limits


cdef void http_open(Thread* t, Conn* c) noexcept nogil:
    """A new connection, past its TLS handshake if it has one."""
    c.phase = H_HEAD
    timer_set(t, c, t.now_ms + limits_of(t, c).head_ms)


cdef void set_deadline(Thread* t, Conn* c) noexcept nogil:
    """What the connection waits for now decides how long."""
    cdef Limits* limits = limits_of(t, c)
    if c.out_count:
        if not c.flags & CF_RATED:
            c.flags |= CF_RATED
            c.moved = 0
            c.since = t.now_ms
            timer_set(t, c, t.now_ms + limits.body_ms)
        return
    if c.flags & CF_RATED:
        c.flags &= ~<uint32_t> CF_RATED
        timer_clear(t, c)
    if c.phase == H_PARKED:
        timer_set(t, c, c.park_deadline)
    elif c.phase == H_ANSWER:
        if not c.flags & CF_BODY or c.credit <= 0 or c.flags & CF_STARVED:
            timer_clear(t, c)
        elif c.deadline == 0:
            c.moved = 0
            c.since = t.now_ms
            timer_set(t, c, t.now_ms + limits.body_ms)
    elif c.flags & CF_PARTIAL_HEAD:
        if c.deadline == 0:  # else it runs since the head's first byte
            timer_set(t, c, t.now_ms + limits.head_ms)
    else:
        timer_set(t, c, t.now_ms + limits.idle_ms)


cdef void arm(Thread* t, Conn* c) noexcept nogil:
    """Read while there is somebody to take it; hear of room while there is a backlog."""
    cdef bint input = True
    if c.flags & (CF_STARVED | CF_EOF) or c.out_bytes > BACKLOG_STOP:
        input = False
    elif c.phase == H_ANSWER:
        input = c.credit > 0 if c.flags & CF_BODY else c.rbuf.len < REST_MAX
    elif c.phase == H_PARKED:
        input = c.rbuf.len < REST_MAX
    conn_arm(t, c, input, c.out_count > 0)


cdef void settle(Thread* t, Conn* c) noexcept nogil:
    """After a turn's work: flush, then arm socket and timer for what is awaited."""
    if c.proto == P_WS:
        ws_settle(t, c)
        return
    if tx_flush(t, c) < 0:
        conn_close(t, c, R_RESET)
        return
    if c.fd < 0 or c.phase == H_LINGER or c.proto != P_HTTP:
        return
    if c.out_count == 0:
        if c.flags & CF_CLOSE_AFTER:
            conn_linger(t, c, R_LOCAL)
            return
        if c.flags & CF_EOF and c.phase == H_HEAD and not c.flags & (CF_AGAIN | CF_STARVED):
            conn_close(t, c, R_PEER)
            return
    set_deadline(t, c)
    arm(t, c)
    if c.ssl != NULL and c.flags & CF_IN and SSL_pending(c.ssl) > 0:
        conn_again(t, c)  # what OpenSSL holds, the socket does not show


cdef void refuse(Thread* t, Conn* c, int status) noexcept nogil:
    """Answer with an error that ends the connection."""
    t.stats.refused += 1
    c.phase = H_HEAD
    answer_error(t, c, status, False, True)
    c.flags |= CF_CLOSE_AFTER


cdef void lose(Thread* t, Conn* c, int status, uint16_t reason) noexcept nogil:
    """The request's body will not come whole. Trio hears of the end, the peer of the cause, if nothing else was answered yet."""
    if c.flags & CF_STARTED:
        conn_close(t, c, reason)
        return
    conn_part(t, c, reason)
    c.flags &= ~<uint32_t> (CF_BODY | CF_CHUNKED)
    refuse(t, c, status)


cdef int hand_up(Thread* t, Conn* c, const uint8_t* data, Head* head) noexcept nogil:
    """Give a request to trio: head and identity. T_UP, or T_FULL."""
    return hand_up_to(t, c, data, head, 0, False)


cdef int hand_up_to(Thread* t, Conn* c, const uint8_t* data, Head* head, uint16_t site, bint leads) noexcept nogil:
    """site: not 0: the request goes to its origins as it is. leads: others wait for what comes of it; `t.key` is what they wait for."""
    cdef RequestInfo info
    cdef TokenResult result
    cdef uint8_t* copy
    if not ring_room(&t.events, t.shared.largest):
        conn_owe(t, c, OW_INPUT)
        c.flags |= CF_STARVED
        return T_FULL
    memset(&info, 0, sizeof(RequestInfo))
    t.up.len = 0
    info.content_length = head.content_length
    info.flags = head.flags
    info.head_size = head.size
    info.path = head.path
    info.path_len = head.path_len
    info.query = head.query
    info.query_len = head.query_len
    info.method_at = head.method_at
    info.method_len = head.method_len
    info.count = head.count
    info.listener = c.listener
    info.peer_port = c.peer_port
    info.minor = head.minor
    info.tls = c.ssl != NULL
    memcpy(info.peer, c.peer, 16)
    if vec_append(&t.up, &info, sizeof(RequestInfo)) < 0 or vec_append(&t.up, head.headers, head.count * sizeof(Header)) < 0 or \
            vec_append(&t.up, data, head.size) < 0:
        refuse(t, c, 503)
        return T_ANSWERED
    info.site = site
    info.token = 1
    if site == 0:
        info.token = identify(t, data, head, &t.up, &result, &info.token_in_query)
    elif leads and vec_append(&t.up, t.key.data, t.key.len) < 0:
        refuse(t, c, 503)
        return T_ANSWERED
    info.leads = leads
    info.claims_size = <uint32_t> (t.up.len - sizeof(RequestInfo) - head.count * sizeof(Header) - head.size)
    copy = t.up.data + sizeof(RequestInfo) + head.count * sizeof(Header)
    if site == 0:
        info.query_len = <uint32_t> http1_remove_query(copy + head.query, head.query_len, b"access_token", 12)
    elif head.query_len == 0 and head.path >= head.target and head.path + head.path_len < head.target + head.target_len:
        info.path_len += 1  # an empty query is a query: the target goes on as it was sent
    memcpy(t.up.data, &info, sizeof(RequestInfo))
    if head.flags & HF_CHUNKED:
        free(c.chunked)
        c.chunked = <Chunked*> calloc(1, sizeof(Chunked))
        if c.chunked == NULL:
            refuse(t, c, 503)
            return T_ANSWERED
    if not ring_put(&t.events, EV_REQUEST, 0, conn_id(t, c), 0, 0, t.up.data, <uint32_t> t.up.len, NULL, 0):
        conn_owe(t, c, OW_INPUT)
        c.flags |= CF_STARVED
        return T_FULL
    ring_ring(&t.events)
    t.stats.handed_up += 1
    c.flags |= CF_KNOWN
    c.phase = H_ANSWER
    c.flags &= ~<uint32_t> (CF_BODY | CF_CHUNKED | CF_KEEP | CF_STARTED | CF_LATE)
    c.park_deadline = 0
    timer_clear(t, c)
    if head.flags & HF_KEEP_ALIVE and not t.draining:
        c.flags |= CF_KEEP
    c.credit = 0
    c.body_left = 0
    if head.flags & HF_CHUNKED:
        c.flags |= CF_BODY | CF_CHUNKED
    elif head.content_length > 0:
        c.body_left = head.content_length
        c.flags |= CF_BODY
    return T_UP


cdef int64_t number(const uint8_t* text, size_t size) noexcept nogil:
    """A decimal integer of at most 15 digits, -1: not one."""
    cdef int64_t value = 0
    cdef size_t i
    if size == 0 or size > 15:
        return -1
    for i in range(size):
        if text[i] < 48 or text[i] > 57:
            return -1
        value = value * 10 + (text[i] - 48)
    return value


cdef bint delivery(const uint8_t* query, size_t size, int64_t* msn, int64_t* part) noexcept nogil:
    """The delivery directives of a query (RFC 8216bis, 6.2.5.2); False when they make no sense."""
    cdef const uint8_t* value
    cdef size_t length
    msn[0] = part[0] = -1
    if size == 0:
        return True
    if http1_query(query, size, b"_HLS_msn", 8, &value, &length):
        msn[0] = number(value, length)
        if msn[0] < 0:
            return False
    if http1_query(query, size, b"_HLS_part", 9, &value, &length):
        part[0] = number(value, length)
        if part[0] < 0 or msn[0] < 0 or part[0] > 0xFFF0:
            return False
    return msn[0] < <int64_t> 1 << 40


cdef int serve_site(Thread* t, Conn* c, const uint8_t* data, Head* head, uint16_t site, size_t skip) noexcept nogil:
    """One request of a site: from what is kept, else by the origins. skip: bytes of the path that name the site, on the main listener."""
    cdef Kept* kept = NULL
    cdef bint late = c.flags & CF_LATE
    cdef bint plain = head.authorization_i < 0 and head.range_i < 0 and not late
    cdef bint keep, waited = c.park_deadline != 0
    cdef SiteStats* stats = &t.sites[site]
    cdef int found = KF_UP, r
    if c.park_deadline == 0:
        stats.requests += 1
    if head.flags & HF_ABSOLUTE and not site_host_agrees(data, head):
        refuse(t, c, 400)
        return T_ANSWERED
    if not site_suits(t, site, data, head) or not kept_key(&t.key, data, head, nova_load8(&t.shared.sites[site].flags) & S_HOST, skip):
        return hand_up_to(t, c, data, head, site, False)
    found = kept_find(t.shared.objects, site, &t.key, data, head, <uint32_t> t.now_unix, plain, plain and head.method == HTTP_GET,
                      conn_id(t, c), &c.waiter, &kept)
    if found == KF_UP:
        return hand_up_to(t, c, data, head, site, False)
    if found == KF_LEAD:
        r = hand_up_to(t, c, data, head, site, True)
        if r != T_UP:
            kept_unask(t.shared.objects, site, &t.key)
        return r
    if found == KF_PARKED:
        t.stats.parked += 1
        if c.park_deadline == 0:
            stats.collapsed += 1
            c.park_deadline = t.now_ms + limits_of(t, c).park_ms
        c.phase = H_PARKED
        return T_PARKED
    if found == KF_STALE:
        # Nobody waits for the new one, so a full ring only means that the next request asks.
        if ring_put(&t.events, EV_RENDER, 0, 0, site, 0, t.key.data, <uint32_t> t.key.len, NULL, 0):
            ring_ring(&t.events)
        else:
            kept_unask(t.shared.objects, site, &t.key)
        stats.stale += 1
    if found != KF_FULL and not answer_suits(data, head, kept, skip > 0):
        kept_unref(kept)
        return hand_up_to(t, c, data, head, site, False)
    keep = begin_kept(t, c, head)
    if found == KF_FULL:
        answer_error(t, c, 503, head.method == HTTP_HEAD, not keep)
        r = PU_END
    else:
        stats.hits += 1
        r = answer_kept(t, c, data, head, kept, keep, skip > 0, waited, site)
        kept_unref(kept)
    end_kept(c, r)
    return T_ANSWERED


cdef inline bint begin_kept(Thread* t, Conn* c, Head* head) noexcept nogil:
    """Whether the connection stays."""
    cdef bint keep = head.flags & HF_KEEP_ALIVE and not t.draining
    c.flags &= ~<uint32_t> (CF_LATE | CF_KEEP)
    c.park_deadline = 0
    t.stats.hot += 1
    if keep:
        c.flags |= CF_KEEP
    return keep


cdef inline void end_kept(Conn* c, int r) noexcept nogil:
    if r == PU_END:
        c.phase = H_HEAD
        if not c.flags & CF_KEEP:  # a body whose end is the connection's own takes it away
            c.flags |= CF_CLOSE_AFTER


cdef bint serve_picture(Thread* t, Conn* c, const uint8_t* data, Head* head) noexcept nogil:
    """Answer with a picture's result that is kept; False: there is none that suits, and the application makes it. Nobody waits here: the
    application joins those who ask for the same."""
    cdef Kept* kept = NULL
    cdef bint keep
    if head.flags & HF_ABSOLUTE or not kept_key(&t.key, data, head, False, 0):
        return False
    if kept_find(t.shared.objects, PICTURES_SITE, &t.key, data, head, <uint32_t> t.now_unix, False, False, 0, &c.waiter, &kept) != KF_HIT:
        return False
    if not answer_suits(data, head, kept, False):
        kept_unref(kept)
        return False
    keep = begin_kept(t, c, head)
    end_kept(c, answer_kept(t, c, data, head, kept, keep, False, False, PICTURES_SITE))
    kept_unref(kept)
    return True


cdef void http_follow(Thread* t, Conn* c) noexcept nogil:
    """The body that the connection follows has grown, or its backlog is low again."""
    cdef bint close = c.follow.framing == FR_CLOSE
    cdef int r = fill_pump(t, c)
    if r == PU_CLOSED:
        return
    if r == PU_END:
        c.phase = H_HEAD
        if close or not c.flags & CF_KEEP or t.draining:
            c.flags |= CF_CLOSE_AFTER
        elif c.rbuf.len:
            http_resume(t, c)
            return
    settle(t, c)


cdef int serve(Thread* t, Conn* c, const uint8_t* data, Head* head) noexcept nogil:
    """One request. T_ANSWERED and T_UP have used its head, T_PARKED and T_FULL have not."""
    cdef Hit hit
    cdef const uint8_t* path = data + head.path
    cdef size_t path_len = head.path_len
    cdef const uint8_t* stripped = NULL
    cdef size_t stripped_len = 0
    cdef uint64_t viewer = 0
    cdef bint session = False
    cdef int64_t msn, part
    cdef bint sensible, keep
    cdef int found
    cdef bint late = c.flags & CF_LATE
    cdef size_t skip = 0
    cdef uint16_t site = t.shared.listeners[c.listener].site
    if site:
        return serve_site(t, c, data, head, site, 0)
    if path_len > 8 and memcmp(path, b"/cdn/s/", 7) == 0:
        site = site_named(t, path, path_len, &skip)
        if site:
            return serve_site(t, c, data, head, site, skip)
    if head.flags & HF_UPGRADE_WEBSOCKET and t.shared.listeners[c.listener].websockets:
        found = ws_upgraded(t, c, data, head)
        if found == WS_IS_OPEN:
            return T_ANSWERED
        if found != WS_NOT_HERE:
            refuse(t, c, -found)
            return T_ANSWERED
    if (head.method != HTTP_GET and head.method != HTTP_HEAD) or head.content_length > 0 or \
            head.flags & (HF_CHUNKED | HF_UPGRADE_OTHER | HF_UPGRADE_WEBSOCKET):
        return hand_up(t, c, data, head)
    if path_len > 5 and memcmp(path, b"/img/", 5) == 0:
        return T_ANSWERED if serve_picture(t, c, data, head) else hand_up(t, c, data, head)
    # A signed session in the path is checked and taken out, so that its bytes are everybody's.
    if path_len > 8 and memcmp(path, b"/live/~", 7) == 0:
        session = session_of(t, path, path_len, &stripped, &stripped_len, &viewer)
        if not session:
            return hand_up(t, c, data, head)
        path = stripped
        path_len = stripped_len
    sensible = delivery(data + head.query, head.query_len, &msn, &part)
    memset(&hit, 0, sizeof(Hit))
    found = objects_find(t.shared.objects, t.shared.listeners[c.listener].site, path, path_len, session,
                         msn if sensible else -1, part if sensible else -1, not late, conn_id(t, c), &c.waiter, &hit)
    if found == F_MISS:
        return hand_up(t, c, data, head)
    if hit.flags & E_VERSIONED and not sensible and found != F_BODY:
        if c.waiter != NULL:
            if found == F_RENDER:
                objects_unask(t.shared.objects, c.waiter)
            else:
                objects_unpark(t.shared.objects, c.waiter)
            c.waiter = NULL
        found = F_TOO_FAR
    if hit.tag:
        viewers_touch(t.shared.viewers, hit.tag, viewer if session else viewer_of(c, data, head), t.now_unix)
    if found == F_PARKED or found == F_RENDER:
        if found == F_RENDER and not ring_put(&t.events, EV_RENDER, 0, 0, t.shared.listeners[c.listener].site, 0,
                                              path, <uint32_t> path_len, NULL, 0):
            # Nobody was asked, so nobody would answer: come back when the ring has room.
            objects_unask(t.shared.objects, c.waiter)
            c.waiter = NULL
            conn_owe(t, c, OW_INPUT)
            c.flags |= CF_STARVED
            return T_FULL
        if found == F_RENDER:
            ring_ring(&t.events)
        t.stats.parked += 1
        if c.park_deadline == 0:
            c.park_deadline = t.now_ms + limits_of(t, c).park_ms
        c.phase = H_PARKED
        return T_PARKED
    keep = head.flags & HF_KEEP_ALIVE and not t.draining
    c.flags &= ~<uint32_t> CF_LATE
    c.park_deadline = 0
    t.stats.hot += 1
    if found == F_BODY:
        if hit.flags & E_VERSIONED and not sensible:
            answer_error(t, c, 400, head.method == HTTP_HEAD, not keep)
        else:
            answer_body(t, c, data, head, hit.body, keep)
        body_unref(hit.body)
    elif found == F_TOO_FAR:
        answer_error(t, c, 400, head.method == HTTP_HEAD, not keep)
    else:
        answer_error(t, c, 503, head.method == HTTP_HEAD, not keep)
    if not keep:
        c.flags |= CF_CLOSE_AFTER
    return T_ANSWERED


cdef Py_ssize_t unchunk(Thread* t, Conn* c, const uint8_t* data, size_t size) noexcept nogil:
    """Take chunks apart and give their payload to trio in one event, however small they are; the number of bytes used, or -status."""
    cdef const uint8_t* body
    cdef size_t length, step, used = 0
    cdef int r = 0
    t.up.len = 0
    while used < size and r == 0:
        r = chunked_feed(c.chunked, data + used, size - used, &step, &body, &length)
        if r < 0:
            return r
        used += step
        if length and vec_append(&t.up, body, length) < 0:
            return -503
    if t.up.len or r == 1:
        ring_put(&t.events, EV_BODY, r == 1, conn_id(t, c), 0, 0, t.up.data, <uint32_t> t.up.len, NULL, 0)
    c.credit -= <int64_t> t.up.len
    if r == 1:
        c.flags &= ~<uint32_t> (CF_BODY | CF_CHUNKED)
        free(c.chunked)
        c.chunked = NULL
    return <Py_ssize_t> used


cdef size_t body_up(Thread* t, Conn* c, const uint8_t* data, size_t size) noexcept nogil:
    """Give bytes of a request's body to trio, as far as it has asked for them; the number of bytes used."""
    cdef size_t used = 0, step
    cdef Py_ssize_t r
    while used < size and c.flags & CF_BODY and c.credit > 0:
        if not ring_room(&t.events, t.shared.largest):
            conn_owe(t, c, OW_INPUT)
            c.flags |= CF_STARVED
            break
        step = size - used if size - used < BODY_PIECE else BODY_PIECE
        if <int64_t> step > c.credit:
            step = <size_t> c.credit
        if c.flags & CF_CHUNKED:
            r = unchunk(t, c, data + used, step)
            if r < 0:
                lose(t, c, <int> -r, R_PROTOCOL)  # nothing after this can be trusted
                return size
            step = <size_t> r
        else:
            if <int64_t> step > c.body_left:
                step = <size_t> c.body_left
            c.body_left -= <int64_t> step
            c.credit -= <int64_t> step
            ring_put(&t.events, EV_BODY, c.body_left == 0, conn_id(t, c), 0, 0, data + used, <uint32_t> step, NULL, 0)
            if c.body_left == 0:
                c.flags &= ~<uint32_t> CF_BODY
        used += step
    ring_ring(&t.events)
    if used and c.flags & CF_BODY and not c.flags & CF_RATED:
        pace(t, c, used)
    return used


cdef void pace(Thread* t, Conn* c, size_t came) noexcept nogil:
    """Some of a body came: the next must come within the time, and over each such time the least rate be reached."""
    cdef Limits* limits = limits_of(t, c)
    if c.deadline == 0:  # the time in which nobody took any was not the peer's
        c.since = t.now_ms
        c.moved = 0
    c.moved += came
    if t.now_ms - c.since >= limits.body_ms:
        if c.moved < <uint64_t> limits.min_rate * limits.body_ms // 1000:
            t.stats.timeouts += 1
            lose(t, c, 408, R_SLOW)
            return
        c.since = t.now_ms
        c.moved = 0
    timer_set(t, c, t.now_ms + limits.body_ms)


cdef size_t consume(Thread* t, Conn* c, const uint8_t* data, size_t size) noexcept nogil:
    """Work through input as far as it goes now; the number of bytes used."""
    cdef Head head
    cdef size_t used = 0, step
    cdef int r
    cdef int answered = 0
    while used < size and c.fd >= 0:
        if c.phase == H_LINGER or (c.flags & CF_CLOSE_AFTER and c.phase == H_HEAD):
            return size
        if c.phase == H_PARKED or c.flags & CF_STARVED:
            break
        if c.phase == H_ANSWER:
            if not c.flags & CF_BODY or c.credit <= 0:
                break
            step = body_up(t, c, data + used, size - used)
            used += step
            if step == 0:
                break
            continue
        if c.out_bytes > BACKLOG_STOP:
            break
        if answered == PIPELINE:
            conn_again(t, c)
            break
        r = http1_parse(data + used, size - used, limits_of(t, c).max_head, &head)
        if r == 0:
            if not c.flags & CF_PARTIAL_HEAD:
                c.flags |= CF_PARTIAL_HEAD
                if not c.flags & CF_RATED:
                    timer_set(t, c, t.now_ms + limits_of(t, c).head_ms)
            break
        if r < 0:
            refuse(t, c, -r)
            return size
        if c.waiter == NULL and c.park_deadline == 0:
            t.stats.requests += 1
        c.flags &= ~<uint32_t> CF_PARTIAL_HEAD
        r = serve(t, c, data + used, &head)
        if r == T_PARKED or r == T_FULL:
            break
        used += head.size
        if c.proto != P_HTTP:
            if used < size:
                conn_again(t, c)  # what came behind the head are frames
            break
        answered += 1
    return used


cdef void http_input(Thread* t, Conn* c) noexcept nogil:
    """The socket has bytes, or its peer has finished."""
    cdef Py_ssize_t n
    cdef size_t used, before
    cdef bint waits = c.phase == H_PARKED or (c.phase == H_ANSWER and not c.flags & CF_BODY)
    n = conn_read(t, c, t.rx, REST_MAX if waits else HTTP_READ)
    if n == READ_AGAIN:
        return
    if n == 0 and c.phase == H_HEAD and c.out_count:
        c.flags |= CF_EOF  # it has asked for the last time, and still takes the answers
        arm(t, c)
        return
    if n <= 0:
        conn_close(t, c, R_PEER if n == 0 else R_RESET)
        return
    if c.phase == H_LINGER:
        return
    if c.rbuf.len:
        before = c.rbuf.len
        if vec_append(&c.rbuf, t.rx, <size_t> n) < 0:
            conn_close(t, c, R_RESET)
            return
        if c.phase == H_HEAD and c.flags & CF_PARTIAL_HEAD and c.rbuf.len <= limits_of(t, c).max_head and \
                http1_head_end(c.rbuf.data, c.rbuf.len, before) == 0:
            return  # still no end of the head in sight
        http_resume(t, c)
        return
    used = consume(t, c, t.rx, <size_t> n)
    if c.fd >= 0 and used < <size_t> n:
        if vec_append(&c.rbuf, t.rx + used, <size_t> n - used) < 0:
            conn_close(t, c, R_RESET)
            return
    settle(t, c)


cdef void http_resume(Thread* t, Conn* c) noexcept nogil:
    """Go on with what lies in `rbuf`."""
    cdef size_t used
    if c.rbuf.len and c.fd >= 0:
        used = consume(t, c, c.rbuf.data, c.rbuf.len)
        if c.fd >= 0:
            vec_drop_front(&c.rbuf, used)
            if c.rbuf.len == 0:
                vec_free(&c.rbuf)
    settle(t, c)


cdef void http_again(Thread* t, Conn* c) noexcept nogil:
    """A turn later: go on with what is followed or was read, then with what OpenSSL has read and the socket does not show."""
    if c.follow != NULL:
        if follow_waits(t, c):
            return
        http_follow(t, c)
    elif c.rbuf.len == 0:
        http_input(t, c)
        return
    else:
        http_resume(t, c)
    if c.fd >= 0 and c.ssl != NULL and c.flags & CF_IN and SSL_pending(c.ssl) > 0:
        http_input(t, c)


cdef void http_output(Thread* t, Conn* c) noexcept nogil:
    """The socket takes bytes again."""
    if out_resume(t, c) < 0:
        conn_close(t, c, R_RESET)
        return
    if c.follow != NULL and c.out_bytes <= BACKLOG_LOW:
        http_follow(t, c)
        return
    if c.flags & CF_DRAIN and c.out_bytes <= BACKLOG_LOW:
        c.flags &= ~<uint32_t> CF_DRAIN
        conn_owe(t, c, OW_DRAINED)
    if c.rbuf.len and c.phase == H_HEAD and c.out_bytes <= BACKLOG_LOW:
        http_resume(t, c)
        return
    settle(t, c)


cdef void http_timeout(Thread* t, Conn* c) noexcept nogil:
    """The deadline has passed."""
    cdef Limits* limits = limits_of(t, c)
    if c.phase == H_LINGER:
        conn_close(t, c, R_LOCAL)
    elif c.out_count:
        if c.moved >= <uint64_t> limits.min_rate * limits.body_ms // 1000:
            c.moved = 0
            timer_set(t, c, t.now_ms + limits.body_ms)
        else:
            t.stats.timeouts += 1
            conn_close(t, c, R_SLOW)
    elif c.phase == H_ANSWER:
        if c.flags & CF_BODY:
            t.stats.timeouts += 1
            lose(t, c, 408, R_TIMEOUT)
            settle(t, c)
    elif c.phase == H_PARKED:
        http_give_up(t, c)
    elif c.phase == H_HEAD and c.flags & CF_PARTIAL_HEAD:
        t.stats.timeouts += 1
        refuse(t, c, 408)
        settle(t, c)
    elif c.phase == H_HEAD:
        conn_close(t, c, R_TIMEOUT)


cdef void http_give_up(Thread* t, Conn* c) noexcept nogil:
    """The wait of a parked request is over: answer with what there is, else 503."""
    if c.waiter != NULL:
        objects_unpark(t.shared.objects, c.waiter)
        c.waiter = NULL
    c.flags |= CF_LATE
    c.phase = H_HEAD
    http_resume(t, c)


cdef void http_drain(Thread* t, Conn* c) noexcept nogil:
    """No further request of this connection: now when it is idle, else after the answer under way."""
    if c.flags & (CF_HANDSHAKE | CF_PROXY):
        conn_close(t, c, R_DRAIN)
    elif c.phase == H_PARKED:
        http_give_up(t, c)
    elif c.phase == H_HEAD and c.out_count:
        c.flags |= CF_CLOSE_AFTER
    elif c.phase == H_HEAD and c.rbuf.len == 0:
        conn_close(t, c, R_DRAIN)
    elif c.phase == H_LINGER:
        conn_close(t, c, R_DRAIN)


cdef void http_sent(Thread* t, Conn* c, uint16_t flags) noexcept nogil:
    """Trio's bytes are in the stretch list; `flags` (SendFlag) say whether the answer is complete."""
    c.flags |= CF_STARTED
    if flags & SF_END:
        c.flags &= ~<uint32_t> (CF_KNOWN | CF_DRAIN)
        c.phase = H_HEAD
        if flags & SF_CLOSE or not c.flags & CF_KEEP or c.flags & CF_BODY or t.draining:
            c.flags |= CF_CLOSE_AFTER
        elif c.rbuf.len:
            http_resume(t, c)
            return
    settle(t, c)


cdef void http_credit(Thread* t, Conn* c, uint64_t bytes) noexcept nogil:
    """Trio asks for more of the body."""
    if c.phase != H_ANSWER or not c.flags & CF_BODY:
        return
    if c.credit <= 0:  # the time in which nobody asked for more is not the peer's
        c.moved = 0
        c.since = t.now_ms
    c.credit += <int64_t> bytes
    http_resume(t, c)


cdef void http_continue(Thread* t, Conn* c) noexcept nogil:
    """The application reads a body that its client holds back until it hears 100 (Continue) (RFC 9110, 10.1.1)."""
    if c.phase == H_ANSWER and c.flags & CF_BODY and c.rbuf.len == 0:
        tx_copy(t, c, b"HTTP/1.1 100 Continue\r\n\r\n", 25)
        settle(t, c)


cdef void http_unparked(Thread* t, Conn* c) noexcept nogil:
    """What the request waited for is there, or will never be."""
    if c.phase == H_PARKED:
        c.phase = H_HEAD
        http_resume(t, c)
