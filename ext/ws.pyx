"""WebSocket framing (RFC 6455, sections 5 and 7), strict, for servers and clients.

Pure: no I/O, no clock, no retained input. Feeding the same bytes in any split gives the same messages and the same error:
checks come in the order of the bytes, as soon as the byte that decides is there. UTF-8 fails at its first wrong octet, the
size limit at the head of the frame that would exceed it. What deflated messages hold is `ws_deflate`'s.
"""
from libc.stdint cimport UINT32_MAX
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memset

from nova.ext.bytevec cimport vec_free, vec_reserve
from nova.ext.utf8 cimport UTF8_START, UTF8_WRONG, nova_utf8, utf8_valid

cdef extern from "nova_ws.h" nogil:
    void nova_ws_mask(uint8_t* data, size_t size, const uint8_t* key)
    void nova_ws_turn(uint8_t* key, size_t size)

cdef enum:
    HANDED = 0x80                   # WsReader.state: the last message lies in `held`
    RSV2_RSV3 = 0x30
    OPCODE = 0x0F
    CONTROL = 0x08                  # the bit that control opcodes have
    MASKED = 0x80                   # of a frame's second byte
    FIRST_ROOM = 256                # bytes first allocated for a message in pieces


# -- the reader's life ------------------------------------------------------------------------------------------------

cdef void ws_reader_init(WsReader* reader, uint8_t flags, uint32_t max_message) noexcept nogil:
    memset(reader, 0, sizeof(WsReader))
    reader.flags = flags
    reader.max_message = max_message if max_message <= 0x7FFFFFFF else 0x7FFFFFFF


cdef void ws_reader_free(WsReader* reader) noexcept nogil:
    free(reader.held)
    reader.held = NULL
    reader.held_len = 0
    reader.held_cap = 0


cdef size_t ws_reader_memory(const WsReader* reader) noexcept nogil:
    return reader.held_cap


cdef void ws_close_sent(WsReader* reader) noexcept nogil:
    reader.state |= WS_CLOSING
    if not reader.state & HANDED and not (reader.left and reader.frame & CONTROL):
        ws_reader_free(reader)


cdef int hold(WsReader* reader, uint32_t place, const uint8_t* data, size_t size) noexcept nogil:
    """Copy payload to `place` in `held`. 0, or WS_E_NO_MEMORY."""
    cdef size_t need = <size_t> place + size
    cdef size_t cap = reader.held_cap if reader.held_cap else FIRST_ROOM
    cdef size_t whole
    cdef uint8_t* grown
    if need > reader.held_cap:
        while cap < need:
            cap *= 2
        whole = <size_t> place + reader.left  # all that a last frame will ever need
        if reader.frame & WS_FIN and cap > whole:
            cap = whole
        if cap > UINT32_MAX:
            cap = UINT32_MAX
        grown = <uint8_t*> realloc(reader.held, cap)
        if grown == NULL:
            return WS_E_NO_MEMORY
        reader.held = grown
        reader.held_cap = <uint32_t> cap
    memcpy(reader.held + place, data, size)
    return 0


# -- one frame's head (section 5.2) -----------------------------------------------------------------------------------

cdef inline size_t limit_of(const WsReader* reader, uint8_t message) noexcept nogil:
    """Payload bytes that a message may have on the wire. Data that does not deflate grows a little, and must still fit."""
    cdef size_t most = reader.max_message
    return most + most // 128 + 64 if message & WS_RSV1 else most


cdef int read_head(WsReader* reader, const uint8_t* p, size_t size, uint64_t* length) noexcept nogil:
    """Bytes of the head, 0 when it is not complete, or a WsError. Sets `frame` and `mask` of a complete one."""
    cdef uint8_t first, opcode, low
    cdef uint64_t count
    cdef size_t at = 2
    cdef int i
    if size == 0:
        return 0
    first = p[0]
    opcode = first & OPCODE
    if first & RSV2_RSV3:
        return WS_E_RESERVED_BITS
    if opcode & 7 > 2:
        return WS_E_OPCODE
    if first & WS_RSV1 and (not reader.flags & WS_DEFLATE or opcode == WS_CONTINUATION or opcode & CONTROL):
        return WS_E_RESERVED_BITS
    if opcode & CONTROL:
        if not first & WS_FIN:
            return WS_E_CONTROL
    elif (opcode == WS_CONTINUATION) != (reader.message != 0):
        return WS_E_FRAGMENT
    elif (opcode == WS_TEXT and reader.flags & WS_NO_TEXT) or (opcode == WS_BINARY and reader.flags & WS_NO_BINARY):
        return WS_E_KIND
    if size < 2:
        return 0
    if (p[1] & MASKED != 0) == (reader.flags & WS_CLIENT != 0):
        return WS_E_MASK
    low = p[1] & 0x7F
    count = low
    if low > WS_CONTROL_MAX:
        if opcode & CONTROL:
            return WS_E_CONTROL
        at = 4 if low == 126 else 10
        if low == 127 and size > 2 and p[2] & 0x80:
            return WS_E_LENGTH
        if size < at:
            return 0
        count = 0
        for i in range(2, <int> at):
            count = count << 8 | p[i]
        if count < (126 if low == 126 else 65536):
            return WS_E_LENGTH
    if not opcode & CONTROL and count + reader.held_len > limit_of(reader, first if opcode else reader.message):
        return WS_E_SIZE
    if p[1] & MASKED:
        if size < at + 4:
            return 0
        memcpy(reader.mask, p + at, 4)
        at += 4
    reader.frame = first
    length[0] = count
    return <int> at


# -- bytes to messages ------------------------------------------------------------------------------------------------

cdef int fail(WsReader* reader, size_t size, size_t* used, int error) noexcept nogil:
    ws_reader_free(reader)
    reader.state |= WS_DONE
    used[0] = size
    return error


cdef inline void unmask(WsReader* reader, uint8_t* data, size_t size) noexcept nogil:
    if not reader.flags & WS_CLIENT:
        nova_ws_mask(data, size, reader.mask)


cdef inline int check_text(WsReader* reader, const uint8_t* data, size_t size) noexcept nogil:
    """Payload of the message, in order; 0 or WS_E_UTF8."""
    if reader.message == WS_TEXT:  # of a deflated one, UTF-8 is looked at after inflating
        reader.utf8 = nova_utf8(reader.utf8, data, size)
        if reader.utf8 == UTF8_WRONG:
            return WS_E_UTF8
    return 0


cdef int end_control(WsReader* reader, uint8_t* data, uint32_t size, WsMessage* out) noexcept nogil:
    """A whole control frame: 1 with the message, 0 when it is dropped, or a WsError."""
    out.opcode = reader.frame & OPCODE
    out.deflated = False
    out.data = data
    out.size = size
    out.code = 0
    if out.opcode != WS_CLOSE:
        return 0 if reader.state & WS_CLOSING else 1  # nobody may answer a ping after a close frame
    if size == 0:
        out.code = 1005
    elif size == 1:
        return WS_E_CLOSE
    else:
        out.code = <uint16_t> (data[0] << 8 | data[1])
        out.data += 2
        out.size -= 2
        if not ws_code_valid(out.code):
            return WS_E_CLOSE
        if not utf8_valid(out.data, out.size):
            return WS_E_UTF8
    reader.state |= WS_DONE
    return 1


cdef int end_message(WsReader* reader, uint8_t* data, uint32_t size, WsMessage* out) noexcept nogil:
    """The last frame of a message is complete: 1 with it, 0 when it is dropped, or WS_E_UTF8."""
    cdef uint8_t message = reader.message
    if message == WS_TEXT and reader.utf8 != UTF8_START and not reader.state & WS_CLOSING:
        return WS_E_UTF8
    reader.message = 0
    reader.held_len = 0
    if reader.state & WS_CLOSING:
        return 0
    out.opcode = message & OPCODE
    out.deflated = message & WS_RSV1 != 0
    out.data = data
    out.size = size
    out.code = 0
    return 1


cdef int ws_next(WsReader* reader, uint8_t* data, size_t size, size_t* used, WsMessage* out) noexcept nogil:
    cdef size_t at = 0
    cdef size_t take
    cdef uint64_t length = 0
    cdef int said
    cdef bint control
    if reader.state & HANDED:
        reader.state &= <uint8_t> ~HANDED
        if reader.message == 0:
            ws_reader_free(reader)
    while True:
        if reader.state & WS_DONE:
            ws_reader_free(reader)
            used[0] = size
            return 0
        if reader.left == 0:
            if reader.head_len:
                said = 0
                while said == 0 and at < size:
                    reader.head[reader.head_len] = data[at]
                    reader.head_len += 1
                    at += 1
                    said = read_head(reader, reader.head, reader.head_len, &length)
            else:
                said = read_head(reader, data + at, size - at, &length)
                if said > 0:
                    at += <size_t> said
                elif said == 0:
                    memcpy(reader.head, data + at, size - at)
                    reader.head_len = <uint8_t> (size - at)
            if said < 0:
                return fail(reader, size, used, said)
            if said == 0:
                used[0] = size
                return 0
            reader.head_len = 0
            control = reader.frame & CONTROL != 0
            if not control:
                if reader.message == 0:
                    reader.message = reader.frame & (WS_RSV1 | OPCODE)
                    reader.utf8 = UTF8_START
                    reader.empty = 0
                if length == 0 and not reader.frame & WS_FIN:
                    reader.empty += 1
                    if reader.empty > WS_EMPTY_MAX:
                        return fail(reader, size, used, WS_E_EMPTY)
            if length <= size - at and (control or (reader.frame & WS_FIN and reader.held_len == 0)):
                # The common case: all of it lies here, and nothing came before.
                unmask(reader, data + at, length)
                if control:
                    said = end_control(reader, data + at, <uint32_t> length, out)
                else:
                    said = check_text(reader, data + at, length)
                    if said == 0:
                        said = end_message(reader, data + at, <uint32_t> length, out)
                if said < 0:
                    return fail(reader, size, used, said)
                at += <size_t> length
                if said:
                    used[0] = at
                    return 1
                continue
            reader.left = <uint32_t> length
            reader.control_len = 0
        control = reader.frame & CONTROL != 0
        if reader.left:
            take = size - at if size - at < reader.left else reader.left
            if take:
                unmask(reader, data + at, take)
                nova_ws_turn(reader.mask, take)
                said = 0
                if control:
                    said = hold(reader, reader.held_len + reader.control_len, data + at, take)
                    reader.control_len += <uint8_t> take
                elif not reader.state & WS_CLOSING:
                    said = check_text(reader, data + at, take)
                    if said == 0:
                        said = hold(reader, reader.held_len, data + at, take)
                    reader.held_len += <uint32_t> take
                if said < 0:
                    return fail(reader, size, used, said)
                at += take
                reader.left -= <uint32_t> take
            if reader.left:
                used[0] = at
                return 0
        # The frame is complete.
        if control:
            said = end_control(reader, reader.held + reader.held_len, reader.control_len, out)
        elif reader.frame & WS_FIN:
            said = end_message(reader, reader.held, reader.held_len, out)
        else:
            said = 0
        if said < 0:
            return fail(reader, size, used, said)
        if said:
            reader.state |= HANDED
            used[0] = at
            return 1


# -- codes (section 7.4) ----------------------------------------------------------------------------------------------

cdef bint ws_code_valid(uint32_t code) noexcept nogil:
    """1004 is reserved; 1005, 1006 and 1015 are for programs, not for the wire; 1012 to 1014 are registered with IANA."""
    return (1000 <= code <= 1003) or (1007 <= code <= 1014) or (3000 <= code <= 4999)


cdef uint16_t ws_close_code(int error) noexcept nogil:
    if error == WS_E_UTF8 or error == WS_E_INFLATE:
        return 1007
    if error == WS_E_KIND:
        return 1003
    if error == WS_E_SIZE:
        return 1009
    if error == WS_E_EMPTY:
        return 1008
    if error == WS_E_NO_MEMORY:
        return 1011
    return 1002


cdef const char* ws_error(int error) noexcept nogil:
    if error == WS_E_RESERVED_BITS:
        return b"ws_reserved_bits"
    if error == WS_E_OPCODE:
        return b"ws_opcode"
    if error == WS_E_MASK:
        return b"ws_mask"
    if error == WS_E_CONTROL:
        return b"ws_control"
    if error == WS_E_LENGTH:
        return b"ws_length"
    if error == WS_E_FRAGMENT:
        return b"ws_fragment"
    if error == WS_E_CLOSE:
        return b"ws_close"
    if error == WS_E_UTF8:
        return b"ws_utf8"
    if error == WS_E_INFLATE:
        return b"ws_inflate"
    if error == WS_E_KIND:
        return b"ws_kind"
    if error == WS_E_SIZE:
        return b"ws_size"
    if error == WS_E_EMPTY:
        return b"ws_empty_frames"
    return b"ws_no_memory"


# -- messages to bytes ------------------------------------------------------------------------------------------------

cdef void ws_mask(uint8_t* data, size_t size, const uint8_t* key) noexcept nogil:
    nova_ws_mask(data, size, key)


cdef int ws_frame(ByteVec* out, uint8_t first, const uint8_t* data, size_t size, const uint8_t* key) noexcept nogil:
    cdef uint8_t* at = vec_reserve(out, WS_HEAD_MAX + size)
    cdef size_t head
    if at == NULL:
        return -1
    head = ws_head(at, first, size)
    if key != NULL:
        at[1] |= MASKED
        memcpy(at + head, key, 4)
        head += 4
    if size:
        memcpy(at + head, data, size)
    if key != NULL:
        nova_ws_mask(at + head, size, key)
    out.len += head + size
    return 0


cdef int ws_close_frame(ByteVec* out, uint16_t code, const uint8_t* reason, size_t size, const uint8_t* key) noexcept nogil:
    cdef uint8_t[WS_CONTROL_MAX] body
    if code == 0:
        return ws_frame(out, WS_FIN | WS_CLOSE, NULL, 0, key)
    if size > WS_CONTROL_MAX - 2:
        size = WS_CONTROL_MAX - 2
        while size and (reason[size] & 0xC0) == 0x80:
            size -= 1
    body[0] = <uint8_t> (code >> 8)
    body[1] = <uint8_t> code
    if size:
        memcpy(body + 2, reason, size)
    return ws_frame(out, WS_FIN | WS_CLOSE, body, 2 + size, key)


cdef int ws_failure(ByteVec* out, int error, const uint8_t* key) noexcept nogil:
    cdef const char* name = ws_error(error)
    cdef size_t size = 0
    while name[size]:
        size += 1
    return ws_close_frame(out, ws_close_code(error), <const uint8_t*> name, size, key)


# -- Python -----------------------------------------------------------------------------------------------------------

TEXT = WS_TEXT
BINARY = WS_BINARY
CLOSE = WS_CLOSE
PING = WS_PING
PONG = WS_PONG
READER_BYTES = sizeof(WsReader)


class FrameError(ValueError):
    """The peer broke the framing, or a limit. `code`: a name that `ws_error` gives; `close_code`: what the peer is told;
    `messages`: what was complete before it."""

    def __init__(self, code: str, close_code: int, messages: list[tuple[int, bytes, int, bool]]) -> None:
        super().__init__(code)
        self.code = code
        self.close_code = close_code
        self.messages = messages


cdef class FrameReader:
    """The kernel for one WebSocket: for clients, for those over HTTP/2 and HTTP/3, and for tests.

    client: read a server's frames; deflate: permessage-deflate was agreed; max_message: bytes.
    """
    cdef WsReader reader

    def __cinit__(self, *, bint client=False, bint deflate=False, bint text=True, bint binary=True, uint32_t max_message=65536):
        cdef uint8_t flags = 0
        if client:
            flags |= WS_CLIENT
        if deflate:
            flags |= WS_DEFLATE
        if not text:
            flags |= WS_NO_TEXT
        if not binary:
            flags |= WS_NO_BINARY
        ws_reader_init(&self.reader, flags, max_message)

    def __dealloc__(self):
        ws_reader_free(&self.reader)

    def feed(self, data) -> list[tuple[int, bytes, int, bool]]:
        """Consume `data` (bytes-like, any length, not retained); return the complete messages as (opcode, payload, code, deflated).

        Of a close frame, `payload` is the reason and `code` is 1005 when it has none. Raises FrameError; all later bytes are dropped then.
        """
        cdef bytearray copy = bytearray(data)  # unmasking writes
        cdef uint8_t* at = <uint8_t*> copy
        cdef size_t left = <size_t> len(copy)
        cdef size_t used
        cdef WsMessage message
        cdef int said
        messages: list[tuple[int, bytes, int, bool]] = []
        while True:
            said = ws_next(&self.reader, at, left, &used, &message)
            at += used
            left -= used
            if said < 0:
                raise FrameError(ws_error(said).decode(), ws_close_code(said), messages)
            if said == 0:
                return messages
            payload = (<const char*> message.data)[:message.size] if message.size else b""
            messages.append((message.opcode, payload, message.code, bool(message.deflated)))

    def close_sent(self) -> None:
        """Our close frame is on its way: from now on only the peer's comes up."""
        ws_close_sent(&self.reader)

    @property
    def closed(self) -> bool:
        """The peer's close frame came, or it broke the rules."""
        return self.reader.state & WS_DONE != 0

    @property
    def memory_bytes(self) -> int:
        """Heap that the reader takes now, beside its READER_BYTES."""
        return ws_reader_memory(&self.reader)


cdef const uint8_t* key_of(bytes key) except? NULL:
    if key is None:
        return NULL
    if len(key) != 4:
        raise ValueError("a masking key has four bytes")
    return <const uint8_t*> <const char*> key


cdef bytes taken(ByteVec* out, int said):
    try:
        if said:
            raise MemoryError
        return (<const char*> out.data)[:out.len]
    finally:
        vec_free(out)


def frame(int opcode, payload, *, bint fin=True, bint rsv1=False, bytes key=None) -> bytes:
    """One frame. key: four unpredictable bytes, which a client must give and a server must not."""
    cdef const uint8_t[::1] view = payload
    cdef size_t size = <size_t> len(view)
    cdef uint8_t first = <uint8_t> opcode | (WS_FIN if fin else 0) | (WS_RSV1 if rsv1 else 0)
    cdef ByteVec out
    if not 0 <= opcode <= 15:
        raise ValueError("an opcode has four bits")
    memset(&out, 0, sizeof(out))
    return taken(&out, ws_frame(&out, first, &view[0] if size else NULL, size, key_of(key)))


def close_frame(int code=0, reason=b"", *, bytes key=None) -> bytes:
    """A close frame; code 0: an empty one. A reason above 123 bytes is cut at a character's border."""
    cdef bytes text = bytes(reason)
    cdef ByteVec out
    if code and not ws_code_valid(<uint32_t> code):
        raise ValueError(f"close code {code} is not for the wire")
    memset(&out, 0, sizeof(out))
    return taken(&out, ws_close_frame(&out, <uint16_t> code, <const uint8_t*> <const char*> text, <size_t> len(text), key_of(key)))


def mask(data, bytes key) -> bytes:
    """`data` exclusive or the key."""
    cdef bytearray copy = bytearray(data)
    ws_mask(<uint8_t*> copy, <size_t> len(copy), key_of(key))
    return bytes(copy)


def utf8(int state, data) -> int:
    """The state of the UTF-8 check after `data`: 0 between two characters, 1 wrong, else within one. A text starts at 0."""
    cdef const uint8_t[::1] view = data
    cdef size_t size = <size_t> len(view)
    return nova_utf8(<uint8_t> state, &view[0] if size else NULL, size)


def errors() -> dict[str, int]:
    """Every name of an error with its close code."""
    return {ws_error(error).decode(): ws_close_code(error) for error in range(WS_E_NO_MEMORY, 0)}
