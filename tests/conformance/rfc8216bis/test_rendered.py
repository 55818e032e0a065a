"""The playlists that live streams render and the media behind them, under all that publishers do, against the rules by section."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from itertools import pairwise

import pytest
import trio
import trio.testing

from nova.media.rtmp.flv import AUDIO, VIDEO, Tag, avc_picture
from tests.conformance.rfc8216bis import rules
from tests.media.live.house import House
from tests.media.live.m3u8 import Media, media
from tests.media.live.material import AVC, headers, show

Play = Callable[["Viewer"], Awaitable[None]]


class Viewer:
    """Sends a stream into a house and reads its playlist after every record that changed it."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.seen: list[Media] = []
        self._texts: list[str] = []
        self.checked: set[str] = set()

    async def send(self, tags: list[Tag], *, end: str = "") -> None:
        ingest = self.house.publish()
        for tag in tags:
            self.house.send(ingest, [tag])
            await self.look()
        if end:
            ingest.end(end)
            await self.look()

    async def look(self) -> None:
        if b"/live/s/video.m3u8" not in self.house.objects.entries:
            return
        text = await self.house.text("video.m3u8")
        if self._texts and text == self._texts[-1]:
            return
        self._texts.append(text)
        self.seen.append(media(text))
        await self.fetch(self.seen[-1])

    async def fetch(self, playlist: Media) -> None:
        """Everything that is new in it is there; whole segments are held to the rules of media."""
        for _, _, part in rules.parts_of(playlist):
            if part.uri not in self.checked:
                self.checked.add(part.uri)
                assert (await self.house.objects.get(f"/live/s/{part.uri}")).status == 200
        for segment in playlist.segments:
            if segment.uri not in self.checked:
                self.checked.add(segment.uri)
                init = (await self.house.objects.get(f"/live/s/{segment.map}")).body
                body = (await self.house.objects.get(f"/live/s/{segment.uri}")).body
                parts = [(await self.house.objects.get(f"/live/s/{part.uri}")).body for part in segment.parts]
                for check in rules.on_media.values():
                    check(init, body, parts)


async def steady(viewer: Viewer) -> None:
    await viewer.send(headers() + show(40), end="unpublished")


async def short_key_distance(viewer: Viewer) -> None:
    await viewer.send(headers() + show(30, gop=0.5))


async def no_key_frames(viewer: Viewer) -> None:
    await viewer.send(headers() + show(30, gop=100))


async def sound_alone(viewer: Viewer) -> None:
    await viewer.send(headers(video=None) + show(30, video=False))


async def pictures_alone(viewer: Viewer) -> None:
    await viewer.send(headers(audio=None) + show(30, audio=False))


async def cinema(viewer: Viewer) -> None:
    await viewer.send(headers() + show(30, rate=24))


async def reconnects(viewer: Viewer) -> None:
    for seconds in (9, 1.5, 0.4, 12, 20):
        await viewer.send(headers() + show(seconds), end="disconnected")
        viewer.house.clock.advance(3)


async def takeovers(viewer: Viewer) -> None:
    for seconds in (5, 1, 25):
        await viewer.send(headers() + show(seconds))


async def clock_resets(viewer: Viewer) -> None:
    await viewer.send(headers() + show(9, start=500) + show(9) + show(9, start=100) + show(15, start=4))


async def changed_parameters(viewer: Viewer) -> None:
    other = AVC[:-1] + b"\x81"
    await viewer.send(headers() + show(7) + headers(video=other, at=7000) + show(20, start=7))


async def late_sound(viewer: Viewer) -> None:
    late = headers(video=None, at=5000) + [tag for tag in show(12, video=False) if tag.timestamp > 5000]
    await viewer.send(sorted(headers(audio=None) + show(12, audio=False) + late, key=lambda tag: tag.timestamp))


async def a_camera_that_stalls(viewer: Viewer) -> None:
    await viewer.send(headers() + [tag for tag in show(30) if tag.type == AUDIO or not 4100 < tag.timestamp < 9000])


async def dropped_and_damaged_frames(viewer: Viewer) -> None:
    tags = [tag for number, tag in enumerate(show(30)) if tag.type == AUDIO or number % 11 or tag.data[0] >> 4 == 1]
    tags[100:100] = [Tag(VIDEO, tags[100].timestamp, avc_picture(bytes(4), key=False))] * 3
    await viewer.send(headers() + tags)


SCENES: list[Play] = [
    steady,
    short_key_distance,
    no_key_frames,
    sound_alone,
    pictures_alone,
    cinema,
    reconnects,
    takeovers,
    clock_resets,
    changed_parameters,
    late_sound,
    a_camera_that_stalls,
    dropped_and_damaged_frames,
]


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
async def test_every_version_of_the_playlist_keeps_every_rule(scene: Play) -> None:
    viewer = Viewer(House())
    await scene(viewer)
    assert len(viewer.seen) > 40
    for playlist in viewer.seen:
        for name, check in rules.on_playlist.items():
            check(playlist), name
    for before, after in pairwise(viewer.seen):
        for check in rules.on_change.values():
            check(before, after)


@pytest.mark.parametrize("writer", ["compiled", "pyav"])
async def test_both_writers_keep_every_rule(writer: str) -> None:
    viewer = Viewer(House(writer=writer))  # type: ignore[arg-type]
    await viewer.send(headers() + show(9), end="unpublished")
    for playlist in viewer.seen:
        for check in rules.on_playlist.values():
            check(playlist)


async def test_6_2_2_a_removed_segment_stays_for_its_duration_and_the_longest_playlist() -> None:
    house = House()
    ingest = house.publish()
    house.send(ingest, headers())
    listed: dict[str, tuple[float, float]] = {}  # uri: when it left, how long it had to stay
    longest: dict[str, float] = {}
    previous: Media | None = None
    for tag in show(60):
        house.send(ingest, [tag])
        if b"/live/s/video.m3u8" not in house.objects.entries:
            continue
        now = media(await house.text("video.m3u8"))
        total = sum(segment.duration for segment in now.segments)
        for segment in now.segments:
            longest[segment.uri] = max(longest.get(segment.uri, 0), total)
        if previous is not None:
            for segment in previous.segments:
                if segment.msn < now.media_sequence:
                    listed[segment.uri] = (tag.timestamp / 1000, segment.duration + longest[segment.uri])
        for uri, (left, stay) in listed.items():
            if tag.timestamp / 1000 < left + stay:
                assert f"/live/s/{uri}".encode() in house.objects
        previous = now
    assert len(listed) > 20


# Delivery directives (6.2.5.2)


async def started(seconds: float = 5) -> tuple[House, Media]:
    house = House()
    ingest = house.publish()
    house.send(ingest, headers() + show(seconds))
    return house, media(await house.text("video.m3u8"))


async def test_6_2_5_2_a_blocked_reload_returns_with_the_part_that_was_asked_for() -> None:
    house = House()
    ingest = house.publish()
    house.send(ingest, headers() + show(4.5))
    seen = media(await house.text("video.m3u8"))
    answers: list[Media] = []

    async def reload(part: int) -> None:
        answers.append(media(await house.text("video.m3u8", msn=seen.next_msn, part=part)))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(reload, len(seen.parts))
        nursery.start_soon(reload, len(seen.parts) + 1)
        await trio.testing.wait_all_tasks_blocked()
        assert not answers
        for tag in show(8):
            if tag.timestamp >= 4500 and len(answers) < 2:
                house.send(ingest, [tag])
                await trio.testing.wait_all_tasks_blocked()
    assert [len(answer.parts) for answer in answers] == [len(seen.parts) + 1, len(seen.parts) + 2]


async def test_6_2_5_2_a_blocked_reload_for_a_segment_returns_with_the_whole_segment() -> None:
    house = House()
    ingest = house.publish()
    house.send(ingest, headers() + show(4.5))
    seen = media(await house.text("video.m3u8"))
    answers: list[Media] = []

    async def reload() -> None:
        answers.append(media(await house.text("video.m3u8", msn=seen.next_msn)))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(reload)
        await trio.testing.wait_all_tasks_blocked()
        for tag in show(8):
            if tag.timestamp >= 4500 and not answers:
                house.send(ingest, [tag])
                await trio.testing.wait_all_tasks_blocked()
    assert answers[0].next_msn == seen.next_msn + 1


@pytest.mark.parametrize(("msn", "part"), [(None, 0), (2, None), (2, 0), (1, 3), (0, 30)])
async def test_6_2_5_2_what_is_too_far_ahead_or_makes_no_sense_is_a_bad_request(msn: int | None, part: int | None) -> None:
    house, seen = await started()
    asked = {} if msn is None else {"msn": seen.next_msn + msn}
    answer = await house.objects.get("/live/s/video.m3u8", **asked, part=part)  # type: ignore[arg-type]
    assert answer.status == 400


async def test_6_2_5_2_what_is_there_already_is_answered_at_once() -> None:
    house, seen = await started()
    for msn, part in [(seen.media_sequence, None), (seen.next_msn - 1, 0), (seen.next_msn, len(seen.parts) - 1)]:
        with trio.fail_after(30):
            assert media(await house.text("video.m3u8", msn=msn, **({} if part is None else {"part": part}))).next_msn == seen.next_msn


async def test_6_2_5_2_a_part_beyond_the_last_of_its_segment_is_part_0_of_the_next() -> None:
    house, seen = await started()
    whole = seen.segments[-1]
    text = await house.text("video.m3u8", msn=whole.msn, part=len(whole.parts) + 5)
    assert media(text).parts


# Headers (appendix B, contract)


async def test_answers_carry_types_cors_and_cache_rules() -> None:
    house, seen = await started()
    for name, kind in [
        ("index.m3u8", "application/vnd.apple.mpegurl"),
        ("video.m3u8", "application/vnd.apple.mpegurl"),
        (seen.segments[0].map, "video/mp4"),
        (seen.segments[0].uri, "video/mp4"),
        (seen.parts[0].uri, "video/mp4"),
    ]:
        answer = await house.objects.get(f"/live/s/{name}")
        assert answer.status == 200
        assert answer.headers["content-type"] == kind
        assert answer.headers["access-control-allow-origin"] == "*"
        exposed = {word.strip() for word in answer.headers["access-control-expose-headers"].split(",")}
        assert exposed == {"Content-Length", "Content-Range", "Date", "ETag", "Cache-Status"}
        cached = answer.headers["cache-control"]
        # B.1: media may be kept for six target durations; a playlist has to be asked for again.
        assert cached == ("public, no-cache" if name.endswith("m3u8") else "public, max-age=24")
        assert answer.headers["etag"]


async def test_playlists_come_compressed_to_those_who_take_it() -> None:
    import gzip

    house, _ = await started()
    plain = await house.objects.get("/live/s/video.m3u8")
    small = await house.objects.get("/live/s/video.m3u8", gzip=True)
    assert small.headers["content-encoding"] == "gzip"
    assert gzip.decompress(small.body) == plain.body
    assert plain.headers["vary"] == "Accept-Encoding"
