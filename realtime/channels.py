"""Channel names, `namespace:rest` by the contract's grammar, and what may be published. Pure."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from nova.core.errors import BadRequest, FieldError
from nova.ext.values import JSON, MSGPACK, ValueRefused, convert

NAME: Final = re.compile(r"([a-z][a-z0-9_-]{0,31}):([A-Za-z0-9._~-]{1,128})")

STREAM: Final = "stream"  # live chat of a stream
USER: Final = "user"  # private to one user
PUBLIC: Final = "public"  # open to everyone


def split(name: str) -> tuple[str, str]:
    """Namespace and rest. Raises BadRequest `invalid_field`: not a channel's name."""
    found = NAME.fullmatch(name)
    if found is None:
        detail = "a channel is called namespace:name, of a-z 0-9 _ - and A-Z a-z 0-9 . _ ~ -"
        raise BadRequest("invalid_field", detail, fields=[FieldError("/channel", "invalid_field", detail)])
    return found[1], found[2]


def encoded(data: Any) -> bytes:
    """`data` as compact JSON that every client can be given. Raises BadRequest."""
    try:
        text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
        convert(JSON, MSGPACK, text)  # whoever speaks msgpack is a reader, too
    except UnicodeEncodeError:
        raise BadRequest("invalid_field", "a text has half of a surrogate pair") from None
    except ValueRefused as refused:
        code = "too_deep" if refused.code == "value_depth" else "invalid_field"
        raise BadRequest(code, "the data is no value that every client can be given") from None
    except (ValueError, RecursionError):
        raise BadRequest("invalid_field", "the data has a number that JSON does not have, or is too deep") from None
    return text
