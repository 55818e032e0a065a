"""RTMP chunk stream: bytes to messages and back (RTMP 1.0, section 5.3; Enhanced RTMP v1 and v2 for the media flags).

Pure: no I/O, no clock but the handshake's time stamps, no retained input. `nova.media.rtmp.session` gives messages meaning.
Feeding the same bytes in any split yields the same records and, acknowledgements aside, the same replies.

Decisions about peers' habits are in docs/decisions/0020-rtmp-peers-habits.md.
"""
from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcmp, memcpy, memset
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

from nova.ext.bytevec cimport vec_append, vec_free, vec_reserve
from nova.ext.rtmp_handshake cimport RTMP_C1, RTMP_VERSION, handshake_answer, handshake_begin, handshake_finish

cdef enum:
    HEADER_MAX = 18               # basic header 3, message header 11, extended timestamp 4
    CONTROL_CSID = 2
    DEFAULT_CHUNK = 128           # section 5.4.1, until the peer sets another
    MESSAGE_MAX = 0xFFFFFF        # what the 24 bits of a message length can say; a larger chunk size means the same
    EXTENDED = 0xFFFFFF           # a 24 bit timestamp of this value: 32 bits follow the header
    RECORD = 16                   # bytes of RtmpRecord
    WHOLE = 128 * 1024            # a message up to this size gets all its memory at its first byte, a larger one as it comes
    ANSWERS = 8                   # replies to pings and bandwidth messages in one feed; more is a flood and goes unanswered

cdef enum:                        # RtmpReader.stage
    STAGE_FIRST = 0               # server: C0 and C1; client: nothing sent yet
    STAGE_LAST = 1                # server: C2; client: S0, S1 and S2
    STAGE_CHUNKS = 2


cdef inline uint32_t get16(const uint8_t* at) noexcept nogil:
    return (<uint32_t> at[0] << 8) | at[1]


cdef inline uint32_t get24(const uint8_t* at) noexcept nogil:
    return (<uint32_t> at[0] << 16) | (<uint32_t> at[1] << 8) | at[2]


cdef inline uint32_t get32(const uint8_t* at) noexcept nogil:
    return (<uint32_t> at[0] << 24) | (<uint32_t> at[1] << 16) | (<uint32_t> at[2] << 8) | at[3]


cdef inline uint32_t get32_little(const uint8_t* at) noexcept nogil:
    return (<uint32_t> at[3] << 24) | (<uint32_t> at[2] << 16) | (<uint32_t> at[1] << 8) | at[0]


cdef inline void put24(uint8_t* at, uint32_t value) noexcept nogil:
    at[0] = <uint8_t> (value >> 16)
    at[1] = <uint8_t> (value >> 8)
    at[2] = <uint8_t> value


cdef inline void put32(uint8_t* at, uint32_t value) noexcept nogil:
    at[0] = <uint8_t> (value >> 24)
    put24(at + 1, value)


cdef inline void put32_little(uint8_t* at, uint32_t value) noexcept nogil:
    at[0] = <uint8_t> value
    at[1] = <uint8_t> (value >> 8)
    at[2] = <uint8_t> (value >> 16)
    at[3] = <uint8_t> (value >> 24)


cdef uint32_t monotonic_ms() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <uint32_t> (<int64_t> now.tv_sec * 1000 + now.tv_nsec // 1000000)


# -- the reader's life ------------------------------------------------------------------------------------------------

cdef void rtmp_limits_default(RtmpLimits* limits) noexcept nogil:
    limits.message = MESSAGE_MAX
    limits.streams = 64
    limits.held = 32 * 1024 * 1024      # two of the largest messages at once
    limits.window = 2500000             # what encoders use; nginx-rtmp acknowledges every 5 000 000 bytes
    limits.role = RTMP_SERVER


cdef RtmpReader* rtmp_reader_new(const RtmpLimits* limits) noexcept nogil:
    """A reader that expects C0 (server), or that says C0 and C1 at its first feed, even an empty one (client). NULL: no memory."""
    cdef RtmpReader* reader = <RtmpReader*> calloc(1, sizeof(RtmpReader))
    if reader == NULL:
        return NULL
    reader.limits = limits[0]
    if reader.limits.streams > RTMP_STREAMS:
        reader.limits.streams = RTMP_STREAMS
    reader.chunk_size = DEFAULT_CHUNK
    reader.window = limits.window
    return reader


cdef void rtmp_reader_free(RtmpReader* reader) noexcept nogil:
    cdef int i
    if reader == NULL:
        return
    for i in range(reader.count):
        free(reader.streams[i].data)
    free(reader.streams)
    free(reader.handshake)
    free(reader)


cdef bint rtmp_handshaken(RtmpReader* reader) noexcept nogil:
    return reader.stage == STAGE_CHUNKS


cdef size_t rtmp_reader_memory(RtmpReader* reader) noexcept nogil:
    """Bytes of heap that this connection's reader takes now."""
    return (
        sizeof(RtmpReader) + reader.room * sizeof(ChunkStream) + reader.held
        + (2 * RTMP_C1 + 1 if reader.handshake != NULL else 0)
    )


cdef const char* rtmp_error(int code) noexcept nogil:
    """The name of a negative answer: a closed set, for logs and metric labels."""
    if code == RTMP_E_VERSION:
        return b"rtmp_version"
    if code == RTMP_E_ORDER:
        return b"rtmp_chunk_order"
    if code == RTMP_E_INTERRUPTED:
        return b"rtmp_chunk_interrupted"
    if code == RTMP_E_CHUNK_SIZE:
        return b"rtmp_chunk_size"
    if code == RTMP_E_MESSAGE_SIZE:
        return b"rtmp_message_size"
    if code == RTMP_E_STREAMS:
        return b"rtmp_chunk_streams"
    if code == RTMP_E_MEMORY:
        return b"rtmp_held_bytes"
    if code == RTMP_E_CONTROL:
        return b"rtmp_control"
    if code == RTMP_E_AGGREGATE:
        return b"rtmp_aggregate"
    return b"rtmp_no_memory"


# -- media flags ------------------------------------------------------------------------------------------------------

cdef int enhanced_packet_type(int packet_type, const uint8_t* payload, size_t size) noexcept nogil:
    """The packet type behind modifiers and the multitrack header (Enhanced RTMP v2); -1 when they are cut short."""
    cdef size_t at = 1
    cdef size_t skip
    while packet_type == 7:  # ModEx: size - 1 in 8 bits, or 255 and then in 16; the data; type of the modifier and next packet type
        if at >= size:
            return -1
        skip = payload[at] + 1
        at += 1
        if skip == 256:
            if at + 2 > size:
                return -1
            skip = get16(payload + at) + 1
            at += 2
        at += skip
        if at >= size:
            return -1
        packet_type = payload[at] & 0x0F
        at += 1
    return packet_type


cdef uint8_t rtmp_flags(uint8_t type, const uint8_t* payload, size_t size) noexcept nogil:
    """Flags of a message; reads no more than the tag's own header, and nothing behind `size`."""
    cdef int packet_type
    if type == RTMP_VIDEO:
        if size == 0:
            return RTMP_MEDIA
        if payload[0] & 0x80:
            packet_type = enhanced_packet_type(payload[0] & 0x0F, payload, size)
            if packet_type == 6:  # Multitrack: its own packet type is in the low bits of the byte behind the header
                if (payload[0] & 0x0F) != 6 or size < 2:
                    return RTMP_MEDIA
                packet_type = payload[1] & 0x0F
            if packet_type == 0 or packet_type == 5:  # SequenceStart, MPEG2TSSequenceStart
                return RTMP_MEDIA | RTMP_SEQUENCE_HEADER
            if ((payload[0] >> 4) & 7) == 1 and (packet_type == 1 or packet_type == 3):  # CodedFrames, CodedFramesX
                return RTMP_MEDIA | RTMP_KEY
            return RTMP_MEDIA
        # AVC (7) and, before Enhanced RTMP, HEVC (12) and AV1 (13) say in the second byte what they carry: 0 configuration, 1 picture, 2 end.
        if (payload[0] & 0x0F) in (7, 12, 13):
            if size < 2:
                return RTMP_MEDIA
            if payload[1] == 0:
                return RTMP_MEDIA | RTMP_SEQUENCE_HEADER
            if payload[1] != 1:
                return RTMP_MEDIA
        return RTMP_MEDIA | RTMP_KEY if payload[0] >> 4 == 1 else RTMP_MEDIA
    if type == RTMP_AUDIO:
        if size >= 2:
            if payload[0] >> 4 == 10 and payload[1] == 0:  # AAC, AudioSpecificConfig
                return RTMP_MEDIA | RTMP_SEQUENCE_HEADER
            if payload[0] >> 4 == 9:  # Enhanced RTMP v2
                packet_type = enhanced_packet_type(payload[0] & 0x0F, payload, size)
                if packet_type == 5 and (payload[0] & 0x0F) == 5:
                    packet_type = payload[1] & 0x0F
                if packet_type == 0:
                    return RTMP_MEDIA | RTMP_SEQUENCE_HEADER
        elif size == 1 and payload[0] == 0x90:
            return RTMP_MEDIA | RTMP_SEQUENCE_HEADER
        return RTMP_MEDIA
    return 0


# -- records ----------------------------------------------------------------------------------------------------------

cdef int put_record(ByteVec* records, uint8_t type, uint32_t timestamp, uint32_t msid, const uint8_t* payload, uint32_t size) noexcept nogil:
    cdef uint8_t* at
    if size == 0:
        return 0  # an empty tag or command carries nothing; some encoders send them as a keep-alive
    at = vec_reserve(records, RECORD + size)
    if at == NULL:
        return RTMP_E_NO_MEMORY
    put32_little(at, size)
    put32_little(at + 4, timestamp)
    put32_little(at + 8, msid)
    at[12] = type
    at[13] = rtmp_flags(type, payload, size)
    at[14] = 0
    at[15] = 0
    memcpy(at + RECORD, payload, size)
    records.len += RECORD + size
    return 0


cdef int unpack_aggregate(ByteVec* records, uint32_t timestamp, uint32_t msid, const uint8_t* payload, uint32_t size) noexcept nogil:
    """Section 7.1.6: FLV tags in one message; the first one's time stamp stands for the message's."""
    cdef uint32_t at = 0
    cdef uint32_t length, stamp, first = 0
    cdef uint8_t type
    cdef int code
    while at < size:
        if size - at < 15:
            return RTMP_E_AGGREGATE
        type = payload[at] & 0x1F
        length = get24(payload + at + 1)
        stamp = get24(payload + at + 4) | (<uint32_t> payload[at + 7] << 24)
        if at == 0:
            first = stamp
        if size - at - 15 < length:
            return RTMP_E_AGGREGATE
        if type == RTMP_AUDIO or type == RTMP_VIDEO or type == RTMP_DATA_AMF0:
            code = put_record(records, type, timestamp + (stamp - first), msid, payload + at + 11, length)
            if code:
                return code
        at += 15 + length  # header 11, tag, size of the tag before 4
    return 0


cdef int put_control(ByteVec* reply, uint8_t type, const uint8_t* payload, uint32_t size) noexcept nogil:
    return RTMP_E_NO_MEMORY if rtmp_encode(reply, CONTROL_CSID, type, 0, 0, payload, size, DEFAULT_CHUNK) else 0


cdef void drop_message(RtmpReader* reader, ChunkStream* stream) noexcept nogil:
    reader.held -= stream.cap
    free(stream.data)
    stream.data = NULL
    stream.cap = 0
    stream.got = 0
    stream.open = 0


cdef ChunkStream* find_stream(RtmpReader* reader, uint32_t csid) noexcept nogil:
    cdef int i
    if csid < 64:
        i = reader.index[csid]
        return &reader.streams[i - 1] if i else NULL
    for i in range(reader.count):
        if reader.streams[i].csid == csid:
            return &reader.streams[i]
    return NULL


cdef int new_stream(RtmpReader* reader, uint32_t csid, ChunkStream** out) noexcept nogil:
    cdef ChunkStream* grown
    cdef uint32_t room
    if reader.count >= reader.limits.streams:
        return RTMP_E_STREAMS
    if reader.count == reader.room:
        room = reader.room * 2 if reader.room else 4
        grown = <ChunkStream*> realloc(reader.streams, room * sizeof(ChunkStream))
        if grown == NULL:
            return RTMP_E_NO_MEMORY
        reader.streams = grown
        reader.room = <uint16_t> room
    out[0] = &reader.streams[reader.count]
    memset(out[0], 0, sizeof(ChunkStream))
    out[0].csid = csid
    reader.count += 1
    if csid < 64:
        reader.index[csid] = reader.count
    return 0


cdef int on_control(RtmpReader* reader, uint8_t type, const uint8_t* payload, uint32_t size, ByteVec* reply) noexcept nogil:
    """Protocol control (section 5.4) and user control (7.1.7): everything that Python need not know."""
    cdef uint32_t value
    cdef uint8_t[6] pong
    cdef ChunkStream* stream
    if size < (2 if type == RTMP_USER_CONTROL else 4):
        return RTMP_E_CONTROL
    if type == RTMP_USER_CONTROL:
        if get16(payload) != 6:  # only a ping request wants an answer
            return 0
        if size < 6:
            return RTMP_E_CONTROL
        if reader.answers >= ANSWERS:
            return 0
        reader.answers += 1
        memcpy(pong, payload, 6)
        pong[1] = 7
        return put_control(reply, RTMP_USER_CONTROL, pong, 6)
    value = get32(payload)
    if type == RTMP_SET_CHUNK_SIZE:
        if value == 0 or value > 0x7FFFFFFF:
            return RTMP_E_CHUNK_SIZE
        reader.chunk_size = value if value < MESSAGE_MAX else MESSAGE_MAX
    elif type == RTMP_ABORT:
        stream = find_stream(reader, value)
        if stream != NULL and stream.open:
            drop_message(reader, stream)
    elif type == RTMP_WINDOW_ACK_SIZE:
        reader.window = value
    elif type == RTMP_SET_PEER_BANDWIDTH:
        # Section 5.4.5: answer with our window when it is not the one that we announced last.
        if value != reader.announced and reader.answers < ANSWERS:
            reader.answers += 1
            reader.announced = value
            return put_control(reply, RTMP_WINDOW_ACK_SIZE, payload, 4)
    return 0


cdef int on_message(RtmpReader* reader, ChunkStream* stream, const uint8_t* payload, ByteVec* records, ByteVec* reply) noexcept nogil:
    cdef uint8_t type = stream.type
    if RTMP_SET_CHUNK_SIZE <= type <= RTMP_SET_PEER_BANDWIDTH:
        return on_control(reader, type, payload, stream.length, reply)
    if type == RTMP_AGGREGATE:
        return unpack_aggregate(records, stream.timestamp, stream.msid, payload, stream.length)
    if type in (RTMP_AUDIO, RTMP_VIDEO, RTMP_DATA_AMF3, RTMP_COMMAND_AMF3, RTMP_DATA_AMF0, RTMP_COMMAND_AMF0):
        return put_record(records, type, stream.timestamp, stream.msid, payload, stream.length)
    return 0  # shared objects and types that nobody defined


# -- chunks -----------------------------------------------------------------------------------------------------------

cdef bint may_repeat(const uint8_t* data, size_t size, uint32_t value) noexcept nogil:
    """Whether `size` (up to 4) bytes are the beginning of `value` as an extended timestamp."""
    cdef uint8_t[4] expected
    put32(expected, value)
    return memcmp(data, expected, size if size < 4 else 4) == 0


cdef int read_header(RtmpReader* reader, const uint8_t* data, size_t size, size_t* used) noexcept nogil:
    """One chunk header. 1: taken, `used` bytes, reader.current and reader.left say what follows; 0: more bytes are needed; else an error."""
    cdef size_t at = 1
    cdef size_t fields
    cdef uint32_t csid, field = 0
    cdef uint8_t fmt
    cdef ChunkStream* stream
    cdef bint extended
    cdef int code
    if size < 1:
        return 0
    fmt = data[0] >> 6
    csid = data[0] & 0x3F
    if csid == 0:
        if size < 2:
            return 0
        csid = 64 + data[1]
        at = 2
    elif csid == 1:
        if size < 3:
            return 0
        csid = 64 + data[1] + (<uint32_t> data[2] << 8)
        at = 3
    stream = find_stream(reader, csid)
    if fmt < 3:
        if stream != NULL and stream.open:
            return RTMP_E_INTERRUPTED
        if stream == NULL and fmt == 2:
            return RTMP_E_ORDER
        fields = 11 if fmt == 0 else 7 if fmt == 1 else 3
        if size < at + fields:
            return 0
        field = get24(data + at)
        extended = field == EXTENDED
        if extended:
            if size < at + fields + 4:
                return 0
            field = get32(data + at + fields)
        if stream == NULL:
            # Type 1 may come first: librtmp opens its control chunk stream so. The message stream is then 0.
            code = new_stream(reader, csid, &stream)
            if code:
                return code
        if fmt <= 1:
            stream.length = get24(data + at + 3)
            stream.type = data[at + 6]
            if fmt == 0:
                stream.msid = get32_little(data + at + 7)
        at += fields + (4 if extended else 0)
        stream.extended = extended
        stream.field = field
        stream.timestamp = field if fmt == 0 else stream.timestamp + field
    else:
        if stream == NULL:
            return RTMP_E_ORDER
        if stream.extended:
            # Section 5.3.1.3: type 3 repeats the extended timestamp. Some peers omit it, and some repeat the absolute time even
            # of a delta, so compare first. What may still be a repetition is decided by the bytes that follow it.
            extended = may_repeat(data + at, size - at, stream.field) or may_repeat(data + at, size - at, stream.timestamp)
            if extended:
                if size < at + 4:
                    return 0
                at += 4
        if not stream.open:
            # Section 5.3.1.2.4: a new message as far from the last as that was from its predecessor (after type 0: from zero).
            stream.timestamp += stream.field
    if not stream.open:
        if stream.length > reader.limits.message:
            return RTMP_E_MESSAGE_SIZE
        stream.open = 1
        stream.got = 0
    reader.current = <uint16_t> (stream - reader.streams)
    reader.left = stream.length - stream.got
    if reader.left > reader.chunk_size:
        reader.left = reader.chunk_size
    used[0] = at
    return 1


cdef int hold(RtmpReader* reader, ChunkStream* stream, const uint8_t* data, uint32_t size) noexcept nogil:
    """Keep a piece of an unfinished message."""
    cdef uint32_t need = stream.got + size
    cdef uint32_t cap
    cdef uint8_t* grown
    if need > stream.cap:
        # A length is only a claim: large messages get memory as their bytes come.
        cap = stream.length
        if cap > WHOLE:
            cap = stream.cap * 2 if stream.cap * 2 > WHOLE else WHOLE
            if cap < need:
                cap = need
            if cap > stream.length:
                cap = stream.length
        if <uint64_t> reader.held + (cap - stream.cap) > reader.limits.held:
            return RTMP_E_MEMORY
        grown = <uint8_t*> realloc(stream.data, cap)
        if grown == NULL:
            return RTMP_E_NO_MEMORY
        reader.held += cap - stream.cap
        stream.data = grown
        stream.cap = cap
    memcpy(stream.data + stream.got, data, size)
    stream.got = need
    return 0


cdef int end_chunk(RtmpReader* reader, const uint8_t* whole, ByteVec* records, ByteVec* reply) noexcept nogil:
    """The current chunk is complete; so is its message when all bytes came (`whole`: the payload when it was never held)."""
    cdef ChunkStream* stream = &reader.streams[reader.current]
    cdef uint8_t* held
    cdef int code
    if stream.got < stream.length:
        return 0
    held = stream.data
    stream.open = 0
    code = on_message(reader, stream, whole if whole != NULL else held, records, reply)
    drop_message(reader, stream)
    return code


cdef int read_chunks(RtmpReader* reader, const uint8_t* data, size_t size, ByteVec* records, ByteVec* reply) noexcept nogil:
    cdef uint8_t[HEADER_MAX] joined
    cdef size_t at = 0
    cdef size_t used, have, room
    cdef uint32_t take
    cdef ChunkStream* stream
    cdef const uint8_t* whole
    cdef int code
    while at < size:
        if reader.left == 0:
            used = 0
            if reader.pending_len == 0:
                code = read_header(reader, data + at, size - at, &used)
                if code < 0:
                    return code
                if code == 0:
                    memcpy(reader.pending, data + at, size - at)
                    reader.pending_len = <uint8_t> (size - at)
                    return 0
                at += used
            else:
                have = reader.pending_len
                room = HEADER_MAX - have if HEADER_MAX - have < size - at else size - at
                memcpy(joined, reader.pending, have)
                memcpy(joined + have, data + at, room)
                code = read_header(reader, joined, have + room, &used)
                if code < 0:
                    return code
                if code == 0:
                    memcpy(reader.pending + have, data + at, room)
                    reader.pending_len = <uint8_t> (have + room)
                    return 0
                reader.pending_len = 0
                if used >= have:
                    at += used - have
                else:
                    # Bytes kept as a possible extended timestamp turned out to be payload, and perhaps more behind it.
                    if reader.left == 0:
                        code = end_chunk(reader, joined, records, reply)
                        if code:
                            return code
                    code = read_chunks(reader, joined + used, have - used, records, reply)
                    if code:
                        return code
                    continue
            if reader.left == 0:
                code = end_chunk(reader, data, records, reply)  # a message of length zero
                if code:
                    return code
            continue
        stream = &reader.streams[reader.current]
        take = reader.left if reader.left < size - at else <uint32_t> (size - at)
        whole = NULL
        if take == stream.length:
            whole = data + at
            stream.got = take
        else:
            code = hold(reader, stream, data + at, take)
            if code:
                return code
        at += take
        reader.left -= take
        if reader.left == 0:
            code = end_chunk(reader, whole, records, reply)
            if code:
                return code
    return 0


# -- handshake --------------------------------------------------------------------------------------------------------

cdef int gather(RtmpReader* reader, const uint8_t* data, size_t size, uint32_t wanted, size_t* used) noexcept nogil:
    """Collect handshake bytes. 1: `wanted` of them are at reader.handshake; 0: more are needed; else an error."""
    cdef size_t take = wanted - reader.handshake_len
    if take > size:
        take = size
    if reader.handshake == NULL:
        reader.handshake = <uint8_t*> malloc(2 * RTMP_C1 + 1)
        if reader.handshake == NULL:
            return RTMP_E_NO_MEMORY
    memcpy(reader.handshake + reader.handshake_len, data, take)
    reader.handshake_len += <uint32_t> take
    used[0] += take
    return 1 if reader.handshake_len == wanted else 0


cdef int shake_server(RtmpReader* reader, const uint8_t* data, size_t size, size_t* used, ByteVec* reply) noexcept nogil:
    cdef uint8_t* at
    cdef size_t take
    cdef int code
    if size == 0:
        return 0
    if reader.stage == STAGE_FIRST:
        if reader.handshake_len == 0 and data[0] != RTMP_VERSION:
            return RTMP_E_VERSION  # RTMPE (6), TLS or HTTP on the wrong port
        code = gather(reader, data, size, 1 + RTMP_C1, used)
        if code != 1:
            return code
        at = vec_reserve(reply, 1 + 2 * RTMP_C1)
        if at == NULL or handshake_answer(reader.handshake + 1, monotonic_ms(), at) != 0:
            return RTMP_E_NO_MEMORY
        reply.len += 1 + 2 * RTMP_C1
        free(reader.handshake)
        reader.handshake = NULL
        reader.handshake_len = 0
        reader.stage = STAGE_LAST
    # C2 is counted, not kept or checked: peers fill it in as they like.
    take = RTMP_C1 - reader.handshake_len
    if take > size - used[0]:
        take = size - used[0]
    reader.handshake_len += <uint32_t> take
    used[0] += take
    if reader.handshake_len == RTMP_C1:
        reader.stage = STAGE_CHUNKS
    return 0


cdef int shake_client(RtmpReader* reader, const uint8_t* data, size_t size, size_t* used, ByteVec* reply) noexcept nogil:
    cdef uint8_t* at
    cdef int code
    if reader.stage == STAGE_FIRST:
        at = vec_reserve(reply, 1 + RTMP_C1)
        if at == NULL or handshake_begin(monotonic_ms(), at) != 0:
            return RTMP_E_NO_MEMORY
        reply.len += 1 + RTMP_C1
        reader.stage = STAGE_LAST
    if size == 0:
        return 0
    if reader.handshake_len == 0 and data[0] != RTMP_VERSION:
        return RTMP_E_VERSION
    code = gather(reader, data, size, 1 + 2 * RTMP_C1, used)
    if code != 1:
        return code
    at = vec_reserve(reply, RTMP_C1)
    if at == NULL or handshake_finish(reader.handshake + 1, monotonic_ms(), at) != 0:
        return RTMP_E_NO_MEMORY
    reply.len += RTMP_C1
    free(reader.handshake)
    reader.handshake = NULL
    reader.stage = STAGE_CHUNKS
    return 0


cdef int rtmp_reader_feed(RtmpReader* reader, const uint8_t* data, size_t size, ByteVec* records, ByteVec* reply) noexcept nogil:
    cdef size_t used = 0
    cdef uint8_t[4] sequence
    cdef int code
    reader.answers = 0
    if reader.stage != STAGE_CHUNKS:
        if reader.limits.role == RTMP_CLIENT:
            code = shake_client(reader, data, size, &used, reply)
        else:
            code = shake_server(reader, data, size, &used, reply)
        if code < 0 or reader.stage != STAGE_CHUNKS:
            return code
    code = read_chunks(reader, data + used, size - used, records, reply)
    if code:
        return code
    reader.received += size - used
    if reader.window and reader.received - reader.acknowledged >= reader.window:
        reader.acknowledged = reader.received
        put32(sequence, <uint32_t> reader.received)
        return put_control(reply, RTMP_ACKNOWLEDGEMENT, sequence, 4)
    return 0


# -- messages to chunks -----------------------------------------------------------------------------------------------

cdef int rtmp_encode(
    ByteVec* out, uint32_t csid, uint8_t type, uint32_t timestamp, uint32_t msid, const uint8_t* payload, uint32_t size, uint32_t chunk_size
) noexcept nogil:
    """A type 0 chunk and, for the rest, type 3 chunks that repeat the extended timestamp as the specification asks."""
    cdef uint32_t basic = 1 if csid < 64 else 2 if csid < 320 else 3
    cdef uint32_t extended = 4 if timestamp >= EXTENDED else 0
    cdef size_t chunks = 1 if size == 0 else (size + <size_t> chunk_size - 1) // chunk_size
    cdef uint8_t* at = vec_reserve(out, size + chunks * (basic + extended) + 11)
    cdef uint8_t* begin = at
    cdef uint32_t done = 0
    cdef uint32_t take
    cdef uint8_t fmt = 0
    if at == NULL:
        return -1
    while True:
        if basic == 1:
            at[0] = <uint8_t> (fmt | csid)
        elif basic == 2:
            at[0] = fmt
            at[1] = <uint8_t> (csid - 64)
        else:
            at[0] = fmt | 1
            at[1] = <uint8_t> (csid - 64)
            at[2] = <uint8_t> ((csid - 64) >> 8)
        at += basic
        if fmt == 0:
            put24(at, EXTENDED if extended else timestamp)
            put24(at + 3, size)
            at[6] = type
            at[7] = <uint8_t> msid
            at[8] = <uint8_t> (msid >> 8)
            at[9] = <uint8_t> (msid >> 16)
            at[10] = <uint8_t> (msid >> 24)
            at += 11
            fmt = 0xC0
        if extended:
            put32(at, timestamp)
            at += 4
        take = size - done if size - done < chunk_size else chunk_size
        if take:
            memcpy(at, payload + done, take)
        at += take
        done += take
        if done == size:
            break
    out.len += at - begin
    return 0


# -- Python -----------------------------------------------------------------------------------------------------------

class ChunkError(ValueError):
    """The peer broke the chunk stream's rules, or a limit. `code` is one of the names that `rtmp_error` gives."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


cdef class ChunkReader:
    """The kernel for one connection, for clients and for tests; a server's connections have theirs in the reactor.

    client: read the server's side; the first feed, which may be empty, then returns C0 and C1.
    message, streams, held, window: limits in bytes (streams: a count), see RtmpLimits.
    """
    cdef RtmpReader* reader
    cdef ByteVec records
    cdef ByteVec reply

    def __cinit__(self, *, bint client=False, uint32_t message=MESSAGE_MAX, uint32_t streams=64,
                  uint32_t held=32 * 1024 * 1024, uint32_t window=2500000):
        cdef RtmpLimits limits
        limits.message = message
        limits.streams = streams
        limits.held = held
        limits.window = window
        limits.role = RTMP_CLIENT if client else RTMP_SERVER
        self.reader = rtmp_reader_new(&limits)
        if self.reader == NULL:
            raise MemoryError

    def __dealloc__(self):
        rtmp_reader_free(self.reader)
        vec_free(&self.records)
        vec_free(&self.reply)

    def feed(self, data) -> tuple[bytes, bytes]:
        """Consume `data` (bytes-like, any length, not retained); return the completed records and the bytes for the peer.

        Raises ChunkError; after that the reader is of no more use.
        """
        cdef const uint8_t[::1] view = data
        cdef size_t size = len(view)
        cdef const uint8_t* at = &view[0] if size else NULL
        cdef int code
        self.records.len = 0
        self.reply.len = 0
        with nogil:
            code = rtmp_reader_feed(self.reader, at, size, &self.records, &self.reply)
        if code == RTMP_E_NO_MEMORY:
            raise MemoryError
        if code:
            raise ChunkError(rtmp_error(code).decode())
        result = (
            (<char*> self.records.data)[: self.records.len] if self.records.len else b"",
            (<char*> self.reply.data)[: self.reply.len] if self.reply.len else b"",
        )
        if self.records.cap > 1024 * 1024:
            vec_free(&self.records)
        return result

    @property
    def handshaken(self) -> bool:
        return rtmp_handshaken(self.reader)

    @property
    def memory_bytes(self) -> int:
        """Heap that the reader takes now."""
        return rtmp_reader_memory(self.reader)


def encode(int type, timestamp, uint32_t msid, payload, *, uint32_t csid, uint32_t chunk_size=DEFAULT_CHUNK) -> bytes:
    """One message as chunks. timestamp: milliseconds, taken modulo 2^32; payload: bytes-like, below 16 MiB; csid: 2 to 65599."""
    cdef const uint8_t[::1] view = payload
    cdef size_t size = len(view)
    cdef ByteVec out
    if size > MESSAGE_MAX or not 2 <= csid <= 65599 or chunk_size < 1:
        raise ValueError("payload, csid or chunk_size out of range")
    memset(&out, 0, sizeof(out))
    if rtmp_encode(&out, csid, <uint8_t> type, timestamp & 0xFFFFFFFF, msid, &view[0] if size else NULL, <uint32_t> size, chunk_size):
        raise MemoryError
    try:
        return (<char*> out.data)[: out.len]
    finally:
        vec_free(&out)


def flags(int type, payload) -> int:
    """KEY, SEQUENCE_HEADER and MEDIA bits of a message."""
    cdef const uint8_t[::1] view = payload
    return rtmp_flags(<uint8_t> type, &view[0] if len(view) else NULL, len(view))
