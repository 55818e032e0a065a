"""Fragmented MP4 by hand: an initialization segment from a period's tracks, a movie fragment from a part.

ISO/IEC 14496-12 (boxes), 14496-15 (avc1, avcC), 14496-14 (mp4a, esds), 23000-19 (CMAF: one fragment is a chunk). A part is
written once, into the arena of its segment, where it stays until the last reader has it. Video is track 1; audio is 2, or 1 when
it is alone.
"""
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from nova.ext.aac cimport Audio
from nova.ext.buffer cimport Arena, Buffer
from nova.ext.h264 cimport Video
from nova.ext.timeline cimport Part, Sample, Tracks

cdef extern from "sys/uio.h" nogil:
    struct iovec:
        void* iov_base
        size_t iov_len
    ssize_t pwritev(int fd, const iovec* pieces, int count, int64_t offset)

cdef enum:
    TICKS = 90000
    MOST_PIECES = 1024          # of one pwritev: IOV_MAX
    # flags of tfhd (8.8.7)
    DEFAULT_DURATION = 0x8
    DEFAULT_FLAGS = 0x20
    BASE_IS_MOOF = 0x20000
    # flags of trun (8.8.8)
    DATA_OFFSET = 0x1
    FIRST_FLAGS = 0x4
    DURATIONS = 0x100
    SIZES = 0x200
    FLAGS = 0x400
    OFFSETS = 0x800
    # sample flags (8.8.3.1)
    SYNC = 0x2000000            # depends on no other
    NO_SYNC = 0x1010000         # depends on others, and is no sync sample
    MOST_PART = 1 << 30         # bytes; the lengths of boxes have 32 bits


class PartTooLarge(ValueError):
    """The part does not fit into what is left of the segment's arena."""


# Fragments: plain writes at a known address

cdef inline uint8_t* put32(uint8_t* at, uint32_t value) noexcept nogil:
    at[0] = <uint8_t> (value >> 24)
    at[1] = <uint8_t> (value >> 16)
    at[2] = <uint8_t> (value >> 8)
    at[3] = <uint8_t> value
    return at + 4


cdef inline uint8_t* put64(uint8_t* at, uint64_t value) noexcept nogil:
    return put32(put32(at, <uint32_t> (value >> 32)), <uint32_t> value)


cdef inline uint8_t* put_box(uint8_t* at, uint32_t size, const char* name) noexcept nogil:
    memcpy(put32(at, size), name, 4)
    return at + 8


ctypedef struct Run:            # how the samples of a track in a part are written
    const Sample* samples
    size_t count
    uint32_t track
    uint32_t tfhd
    uint32_t trun
    uint32_t traf_size
    uint32_t trun_size
    size_t bytes


cdef void plan(Run* run) noexcept nogil:
    """Leave out what all samples share: it is said once, in tfhd."""
    cdef size_t i, fields = 1
    cdef const Sample* s = run.samples
    run.tfhd = BASE_IS_MOOF | DEFAULT_FLAGS | DEFAULT_DURATION
    run.trun = DATA_OFFSET | SIZES
    run.bytes = 0
    for i in range(run.count):
        run.bytes += s[i].size
        if s[i].duration != s[0].duration:
            run.trun |= DURATIONS
        if s[i].offset != 0:
            run.trun |= OFFSETS
        if i > 0 and s[i].key != s[run.count - 1].key:
            run.trun |= FLAGS
    if s[0].key != s[run.count - 1].key and not run.trun & FLAGS:
        run.trun |= FIRST_FLAGS
    if run.trun & DURATIONS:
        run.tfhd &= ~(<uint32_t> DEFAULT_DURATION)
        fields += 1
    if run.trun & FLAGS:
        run.tfhd &= ~(<uint32_t> DEFAULT_FLAGS)
        fields += 1
    if run.trun & OFFSETS:
        fields += 1
    run.trun_size = <uint32_t> (20 + (4 if run.trun & FIRST_FLAGS else 0) + 4 * fields * run.count)
    run.traf_size = 8 + 16 + (4 if run.tfhd & DEFAULT_DURATION else 0) + (4 if run.tfhd & DEFAULT_FLAGS else 0) + 20 + run.trun_size


cdef uint8_t* put_traf(uint8_t* at, const Run* run, uint32_t data_offset) noexcept nogil:
    cdef const Sample* s = run.samples
    cdef size_t i
    at = put_box(at, run.traf_size, b"traf")
    at = put_box(at, run.traf_size - 8 - 20 - run.trun_size, b"tfhd")
    at = put32(at, run.tfhd)
    at = put32(at, run.track)
    if run.tfhd & DEFAULT_DURATION:
        at = put32(at, s[0].duration)
    if run.tfhd & DEFAULT_FLAGS:
        at = put32(at, SYNC if s[run.count - 1].key else NO_SYNC)
    at = put_box(at, 20, b"tfdt")
    at = put32(at, <uint32_t> 1 << 24)
    at = put64(at, <uint64_t> s[0].dts)
    at = put_box(at, run.trun_size, b"trun")
    at = put32(at, (<uint32_t> 1 << 24) | run.trun)     # version 1: composition offsets are signed
    at = put32(at, <uint32_t> run.count)
    at = put32(at, data_offset)
    if run.trun & FIRST_FLAGS:
        at = put32(at, SYNC if s[0].key else NO_SYNC)
    for i in range(run.count):
        if run.trun & DURATIONS:
            at = put32(at, s[i].duration)
        at = put32(at, s[i].size)
        if run.trun & FLAGS:
            at = put32(at, SYNC if s[i].key else NO_SYNC)
        if run.trun & OFFSETS:
            at = put32(at, <uint32_t> s[i].offset)
    return at


cdef size_t fragment_size(Run* runs, int count) noexcept nogil:
    """Bytes of moof and mdat; 0: more than a box can hold."""
    cdef size_t size = 8 + 16 + 8, i
    for i in range(<size_t> count):
        plan(&runs[i])
        if runs[i].count > MOST_PART / 64 or runs[i].bytes > MOST_PART:
            return 0
        size += runs[i].traf_size + runs[i].bytes
    return size if size <= MOST_PART else 0


cdef uint32_t head_size(const Run* runs, int count) noexcept nogil:
    """Bytes of moof, and of mdat's header."""
    cdef uint32_t size = 8 + 16 + 8
    cdef int i
    for i in range(count):
        size += runs[i].traf_size
    return size


cdef void put_head(uint8_t* at, const Run* runs, int count, uint32_t sequence) noexcept nogil:
    cdef uint32_t moof = head_size(runs, count) - 8, media = 8, offset = moof + 8
    cdef int i
    at = put_box(at, moof, b"moof")
    at = put_box(at, 16, b"mfhd")
    at = put32(at, 0)
    at = put32(at, sequence)
    for i in range(count):
        at = put_traf(at, &runs[i], offset)
        offset += <uint32_t> runs[i].bytes
        media += <uint32_t> runs[i].bytes
    put_box(at, media, b"mdat")


cdef bint write_out(int fd, int64_t offset, iovec* pieces, size_t count) noexcept nogil:
    cdef ssize_t done
    while count:
        done = pwritev(fd, pieces, <int> min(count, <size_t> MOST_PIECES), offset)
        if done <= 0:
            return False
        offset += done
        while count and <size_t> done >= pieces.iov_len:
            done -= <ssize_t> pieces.iov_len
            pieces += 1
            count -= 1
        if done:
            pieces.iov_base = <uint8_t*> pieces.iov_base + done
            pieces.iov_len -= <size_t> done
    return True


cdef bint write_fragment(Arena arena, const Run* runs, int count, uint32_t sequence) noexcept nogil:
    """Into the arena's file, from where the frames are: a page of it that is touched first through its mapping costs twice that."""
    cdef uint32_t head = head_size(runs, count)
    cdef size_t frames = 0, n = 1, k
    cdef uint8_t* block
    cdef iovec* pieces
    cdef bint written
    cdef int i
    for i in range(count):
        frames += runs[i].count
    block = <uint8_t*> malloc((frames + 1) * sizeof(iovec) + head)
    if block == NULL:
        return False
    pieces = <iovec*> block
    pieces[0].iov_base = block + (frames + 1) * sizeof(iovec)
    pieces[0].iov_len = head
    put_head(<uint8_t*> pieces[0].iov_base, runs, count, sequence)
    for i in range(count):
        for k in range(runs[i].count):
            pieces[n].iov_base = <void*> runs[i].samples[k].data
            pieces[n].iov_len = runs[i].samples[k].size
            n += 1
    written = write_out(arena.buf.fd, <int64_t> arena.buf.size, pieces, n)
    free(block)
    return written


cdef class Fmp4Writer:
    """Writes the parts of one stream; fragments are numbered through its periods (mfhd, 8.8.5)."""
    cdef uint32_t sequence

    def init(self, Tracks tracks) -> bytes:
        """The initialization segment of a period."""
        return init_segment(tracks)

    def part(self, Part part, Arena arena) -> Buffer:
        """Append `part` to the arena of its segment. Raises PartTooLarge, MemoryError."""
        cdef Run runs[2]
        cdef int count = 0
        cdef size_t size, offset = arena.buf.size
        cdef bint room = False, written = False
        if part.video_count:
            runs[count].samples = part.samples
            runs[count].count = <size_t> part.video_count
            runs[count].track = 1
            count += 1
        if part.audio_count:
            runs[count].samples = part.samples + part.video_count
            runs[count].count = <size_t> part.audio_count
            runs[count].track = 2 if part.tracks.video is not None else 1
            count += 1
        with nogil:
            size = fragment_size(runs, count)
            room = size != 0 and arena.reserve(size) != NULL
            if room:
                self.sequence += 1
                written = write_fragment(arena, runs, count, self.sequence)
                if written:
                    arena.commit(size)
        if not room:
            raise PartTooLarge(f"a part of {part.size_bytes} bytes in an arena with {arena.capacity - offset} left")
        if not written:
            raise MemoryError("no memory for a part")
        return arena.view(offset, size)


# The initialization segment: once per period, so it may cost objects

def _box(bytes name, *parts):
    cdef bytes body = b"".join(parts)
    return (len(body) + 8).to_bytes(4, "big") + name + body


def _full(bytes name, int version, int flags, *parts):
    return _box(name, (version << 24 | flags).to_bytes(4, "big"), *parts)


cdef bytes u16(value):
    return int(value).to_bytes(2, "big")


cdef bytes u32(value):
    return int(value).to_bytes(4, "big")


_MATRIX = b"".join(u32(v) for v in (0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000))


cdef bytes descriptor(int tag, bytes body):
    """An MPEG-4 descriptor (14496-1, 8.3.3), its length in the four bytes that every reader takes."""
    cdef Py_ssize_t size = len(body)
    return bytes((tag, 0x80 | size >> 21 & 127, 0x80 | size >> 14 & 127, 0x80 | size >> 7 & 127, size & 127)) + body


cdef bytes video_entry(Video video):
    cdef list extra = []
    if video.c.coloured:        # 14496-12, 12.1.5
        extra.append(_box(b"colr", b"nclx", u16(video.c.primaries), u16(video.c.transfer), u16(video.c.matrix),
                         bytes((128 if video.c.full_range else 0,))))
    if video.c.sar_width != video.c.sar_height:
        extra.append(_box(b"pasp", u32(video.c.sar_width), u32(video.c.sar_height)))
    return _box(
        b"avc1", bytes(6), u16(1), bytes(16), u16(video.c.width), u16(video.c.height), u32(0x480000), u32(0x480000), u32(0), u16(1),
        bytes(32), u16(24), b"\xff\xff", _box(b"avcC", video.config), *extra,
    )


cdef bytes audio_entry(Audio audio):
    # 14496-1, 7.2.6.5 and 7.2.6.6: MPEG-4 audio (0x40) in an audio stream (5), bit rates not said.
    cdef bytes decoder = descriptor(4, b"\x40\x15" + bytes(11) + descriptor(5, audio.config))
    cdef bytes esds = _full(b"esds", 0, 0, descriptor(3, b"\x00\x00\x00" + decoder + descriptor(6, b"\x02")))
    # samplerate is 16.16: a rate above 65535 Hz cannot be said here, and readers take that of the configuration.
    return _box(
        b"mp4a", bytes(6), u16(1), bytes(8), u16(audio.c.channels), u16(16), bytes(4),
        u32(audio.c.rate << 16 if audio.c.rate < 1 << 16 else 0), esds,
    )


cdef bytes track(int number, bytes kind, int scale, bytes header, bytes name, bytes entry, int64_t width, int64_t height):
    """A track without samples: they come in fragments. width, height: 16.16."""
    cdef bytes volume = u16(0x100 if kind == b"soun" else 0)
    return _box(
        b"trak",
        _full(b"tkhd", 0, 3, bytes(8), u32(number), bytes(8), bytes(8), u16(0), u16(1 if kind == b"soun" else 0), volume, bytes(2),
             _MATRIX, u32(width), u32(height)),
        _box(
            b"mdia",
            _full(b"mdhd", 0, 0, bytes(8), u32(scale), u32(0), u16(0x55c4), bytes(2)),     # language: und
            _full(b"hdlr", 0, 0, u32(0), kind, bytes(12), name),
            _box(
                b"minf", header,
                _box(b"dinf", _full(b"dref", 0, 0, u32(1), _full(b"url ", 0, 1))),
                _box(b"stbl", _full(b"stsd", 0, 0, u32(1), entry), _full(b"stts", 0, 0, u32(0)), _full(b"stsc", 0, 0, u32(0)),
                    _full(b"stsz", 0, 0, u32(0), u32(0)), _full(b"stco", 0, 0, u32(0))),
            ),
        ),
    )


def init_segment(Tracks tracks) -> bytes:
    """ftyp and moov of a period (CMAF header, 23000-19, 7.3.1): no samples, no edit lists."""
    cdef list traks = [], extends = []
    cdef Video video = tracks.video
    cdef Audio audio = tracks.audio
    cdef int number = 1
    cdef int64_t wide
    if video is not None:
        wide = video.c.width
        if video.c.sar_height:
            wide = min(wide * video.c.sar_width // video.c.sar_height, 65535)
        traks.append(track(number, b"vide", TICKS, _full(b"vmhd", 0, 1, bytes(8)), b"video\0", video_entry(video),
                           wide << 16, <int64_t> video.c.height << 16))
        number += 1
    if audio is not None:
        traks.append(track(number, b"soun", audio.c.rate, _full(b"smhd", 0, 0, bytes(4)), b"audio\0", audio_entry(audio), 0, 0))
        number += 1
    extends = [_full(b"trex", 0, 0, u32(n), u32(1), u32(0), u32(0), u32(0)) for n in range(1, number)]
    return _box(b"ftyp", b"iso6", u32(0), b"iso6", b"cmfc", b"mp41") + _box(
        b"moov",
        _full(b"mvhd", 0, 0, bytes(8), u32(1000), u32(0), u32(0x10000), u16(0x100), bytes(10), _MATRIX, bytes(24), u32(number)),
        *traks,
        _box(b"mvex", *extends),
    )
