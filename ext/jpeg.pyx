# nova: sources=ext/csrc/jpeg_parse.c,ext/csrc/jpeg_tables.c,ext/csrc/jpeg_entropy.c,ext/csrc/jpeg_entropy_avx2.c,ext/csrc/jpeg_decode.c,ext/csrc/jpeg_kernels.c,ext/csrc/jpeg_kernels_avx2.c,ext/csrc/jpeg_resize.c,ext/csrc/jpeg_color.c,ext/csrc/jpeg_linear.c,ext/csrc/jpeg_encode.c,ext/csrc/jpeg_job.c libraries=m
"""JPEG to smaller JPEGs, without a colour round trip: only the coefficients that the targets need, rows of MCUs, every size from one
decode (ITU-T T.81; the C is in ext/csrc/jpeg_*.c).

Pure: no I/O, no state between calls, no GIL while it computes. What is right but not for this path raises `unsupported`: the caller
has a slow path. Truncated or damaged data is an error, never half a picture.
"""
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.math cimport INFINITY, isfinite
from libc.stdlib cimport free
from libc.string cimport memset

nova_jpeg_init()

CODES = ("not_jpeg", "unsupported", "truncated", "corrupt", "too_large", "too_many_scans", "too_many_segments", "file_too_large", "deadline",
         "memory", "bad_target")
REASONS = ("", "cmyk", "rgb", "precision", "arithmetic", "lossless", "hierarchical", "components")

cdef dict OUTPUTS = {"jpeg": JPEG_OUT_JPEG, "planes": JPEG_OUT_PLANES, "rgb": JPEG_OUT_RGB}
cdef dict FILTERS = {"lanczos3": JPEG_LANCZOS3, "area": JPEG_AREA}
cdef size_t FILE_ROOM = 512 * 1024  # bytes for the tables of one file, beside the job's planes


class JpegError(ValueError):
    """code: one of CODES. detail: a fact for the log, never content."""

    def __init__(self, code: str, detail: str = "") -> None:
        super().__init__(f"{code}: {detail}" if detail else code)
        self.code = code
        self.detail = detail


cdef object error(int code, NovaJpegFile* f):
    detail = REASONS[f.reason] if code == JPEG_UNSUPPORTED else ""
    return JpegError(CODES[code - 1], detail)


cdef class Info:
    """What the header says. width, height: as stored."""

    cdef readonly int width, height, orientation, components
    cdef readonly tuple sampling
    cdef readonly bint progressive, supported, icc, exif
    cdef readonly str reason, copyright
    cdef readonly bytes icc_profile

    @property
    def upright_width(self):
        return self.height if self.orientation >= 5 else self.width

    @property
    def upright_height(self):
        return self.width if self.orientation >= 5 else self.height


cdef Info describe(NovaJpegFile* f):
    cdef Info info = Info()
    cdef size_t total = 0
    cdef int i
    info.width = f.width
    info.height = f.height
    info.orientation = f.orientation
    info.components = f.components
    info.sampling = tuple([(f.c[i].h, f.c[i].v) for i in range(min(f.components, 4))])
    info.progressive = f.progressive
    info.supported = f.reason == 0
    info.reason = REASONS[f.reason]
    info.icc = f.has_icc
    info.exif = f.has_exif
    info.icc_profile = b""
    parts = []
    for i in range(1, f.icc_count + 1):
        total += f.icc_size[i]
        if f.icc_size[i] == 0 or total > JPEG_MAX_ICC:
            parts = []
            break
        parts.append(PyBytes_FromStringAndSize(<const char*> f.data + f.icc_at[i], f.icc_size[i]))
    info.icc_profile = b"".join(parts)
    text = PyBytes_FromStringAndSize(<const char*> f.data + f.copyright_at, f.copyright_size)
    # Photographer and editor, each ended by NUL (EXIF 2.3, 4.6.4.D).
    info.copyright = "; ".join(part.decode("utf-8", "replace").strip() for part in text.split(b"\0") if part.strip())
    return info


cdef class Target:
    """One result: exactly width x height pixels, upright, of a window of the upright source (None: all of it).

    max_bytes: above 0, the highest quality up to `quality` whose file fits, 10 at least.
    Raises ValueError: a value out of its range.
    """

    cdef readonly int width, height, quality, max_bytes, subsampling
    cdef readonly bint progressive, optimize
    cdef readonly str output, filter, copyright
    cdef readonly bytes icc
    cdef readonly object window
    cdef bytes rights

    def __init__(self, int width, int height, *, window=None, str output="jpeg", int quality=80, int max_bytes=0, int subsampling=420,
                 bint progressive=False, bint optimize=False, str filter="lanczos3", bytes icc=b"", str copyright=""):
        if not (1 <= width <= JPEG_MAX_SIDE and 1 <= height <= JPEG_MAX_SIDE):
            raise ValueError(f"a side is 1 to {JPEG_MAX_SIDE} pixels")
        if output not in OUTPUTS or filter not in FILTERS:
            raise ValueError("unknown output or filter")
        self.rights = copyright.encode()
        check_options(quality, max_bytes, subsampling, icc, self.rights)
        if window is not None:
            window = tuple([float(value) for value in window])
            if len(window) != 4 or not all([isfinite(value) for value in window]) or window[2] <= 0 or window[3] <= 0:
                raise ValueError("a window is x, y, width, height")
        self.width, self.height, self.window, self.output, self.filter = width, height, window, output, filter
        self.quality, self.max_bytes, self.subsampling = quality, max_bytes, subsampling
        self.progressive, self.optimize, self.icc, self.copyright = progressive, optimize, icc, copyright


cdef int check_options(int quality, int max_bytes, int subsampling, bytes icc, bytes rights) except -1:
    if not 1 <= quality <= 100 or max_bytes < 0:
        raise ValueError("quality is 1 to 100, max_bytes is not negative")
    if subsampling not in (420, 444):
        raise ValueError("subsampling is 420 or 444")
    if len(icc) > JPEG_MAX_ICC or len(rights) > JPEG_MAX_COPYRIGHT:
        raise ValueError("profile or copyright too long")
    return 0


cdef void set_options(NovaJpegOptions* o, int quality, int max_bytes, bint progressive, bint optimize, bytes icc, bytes rights):
    """Borrows the bytes."""
    o.quality = quality
    o.max_bytes = max_bytes
    o.progressive = progressive
    o.optimize = optimize
    o.icc = icc
    o.icc_size = len(icc)
    o.copyright = rights
    o.copyright_size = len(rights)


cdef class Result:
    cdef readonly int width, height, quality
    cdef readonly bytes data
    cdef readonly tuple planes
    cdef readonly bint fits


cdef class Thumbnails:
    cdef readonly Info info
    cdef readonly list results
    cdef readonly str color
    cdef readonly bytes thumbhash


cdef const NovaJpegKernels* kernels_named(str name) except NULL:
    """ "scalar", "avx2", or "" for the best of this machine."""
    cdef bytes said = name.encode()
    cdef const NovaJpegKernels* k = nova_jpeg_kernels(said)
    if k == NULL:
        raise ValueError("this machine has no such kernels")
    return k


cdef void* arena_alloc(NovaJpegArena* arena, size_t size) noexcept nogil:
    return nova_jpeg_alloc(arena, size)


cdef void arena_free(NovaJpegArena* arena) noexcept nogil:
    nova_jpeg_free(arena)


cdef int weigh(NovaJpegArena* arena, NovaJpegWeights* to, int out, double origin, double step, int size, int filter, int multiple) noexcept nogil:
    return nova_jpeg_weigh(arena, to, out, origin, step, size, filter, multiple)


cdef NovaJpegFile* new_file(NovaJpegArena* arena, const Py_buffer* view, object max_file, const NovaJpegKernels* k) except NULL:
    cdef NovaJpegFile* f
    if view.len > max_file:
        raise JpegError("file_too_large", f"{view.len} bytes")
    f = <NovaJpegFile*> nova_jpeg_alloc(arena, sizeof(NovaJpegFile))
    if f == NULL:
        raise JpegError("memory")
    f.data = <const uint8_t*> view.buf
    f.size = <size_t> view.len
    f.arena = arena
    f.k = k
    f.max_scans = 100
    return f


def probe(data, *, uint64_t max_pixels=50_000_000, uint64_t max_file=64 << 20):
    """Read the header of `data` (not retained) up to its first scan.

    Raises JpegError.
    """
    cdef NovaJpegArena arena
    cdef NovaJpegFile* f
    cdef Py_buffer view
    cdef int rc
    memset(&arena, 0, sizeof(arena))
    arena.limit = FILE_ROOM
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        f = new_file(&arena, &view, max_file, kernels_named(""))
        rc = nova_jpeg_open(f, max_pixels)
        if rc != JPEG_OK:
            raise error(rc, f)
        return describe(f)
    finally:
        nova_jpeg_free(&arena)
        PyBuffer_Release(&view)


cdef Result result_of(NovaJpegTarget* t):
    cdef Result result = Result()
    cdef int i
    result.width = t.width
    result.height = t.height
    result.quality = t.out.quality
    result.fits = t.out.fits
    result.data = PyBytes_FromStringAndSize(<const char*> t.out.data, <Py_ssize_t> t.out.size)
    result.planes = tuple([(t.plane_at[i], t.plane_w[i], t.plane_h[i]) for i in range(t.plane_count)])
    return result


def thumbnail(data, targets, *, bint orient=True, bint fast=False, bint linear=False, bint placeholder=False, double deadline=INFINITY,
              uint64_t memory=256 << 20, uint64_t max_pixels=50_000_000, uint64_t max_file=64 << 20, uint32_t max_scans=100,
              str kernels=""):
    """Make every target of `data` (not retained) from one decode.

    fast: fewer coefficients, up to 1 dB less. linear: resize in linear light (sRGB's curve), dearer. deadline: time.monotonic() seconds, looked at once a row of MCUs. memory: bytes that the
    job may take. kernels: "scalar", "avx2", or "" for the best of this machine.
    Raises JpegError; ValueError for kernels that this machine has not.
    """
    cdef NovaJpegJob job
    cdef NovaJpegTarget[JPEG_MAX_TARGETS] wanted
    cdef NovaJpegTarget* t
    cdef Target target
    cdef Thumbnails found
    cdef Py_buffer view
    cdef int i, rc
    cdef const NovaJpegKernels* k = kernels_named(kernels)
    given = list(targets)
    if len(given) > JPEG_MAX_TARGETS:
        raise JpegError("bad_target", f"more than {JPEG_MAX_TARGETS}")
    memset(&job, 0, sizeof(job))
    memset(wanted, 0, sizeof(wanted))
    for i, target in enumerate(given):
        t = &wanted[i]
        t.width = target.width
        t.height = target.height
        if target.window is not None:
            t.x, t.y, t.w, t.h = target.window
        t.output = OUTPUTS[target.output]
        t.filter = FILTERS[target.filter]
        t.sub = 2 if target.subsampling == 420 else 1
        set_options(&t.options, target.quality, target.max_bytes, target.progressive, target.optimize, target.icc, target.rights)
    job.targets = wanted
    job.count = len(given)
    job.orient = orient
    job.fast = fast
    job.linear = linear
    job.placeholder = placeholder
    job.max_pixels = max_pixels
    job.arena.limit = memory
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        job.file = new_file(&job.arena, &view, max_file, k)
        job.file.max_scans = max_scans
        job.file.deadline = deadline if isfinite(deadline) else 0
        with nogil:
            rc = nova_jpeg_run(&job)
        if rc != JPEG_OK:
            raise error(rc, job.file)
        found = Thumbnails()
        found.info = describe(job.file)
        found.results = [result_of(&wanted[i]) for i in range(job.count)]
        found.color = "#%02x%02x%02x" % (job.color[0], job.color[1], job.color[2]) if placeholder else ""
        found.thumbhash = PyBytes_FromStringAndSize(<const char*> job.hash, job.hash_size)
        return found
    finally:
        for i in range(job.count):
            if wanted[i].out.cap:
                free(wanted[i].out.data)
        nova_jpeg_free(&job.arena)
        PyBuffer_Release(&view)


def encode(data, int width, int height, *, int quality=80, int max_bytes=0, int subsampling=420, bint progressive=False, bint optimize=False,
           bytes icc=b"", str copyright="", uint64_t memory=256 << 20, str kernels=""):
    """A JPEG of packed RGB (3 * width * height bytes) or grey (width * height) samples.

    Raises ValueError: a value out of its range, or `data` of another size. JpegError: memory.
    """
    cdef NovaJpegTarget t
    cdef NovaJpegArena arena
    cdef NovaJpegPlane[3] planes
    cdef Py_buffer view
    cdef const NovaJpegKernels* k = kernels_named(kernels)
    cdef bytes rights = copyright.encode()
    cdef int rc, i, channels, sub = 2 if subsampling == 420 else 1
    if not (1 <= width <= JPEG_MAX_SIDE and 1 <= height <= JPEG_MAX_SIDE):
        raise ValueError(f"a side is 1 to {JPEG_MAX_SIDE} pixels")
    check_options(quality, max_bytes, subsampling, icc, rights)
    memset(&t, 0, sizeof(t))
    memset(&arena, 0, sizeof(arena))
    memset(planes, 0, sizeof(planes))
    arena.limit = memory
    t.width = width
    t.height = height
    set_options(&t.options, quality, max_bytes, progressive, optimize, icc, rights)
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        if view.len == <Py_ssize_t> width * height * 3:
            channels = 3
        elif view.len == <Py_ssize_t> width * height:
            channels = 1
        else:
            raise ValueError("neither RGB nor grey of this size")
        with nogil:
            rc = nova_jpeg_from_rgb(&arena, <const uint8_t*> view.buf, channels, width, height, sub, 0, 0, planes)
            if rc == JPEG_OK:
                for i in range(channels):
                    nova_jpeg_pad(&planes[i])
                rc = nova_jpeg_encode(k, &arena, planes, channels, sub, &t.options, &t.out)
        if rc != JPEG_OK:
            raise JpegError(CODES[rc - 1])
        return result_of(&t)
    finally:
        if t.out.cap:
            free(t.out.data)
        nova_jpeg_free(&arena)
        PyBuffer_Release(&view)


def resize_linear(data, int width, int height, int channels, int to_width, int to_height, *, window=None, uint64_t memory=256 << 20,
                  str kernels=""):
    """Packed samples (channels: 1 grey, 3 RGB, 4 RGBA; width * height * channels bytes, not retained) resized in linear light with
    Lanczos3: as many channels of to_width x to_height pixels. Colours are weighed by their alpha. window: x, y, width, height of the source.

    Raises ValueError: a value out of its range, or `data` of another size. JpegError: memory.
    """
    cdef NovaJpegArena arena
    cdef Py_buffer view
    cdef double[4] part
    cdef const NovaJpegKernels* k = kernels_named(kernels)
    cdef bytes made
    cdef uint8_t* to
    cdef int rc
    if not (1 <= to_width <= JPEG_MAX_SIDE and 1 <= to_height <= JPEG_MAX_SIDE and 1 <= width and 1 <= height):
        raise ValueError(f"a side is 1 to {JPEG_MAX_SIDE} pixels")
    if channels not in (1, 3, 4):
        raise ValueError("channels are 1, 3 or 4")
    given = (0, 0, width, height) if window is None else tuple(window)
    if len(given) != 4 or not all([isfinite(value) for value in given]) or given[2] <= 0 or given[3] <= 0:
        raise ValueError("a window is x, y, width, height")
    part[0], part[1], part[2], part[3] = given
    memset(&arena, 0, sizeof(arena))
    arena.limit = memory
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        if view.len != <Py_ssize_t> width * height * channels:
            raise ValueError("not the bytes of so many samples")
        made = PyBytes_FromStringAndSize(NULL, <Py_ssize_t> to_width * to_height * channels)
        to = <uint8_t*> PyBytes_AS_STRING(made)
        with nogil:
            rc = nova_jpeg_resize_packed(&arena, k, <const uint8_t*> view.buf, width, height, channels, part, to_width, to_height, to)
        if rc != JPEG_OK:
            raise JpegError(CODES[rc - 1])
        return made
    finally:
        nova_jpeg_free(&arena)
        PyBuffer_Release(&view)
