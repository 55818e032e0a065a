"""PNG rows: filters against their few lines of Python, sizes against floating point, and any split of what comes."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nova.ext.png import File, PngError, Shrinker
from tests.ext.jpeg_files import Floats, lanczos, picture, psnr
from tests.ext.png_files import SIGNATURE, Samples, chunk, filtered, ihdr, png, rows_of

KERNELS = ("scalar", "")
Window = tuple[float, float, float, float]


def shrunk(
    samples: Samples, targets: list[tuple[int, int, Window]], *, kernels: str = "", types: list[int] | None = None, split: int = 0
) -> list[Samples]:
    """Samples through the filters, pieces of random sizes, and back."""
    height, width, channels = samples.shape
    data = filtered(rows_of(samples), channels, types or [y % 5 for y in range(height)])
    machine = Shrinker(width, height, channels, [(w, h, *window) for w, h, window in targets], kernels=kernels)
    pieces, at = random.Random(split), 0
    while at < len(data):
        step = pieces.randrange(1, 3 * width * channels) if split else len(data)
        assert not machine.done
        machine.feed(data[at : at + step])
        at += step
    assert machine.done
    given = 4 if channels == 2 else channels
    return [np.frombuffer(made, np.uint8).reshape(h, w, given) for made, (w, h, _) in zip(machine.results(), targets, strict=True)]


@given(
    seed=st.integers(0, 2**32 - 1), width=st.integers(1, 70), height=st.integers(1, 14), channels=st.sampled_from([1, 3, 4]),
    split=st.integers(0, 1000), data=st.data(),
)  # fmt: skip
def test_filters_are_undone_whatever_they_are_and_however_they_come(
    seed: int, width: int, height: int, channels: int, split: int, data: st.DataObject
) -> None:
    samples = np.random.default_rng(seed).integers(0, 256, (height, width, channels)).astype(np.uint8)
    samples[..., 3:] = 255  # so that a result of the same size is the picture
    most = data.draw(st.integers(1, 4))  # types 0 to 2 wait for little, and have ways of their own
    types = data.draw(st.lists(st.integers(0, most), min_size=height, max_size=height))
    for kernels in KERNELS:
        (made,) = shrunk(samples, [(width, height, (0, 0, width, height))], kernels=kernels, types=types, split=split)
        assert made.tobytes() == samples.tobytes()


@given(
    seed=st.integers(0, 2**32 - 1), width=st.integers(1, 140), height=st.integers(1, 40), channels=st.integers(1, 4),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)), clear=st.booleans(),
)  # fmt: skip
def test_plain_c_and_the_machines_own_give_the_same_bits(
    seed: int, width: int, height: int, channels: int, size: tuple[int, int], clear: bool
) -> None:
    rng = np.random.default_rng(seed)
    samples = rng.integers(0, 256, (height, width, channels)).astype(np.uint8)
    if clear and channels in (2, 4):
        samples[..., -1] = rng.choice(np.array([0, 3, 255], np.uint8), (height, width))
    whole = (0.0, 0.0, float(width), float(height))
    part = (width / 7, height / 5, width / 2, height / 3)
    plain, best = (shrunk(samples, [(*size, whole), (*size, part)], kernels=kernels, split=seed % 7) for kernels in KERNELS)
    assert [made.tobytes() for made in plain] == [made.tobytes() for made in best]


@given(
    seed=st.integers(0, 2**32 - 1), width=st.integers(1, 90), height=st.integers(1, 60), channels=st.integers(1, 4),
    targets=st.lists(
        st.tuples(
            st.integers(1, 80), st.integers(1, 80), st.tuples(st.floats(-9, 99), st.floats(-9, 70), st.floats(0.1, 120), st.floats(0.1, 90))
        ),
        min_size=2, max_size=6,
    ),
)  # fmt: skip
def test_results_beside_each_other_are_those_of_one_alone(
    seed: int, width: int, height: int, channels: int, targets: list[tuple[int, int, Window]]
) -> None:
    """They share rows and buffers, but see them at different times; windows may lie beside the picture."""
    samples = np.random.default_rng(seed).integers(0, 256, (height, width, channels)).astype(np.uint8)
    together = shrunk(samples, targets, split=seed % 5)
    assert [made.tobytes() for made in together] == [shrunk(samples, [each])[0].tobytes() for each in targets]


def weighed(samples: Samples, width: int, height: int, window: Window | None) -> Floats:
    """The same in floating point: colours are weighed by alpha."""
    if samples.shape[2] == 2:
        samples = np.concatenate([samples[..., :1]] * 3 + [samples[..., 1:]], -1)
    if samples.shape[2] < 4:
        return np.clip(lanczos(samples, width, height, window), 0, 255)
    alpha = samples[..., 3:] / 255
    thick = lanczos(alpha, width, height, window)
    colour = lanczos(samples[..., :3] * alpha, width, height, window) / np.clip(thick, 1e-9, None)
    return np.clip(np.concatenate([colour, thick * 255], -1), 0, 255)


@pytest.mark.parametrize("window", [None, (20.0, 30.5, 101.0, 77.0)])
@pytest.mark.parametrize(("width", "height"), [(40, 31), (200, 150), (1, 1), (350, 230)])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_results_are_as_good_as_floating_point(channels: int, width: int, height: int, window: Window | None) -> None:
    colours = picture(301, 203)
    alpha = np.clip(picture(301, 203, seed=3)[..., :1].astype(int) * 2 - 60, 0, 255).astype(np.uint8)
    samples = np.concatenate([colours[..., : 3 if channels > 2 else 1], alpha][: 2 - channels % 2], -1)
    assert samples.shape[2] == channels
    (made,) = shrunk(samples, [(width, height, window or (0, 0, 301, 203))])
    want = weighed(samples, width, height, window)
    if channels % 2:
        assert psnr(made, want) > 50
        return
    assert psnr(made[..., 3], want[..., 3]) > 50
    seen = want[..., 3:] / 255  # colours count as much as is seen of them
    assert psnr(made[..., :3] * seen, want[..., :3] * seen) > 45


def test_what_shines_through_lends_no_colour() -> None:
    samples = np.zeros((64, 64, 4), np.uint8)
    samples[:, :32] = (0, 0, 255, 255)
    samples[:, 32:] = (255, 0, 0, 0)
    (made,) = shrunk(samples, [(16, 16, (0, 0, 64, 64))])
    assert made[..., 0].max() == 0
    assert made[8, 0].tolist() == [0, 0, 255, 255]
    assert made[8, 15].tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("clear", [False, True])
def test_a_palette_is_its_colours(clear: bool) -> None:
    rng = np.random.default_rng(4)
    palette = rng.integers(0, 256, (256, 4)).astype(np.uint8)
    palette[:, 3] = 255
    if clear:
        palette[:9, 3] = 0
    indexes = rng.integers(0, 256, (50, 70, 1)).astype(np.uint8)
    channels = 4 if clear else 3
    machine = Shrinker(70, 50, channels, [(30, 20, 0, 0, 70, 50)], palette=palette.tobytes())
    assert machine.feed(filtered(rows_of(indexes), 1, [y % 5 for y in range(50)]))
    assert machine.opaque is not clear
    (want,) = shrunk(palette[indexes[..., 0]][..., :channels], [(30, 20, (0, 0, 70, 50))])
    assert machine.results()[0] == want.tobytes()


def test_one_clear_pixel_is_found() -> None:
    for width, at in ((40, 39), (40, 3), (31, 30), (64, 33)):
        for channels in (2, 4):
            samples = np.full((9, width, channels), 255, np.uint8)
            samples[7, at, -1] = 254
            for kernels in KERNELS:
                machine = Shrinker(width, 9, channels, [], kernels=kernels)
                data = filtered(rows_of(samples), channels, [1] * 9)
                machine.feed(data[: 7 * (width * channels + 1)])
                assert machine.opaque
                machine.feed(data[7 * (width * channels + 1) :])
                assert not machine.opaque


def test_a_filter_that_there_is_not_is_an_error() -> None:
    for at in range(9):
        machine = Shrinker(3, 9, 1, [])
        rows = b"".join(bytes([5 if y == at else 0, 1, 2, 3]) for y in range(9))
        with pytest.raises(PngError, match="corrupt"):
            machine.feed(rows)
        assert not machine.done


def test_what_comes_behind_the_last_row_is_left_alone() -> None:
    machine = Shrinker(2, 1, 1, [(1, 1, 0, 0, 2, 1)])
    with pytest.raises(ValueError, match="not whole"):
        machine.results()
    assert machine.feed(b"\0\x0a\x0c" + b"\xff" * 100)
    assert machine.feed(b"\xff" * 100)
    assert machine.results() == [b"\x0b"]


def test_one_that_could_not_be_set_up_takes_nothing() -> None:
    machine = Shrinker.__new__(Shrinker)
    with pytest.raises(ValueError, match="side"):
        machine.__init__(4, 4, 1, [(0, 1, 0, 0, 4, 4)])  # type: ignore[misc]
    with pytest.raises(ValueError, match="not set up"):
        machine.feed(bytes(20))
    with pytest.raises(ValueError, match="not whole"):
        machine.results()


def test_values_out_of_range_are_refused() -> None:
    for wrong in ((0, 1, 1), (1, 0, 1), (1, 1, 0), (1, 1, 5), (1 << 21, 1, 1)):
        with pytest.raises(ValueError, match="no such picture"):
            Shrinker(*wrong, [])
    for target, what in (
        ((0, 1, 0, 0, 1, 1), "side"),
        ((1, 20_000, 0, 0, 1, 1), "side"),
        ((1, 1, 0, 0, 0, 1), "window"),
        ((1, 1, float("nan"), 0, 1, 1), "window"),
    ):
        with pytest.raises(ValueError, match=what):
            Shrinker(4, 4, 1, [target])
    with pytest.raises(ValueError, match="palette"):
        Shrinker(4, 4, 1, [], palette=bytes(1024))
    with pytest.raises(ValueError, match="palette"):
        Shrinker(4, 4, 3, [], palette=bytes(768))
    with pytest.raises(ValueError, match="targets"):
        Shrinker(4, 4, 1, [(1, 1, 0, 0, 4, 4)] * 33)
    with pytest.raises(ValueError, match="no such kernels"):
        Shrinker(4, 4, 1, [], kernels="mmx")


def test_memory_has_a_bound() -> None:
    with pytest.raises(PngError, match="memory"):
        Shrinker(50_000, 1000, 4, [(1, 1, 0, 0, 50_000, 1000)], memory=64 << 20)


# -- chunks -----------------------------------------------------------------------------------------------------------------


def test_the_chunks_of_a_file_and_its_compressed_bytes() -> None:
    samples = picture(40, 30)
    whole = png(samples)
    data = png(samples, before=chunk(b"gAMA", bytes(4)), after=chunk(b"tEXt", b"a\0b"), piece=7)
    file = File(data)
    assert [name for name, _, _ in file.chunks] == [b"IHDR", b"gAMA", b"tEXt", b"IEND"]
    assert [data[at:end] for _, at, end in file.chunks][1:3] == [chunk(b"gAMA", bytes(4)), chunk(b"tEXt", b"a\0b")]
    assert (file.before, file.odd) == (2, False)
    at = whole.index(b"IDAT")
    packed = whole[at + 4 : at + 4 + int.from_bytes(whole[at - 4 : at], "big")]
    for most in (1, 5, 7, 11, 1000, 1 << 20):
        file, found = File(data), b""
        while piece := file.read(most):
            assert len(piece) <= most
            found += piece
        assert found == packed
        assert file.read(most) == b""


@given(cut=st.floats(0, 1), piece=st.integers(1, 60), most=st.integers(1, 90))
def test_a_file_that_ends_anywhere_gives_what_it_has(cut: float, piece: int, most: int) -> None:
    data = png(picture(9, 7), piece=piece)
    short = data[: 8 + int(cut * (len(data) - 8))]
    file, found = File(short), b""
    while got := file.read(most):
        found += got
    whole, all_ = File(data), b""
    while got := whole.read(most):
        all_ += got
    assert all_.startswith(found)
    assert all(end <= len(short) for _, _, end in file.chunks)


def test_empty_chunks_and_a_second_run() -> None:
    head = SIGNATURE + ihdr(1, 1, 0)
    data = head + chunk(b"IDAT") + chunk(b"IDAT", b"ab") + chunk(b"IDAT") + chunk(b"IDAT", b"c") + chunk(b"tIME") + chunk(b"IDAT", b"no")
    file = File(data)
    assert [file.read(2), file.read(2), file.read(2)] == [b"ab", b"c", b""]
    assert File(head).read(4) == b"" and File(head).before == -1


def test_frames_of_an_animation_are_no_chunks_of_a_picture() -> None:
    head, frame = SIGNATURE + ihdr(1, 1, 0) + chunk(b"acTL", bytes(8)), chunk(b"fcTL", bytes(26)) + chunk(b"fdAT", bytes(9)) * 4
    file = File(head + chunk(b"IDAT", b"ab") + frame * 1000 + chunk(b"IEND"))
    assert [name for name, _, _ in file.chunks] == [b"IHDR", b"IEND"]
    assert (file.animated, file.odd, file.before, file.read(9)) == (True, False, 1, b"ab")
    assert not File(SIGNATURE + ihdr(1, 1, 0) + chunk(b"IDAT", b"ab")).animated
    with pytest.raises(PngError, match="too_many_chunks"):
        File(head + frame * 20, max_chunks=1)


def test_a_file_that_is_made_anew_forgets_the_one_before() -> None:
    file = File(SIGNATURE + ihdr(1, 1, 0) + chunk(b"IDAT", bytes(1000)))
    assert len(file.read(10)) == 10
    file.__init__(SIGNATURE + ihdr(1, 1, 0) + chunk(b"IDAT", b"ab"))  # type: ignore[misc]
    assert file.read(2000) == b"ab"


def test_files_that_are_built_wrong_are_odd() -> None:
    head = SIGNATURE + ihdr(1, 1, 0)
    for rest in (b"\xff\xff\xff\xffIDAT", b"\0\0\0\x01ID T", b"\0\0\0\x09tEXtabc"):
        assert File(head + rest).odd
    assert not File(head + b"\0\0\0\x09IDATabc").odd
    with pytest.raises(PngError, match="not_png"):
        File(b"\x89PNG")
    many = head + chunk(b"tIME") * 2000
    with pytest.raises(PngError, match="too_many_chunks"):
        File(many)
    assert len(File(many, max_chunks=3000).chunks) == 2001
    assert not File(head + chunk(b"IDAT", b"x") * 5000).odd
