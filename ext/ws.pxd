"""WebSocket frames (RFC 6455) for both roles: bytes to messages and back. Pure, nogil; one thread at a time per reader.

    used: size_t; at = 0
    while (said := ws_next(&reader, data + at, size - at, &used, &message)) == 1:
        at += used; handle(&message)
    # 0: everything was taken, read more; negative: send ws_failure(said), then close

A message that lies unfragmented in `data` is handed on where it lies, unmasked in place; everything else is put together in
memory of the reader, which it gives back on the next call. An idle reader has none.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from nova.ext.bytevec cimport ByteVec

cdef enum WsOpcode:
    WS_CONTINUATION = 0
    WS_TEXT = 1
    WS_BINARY = 2
    WS_CLOSE = 8
    WS_PING = 9
    WS_PONG = 10

cdef enum:                          # the first byte of a frame, beside the opcode
    WS_FIN = 0x80
    WS_RSV1 = 0x40                  # on the first frame of a message: it is deflated (RFC 7692)

cdef enum:
    WS_CONTROL_MAX = 125            # payload bytes of a control frame
    WS_HEAD_MAX = 14                # bytes of a frame's head, masking key included
    WS_EMPTY_MAX = 64               # frames without payload in one message, the last one aside

cdef enum WsFlag:                   # what ws_reader_init is told
    WS_CLIENT = 1                   # we are the client: frames that come are not masked
    WS_DEFLATE = 2                  # permessage-deflate was agreed
    WS_NO_TEXT = 4                  # the subprotocol is binary
    WS_NO_BINARY = 8                # the subprotocol is text

cdef enum WsState:
    WS_OPEN = 0
    WS_CLOSING = 1                  # we sent a close frame: messages are dropped, only the peer's close frame counts
    WS_DONE = 2                     # the peer's close frame came, or it broke the rules: all further bytes are dropped

cdef enum WsError:                  # what ws_next and ws_inflate answer; ws_error names them, ws_close_code says what the peer is told
    WS_E_RESERVED_BITS = -1         # 1002: RSV2, RSV3, or RSV1 where no deflated message begins
    WS_E_OPCODE = -2                # 1002: 3 to 7 or 11 to 15
    WS_E_MASK = -3                  # 1002: a client's frame without a mask, a server's with one
    WS_E_CONTROL = -4               # 1002: a control frame that is fragmented or longer than 125 bytes
    WS_E_LENGTH = -5                # 1002: a length above 2^63 - 1, or not in its shortest form
    WS_E_FRAGMENT = -6              # 1002: a continuation of nothing, or a new message inside another
    WS_E_CLOSE = -7                 # 1002: a close frame with one byte, or a code that must not be sent
    WS_E_UTF8 = -8                  # 1007: a text or close reason that is not UTF-8
    WS_E_INFLATE = -9               # 1007: deflated data that is damaged or refers to an earlier message
    WS_E_KIND = -10                 # 1003: binary where text is due, or the other way round
    WS_E_SIZE = -11                 # 1009: a message above the limit, counted after inflating
    WS_E_EMPTY = -12                # 1008: too many frames without payload in one message
    WS_E_NO_MEMORY = -13            # 1011: the machine has none left

ctypedef struct WsReader:           # 56 bytes; all zero is no valid reader, see ws_reader_init
    uint8_t* held                   # the message so far, and behind it what came of a control frame
    uint32_t held_len               # bytes of the message
    uint32_t held_cap
    uint32_t left                   # payload bytes of the current frame still to come
    uint32_t max_message            # bytes
    uint8_t mask[4]                 # turned so that the next byte of payload meets mask[0]
    uint8_t head[WS_HEAD_MAX]       # an incomplete head
    uint8_t head_len
    uint8_t flags                   # WsFlag
    uint8_t frame                   # first byte of the current frame
    uint8_t message                 # first byte of the message begun, without WS_FIN; 0: none
    uint8_t utf8                    # of the text so far
    uint8_t control_len             # bytes of the current control frame so far
    uint8_t empty                   # frames without payload so far
    uint8_t state                   # WsState, and whether `held` was handed on

ctypedef struct WsMessage:
    uint8_t* data                   # unmasked; valid until the next call with this reader, and as long as the input; of a close frame the reason
    uint32_t size
    uint16_t code                   # of a close frame; 1005: it has none
    uint8_t opcode                  # WS_TEXT, WS_BINARY, WS_CLOSE, WS_PING or WS_PONG
    bint deflated                   # data goes through ws_inflate first; a text's UTF-8 is checked there

# max_message: bytes, at most 2^31 - 1; the limit on a deflated message counts what it inflates to as well.
cdef void ws_reader_init(WsReader* reader, uint8_t flags, uint32_t max_message) noexcept nogil
cdef void ws_reader_free(WsReader* reader) noexcept nogil
# One step: takes `used` bytes. 1: a message is in `out`, call again with what is left, even if that is nothing;
# 0: all was taken, no message is complete; negative: WsError, the peer is at fault, all later bytes are dropped.
cdef int ws_next(WsReader* reader, uint8_t* data, size_t size, size_t* used, WsMessage* out) noexcept nogil
# To be called when our close frame was queued: no message comes up after that.
cdef void ws_close_sent(WsReader* reader) noexcept nogil
cdef size_t ws_reader_memory(const WsReader* reader) noexcept nogil   # bytes of heap that it takes now
cdef uint16_t ws_close_code(int error) noexcept nogil
cdef const char* ws_error(int error) noexcept nogil                   # "ws_mask" …: a closed set, for metrics and as close reason
# Whether a peer may send this code in a close frame (RFC 6455, section 7.4, and the IANA registry).
cdef bint ws_code_valid(uint32_t code) noexcept nogil

# Head of a frame without a mask: `first` is WS_FIN | WS_RSV1 | opcode. Bytes written, 2 to 10.
cdef inline size_t ws_head(uint8_t* out, uint8_t first, uint64_t size) noexcept nogil:
    cdef int i
    out[0] = first
    if size < 126:
        out[1] = <uint8_t> size
        return 2
    if size < 65536:
        out[1] = 126
        out[2] = <uint8_t> (size >> 8)
        out[3] = <uint8_t> size
        return 4
    out[1] = 127
    for i in range(8):
        out[2 + i] = <uint8_t> (size >> (56 - 8 * i))
    return 10

# One whole frame appended; 0, or -1 when memory is out. key: four bytes of the client's mask (it must be unpredictable), NULL: none.
cdef int ws_frame(ByteVec* out, uint8_t first, const uint8_t* data, size_t size, const uint8_t* key) noexcept nogil
# A close frame appended: code 0 for an empty one; the reason is cut at a character's border to fit. 0, or -1 when memory is out.
cdef int ws_close_frame(ByteVec* out, uint16_t code, const uint8_t* reason, size_t size, const uint8_t* key) noexcept nogil
# The close frame that fails the connection for `error`: its code, and its name as the reason.
cdef int ws_failure(ByteVec* out, int error, const uint8_t* key) noexcept nogil
# Exclusive or with the key, whose first byte meets data[0].
cdef void ws_mask(uint8_t* data, size_t size, const uint8_t* key) noexcept nogil
