"""The timeline of a live stream, before muxing: records of a publisher in, parts of a segment out.

It makes clocks that players can rely on. Video runs on 90 kHz ticks. Audio runs on its own sample count, because RTMP's
milliseconds would give every frame another length; it is set anew only when it drifted by more than a frame and a half.
Timestamps that wrap, stall, step back or start anew end in one monotonic timeline; where continuity is lost, a new period
begins, which players see as a discontinuity. A track may come late, stop or change: it is waited for, then left out.

And it cuts. A part ends with the frame whose arrival shows that no more fits under the part target (RFC 8216bis, 4.4.4.9); a
segment ends at the first key frame after the segment target, else at any frame before the target duration is exceeded.

A pure function of the records: batches may be split anywhere between records and give the same parts. One call handles a batch;
a frame is a C struct that points into the batch's bytes, and only parts become Python objects.
"""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcmp, memcpy, memmove

from nova.ext.aac cimport Audio
from nova.ext.buffer cimport Buffer
from nova.ext.h264 cimport H264_IDR, Video, h264_frame
from nova.ext.rtmp cimport RTMP_AUDIO, RTMP_VIDEO, RtmpRecord

from nova.ext.aac import AacError
from nova.ext.h264 import H264Error

cdef enum:
    TICKS = 90000               # a second
    MS = 90                     # a millisecond
    BACK_MS = 500               # a timestamp further back than this starts a new clock; a smaller step is a sender's disorder
    LAG = 45000                 # ticks that audio may run ahead of video before parts go on without video
    MOST_OFFSET_MS = 10000      # a composition offset above this is no picture order
    MOST_HELD = 16 << 20        # bytes of frames that wait for the other track
    HEADER = 16                 # bytes of a record's header
    AVC1 = 0x61766331           # FourCC of Enhanced RTMP

TROUBLE_NAMES = (
    "codec_unsupported", "config_broken", "frame_damaged", "frame_waiting", "timestamp_backward", "timestamp_jump", "audio_step",
    "parameters_changed", "video_lost", "audio_lost", "key_distance", "frame_interval", "oversize",
)


cdef int push(Samples* to, Sample* sample) except -1:
    cdef Sample* grown
    if to.len == to.cap:
        grown = <Sample*> realloc(to.at, max(to.cap * 2, 32) * sizeof(Sample))
        if grown == NULL:
            raise MemoryError
        to.at = grown
        to.cap = max(to.cap * 2, 32)
    to.at[to.len] = sample[0]
    to.len += 1
    return 0


cdef class Tracks:
    """The tracks of a period, with their decoder configurations: what an initialization segment is made of."""

    @property
    def codecs(self) -> str:
        """For CODECS of the multivariant playlist."""
        return ",".join([track.codecs for track in (self.video, self.audio) if track is not None])


cdef class Part:
    """The frames of one part, by track. `start` and `end` are ticks of 90 kHz on the stream's timeline.

    opens, closes: it is the first or the last part of its segment. independent: a player can start here.
    new_period: it begins a period: another clock, or other tracks, than the part before.
    """

    def __dealloc__(self):
        free(self.samples)

    cdef list rows(self, Py_ssize_t first, Py_ssize_t count):
        cdef Py_ssize_t i
        cdef Sample* s
        cdef list found = []
        for i in range(first, first + count):
            s = &self.samples[i]
            found.append((s.dts, s.duration, s.offset, s.key, (<const char*> s.data)[:s.size]))
        return found

    @property
    def video(self) -> list:
        """(dts, duration, composition offset, key, bytes) of each frame, ticks of 90 kHz."""
        return self.rows(0, self.video_count)

    @property
    def audio(self) -> list:
        """(dts, duration, 0, True, bytes) of each frame, ticks of the sampling rate."""
        return self.rows(self.video_count, self.audio_count)


cdef class Timeline:
    """One publisher's records on one timeline.

    part_target, segment_target, target_duration, gap, track_wait, track_timeout: seconds; see `live.*` in the settings.
    fixed_part_target: ticks, when the stream's playlist has announced one already. position: ticks at which it goes on; afterwards
    those after its last part.
    max_part, max_segment: bytes after which one is cut whatever its length.
    short_start: the first segment is one part. There are players that show nothing of a playlist without a whole segment.
    """

    def __init__(self, *, double part_target=0.2, double segment_target=2.0, double target_duration=4.0, double gap=1.0,
                 double track_wait=1.0, double track_timeout=10.0, int64_t fixed_part_target=0, int64_t position=0,
                 size_t max_part=8 << 20, size_t max_segment=32 << 20, bint short_start=False):
        self.target = <int64_t> (part_target * TICKS)
        self.segment_target = <int64_t> (segment_target * TICKS)
        self.limit = <int64_t> (target_duration * TICKS)
        self.gap_ms = <int64_t> (gap * 1000)
        self.wait_ms = <int64_t> (track_wait * 1000)
        self.timeout_ms = <int64_t> (track_timeout * 1000)
        self.part_target = fixed_part_target
        self.position = position
        self.max_part = max_part
        self.max_segment = max_segment
        self.short_start = short_start
        self.batches = []
        self.out = []

    def __dealloc__(self):
        free(self.v.at)
        free(self.a.at)
        free(self.hold)

    # What Python sees

    def feed(self, data) -> list:
        """Consume a batch of whole records (bytes or a Buffer, kept for as long as parts need it); the parts that are complete.

        Raises ValueError when the last record is cut short, TypeError for anything else.
        """
        cdef const uint8_t* at
        cdef size_t left = <size_t> len(data)
        cdef RtmpRecord record
        cdef list made
        cdef Buffer shared
        cdef bytes own
        if isinstance(data, Buffer):
            shared = data
            at = shared.buf.data + shared.offset if left else NULL
        else:
            own = data
            at = <const uint8_t*> <const char*> own
        self.batches.append(data)
        self.batch = self.first_batch + <uint32_t> len(self.batches) - 1
        while left:
            if left < HEADER:
                raise ValueError("a record's header is cut short")
            memcpy(&record, at, HEADER)
            if record.size > left - HEADER:
                raise ValueError("a record is cut short")
            if record.type == RTMP_VIDEO:
                self.on_video(at + HEADER, record.size, record.timestamp)
            elif record.type == RTMP_AUDIO:
                self.on_audio(at + HEADER, record.size, record.timestamp)
            at += HEADER + record.size
            left -= HEADER + record.size
        self.release()
        made = self.out
        self.out = []
        return made

    def end(self) -> list:
        """The publisher has ended: the parts that were under way. `position` is where another one goes on."""
        cdef list made
        if self.stage == HOLDING:
            self.begin(self.video_any, self.audio is not None)
        if self.stage == RUNNING:
            self.finish()
        self.reset()
        self.release()
        made = self.out
        self.out = []
        return made

    def anew(self) -> None:
        """Drop what is under way, and go on with a new period at the next frame that can open one: the muxer has failed."""
        self.reset()
        self.release()

    def expect(self, *, video=None, audio=None, double frame_rate=0.0) -> None:
        """What the sender announces (onMetaData): whether a track will come (None: not said), and frames a second (0: not said)."""
        self.expect_video = 0 if video is None else 1 if video else -1
        self.expect_audio = 0 if audio is None else 1 if audio else -1
        if 1.0 <= frame_rate <= 300.0:
            self.declared = <int64_t> (TICKS / frame_rate + 0.5)

    @property
    def wake_at(self) -> int | None:
        """The sender's timestamp of the frame that will complete the part, less 1 ms of rounding; None: none is under way."""
        cdef int64_t due, step, start = self.part_start
        cdef int64_t length = self.part_target if self.part_target else self.target
        if self.stage == EMPTY:
            return None
        if self.stage == HOLDING:
            return <uint32_t> (self.vclock.raw if self.video_any else self.aclock.raw)
        if self.tracks.video is not None:
            if self.v.len == 0:
                return None
            step = self.expected_interval()
            due = self.v.at[self.v.len - 1].dts
            due += max((start + length + MS - due) // step, 1) * step
            due = self.base_ms + (due - self.base_out) // MS - self.vclock.shift
        else:
            if self.a.len == 0:
                return None
            step = max(self.audio_ticks(self.audio.c.frame), 1)
            due = self.audio_ticks(self.a.at[self.a.len - 1].dts)
            due += max((start + length - due) // step, 1) * step
            due = self.base_ms + (due - self.base_out) // MS - self.aclock.shift
        return <uint32_t> (due - 1)

    @property
    def part_target_ticks(self) -> int:
        """PART-TARGET, fixed with the first part: the frame rate decides how near to the setting it can be; 0: not yet."""
        return self.part_target

    def troubles(self) -> dict:
        """How often each thing that a streamer should know of happened."""
        cdef int i
        return {TROUBLE_NAMES[i]: self.trouble[i] for i in range(TROUBLES) if self.trouble[i]}

    def counters(self) -> dict:
        """Frames and bytes so far, and the last distances of key frames and of frames, in ticks."""
        return {
            "video_frames": self.video_frames, "audio_frames": self.audio_frames, "key_frames": self.key_frames,
            "video_bytes": self.video_bytes, "audio_bytes": self.audio_bytes, "dropped_frames": self.dropped,
            "gop_ticks": self.gop, "interval_ticks": self.interval,
        }

    # Clocks

    cdef int64_t tell(self, Clock* clock, Clock* other, uint32_t raw, bint master, bint* jumped) noexcept:
        """The time in ms of a frame, without wraps. jumped: its track's clock was set anew, and nothing else explains it.

        master: losing this track's clock loses the period; the other track is laid beside it instead.
        """
        cdef int64_t ms, at
        jumped[0] = False
        if clock.ever:
            ms = clock.ms + <int32_t> (raw - clock.raw)
        elif other.ever:
            ms = other.ms + <int32_t> (raw - other.raw)
        else:
            ms = raw
        clock.ever = True
        clock.raw = raw
        clock.ms = ms
        at = ms + clock.shift
        if self.stage == EMPTY:
            return at
        if (at < clock.last - BACK_MS or at > self.latest + self.gap_ms) if clock.live else (
                at < self.latest - self.gap_ms or at > self.latest + self.gap_ms):
            if self.latest - self.gap_ms <= ms <= self.latest + self.gap_ms:
                clock.shift = 0
                at = ms
            elif clock.live and master:
                jumped[0] = True
            else:
                clock.shift = self.latest - ms
                at = self.latest
        return at

    cdef int64_t audio_ticks(self, int64_t samples) noexcept:
        return samples * TICKS // self.audio.c.rate

    cdef int64_t expected_interval(self) noexcept:
        """Ticks to the next video frame: what is declared while it is true, else the last distance."""
        if self.declared and (self.interval == 0 or -180 <= self.interval - self.declared <= 180):
            return self.declared
        return self.interval if self.interval else TICKS // 30

    cdef int rebase(self, int64_t ms) except -1:
        """`ms` is where the period begins; what waited before it is dropped."""
        self.dropped += self.hold_len
        self.hold_len = 0
        self.hold_bytes = 0
        self.base_ms = ms
        self.base_out = self.position
        self.latest = ms
        self.video_any = False
        self.audio_any = False
        self.stage = HOLDING
        return 0

    cdef int reset(self) except -1:
        self.dropped += self.hold_len
        self.hold_len = 0
        self.hold_bytes = 0
        self.v.len = 0
        self.a.len = 0
        self.part_bytes = 0
        self.vclock.live = False
        self.vclock.shift = 0
        self.aclock.live = False
        self.aclock.shift = 0
        self.video_tried = False
        self.stage = EMPTY
        if self.video_next is not None:
            self.video = self.video_next
            self.video_next = None
        if self.audio_next is not None:
            self.audio = self.audio_next
            self.audio_next = None
        return 0

    cdef int jump(self) except -1:
        self.trouble[T_JUMP] += 1
        if self.stage == RUNNING:
            self.finish()
        return self.reset()

    # Records

    cdef int on_video_config(self, const uint8_t* at, uint32_t size) except -1:
        cdef Video fresh = self.video_next if self.video_next is not None else self.video
        if fresh is not None and len(fresh.config) == size and memcmp(<const char*> fresh.config, at, size) == 0:
            return 0
        try:
            fresh = Video((<const char*> at)[:size])
        except H264Error:
            self.trouble[T_CONFIG] += 1
            return 0
        if fresh.c.tick:
            self.declared = <int64_t> fresh.c.tick * 2 * TICKS // fresh.c.time_scale
            if not TICKS // 300 <= self.declared <= TICKS:
                self.declared = 0
        if self.stage == RUNNING and self.tracks.video is not None:
            self.video_next = fresh if fresh.config != self.tracks.video.config else None
            return 0
        if self.stage == HOLDING and self.video_any:
            self.reset()        # what waits cannot be decoded with it
        self.video = fresh
        return 0

    cdef int on_audio_config(self, const uint8_t* at, uint32_t size) except -1:
        cdef Audio fresh = self.audio_next if self.audio_next is not None else self.audio
        if fresh is not None and len(fresh.config) == size and memcmp(<const char*> fresh.config, at, size) == 0:
            return 0
        try:
            fresh = Audio((<const char*> at)[:size])
        except AacError:
            self.trouble[T_CONFIG] += 1
            return 0
        if self.stage == RUNNING and self.tracks.audio is not None:
            self.audio_next = fresh if fresh.config != self.tracks.audio.config else None
            return 0
        if self.stage == HOLDING and self.audio_any:
            self.reset()
        self.audio = fresh
        if self.stage == HOLDING:
            self.decide()
        return 0

    cdef int on_video(self, const uint8_t* at, uint32_t size, uint32_t raw) except -1:
        """A video message: the body of an FLV video tag (Adobe FLV 10.1, E.4.3.1), or of Enhanced RTMP's with FourCC avc1."""
        cdef Sample sample
        cdef int64_t ms, offset = 0, dts
        cdef uint32_t head
        cdef bint jumped, turn = False
        cdef int kind
        cdef Video config
        if size == 0:
            return 0
        if at[0] & 0x80:
            if size < 5 or (<uint32_t> at[1] << 24 | at[2] << 16 | at[3] << 8 | at[4]) != AVC1:
                self.trouble[T_CODEC] += 1
                return 0
            kind = at[0] & 15
            head = 8 if kind == 1 else 5
            if kind == 3:       # CodedFramesX: no composition offset
                kind = 1
        else:
            if at[0] & 15 != 7:
                self.trouble[T_CODEC] += 1
                return 0
            kind = at[1] if size > 1 else 1
            head = 5
        if at[0] >> 4 & 7 == 5 or kind > 1:     # a command to the player; the end of a sequence; metadata
            return 0
        if size <= head:
            self.trouble[T_DAMAGED] += 1
            return 0
        if kind == 0:
            return self.on_video_config(at + head, size - head)
        if at[0] & 0x80 == 0 or head == 8:
            offset = <int32_t> (<uint32_t> at[head - 3] << 24 | at[head - 2] << 16 | at[head - 1] << 8) >> 8
        config = self.video_next if self.video_next is not None else self.video
        if config is None:
            self.trouble[T_WAITING] += 1
            self.dropped += 1
            return 0
        sample.data = at + head
        sample.size = size - head
        kind = h264_frame(sample.data, sample.size, config.c.length_size)
        if kind < 0 or offset < -MOST_OFFSET_MS or offset > MOST_OFFSET_MS:
            self.trouble[T_DAMAGED] += 1
            self.dropped += 1
            return 0
        sample.key = kind == H264_IDR or at[0] >> 4 & 7 == 1
        sample.offset = <int32_t> (offset * MS)
        sample.duration = 0
        sample.batch = self.batch

        ms = self.tell(&self.vclock, &self.aclock, raw, True, &jumped)
        if jumped:
            self.jump()
            ms = self.vclock.ms
        if self.stage == RUNNING:
            turn = self.video_next is not None or self.tracks.video is None
        if not sample.key and (turn or self.stage == EMPTY or (self.stage == HOLDING and not self.video_any)):
            self.video_tried = True
            self.trouble[T_WAITING] += 1
            self.dropped += 1
            return 0
        if self.stage == EMPTY or (self.stage == HOLDING and not self.video_any):
            self.rebase(ms)
        dts = self.base_out + (ms - self.base_ms) * MS
        if self.video_any and dts <= self.video_dts:
            self.trouble[T_BACKWARD] += 1
            if self.video_dts - dts > BACK_MS * MS:     # small steps back that add up
                self.jump()
                return 0
            dts = self.video_dts + MS
        elif dts < self.base_out:
            dts = self.base_out
        sample.dts = dts
        self.video_any = True
        self.video_dts = dts
        self.vclock.live = True
        self.vclock.last = ms
        self.latest = max(self.latest, ms)
        self.video_frames += 1
        self.video_bytes += sample.size
        if sample.key:
            self.key_frames += 1
            if self.stage == RUNNING:
                if self.tracks.audio is not None and (self.audio_next is not None or ms - self.aclock.last > self.timeout_ms):
                    turn = True
                elif self.tracks.audio is None and self.audio is not None and self.aclock.live:
                    turn = True
        if self.stage == HOLDING:
            self.keep(&sample, True)
            return self.decide()
        return self.push_video(&sample, turn)

    cdef int on_audio(self, const uint8_t* at, uint32_t size, uint32_t raw) except -1:
        """An audio message: the body of an FLV audio tag (Adobe FLV 10.1, E.4.2.1)."""
        cdef Sample sample
        cdef int64_t ms, want, drift
        cdef bint jumped, turn = False
        cdef Audio config
        if size == 0:
            return 0
        if at[0] >> 4 != 10:
            self.trouble[T_CODEC] += 1
            return 0
        if size < 3:            # AAC frames have at least an element's head; some senders mark a pause with an empty one
            return 0
        if at[1] == 0:
            return self.on_audio_config(at + 2, size - 2)
        if self.audio is None:
            self.trouble[T_WAITING] += 1
            self.dropped += 1
            return 0
        sample.data = at + 2
        sample.size = size - 2
        sample.key = True
        sample.offset = 0
        sample.batch = self.batch

        ms = self.tell(&self.aclock, &self.vclock, raw, not self.vclock.live, &jumped)
        if jumped:
            self.jump()
            ms = self.aclock.ms
        if self.stage == EMPTY:
            self.rebase(ms)
        if ms < self.base_ms:   # before the picture that opened the period
            self.dropped += 1
            return 0
        if self.stage == RUNNING and self.tracks.video is not None and ms - self.vclock.last > self.timeout_ms:
            self.trouble[T_VIDEO_LOST] += 1
            self.finish()
            self.reset()
            self.rebase(ms)
            self.begin(False, True)
        self.aclock.live = True
        self.aclock.last = ms
        self.latest = max(self.latest, ms)
        if self.stage == RUNNING and (self.tracks.audio is None or self.audio_next is not None):
            if self.tracks.video is not None:   # joins with the next key frame
                self.dropped += 1
                return 0
            turn = True
            self.audio_any = False
        config = self.audio_next if turn else self.audio
        sample.duration = config.c.frame
        want = (self.base_out * config.c.rate + TICKS // 2) // TICKS + ((ms - self.base_ms) * config.c.rate + 500) // 1000
        if self.audio_any:
            drift = want - self.audio_due
            if 2 * drift < -3 * <int64_t> sample.duration:
                self.trouble[T_AUDIO_STEP] += 1
                self.dropped += 1
                return 0
            if 2 * drift > 3 * <int64_t> sample.duration:
                self.trouble[T_AUDIO_STEP] += 1
                # No hole in the track: the sound before the gap lasts until it is over; when that has gone out, the one after it.
                if self.a.len:
                    self.a.at[self.a.len - 1].duration += <uint32_t> drift
                else:
                    want -= drift
                    sample.duration += <uint32_t> drift
            else:
                want -= drift
        sample.dts = want
        self.audio_any = True
        self.audio_due = want + sample.duration
        self.audio_frames += 1
        self.audio_bytes += sample.size
        if self.stage == HOLDING:
            self.keep(&sample, False)
            return self.decide()
        return self.push_audio(&sample, turn)

    # Which tracks there are

    cdef int keep(self, Sample* sample, bint video) except -1:
        cdef Held* grown
        if self.hold_len == self.hold_cap:
            grown = <Held*> realloc(self.hold, max(self.hold_cap * 2, 64) * sizeof(Held))
            if grown == NULL:
                raise MemoryError
            self.hold = grown
            self.hold_cap = max(self.hold_cap * 2, 64)
        self.hold[self.hold_len].sample = sample[0]
        self.hold[self.hold_len].video = video
        self.hold_len += 1
        self.hold_bytes += sample.size + sizeof(Held)
        return 0

    cdef int decide(self) except -1:
        """Begin once both tracks are there, or one has been waited for long enough."""
        cdef int64_t waited = self.latest - self.base_ms
        cdef bint full = self.hold_bytes > MOST_HELD
        if self.hold_len == 0:
            return 0
        if self.video_any:
            if self.audio is not None or self.expect_audio < 0 or waited >= self.wait_ms or full:
                self.begin(True, self.audio is not None)
        elif self.expect_video < 0 or waited >= (self.timeout_ms if self.video_tried else self.wait_ms) or full:
            self.begin(False, True)
        return 0

    cdef int begin(self, bint video, bint audio) except -1:
        """A period begins with these tracks; what waited goes first."""
        cdef size_t i
        self.stage = RUNNING
        self.settle(video, audio)
        self.part_start = self.base_out
        self.segment_start = self.base_out
        self.interval = 0
        self.key_dts = -1
        for i in range(self.hold_len):
            if self.hold[i].video:
                self.push_video(&self.hold[i].sample, False)
            else:
                self.push_audio(&self.hold[i].sample, False)
        self.hold_len = 0
        self.hold_bytes = 0
        return 0

    cdef int settle(self, bint video, bint audio) except -1:
        self.tracks = Tracks.__new__(Tracks)
        self.tracks.video = self.video if video else None
        self.tracks.audio = self.audio if audio else None
        self.fresh = True
        self.opening = True
        self.frames = 0
        if not self.vclock.live:
            self.vclock.last = self.latest
        if not self.aclock.live:
            self.aclock.last = self.latest
        if not self.part_target and not video:
            self.learn(self.audio_ticks(self.audio.c.frame))
        return 0

    # Cutting

    cdef void learn(self, int64_t interval) noexcept:
        """Fix PART-TARGET: as many frames as fit, or one more when those would fall below 85 % of it (RFC 8216bis, 4.4.4.9)."""
        cdef int64_t count = self.target * 101 // 100 // interval
        if count * interval * 100 < self.target * 85:
            count += 1
        self.part_target = self.target
        if count * interval > self.target:
            self.part_target = (count * interval + MS - 1) // MS * MS

    cdef bint ends_segment(self, int64_t at, bint key) noexcept:
        """Whether a part that ends at `at`, where a key frame or any other begins, is the last of its segment."""
        cdef int64_t length = at - self.segment_start
        cdef int64_t limit = self.limit
        if self.short_start:
            self.short_start = False
            self.forced = self.tracks.video is not None
            return True
        # EXTINF is rounded before it is compared (RFC 8216bis, 4.4.3.1): key frames that come every 4.004 s may keep their distance.
        if self.limit < self.gop <= self.limit + self.limit // 100:
            limit = self.limit + self.limit // 100
        # A segment that begins at any frame is short when key frames are near enough to begin the next ones.
        if key and (length >= self.segment_target - self.expected_interval() or (self.forced and 0 < self.gop <= limit)):
            self.forced = False
            return True
        if length + self.part_target > limit:
            if self.tracks.video is not None:
                self.trouble[T_KEY_DISTANCE] += 1
                self.forced = True
            return True
        if self.segment_bytes + self.part_bytes > self.max_segment:
            self.trouble[T_OVERSIZE] += 1
            return True
        return False

    cdef int push_video(self, Sample* sample, bint turn) except -1:
        cdef int64_t dts = sample.dts
        cdef Sample* before
        if self.v.len and self.v.at[self.v.len - 1].duration == 0:
            before = &self.v.at[self.v.len - 1]
            before.duration = <uint32_t> (dts - before.dts)
            self.interval = before.duration
            self.frames += 1
            if not self.part_target and 2 * (dts - self.first_dts) >= self.target:
                self.interval = (dts - self.first_dts) // self.frames
                self.learn(self.declared if self.declared and -135 <= self.interval - self.declared <= 135 else self.interval + MS)
            if self.part_target and dts - self.part_start > self.part_target:
                self.overdue(before.dts, dts)
        elif self.frames == 0:
            self.first_dts = dts
        if sample.key:
            if self.key_dts >= 0:
                self.gop = dts - self.key_dts
            self.key_dts = dts
        if turn:
            self.turn(dts, True, self.audio is not None and self.aclock.live and self.latest - self.aclock.last <= self.timeout_ms)
            # A picture from before the sound that has gone out already: the new period begins behind that.
            sample.dts = self.video_dts = max(dts, self.part_start)
        elif sample.key and dts > self.part_start and self.ends_segment(dts, True):
            self.cut(dts, True, False)
        elif dts > self.part_start and self.part_target and (
                dts + self.expected_interval() - self.part_start > self.part_target + MS
                and (self.tracks.audio is None or (dts - self.part_start) * 100 >= self.part_target * 85)):
            self.cut(dts, self.ends_segment(dts, False), False)
        elif dts > self.part_start and self.part_bytes + sample.size > self.max_part:
            self.trouble[T_OVERSIZE] += 1
            self.cut(dts, self.ends_segment(dts, False), False)
        self.part_bytes += sample.size
        return push(&self.v, sample)

    cdef int overdue(self, int64_t before, int64_t now) except -1:
        """The frame at `now` came later than expected, and the part would be too long: end it between sounds, else a frame earlier."""
        while self.tracks.video is not None and now - self.part_start > self.part_target and self.cut_audio():
            pass
        if now - self.part_start > self.part_target and before > self.part_start:
            self.cut(before, self.ends_segment(before, False), False)
        if now - self.part_start > self.part_target:
            self.trouble[T_FRAME_INTERVAL] += 1
        return 0

    cdef int cut_audio(self) except -1:
        """End the part between two frames, behind one of sound; False: none of them lies within the last 15 % of it.

        Something begins behind that: else nothing would fill the time until the next frame comes, which is another part's then.
        """
        cdef int64_t at = 0, edge
        cdef size_t i
        if self.tracks.audio is None:
            return False
        for i in range(self.a.len):
            edge = self.audio_ticks(self.a.at[i].dts + self.a.at[i].duration)
            if edge - self.part_start > self.part_target:
                break
            if i + 1 == self.a.len and not (self.v.len and self.v.at[self.v.len - 1].dts >= edge):
                break
            at = edge
        if (at - self.part_start) * 100 < self.part_target * 85:
            return False
        self.cut(at, self.ends_segment(at, False), False)
        return True

    cdef int push_audio(self, Sample* sample, bint turn) except -1:
        cdef int64_t at, after
        if turn:
            self.turn(self.base_out + (self.aclock.last - self.base_ms) * MS, False, True)
        at = self.audio_ticks(sample.dts)
        after = self.audio_ticks(sample.dts + sample.duration)
        if self.tracks.video is None and not turn:
            if self.a.len and at - self.part_start > self.part_target:
                self.overdue(self.audio_ticks(self.a.at[self.a.len - 1].dts), at)
            if at > self.part_start and (after - self.part_start > self.part_target or self.part_bytes + sample.size > self.max_part):
                self.cut(at, self.ends_segment(at, True), False)
        self.part_bytes += sample.size
        push(&self.a, sample)
        if self.tracks.video is not None and after - self.part_start > self.target + LAG:
            if not self.part_target:
                self.learn(self.expected_interval())
            while after - self.part_start > self.part_target + LAG and self.cut_audio():
                pass
        return 0

    cdef int turn(self, int64_t at, bint video, bint audio) except -1:
        """A new period begins at `at` with other tracks, on the same clock."""
        self.trouble[T_CHANGED] += 1
        if self.tracks.audio is not None and not audio:
            self.trouble[T_AUDIO_LOST] += 1
        self.cut(at, True, True)
        if self.video_next is not None:
            self.video = self.video_next
            self.video_next = None
        if self.audio_next is not None:
            self.audio = self.audio_next
            self.audio_next = None
        if video and audio and (self.tracks.audio is None or self.tracks.audio.config != self.audio.config):
            self.audio_any = False      # its first frame in the new period sets its sample clock
        if not audio:
            self.aclock.live = False
        return self.settle(video, audio)

    cdef int finish(self) except -1:
        """The period ends here."""
        cdef Sample* last
        cdef int64_t at = self.part_start, sound = 0
        if self.v.len and self.v.at[self.v.len - 1].duration == 0:
            last = &self.v.at[self.v.len - 1]
            last.duration = <uint32_t> self.expected_interval()
            at = max(at, last.dts + last.duration)
        if self.a.len:
            sound = self.audio_ticks(self.a.at[self.a.len - 1].dts + self.a.at[self.a.len - 1].duration)
            if self.part_target:
                while sound - self.part_start > self.part_target and self.cut_audio():
                    pass
        at = max(at, sound)
        if self.part_target and at - self.part_start > self.part_target:
            at = self.part_start + self.part_target
        self.cut(at, True, True)
        self.position = max(self.position, sound, at)
        return 0

    cdef int cut(self, int64_t at, bint closes, bint everything) except -1:
        """End the part at `at`: what begins before it, or everything, goes into it; the rest waits for the next."""
        cdef Part part
        cdef size_t video = 0, audio = 0, i
        while video < self.v.len and self.v.at[video].duration and (everything or self.v.at[video].dts < at):
            video += 1
        while audio < self.a.len and (everything or self.a.at[audio].dts * TICKS < at * <int64_t> self.audio.c.rate):
            audio += 1
        if video or audio:
            at = max(at, self.part_start + MS)      # late frames of a part that has gone out: they need one of their own
            part = Part.__new__(Part)
            part.samples = <Sample*> malloc((video + audio) * sizeof(Sample))
            if part.samples == NULL:
                raise MemoryError
            memcpy(part.samples, self.v.at, video * sizeof(Sample))
            memcpy(part.samples + video, self.a.at, audio * sizeof(Sample))
            part.video_count = <Py_ssize_t> video
            part.audio_count = <Py_ssize_t> audio
            part.independent = self.tracks.video is None
            for i in range(video + audio):
                part.size_bytes += part.samples[i].size
                if i < video and part.samples[i].key:
                    part.independent = True
            self.v.len -= video
            self.a.len -= audio
            memmove(self.v.at, self.v.at + video, self.v.len * sizeof(Sample))
            memmove(self.a.at, self.a.at + audio, self.a.len * sizeof(Sample))
            if not self.part_target:
                self.learn(max(at - self.part_start, 1))
            part.held = list(self.batches)
            part.start = self.part_start
            part.end = at
            part.opens = self.opening
            part.closes = closes
            part.tracks = self.tracks
            part.new_period = self.fresh
            self.fresh = False
            self.opening = False
            self.segment_bytes += part.size_bytes
            self.part_bytes -= part.size_bytes
            self.out.append(part)
        self.part_start = at
        self.position = max(self.position, at)
        if closes:
            self.opening = True
            self.segment_start = at
            self.segment_bytes = 0
        return 0

    cdef int release(self) except -1:
        """Let go of the batches that no waiting frame points into."""
        cdef uint32_t oldest = self.first_batch + <uint32_t> len(self.batches)
        cdef size_t i
        if self.v.len:
            oldest = min(oldest, self.v.at[0].batch)
        if self.a.len:
            oldest = min(oldest, self.a.at[0].batch)
        if self.hold_len:
            oldest = min(oldest, self.hold[0].sample.batch)
        if oldest != self.first_batch:
            del self.batches[:oldest - self.first_batch]
            self.first_batch = oldest
        return 0
