"""The keys that sign picture URLs: those of the settings, else one that the data directory keeps."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from nova.core.errors import Unavailable, Unprocessable
from nova.core.secret import Secret
from nova.media.images.signing import Keys, parse_key
from nova.surface.identity import files

FOLDER: Final = "keys"
NAME: Final = "images.json"


def keys(configured: Sequence[Secret], data: Path) -> Keys:
    """Raises Unprocessable `bad_settings`: a key of the settings is none; Unavailable: the kept one cannot be read or written."""
    if configured:
        try:
            return Keys([parse_key(each) for each in configured])
        except ValueError as error:
            raise Unprocessable("bad_settings", f"images.keys: {error}") from None
    path = files.folder(data / FOLDER) / NAME
    found = files.read(path)
    if found is None:
        found = json.dumps({"id": secrets.token_hex(2), "key": secrets.token_hex(32)}).encode()
        files.write(path, found)
    try:
        kept = json.loads(found)
        return Keys([(kept["id"], Secret(bytes.fromhex(kept["key"])))])
    except (ValueError, KeyError, TypeError):
        raise Unavailable("storage_failed", f"{path} is damaged; move it away, then URLs that were given out are no longer good") from None
