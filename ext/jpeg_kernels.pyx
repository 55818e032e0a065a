"""The kernels of the JPEG path one by one, each by the name of its instruction set: for the tests that hold them against their oracles
and against one another. Copies everything in and out, with the room behind that the kernels ask for.
"""
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int16_t, int32_t, uint8_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from nova.ext.jpeg cimport NovaJpegKernels, kernels_named

cdef enum:
    PAD = 64    # samples behind a row (JPEG_PAD)


def unstuff(str kernels, bytes data, size_t room):
    """(bytes, those read, the marker behind them; -1: none, 0: the end)."""
    cdef const NovaJpegKernels* k = kernels_named(kernels)
    cdef size_t used = 0, got
    cdef int marker = 0
    cdef uint8_t* to = <uint8_t*> calloc(1, room + 32)
    if to == NULL:
        raise MemoryError
    try:
        got = k.unstuff(<const uint8_t*> <const char*> data, <size_t> len(data), to, room, &used, &marker)
        return PyBytes_FromStringAndSize(<const char*> to, <Py_ssize_t> got), used, marker
    finally:
        free(to)


def idct(str kernels, bytes block, int n):
    """64 coefficients (int16) to n x n samples."""
    cdef const NovaJpegKernels* k = kernels_named(kernels)
    cdef uint8_t[8 * 16] out
    cdef int16_t[64 + 32] room
    cdef int16_t* aligned = <int16_t*> ((<size_t> &room[0] + 31) & ~<size_t> 31)
    if len(block) != 128 or not 1 <= n <= 8:
        raise ValueError("64 coefficients, n of 1 to 8")
    memcpy(aligned, <const char*> block, 128)
    k.idct(aligned, out, 16, n)
    return b"".join([PyBytes_FromStringAndSize(<const char*> &out[16 * y], n) for y in range(n)])


def vertical(str kernels, list rows, bytes weights):
    """Rows of samples and their weights (int16, an even number) to one row of int16."""
    cdef const NovaJpegKernels* k = kernels_named(kernels)
    cdef int count = <int> len(rows), width = <int> len(rows[0]), i
    if count & 1 or len(weights) != 2 * count:
        raise ValueError("an even number of rows, a weight for each")
    cdef uint8_t* from_ = <uint8_t*> calloc(<size_t> count, <size_t> width + PAD)
    cdef const uint8_t** lines = <const uint8_t**> calloc(<size_t> count, sizeof(uint8_t*))
    cdef int16_t* to = <int16_t*> calloc(<size_t> width + PAD, sizeof(int16_t))
    try:
        if from_ == NULL or lines == NULL or to == NULL:
            raise MemoryError
        for i in range(count):
            lines[i] = from_ + <size_t> i * (<size_t> width + PAD)
            memcpy(<void*> lines[i], <const char*> <bytes> rows[i], <size_t> width)
        k.vertical(lines, <const int16_t*> <const char*> weights, count, to, width)
        return PyBytes_FromStringAndSize(<const char*> to, 2 * width)
    finally:
        free(from_)
        free(lines)
        free(to)


def horizontal(str kernels, bytes line, bytes start, bytes weights, int taps):
    """A row of int16, the first input of each output (int32) and `taps` weights for each (int16) to samples; outputs come in eights."""
    cdef const NovaJpegKernels* k = kernels_named(kernels)
    cdef int width = <int> (len(start) // 4)
    cdef int16_t* from_
    cdef uint8_t* to
    if taps % 16 or width % 8 or len(weights) != 2 * width * taps:
        raise ValueError("taps in sixteens, outputs in eights")
    from_ = <int16_t*> calloc(<size_t> len(line) // 2 + <size_t> taps + PAD, sizeof(int16_t))
    to = <uint8_t*> calloc(1, <size_t> width + PAD)
    try:
        if from_ == NULL or to == NULL:
            raise MemoryError
        memcpy(from_, <const char*> line, <size_t> len(line))
        k.horizontal(from_, <const int32_t*> <const char*> start, <const int16_t*> <const char*> weights, taps, to, width)
        return PyBytes_FromStringAndSize(<const char*> to, width)
    finally:
        free(from_)
        free(to)


def fdct(str kernels, bytes samples):
    """8 x 8 samples to 64 coefficients (int16, 4 bits of fraction)."""
    cdef const NovaJpegKernels* k = kernels_named(kernels)
    cdef int16_t[64] out
    if len(samples) != 64:
        raise ValueError("64 samples")
    k.fdct(<const uint8_t*> <const char*> samples, 8, out)
    return PyBytes_FromStringAndSize(<const char*> out, 128)


def quantise(str kernels, bytes block, bytes reciprocal):
    """64 coefficients (int16) and factors (float32) to 64 of int16."""
    cdef const NovaJpegKernels* k = kernels_named(kernels)
    cdef int16_t[64] out
    if len(block) != 128 or len(reciprocal) != 256:
        raise ValueError("64 coefficients, 64 factors")
    k.quantise(<const int16_t*> <const char*> block, <const float*> <const char*> reciprocal, out)
    return PyBytes_FromStringAndSize(<const char*> out, 128)
