"""H.264 as the muxer needs it: the decoder configuration (avcC, ISO/IEC 14496-15 section 5.3.3), its sequence parameter set
(ITU-T H.264, 7.3.2.1.1 and annex E), and the lengths of a frame's NAL units.

Every length and count comes from the sender: each is held against what is there and against the standard's limits.
"""
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memset

from nova.ext.bits cimport Bits, bit, bits, bits_start, golomb, golomb_signed

cdef enum:
    MAX_SIDE = 16384            # pixels; level 6.2 ends at 16384 as well
    NAL_SLICE = 1
    NAL_IDR = 5
    NAL_SPS = 7
    NAL_PPS = 8
    EXTENDED_SAR = 255

# Table E-1: aspect_ratio_idc 1 to 16.
cdef uint16_t[17] SAR_WIDTH = [0, 1, 12, 10, 16, 40, 24, 20, 32, 80, 18, 15, 64, 160, 4, 3, 2]
cdef uint16_t[17] SAR_HEIGHT = [0, 1, 11, 11, 11, 33, 11, 11, 11, 33, 11, 11, 33, 99, 3, 2, 1]


cdef inline bint high_profile(uint8_t profile) noexcept nogil:
    """Whether the SPS says its chroma format (7.3.2.1.1)."""
    return (profile == 100 or profile == 110 or profile == 122 or profile == 244 or profile == 44 or profile == 83 or profile == 86
            or profile == 118 or profile == 128 or profile == 138 or profile == 139 or profile == 134 or profile == 135)


cdef void skip_scaling_list(Bits* b, int size) noexcept nogil:
    cdef int32_t last = 8, following = 8
    cdef int j
    for j in range(size):
        if following != 0:
            following = (last + golomb_signed(b) + 256) % 256
        if following != 0:
            last = following
        if b.over:
            return


cdef void read_vui(Bits* b, H264Config* out) noexcept nogil:
    """Annex E.1.1 up to the timing; what follows says nothing about the picture."""
    cdef uint32_t ratio
    if bit(b):
        ratio = bits(b, 8)
        if ratio == EXTENDED_SAR:
            out.sar_width = <uint16_t> bits(b, 16)
            out.sar_height = <uint16_t> bits(b, 16)
        elif ratio <= 16:
            out.sar_width = SAR_WIDTH[ratio]
            out.sar_height = SAR_HEIGHT[ratio]
    if bit(b):                  # overscan_info_present_flag
        bit(b)
    if bit(b):                  # video_signal_type_present_flag
        bits(b, 3)
        out.full_range = <uint8_t> bit(b)
        if bit(b):
            out.coloured = 1
            out.primaries = <uint8_t> bits(b, 8)
            out.transfer = <uint8_t> bits(b, 8)
            out.matrix = <uint8_t> bits(b, 8)
    if bit(b):                  # chroma_loc_info_present_flag
        golomb(b)
        golomb(b)
    if bit(b):                  # timing_info_present_flag
        out.tick = bits(b, 32)
        out.time_scale = bits(b, 32)
    if b.over or out.tick == 0 or out.time_scale == 0:
        out.tick = 0
        out.time_scale = 0
    if b.over or out.sar_width == 0 or out.sar_height == 0:
        out.sar_width = 0
        out.sar_height = 0


cdef int read_sps(const uint8_t* nal, size_t size, H264Config* out) noexcept nogil:
    cdef Bits b
    cdef uint32_t chroma = 1, kind, count, i, wide, high, frames_only
    cdef uint32_t left = 0, right = 0, top = 0, bottom = 0, unit_x, unit_y
    cdef bint separate = False
    bits_start(&b, nal + 1, size - 1, True)
    out.profile = <uint8_t> bits(&b, 8)
    out.constraints = <uint8_t> bits(&b, 8)
    out.level = <uint8_t> bits(&b, 8)
    if golomb(&b) > 31:         # seq_parameter_set_id
        return H264_E_SPS
    if high_profile(out.profile):
        chroma = golomb(&b)
        if chroma > 3:
            return H264_E_SPS
        if chroma == 3:
            separate = bit(&b)
        if golomb(&b) > 6 or golomb(&b) > 6:    # bit depths less 8
            return H264_E_SPS
        bit(&b)                 # qpprime_y_zero_transform_bypass_flag
        if bit(&b):
            for i in range(8 if chroma != 3 else 12):
                if bit(&b):
                    skip_scaling_list(&b, 16 if i < 6 else 64)
    if golomb(&b) > 12:         # log2_max_frame_num_minus4
        return H264_E_SPS
    kind = golomb(&b)           # pic_order_cnt_type
    if kind == 0:
        if golomb(&b) > 12:
            return H264_E_SPS
    elif kind == 1:
        bit(&b)
        golomb_signed(&b)
        golomb_signed(&b)
        count = golomb(&b)
        if count > 255:
            return H264_E_SPS
        for i in range(count):
            golomb_signed(&b)
    elif kind > 2:
        return H264_E_SPS
    if golomb(&b) > 16:         # max_num_ref_frames
        return H264_E_SPS
    bit(&b)
    wide = golomb(&b)
    high = golomb(&b)
    if b.over:
        return H264_E_SHORT
    if wide >= MAX_SIDE / 16 or high >= MAX_SIDE / 16:
        return H264_E_SIZE
    frames_only = bit(&b)
    if not frames_only:
        bit(&b)
    bit(&b)                     # direct_8x8_inference_flag
    wide = (wide + 1) * 16
    high = (high + 1) * 16 * (2 - frames_only)
    if bit(&b):
        left = golomb(&b)
        right = golomb(&b)
        top = golomb(&b)
        bottom = golomb(&b)
        if left > MAX_SIDE or right > MAX_SIDE or top > MAX_SIDE or bottom > MAX_SIDE:
            return H264_E_SIZE
    # Table 6-1 and equations 7-19 to 7-22: cropping counts in chroma samples.
    unit_x = 2 if not separate and (chroma == 1 or chroma == 2) else 1
    unit_y = (2 if not separate and chroma == 1 else 1) * (2 - frames_only)
    left = (left + right) * unit_x
    top = (top + bottom) * unit_y
    if left >= wide or top >= high or high - top > MAX_SIDE:
        return H264_E_SIZE
    out.width = <uint16_t> (wide - left)
    out.height = <uint16_t> (high - top)
    if b.over:
        return H264_E_SHORT
    if bit(&b):
        read_vui(&b, out)
    return 0


cdef int h264_config(const uint8_t* data, size_t size, H264Config* out) noexcept nogil:
    """Read an AVCDecoderConfigurationRecord; 0, or an H264_E_* code.

    What is told to players is its first SPS; profile, constraints and level are those of the record (RFC 6381, 3.3).
    """
    cdef size_t at = 6, length
    cdef int sets, answer, kind
    memset(out, 0, sizeof(H264Config))
    if size < 7:
        return H264_E_SHORT
    if data[0] != 1:
        return H264_E_VERSION
    out.length_size = (data[4] & 3) + 1
    if out.length_size == 3:
        return H264_E_LENGTH
    for kind in range(NAL_SPS, NAL_PPS + 1):
        if kind == NAL_SPS:
            sets = data[5] & 31
        else:
            if at >= size:
                return H264_E_SHORT
            sets = data[at]
            at += 1
        if sets == 0:
            return H264_E_PARAMETERS
        while sets > 0:
            if size - at < 2:
                return H264_E_SHORT
            length = <size_t> data[at] << 8 | data[at + 1]
            at += 2
            if length > size - at:
                return H264_E_SHORT
            if length < 2 or (data[at] & 31) != kind:
                return H264_E_PARAMETERS
            if kind == NAL_SPS and out.width == 0:
                answer = read_sps(data + at, length, out)
                if answer < 0:
                    return answer
            at += length
            sets -= 1
    out.profile = data[1]
    out.constraints = data[2]
    out.level = data[3]
    return 0


cdef int h264_frame(const uint8_t* data, size_t size, int length_size) noexcept nogil:
    """Walk the NAL units of one frame: H264_PICTURE, H264_IDR, or an H264_E_* code."""
    cdef size_t at = 0, length
    cdef int i, kind, answer = H264_E_PICTURE
    while at < size:
        if size - at < <size_t> length_size:
            return H264_E_NAL
        length = 0
        for i in range(length_size):
            length = length << 8 | data[at + i]
        at += length_size
        if length == 0 or length > size - at:
            return H264_E_NAL
        kind = data[at] & 31
        if kind == NAL_IDR:
            answer = H264_IDR
        elif NAL_SLICE <= kind < NAL_IDR and answer != H264_IDR:
            answer = H264_PICTURE
        at += length
    return answer


cdef const char* h264_error(int code) noexcept nogil:
    if code == H264_E_SHORT:
        return "h264_short"
    if code == H264_E_VERSION:
        return "h264_version"
    if code == H264_E_LENGTH:
        return "h264_length_size"
    if code == H264_E_PARAMETERS:
        return "h264_parameter_sets"
    if code == H264_E_SPS:
        return "h264_sps"
    if code == H264_E_SIZE:
        return "h264_size"
    if code == H264_E_NAL:
        return "h264_nal_length"
    return "h264_no_picture"


class H264Error(ValueError):
    """A configuration or frame that breaks the standard; the text is the code's name."""


cdef class Video:
    """What a decoder configuration says: to players in a playlist, to the muxer in the sample entry."""

    def __init__(self, const uint8_t[::1] config):
        cdef H264Config found
        cdef int answer = h264_config(&config[0], <size_t> config.shape[0], &found) if config.shape[0] else H264_E_SHORT
        if answer < 0:
            raise H264Error(h264_error(answer).decode())
        self.c = found
        self.config = bytes(config)

    @property
    def codecs(self) -> str:
        """RFC 6381, 3.3."""
        return f"avc1.{self.c.profile:02x}{self.c.constraints:02x}{self.c.level:02x}"

    @property
    def width(self) -> int:
        return self.c.width

    @property
    def height(self) -> int:
        return self.c.height

    @property
    def sample_aspect_ratio(self) -> tuple:
        """(0, 0): not said."""
        return self.c.sar_width, self.c.sar_height

    @property
    def frame_rate(self) -> tuple:
        """(frames, seconds) as a fraction; (0, 0): not said."""
        return self.c.time_scale, <uint64_t> self.c.tick * 2


def frame_kind(const uint8_t[::1] data, int length_size) -> int:
    """1: a picture, 2: an IDR picture. Raises H264Error."""
    cdef int answer
    if length_size not in (1, 2, 4):
        raise ValueError("length_size is 1, 2 or 4")
    answer = h264_frame(&data[0], <size_t> data.shape[0], length_size) if data.shape[0] else H264_E_PICTURE
    if answer < 0:
        raise H264Error(h264_error(answer).decode())
    return answer
