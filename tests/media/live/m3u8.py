"""Reads media playlists strictly, by the letter of RFC 8216bis section 4: the other direction of media/hls/playlist.py."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

ATTRIBUTE = re.compile(r'([A-Z0-9-]+)=("[^"\r\n]*"|[^",\s]+)(?:,|$)')


def attributes(text: str) -> dict[str, str]:
    """An attribute list (4.2); quotes are kept, so that a quoted string is told from an enumerated one."""
    found, at = {}, 0
    while at < len(text):
        match = ATTRIBUTE.match(text, at)
        assert match, f"not an attribute list: {text[at:]}"
        assert match[1] not in found, f"{match[1]} twice"
        found[match[1]] = match[2]
        at = match.end()
    return found


def unquoted(text: str) -> str:
    assert text.startswith('"'), text
    assert text.endswith('"'), text
    return text[1:-1]


@dataclass
class Part:
    uri: str
    duration: float
    independent: bool


@dataclass
class Segment:
    """duration -1: under way."""

    msn: int
    map: str = ""
    uri: str = ""
    duration: float = -1
    discontinuity: bool = False
    date: str = ""
    parts: list[Part] = field(default_factory=list)


@dataclass
class Media:
    version: int = 0
    target_duration: int = 0
    media_sequence: int = 0
    discontinuity_sequence: int = 0
    part_target: float = 0
    server_control: dict[str, str] = field(default_factory=dict)
    segments: list[Segment] = field(default_factory=list)  # whole ones
    open: Segment | None = None  # the one under way, when it has parts
    hint: str = ""
    ended: bool = False
    tags: list[str] = field(default_factory=list)  # names, in order

    @property
    def next_msn(self) -> int:
        return self.media_sequence + len(self.segments)

    @property
    def parts(self) -> list[Part]:
        """Of the segment under way."""
        return self.open.parts if self.open is not None else []


def media(text: str) -> Media:
    """Raises AssertionError: it is no media playlist."""
    lines = text.split("\n")
    assert lines[0] == "#EXTM3U"
    assert lines.pop() == "", "the last line has no end"
    assert "\r" not in text
    assert not text.startswith("\ufeff")
    found = Media()
    current: Segment | None = None
    mapped = ""

    def segment() -> Segment:
        nonlocal current
        if current is None:
            current = Segment(found.next_msn, mapped)
        return current

    for line in lines[1:]:
        assert line, "an empty line"
        if not line.startswith("#"):
            now = segment()
            assert now.duration >= 0, "a URI without EXTINF"
            now.uri = line
            found.segments.append(now)
            current = None
            continue
        name, _, value = line.partition(":")
        found.tags.append(name)
        match name:
            case "#EXT-X-VERSION":
                found.version = int(value)
            case "#EXT-X-TARGETDURATION":
                assert value.isdigit()
                found.target_duration = int(value)
            case "#EXT-X-MEDIA-SEQUENCE":
                found.media_sequence = int(value)
            case "#EXT-X-DISCONTINUITY-SEQUENCE":
                found.discontinuity_sequence = int(value)
            case "#EXT-X-SERVER-CONTROL":
                found.server_control = attributes(value)
            case "#EXT-X-PART-INF":
                found.part_target = float(attributes(value)["PART-TARGET"])
            case "#EXT-X-MAP":
                mapped = unquoted(attributes(value)["URI"])
                if current is not None:
                    assert not current.parts, "EXT-X-MAP after a part"
                    current.map = mapped
            case "#EXT-X-DISCONTINUITY":
                segment().discontinuity = True
            case "#EXT-X-PROGRAM-DATE-TIME":
                segment().date = value
            case "#EXT-X-PART":
                said = attributes(value)
                assert set(said) <= {"DURATION", "URI", "INDEPENDENT"}
                segment().parts.append(Part(unquoted(said["URI"]), float(said["DURATION"]), said.get("INDEPENDENT") == "YES"))
            case "#EXTINF":
                assert value.endswith(",")
                segment().duration = float(value[:-1])
            case "#EXT-X-PRELOAD-HINT":
                said = attributes(value)
                assert said["TYPE"] == "PART"
                found.hint = unquoted(said["URI"])
            case "#EXT-X-ENDLIST":
                found.ended = True
            case _:
                raise AssertionError(f"unknown tag {name}")
    if current is not None:
        found.open = current
    return found
