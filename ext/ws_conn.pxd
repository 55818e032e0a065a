"""The structures of a WebSocket on an I/O thread: the connection's own, its places in channels, and the rules that all share."""
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from nova.ext.buffer cimport Buf
from nova.ext.bytevec cimport ByteVec
from nova.ext.channels cimport Chan
from nova.ext.ws cimport WsReader

ctypedef struct Sub:            # a connection in a channel: a reader with a cursor
    uint32_t conn               # index in the thread's table
    uint32_t place              # index in the connection's list
    uint64_t cursor             # number of the next item that it gets
    uint64_t last               # offset of the newest publication that it has

ctypedef struct Room:           # one thread's part of a channel
    Chan* chan
    Sub* subs
    uint32_t count
    uint32_t cap
    uint64_t told               # number behind the newest item that the sweep, done or under way, sends
    uint64_t start              # ... and of its first
    uint32_t at                 # the sweep goes from the end to 0: members from here on are done
    bint listed                 # in the thread's list of rooms with something to do
    int64_t due                 # ms: when a busy channel is flushed; 0: not waiting
    int64_t first_ms            # when the oldest item that no sweep has taken came; 0: there is none
    int64_t flushed_ms          # when the last sweep began
    int64_t rate_ms             # when `rate` was last brought up to date
    uint64_t seen               # number behind the newest item that `rate` counts
    uint64_t rate               # thousandths of publications a second, over the last RATE_MS, fading
    uint32_t alone              # sweeps in a row whose wait has gathered nothing
    uint64_t last               # offset of the newest publication of the sweep
    bint ends                   # its last item is the channel's end
    uint32_t pubs               # items in it
    Buf* batch[4]               # what the sweep sends, by form and whether deflated
    size_t batch_at[4]          # where it begins
    uint8_t batch_made[4]

ctypedef struct Place:          # ... and the same seen from the connection
    Room* room
    uint32_t index              # in room.subs

cdef enum WsPath:
    WP_CHANNELS = 0             # /v1/ws
    WP_ECHO = 1                 # /v1/echo

cdef enum WsConnFlag:
    WF_CONNECTED = 1            # who asks is settled: the upgrade had a token, or `connect` was answered
    WF_CLOSE_SENT = 2           # ours; the peer's is awaited
    WF_DIRTY = 4                # in the thread's list of connections with items to be sent
    WF_LATE = 8                 # publications wait at its cursors: it has a backlog
    WF_LEAVES = 16              # drain: closes when its moment has come
    WF_GREETED = 32             # `connect` was answered, or is being

ctypedef struct Ws:
    # what a sweep looks at, in one line of the cache
    uint8_t form                # of values.pxd
    uint8_t deflate             # permessage-deflate was agreed
    uint8_t window_bits
    uint8_t open_items          # commands whose ids are in `ids`
    uint16_t flags              # WsConnFlag
    uint8_t path                # WsPath
    uint8_t protocol            # WsProtocol
    uint32_t item_count
    uint16_t place_count
    uint16_t place_cap
    WsReader reader
    Place* places               # in channels
    uint32_t* ids               # of commands that are not answered yet, oldest first; no memory when there are none
    ByteVec items               # replies and pushes that go out at the end of the turn, behind WS_HEAD_MAX + 1 bytes of room
    # who asks
    uint32_t claims_size
    uint32_t sub                # offset of the user's name within the claims
    uint8_t sub_size
    uint16_t name_size
    uint32_t asked              # subscriptions asked for that are not answered yet
    uint8_t* who                # claims and then the name; NULL: nothing is known
    uint64_t scopes
    int64_t expires             # unix seconds; 0: never
    int64_t issued_ms
    uint8_t user[16]            # digests of sub and jti: what a revocation names
    uint8_t jti[16]
    # time, ms of the reactor's clock
    int64_t born_ms
    int64_t heard_ms            # when the peer last sent something
    int64_t ping_ms             # when the next ping is due
    int64_t end_ms              # lifetime; after our close frame: when we stop waiting for the peer's
    # for trio, when the connection is over
    ByteVec gone                # names of the watched channels that it was in, each behind its length

ctypedef struct WsRules:
    bint channels               # /v1/ws is served
    bint echo                   # /v1/echo is
    bint deflate                # permessage-deflate may be agreed on /v1/ws
    bint ask_connect            # trio decides about every `connect`
    uint32_t ping_ms
    uint32_t connect_ms
    uint32_t silent_ms
    uint32_t life_ms            # 0: for ever
    uint32_t life_jitter_ms
    uint32_t reconnect_ms
    uint32_t spread_ms
    uint32_t max_message
    uint32_t max_channels
    uint8_t node[16]
    uint32_t node_size
    uint8_t* hosts              # names under which a cookie counts, each between two line feeds
    size_t hosts_size
    bint hosts_open             # ... and under any address and every name of localhost
    uint8_t* origins            # that may open a WebSocket with a cookie, each between two line feeds
    size_t origins_size
