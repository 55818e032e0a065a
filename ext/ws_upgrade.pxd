"""The WebSocket upgrade (RFC 6455 section 4.2, RFC 7692 section 7) over a parsed request head. Pure, nogil."""
from libc.stdint cimport uint8_t

from nova.ext.bytevec cimport ByteVec
from nova.ext.http1 cimport Head

cdef enum WsProtocol:               # bits, so that a route names the ones it speaks
    WS_PLAIN = 0                    # no subprotocol
    WS_JSON_V1 = 1                  # nova.json.v1
    WS_MSGPACK_V1 = 2               # nova.msgpack.v1
    WS_E2EE_V1 = 4                  # nova.e2ee.v1

cdef enum:
    WS_ACCEPT_SIZE = 28             # bytes of Sec-WebSocket-Accept

ctypedef struct WsRoute:            # what a path speaks
    uint8_t protocols               # WsProtocol bits; 0: whatever is offered is ignored
    uint8_t default_protocol        # when none is offered; WS_PLAIN where protocols is not 0: then one must be offered
    bint deflate                    # permessage-deflate may be agreed

ctypedef struct WsUpgrade:          # what was agreed
    uint8_t protocol                # WsProtocol
    bint named                      # the client offered it, so the answer names it
    bint deflate
    uint8_t window_bits             # 8 to 15: what the client can inflate, see ws_window_holds
    bint window_asked               # it said so: then the answer must say it, too

# Looks at a head with HF_UPGRADE_WEBSOCKET. 0; -400: malformed, or only subprotocols that are not spoken here;
# -426: another version: the answer needs the field `Sec-WebSocket-Version: 13`.
cdef int ws_upgrade(const uint8_t* data, const Head* head, const WsRoute* route, WsUpgrade* out) noexcept nogil
# The 101 answer appended, blank line included; 0, or -1 when memory is out.
cdef int ws_upgrade_answer(const uint8_t* data, const Head* head, const WsUpgrade* agreed, ByteVec* out) noexcept nogil
# The same choices from one field value; for HTTP/2 and HTTP/3, where there is no Head.
# ws_choose: WsProtocol bit of the first spoken one; 0: none of them is, or none was named (`seen` tells); -400: malformed.
cdef int ws_choose(const uint8_t* value, size_t size, uint8_t spoken, bint* seen) noexcept nogil
# ws_offer: 1 with window_bits and whether the offer named them: an offer of permessage-deflate that can be accepted; 0: none; -400: malformed.
cdef int ws_offer(const uint8_t* value, size_t size, uint8_t* window_bits, bint* asked) noexcept nogil
# The field value that agrees, appended; window_bits: 0 where the offer named none. 0, or -1 when memory is out.
cdef int ws_deflate_answer(uint8_t window_bits, ByteVec* out) noexcept nogil
# Sec-WebSocket-Accept of a key; out has room for WS_ACCEPT_SIZE.
cdef void ws_accept(const uint8_t* key, size_t size, uint8_t* out) noexcept nogil
