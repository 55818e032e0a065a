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
    EV_RENDER = 8               # payload: the path that somebody waits for; arg: the site. Of a site: the key of an answer that is stale
    EV_EMPTY = 9                # a thread that drains has no connection left
    EV_WS_COMMANDS = 10         # WhoInfo, then aux commands, each a CommandInfo with its texts; arg: the Buf that holds them, else the payload
    EV_WS_GONE = 11             # WhoInfo, then names of channels, each behind its length; aux: a Reason. Again, with nobody's WhoInfo, for
                                # each channel that trio has put it in too late
    EV_REFUSED = 12             # an error that was answered here; aux: status; payload: the peer's 16 bytes, the correlation id

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
    CM_RAW = 32                 # HTTP: what follows on this connection are bytes both ways (after 101)
    CM_DRAIN = 12               # no new connections; those that are idle, parked or of RTMP end
    CM_WS_ITEM = 13             # JSON of a reply (flags: 1) or a push; arg: the Buf that holds it, else the payload
    CM_WS_JOIN = 14             # arg: a Chan (one reference); payload: cursor and offset (two uint64_t)
    CM_WS_LEAVE = 15            # arg: a Chan (one reference)
    CM_WS_CLOSE = 16            # aux: close code; flags: 1 = with `bye`; arg: its reconnect_after_ms; payload: reason
    CM_WS_NEWS = 17             # arg: a Chan (one reference) that has news
    CM_WS_USER = 18             # aux: close code, 0 = only leave; arg: a Chan (one reference) or 0; payload: digest of the user, item or reason
    CM_WS_REVOKE = 19           # flags: 1 = payload is the digest of a jti, else of a user; arg: issued at or before, ms; 0: whenever

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
    uint8_t leads               # of a site: others wait for what comes of it; the claims are the key that they wait for
    uint16_t site
    uint8_t peer[16]

ctypedef struct OpenedInfo:
    uint16_t listener
    uint16_t peer_port
    uint8_t tls
    uint8_t alpn_size
    uint8_t alpn[14]
    uint8_t peer[16]

ctypedef struct WhoInfo:        # followed by claims and name
    uint64_t scopes
    uint32_t claims_size
    uint32_t sub                # offset of the user within the claims
    uint16_t listener
    uint16_t peer_port
    uint16_t name_size
    uint8_t sub_size
    uint8_t form
    uint8_t known               # there is a user
    uint8_t peer[16]

ctypedef struct CommandInfo:    # followed by channel, data, both keys, epoch and reply
    uint64_t offset
    uint32_t id
    uint32_t limit
    uint32_t data_size
    uint32_t reply_size
    uint16_t fields             # CommandField
    uint16_t channel_size
    uint16_t idempotency_size
    uint8_t conflate_size
    uint8_t epoch_size
    uint8_t command             # CommandName
    uint8_t member
