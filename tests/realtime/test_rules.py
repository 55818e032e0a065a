"""Rules of namespaces, and how settings change them."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from nova.core.errors import BadRequest, NotFound, Unprocessable
from nova.core.reactor import ChannelRules
from nova.core.values import Rate, Seconds
from nova.realtime import rules


def test_a_line_changes_a_built_in_row_and_makes_a_new_one() -> None:
    found = rules.read(["public history=5 rate=3/s", "room subscribe=everyone publish=service ttl=2h policy=conflate size=1KiB"])
    public, rest = found.of("public:lobby")
    assert (rest, public.history, public.rate, public.subscribe) == ("lobby", 5, Rate(3, Seconds(1.0)), "everyone")
    room, _ = found.of("room:1")
    assert (room.subscribe, room.publish, room.ttl, room.policy, room.size) == ("everyone", "service", 7200, "conflate", 1024)
    assert {each.name for each in found} == {"stream", "user", "public", "room"}


def test_names_that_are_none_and_unknown_namespaces_are_refused() -> None:
    known = rules.read([])
    for name in ("public", "public:", "Public:a", "public:a b", "9x:a", "a" * 33 + ":x", "public:" + "x" * 129, "public:\u00e4", ""):
        with pytest.raises(BadRequest):
            known.of(name)
    with pytest.raises(NotFound):
        known.of("nobody:knows")


@pytest.mark.parametrize("line", ["", "Room", "room publish", "room publish=me", "room nothing=1", "room history=-1", "room ttl=soon"])
def test_lines_that_make_no_sense_stop_the_start(line: str) -> None:
    with pytest.raises(Unprocessable) as refused:
        rules.read([line])
    assert refused.value.code == "bad_settings"


def test_the_table_in_the_docs_is_the_built_in_one() -> None:
    page = (Path(__file__).parents[2] / "docs" / "realtime.md").read_text(encoding="utf-8")
    heading, _, *rows = re.findall(r"^\|.*\|$", page[page.index("| rule |") :].split("\n\n")[0], re.MULTILINE)
    names = [name.strip(" `") for name in heading.split("|")[2:-2]]
    assert names == ["stream", "user", "public", "others"]
    documented = {row.split("|")[1].strip(" `"): [cell.strip() for cell in row.split("|")[2:-2]] for row in rows}
    assert list(documented) == [field.name for field in fields(rules.Namespace)][1:]
    known = {each.name: each for each in rules.read(["others"])}
    for rule, cells in documented.items():
        for name, cell in zip(names, cells, strict=True):
            assert rules.read([f"{name} {rule}={cell}"]).find(name) == known[name], f"{rule} of {name}"


def test_what_a_gap_names_is_still_kept_by_the_built_in_rules() -> None:
    window = ChannelRules()
    for space in (*rules.BUILT_IN, rules.Namespace("others")):
        if space.subscribe != "own":  # a crowd's
            assert space.history >= 2 * window.window_items and space.bytes >= 2 * window.window_bytes
