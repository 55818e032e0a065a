"""The AAC decoder configuration. Pure, nogil."""
from libc.stdint cimport uint8_t, uint32_t

cdef enum:                      # why a configuration is refused; aac_error names them
    AAC_E_SHORT = -1
    AAC_E_TYPE = -2             # an object type without a GASpecificConfig
    AAC_E_RATE = -3             # a reserved sampling frequency, or one outside of 7350 to 96000 Hz
    AAC_E_CHANNELS = -4         # a reserved channel configuration, or none

ctypedef struct AacConfig:
    uint8_t object_type         # what the playlist says: 2 LC, 5 HE (SBR), 29 HE v2 (SBR and PS)
    uint8_t channels
    uint32_t core_rate          # Hz, of the coded core
    uint32_t rate               # Hz, of what comes out of the decoder
    uint32_t frame              # samples at `rate` in one frame

cdef int aac_config(const uint8_t* data, size_t size, AacConfig* out) noexcept nogil
cdef const char* aac_error(int code) noexcept nogil

cdef class Audio:
    cdef AacConfig c
    cdef readonly bytes config
