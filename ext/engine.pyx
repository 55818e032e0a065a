# nova: libraries=ssl,crypto
"""The reactor's handle for Python: threads, listeners, commands down, events up. Everything here is called from one thread, trio's."""
cimport cython
from libc.errno cimport errno
from libc.stdint cimport INT64_MAX, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from nova.ext.atomics cimport nova_add32, nova_add64, nova_load32, nova_load64, nova_ref, nova_store8, nova_store32, nova_store64, nova_swap32
from nova.ext.buffer cimport Buf, Buffer, buf_unref, buffer_wrap
from nova.ext.channels cimport Channel
from nova.ext.commands cimport CF_RECOVER, CF_SINCE
from nova.ext.commands import COMMANDS
from nova.ext.http1 cimport HF_CHUNKED, HF_EXPECT_CONTINUE, HF_KEEP_ALIVE, HTTP_MAX_HEADERS, Header
from nova.ext.io cimport (
    MAX_LISTENERS, MAX_SITES, MAX_THREADS, P_HTTP, P_RAW, P_RTMP, S_DIRECTIVES, S_HOST, S_OPEN, S_UP, Listener, Shared, SiteRule, Thread,
    session_check, token_check,
)
from nova.ext.kept cimport PICTURES_SITE
from nova.ext.loop cimport loop_close, loop_open, loop_run
from nova.ext.objects cimport ObjectTable
from nova.ext.peers cimport Peers
from nova.ext.ring cimport (
    PIECE_MOST, RING_LEAST, Record, bell_clear, bell_ring, ring_close, ring_doze, ring_open, ring_peek, ring_pop, ring_put, ring_ring,
    ring_woke,
)
from nova.ext.rtmp cimport rtmp_error
from nova.ext.sequence cimport Seq, Sequence, seq_unref
from nova.ext.session cimport SessionKeys, session_verify
from nova.ext.tls cimport TlsContext
from nova.ext.token cimport TokenTable, token_error, token_verify
from nova.ext.viewers cimport Viewers
from nova.ext.wire cimport (
    CM_CLOSE, CM_CONTINUE, CM_CREDIT, CM_DRAIN, CM_FOLLOW, CM_LISTEN, CM_MARK, CM_RAW, CM_SEND, CM_SEND_BUF, CM_SEQUENCE, CM_UNLISTEN,
    CM_WAKE_AT, CM_WS_CLOSE, CM_WS_ITEM, CM_WS_JOIN, CM_WS_LEAVE, CM_WS_NEWS, CM_WS_REVOKE, CM_WS_USER, CommandInfo, EV_BODY, EV_CLOSED,
    EV_DATA, EV_DRAINED, EV_EMPTY, EV_OPENED, EV_RECORDS, EV_REFUSED, EV_RENDER, EV_REQUEST, EV_WS_COMMANDS, EV_WS_GONE, OpenedInfo, RequestInfo,
    SF_CLOSE, SF_END, WhoInfo,
)
from nova.ext.ws_conn cimport WsRules
from nova.ext.ws_talk cimport talk_drop

import os
from collections import deque

cdef extern from "sys/eventfd.h" nogil:
    int eventfd(unsigned int count, int flags)
    enum: EFD_CLOEXEC, EFD_NONBLOCK

cdef extern from "arpa/inet.h" nogil:
    const char* inet_ntop(int family, const void* src, char* dst, unsigned int size)
    enum: AF_INET6

cdef extern from "sys/socket.h" nogil:
    int shutdown(int fd, int how)
    enum: SHUT_RDWR

cdef extern from "unistd.h" nogil:
    int close(int fd)

REQUEST = EV_REQUEST
BODY = EV_BODY
CLOSED = EV_CLOSED
DRAINED = EV_DRAINED
OPENED = EV_OPENED
RECORDS = EV_RECORDS
DATA = EV_DATA
EMPTY = EV_EMPTY
RENDER = EV_RENDER
REFUSED = EV_REFUSED
END = SF_END
CLOSE = SF_CLOSE
KEEPS_ALIVE = HF_KEEP_ALIVE
HAS_CHUNKED_BODY = HF_CHUNKED
EXPECTS_CONTINUE = HF_EXPECT_CONTINUE
PROTOCOLS = {"http": P_HTTP, "rtmp": P_RTMP}
RAW = P_RAW
MOST_THREADS = MAX_THREADS

WS_COMMANDS = EV_WS_COMMANDS
WS_GONE = EV_WS_GONE
NAMES = ("", *COMMANDS)

_REASONS = ("unknown", "peer", "reset", "local", "timeout", "slow", "protocol", "tls", "limit", "drain", "ended")


cdef str reason_name(uint32_t code):
    """A Reason, or what the RTMP kernel said (0x100 and above)."""
    if code > 0x100:
        return (<bytes> rtmp_error(-<int> (code - 0x100))).decode("ascii")
    return _REASONS[code] if code < len(_REASONS) else "unknown"


cdef str address(const uint8_t* peer):
    cdef char text[64]
    cdef int i
    cdef bint mapped = peer[10] == 0xFF and peer[11] == 0xFF
    for i in range(10):
        if peer[i]:
            mapped = False
    if mapped:
        return f"{peer[12]}.{peer[13]}.{peer[14]}.{peer[15]}"
    inet_ntop(AF_INET6, peer, text, sizeof(text))
    return (<bytes> text).decode("ascii")


cdef tuple request_of(Record* r):
    """(REQUEST, conn, listener, method, minor, head flags, raw path, query, headers, content length, peer, port, tls, token, claims,
    token in query, site, whether it leads: then the claims are the key that others wait for)"""
    cdef RequestInfo info
    cdef const char* payload = <const char*> r + sizeof(Record)
    cdef const Header* headers = <const Header*> (payload + sizeof(RequestInfo))
    cdef const char* head
    cdef list fields = []
    cdef int i
    memcpy(&info, payload, sizeof(RequestInfo))
    head = payload + sizeof(RequestInfo) + info.count * sizeof(Header)
    for i in range(info.count):
        fields.append((
            head[headers[i].name:headers[i].name + headers[i].name_len].lower(),
            head[headers[i].value:headers[i].value + headers[i].value_len],
        ))
    return (
        EV_REQUEST, r.conn, info.listener, head[info.method_at:info.method_at + info.method_len].decode("ascii"), info.minor, info.flags,
        head[info.path:info.path + info.path_len], head[info.query:info.query + info.query_len], fields, info.content_length,
        address(info.peer), info.peer_port, bool(info.tls),
        None if info.token == 1 else "" if info.token == 0 else (<bytes> token_error(info.token)).decode("ascii"),
        head[info.head_size:info.head_size + info.claims_size], bool(info.token_in_query), info.site, bool(info.leads),
    )


cdef tuple who_of(const uint8_t* at, size_t* size):
    """(user or None, scopes, claims, name, peer, port, listener, form) of a WhoInfo; its size with its texts."""
    cdef WhoInfo info
    cdef const char* claims = <const char*> at + sizeof(WhoInfo)
    memcpy(&info, at, sizeof(WhoInfo))
    size[0] = sizeof(WhoInfo) + info.claims_size + info.name_size
    return (
        claims[info.sub:info.sub + info.sub_size].decode("ascii") if info.known else None, info.scopes, claims[:info.claims_size],
        claims[info.claims_size:info.claims_size + info.name_size].decode("utf-8"), address(info.peer), info.peer_port, info.listener,
        info.form,
    )


cdef tuple commands_of(const uint8_t* at, uint32_t count):
    """(who, [(id, name, channel, data, idempotency key, conflate key, (offset, epoch) or None, limit, member, reply or None)])"""
    cdef CommandInfo info
    cdef size_t size
    cdef uint32_t i
    cdef const char* text
    cdef list found = []
    who = who_of(at, &size)
    at += size
    for i in range(count):
        memcpy(&info, at, sizeof(CommandInfo))
        text = <const char*> at + sizeof(CommandInfo)
        name = NAMES[info.command]
        if info.reply_size:
            found.append((info.id, name, "", b"", "", "", None, 0, False, text[:info.reply_size]))
            at += sizeof(CommandInfo) + info.reply_size
            continue
        channel = text[:info.channel_size].decode("ascii")
        text += info.channel_size
        data = text[:info.data_size]
        text += info.data_size
        idempotency = text[:info.idempotency_size].decode("ascii")
        text += info.idempotency_size
        conflate = text[:info.conflate_size].decode("ascii")
        text += info.conflate_size
        place = (info.offset, text[:info.epoch_size].decode("ascii")) if info.fields & (CF_RECOVER | CF_SINCE) else None
        found.append((info.id, name, channel, data, idempotency, conflate, place, info.limit, bool(info.member), None))
        at = <const uint8_t*> text + info.epoch_size
    return who, found


cdef tuple gone_of(const uint8_t* at, size_t length):
    """(who, names of the watched channels that it was in)"""
    cdef size_t size
    cdef list names = []
    who = who_of(at, &size)
    while size < length:
        names.append((<const char*> at)[size + 1:size + 1 + at[size]].decode("ascii"))
        size += 1 + at[size]
    return who, names


cdef tuple event_of(Thread* t, Record* r):
    cdef OpenedInfo info
    cdef const char* payload = <const char*> r + sizeof(Record)
    cdef Buf* buf
    if r.kind == EV_REQUEST:
        return request_of(r)
    if r.kind == EV_BODY or r.kind == EV_DATA:
        return (r.kind, r.conn, payload[:r.length], bool(r.flags))
    if r.kind == EV_RECORDS:
        buf = <Buf*> r.arg
        nova_add64(&t.handed, -<int64_t> buf.size)
        return (EV_RECORDS, r.conn, buffer_wrap(buf, 0, buf.size))
    if r.kind == EV_WS_COMMANDS:
        buf = <Buf*> r.arg
        if buf == NULL:
            return (EV_WS_COMMANDS, r.conn) + commands_of(<const uint8_t*> payload, r.aux)
        try:
            return (EV_WS_COMMANDS, r.conn) + commands_of(buf.data, r.aux)
        finally:
            buf_unref(buf)
    if r.kind == EV_WS_GONE:
        return (EV_WS_GONE, r.conn, *gone_of(<const uint8_t*> payload, r.length), reason_name(r.aux))
    if r.kind == EV_CLOSED:
        return (EV_CLOSED, r.conn, reason_name(r.aux))
    if r.kind == EV_OPENED:
        memcpy(&info, payload, sizeof(OpenedInfo))
        return (EV_OPENED, r.conn, info.listener, r.flags, address(info.peer), info.peer_port, bool(info.tls),
                (<char*> info.alpn)[:info.alpn_size])
    if r.kind == EV_REFUSED:
        return (EV_REFUSED, r.conn, r.aux, address(<const uint8_t*> payload), payload[16:r.length].decode("ascii"))
    if r.kind == EV_RENDER:
        return (EV_RENDER, r.conn, r.arg, payload[:r.length])
    return (r.kind, r.conn)


cdef void command_drop(uint16_t kind, uint64_t arg) noexcept:
    """What a command holds that nobody will carry out."""
    if kind == CM_SEND_BUF:
        buf_unref(<Buf*> arg)
    elif kind == CM_FOLLOW or kind == CM_SEQUENCE:
        seq_unref(<Seq*> arg)
    else:
        talk_drop(kind, arg)


@cython.no_gc_clear  # __dealloc__ needs the tables
cdef class Engine:
    """N I/O threads and what they share.

    threads: 1 to 16. event_ring, command_ring: bytes, powers of two from 262144 on. Raises ValueError for others, OSError when the
    kernel refuses an fd.
    """
    cdef Shared shared
    cdef Thread* threads
    cdef readonly int count
    cdef readonly ObjectTable objects
    cdef readonly Viewers viewers
    cdef readonly Peers peers
    cdef object tokens, sessions, texts
    cdef list tls            # contexts that a thread may still be reading
    cdef list retired        # listening sockets that are shut, closed at the end
    cdef list held           # per thread: commands that found no room
    cdef int bells[16]
    cdef bint quiet          # threads are not woken for commands: more are to come
    cdef bint gathering[16]  # ... nor this one: trio is at work on its events

    def __cinit__(self, int threads=1, uint64_t event_ring=1 << 22, uint64_t command_ring=1 << 22, uint32_t viewer_window=10):
        cdef int i
        cdef Thread* t
        if not 1 <= threads <= MAX_THREADS:
            raise ValueError(f"a reactor has 1 to {MAX_THREADS} threads")
        for size in (event_ring, command_ring):
            if size < RING_LEAST or size & (size - 1):
                raise ValueError(f"a ring has {RING_LEAST} bytes or more, a power of two: {size}")
        self.count = threads
        self.objects = ObjectTable()
        self.viewers = Viewers(viewer_window)
        self.peers = Peers()
        self.tls = []
        self.retired = []
        self.held = [deque() for _ in range(threads)]
        self.threads = <Thread*> calloc(threads, sizeof(Thread))
        if self.threads == NULL:
            raise MemoryError
        self.shared.threads = threads
        self.shared.clock_ms = self.shared.clock_unix = -1
        self.shared.largest = PIECE_MOST
        self.shared.objects = self.objects.map
        self.shared.viewers = self.viewers.map
        self.shared.peers = self.peers.map
        self.shared.pinned_most = INT64_MAX
        self.objects.map.threads = threads
        for i in range(MAX_LISTENERS):
            self.shared.listeners[i].fd = -1
            self.shared.listeners[i].id = i
        for i in range(threads):
            t = &self.threads[i]
            t.index = i
            t.shared = &self.shared
            t.bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)
            self.bells[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)
            self.objects.map.bells[i] = t.bell
            if t.bell < 0 or self.bells[i] < 0 or loop_open(t) < 0:
                raise OSError(errno, os.strerror(errno))
            if ring_open(&t.commands, command_ring, t.bell, self.bells[i]) or ring_open(&t.events, event_ring, self.bells[i], t.bell):
                raise MemoryError

    def __dealloc__(self):
        cdef int i
        if self.threads == NULL:
            return
        self.release()
        for i in range(self.count):
            if self.threads[i].rx != NULL:
                loop_close(&self.threads[i])
            ring_close(&self.threads[i].commands)
            ring_close(&self.threads[i].events)
            if self.threads[i].bell > 0:
                close(self.threads[i].bell)
            if self.bells[i] > 0:
                close(self.bells[i])
        free(self.threads)

    cdef int release(self) except -1:
        """Give back what the rings still refer to, and the listening sockets. No thread runs any more, or yet."""
        cdef int i
        cdef Record* r
        for held in self.held:  # a garbage collection may have emptied the list already
            for kind, _, _, arg, _, _ in held:
                command_drop(kind, arg)
            held.clear()
        for i in range(self.count):
            if self.threads[i].commands.data != NULL:
                r = ring_peek(&self.threads[i].commands)
                while r != NULL:
                    command_drop(r.kind, r.arg)
                    ring_pop(&self.threads[i].commands, r)
                    r = ring_peek(&self.threads[i].commands)
            if self.threads[i].events.data != NULL:
                r = ring_peek(&self.threads[i].events)
                while r != NULL:
                    if r.kind == EV_RECORDS or (r.kind == EV_WS_COMMANDS and r.arg):
                        buf_unref(<Buf*> r.arg)
                    ring_pop(&self.threads[i].events, r)
                    r = ring_peek(&self.threads[i].events)
        for i in range(MAX_LISTENERS):
            if self.shared.listeners[i].fd >= 0:
                close(self.shared.listeners[i].fd)
                self.shared.listeners[i].fd = -1
        for fd in self.retired:
            close(fd)
        self.retired.clear()
        return 0

    # Lifecycle

    def run(self, int index) -> None:
        """The body of I/O thread `index`: returns after `stop()`. Holds no GIL."""
        cdef Thread* t = &self.threads[index]
        with nogil:
            loop_run(t)

    def stop(self) -> None:
        """End every thread's `run` after the commands that are in its ring; every connection closes."""
        cdef int i
        nova_store64(&self.shared.stop, 1)  # not a command: it needs no room in a ring that nobody looks after any more
        for i in range(self.count):
            bell_ring(self.threads[i].bell)

    def shut(self) -> None:
        """After every `run` has returned: close the listening sockets; commands and events that are left go nowhere."""
        self.release()

    def drain_connections(self) -> None:
        """Accept nothing new. Idle connections close, busy ones after their answer; parked requests are answered 503, RTMP
        connections end when what was sent to them is out. Each thread says EMPTY when it has no connection left."""
        cdef int i
        for i in range(self.count):
            self.post(i, CM_DRAIN, 0, 0, 0, 0, b"")

    def identity(self, tokens, sessions) -> None:
        """The TokenTable and SessionKeys that requests are checked with. Before the first `listen`."""
        self.tokens = tokens
        self.sessions = sessions
        if tokens is not None:
            if not isinstance(tokens, TokenTable):
                raise TypeError("tokens: a TokenTable")
            self.shared.tokens = <void*> tokens
            self.shared.token_verify = <token_check> <void*> token_verify
        if sessions is not None:
            if not isinstance(sessions, SessionKeys):
                raise TypeError("sessions: SessionKeys")
            self.shared.sessions = <void*> sessions
            self.shared.session_verify = <session_check> <void*> session_verify

    def use_uring(self, bint wanted) -> None:
        """Before `run`: sweeps over channels send by io_uring where the kernel lets us. `stats` says in how many threads they do."""
        self.shared.uring = wanted

    def bound_pinned(self, int64_t most) -> None:
        """Close slow readers when they hold more than `most` bytes that are in no table and no window any more."""
        self.shared.pinned_most = most

    def set_clock(self, int64_t ms=-1, int64_t unix=-1) -> None:
        """Stop the reactor's clocks at `ms` (monotonic) and `unix` (seconds); -1: the system's own again. For tests."""
        cdef int i
        nova_store64(<uint64_t*> &self.shared.clock_ms, <uint64_t> ms)
        nova_store64(<uint64_t*> &self.shared.clock_unix, <uint64_t> unix)
        for i in range(self.count):
            bell_ring(self.threads[i].bell)

    def listen(self, int fd, str protocol, *, TlsContext tls=None, uint16_t site=0, uint32_t max_head=32768, uint32_t head_ms=10000,
               uint32_t body_ms=10000, uint32_t idle_ms=75000, uint32_t park_ms=12000, uint32_t min_rate=1024,
               uint32_t max_conns=1000000, uint32_t handshake_ms=5000, uint32_t stall_ms=30000, bint websockets=False,
               uint32_t max_message=16777216, uint32_t max_chunk_streams=64) -> int:
        """Serve the listening socket `fd` (non-blocking; owned from now on); the listener's number.

        max_head: bytes of a request head, at most a quarter of the event ring less what describes it. head_ms, body_ms, idle_ms, park_ms, handshake_ms, stall_ms: see `Limits` in io.pxd.
        min_rate: bytes a second that a reader must take. websockets: upgrades to our paths are answered here. max_message, max_chunk_streams: of an RTMP peer. Raises ValueError when there are 64 listeners
        already, or the event ring has no room for such heads.
        """
        cdef int number, i
        cdef Listener* l = NULL
        # A request goes up in one event: its head, the places of its fields, the claims of its token, which are shorter than the head.
        cdef uint64_t largest = <uint64_t> max_head * 2 + sizeof(RequestInfo) + HTTP_MAX_HEADERS * sizeof(Header) + sizeof(Record)
        if largest * 2 > self.threads[0].events.capacity:
            raise ValueError(f"request heads of {max_head} bytes need a larger event ring than {self.threads[0].events.capacity} bytes")
        for number in range(MAX_LISTENERS):
            if self.shared.listeners[number].fd < 0 and self.shared.listeners[number].conns == 0:
                l = &self.shared.listeners[number]
                break
        if l == NULL:
            raise ValueError(f"a reactor has at most {MAX_LISTENERS} listeners")
        l.proto = PROTOCOLS[protocol]
        l.websockets = websockets
        l.site = site
        l.limits.max_head = max_head
        l.limits.head_ms = head_ms
        l.limits.body_ms = body_ms
        l.limits.idle_ms = idle_ms
        l.limits.park_ms = park_ms
        l.limits.min_rate = min_rate
        l.limits.max_conns = max_conns
        l.limits.handshake_ms = handshake_ms
        l.limits.stall_ms = stall_ms
        l.limits.message = max_message
        l.limits.chunk_streams = max_chunk_streams
        l.tls = NULL
        if tls is not None:
            self.tls.append(tls)
            l.tls = tls.ctx
        if largest > self.shared.largest:
            nova_store32(&self.shared.largest, <uint32_t> largest)
        nova_store32(<uint32_t*> &l.fd, <uint32_t> fd)  # the last of all: a thread that sees it sees the rest
        for i in range(self.count):
            self.post(i, CM_LISTEN, 0, 0, <uint64_t> number, 0, b"")
        return number

    def site(self, int number, bytes name, *, bint host_in_key=True, bint directives=False, bint always_up=False) -> None:
        """Serve the site `number` (1 to 62): on listeners of that number, and as `/cdn/s/<name>/…` elsewhere when it has a name.

        host_in_key: the Host is part of what an object is called. directives: requests with Cache-Control go up. always_up: all do.
        """
        cdef SiteRule* rule
        if not 1 <= number < PICTURES_SITE or len(name) > sizeof(rule.name):
            raise ValueError(f"sites have numbers from 1 to {PICTURES_SITE - 1} and names of at most 32 bytes")
        rule = &self.shared.sites[number]
        nova_store8(&rule.flags, 0)  # requests that come meanwhile go up
        memcpy(rule.name, <const char*> name, len(name))
        rule.name_size = <uint8_t> len(name) if len(name) else 255  # of no path
        nova_store8(&rule.flags, <uint8_t> (S_OPEN | (S_HOST if host_in_key else 0) | (S_DIRECTIVES if directives else 0)
                                            | (S_UP if always_up else 0)))

    def unsite(self, int number) -> None:
        """Requests of this site go up from now on, and its prefix is not known any more."""
        if 1 <= number < MAX_SITES:
            nova_store8(&self.shared.sites[number].flags, 0)

    def retls(self, int number, TlsContext tls not None) -> None:
        """New connections of a listener get this context; those that are open keep theirs."""
        self.tls.append(tls)  # the one before stays: a thread may be making a connection with it
        nova_store64(<uint64_t*> &self.shared.listeners[number].tls, <uint64_t> tls.ctx)

    def unlisten(self, int number) -> None:
        """Accept no more on this listener."""
        cdef int i
        cdef int fd = self.shared.listeners[number].fd
        if fd < 0:
            return
        for i in range(self.count):
            self.post(i, CM_UNLISTEN, 0, 0, <uint64_t> number, <uint32_t> fd, b"")
        nova_store32(<uint32_t*> &self.shared.listeners[number].fd, <uint32_t> -1)  # a thread may be looking at it
        shutdown(fd, SHUT_RDWR)  # nothing can be accepted any more
        self.retired.append(fd)  # the number must not be used again yet

    # Events

    def bell(self, int index) -> int:
        """The fd that is readable when thread `index` has events, or room again for commands, and we doze."""
        return self.bells[index]

    def ring(self, int index) -> None:
        """Wake the thread for the commands that were given since its events were taken: once for all of them."""
        ring_ring(&self.threads[index].commands)

    def doze(self, int index) -> bool:
        """Before waiting for the bell; False when there are events after all."""
        self.ring(index)
        self.gathering[index] = False
        return ring_doze(&self.threads[index].events)

    def woke(self, int index) -> None:
        """After waiting for the bell."""
        ring_woke(&self.threads[index].events)
        bell_clear(self.bells[index])

    def events(self, int index, int most=512) -> list:
        """Up to `most` events of thread `index`, oldest first, as tuples that begin with kind and connection.

        Commands for that thread that follow wait for `ring`, `doze` or the next `events`, unless there was no event.
        """
        cdef Thread* t = &self.threads[index]
        cdef Record* r
        cdef list found = []
        cdef int i
        self.ring(index)
        for i in range(most):
            r = ring_peek(&t.events)
            if r == NULL:
                break
            found.append(event_of(t, r))
            ring_pop(&t.events, r)
        self.gathering[index] = len(found) > 0
        if self.held[index]:
            self.retry(index)
        return found

    # Commands

    cdef int post(self, int index, uint16_t kind, uint16_t flags, uint64_t conn, uint64_t arg, uint32_t aux, bytes payload) except -1:
        cdef Thread* t = &self.threads[index]
        if self.held[index] or not ring_put(&t.commands, kind, flags, conn, arg, aux, <const char*> payload, <uint32_t> len(payload), NULL, 0):
            self.held[index].append((kind, flags, conn, arg, aux, payload))
            self.retry(index)
            return 0
        if not (self.quiet or self.gathering[index]):
            ring_ring(&t.commands)
        return 1

    cdef int retry(self, int index) except -1:
        """Commands that found no room, in their order."""
        cdef Thread* t = &self.threads[index]
        cdef bytes payload
        held = self.held[index]
        while held:
            kind, flags, conn, arg, aux, payload = held[0]
            if not ring_put(&t.commands, kind, flags, conn, arg, aux, <const char*> payload, <uint32_t> len(payload), NULL, 0):
                break
            held.popleft()
        ring_ring(&t.commands)
        return 0

    def hold(self) -> None:
        """Do not wake threads for commands until `let_go`: a batch of them is being written."""
        self.quiet = True

    def let_go(self) -> None:
        """The batch is complete."""
        cdef int i
        self.quiet = False
        for i in range(self.count):
            ring_ring(&self.threads[i].commands)

    def congested(self, uint64_t conn) -> bool:
        """Commands for this connection's thread wait for room: a caller that can wait should, until the bell rings."""
        return bool(self.held[conn >> 56])

    def send(self, uint64_t conn, data, uint16_t flags=0) -> None:
        """Send bytes (copied) or a Buffer (shared). flags: END when an HTTP answer is complete, CLOSE to close after it."""
        cdef Buffer shared
        cdef size_t span[2]
        cdef bytes piece
        if isinstance(data, Buffer):
            shared = data
            if shared.size:
                nova_ref(&shared.buf.refs)
                span[0] = shared.offset
                span[1] = shared.size
                self.post(<int> (conn >> 56), CM_SEND_BUF, flags, conn, <uint64_t> shared.buf, 0, (<char*> span)[:sizeof(span)])
                return
            data = b""
        piece = data if type(data) is bytes else bytes(data)
        if len(piece) > PIECE_MOST:
            self.send(conn, Buffer(piece), flags)
        else:
            self.post(<int> (conn >> 56), CM_SEND, flags, conn, 0, 0, piece)

    def credit(self, uint64_t conn, uint64_t size) -> None:
        """Let `size` bytes more of the connection's input come up."""
        self.post(<int> (conn >> 56), CM_CREDIT, 0, conn, size, 0, b"")

    def go_on(self, uint64_t conn) -> None:
        """100 (Continue)."""
        self.post(<int> (conn >> 56), CM_CONTINUE, 0, conn, 0, 0, b"")

    def raw(self, uint64_t conn) -> None:
        """HTTP: the answer under way is 101; from now on input comes up as DATA, within the credit."""
        self.post(<int> (conn >> 56), CM_RAW, 0, conn, 0, 0, b"")

    def close(self, uint64_t conn, bint flush=False) -> None:
        """Close now, or after everything is sent."""
        self.post(<int> (conn >> 56), CM_CLOSE, 0, conn, 0, flush, b"")

    def mark(self, uint64_t conn) -> None:
        """Ask for a DRAINED event: at once when little is unsent, else when that is so."""
        self.post(<int> (conn >> 56), CM_MARK, 0, conn, 0, 0, b"")

    def wake_at(self, uint64_t conn, uint32_t timestamp) -> None:
        """RTMP: hand records up when one with this time stamp (ms, 32 bit) or a later one is there."""
        self.post(<int> (conn >> 56), CM_WAKE_AT, 0, conn, 0, timestamp, b"")

    def follow(self, uint64_t conn, Sequence sequence not None, bytes prologue=b"") -> None:
        """RTMP: send `prologue`, then every item of the sequence from its newest key item on."""
        if prologue:
            self.send(conn, prologue)
        nova_ref(&sequence.seq.refs)
        self.post(<int> (conn >> 56), CM_FOLLOW, 0, conn, <uint64_t> sequence.seq, 0, b"")

    def news(self, Sequence sequence not None) -> None:
        """The sequence has new items: tell every thread that has readers. Give it to `Sequence.on_append`."""
        cdef int i
        if nova_load32(<uint32_t*> &sequence.seq.reader_count) == 0:  # who joins after this looks for itself
            return
        for i in range(self.count):
            if nova_swap32(&sequence.seq.queued[i], 1) == 0:
                nova_ref(&sequence.seq.refs)
                self.post(i, CM_SEQUENCE, 0, 0, <uint64_t> sequence.seq, 0, b"")

    # WebSockets

    def ws_rules(self, *, bytes node, bint channels=True, bint echo=False, bint deflate=False, bint ask_connect=False, uint32_t ping_ms=25000,
                 uint32_t connect_ms=10000, uint32_t silent_ms=60000, uint32_t life_ms=0, uint32_t life_jitter_ms=0,
                 uint32_t reconnect_ms=5000, uint32_t spread_ms=2000, uint32_t max_message=65536, uint32_t max_channels=128,
                 bytes hosts=b"", bint hosts_open=False, bytes origins=b"") -> None:
        """What holds for all WebSockets; before the first `listen`. See `WsRules` in ws_conn.pxd.

        node: 1 to 16 bytes. hosts, origins: in small letters, each between two line feeds. Raises ValueError.
        """
        cdef WsRules* rules = &self.shared.ws
        if not 1 <= len(node) <= 16 or ping_ms < 1000:
            raise ValueError("a node's name has 1 to 16 bytes, a ping is due every second at most")
        self.texts = (hosts, origins)
        rules.channels = channels
        rules.echo = echo
        rules.deflate = deflate
        rules.ask_connect = ask_connect
        rules.ping_ms = ping_ms
        rules.connect_ms = connect_ms
        rules.silent_ms = silent_ms
        rules.life_ms = life_ms
        rules.life_jitter_ms = life_jitter_ms
        rules.reconnect_ms = reconnect_ms
        rules.spread_ms = spread_ms
        rules.max_message = max_message
        rules.max_channels = max_channels
        memcpy(rules.node, <const char*> node, <size_t> len(node))
        rules.node_size = <uint32_t> len(node)
        rules.hosts = <uint8_t*> <char*> hosts
        rules.hosts_size = <size_t> len(hosts)
        rules.hosts_open = hosts_open
        rules.origins = <uint8_t*> <char*> origins
        rules.origins_size = <size_t> len(origins)

    def ws_item(self, uint64_t conn, bytes item not None, bint answers=False) -> None:
        """A reply (`answers`: it answers the oldest command that is not answered) or a push, as JSON."""
        cdef Buffer shared
        if len(item) <= PIECE_MOST:
            self.post(<int> (conn >> 56), CM_WS_ITEM, answers, conn, 0, 0, item)
            return
        shared = Buffer(item)
        nova_ref(&shared.buf.refs)
        self.post(<int> (conn >> 56), CM_WS_ITEM, answers, conn, <uint64_t> shared.buf, 0, b"")

    def ws_join(self, uint64_t conn, Channel channel not None) -> None:
        """A member from the item to come on; who is one already gets a new cursor."""
        cdef uint64_t place[2]
        cdef int index = <int> (conn >> 56)
        place[0] = channel.chan.next
        place[1] = channel.chan.offset
        channel.chan.used[index] = 1
        nova_ref(&channel.chan.refs)
        self.post(index, CM_WS_JOIN, 0, conn, <uint64_t> channel.chan, 0, (<char*> place)[:sizeof(place)])

    def ws_leave(self, uint64_t conn, Channel channel not None) -> None:
        """No member any more."""
        nova_ref(&channel.chan.refs)
        self.post(<int> (conn >> 56), CM_WS_LEAVE, 0, conn, <uint64_t> channel.chan, 0, b"")

    def ws_close(self, uint64_t conn, int code, bytes reason=b"", int64_t reconnect_after_ms=-1) -> None:
        """Close with `code`, `bye` before it unless reconnect_after_ms is negative."""
        cdef int64_t after = reconnect_after_ms if reconnect_after_ms > 0 else 0
        self.post(<int> (conn >> 56), CM_WS_CLOSE, reconnect_after_ms >= 0, conn, <uint64_t> after, <uint32_t> code, reason)

    def ws_news(self, Channel channel not None) -> None:
        """The channel has new items: tell every thread that may have members. Give it to `Channel.on_append`."""
        cdef int i
        for i in range(self.count):
            if channel.chan.used[i] and nova_swap32(&channel.chan.queued[i], 1) == 0:
                nova_ref(&channel.chan.refs)
                self.post(i, CM_WS_NEWS, 0, 0, <uint64_t> channel.chan, 0, b"")

    def ws_user(self, bytes digest not None, int code, bytes text, Channel channel=None) -> None:
        """Every connection of a user (16 bytes of the digest of its name): closed with `code` and `text` as the reason, or with a channel
        out of it, and `text` is the push that tells so."""
        cdef int i
        for i in range(self.count):
            if channel is not None:
                nova_ref(&channel.chan.refs)
            self.post(i, CM_WS_USER, 0, 0, <uint64_t> channel.chan if channel is not None else 0, <uint32_t> code, digest + text)

    def ws_revoke(self, bytes digest not None, *, bint jti, int64_t before_ms=0) -> None:
        """Close the connections of a token (jti), or of a user whose token was issued at before_ms or earlier (0: whenever), with 4203."""
        cdef int i
        for i in range(self.count):
            self.post(i, CM_WS_REVOKE, jti, 0, <uint64_t> before_ms if not jti else 0, 0, digest)

    # Figures

    def stats(self) -> dict:
        """Counters of all threads, and connections now."""
        cdef dict total = {}
        cdef int i
        cdef dict one
        cdef int64_t conns = 0
        for i in range(self.count):
            one = self.threads[i].stats
            for name, value in one.items():
                total[name] = total.get(name, 0) + value
            conns += self.threads[i].live
        total["connections"] = conns
        total["ws_unadmitted"] = self.peers.unadmitted
        total["uring_threads"] = nova_add32(&self.shared.urings, 0)
        total["parked_now"] = self.objects.map.waiting
        return total

    def site_stats(self, int number) -> dict:
        """Counters of one site over all threads: requests, hits, stale, collapsed, bytes."""
        cdef dict total = {}
        cdef int i
        cdef dict one
        if not 1 <= number < MAX_SITES:
            raise ValueError("there is no such site")
        for i in range(self.count):
            one = self.threads[i].sites[number]
            for name, value in one.items():
                total[name] = total.get(name, 0) + value
        return total

    def thread_stats(self, int index) -> dict:
        """Counters of one thread."""
        return self.threads[index].stats

    def listener_stats(self, int number) -> dict:
        """Connections now, accepted and refused, of one listener."""
        cdef Listener* l = &self.shared.listeners[number]
        return {"connections": l.conns, "accepted": l.accepted, "refused": l.refused}
