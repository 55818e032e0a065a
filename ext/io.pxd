"""The structures that the rooms of the reactor share: a connection, a listener, and what one I/O thread owns."""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from nova.ext.buffer cimport Buf
from nova.ext.bytevec cimport ByteVec
from nova.ext.http1 cimport Chunked
from nova.ext.objects cimport Kept, ObjectMap, Waiter
from nova.ext.peers cimport PeerMap
from nova.ext.ring cimport Ring
from nova.ext.rtmp cimport RtmpReader
from nova.ext.sequence cimport Seq
from nova.ext.ssl cimport SSL, SSL_CTX
from nova.ext.viewers cimport ViewerMap
from nova.ext.ws_conn cimport Room, Ws, WsRules
from nova.ext.ws_deflate cimport WsZip

ctypedef int (*token_check)(void* table, const uint8_t* token, size_t size, int64_t now, ByteVec* claims, void* result) noexcept nogil
ctypedef int (*session_check)(void* keys, const uint8_t* text, size_t size, const uint8_t* scope, size_t scope_len, int64_t now,
                              uint64_t* viewer) noexcept nogil

cdef enum:
    MAX_THREADS = 16
    MAX_LISTENERS = 64
    RECV_SIZE = 262144          # one read takes at most this: a turn's work for one connection is bounded
    TX_SIZE = 65536             # answers to pipelined requests gather here before one send
    TX_STRETCHES = 64           # stretches of one gathered send; IOV_MAX is 1024
    MAX_SITES = 64
    WHEEL_SLOTS = 1024
    WHEEL_TICK_MS = 50
    CONN_CHUNK = 256            # connections per slab
    NO_CONN = 0xFFFFFFFF

cdef enum Proto:
    P_HTTP = 0
    P_RTMP = 1
    P_RAW = 2                   # bytes both ways for trio: h2 behind TLS
    P_WS = 3                    # a WebSocket; begins as P_HTTP

cdef enum HttpPhase:
    H_HEAD = 0                  # reading a head, or idle between two
    H_ANSWER = 1                # trio has the request; its answer is awaited or under way
    H_PARKED = 2                # waits for a name or a version; the head lies unread in `rbuf`
    H_LINGER = 3                # answered for the last time; reads are thrown away until the peer closes

cdef enum ConnFlag:
    CF_IN = 1                   # EPOLLIN armed
    CF_OUT = 2                  # EPOLLOUT armed
    CF_KNOWN = 4                # trio knows this connection: it must hear of the end
    CF_CLOSED = 8               # the socket is gone; the slot waits until trio has heard
    CF_CLOSE_AFTER = 16         # close when everything is sent
    CF_HANDSHAKE = 32           # TLS handshake not done
    CF_OWED = 64                # in the thread's list of events that found no room in the ring
    CF_AGAIN = 128              # in the thread's list of connections with bytes still to parse
    CF_STARVED = 256            # input stopped: the event ring has no room
    CF_DRAIN = 512              # trio waits for the backlog to fall
    CF_KEEP = 1024              # HTTP: the answer under way lets the connection live on
    CF_BODY = 2048              # HTTP: the request's body is not all read
    CF_CHUNKED = 4096           # HTTP: ... and comes in chunks
    CF_EOF = 8192               # the peer has finished sending
    CF_STARTED = 16384          # HTTP: some of the answer under way was sent
    CF_TLS_WANTS_OUT = 32768
    CF_PARTIAL_HEAD = 65536     # HTTP: the head's deadline runs
    CF_FOLLOWS = 131072         # reads a sequence
    CF_LISTED = 262144          # in the thread's list of live connections of RTMP
    CF_STOPPED = 524288         # input stopped by credit
    CF_LATE = 1048576           # HTTP: the wait of a parked request is over
    CF_VIDEO = 2097152          # RTMP: has sent video
    CF_RATED = 4194304          # HTTP: the deadline is that of a backlog
    CF_COUNTED = 16777216       # one of the connections of its address
    CF_PROXY = 1073741824       # a trusted proxy's: its PROXY header is awaited, before TLS and everything else
    CF_HUP = 8388608            # EPOLLRDHUP armed: the end of the peer's sending is news even while nothing is read

cdef enum RtmpWake:
    RW_ALWAYS = 0               # hand records up at every tick
    RW_AT = 1                   # ... when one of `wake_at` or later is there

ctypedef struct Out:            # a stretch of bytes to be sent
    Buf* buf
    size_t offset
    size_t size

ctypedef struct Rtmp:
    RtmpReader* reader
    ByteVec records
    size_t scanned              # bytes of `records` that were looked at
    uint32_t wake_at
    uint8_t wake                # RtmpWake
    int64_t first_ms            # when the oldest record that waits came in
    int64_t read_ms             # when the peer last sent something

cdef enum Framing:              # of a body that grows
    FR_LENGTH = 0
    FR_CHUNKED = 1
    FR_CLOSE = 2

ctypedef struct Follow:         # a reader of a sequence, or of a body by turns
    Seq* seq                    # NULL: HTTP, the body is whole, and its items are the slices of `kept`
    uint64_t cursor             # offset of the next item to send
    size_t given                # HTTP: bytes of that item that are sent
    uint32_t next               # the following reader of the same sequence on this thread
    uint32_t prev
    Kept* kept                  # HTTP: the answer whose body it is
    uint8_t framing
    uint8_t turns               # for which its body waits at most while others still wait for their head

ctypedef struct Conn:
    # what a sweep looks at comes first: it passes by thousands of these
    int fd
    uint32_t index
    uint32_t generation
    uint32_t flags
    Ws* ws
    SSL* ssl
    uint32_t out_count
    uint8_t proto
    uint8_t phase
    uint16_t listener
    uint64_t moved              # bytes taken by the peer, or given of a body, since the last look at the least rate
    uint8_t peer[16]            # IPv6, or IPv4 mapped into it
    uint16_t peer_port
    # input
    ByteVec rbuf                # bytes not parsed yet; no memory between requests
    # output
    Out* out
    uint32_t out_first
    uint32_t out_cap
    size_t out_bytes
    # time, ms of the reactor's clock
    int64_t since               # when the look at the least rate began, or the backlog
    int64_t deadline            # 0: none
    uint32_t wheel_slot         # NO_CONN: not on the wheel
    uint32_t wheel_next
    uint32_t wheel_prev
    # what is owed to trio
    uint16_t owed
    uint16_t reason
    # HTTP
    int64_t body_left           # bytes of a body with a length
    int64_t credit              # bytes of input that trio has asked for
    Chunked* chunked
    Waiter* waiter
    int64_t park_deadline
    # RTMP
    Rtmp* rtmp
    Follow* follow

ctypedef struct Limits:
    uint32_t max_head           # bytes
    uint32_t head_ms            # a head must be complete this soon after its first byte
    uint32_t body_ms            # how often the rate of a body, or of a reader with a backlog, is looked at
    uint32_t idle_ms            # between two requests
    uint32_t park_ms            # a parked reader waits at most this long
    uint32_t min_rate           # bytes a second that a peer must take of an answer, or give of a body
    uint32_t max_conns
    uint32_t handshake_ms       # TLS and RTMP handshakes
    uint32_t stall_ms           # RTMP: no bytes from the peer
    uint32_t message            # RTMP: bytes of one message; twice that may be held unfinished
    uint32_t chunk_streams      # RTMP: chunk streams of one peer

ctypedef struct Listener:
    int id
    int fd                      # -1: closed
    uint8_t proto
    bint websockets             # upgrades to /v1/ws and /v1/echo are answered here
    uint16_t site
    SSL_CTX* tls                # NULL: plain
    Limits limits
    int32_t conns               # over all threads
    uint64_t accepted
    uint64_t refused

ctypedef struct Stats:
    uint64_t requests
    uint64_t hot
    uint64_t handed_up
    uint64_t parked
    uint64_t refused
    uint64_t bytes_in
    uint64_t bytes_out
    uint64_t timeouts
    uint64_t accepted
    uint64_t closed
    uint64_t turns
    uint64_t records
    uint64_t batches
    uint64_t followers_skipped
    uint64_t crowded            # connections refused because their address has enough
    uint64_t shed               # slow readers closed because they all held too much
    uint64_t ws_opened
    uint64_t ws_closed
    uint64_t ws_messages        # that came
    uint64_t ws_commands        # ... and what was in them
    uint64_t ws_handed_up       # ... and went to trio
    uint64_t ws_failed          # connections failed for a broken frame
    uint64_t ws_sends           # sweeps: sends to one member
    uint64_t ws_deliveries      # ... and publications in them
    uint64_t uring_sends        # by io_uring: those of sweeps, and heads that many have waited for
    uint64_t ws_encoded         # frames made for sweeps, each shared by its members
    uint64_t ws_sweeps
    uint64_t ws_gaps            # told to readers that the window had left behind
    uint64_t ws_dropped         # publications in those gaps
    uint64_t ws_passed          # items of all kinds that left the window before a member had them
    uint64_t ws_slow            # connections closed by the policy `disconnect`
    uint64_t ws_silent
    uint64_t ws_expired

cdef enum SiteFlag:
    S_OPEN = 1                  # there is such a site
    S_HOST = 2                  # its keys begin with the host
    S_DIRECTIVES = 4            # Cache-Control and Pragma of requests count: those that have them go up
    S_UP = 8                    # every request goes up (signed URLs)

ctypedef struct SiteRule:
    uint8_t flags
    uint8_t name_size
    uint8_t name[32]

ctypedef struct SiteStats:
    uint64_t requests
    uint64_t hits
    uint64_t stale
    uint64_t collapsed          # waited for another one's fetch
    uint64_t bytes              # of bodies

ctypedef struct Shared:         # what all threads of one reactor see
    int threads
    Listener listeners[MAX_LISTENERS]
    ObjectMap* objects
    ViewerMap* viewers
    PeerMap* peers
    WsRules ws
    bint uring                  # sweeps send by io_uring where the kernel lets us
    int32_t urings              # threads that do
    int64_t pinned_most         # bytes that nobody but slow readers may hold
    void* tokens                # a TokenTable, and how to ask it
    token_check token_verify    # NULL: no tokens are checked here
    void* sessions              # SessionKeys, and how to ask them
    session_check session_verify
    int64_t clock_ms            # -1, or the time that a test has set
    int64_t clock_unix          # -1, or the time that a test has set
    uint32_t largest            # payload bytes of the largest event: with room for it, input can go up
    SiteRule sites[MAX_SITES]
    uint64_t stop               # not 0: threads end when their commands are carried out

ctypedef struct Thread:
    int index
    int epfd
    int bell
    int rtmp_epfd
    bint rtmp_armed
    int64_t rtmp_due            # ms; 0: nothing to read
    int64_t rtmp_read_at
    uint32_t rtmp_conns
    Shared* shared
    Ring commands
    Ring events
    # connection table
    Conn** slabs
    uint32_t slab_count
    uint32_t slab_cap
    uint32_t free_first
    uint32_t live
    # timers
    uint32_t wheel[WHEEL_SLOTS]
    int64_t wheel_now           # the tick that was last swept
    int64_t now_ms
    int64_t now_unix
    uint8_t date[40]            # "Date: …\r\n"
    size_t date_size
    # work lists: indices of connections
    uint32_t* owed              # has a place for every connection of the table
    uint32_t owed_count
    ByteVec missed              # places in channels that came too late for their connections: id, and the name behind its length
    uint32_t* again
    uint32_t again_count
    uint32_t again_cap
    bint unparking              # parked requests are being answered: their heads gather in `uring`, their bodies come afterwards
    Buf* herd                   # the head that those who waited for one answer share
    Kept* herd_of
    # scratch
    uint8_t* rx
    ByteVec up                  # a record for trio, put together here
    uint8_t path[1024]          # a path without its session
    int64_t handed              # bytes of records that trio has not taken yet
    uint8_t* tx
    size_t tx_used
    Out tx_out[TX_STRETCHES]
    uint32_t tx_count
    bint tx_failed              # a stretch before the ones that wait was lost
    Conn* tx_of                 # whose they are
    uint64_t accept_off         # listeners out of the epoll set because no fd was to be had
    int64_t accept_retry
    # WebSockets
    WsZip zip
    void* words                 # room for the commands of one frame
    uint32_t* dirty             # connections with items to be sent at the end of the turn
    uint32_t dirty_count
    uint32_t dirty_cap
    Room** rooms                # with something to do
    uint32_t room_count
    uint32_t room_cap
    void* uring                 # of uring.pyx; NULL: sweeps send by `send`
    Room* sweeping              # the room that is being swept, NULL when it came to its end meanwhile
    uint64_t random
    bint draining
    int64_t shed_at             # ms: when slow readers are looked at again
    ByteVec key                 # of the object that a request of a site names
    SiteStats sites[MAX_SITES]
    bint told                   # trio has heard that no connection is left
    int64_t refusals_at         # ms: the second in which errors are told of
    uint32_t refusals           # ... and how many were
    Stats stats
