"""permessage-deflate without context takeover (RFC 7692): one pair of streams a thread serves all its connections."""
from libc.stdint cimport uint8_t, uint32_t

from nova.ext.bytevec cimport ByteVec
from nova.ext.ws cimport WsMessage

cdef enum:
    WS_WINDOW_BITS = 15             # of our streams

ctypedef struct WsZip:              # of one thread; the streams come with their first use
    void* deflater
    void* inflater
    ByteVec inflated                # what ws_inflate handed out last

cdef void ws_zip_init(WsZip* zip) noexcept nogil
cdef void ws_zip_free(WsZip* zip) noexcept nogil
# Appends the deflated form, without the 00 00 ff ff at its end. 1: done; 0: it is not smaller, nothing was appended; -1: memory is out.
cdef int ws_deflate(WsZip* zip, const uint8_t* data, size_t size, ByteVec* out) noexcept nogil
# Replaces a deflated message's data with what it inflates to, valid until the next call with `zip`; a text is checked for UTF-8.
# 0, or WS_E_INFLATE, WS_E_SIZE (stopped at the first byte above max_message), WS_E_UTF8 or WS_E_NO_MEMORY: the connection is to be failed.
cdef int ws_inflate(WsZip* zip, WsMessage* message, uint32_t max_message) noexcept nogil

# Whether a reader whose agreement says `window_bits` can inflate a message of `size` bytes that our 15 bits deflated: without context
# takeover no distance is longer than the message. Others get it as it is, which any message may be (section 6).
cdef inline bint ws_window_holds(uint8_t window_bits, size_t size) noexcept nogil:
    return size <= (<size_t> 1 << window_bits)
