"""A publisher's records on their way on: split by kind, and encoded once for every RTMP player of a stream."""
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer, Py_buffer
from libc.stdint cimport int32_t, uint8_t, uint32_t
from libc.string cimport memset

from nova.ext.bytevec cimport ByteVec, vec_free
from nova.ext.rtmp cimport RTMP_AUDIO, RTMP_KEY, RTMP_MEDIA, RTMP_SEQUENCE_HEADER, RTMP_VIDEO, rtmp_encode

cdef enum:
    RECORD = 16          # bytes of RtmpRecord
    AUDIO_CSID = 4
    VIDEO_CSID = 6
    PLAY_STREAM = 1      # message stream id of every player: its first createStream


cdef inline uint32_t get32_little(const uint8_t* at) noexcept nogil:
    return (<uint32_t> at[3] << 24) | (<uint32_t> at[2] << 16) | (<uint32_t> at[1] << 8) | at[0]


cdef inline Py_ssize_t record_end(const uint8_t* data, Py_ssize_t at, Py_ssize_t size) except -1:
    """Where the record at `at` ends. The kernel wrote these bytes, so anything else is a bug of ours: ValueError."""
    if size - at < RECORD or get32_little(data + at) > size - at - RECORD:
        raise ValueError("records are cut short")
    return at + RECORD + get32_little(data + at)


def split(records) -> list:
    """Records in order: each run of audio and video as one slice of `records` (bytes or Buffer, the whole of it when there is nothing
    else), each other message as (type, timestamp, message stream id, payload)."""
    cdef Py_buffer view
    cdef const uint8_t* data
    cdef Py_ssize_t at = 0
    cdef Py_ssize_t run = 0
    cdef Py_ssize_t end
    cdef list out = []
    PyObject_GetBuffer(records, &view, PyBUF_SIMPLE)
    try:
        data = <const uint8_t*> view.buf
        while at < view.len:
            end = record_end(data, at, view.len)
            if not data[at + 13] & RTMP_MEDIA:
                if run < at:
                    out.append(records[run:at])
                out.append((data[at + 12], get32_little(data + at + 4), get32_little(data + at + 8), <bytes> data[at + RECORD : end]))
                run = end
            at = end
        if run < at:
            out.append(records if run == 0 else records[run:])
        return out
    finally:
        PyBuffer_Release(&view)


cdef class PlayEncoder:
    """Records in, items for a sequence out: each a run of whole chunked messages that starts with a key picture or follows one.

    Without any player only the sequence headers are looked at. Time stamps go up over a publisher's reconnect.
    """
    cdef uint32_t chunk_size
    cdef uint32_t shift          # added to the publisher's time stamps
    cdef uint32_t last           # the latest time stamp that was sent, when `timed`
    cdef bint timed
    cdef bint rebase             # the next record begins a new clock
    cdef bint changed            # a sequence header changed since the start: key items carry them from now on
    cdef bint started            # a key item was made: what comes now can be decoded
    cdef bint video              # there is, or was, a video track
    cdef bytes video_header
    cdef bytes audio_header

    def __init__(self, uint32_t chunk_size):
        """chunk_size: bytes, the one that the players were told."""
        if chunk_size < 1:
            raise ValueError("chunk_size")
        self.chunk_size = chunk_size

    @property
    def last_timestamp(self) -> int:
        """Milliseconds, 32 bits, of the latest record."""
        return self.last

    def headers(self, timestamp: int) -> bytes:
        """The sequence headers as chunks: what a player needs before its first key item."""
        cdef ByteVec out
        memset(&out, 0, sizeof(out))
        try:
            self.put_headers(&out, timestamp & 0xFFFFFFFF)
            return (<char*> out.data)[: out.len] if out.len else b""
        finally:
            vec_free(&out)

    def restart(self) -> None:
        """Another publisher goes on with the stream: its clock and its tracks are its own."""
        self.rebase = True
        self.started = False
        self.video = False

    def rest(self) -> None:
        """Nobody plays any more: the next player's first item must be a key item again."""
        self.started = False

    def media(self, records, bint wanted) -> list:
        """Take a batch (bytes or Buffer). wanted: whether anybody plays; if so, the items [(chunks, key)] to append, else none."""
        cdef Py_buffer view
        cdef const uint8_t* data
        cdef Py_ssize_t at = 0
        cdef Py_ssize_t end
        cdef uint32_t stamp
        cdef uint8_t kind, flags
        cdef bint key = False
        cdef bint starts
        cdef ByteVec out
        cdef list items = []
        memset(&out, 0, sizeof(out))
        PyObject_GetBuffer(records, &view, PyBUF_SIMPLE)
        try:
            data = <const uint8_t*> view.buf
            while at < view.len:
                end = record_end(data, at, view.len)
                kind = data[at + 12]
                flags = data[at + 13]
                stamp = get32_little(data + at + 4)
                if self.rebase:
                    self.shift = self.last + 1 - stamp
                    self.rebase = False
                stamp += self.shift
                if not self.timed or <int32_t> (stamp - self.last) > 0:
                    self.last = stamp
                    self.timed = True
                if kind == RTMP_VIDEO:
                    self.video = True
                if flags & RTMP_SEQUENCE_HEADER:
                    self.keep_header(kind, data + at + RECORD, end - at - RECORD)
                if wanted:
                    starts = flags & RTMP_KEY or (not self.video and not flags & RTMP_SEQUENCE_HEADER)
                    if starts:
                        # A stream of sound alone can start anywhere, so its batches are one item each.
                        if flags & RTMP_KEY or not self.started:
                            if out.len:
                                items.append(((<char*> out.data)[: out.len], key))
                                out.len = 0
                            if self.changed or not self.started:
                                self.put_headers(&out, stamp)
                        if out.len == 0 or flags & RTMP_KEY or not self.started:
                            key = True
                        self.started = True
                    if self.started:
                        if rtmp_encode(
                            &out, VIDEO_CSID if kind == RTMP_VIDEO else AUDIO_CSID, kind, stamp, PLAY_STREAM,
                            data + at + RECORD, <uint32_t> (end - at - RECORD), self.chunk_size,
                        ):
                            raise MemoryError
                at = end
            if out.len:
                items.append(((<char*> out.data)[: out.len], key))
            return items
        finally:
            PyBuffer_Release(&view)
            vec_free(&out)

    cdef int keep_header(self, uint8_t kind, const uint8_t* payload, Py_ssize_t size) except -1:
        cdef bytes header = payload[:size]
        if kind == RTMP_VIDEO:
            if self.video_header is not None and self.video_header != header:
                self.changed = True
            self.video_header = header
        elif kind == RTMP_AUDIO:
            if self.audio_header is not None and self.audio_header != header:
                self.changed = True
            self.audio_header = header
        return 0

    cdef int put_headers(self, ByteVec* out, uint32_t stamp) except -1:
        if self.video_header is not None:
            if rtmp_encode(out, VIDEO_CSID, RTMP_VIDEO, stamp, PLAY_STREAM, self.video_header, <uint32_t> len(self.video_header), self.chunk_size):
                raise MemoryError
        if self.audio_header is not None:
            if rtmp_encode(out, AUDIO_CSID, RTMP_AUDIO, stamp, PLAY_STREAM, self.audio_header, <uint32_t> len(self.audio_header), self.chunk_size):
                raise MemoryError
        return 0
