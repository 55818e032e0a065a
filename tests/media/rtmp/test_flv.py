"""FLV files: strict reading in any split, and what the builders write."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nova.media.rtmp import flv
from nova.media.rtmp.flv import FlvError, FlvReader, Tag

tags = st.lists(st.builds(Tag, st.sampled_from([8, 9, 18]), st.integers(0, 2**32 - 1), st.binary(max_size=50)), max_size=6)
HEADER = flv.file_header(audio=True, video=True)


@given(tags, st.integers(1, 40))
def test_any_split_gives_the_same_tags(expected: list[Tag], step: int) -> None:
    data = HEADER + b"".join(map(flv.tag_bytes, expected))
    reader = FlvReader()
    got = [tag for at in range(0, len(data), step) for tag in reader.feed(data[at : at + step])]
    reader.finish()
    assert got == expected


@pytest.mark.parametrize(
    "data",
    [
        b"FLX", b"FLV\x02", HEADER[:9] + b"\x00\x00\x00\x01",
        b"FLV\x01\x05\x00\x00\x00\x08" + bytes(5), b"FLV\x01\x05\xff\xff\xff\xff" + bytes(5),
        HEADER + b"\x29" + flv.tag_bytes(Tag(9, 0, b"abc"))[1:],
        HEADER + b"\x07" + flv.tag_bytes(Tag(9, 0, b"abc"))[1:],
        HEADER + flv.tag_bytes(Tag(9, 0, b"abc"))[:-1] + b"\x00",
    ],
)  # fmt: skip
def test_what_is_not_flv_is_refused(data: bytes) -> None:
    with pytest.raises(FlvError):
        FlvReader().feed(data)


def test_file_that_is_cut_short_is_refused_at_its_end() -> None:
    data = HEADER + flv.tag_bytes(Tag(9, 0, b"abc"))
    for cut in range(len(data)):
        reader = FlvReader()
        assert reader.feed(data[:cut]) == []
        if cut != len(HEADER):
            with pytest.raises(FlvError, match="cut short"):
                reader.finish()


def test_bodies_carry_what_the_specification_says() -> None:
    assert flv.avc_config(b"cfg") == b"\x17\x00\x00\x00\x00cfg"
    assert flv.avc_picture(b"nal", key=True) == b"\x17\x01\x00\x00\x00nal"
    assert flv.avc_picture(b"nal", key=False, composition_ms=-1) == b"\x27\x01\xff\xff\xffnal"
    assert flv.aac_config(b"cfg") == b"\xaf\x00cfg"
    assert flv.aac_frame(b"raw") == b"\xaf\x01raw"
