"""The live timeline's C side: samples and the parts that they are cut into; the muxers read them."""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

from nova.ext.aac cimport Audio
from nova.ext.h264 cimport Video

ctypedef struct Sample:
    const uint8_t* data
    uint32_t size
    uint32_t duration       # ticks of the track; 0 while the next frame has not said it
    int64_t dts             # ticks of the track, on the stream's timeline
    int32_t offset          # of composition, ticks of the track
    uint32_t batch          # number of the batch whose bytes these are
    bint key

ctypedef struct Samples:
    Sample* at
    size_t len
    size_t cap

ctypedef struct Held:       # a frame that waits until it is known which tracks there are
    Sample sample
    bint video

ctypedef struct Clock:      # of one track
    int64_t ms              # of the last frame, without wraps
    int64_t shift           # added to `ms`: a track that disagrees with the other one is laid beside it
    int64_t last            # ms + shift of the last frame of this period
    uint32_t raw            # the last timestamp as it was sent
    bint ever               # `ms` and `raw` are set
    bint live               # had a frame in this period

cdef enum Stage:
    EMPTY                   # nothing that could open a period came yet
    HOLDING                 # frames come, and the other track may
    RUNNING

cdef enum:                      # things that a streamer should know of
    T_CODEC                 # the order of the names in timeline.pyx
    T_CONFIG
    T_DAMAGED
    T_WAITING
    T_BACKWARD
    T_JUMP
    T_AUDIO_STEP
    T_CHANGED
    T_VIDEO_LOST
    T_AUDIO_LOST
    T_KEY_DISTANCE
    T_FRAME_INTERVAL
    T_OVERSIZE
    TROUBLES

cdef class Tracks:
    cdef readonly Video video
    cdef readonly Audio audio

cdef class Part:
    cdef Sample* samples    # of the video track, then of the audio track
    cdef readonly Py_ssize_t video_count
    cdef readonly Py_ssize_t audio_count
    cdef list held          # the batches that `samples` point into
    cdef readonly int64_t start
    cdef readonly int64_t end
    cdef readonly size_t size_bytes
    cdef readonly bint independent
    cdef readonly bint opens
    cdef readonly bint closes
    cdef readonly Tracks tracks
    cdef readonly bint new_period

    cdef list rows(self, Py_ssize_t first, Py_ssize_t count)

cdef class Timeline:
    # settings, ticks of 90 kHz or ms
    cdef int64_t target, segment_target, limit
    cdef int64_t gap_ms, wait_ms, timeout_ms
    cdef size_t max_part, max_segment
    # what the sender said
    cdef Video video, video_next
    cdef Audio audio, audio_next
    cdef int expect_video, expect_audio
    cdef int64_t declared
    # clocks
    cdef Clock vclock, aclock
    cdef Stage stage
    cdef int64_t base_ms, base_out, latest
    cdef readonly int64_t position
    cdef int64_t video_dts, audio_due
    cdef bint video_any, audio_any, video_tried
    # the period and the part under way
    cdef Tracks tracks
    cdef bint fresh, opening, forced, short_start
    cdef Samples v, a
    cdef Held* hold
    cdef size_t hold_len, hold_cap, hold_bytes
    cdef size_t part_bytes, segment_bytes
    cdef int64_t part_start, segment_start, part_target
    cdef int64_t interval, first_dts, key_dts, gop
    cdef Py_ssize_t frames
    # bytes that samples point into
    cdef list batches
    cdef uint32_t first_batch, batch
    cdef list out
    # counters
    cdef uint32_t[13] trouble
    cdef uint64_t video_frames, audio_frames, key_frames, video_bytes, audio_bytes, dropped

    cdef int64_t tell(self, Clock* clock, Clock* other, uint32_t raw, bint master, bint* jumped) noexcept
    cdef int64_t audio_ticks(self, int64_t samples) noexcept
    cdef int64_t expected_interval(self) noexcept
    cdef int rebase(self, int64_t ms) except -1
    cdef int reset(self) except -1
    cdef int jump(self) except -1
    cdef int on_video_config(self, const uint8_t* at, uint32_t size) except -1
    cdef int on_audio_config(self, const uint8_t* at, uint32_t size) except -1
    cdef int on_video(self, const uint8_t* at, uint32_t size, uint32_t raw) except -1
    cdef int on_audio(self, const uint8_t* at, uint32_t size, uint32_t raw) except -1
    cdef int keep(self, Sample* sample, bint video) except -1
    cdef int decide(self) except -1
    cdef int begin(self, bint video, bint audio) except -1
    cdef int settle(self, bint video, bint audio) except -1
    cdef void learn(self, int64_t interval) noexcept
    cdef bint ends_segment(self, int64_t at, bint key) noexcept
    cdef int push_video(self, Sample* sample, bint turn) except -1
    cdef int overdue(self, int64_t before, int64_t now) except -1
    cdef int cut_audio(self) except -1
    cdef int push_audio(self, Sample* sample, bint turn) except -1
    cdef int turn(self, int64_t at, bint video, bint audio) except -1
    cdef int finish(self) except -1
    cdef int cut(self, int64_t at, bint closes, bint everything) except -1
    cdef int release(self) except -1
