"""JPEG: a header and a whole job on damaged files; plain C and the best kernels of this machine give the same answer."""

from nova.ext import jpeg
from tests.exact import exact
from tests.fuzz.registry import target

PIXELS = bytes((x * 7 + y * 3 + c * 40 + (x * y) % 17 * 5) & 255 for y in range(24) for x in range(40) for c in range(3))
KINDS: list[dict[str, object]] = [
    {},
    {"optimize": True},
    {"progressive": True},
    {"subsampling": 444},
    {"progressive": True, "subsampling": 444},
]
SEEDS = [jpeg.encode(PIXELS, 40, 24, quality=quality, **kind).data for kind in KINDS for quality in (30, 92)]  # type: ignore[arg-type]
SEEDS += [jpeg.encode(PIXELS[: 40 * 24], 40, 24, **kind).data for kind in KINDS[:3]]  # type: ignore[arg-type]
SEEDS += [jpeg.encode(PIXELS, 40, 24, copyright="nobody", icc=bytes(300)).data]
WORDS = [
    b"\xff\xd8",
    b"\xff\xd9",
    b"\xff\xd0",
    b"\xff\xdd\x00\x04\x00\x01",
    b"\xff\x00",
    b"\xff\xda\x00\x0c\x03\x01\x00\x02\x11\x03\x11\x00\x3f\x00",
    b"\xff\xda\x00\x08\x01\x01\x00\x01\x3f\x21",
    b"\xff\xda\x00\x08\x01\x01\x00\x06\x3f\x02",
    b"\xff\xc2\x00\x11\x08\x00\x18\x00\x28\x03\x01\x22\x00\x02\x11\x01\x03\x11\x01",
    b"\xff\xe1\x00\x22Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0",
    b"\x41",
    b"\x14\x11",
]


def answer(data: bytes, kernels: str) -> object:
    targets = [
        jpeg.Target(30, 17),
        jpeg.Target(9, 9, output="rgb", window=(1, 1, 6.5, 6.5), filter="area"),
        jpeg.Target(5, 4, output="planes"),
        jpeg.Target(1, 1),
        jpeg.Target(1, 90, output="rgb"),
    ]
    try:
        made = jpeg.thumbnail(exact(data), targets, placeholder=True, memory=32 << 20, max_pixels=1 << 18, kernels=kernels)
    except jpeg.JpegError as error:
        return jpeg.CODES[jpeg.CODES.index(error.code)]
    return [result.data for result in made.results], made.color, made.thumbhash


@target("jpeg", seeds=SEEDS, words=WORDS)
def whole_job(data: bytes) -> object:
    plain, best = answer(data, "scalar"), answer(data, "")
    assert plain == best
    try:
        said = jpeg.probe(exact(data), max_pixels=1 << 18)
    except jpeg.JpegError as error:
        assert isinstance(plain, str)
        return error.code
    return plain if isinstance(plain, str) else "made", said.progressive, said.components, said.orientation


@target(
    "resize-linear",
    seeds=[
        bytes([c, *shape]) + bytes(range(200)) for c in (1, 3, 4) for shape in ((5, 7, 3, 2, 0), (40, 3, 9, 30, 77), (3, 47, 59, 1, 200))
    ],
    words=[b"\0", b"\x01", b"\xff"],
)
def resize_linear(data: bytes) -> object:
    """Packed samples of any shape and window: plain C and the best kernels agree, and nothing beside them is read."""
    if len(data) < 6:
        return "short"
    channels, width, height = (1, 3, 4)[data[0] % 3], data[1] % 48 + 1, data[2] % 48 + 1
    to_width, to_height, part = data[3] % 60 + 1, data[4] % 60 + 1, data[5]
    samples = exact((data[6:] * (width * height * channels // max(1, len(data) - 6) + 1) or bytes(10_000))[: width * height * channels])
    window = None if part % 2 else (part / 9 - 9, part / 7 - 5, 1 + part / 5, 0.5 + part / 3)
    plain, best = (
        jpeg.resize_linear(samples, width, height, channels, to_width, to_height, window=window, kernels=kernels)
        for kernels in ("scalar", "")
    )
    assert plain == best
    assert len(plain) == to_width * to_height * channels
    return channels, window is None
