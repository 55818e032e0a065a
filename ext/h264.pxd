"""H.264 as the muxer needs it: the decoder configuration, and the NAL units of a frame. Pure, nogil."""
from libc.stdint cimport uint8_t, uint16_t, uint32_t

cdef enum:                      # why a configuration or a frame is refused; h264_error names them
    H264_E_SHORT = -1           # cut short
    H264_E_VERSION = -2         # configurationVersion is not 1
    H264_E_LENGTH = -3          # NAL units with lengths of 3 bytes do not exist
    H264_E_PARAMETERS = -4      # no SPS, no PPS, or another NAL unit in their place
    H264_E_SPS = -5             # the SPS breaks a limit of the standard
    H264_E_SIZE = -6            # a picture without size, or above 16384 pixels
    H264_E_NAL = -7             # a NAL unit is empty, or longer than what holds it
    H264_E_PICTURE = -8         # no slice: nothing to show

cdef enum:                      # what h264_frame answers
    H264_PICTURE = 1
    H264_IDR = 2

ctypedef struct H264Config:
    uint8_t profile
    uint8_t constraints
    uint8_t level
    uint8_t length_size         # bytes of a NAL unit's length: 1, 2 or 4
    uint16_t width              # after cropping
    uint16_t height
    uint16_t sar_width          # 0: not said
    uint16_t sar_height
    uint32_t tick               # num_units_in_tick, 0: not said
    uint32_t time_scale         # a frame takes 2 * tick / time_scale seconds
    uint8_t coloured            # the next four are said
    uint8_t primaries
    uint8_t transfer
    uint8_t matrix
    uint8_t full_range

cdef int h264_config(const uint8_t* data, size_t size, H264Config* out) noexcept nogil
cdef int h264_frame(const uint8_t* data, size_t size, int length_size) noexcept nogil
cdef const char* h264_error(int code) noexcept nogil

cdef class Video:
    cdef H264Config c
    cdef readonly bytes config
