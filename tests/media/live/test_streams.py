"""Live streams from publish to the end: what is served when, who is told what, what goes on after trouble."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest
import trio

from nova.core.errors import RateLimited, Unprocessable
from nova.ext.buffer import Arena, Buffer, resident_bytes
from nova.ext.timeline import Part, Tracks
from nova.media.live import muxers
from nova.media.live.ports import MuxError
from nova.media.live.stream import State
from nova.media.live.troubles import TROUBLES
from nova.media.rtmp.flv import AUDIO, VIDEO, Tag, avc_picture
from tests.media.live.house import House
from tests.media.live.m3u8 import Media, media
from tests.media.live.material import headers, inter, key, record, records, show

META = {"videocodecid": 7.0, "audiocodecid": 10.0, "width": 320.0, "framerate": 30.0, "videodatarate": 400.0, "audiodatarate": 64.0}


async def playlist(house: House, stream: str = "s") -> Media:
    return media(await house.text("video.m3u8", stream))


async def test_the_first_playlist_is_there_with_the_first_part() -> None:
    house = House()
    ingest = house.publish()
    ingest.metadata(META)
    house.send(ingest, headers() + show(0.199))
    assert not house.paths()
    house.send(ingest, [inter(200)])
    assert {path.partition("-")[0] for path in house.paths()} == {"index.m3u8", "init", "part", "seg"}
    first = await playlist(house)
    # A whole segment at once: there are players that show nothing before they have one.
    assert [[part.duration for part in segment.parts] for segment in first.segments] == [[0.2]]
    assert house.clock.monotonic() == pytest.approx(1000.2)


async def test_the_segment_after_the_short_first_one_ends_at_the_next_key_frame() -> None:
    house = House()
    ingest = house.publish()
    house.send(ingest, headers() + show(6.5))
    listed = await playlist(house)
    assert [round(segment.duration, 3) for segment in listed.segments] == [0.2, 1.8, 2.0, 2.0]


async def test_a_segment_is_the_rope_of_its_parts() -> None:
    house = House()
    ingest = house.publish()
    house.send(ingest, headers() + show(6))
    listed = await playlist(house)
    segment = listed.segments[0]
    whole = (await house.objects.get(f"/live/s/{segment.uri}")).body
    parts = [(await house.objects.get(f"/live/s/{part.uri}")).body for part in segment.parts]
    assert whole == b"".join(parts)
    entry = house.objects.entries[f"/live/s/{segment.uri}".encode()]
    assert entry.body is not None
    assert all(isinstance(piece, Buffer) and piece.in_memfd() for piece in entry.body)


async def test_whoever_waits_for_a_part_gets_it_when_it_is_there() -> None:
    house = House()
    ingest = house.publish()
    house.send(ingest, headers() + show(0.5))
    hinted = (await playlist(house)).hint
    answers = []

    async def wait() -> None:
        answers.append(await house.objects.get(f"/live/s/{hinted}"))

    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        assert not answers
        house.send(ingest, [tag for tag in show(0.7) if tag.timestamp >= 500])
    assert {answer.status for answer in answers} == {200}
    assert len({answer.body for answer in answers}) == 1


async def test_one_rendering_serves_everybody_who_waits() -> None:
    house = House()
    ingest = house.publish()
    house.send(ingest, headers() + show(0.5))
    seen = await playlist(house)
    rendered = []
    put = house.objects.put

    def counted(path: bytes, *args: object, **more: object) -> None:
        rendered.append(path)
        put(path, *args, **more)  # type: ignore[arg-type]

    house.objects.put = counted  # type: ignore[method-assign]
    answers: list[str] = []

    async def wait() -> None:
        answers.append(await house.text("video.m3u8", msn=seen.next_msn, part=len(seen.parts)))

    async with trio.open_nursery() as nursery:
        for _ in range(100):
            nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        house.send(ingest, [tag for tag in show(0.7) if tag.timestamp >= 500])
    assert rendered.count(b"/live/s/video.m3u8") == 1
    assert len(set(answers)) == 1


async def test_nobody_asks_nothing_is_rendered() -> None:
    house = House()
    ingest = house.publish()
    rendered = []
    put = house.objects.put
    house.objects.put = lambda path, *args, **more: (rendered.append(path), put(path, *args, **more))[1]  # type: ignore[method-assign, assignment]
    house.send(ingest, headers() + show(5))
    assert b"/live/s/video.m3u8" not in rendered


# Reconnect, takeover, end


async def test_a_publisher_that_comes_back_goes_on_with_the_playlist() -> None:
    house = House()
    ingest = house.publish()
    house.send(ingest, headers() + show(5))
    ingest.end("disconnected")
    assert house.live.state("s") is State.RECONNECTING
    before = await playlist(house)
    house.clock.advance(20)
    house.live.sweep()
    again = house.publish()
    house.send(again, headers() + show(5))
    after = await playlist(house)
    assert house.live.state("s") is State.LIVE
    assert after.media_sequence <= before.next_msn
    msns = [segment.msn for segment in after.segments]
    assert msns == list(range(msns[0], msns[0] + len(msns)))
    broken = [segment for segment in after.segments if segment.discontinuity]
    assert [segment.msn for segment in broken] == [before.next_msn]
    assert after.segments[0].map == broken[0].map  # the same encoder: the same initialization segment
    assert [event[0] for event in house.told.events] == ["started", "lost", "started"]


async def test_a_publisher_that_stays_away_ends_the_stream_after_its_grace_time() -> None:
    house = House(reconnect_grace=30)
    ingest = house.publish()
    house.send(ingest, headers() + show(5))
    ingest.end("disconnected")
    house.clock.advance(29.9)
    house.live.sweep()
    assert house.live.state("s") is State.RECONNECTING
    house.clock.advance(0.2)
    house.live.sweep()
    assert house.live.state("s") is State.ENDED
    assert (await playlist(house)).ended
    assert house.told.events[-1] == ("ended", "s", "disconnected")


async def test_a_clean_end_needs_no_grace_time_and_is_served_for_a_while() -> None:
    house = House(ended_linger=60)
    ingest = house.publish()
    house.send(ingest, headers() + show(5))
    ingest.end("unpublished")
    ended = await playlist(house)
    assert ended.ended
    assert not ended.hint
    assert (await house.objects.get(f"/live/s/{ended.segments[-1].uri}")).status == 200
    house.clock.advance(61)
    house.live.sweep()
    assert not house.objects.entries
    assert house.live.state("s") is None


async def test_waiting_players_are_told_of_the_end() -> None:
    house = House()
    ingest = house.publish()
    house.send(ingest, headers() + show(5))
    seen = await playlist(house)
    answers: list[int] = []

    async def wait_for_playlist() -> None:
        assert media(await house.text("video.m3u8", msn=seen.next_msn + 1)).ended
        answers.append(200)

    async def wait_for_part() -> None:
        answers.append((await house.objects.get(f"/live/s/part-{seen.next_msn}.{len(seen.parts) + 1}.m4s")).status)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait_for_playlist)
        nursery.start_soon(wait_for_part)
        await trio.testing.wait_all_tasks_blocked()
        ingest.end("unpublished")
    assert sorted(answers) == [200, 404]


async def test_another_publisher_takes_over_at_once() -> None:
    house = House()
    first = house.publish()
    house.send(first, headers() + show(4))
    second = house.publish()
    assert first.over
    house.send(second, headers() + show(3))
    first.end("disconnected")  # the connection's own end, later: nothing of the stream
    assert house.live.state("s") is State.LIVE
    assert any(segment.discontinuity for segment in (await playlist(house)).segments)
    assert [event[0] for event in house.told.events] == ["started", "started"]


async def test_stop_ends_the_stream_and_its_publisher() -> None:
    house = House()
    ingest = house.publish()
    house.send(ingest, headers() + show(4))
    assert house.live.stop("s")
    assert ingest.over
    assert house.live.state("s") is State.ENDED
    assert house.told.events[-1] == ("ended", "s", "stopped")
    assert not house.live.stop("s")
    assert not house.live.stop("other")


async def test_stop_ends_a_stream_in_its_grace_time() -> None:
    house = House()
    ingest = house.publish()
    house.send(ingest, headers() + show(4))
    ingest.end("stalled")
    assert house.live.stop("s")
    assert house.live.state("s") is State.ENDED


async def test_a_deleted_stream_is_gone_at_once() -> None:
    house = House()
    house.send(house.publish(), headers() + show(4))
    house.live.forget("s")
    assert not house.objects.entries


async def test_an_ended_stream_that_goes_live_again_has_a_playlist_of_its_own_and_no_number_twice() -> None:
    house = House()
    ingest = house.publish()
    house.send(ingest, headers() + show(8))
    ingest.end("unpublished")
    before = await playlist(house)
    house.clock.advance(3)
    house.send(house.publish(), headers() + show(4))
    after = await playlist(house)
    assert not after.ended
    assert after.media_sequence > before.segments[-1].msn


async def test_a_publisher_that_sent_nothing_leaves_nothing() -> None:
    house = House()
    house.publish().end("disconnected")
    assert house.live.state("s") is None
    assert house.told.events == [("started", "s", "key-1"), ("ended", "s", "disconnected")]


async def test_shutdown_ends_every_stream() -> None:
    house = House()
    house.send(house.publish("a"), headers() + show(4))
    lost = house.publish("b")
    house.send(lost, headers() + show(4))
    lost.end("disconnected")
    house.live.close()
    for stream in "ab":
        assert (await playlist(house, stream)).ended
    assert {event for event in house.told.events if event[0] == "ended"} == {("ended", "a", "shutdown"), ("ended", "b", "shutdown")}


def test_more_publishers_than_allowed_are_refused() -> None:
    house = House(most=2)
    house.publish("a")
    house.publish("b")
    with pytest.raises(RateLimited):
        house.publish("c")
    house.publish("a")  # a takeover is no further publisher


# Trouble


class Flaky:
    """A muxer that fails for a while, then works."""

    failures = 0

    def __init__(self) -> None:
        self._inner = muxers.make("compiled")
        self.closed = 0

    def init(self, tracks: Tracks) -> bytes:
        return self._inner.init(tracks)

    def part(self, part: Part, arena: Arena) -> Buffer:
        if Flaky.failures:
            Flaky.failures -= 1
            raise MuxError("on purpose")
        return self._inner.part(part, arena)

    def close(self) -> None:
        self.closed += 1


async def test_a_muxer_that_fails_costs_a_discontinuity() -> None:
    house = House()
    house.live._make_muxer = Flaky
    ingest = house.publish()
    other = house.live.publish("other")
    house.send(ingest, headers() + show(4, gop=1))
    Flaky.failures = 1
    house.send(ingest, [tag for tag in show(9, gop=1) if tag.timestamp >= 4000])
    after = await playlist(house)
    assert sum(segment.discontinuity for segment in after.segments) == 1
    warnings = house.live.numbers("s")["warnings"]
    assert isinstance(warnings, list)
    assert {each["code"]: each["count"] for each in warnings}["muxer_restarted"] == 1
    other.media(records(headers() + show(3)))
    assert (await playlist(house, "other")).segments


def test_a_muxer_that_never_works_ends_its_publisher() -> None:
    house = House()
    house.live._make_muxer = Flaky
    Flaky.failures = 100
    ingest = house.publish()
    with pytest.raises(Unprocessable):
        house.send(ingest, headers() + show(30, gop=1))
    Flaky.failures = 0
    ingest.end("refused")
    assert house.live.publishers == 0


def test_a_sender_above_the_bit_rate_is_refused() -> None:
    house = House(max_bitrate=100_000)
    ingest = house.publish()
    fat = [key(0, 30_000), *(inter(33 * n, 30_000) for n in range(1, 400))]
    with pytest.raises(RateLimited):
        house.send(ingest, headers() + fat)
    ingest.end("refused")


def test_frames_without_time_count_as_well() -> None:
    house = House(max_bitrate=100_000)
    ingest = house.publish()
    with pytest.raises(RateLimited):
        for _ in range(1000):
            ingest.media(records([key(0, 30_000)]))
    ingest.end("refused")


async def test_warnings_reach_the_streamer_with_their_words() -> None:
    house = House()
    ingest = house.publish()
    house.send(ingest, headers() + show(5, gop=60) + [Tag(VIDEO, 5000, avc_picture(bytes(4), key=False)), *show(1, start=5, gop=60)])
    warnings = house.live.numbers("s")["warnings"]
    assert isinstance(warnings, list)
    assert {each["code"] for each in warnings} == {"key_distance", "frame_damaged"}
    assert all(each["text"] for each in warnings)


async def test_numbers_say_what_arrives() -> None:
    house = House()
    ingest = house.publish()
    ingest.metadata(META)
    house.send(ingest, headers() + show(9))
    numbers = house.live.numbers("s")
    assert numbers["codecs"] == "avc1.42c014,mp4a.40.2"
    assert (numbers["width"], numbers["height"], numbers["frame_rate"]) == (320, 180, 30.0)
    assert (numbers["sample_rate"], numbers["channels"]) == (48_000, 2)
    assert numbers["key_frame_interval_s"] == 2.0
    sent = sum(len(tag.data) for tag in show(9))
    assert isinstance(numbers["bitrate"], int)
    assert abs(numbers["bitrate"] - sent * 8 / 9) < sent * 8 / 9 * 0.25  # boxes weigh much beside frames this small
    assert house.live.numbers("other") == {}


# Private streams


async def test_media_of_a_private_stream_needs_a_session() -> None:
    house = House()
    house.private.add("s")
    house.send(house.publish(), headers() + show(5))
    assert house.objects.entries
    for path in house.objects.entries:
        if house.objects.entries[path].body is None:
            continue
        assert (await house.objects.get(path.decode())).status == 404
        answer = await house.objects.get(path.decode(), session=True)
        assert answer.status == 200
        assert answer.headers["cache-control"].startswith("private")


async def test_a_stream_that_becomes_private_is_hidden_at_once_and_shown_again() -> None:
    house = House()
    ingest = house.publish()
    house.send(ingest, headers() + show(5))
    paths = sorted(house.paths())
    house.live.hide("s", True)
    assert {(await house.objects.get(f"/live/s/{path}")).status for path in [*paths, "video.m3u8"]} == {404}
    house.send(ingest, [tag for tag in show(6) if tag.timestamp >= 5000])
    assert (await house.objects.get("/live/s/video.m3u8")).status == 404
    house.live.hide("s", False)
    assert {(await house.objects.get(f"/live/s/{path}")).status for path in [*paths, "video.m3u8"]} == {200}


# Memory


def test_memory_is_the_window_and_nothing_else() -> None:
    house = House()
    ingest = house.publish()
    gc.collect()
    before = resident_bytes()
    sizes = []
    for tag in headers() + [key(n * 100, 20_000) if n % 20 == 0 else inter(n * 100, 4_000) for n in range(900)]:
        house.send(ingest, [tag])
        if tag.timestamp > 45_000:
            sizes.append(resident_bytes() - before)
    window = house.live.numbers("s")["window_bytes"]
    assert isinstance(window, int)
    rate = (20_000 + 19 * 4_000) / 2
    assert max(sizes) < 1.25 * rate * 2 * house.live._shape.window_segments
    assert max(sizes) < 1.05 * window + 100_000
    house.live.forget("s")
    del ingest
    gc.collect()
    assert resident_bytes() - before < 200_000


def test_a_sender_faster_than_real_time_cannot_fill_the_memory() -> None:
    house = House()
    ingest = house.publish()
    for tag in headers() + show(300):
        ingest.media(record(tag))
    assert len(list(house.live._streams["s"].stream.window)) <= 16


def test_silence_of_sound_alone_is_a_stream() -> None:
    house = House()
    ingest = house.publish()
    ingest.metadata({"audiocodecid": 10.0})
    house.send(ingest, headers(video=None) + [tag for tag in show(5, video=False) if tag.type == AUDIO])
    assert house.live.numbers("s")["codecs"] == "mp4a.40.2"


def test_the_docs_have_every_warning() -> None:
    text = (Path(__file__).parents[3] / "docs" / "live.md").read_text(encoding="utf-8")
    assert [code for code, words in TROUBLES.items() if f"| `{code}` | {words} |" not in text] == []
