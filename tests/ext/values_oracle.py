"""JSON and msgpack values by the usual libraries, made as strict as channels need them: a tree, or None when it is refused.

Objects are `Pairs`, so that nothing is lost when a name comes twice. JSON numbers that are no 64-bit integers are floats.
"""

import json
import math
from typing import Any, NoReturn

import msgpack

SCAN_DEPTH = 256


class Pairs(list[tuple[str, Any]]):
    """The members of an object, in order."""


def refuse(text: str) -> NoReturn:
    raise ValueError(text)


def integer(text: str) -> int | float:
    value = int(text) if len(text) < 400 else float("inf")
    return value if -(2**63) <= value < 2**64 and text != "-0" else float(text)


def allowed(tree: Any, levels: int = SCAN_DEPTH) -> bool:
    if isinstance(tree, str):
        return not any("\ud800" <= char <= "\udfff" for char in tree)
    if isinstance(tree, float):
        return math.isfinite(tree)
    if isinstance(tree, Pairs):
        return levels > 0 and all(isinstance(name, str) and allowed(name) and allowed(value, levels - 1) for name, value in tree)
    if isinstance(tree, list):
        return levels > 0 and all(allowed(value, levels - 1) for value in tree)
    return tree is None or isinstance(tree, (bool, int))


def depth(tree: Any) -> int:
    if isinstance(tree, Pairs):
        return 1 + max((depth(value) for _, value in tree), default=0)
    return 1 + max(map(depth, tree), default=0) if isinstance(tree, list) else 0


def from_json(data: bytes) -> tuple[Any] | None:
    try:
        text = data.decode()
        tree = json.loads(text, parse_constant=refuse, parse_int=integer, object_pairs_hook=Pairs)
    except (ValueError, RecursionError):
        return None
    return (tree,) if not text.startswith("\ufeff") and not text[:1].isspace() and not text[-1:].isspace() and allowed(tree) else None


def from_msgpack(data: bytes) -> tuple[Any] | None:
    try:
        tree = msgpack.unpackb(data, raw=False, strict_map_key=False, object_pairs_hook=Pairs)
    except (ValueError, msgpack.UnpackException, RecursionError, TypeError):
        return None
    return (tree,) if allowed(tree) else None


def to_msgpack(tree: Any) -> bytes:
    packer = msgpack.Packer(autoreset=False)

    def put(value: Any) -> None:
        if isinstance(value, Pairs):
            packer.pack_map_header(len(value))
            for name, inner in value:
                packer.pack(name)
                put(inner)
        elif isinstance(value, list):
            packer.pack_array_header(len(value))
            for inner in value:
                put(inner)
        else:
            packer.pack(value)

    put(tree)
    return packer.bytes()


def same(a: Any, b: Any) -> bool:
    """Equal, and integers are no floats."""
    if isinstance(a, list) and isinstance(b, list):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, tuple) and isinstance(b, tuple):
        return all(map(same, a, b))
    return type(a) is type(b) and bool(a == b)
