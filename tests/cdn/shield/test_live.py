"""What playlists named is remembered within bounds, and only where something can leave."""

from urllib.parse import urljoin

from hypothesis import example, given
from hypothesis import strategies as st

from nova.cdn.shield.live import Windows


def playlist(first: int, count: int, end: bytes = b"") -> list[bytes]:
    return [b"#EXTM3U\n" + b"".join(b"#EXTINF:2,\n%d.m4s\n" % number for number in range(first, first + count)) + end]


def test_what_left_a_live_playlist_is_told_once() -> None:
    windows = Windows()
    assert windows.look(b"h/live/a.m3u8", 100, playlist(1, 3)) == set()
    assert windows.look(b"h/live/a.m3u8", 100, playlist(2, 3)) == {b"h/live/1.m4s"}
    assert windows.look(b"h/live/a.m3u8", 100, playlist(2, 3)) == set()
    assert windows.look(b"h/live/a.m3u8", 100, playlist(4, 1, b"#EXT-X-ENDLIST\n")) == {b"h/live/2.m4s", b"h/live/3.m4s"}
    assert windows.size == 0


_PATHS = st.text("ab./?:;# \t%", max_size=12)


@given(_PATHS, _PATHS)
@example("a/b.m3u8", "c/../d.mp4")
@example("a/../b.m3u8?c=/d/", "e.mp4")
@example("", "a//b.mp4?c")
@example("", "a?")
def test_names_are_resolved_as_urls_are(path: str, name: str) -> None:
    if not name or name.startswith(("#", "//", "http:", "https:")):
        return
    windows = Windows()
    windows.look(b"h/" + path.encode(), 100, [name.encode() + b"\n"])
    assert windows.look(b"h/" + path.encode(), 100, [b"#EXTM3U\n"]) == {b"h" + urljoin("/" + path, name).encode()}


def test_recordings_are_not_remembered() -> None:
    windows = Windows()
    for number in range(10):
        windows.look(b"h/%d/index.m3u8" % number, 100_000, playlist(1, 1000, b"#EXT-X-ENDLIST\n"))
    assert windows.size == 0


def test_all_that_is_remembered_is_bounded_and_the_newest_stay() -> None:
    windows = Windows()
    for number in range(200):
        windows.look(b"h/%d/index.m3u8" % number, 100_000, playlist(1, 2000))
        assert windows.size <= 16 << 20
    assert windows.size > 15 << 20
    assert len(windows.look(b"h/199/index.m3u8", 100_000, playlist(2, 2000))) == 1
    assert windows.look(b"h/0/index.m3u8", 100_000, playlist(2, 2000)) == set()
