# nova: libraries=ssl,crypto
"""Answers from what is kept of origins, without Python: conditions, ranges, encodings, Age (RFC 9111, 5.1) and Cache-Status (RFC 9211).

A body that still grows is followed: what is there goes out at once, the rest as it comes, each reader at its own pace.
"""
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport calloc
from libc.string cimport memchr, memcmp, memcpy

from nova.ext.atomics cimport nova_add32, nova_add64, nova_load8, nova_load32, nova_load64, nova_ref
from nova.ext.buffer cimport buf_new, buf_unref
from nova.ext.conn cimport conn_again, conn_at, timer_clear
from nova.ext.hot cimport answer_error
from nova.ext.http1 cimport (
    HF_ABSOLUTE, HF_ACCEPT_BR, HF_ACCEPT_GZIP, HF_ACCEPT_ZSTD, HF_CHUNKED, HF_HAS_CONDITION, HF_HAS_RANGE, HF_UPGRADE_OTHER, HF_UPGRADE_WEBSOCKET,
    HTTP_GET, HTTP_HEAD, http1_date, http1_etag_match, http1_range,
)
from nova.ext.io cimport CF_KEEP, FR_CHUNKED, FR_CLOSE, FR_LENGTH, Follow, H_ANSWER, MAX_SITES, NO_CONN, S_DIRECTIVES, S_OPEN, S_UP, SiteRule
from nova.ext.lifecycle cimport conn_close, follow_end
from nova.ext.objects cimport K_COOKIE, K_WHOLE, kept_unref
from nova.ext.sequence cimport Item, Seq, seq_take
from nova.ext.transport cimport SMALL, tx_copy, tx_flush, tx_rope, tx_slice
from nova.ext.uring cimport uring_go, uring_send
from nova.ext.wire cimport R_LOCAL, R_RESET

cdef enum:
    BACKLOG = 262144            # bytes unsent above which a reader takes nothing new
    TAKE = 32
    TURN_BYTES = 131072         # of a body that is followed, in one turn: everybody else has his before the next
    HEADS_FIRST = 64            # turns for which a body waits at most while others still wait for their head
    END_MOST = 320              # bytes of a head that we write

cdef extern from *:
    """
    static const char CHUNKED[] = "Transfer-Encoding: chunked\\r\\n";
    """
    const char CHUNKED[29]


cdef uint16_t site_named(Thread* t, const uint8_t* path, size_t size, size_t* skip) noexcept nogil:
    """The site of `/cdn/s/<name>/…`, 0: none; `skip`: bytes up to and with the slash."""
    cdef const uint8_t* end = <const uint8_t*> memchr(path + 7, c'/', size - 7)
    cdef size_t length
    cdef SiteRule* rule
    cdef uint16_t i
    if end == NULL:
        return 0
    length = end - path - 7
    for i in range(1, MAX_SITES):
        rule = &t.shared.sites[i]
        if nova_load8(&rule.flags) & S_OPEN and rule.name_size == length and memcmp(rule.name, path + 7, length) == 0:
            skip[0] = length + 8
            return i
    return 0


cdef bint lower_is(const uint8_t* at, size_t size, const char* name, size_t length) noexcept nogil:
    cdef size_t i
    if size != length:
        return False
    for i in range(size):
        if (at[i] | 0x20 if c'A' <= at[i] <= c'Z' else at[i]) != <uint8_t> name[i]:
            return False
    return True


cdef bint site_host_agrees(const uint8_t* data, Head* head) noexcept nogil:
    """Whether an absolute form and Host name the same: an origin that looks at the other one than we do would answer for another site."""
    cdef int i
    cdef size_t k
    cdef const uint8_t* sent
    for i in range(head.count):
        if lower_is(data + head.headers[i].name, head.headers[i].name_len, b"host", 4):
            if head.headers[i].value_len != head.host_len:
                return False
            sent = data + head.headers[i].value
            for k in range(head.host_len):
                if sent[k] | 0x20 != data[head.host + k] | 0x20:
                    return False
    return True


cdef bint site_suits(Thread* t, uint16_t site, const uint8_t* data, Head* head) noexcept nogil:
    """Whether a request may be answered from what is kept."""
    cdef uint8_t flags = nova_load8(&t.shared.sites[site].flags)
    cdef int i
    if (head.method != HTTP_GET and head.method != HTTP_HEAD) or head.content_length > 0 or \
            head.flags & (HF_ABSOLUTE | HF_CHUNKED | HF_UPGRADE_OTHER | HF_UPGRADE_WEBSOCKET) or flags & S_UP or not flags & S_OPEN:
        return False
    if flags & S_DIRECTIVES:
        for i in range(head.count):
            if lower_is(data + head.headers[i].name, head.headers[i].name_len, b"cache-control", 13) or \
                    lower_is(data + head.headers[i].name, head.headers[i].name_len, b"pragma", 6):
                return False
    return True


cdef bint answer_suits(const uint8_t* data, Head* head, Kept* kept, bint guarded) noexcept nogil:
    """Whether this answer can be sent to this request from here; else trio does it."""
    if guarded and kept.flags & K_COOKIE:
        return False
    if head.flags & HF_HAS_RANGE and head.method == HTTP_GET and kept.flags & K_WHOLE:
        return kept.seq == NULL and memchr(data + head.headers[head.range_i].value, c',', head.headers[head.range_i].value_len) == NULL
    return True


cdef inline const uint8_t* field(const uint8_t* data, Head* head, int i, size_t* size) noexcept nogil:
    size[0] = head.headers[i].value_len
    return data + head.headers[i].value


cdef int precondition(const uint8_t* data, Head* head, Kept* kept) noexcept nogil:
    """200, 304 or 412, in the order of RFC 9110, 13.2.2."""
    cdef size_t size
    cdef const uint8_t* value
    cdef const uint8_t* etag = kept.head.data + kept.etag_at
    cdef int64_t date
    if head.if_match_i >= 0:
        value = field(data, head, head.if_match_i, &size)
        if not http1_etag_match(value, size, etag, kept.etag_size, False):
            return 412
    elif head.if_unmodified_since_i >= 0 and kept.modified >= 0:
        value = field(data, head, head.if_unmodified_since_i, &size)
        date = http1_date(value, size)
        if date >= 0 and kept.modified > date:
            return 412
    if head.if_none_match_i >= 0:
        value = field(data, head, head.if_none_match_i, &size)
        if kept.etag_size and http1_etag_match(value, size, etag, kept.etag_size, True):
            return 304
    elif head.if_modified_since_i >= 0 and kept.modified >= 0:
        value = field(data, head, head.if_modified_since_i, &size)
        date = http1_date(value, size)
        if date >= 0 and kept.modified <= date:
            return 304
    return 200


cdef bint range_applies(const uint8_t* data, Head* head, Kept* kept) noexcept nogil:
    """If-Range (RFC 9110, 13.1.5): a strong comparison, else the whole. A date is strong when the answer is later (8.8.2.2)."""
    cdef size_t size
    cdef const uint8_t* value
    if head.if_range_i < 0:
        return True
    value = field(data, head, head.if_range_i, &size)
    if size > 1 and (value[0] == c'"' or (value[0] == c'W' and value[1] == c'/')):  # `Wed, …` is a date
        return kept.etag_size == size and value[0] == c'"' and memcmp(value, kept.head.data + kept.etag_at, size) == 0
    return 0 <= kept.modified < <int64_t> kept.born and http1_date(value, size) == kept.modified


cdef inline char* digits(char* at, int64_t value) noexcept nogil:
    """Decimal digits of `value` at `at`; behind them."""
    cdef char text[20]
    cdef int n = 0
    if value < 0:
        at[0] = c'-'
        at += 1
        value = -value
    while True:
        text[n] = <char> (c'0' + value % 10)
        n += 1
        value //= 10
        if value == 0:
            break
    while n:
        n -= 1
        at[0] = text[n]
        at += 1
    return at


cdef inline char* text(char* at, const char* what, size_t size) noexcept nogil:
    cdef size_t i
    for i in range(size):
        at[i] = what[i]
    return at + size


cdef size_t end_text(Thread* t, char* line, Head* head, Kept* kept, bint keep, bint guarded, bint waited) noexcept nogil:
    """Age, Cache-Status and the end, at most END_MOST bytes; how many they are."""
    cdef char* at = line
    cdef int64_t age = t.now_unix - <int64_t> kept.born
    at = text(at, b"Age: ", 5)
    at = digits(at, age if age > 0 else 0)
    if waited:
        at = text(at, b"\r\nCache-Status: nova; fwd=uri-miss; collapsed\r\n", 47)
    else:
        at = text(at, b"\r\nCache-Status: nova; hit; ttl=", 31)
        at = digits(at, <int64_t> nova_load32(&kept.fresh_until) - t.now_unix)
        at = text(at, b"\r\n", 2)
    if guarded:
        at = text(at, b"X-Content-Type-Options: nosniff\r\nContent-Security-Policy: sandbox\r\n", 67)
    if not keep:
        at = text(at, b"Connection: close\r\n\r\n", 21)
    elif head.minor == 0:
        at = text(at, b"Connection: keep-alive\r\n\r\n", 26)
    else:
        at = text(at, b"\r\n", 2)
    return <size_t> (at - line)


cdef void end_of_head(Thread* t, Conn* c, Head* head, Kept* kept, bint keep, bint guarded, bint waited) noexcept nogil:
    cdef char line[END_MOST]
    tx_copy(t, c, line, end_text(t, line, head, kept, keep, guarded, waited))


cdef void whole_head(Thread* t, Conn* c, Head* head, Kept* kept, Kept* form, uint8_t framing, bint keep, bint guarded,
                     bint waited) noexcept nogil:
    tx_copy(t, c, form.head.data, form.head.size)
    if framing == FR_CHUNKED:
        tx_copy(t, c, CHUNKED, sizeof(CHUNKED) - 1)
    end_of_head(t, c, head, kept, keep, guarded, waited)


cdef void shared_head(Thread* t, Conn* c, Head* head, Kept* kept, Kept* form, uint8_t framing, bint keep, bint guarded) noexcept nogil:
    """The head of a body that comes later, for one of many who have waited for it: theirs are the same, made once and sent by one call."""
    cdef size_t size = form.head.size
    if t.uring == NULL or not t.unparking or t.tx_count or not keep or guarded or head.minor == 0:
        whole_head(t, c, head, kept, form, framing, keep, guarded, True)
        return
    if t.herd_of != form:
        herd_forget(t)
        t.herd = buf_new(size + sizeof(CHUNKED) + END_MOST)
        if t.herd == NULL:
            whole_head(t, c, head, kept, form, framing, keep, guarded, True)
            return
        nova_ref(&form.refs)
        t.herd_of = form
        memcpy(t.herd.data, form.head.data, size)
        if framing == FR_CHUNKED:
            memcpy(t.herd.data + size, CHUNKED, sizeof(CHUNKED) - 1)
            size += sizeof(CHUNKED) - 1
        t.herd.size = size + end_text(t, <char*> t.herd.data + size, head, kept, keep, guarded, True)
    if not uring_send(t, c, t.herd, 0, t.herd.size):
        whole_head(t, c, head, kept, form, framing, keep, guarded, True)


cdef void herd_forget(Thread* t) noexcept nogil:
    if t.herd != NULL:
        buf_unref(t.herd)
        kept_unref(t.herd_of)
    t.herd = NULL
    t.herd_of = NULL


cdef void heads_out(Thread* t) noexcept nogil:
    """Behind a turn's parked requests: send the heads that they share."""
    uring_go(t)
    herd_forget(t)


cdef inline Kept* alternate_of(Kept* kept, int index) noexcept nogil:
    """The same in gzip (0), br (1) or zstd (2), NULL: not kept in that. Trio may be adding it at this moment; it stays as long as `kept`."""
    cdef Kept** forms = <Kept**> nova_load64(<uint64_t*> &kept.alternates)
    return <Kept*> nova_load64(<uint64_t*> &forms[index]) if forms != NULL else NULL


cdef Kept* encoded(Head* head, Kept* kept) noexcept nogil:
    """The form of the body that this client takes: br before zstd before gzip, which is their order of size."""
    cdef Kept* form = NULL
    if head.flags & HF_HAS_RANGE:
        return kept
    if head.flags & HF_ACCEPT_BR:
        form = alternate_of(kept, 1)
    if form == NULL and head.flags & HF_ACCEPT_ZSTD:
        form = alternate_of(kept, 2)
    if form == NULL and head.flags & HF_ACCEPT_GZIP:
        form = alternate_of(kept, 0)
    return kept if form == NULL else form


cdef int answer_kept(Thread* t, Conn* c, const uint8_t* data, Head* head, Kept* kept, bint keep, bint guarded, bint waited,
                     uint16_t site) noexcept nogil:
    """The answer; PU_MORE when its body still grows: then the connection follows it.

    guarded: on the main listener, where a site must not act in our name. waited: the request waited for this fetch.
    """
    cdef char line[256]
    cdef int status = kept.status
    cdef int n, r
    cdef size_t size
    cdef const uint8_t* value
    cdef int64_t first = 0, last = 0
    cdef Kept* form = encoded(head, kept)
    cdef bint in_turns
    if kept.flags & K_WHOLE:
        if head.flags & HF_HAS_CONDITION:
            status = precondition(data, head, form)
        if status == 200 and head.flags & HF_HAS_RANGE and head.method != HTTP_HEAD and form.total >= 0 and range_applies(data, head, form):
            value = field(data, head, head.range_i, &size)
            r = http1_range(value, size, form.total, &first, &last)
            if r == 1:
                status = 206
            elif r < 0:
                status = 416
    if status == 412:
        answer_error(t, c, 412, head.method == HTTP_HEAD, not keep)
        return PU_END
    if status == kept.status:
        if form.seq != NULL:
            return follow(t, c, head, form, keep, guarded, waited, site)
        in_turns = waited and head.method != HTTP_HEAD and form.total > SMALL and t.unparking
        if in_turns:
            shared_head(t, c, head, kept, form, FR_LENGTH, keep, guarded)
        else:
            whole_head(t, c, head, kept, form, FR_LENGTH, keep, guarded, waited)
        if head.method == HTTP_HEAD:
            return PU_END
        nova_add64(&kept.bytes, form.total)
        t.sites[site].bytes += <uint64_t> form.total
        if in_turns:
            return begin_body(t, c, form, FR_LENGTH)
        tx_rope(t, c, form.slices, form.count, 0, <size_t> form.total)
        return PU_END
    if status == 206:
        n = snprintf(line, sizeof(line), b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes %lld-%lld/%lld\r\nContent-Length: %lld\r\n",
                     <long long> first, <long long> last, <long long> form.total, <long long> (last - first + 1))
    elif status == 304:
        n = snprintf(line, sizeof(line), b"HTTP/1.1 304 Not Modified\r\n")
    else:
        n = snprintf(line, sizeof(line), b"HTTP/1.1 416 Range Not Satisfiable\r\nContent-Range: bytes */%lld\r\nContent-Length: 0\r\n",
                     <long long> form.total)
    tx_copy(t, c, line, <size_t> n)
    tx_copy(t, c, form.head.data + form.line_size, form.fields_size - form.line_size)
    end_of_head(t, c, head, kept, keep, guarded, waited)
    if status == 206:
        tx_rope(t, c, form.slices, form.count, <size_t> first, <size_t> (last - first + 1))
        nova_add64(&kept.bytes, last - first + 1)
        t.sites[site].bytes += <uint64_t> (last - first + 1)
    return PU_END


cdef int follow(Thread* t, Conn* c, Head* head, Kept* kept, bint keep, bint guarded, bint waited, uint16_t site) noexcept nogil:
    """The head now, the body as it comes."""
    cdef uint8_t framing = FR_LENGTH
    if kept.total < 0 and head.method != HTTP_HEAD:
        framing = FR_CHUNKED if head.minor else FR_CLOSE
        if framing == FR_CLOSE:
            keep = False
            c.flags &= ~<uint32_t> CF_KEEP
    if not waited or head.method == HTTP_HEAD:
        whole_head(t, c, head, kept, kept, framing, keep, guarded, waited)
    else:
        shared_head(t, c, head, kept, kept, framing, keep, guarded)
    if head.method == HTTP_HEAD:
        return PU_END
    return begin_body(t, c, kept, framing)


cdef int begin_body(Thread* t, Conn* c, Kept* kept, uint8_t framing) noexcept nogil:
    """Behind its head: the body, in turns. Of many who have waited for the same, each gets its head before the first one's body begins."""
    cdef Seq* seq = kept.seq
    cdef uint32_t first
    c.follow = <Follow*> calloc(1, sizeof(Follow))
    if c.follow == NULL:
        uring_go(t)  # its head may be in there, under a descriptor that is another's soon
        conn_close(t, c, R_RESET)
        return PU_CLOSED
    nova_ref(&kept.refs)
    c.follow.kept = kept
    c.follow.framing = framing
    c.follow.cursor = 1
    c.follow.prev = c.follow.next = NO_CONN
    if seq != NULL:
        first = seq.readers[t.index]
        nova_ref(&seq.refs)
        nova_add32(&seq.reader_count, 1)
        c.follow.seq = seq
        c.follow.next = first
        if first != NO_CONN:
            conn_at(t, first).follow.prev = c.index
        seq.readers[t.index] = c.index
    timer_clear(t, c)
    c.phase = H_ANSWER
    if t.unparking or others_wait(t):
        c.follow.turns = HEADS_FIRST
        conn_again(t, c)
        return PU_MORE
    return fill_pump(t, c)


cdef inline bint others_wait(Thread* t) noexcept nogil:
    """Whether requests that were parked can be answered, and are not yet."""
    return nova_load64(<uint64_t*> &t.shared.objects.ready[t.index]) != 0


cdef bint follow_waits(Thread* t, Conn* c) noexcept nogil:
    """Whether the body of a reader that has its head comes after the heads of those who waited with it: for so many turns at most."""
    if c.follow.turns == 0 or not others_wait(t):
        c.follow.turns = 0
        return False
    c.follow.turns -= 1
    conn_again(t, c)
    return True


cdef int take(Follow* follow, Item* out, bint* ended) noexcept nogil:
    """The next pieces of the body, each with a reference of its own; their number. ended: nothing will come any more."""
    cdef Kept* kept = follow.kept
    cdef uint64_t lost = 0
    cdef int count = 0
    if follow.seq != NULL:
        return seq_take(follow.seq, &follow.cursor, out, TAKE, &lost, ended)
    while count < TAKE and follow.cursor <= kept.count:
        out[count].buf = kept.slices[follow.cursor - 1].buf
        out[count].offset = kept.slices[follow.cursor - 1].offset
        out[count].size = kept.slices[follow.cursor - 1].size
        nova_ref(&out[count].buf.refs)
        follow.cursor += 1
        count += 1
    ended[0] = count == 0
    return count


cdef int fill_pump(Thread* t, Conn* c) noexcept nogil:
    """Send what has come, as far as the reader takes it; after TURN_BYTES it goes on in the next turn."""
    cdef Item items[TAKE]
    cdef char line[20]
    cdef bint ended = False, broken
    cdef int count, i, n
    cdef uint8_t framing
    cdef size_t piece, left = TURN_BYTES
    cdef Follow* follow
    while c.fd >= 0 and c.follow != NULL and c.out_bytes < BACKLOG:
        follow = c.follow
        framing = follow.framing
        count = take(follow, items, &ended)
        for i in range(count):
            if left == 0:  # what is left over is taken again
                follow.cursor -= 1
                buf_unref(items[i].buf)
                continue
            piece = items[i].size - follow.given
            if piece > left:
                piece = left
            if framing == FR_CHUNKED:
                n = snprintf(line, sizeof(line), b"%zx\r\n", piece)
                tx_copy(t, c, line, <size_t> n)
            tx_slice(t, c, items[i].buf, items[i].offset + follow.given, piece)
            if framing == FR_CHUNKED:
                tx_copy(t, c, b"\r\n", 2)
            if follow.seq != NULL:
                nova_add64(&follow.kept.bytes, <int64_t> piece)
            left -= piece
            follow.given += piece
            if follow.given < items[i].size:
                follow.cursor -= 1
            else:
                follow.given = 0
            buf_unref(items[i].buf)
        if count == 0:
            if not ended:
                return PU_MORE
            broken = follow.seq != NULL and follow.seq.broken
            follow_end(t, c)
            if broken:
                tx_flush(t, c)
                conn_close(t, c, R_LOCAL)
                return PU_CLOSED
            if framing == FR_CHUNKED:
                tx_copy(t, c, b"0\r\n\r\n", 5)
            return PU_END
        if tx_flush(t, c) < 0:
            conn_close(t, c, R_RESET)
            return PU_CLOSED
        if left == 0:
            if c.out_count == 0:
                conn_again(t, c)
            return PU_MORE
    return PU_MORE
