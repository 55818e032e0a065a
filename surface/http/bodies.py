"""Request bodies to values: JSON, merge patches (RFC 7396), forms."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from hashlib import sha256 as new_sha256
from typing import Any, Final, NoReturn, Protocol
from urllib.parse import parse_qsl

import trio

from nova.core.errors import BadRequest, TooLarge, UnsupportedType

Json = Any

JSON_TYPES: Final = frozenset({"", "application/json"})  # without a type at all we read JSON: nothing else is taken
PATCH_TYPES: Final = frozenset({"", "application/json", "application/merge-patch+json"})
FORM_TYPES: Final = frozenset({"", "application/x-www-form-urlencoded"})
FORM_FIELDS_MAX: Final = 100


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def read_json(data: bytes, content_type: str, accepted: frozenset[str] = JSON_TYPES) -> Json:
    """The JSON value in `data`. Raises UnsupportedType, BadRequest."""
    require_type(content_type, accepted)
    try:
        return json.loads(data, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        # UnicodeDecodeError is a ValueError; a JSONDecodeError knows where it stopped, the others have no place to tell.
        where = f" at line {error.lineno}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
        raise BadRequest(detail=f"The body is not valid JSON{where}.") from None


def read_form(data: bytes, content_type: str) -> dict[str, str]:
    """The fields of a URL-encoded form; the last one of a name counts. Raises UnsupportedType, BadRequest."""
    require_type(content_type, FORM_TYPES)
    try:
        pairs = parse_qsl(data.decode("ascii"), keep_blank_values=True, max_num_fields=FORM_FIELDS_MAX, errors="strict")
        return dict(pairs)
    except ValueError:
        raise BadRequest(detail="The body is not a valid form.") from None


def require_type(content_type: str, accepted: frozenset[str]) -> None:
    """Raises UnsupportedType unless the media type, without its parameters, is one of `accepted`."""
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type not in accepted:
        wanted = " or ".join(sorted(accepted - {""}))
        raise UnsupportedType(detail=f"This route takes {wanted}.")


def merge_patch(target: Json, patch: Json) -> Json:
    """`target` with `patch` applied (RFC 7396 section 2); neither is changed."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged


class _Hash(Protocol):
    def update(self, data: bytes, /) -> None: ...
    def digest(self) -> bytes: ...


class ClientLeft(BadRequest):
    """The body ended before its end: nobody will read the answer, and what came until then may count."""


class Incoming:
    """A body that its handler reads as it comes; the bytes that may come unread are the connection's to bound.

    length: as declared, None without. stall: seconds that may pass without a byte. unwrap: takes what is meant out of what is sent.
    most: bytes that `digest` looks at.
    """

    def __init__(
        self,
        receive: Callable[[], Awaitable[Any]],
        length: int | None,
        stall: float,
        *,
        unwrap: Callable[[AsyncIterator[bytes]], AsyncIterator[bytes]] | None = None,
        hashed: bool = False,
        most: int = 0,
    ) -> None:
        self._receive, self.length, self._stall, self._most = receive, length, stall, most
        self._hash = new_sha256() if hashed else None
        self._passed = 0
        pieces = self._pieces() if unwrap is None else unwrap(self._pieces())
        self._content = pieces if self._hash is None else self._hashed(pieces, self._hash)

    def __aiter__(self) -> AsyncIterator[bytes]:
        """What has not been read yet."""
        return self._content

    async def digest(self) -> bytes:
        """Reads what is left; the SHA-256 of all of it. With `hashed`. Raises TooLarge, ClientLeft."""
        assert self._hash is not None
        async for _ in self._content:
            if self._passed > self._most:
                raise TooLarge(detail=f"A body has at most {self._most} bytes.")
        return self._hash.digest()

    async def _hashed(self, pieces: AsyncIterator[bytes], into: _Hash) -> AsyncIterator[bytes]:
        async for piece in pieces:
            into.update(piece)
            self._passed += len(piece)
            yield piece

    async def _pieces(self) -> AsyncIterator[bytes]:
        more = True
        while more:
            message = None
            with trio.move_on_after(self._stall):
                message = await self._receive()
            if message is None:
                raise ClientLeft(detail="The body did not arrive in time.")
            if message["type"] != "http.request":
                raise ClientLeft(detail="The body ended before its end.")
            more = message.get("more_body", False)
            if message.get("body"):
                yield message["body"]
