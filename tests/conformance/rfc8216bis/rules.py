"""The rules of RFC 8216bis that a live playlist and its media are held to, by section.

`on_playlist`: what one playlist has to fulfil. `on_change`: two successive versions of it. `on_media`: what its URIs lead to.
A rule asserts; its docstring quotes the sense of the text.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from math import floor

from tests.media.live.m3u8 import Media, Part
from tests.media.live.packets import boxes

Rule = Callable[..., None]
on_playlist: dict[str, Rule] = {}
on_change: dict[str, Rule] = {}
on_media: dict[str, Rule] = {}


def rule(table: dict[str, Rule], section: str) -> Callable[[Rule], Rule]:
    def add(check: Rule) -> Rule:
        table[f"{section} {check.__name__}"] = check
        return check

    return add


def parts_of(playlist: Media) -> list[tuple[int, int, Part]]:
    """(msn, index, part) of every part that is listed."""
    whole = [(segment.msn, index, part) for segment in playlist.segments for index, part in enumerate(segment.parts)]
    return whole + [(playlist.next_msn, index, part) for index, part in enumerate(playlist.parts)]


# One playlist


@rule(on_playlist, "4.4.1.2")
def version_is_enough_for_its_tags(playlist: Media) -> None:
    """EXT-X-MAP in a playlist without EXT-X-I-FRAMES-ONLY needs version 6 (section 8)."""
    assert playlist.version >= 6
    assert playlist.tags.count("#EXT-X-VERSION") == 1


@rule(on_playlist, "4.4.3.1")
def no_segment_exceeds_the_target_duration(playlist: Media) -> None:
    """EXTINF, rounded to the nearest integer, is at most the target duration."""
    assert playlist.tags.count("#EXT-X-TARGETDURATION") == 1
    assert all(floor(segment.duration + 0.5) <= playlist.target_duration for segment in playlist.segments)


@rule(on_playlist, "4.4.3.2")
def sequence_tags_come_before_segments(playlist: Media) -> None:
    """MEDIA-SEQUENCE and DISCONTINUITY-SEQUENCE come before the first segment, DISCONTINUITY-SEQUENCE before any DISCONTINUITY."""
    first = min(playlist.tags.index(tag) for tag in ("#EXTINF", "#EXT-X-PART") if tag in playlist.tags)
    assert playlist.tags.index("#EXT-X-MEDIA-SEQUENCE") < first
    assert playlist.tags.index("#EXT-X-DISCONTINUITY-SEQUENCE") < first
    if "#EXT-X-DISCONTINUITY" in playlist.tags:
        assert playlist.tags.index("#EXT-X-DISCONTINUITY-SEQUENCE") < playlist.tags.index("#EXT-X-DISCONTINUITY")


@rule(on_playlist, "4.4.3.7")
def parts_come_with_part_inf(playlist: Media) -> None:
    """EXT-X-PART-INF is required when there are parts."""
    if parts_of(playlist):
        assert playlist.part_target > 0


@rule(on_playlist, "4.4.3.8")
def hold_back_is_far_enough_from_the_end(playlist: Media) -> None:
    """PART-HOLD-BACK is at least twice, and should be three times PART-TARGET; HOLD-BACK at least three target durations."""
    control = playlist.server_control
    assert control["CAN-BLOCK-RELOAD"] == "YES"
    assert float(control["PART-HOLD-BACK"]) >= 3 * playlist.part_target - 0.000_02
    assert float(control.get("HOLD-BACK", 3 * playlist.target_duration)) >= 3 * playlist.target_duration


@rule(on_playlist, "4.4.4.5")
def every_segment_has_a_map(playlist: Media) -> None:
    """A fragmented MP4 segment needs the EXT-X-MAP that applies to it."""
    assert all(segment.map for segment in playlist.segments)


@rule(on_playlist, "4.4.4.6")
def dates_are_iso_8601_with_milliseconds_and_a_zone(playlist: Media) -> None:
    """PROGRAM-DATE-TIME: ISO 8601, should have a time zone and milliseconds."""
    for segment in playlist.segments:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", segment.date)


@rule(on_playlist, "4.4.4.9")
def no_part_exceeds_the_part_target(playlist: Media) -> None:
    """The duration of a part is at most the part target."""
    assert all(part.duration <= playlist.part_target for _, _, part in parts_of(playlist))


@rule(on_playlist, "4.4.4.9")
def parts_reach_85_percent_of_the_target(playlist: Media) -> None:
    """Except those that are independent, and the last of its segment."""
    last = {(segment.msn, len(segment.parts) - 1) for segment in playlist.segments}
    for msn, index, part in parts_of(playlist):
        if not part.independent and (msn, index) not in last:
            assert part.duration >= 0.85 * playlist.part_target


@rule(on_playlist, "4.4.4.9")
def a_segment_lasts_as_long_as_its_parts(playlist: Media) -> None:
    """A segment's parts are the segment."""
    for segment in playlist.segments:
        if segment.parts:
            assert abs(sum(part.duration for part in segment.parts) - segment.duration) < 0.000_01 * (len(segment.parts) + 1)


@rule(on_playlist, "4.4.4.9")
def parts_of_the_last_three_target_durations_are_listed(playlist: Media) -> None:
    """Parts are listed near the end, and not further back than the segments that reach into its last three target durations."""
    behind = sum(part.duration for part in playlist.parts)
    for segment in reversed(playlist.segments):
        if playlist.ended:
            assert not segment.parts
        elif behind < 3 * playlist.target_duration - 0.001:
            assert segment.parts, f"segment {segment.msn}, {behind} s from the end"
        elif behind > 3 * playlist.target_duration + 0.001:
            assert not segment.parts
        behind += segment.duration


@rule(on_playlist, "4.4.5.3")
def the_hint_names_the_part_that_comes_next(playlist: Media) -> None:
    """TYPE=PART hints at the part that follows the last one; there is at most one, and none behind the end."""
    assert playlist.tags.count("#EXT-X-PRELOAD-HINT") == (0 if playlist.ended else 1)
    assert playlist.hint not in {part.uri for _, _, part in parts_of(playlist)}


@rule(on_playlist, "6.2.2")
def uris_are_relative(playlist: Media) -> None:
    """One rendering serves every session prefix (contract): nothing absolute, nothing upwards."""
    uris = [segment.uri for segment in playlist.segments] + [part.uri for _, _, part in parts_of(playlist)]
    uris += [segment.map for segment in playlist.segments] + ([playlist.hint] if playlist.hint else [])
    assert all(re.fullmatch(r"[a-z0-9.-]+", uri) for uri in uris)
    assert len(set(uris) - {segment.map for segment in playlist.segments}) == len(uris) - len(playlist.segments)


# Two versions of one playlist


@rule(on_change, "4.4.3.1")
def the_target_duration_never_changes(before: Media, after: Media) -> None:
    """EXT-X-TARGETDURATION must not change; nor what PART-INF and SERVER-CONTROL say."""
    assert after.target_duration == before.target_duration
    assert after.part_target == before.part_target
    assert after.server_control == before.server_control


@rule(on_change, "6.2.1")
def only_additions_at_the_end_and_removals_at_the_front(before: Media, after: Media) -> None:
    """The server may append, remove from the front with the sequence numbers, drop parts, and nothing else."""
    assert after.media_sequence >= before.media_sequence
    assert (after.next_msn, len(after.parts)) >= (before.next_msn, len(before.parts))
    known = {segment.msn: segment for segment in after.segments}
    for segment in before.segments:
        if segment.msn in known:
            now = known[segment.msn]
            assert (now.uri, now.duration, now.discontinuity, now.date, now.map) == (
                segment.uri,
                segment.duration,
                segment.discontinuity,
                segment.date,
                segment.map,
            )
            assert not now.parts or now.parts == segment.parts
        else:
            assert segment.msn < after.media_sequence


@rule(on_change, "6.2.1")
def parts_once_listed_stay_in_their_segment(before: Media, after: Media) -> None:
    """The segment under way keeps its parts, and only gains."""
    if before.open is None or after.ended:
        return
    now = after.open if after.next_msn == before.next_msn else next((s for s in after.segments if s.msn == before.next_msn), None)
    if now is not None and now.parts:
        assert now.parts[: len(before.parts)] == before.parts


@rule(on_change, "6.2.2")
def the_discontinuity_sequence_counts_what_was_removed(before: Media, after: Media) -> None:
    """It grows by one for each EXT-X-DISCONTINUITY that leaves the playlist."""
    removed = [segment for segment in before.segments if segment.msn < after.media_sequence]
    grown = after.discontinuity_sequence - before.discontinuity_sequence
    if after.media_sequence <= before.next_msn:
        assert grown == sum(segment.discontinuity for segment in removed)


@rule(on_change, "6.2.2")
def three_target_durations_remain(before: Media, after: Media) -> None:
    """A segment must not be removed when less than three target durations would be left."""
    if after.media_sequence > before.media_sequence:
        assert sum(segment.duration for segment in after.segments) >= 3 * after.target_duration - 0.001


@rule(on_change, "4.4.5.3")
def what_was_hinted_is_what_came(before: Media, after: Media) -> None:
    """The next part of an unbroken stream has the name that was hinted."""
    if after.ended or (after.next_msn, len(after.parts)) == (before.next_msn, len(before.parts)):
        return
    listed = {part.uri for _, _, part in parts_of(after)}
    broken = any(
        segment.discontinuity and segment.msn >= before.next_msn for segment in [*after.segments, *([after.open] if after.open else [])]
    )
    assert before.hint in listed or broken or after.media_sequence > before.next_msn


@rule(on_change, "4.4.4.6")
def dates_follow_the_durations(before: Media, after: Media) -> None:
    """Between segments without a discontinuity the dates advance by the duration."""
    del before
    for first, second in zip(after.segments, after.segments[1:], strict=False):
        if not second.discontinuity:
            step = (datetime.fromisoformat(second.date) - datetime.fromisoformat(first.date)).total_seconds()
            assert abs(step - first.duration) < 0.002


# Media. `init`, `segment`, `parts`: bytes.


@rule(on_media, "3.1.2")
def the_map_is_an_initialization_segment(init: bytes, segment: bytes, parts: list[bytes]) -> None:
    """ftyp and moov with mvex and no samples."""
    del segment, parts
    names = [label for label, _ in boxes(init)]
    assert [name for name in names if name.count("/") == 1] == ["/ftyp", "/moov"]
    assert "/moov/mvex/trex" in names
    stts = [payload for label, payload in boxes(init) if label.endswith("/stts")]
    assert stts
    assert all(payload == bytes(8) for payload in stts)


@rule(on_media, "3.1.2")
def segments_are_fragments_of_the_tracks_in_the_map(init: bytes, segment: bytes, parts: list[bytes]) -> None:
    """moof boxes with tfdt, default-base-is-moof, and track ids that the map has."""
    del parts
    known = {payload[12:16] for label, payload in boxes(init) if label.endswith("/tkhd")}
    found = boxes(segment)
    headers = [payload for label, payload in found if label.endswith("/tfhd")]
    assert {payload[4:8] for payload in headers} <= known
    assert all(payload[1] & 2 for payload in headers)
    assert len([label for label, _ in found if label.endswith("/tfdt")]) == len(headers)
    assert {label for label, _ in found if label.count("/") == 1} == {"/moof", "/mdat"}


@rule(on_media, "4.4.4.9")
def a_segment_is_its_parts(init: bytes, segment: bytes, parts: list[bytes]) -> None:
    """The parts of a segment, one after the other, are the segment."""
    del init
    if parts:
        assert b"".join(parts) == segment
