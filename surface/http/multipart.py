"""The one file of a form (RFC 7578), as it comes: nothing but its name is kept in memory."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from typing import Final

from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.http import parse_options_header
from werkzeug.sansio.multipart import Data, Epilogue, Field, File, MultipartDecoder, NeedData

from nova.core.errors import BadRequest

FORM: Final = "multipart/form-data"
MAX_PARTS: Final = 50
MAX_HEADERS: Final = 64 << 10  # bytes that the decoder may hold while it looks for a boundary


def is_form(content_type: str) -> bool:
    return parse_options_header(content_type)[0].lower() == FORM


async def file_of(body: AsyncIterable[bytes], content_type: str, name: str = "file") -> AsyncIterator[bytes]:
    """The bytes of the part `name`; what follows it is read and thrown away. Raises BadRequest: no form, or no such part."""
    boundary = parse_options_header(content_type)[1].get("boundary", "").encode("latin-1", "replace")
    if not 1 <= len(boundary) <= 70:  # RFC 2046, 5.1.1
        raise BadRequest(detail="The form has no boundary.")
    decoder = MultipartDecoder(boundary, MAX_HEADERS, max_parts=MAX_PARTS)
    inside = found = False
    try:
        async for piece in body:
            # Small steps: the decoder refuses more than it may hold at once.
            for at in range(0, len(piece), MAX_HEADERS // 2):
                decoder.receive_data(piece[at : at + MAX_HEADERS // 2])
                while not isinstance(event := decoder.next_event(), NeedData):
                    if isinstance(event, Field | File):
                        inside = event.name == name and not found
                        found = found or inside
                    elif isinstance(event, Data) and inside and event.data:
                        yield bytes(event.data)
                    elif isinstance(event, Epilogue):
                        if not found:
                            raise BadRequest(detail=f"The form has no field {name!r}.")
                        return
        decoder.receive_data(None)
        while not isinstance(event := decoder.next_event(), NeedData | Epilogue):
            if isinstance(event, Data) and inside and event.data:
                yield bytes(event.data)
    except (ValueError, RequestEntityTooLarge):
        raise BadRequest(detail="The body is not a valid form.") from None
    finally:
        del decoder
    if not found:
        raise BadRequest(detail=f"The form has no field {name!r}.")
