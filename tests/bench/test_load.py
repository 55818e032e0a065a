"""The load generators against servers that are known: they count right, and they notice wrong answers."""

import os
import subprocess
from pathlib import Path

import pytest

from bench.hls import Frame, Part, closers, next_part, sample_sizes
from bench.load import built, run
from tests.conformance.echo import echo_server

CORE = max(os.sched_getaffinity(0))


def test_http_load_counts_answers_and_opens_its_window_once() -> None:
    opened: list[bool] = []
    with echo_server() as (_, port):
        said = run("http_load", CORE, "-p", port, "-c", 4, "-w", 0.1, "-d", 0.2, "/", at_go=lambda: opened.append(True))
    assert opened == [True]
    assert said["answers"] > 0
    assert said["errors"] == said["reconnects"] == 0


def test_http_load_gives_up_on_another_status() -> None:
    with echo_server() as (_, port):
        ended = subprocess.run([built("http_load"), "-p", str(port), "-s", "404", "/"], capture_output=True, text=True)
    assert ended.returncode == 2
    assert "not the answer that was expected" in ended.stderr


@pytest.mark.parametrize("name", ["rtmp_load", "hls_park"])
def test_generator_says_how_it_is_used(name: str) -> None:
    ended = subprocess.run([built(name)], capture_output=True, text=True)
    assert ended.returncode == 2
    assert f"usage: {name}" in ended.stderr


def test_rtmp_load_refuses_what_is_no_flv(tmp_path: Path) -> None:
    (tmp_path / "x.flv").write_bytes(b"no FLV" * 10)
    ended = subprocess.run([built("rtmp_load"), "-p", "1", tmp_path / "x.flv"], capture_output=True, text=True)
    assert ended.returncode == 2
    assert "no FLV file" in ended.stderr


def box(kind: bytes, *inner: bytes) -> bytes:
    body = b"".join(inner)
    return (8 + len(body)).to_bytes(4, "big") + kind + body


def numbers(*values: int) -> bytes:
    return b"".join(value.to_bytes(4, "big") for value in values)


def test_sample_sizes_come_from_trun_or_from_the_default() -> None:
    sized = box(b"traf", box(b"tfhd", numbers(0x020000, 1)), box(b"trun", numbers(0x000301, 2, 100, 1, 500, 2, 600)))
    default = box(b"traf", box(b"tfhd", numbers(0x020018, 2, 7, 64)), box(b"trun", numbers(0, 3)))
    assert sample_sizes(box(b"moof", sized, default) + box(b"mdat", bytes(9))) == [[500, 600], [64, 64, 64]]


def test_part_is_found_among_published_frames_by_its_sizes() -> None:
    sent = [Frame(i * 33, 5 + size, i * 1000) for i, size in enumerate([40, 900, 100, 110, 120, 130, 100, 110, 1])]
    parts = [Part(1, 0, 0, True, [[3, 3], [900, 100]]), Part(1, 1, 0, True, [[110, 120]]), Part(1, 2, 0, True, [[130, 100]])]
    assert closers(parts, sent) == {(1, 0): (2000, 3000), (1, 1): (4000, 5000), (1, 2): (6000, 7000)}


def test_next_part_counts_from_the_last_segment() -> None:
    playlist = (
        "#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:7\n#EXT-X-PART:x\n#EXTINF:2,\na\n#EXT-X-PART:x\n#EXT-X-PART:x\n#EXTINF:2,\nb\n#EXT-X-PART:x\n"
    )
    assert next_part(playlist) == (9, 1)
    assert next_part("#EXTM3U\n") == (0, 0)
