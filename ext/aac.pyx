"""The AAC decoder configuration: AudioSpecificConfig (ISO/IEC 14496-3, 1.6.2.1) with GASpecificConfig (4.4.1).

SBR and PS count when they are signalled, in either explicit way; implicit signalling shows only inside the frames, and players
find it there.
"""
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memset

from nova.ext.bits cimport Bits, bit, bits, bits_left, bits_start

cdef enum:
    SBR = 5
    PS = 29
    ER_BSAC = 22
    SYNC_SBR = 0x2b7            # syncExtensionType values
    SYNC_PS = 0x548

cdef uint32_t[13] RATES = [96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350]
cdef uint8_t[16] CHANNELS = [0, 1, 2, 3, 4, 5, 6, 8, 0, 0, 0, 7, 8, 24, 8, 0]


cdef inline uint32_t object_type(Bits* b) noexcept nogil:
    cdef uint32_t kind = bits(b, 5)
    return 32 + bits(b, 6) if kind == 31 else kind


cdef inline uint32_t sampling_rate(Bits* b) noexcept nogil:
    cdef uint32_t index = bits(b, 4)
    if index == 15:
        return bits(b, 24)
    return RATES[index] if index < 13 else 0


cdef uint32_t program_channels(Bits* b) noexcept nogil:
    """Channels of a program_config_element (4.4.1.1)."""
    cdef uint32_t elements[4]
    cdef uint32_t count = 0, i
    bits(b, 10)                 # element_instance_tag, object_type, sampling_frequency_index
    elements[0] = bits(b, 4)    # front
    elements[1] = bits(b, 4)    # side
    elements[2] = bits(b, 4)    # back
    elements[3] = bits(b, 2)    # low frequency effects
    bits(b, 7)                  # counts of associated data and coupling channels, which give no sound of their own
    if bit(b):
        bits(b, 4)              # mono mix-down
    if bit(b):
        bits(b, 4)              # stereo mix-down
    if bit(b):
        bits(b, 3)              # matrix mix-down
    for i in range(elements[0] + elements[1] + elements[2]):
        count += 1 + bit(b)     # a pair counts two
        bits(b, 4)
    return count + elements[3]


cdef int aac_config(const uint8_t* data, size_t size, AacConfig* out) noexcept nogil:
    """Read an AudioSpecificConfig; 0, or an AAC_E_* code."""
    cdef Bits b
    cdef uint32_t kind, layout, extension = 0, channels
    cdef bint parametric = False, short_frame
    memset(out, 0, sizeof(AacConfig))
    bits_start(&b, data, size, False)
    kind = object_type(&b)
    out.core_rate = sampling_rate(&b)
    layout = bits(&b, 4)
    if kind == SBR or kind == PS:
        parametric = kind == PS
        extension = sampling_rate(&b)
        if not b.over and extension == 0:
            return AAC_E_RATE
        kind = object_type(&b)
        if kind == ER_BSAC:
            bits(&b, 4)
    if b.over:
        return AAC_E_SHORT
    if kind == 0 or kind > 4:   # Main, LC, SSR, LTP
        return AAC_E_TYPE
    short_frame = bit(&b)       # 960 samples instead of 1024
    if bit(&b):                 # dependsOnCoreCoder
        bits(&b, 14)
    bit(&b)                     # extensionFlag: nothing follows for these object types
    channels = CHANNELS[layout] if layout else program_channels(&b)
    if b.over:
        return AAC_E_SHORT
    if channels == 0:
        return AAC_E_CHANNELS
    if extension == 0 and layout and bits_left(&b) >= 16 and bits(&b, 11) == SYNC_SBR and object_type(&b) == SBR and bit(&b):
        extension = sampling_rate(&b)
        if bits_left(&b) >= 12 and bits(&b, 11) == SYNC_PS:
            parametric = bit(&b)
        if b.over:
            extension = 0
            parametric = False
    out.object_type = <uint8_t> (kind if extension == 0 else PS if parametric else SBR)
    out.channels = 2 if parametric and channels == 1 else <uint8_t> channels
    out.rate = extension if extension else out.core_rate
    if out.core_rate < 7350 or out.core_rate > 96000 or (out.rate != out.core_rate and out.rate != 2 * out.core_rate):
        return AAC_E_RATE
    out.frame = (960 if short_frame else 1024) * (out.rate // out.core_rate)
    return 0


cdef const char* aac_error(int code) noexcept nogil:
    if code == AAC_E_SHORT:
        return "aac_short"
    if code == AAC_E_TYPE:
        return "aac_object_type"
    if code == AAC_E_RATE:
        return "aac_sampling_rate"
    return "aac_channels"


class AacError(ValueError):
    """A configuration that breaks the standard; the text is the code's name."""


cdef class Audio:
    """What a decoder configuration says: to players in a playlist, to the muxer in the sample entry."""

    def __init__(self, const uint8_t[::1] config):
        cdef AacConfig found
        cdef int answer = aac_config(&config[0], <size_t> config.shape[0], &found) if config.shape[0] else AAC_E_SHORT
        if answer < 0:
            raise AacError(aac_error(answer).decode())
        self.c = found
        self.config = bytes(config)

    @property
    def codecs(self) -> str:
        """RFC 6381, 3.3: the object type indication 40 (MPEG-4 audio), then the audio object type."""
        return f"mp4a.40.{self.c.object_type}"

    @property
    def rate(self) -> int:
        """Hz, of what the decoder gives out."""
        return self.c.rate

    @property
    def channels(self) -> int:
        return self.c.channels

    @property
    def frame(self) -> int:
        """Samples at `rate` in one frame."""
        return self.c.frame
