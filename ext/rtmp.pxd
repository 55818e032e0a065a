"""RTMP chunk stream kernel: handshake, chunks to records, messages to chunks. Pure, nogil; one thread at a time per reader.

A record is a `RtmpRecord` header, little endian, and the payload behind it.
"""
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t

from nova.ext.bytevec cimport ByteVec

cdef enum:
    RTMP_SERVER = 0
    RTMP_CLIENT = 1

cdef enum:                          # message types (RTMP 1.0, sections 5.4, 6 and 7.1)
    RTMP_SET_CHUNK_SIZE = 1
    RTMP_ABORT = 2
    RTMP_ACKNOWLEDGEMENT = 3
    RTMP_USER_CONTROL = 4
    RTMP_WINDOW_ACK_SIZE = 5
    RTMP_SET_PEER_BANDWIDTH = 6
    RTMP_AUDIO = 8
    RTMP_VIDEO = 9
    RTMP_DATA_AMF3 = 15
    RTMP_COMMAND_AMF3 = 17
    RTMP_DATA_AMF0 = 18
    RTMP_COMMAND_AMF0 = 20
    RTMP_AGGREGATE = 22

cdef enum:                          # RtmpRecord.flags
    RTMP_KEY = 1                    # a video key picture (never set on a sequence header)
    RTMP_SEQUENCE_HEADER = 2        # decoder configuration of audio or video
    RTMP_MEDIA = 4                  # type 8 or 9

cdef enum:                          # what rtmp_reader_feed answers; rtmp_error names them
    RTMP_E_VERSION = -1             # C0 or S0 does not say 3
    RTMP_E_ORDER = -2               # type 2 or 3 on a chunk stream without an earlier header
    RTMP_E_INTERRUPTED = -3         # type 0, 1 or 2 inside an unfinished message
    RTMP_E_CHUNK_SIZE = -4          # set chunk size to 0 or above 2^31 - 1
    RTMP_E_MESSAGE_SIZE = -5        # message above limits.message
    RTMP_E_STREAMS = -6             # more chunk streams than limits.streams
    RTMP_E_MEMORY = -7              # unfinished messages hold more than limits.held
    RTMP_E_CONTROL = -8             # a protocol control message is too short
    RTMP_E_AGGREGATE = -9           # an aggregate message is cut short
    RTMP_E_NO_MEMORY = -10          # the machine has none left

ctypedef struct RtmpLimits:
    uint32_t message                # bytes of one message
    uint32_t streams                # chunk stream ids, at most RTMP_STREAMS
    uint32_t held                   # bytes held for unfinished messages
    uint32_t window                 # acknowledge after so many bytes until the peer names its own window; 0: never
    uint32_t role                   # RTMP_SERVER or RTMP_CLIENT

cdef enum:
    RTMP_STREAMS = 1024             # the most that limits.streams may say

ctypedef struct RtmpRecord:
    uint32_t size                   # payload bytes that follow this header
    uint32_t timestamp              # milliseconds, absolute, wraps at 2^32
    uint32_t msid                   # message stream id
    uint8_t type
    uint8_t flags
    uint16_t zero

ctypedef struct ChunkStream:
    uint32_t csid
    uint32_t timestamp              # absolute, of the message begun last
    uint32_t field                  # timestamp or delta of the last header, as it was sent
    uint32_t msid
    uint32_t length                 # bytes of the message begun last
    uint32_t got                    # bytes of it that came
    uint32_t cap                    # bytes allocated at data
    uint8_t type
    uint8_t extended                # the last header of type 0 to 2 had an extended timestamp
    uint8_t open                    # a message has begun and is not complete
    uint8_t* data

ctypedef struct RtmpReader:
    RtmpLimits limits
    uint8_t stage                   # handshake progress
    uint8_t pending_len
    uint8_t answers                 # replies of this feed to pings and bandwidth messages
    uint8_t[18] pending             # an incomplete chunk header
    uint16_t count                  # chunk streams in use
    uint16_t room                   # chunk streams allocated
    uint16_t current                # place of the chunk stream whose payload is being read
    uint16_t[64] index              # csid below 64 to 1 + its place in streams; 0: none yet
    uint32_t left                   # payload bytes until the next chunk header
    uint32_t chunk_size             # of the peer
    uint32_t window                 # bytes between our acknowledgements, 0: none
    uint32_t announced              # the window acknowledgement size that we told the peer, 0: none
    uint32_t held
    uint64_t received               # bytes after the handshake
    uint64_t acknowledged
    ChunkStream* streams
    uint8_t* handshake              # bytes of the handshake so far; freed when it is complete
    uint32_t handshake_len

cdef void rtmp_limits_default(RtmpLimits* limits) noexcept nogil
cdef RtmpReader* rtmp_reader_new(const RtmpLimits* limits) noexcept nogil
cdef void rtmp_reader_free(RtmpReader* reader) noexcept nogil
# 0, or a negative RTMP_E_* code, after which the reader is only to be freed. records: completed messages appended (audio, video,
# data and commands; aggregates unpacked; empty ones and other types dropped). reply: bytes for the peer. Not retained: data.
cdef int rtmp_reader_feed(RtmpReader* reader, const uint8_t* data, size_t size, ByteVec* records, ByteVec* reply) noexcept nogil
cdef bint rtmp_handshaken(RtmpReader* reader) noexcept nogil
cdef size_t rtmp_reader_memory(RtmpReader* reader) noexcept nogil
cdef const char* rtmp_error(int code) noexcept nogil
# Appends one message as chunks; 0, or -1 when memory is out. chunk_size: at least 1; csid: 2 to 65599.
cdef int rtmp_encode(
    ByteVec* out, uint32_t csid, uint8_t type, uint32_t timestamp, uint32_t msid, const uint8_t* payload, uint32_t size, uint32_t chunk_size
) noexcept nogil
# RTMP_KEY, RTMP_SEQUENCE_HEADER and RTMP_MEDIA of a message, for FLV tags and Enhanced RTMP alike.
cdef uint8_t rtmp_flags(uint8_t type, const uint8_t* payload, size_t size) noexcept nogil
