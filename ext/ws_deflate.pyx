# nova: libraries=z
"""permessage-deflate (RFC 7692): messages deflated once for all their readers, and inflated under a cap.

Neither side keeps a context between messages, so a connection has no stream of its own, a deflated message fits every
connection that agreed, and two streams serve a whole thread. What a peer sends inflates in steps that stop at the cap.
"""
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from nova.ext.bytevec cimport vec_free, vec_reserve
from nova.ext.utf8 cimport UTF8_START, UTF8_WRONG, nova_utf8
from nova.ext.ws cimport WS_E_INFLATE, WS_E_NO_MEMORY, WS_E_SIZE, WS_E_UTF8, WS_TEXT, ws_close_code, ws_error
from nova.ext.ws import FrameError

cdef extern from "zlib.h" nogil:
    ctypedef struct z_stream:
        unsigned char* next_in
        unsigned int avail_in
        unsigned char* next_out
        unsigned int avail_out
        int data_type
    int deflateInit2(z_stream* stream, int level, int method, int window_bits, int memory, int strategy)
    int deflateReset(z_stream* stream)
    int deflate(z_stream* stream, int flush)
    int deflateEnd(z_stream* stream)
    int inflateInit2(z_stream* stream, int window_bits)
    int inflateReset(z_stream* stream)
    int inflate(z_stream* stream, int flush)
    int inflateEnd(z_stream* stream)
    enum: Z_OK, Z_STREAM_END, Z_BUF_ERROR, Z_MEM_ERROR, Z_SYNC_FLUSH, Z_DEFLATED, Z_DEFAULT_STRATEGY

cdef enum:
    # Chat messages of 512 bytes, each on its own: level 1 takes two thirds of the time of level 6 and gives the same size within
    # two percent. Resetting clears the hash table, 32 KiB at memory level 7; a smaller one makes messages above 4 KiB slower.
    LEVEL = 1
    MEMORY = 7
    TAIL = 4                    # 00 00 ff ff: what a flush ends with, and the wire leaves out (section 7.2.1)
    BOUNDARY = 128              # z_stream.data_type: the input ended between two blocks
    STEP = 16384                # bytes inflated before UTF-8 is looked at
    KEPT = 131072               # bytes of `inflated` that stay allocated

cdef const uint8_t* FLUSH = b"\x00\x00\xff\xff"


cdef void ws_zip_init(WsZip* zip) noexcept nogil:
    memset(zip, 0, sizeof(WsZip))


cdef void ws_zip_free(WsZip* zip) noexcept nogil:
    if zip.deflater != NULL:
        deflateEnd(<z_stream*> zip.deflater)
        free(zip.deflater)
    if zip.inflater != NULL:
        inflateEnd(<z_stream*> zip.inflater)
        free(zip.inflater)
    vec_free(&zip.inflated)
    ws_zip_init(zip)


cdef z_stream* ready(void** place, bint deflating) noexcept nogil:
    """The stream at `place`, made or reset; NULL when memory is out."""
    cdef z_stream* stream = <z_stream*> place[0]
    if stream != NULL:
        if deflating:
            deflateReset(stream)
        else:
            inflateReset(stream)
        return stream
    stream = <z_stream*> malloc(sizeof(z_stream))
    if stream == NULL:
        return NULL
    memset(stream, 0, sizeof(z_stream))
    if (deflateInit2(stream, LEVEL, Z_DEFLATED, -WS_WINDOW_BITS, MEMORY, Z_DEFAULT_STRATEGY) if deflating
            else inflateInit2(stream, -WS_WINDOW_BITS)) != Z_OK:
        free(stream)
        return NULL
    place[0] = stream
    return stream


cdef int ws_deflate(WsZip* zip, const uint8_t* data, size_t size, ByteVec* out) noexcept nogil:
    cdef z_stream* stream
    cdef uint8_t* at
    cdef size_t made
    if size < 2 or size > 0x7FFFFFFF:
        return 0
    stream = ready(&zip.deflater, True)
    at = vec_reserve(out, size + TAIL)
    if stream == NULL or at == NULL:
        return -1
    stream.next_in = <unsigned char*> data  # zlib reads it only
    stream.avail_in = <unsigned int> size
    stream.next_out = at
    stream.avail_out = <unsigned int> (size + TAIL)
    deflate(stream, Z_SYNC_FLUSH)
    made = size + TAIL - stream.avail_out
    # Room left: the flush is complete, and without its tail the result is smaller than `size`.
    if stream.avail_out == 0:
        return 0
    out.len += made - TAIL
    return 1


cdef int take(z_stream* stream, WsZip* zip, const uint8_t* data, size_t size, size_t most, bint text, uint8_t* utf8, bint* over) noexcept nogil:
    """Inflate one run of input into zip.inflated; 0 or a WsError. over: the last stream ended exactly where the input did."""
    cdef size_t room, made
    cdef uint8_t* at
    cdef int said
    stream.next_in = <unsigned char*> data  # zlib reads it only
    stream.avail_in = <unsigned int> size
    over[0] = False
    while True:
        room = most + 1 - zip.inflated.len
        if room > STEP:
            room = STEP
        at = vec_reserve(&zip.inflated, room)
        if at == NULL:
            return WS_E_NO_MEMORY
        stream.next_out = at
        stream.avail_out = <unsigned int> room
        said = inflate(stream, Z_SYNC_FLUSH)
        made = room - stream.avail_out
        if text:
            utf8[0] = nova_utf8(utf8[0], at, made)
            if utf8[0] == UTF8_WRONG:
                return WS_E_UTF8
        zip.inflated.len += made
        if zip.inflated.len > most:
            return WS_E_SIZE
        if said == Z_STREAM_END:  # section 7.2.3.4: blocks marked as the last one are allowed, and others may follow
            if stream.avail_in == 0:
                over[0] = True
                return 0
            inflateReset(stream)
        elif said == Z_MEM_ERROR:
            return WS_E_NO_MEMORY
        elif said != Z_OK and said != Z_BUF_ERROR:
            return WS_E_INFLATE
        elif stream.avail_out:
            return 0  # all input is used


cdef int ws_inflate(WsZip* zip, WsMessage* message, uint32_t max_message) noexcept nogil:
    cdef z_stream* stream = ready(&zip.inflater, False)
    cdef bint text = message.opcode == WS_TEXT
    cdef uint8_t utf8 = UTF8_START
    cdef bint over = False
    cdef int said
    if zip.inflated.cap > KEPT:
        vec_free(&zip.inflated)
    zip.inflated.len = 0
    if stream == NULL:
        return WS_E_NO_MEMORY
    if message.size:  # zero bytes are an empty message, although section 7.2.3.6 asks for one
        said = take(stream, zip, message.data, message.size, max_message, text, &utf8, &over)
        if said == 0 and not over:
            said = take(stream, zip, FLUSH, TAIL, max_message, text, &utf8, &over)
            if said == 0 and not over and not stream.data_type & BOUNDARY:
                said = WS_E_INFLATE  # cut short: the tail became data
        if said:
            return said
    if utf8 != UTF8_START:
        return WS_E_UTF8
    message.data = zip.inflated.data
    message.size = <uint32_t> zip.inflated.len
    message.deflated = False
    return 0


# -- Python -----------------------------------------------------------------------------------------------------------

cdef class Zip:
    """The two streams of one thread."""
    cdef WsZip zip

    def __cinit__(self):
        ws_zip_init(&self.zip)

    def __dealloc__(self):
        ws_zip_free(&self.zip)

    def deflate(self, data) -> bytes | None:
        """The deflated form of a whole message; None when it is not smaller than the message."""
        cdef const uint8_t[::1] view = data
        cdef size_t size = <size_t> len(view)
        cdef ByteVec out
        memset(&out, 0, sizeof(out))
        try:
            said = ws_deflate(&self.zip, &view[0] if size else NULL, size, &out)
            if said < 0:
                raise MemoryError
            return (<const char*> out.data)[:out.len] if said else None
        finally:
            vec_free(&out)

    def inflate(self, data, *, uint32_t max_message, bint text=False) -> bytes:
        """A whole message inflated. text: it must be UTF-8.

        Raises FrameError: damaged, not UTF-8, or above max_message bytes.
        """
        cdef const uint8_t[::1] view = data
        cdef WsMessage message
        message.size = <uint32_t> len(view)
        message.data = <uint8_t*> &view[0] if message.size else NULL
        message.opcode = WS_TEXT if text else 0
        message.deflated = True
        said = ws_inflate(&self.zip, &message, max_message)
        if said:
            raise FrameError(ws_error(said).decode(), ws_close_code(said), [])
        return (<const char*> message.data)[:message.size] if message.size else b""


def window_holds(int window_bits, size_t size) -> bool:
    """Whether a reader that agreed on `window_bits` can inflate what we deflated from `size` bytes."""
    return ws_window_holds(<uint8_t> window_bits, size)
