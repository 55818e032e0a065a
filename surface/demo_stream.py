"""The stream of `nova serve --demo`: one a data directory, however often the server starts.

`demo.json` names it and the key of the last start. A key is known to nobody once its server has ended, so each start makes
one and drops the one before.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from nova.core.errors import NotFound
from nova.core.ids import parse_id
from nova.media.streams.access import OPERATOR
from nova.media.streams.model import KeyId, StreamId
from nova.media.streams.service import Streams
from nova.surface.identity import files
from nova.surface.operator import Operator

Json = Any

FILE: Final = "demo.json"
TITLE: Final = "Demo"


async def obtain(operator: Operator, streams: Streams, folder: Path) -> Json:
    """The demo's stream with a fresh key, as `nova stream create` shows one; made when there is none, or it was deleted.

    folder: the data directory. Raises Unavailable `storage_failed`.
    """
    made = await _again(operator, streams, folder / FILE)
    if made is None:
        made = (await operator.run("stream_create", {"draft": {"title": TITLE}}))[0]
    files.write(folder / FILE, json.dumps({"stream": made["id"], "key": made["key_id"]}).encode())
    return made


async def _again(operator: Operator, streams: Streams, path: Path) -> Json | None:
    try:
        kept = json.loads(files.read(path) or b"{}")
        stream, key = StreamId(parse_id(str(kept["stream"])) or ""), KeyId(str(kept["key"]))
    except (ValueError, KeyError, TypeError):
        return None  # the first start, or a file that nobody can read: a new stream does no harm
    try:
        with suppress(NotFound):
            await streams.delete_key(stream, key, OPERATOR)
        return await operator.run("stream_key", {"stream": stream})
    except NotFound:
        return None
