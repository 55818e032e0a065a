"""What the strict JSON scanner must accept: the standard library's parser, made strict."""

import json
from typing import Any, NoReturn

MAX_DEPTH = 8
MAX_MEMBERS = 64


def refuse(name: str) -> NoReturn:
    raise ValueError(name)


def depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max((depth(v) for v in value.values()), default=0)
    return 1 + max((depth(v) for v in value), default=0) if isinstance(value, list) else 0


def surrogate(value: Any) -> bool:
    if isinstance(value, str):
        return any("\ud800" <= c <= "\udfff" for c in value)
    if isinstance(value, dict):
        return any(surrogate(k) or surrogate(v) for k, v in value.items())
    return isinstance(value, list) and any(surrogate(v) for v in value)


def oracle(data: bytes) -> dict[str, Any] | None:
    """The object in `data`, None when it is to be refused."""
    outer: list[list[tuple[str, Any]]] = []

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        outer.append(found)
        return dict(found)

    try:
        text = data.decode("utf-8", "strict")
        value = json.loads(text, parse_constant=refuse, object_pairs_hook=pairs)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict) or text.startswith("\ufeff"):
        return None
    names = [name for name, _ in outer[-1]]
    if len(names) != len(set(names)) or len(names) > MAX_MEMBERS or depth(value) > MAX_DEPTH or surrogate(value):
        return None
    return value
