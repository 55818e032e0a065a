"""The compiled JPEG path's C side (ext/csrc/nova_jpeg.h), as much of it as Cython sees."""
from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int16_t, int32_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from "nova_jpeg.h" nogil:
    enum:
        JPEG_OK
        JPEG_NOT_JPEG
        JPEG_UNSUPPORTED
        JPEG_MEMORY
        JPEG_FILE_TOO_LARGE
        JPEG_BAD_TARGET
        JPEG_MAX_ICC
        JPEG_MAX_COPYRIGHT
        JPEG_MAX_TARGETS
        JPEG_MAX_SIDE
        JPEG_LANCZOS3
        JPEG_AREA
        JPEG_OUT_JPEG
        JPEG_OUT_PLANES
        JPEG_OUT_RGB
        JPEG_STREAM

    ctypedef struct NovaJpegArena:
        size_t used, limit

    ctypedef struct NovaJpegWeights:
        int out, taps, widest
        int32_t* start
        int32_t* count
        int16_t* weights

    ctypedef struct NovaJpegComponent:
        uint8_t h, v

    ctypedef struct NovaJpegFile:
        const uint8_t* data
        size_t size
        uint8_t progressive, components, orientation, has_icc, has_exif, reason
        uint16_t width, height
        uint32_t max_scans
        double deadline
        NovaJpegComponent[4] c
        size_t[256] icc_at
        uint32_t[256] icc_size
        uint8_t icc_count
        size_t copyright_at
        uint32_t copyright_size
        NovaJpegArena* arena
        const NovaJpegKernels* k

    ctypedef struct NovaJpegKernels:
        const char* name
        size_t (*unstuff)(const uint8_t* source, size_t size, uint8_t* to, size_t room, size_t* used, int* marker) noexcept nogil
        void (*idct)(const int16_t* block, uint8_t* to, ptrdiff_t pitch, int n) noexcept nogil
        void (*vertical)(const uint8_t* const* rows, const int16_t* weights, int count, int16_t* to, int width) noexcept nogil
        void (*horizontal)(const int16_t* source, const int32_t* start, const int16_t* weights, int taps, uint8_t* to, int width) noexcept nogil
        void (*fdct)(const uint8_t* source, ptrdiff_t pitch, int16_t* to) noexcept nogil
        void (*quantise)(const int16_t* source, const float* reciprocal, int16_t* to) noexcept nogil

    ctypedef struct NovaJpegOptions:
        int quality, max_bytes, progressive, optimize
        const uint8_t* icc
        size_t icc_size
        const uint8_t* copyright
        size_t copyright_size

    ctypedef struct NovaJpegOut:
        uint8_t* data
        size_t size, cap
        int quality, fits

    ctypedef struct NovaJpegPlane:
        uint8_t* data
        int width, height, pitch, rows

    ctypedef struct NovaJpegTarget:
        int width, height
        double x, y, w, h
        int output, sub, filter
        NovaJpegOptions options
        NovaJpegOut out
        int plane_count
        int[3] plane_at
        int[3] plane_w
        int[3] plane_h

    ctypedef struct NovaJpegJob:
        NovaJpegTarget* targets
        int count, orient, fast, linear, placeholder
        uint64_t max_pixels
        NovaJpegFile* file
        NovaJpegArena arena
        uint8_t[3] color
        uint8_t[25] hash
        int hash_size

    void* nova_jpeg_alloc(NovaJpegArena* arena, size_t size)
    void nova_jpeg_free(NovaJpegArena* arena)
    int nova_jpeg_weigh(NovaJpegArena* arena, NovaJpegWeights* to, int out, double origin, double step, int size, int filter, int multiple)
    const NovaJpegKernels* nova_jpeg_kernels(const char* name)
    void nova_jpeg_init()
    int nova_jpeg_open(NovaJpegFile* f, uint64_t max_pixels)
    int nova_jpeg_run(NovaJpegJob* job)
    void nova_jpeg_pad(NovaJpegPlane* p)
    int nova_jpeg_from_rgb(NovaJpegArena* arena, const uint8_t* rgb, int channels, int width, int height, int sub, int shift_x, int shift_y,
                           NovaJpegPlane* planes)
    int nova_jpeg_resize_packed(NovaJpegArena* arena, const NovaJpegKernels* k, const uint8_t* source, int in_width, int in_height,
                                int channels, const double* window, int width, int height, uint8_t* to)
    int nova_jpeg_encode(const NovaJpegKernels* k, NovaJpegArena* arena, const NovaJpegPlane* planes, int count, int sub,
                         const NovaJpegOptions* options, NovaJpegOut* out)

cdef const NovaJpegKernels* kernels_named(str name) except NULL
# For the PNG path, which resizes as this one does.
cdef void* arena_alloc(NovaJpegArena* arena, size_t size) noexcept nogil
cdef void arena_free(NovaJpegArena* arena) noexcept nogil
cdef int weigh(NovaJpegArena* arena, NovaJpegWeights* to, int out, double origin, double step, int size, int filter, int multiple) noexcept nogil
