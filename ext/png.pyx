# nova: sources=ext/csrc/png_kernels.c,ext/csrc/png_kernels_avx2.c,ext/csrc/png_job.c
"""PNG to smaller pictures, row by row (PNG, third edition; the C is in ext/csrc/png_*.c).

Pure: no I/O, no clock, and no inflate: `File` finds the compressed bytes, whoever calls inflates them in pieces of any size, `Shrinker`
takes those. The results are there with the last row; never the whole picture is.
"""
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.math cimport isfinite
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

from nova.ext.jpeg cimport JPEG_LANCZOS3, JPEG_MAX_SIDE, NovaJpegArena, arena_alloc, arena_free, kernels_named, weigh

CODES = ("not_png", "too_many_chunks", "corrupt", "memory")
MAX_TARGETS = 32

cdef enum:
    MAX_WIDTH = 1 << 20     # pixels: rows stay far below what an int counts


class PngError(ValueError):
    """code: one of CODES."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


cdef inline uint32_t big_endian(const uint8_t* p) noexcept nogil:
    return <uint32_t> p[0] << 24 | <uint32_t> p[1] << 16 | <uint32_t> p[2] << 8 | p[3]


cdef bint is_name(const uint8_t* p) noexcept nogil:
    """Four letters (5.3)."""
    cdef int i
    for i in range(4):
        if not (c"A" <= (p[i] & 0xDF) <= c"Z"):
            return False
    return True


cdef inline bint named(const uint8_t* p, const char* name) noexcept nogil:
    return memcmp(p + 4, name, 4) == 0


cdef class File:
    """The chunks of a PNG up to its IEND or its end (5.3), and the bytes of its first run of IDATs, piece by piece. Checks no CRC.

    chunks: (name, first byte, end) of all but IDATs and those of animations, whole with length and CRC, no byte behind the file's end.
    before: how many of them come before the picture. animated: it has acTL, fcTL or fdAT. odd: it is not built as it should be; `chunks`
    ends there.
    Raises PngError: `not_png`; `too_many_chunks`: `chunks` would be longer than max_chunks, or those of animations are 64 times as many.
    """

    cdef readonly list chunks
    cdef readonly int before
    cdef readonly bint animated, odd
    cdef object held
    cdef const uint8_t* data
    cdef size_t size, at, left

    def __init__(self, bytes data not None, *, int max_chunks=1024):
        cdef size_t at = 8, length, behind
        cdef const uint8_t* p
        cdef Py_ssize_t moving = 0, most = max_chunks
        self.held = data
        self.data = p = <const uint8_t*> PyBytes_AS_STRING(data)
        self.size = <size_t> len(data)
        self.chunks = []
        self.before = -1
        self.left = 0
        self.animated = self.odd = False
        if not data.startswith(b"\x89PNG\r\n\x1a\n"):
            raise PngError("not_png")
        while self.size - at >= 8:
            length = big_endian(p + at)
            if length > 0x7FFFFFFF or not is_name(p + at + 4):
                self.odd = True
                break
            behind = at + 12 + length
            if named(p + at, b"IDAT"):
                if self.before < 0:
                    self.before = <int> len(self.chunks)
                    self.at = at
            elif named(p + at, b"fdAT") or named(p + at, b"fcTL") or named(p + at, b"acTL"):
                # Frames come in as many pieces as whoever wrote them liked: a few thousand are no attack.
                self.animated = True
                moving += 1
                if moving > 64 * most:
                    raise PngError("too_many_chunks")
            else:
                if len(self.chunks) >= most:
                    raise PngError("too_many_chunks")
                self.chunks.append((data[at + 4 : at + 8], at, min(behind, self.size)))
                if behind > self.size:
                    self.odd = True
                if named(p + at, b"IEND"):
                    break
            if behind > self.size:
                break
            at = behind

    def read(self, size_t most):
        """The next compressed bytes, `most` at most; nothing at the end of the run, or of the file."""
        cdef size_t got = 0, part, length
        cdef const uint8_t* p = self.data
        cdef bytes piece
        cdef uint8_t* to
        if self.before < 0:
            return b""
        piece = PyBytes_FromStringAndSize(NULL, <Py_ssize_t> most)
        to = <uint8_t*> PyBytes_AS_STRING(piece)
        with nogil:
            while got < most:
                if self.left == 0:
                    if self.size - self.at < 8 or not named(p + self.at, b"IDAT"):
                        break
                    length = big_endian(p + self.at)
                    self.at += 8
                    self.left = length if length < self.size - self.at else self.size - self.at
                    if self.left == 0:
                        self.at = self.at + 4 if self.size - self.at >= 4 else self.size
                        continue
                part = most - got if most - got < self.left else self.left
                memcpy(to + got, p + self.at, part)
                got += part
                self.at += part
                self.left -= part
                if self.left == 0:
                    self.at = self.at + 4 if self.size - self.at >= 4 else self.size  # the CRC
        return piece[:got] if got < most else piece


cdef class Shrinker:
    """Rows of a picture of `width` x `height` to smaller ones, by Lanczos3, colours weighed by their alpha.

    channels: 8-bit samples of a pixel: 1 grey, 2 grey and alpha, 3 RGB, 4 RGBA; with a palette (256 times RGBA, in bytes) what is made of
    its entries, 3 or 4. targets: (width, height, x, y, width, height) each, the last four a window of the picture, in its pixels.
    memory: bytes beside the results. kernels: "scalar", "avx2", or "" for the best of this machine.
    Raises PngError: memory; ValueError: a value out of its range.
    """

    cdef NovaPngJob job
    cdef NovaJpegArena arena
    cdef list made

    def __cinit__(self):
        memset(&self.job, 0, sizeof(self.job))
        memset(&self.arena, 0, sizeof(self.arena))

    def __dealloc__(self):
        arena_free(&self.arena)

    def __init__(self, int width, int height, int channels, targets, *, bytes palette=b"", size_t memory=64 << 20, str kernels=""):
        cdef NovaPngJob* job = &self.job
        cdef int stored = 1 if palette else channels, i
        cdef size_t line = 0, out = 0, lines = 0
        cdef NovaPngTarget* t
        if self.made is not None:
            raise ValueError("in use")
        if not (1 <= width <= MAX_WIDTH and 1 <= height <= 0x7FFFFFF0 and 1 <= channels <= 4):
            raise ValueError("no such picture")
        if palette and (len(palette) != 1024 or channels < 3):
            raise ValueError("a palette is 256 times RGBA, for 3 or 4 channels")
        given = list(targets)
        if len(given) > MAX_TARGETS:
            raise ValueError(f"more than {MAX_TARGETS} targets")
        self.made = []
        self.arena.limit = memory
        job.resize = kernels_named(kernels)
        job.k = nova_png_kernels(kernels.encode())
        if job.k == NULL:
            raise ValueError("this machine has no such kernels")
        job.width = width
        job.height = height
        job.bpp = stored
        job.channels = 4 if palette else channels
        job.given = 4 if channels == 2 else channels
        job.stride = <size_t> width * <size_t> stored
        job.alpha = 255
        job.pitch = (<size_t> width + PNG_PAD + 63) & ~<size_t> 63
        job.targets = <NovaPngTarget*> self.room((<size_t> len(given) + 1) * sizeof(NovaPngTarget))
        for i, target in enumerate(given):
            t = &job.targets[i]
            self.aim(t, target)
            job.ring_rows = max(job.ring_rows, t.down.widest)
            line = max(line, <size_t> t.columns + <size_t> t.across.taps)
            out = max(out, <size_t> t.across.out)
            lines = max(lines, <size_t> t.down.taps)
            job.count += 1
        job.ring_rows += PNG_ROWS
        if palette:
            job.palette = <const uint8_t*> self.room(1024)
            memcpy(<void*> job.palette, PyBytes_AS_STRING(palette), 1024)
            job.packed = <uint8_t*> self.room(4 * <size_t> width + PNG_PAD)
        job.staged = <uint8_t*> self.room(PNG_ROWS * (job.stride + 1))
        for i in range(PNG_ROWS + 1):
            job.rows[i] = <uint8_t*> self.room(job.stride + PNG_PAD)
        # An odd number of cache lines: the same column of all rows would else fall into few sets of the first cache.
        job.ring_pitch = <size_t> job.channels * job.pitch | 64
        job.ring = <uint8_t*> self.room(<size_t> job.ring_rows * job.ring_pitch)
        job.line = <int16_t*> self.room((line + PNG_PAD) * sizeof(int16_t))
        job.out_pitch = out + PNG_PAD
        job.out = <int16_t*> self.room(job.out_pitch * 4 * sizeof(int16_t))
        job.lines = <const uint8_t**> self.room((lines + 2) * sizeof(uint8_t*))

    cdef void* room(self, size_t size) except NULL:
        cdef void* found = arena_alloc(&self.arena, size)
        if found == NULL:
            raise PngError("memory")
        return found

    cdef int aim(self, NovaPngTarget* t, object target) except -1:
        cdef int width, height, i, behind = 0
        cdef double x, y, w, h
        cdef bytes made
        width, height, x, y, w, h = target
        if not (1 <= width <= JPEG_MAX_SIDE and 1 <= height <= JPEG_MAX_SIDE):
            raise ValueError(f"a side is 1 to {JPEG_MAX_SIDE} pixels")
        if not (isfinite(x) and isfinite(y) and isfinite(w) and isfinite(h) and w > 0 and h > 0):
            raise ValueError("a window is x, y, width, height")
        if weigh(&self.arena, &t.across, width, x, w / width, self.job.width, JPEG_LANCZOS3, 16) or \
                weigh(&self.arena, &t.down, height, y, h / height, self.job.height, JPEG_LANCZOS3, 2):
            raise PngError("memory")
        t.first = self.job.width
        for i in range(width):
            t.first = min(t.first, t.across.start[i])
            behind = max(behind, t.across.start[i] + t.across.count[i])
        t.first &= ~15  # as the kernels like it
        t.columns = behind - t.first
        for i in range(width):
            t.across.start[i] -= t.first
        made = PyBytes_FromStringAndSize(NULL, <Py_ssize_t> width * height * self.job.given)
        self.made.append(made)
        t.to = <uint8_t*> PyBytes_AS_STRING(made)
        return 0

    @property
    def done(self):
        """Whether the last row has come."""
        return self.job.done == self.job.height

    @property
    def rows(self):
        """How many have come."""
        return self.job.done

    @property
    def opaque(self):
        """Whether nothing shines through the rows that have come."""
        return self.job.alpha == 255

    def feed(self, data):
        """Takes more of what the file inflates to (any length, not retained); returns whether the picture is whole.

        Feeding the same bytes in any split gives the same; what comes behind the last row is left alone.
        Raises PngError `corrupt`: a filter that there is not.
        """
        cdef Py_buffer view
        cdef int rc
        if self.job.lines == NULL:
            raise ValueError("not set up")
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            with nogil:
                rc = nova_png_feed(&self.job, <const uint8_t*> view.buf, <size_t> view.len)
        finally:
            PyBuffer_Release(&view)
        if rc != PNG_OK:
            raise PngError("corrupt")
        return self.job.done == self.job.height

    def results(self):
        """Packed samples of each target: 1 channel, 3 (RGB) or 4 (RGBA). Raises ValueError before the picture is whole."""
        if self.job.done != self.job.height:
            raise ValueError("the picture is not whole")
        return list(self.made)
