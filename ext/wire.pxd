"""What crosses the rings: events up to trio, commands down to an I/O thread, and the reasons why a connection ended."""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef enum Event:
    EV_REQUEST = 1              # RequestInfo, headers, head bytes, claims
    EV_BODY = 2                 # bytes of a request's body; flags: 1 = the last
    EV_CLOSED = 3               # aux: a Reason
    EV_DRAINED = 4              # the backlog is low again
    EV_OPENED = 5               # RTMP, raw: OpenedInfo
    EV_RECORDS = 6              # RTMP: records
    EV_DATA = 7                 # raw: bytes; flags: 1 = the peer has finished sending
    EV_RENDER = 8               # payload: the path that somebody waits for; arg: the site
    EV_EMPTY = 9                # a thread that drains has no connection left

cdef enum Command:
    CM_SEND = 1                 # payload bytes to send; flags: SendFlag
    CM_SEND_BUF = 2             # arg: a Buf, payload: offset and size (two size_t); flags: SendFlag
    CM_CREDIT = 3               # arg: bytes of input that may come up
    CM_CONTINUE = 4             # answer 100 (Continue) if nothing was answered yet
    CM_CLOSE = 5                # aux: 0 at once, 1 when everything is sent
    CM_MARK = 6                 # tell me when the backlog is low
    CM_WAKE_AT = 7              # RTMP: aux: time stamp
    CM_FOLLOW = 8               # arg: a Seq (one reference)
    CM_LISTEN = 9               # arg: index of the listener
    CM_UNLISTEN = 10            # arg: index of the listener
    CM_SEQUENCE = 11            # arg: a Seq (one reference) that has news
    CM_DRAIN = 12               # no new connections; those that are idle, parked or of RTMP end

cdef enum SendFlag:
    SF_END = 1                  # HTTP: the answer is complete
    SF_CLOSE = 2                # HTTP: and so is the connection

cdef enum Reason:
    R_NONE = 0
    R_PEER = 1                  # the peer closed
    R_RESET = 2                 # the connection broke
    R_LOCAL = 3                 # we closed
    R_TIMEOUT = 4
    R_SLOW = 5                  # took its bytes too slowly
    R_PROTOCOL = 6              # broke the protocol
    R_TLS = 7                   # TLS handshake or record failed
    R_LIMIT = 8
    R_DRAIN = 9
    R_ENDED = 10                # the sequence that it followed has ended

cdef enum Owed:
    OW_CLOSED = 1
    OW_DRAINED = 2
    OW_INPUT = 4                # input was left lying because the ring had no room
    OW_RECORDS = 8

ctypedef struct RequestInfo:
    int64_t content_length
    uint32_t flags              # HeadFlag
    uint32_t head_size
    uint32_t claims_size
    int32_t token               # 1: none was sent; 0: verified; negative: TOKEN_E_*
    uint32_t path
    uint32_t path_len
    uint32_t query
    uint32_t query_len
    uint32_t method_at
    uint32_t method_len
    uint16_t count
    uint16_t listener
    uint16_t peer_port
    uint8_t minor
    uint8_t tls
    uint8_t token_in_query      # it came as `access_token`, which only some routes take
    uint8_t peer[16]

ctypedef struct OpenedInfo:
    uint16_t listener
    uint16_t peer_port
    uint8_t tls
    uint8_t alpn_size
    uint8_t alpn[14]
    uint8_t peer[16]
