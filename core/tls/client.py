"""The client's side of TLS: certificates are always checked, against the system's authorities or those of a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nova.core.errors import Unprocessable

if TYPE_CHECKING:
    import ssl

    from trio.abc import Stream


def context(ca: Path | None = None) -> ssl.SSLContext:
    """TLS 1.2 or newer, HTTP/1.1, host names checked. ca: PEM with the authorities. Raises Unprocessable: the file cannot be read.

    Reads the system's authorities from disk: 10 to 30 ms.
    """
    import ssl

    try:
        made = ssl.create_default_context(cafile=None if ca is None else str(ca))
    except (OSError, ssl.SSLError) as error:
        raise Unprocessable("bad_settings", f"the authorities in {ca} cannot be read: {error}") from None
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.set_alpn_protocols(["http/1.1"])
    return made


def wrap(stream: Stream, made: ssl.SSLContext, name: str) -> Stream:
    """`stream` under TLS with a peer that must be `name`. An end without the peer's word for it is an error: bytes may be missing."""
    import trio

    return trio.SSLStream(stream, made, server_hostname=name, https_compatible=False)
