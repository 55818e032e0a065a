"""The compiled PNG path's C side (ext/csrc/nova_png.h), as much of it as Cython sees."""
from libc.stdint cimport int16_t, uint8_t

from nova.ext.jpeg cimport NovaJpegKernels, NovaJpegWeights

cdef extern from "nova_png.h" nogil:
    enum:
        PNG_OK
        PNG_ROWS
        PNG_PAD

    ctypedef struct NovaPngKernels:
        const char* name

    ctypedef struct NovaPngTarget:
        NovaJpegWeights across, down
        int first, columns
        uint8_t* to

    ctypedef struct NovaPngJob:
        const NovaPngKernels* k
        const NovaJpegKernels* resize
        int width, height, bpp, channels, given
        size_t stride
        const uint8_t* palette
        uint8_t* staged
        uint8_t* rows[5]
        uint8_t* packed
        uint8_t* ring
        size_t pitch, ring_pitch
        int ring_rows
        int16_t* line
        int16_t* out
        size_t out_pitch
        const uint8_t** lines
        NovaPngTarget* targets
        int count, done
        uint8_t alpha

    const NovaPngKernels* nova_png_kernels(const char* name)
    int nova_png_feed(NovaPngJob* job, const uint8_t* data, size_t size)
