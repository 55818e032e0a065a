"""The channel protocol's commands read the plain way: a tree by the usual libraries, then the rules one after the other."""

import json
import re
from typing import Any

import msgpack

from tests.ext.values_oracle import Pairs, allowed, depth, integer, refuse

VISIBLE = re.compile(r"[\x21-\x7e]+")
CHANNEL = re.compile(r"[a-z][a-z0-9_-]{0,31}:[A-Za-z0-9._~-]{1,128}")
NEEDED = {
    "connect": set(), "refresh": {"token"}, "subscribe": {"channel"}, "unsubscribe": {"channel"}, "publish": {"channel", "data"},
    "presence": {"channel"}, "history": {"channel"}, "ping": set(),
}  # fmt: skip
OPTIONAL = {
    "connect": {"token", "name"},
    "subscribe": {"recover"},
    "publish": {"idempotency_key", "conflate_key"},
    "history": {"since", "limit"},
}
LONGEST = {"idempotency_key": 255, "conflate_key": 128, "token": 8192, "epoch": 16}
ORDER = ("token", "name", "channel", "data", "idempotency_key", "conflate_key", "recover", "since", "limit")


class Refused(Exception):
    """The whole frame; the code."""


class Extension:
    """A value that JSON cannot say; of any type: msgpack's own class takes no negative ones."""

    def __init__(self, code: int, data: bytes) -> None:
        self.code, self.data = code, data


def tree_of(form: int, data: bytes) -> tuple[Any] | None:
    """As lenient as reading on needs it: values that one form cannot say are in it."""
    try:
        if form == 0:
            text = data.decode()
            if text.startswith("\ufeff"):
                return None
            tree = json.loads(text, parse_constant=refuse, parse_int=integer, object_pairs_hook=Pairs)
            return None if "\\ud" in text.lower() and surrogates(tree) else (tree,)
        options: Any = {"raw": False, "strict_map_key": False, "object_pairs_hook": Pairs, "unicode_errors": "surrogateescape"}
        return (msgpack.unpackb(data, **options, ext_hook=Extension),)
    except (ValueError, RecursionError, msgpack.UnpackException, TypeError):
        return None


def surrogates(tree: Any) -> bool:
    if isinstance(tree, Pairs):
        return any(surrogates(name) or surrogates(value) for name, value in tree)
    if isinstance(tree, list):
        return any(map(surrogates, tree))
    return isinstance(tree, str) and not allowed(tree)


def whole(value: Any, least: int, most: int) -> int | None:
    if isinstance(value, float) and value.is_integer() and 0 <= value < 2**53:
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most else None


def place(value: Any) -> tuple[int, bytes] | None:
    if not isinstance(value, Pairs):
        return None
    if not all(isinstance(name, str) for name, _ in value):
        raise Refused("frame_syntax")
    if sorted(name for name, _ in value) != ["epoch", "offset"]:
        return None
    found = dict(value)
    offset, epoch = whole(found["offset"], 0, 2**53 - 1), found["epoch"]
    if offset is None or not isinstance(epoch, str) or not VISIBLE.fullmatch(epoch) or len(epoch) > 16:
        return None
    return offset, epoch.encode()


def field(name: str, value: Any) -> tuple[object] | None:
    if name == "data":
        return (value,) if allowed(value) else None
    if name == "limit":
        limit = whole(value, 1, 2**31 - 1)
        return None if limit is None else (limit,)
    if name in ("recover", "since"):
        found = place(value)
        return None if found is None else (found,)
    if not isinstance(value, str) or not allowed(value):
        return None
    if name == "channel":
        fine = CHANNEL.fullmatch(value) is not None
    elif name == "name":
        fine = 0 < len(value.encode()) <= 256
    else:
        fine = VISIBLE.fullmatch(value) is not None and len(value) <= LONGEST[name]
    return (value.encode(),) if fine else None


def fields(command: str, body: Any) -> dict[str, object]:
    row: dict[str, object] = {}

    def wrong(code: str, name: str = "") -> None:
        row.setdefault("error", code)
        row.setdefault("wrong", name)

    if not isinstance(body, Pairs):
        wrong("bad_request")
        return row
    seen = set()
    for name, value in body:
        if not isinstance(name, str):
            raise Refused("frame_syntax")
        if name not in NEEDED[command] | OPTIONAL.get(command, set()):
            wrong("unknown_field")
        elif name in seen:
            wrong("invalid_field", name)
        else:
            seen.add(name)
            if name == "data" and depth(value) > 32:
                wrong("too_deep", "data")
            found = field(name, value)
            if found is None:
                wrong("invalid_field", name)
            else:
                row[name] = found[0]
    for name in ORDER:
        if name in NEEDED[command] - seen:
            wrong("missing_field", name)
    return row


def command(tree: Any) -> dict[str, object]:
    if not isinstance(tree, Pairs):
        raise Refused("frame_shape")
    row: dict[str, object] = {}
    number, name = 0, None
    for key, value in tree:
        if not isinstance(key, str):
            raise Refused("frame_syntax")
        if key == "id":
            found = whole(value, 1, 2**31 - 1)
            if number or found is None:
                raise Refused("frame_id")
            number = found
        elif name is not None:
            row = {"error": row.get("error", "bad_request"), "wrong": row.get("wrong", "")}
        elif key in NEEDED:
            name, row = key, fields(key, value)
        else:
            name, row = "", {"error": "unknown_command", "wrong": ""}
    if not number:
        raise Refused("frame_id")
    if name is None:
        row = {"error": "bad_request", "wrong": ""}
    return {"id": number, "command": name or "", **row}


def read(form: int, data: bytes) -> list[dict[str, object]] | str:
    """The commands, or why the whole frame is refused."""
    found = tree_of(form, data)
    if found is None:
        return "frame_syntax"
    try:
        return rows_of(form, found[0])
    except Refused as refused:
        return str(refused)


def rows_of(form: int, tree: Any) -> list[dict[str, object]]:
    batch = isinstance(tree, list) and not isinstance(tree, Pairs)
    if batch and len(tree) > 128 and form == 1:
        raise Refused("frame_count")
    rows: list[dict[str, object]] = []
    for at, item in enumerate(tree if batch else [tree]):
        if at == 128:
            raise Refused("frame_count")
        row = command(item)
        if any(row["id"] == other["id"] for other in rows):
            row.update(error="id_in_use", wrong="")
        rows.append(row)
    if not rows:
        raise Refused("frame_shape")
    for row in rows:
        if "error" in row:
            kept = {name: row[name] for name in ("id", "command", "error", "wrong")}
            row.clear()
            row.update(kept)
    return rows
