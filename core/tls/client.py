"""The client's side of TLS: certificates are always checked, against the system's authorities or those of a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import trio

from nova.core.errors import Unavailable, Unprocessable

if TYPE_CHECKING:
    import ssl


class ClientTls:
    """TLS 1.2 or newer, HTTP/1.1. ca: PEM with the authorities. What it needs is read with the first connection."""

    def __init__(self, ca: Path | None = None) -> None:
        self._ca = ca
        self._context: ssl.SSLContext | None = None

    async def secure(self, plain: trio.abc.Stream, name: str) -> trio.abc.Stream:
        """`plain` under TLS with a peer that must be `name`; closed when that fails.

        An end without the peer's word for it is an error (BrokenResourceError): bytes may be missing.
        Raises Unavailable: no handshake, or a certificate that does not hold; Unprocessable: the authorities cannot be read.
        """
        import ssl

        try:
            if self._context is None:
                self._context = await trio.to_thread.run_sync(self._read)  # the system's authorities: 10 to 30 ms, once
            stream = trio.SSLStream(plain, self._context, server_hostname=name, https_compatible=False)
            await stream.do_handshake()
        except trio.BrokenResourceError as error:
            cause = error.__cause__
            said = cause.verify_message if isinstance(cause, ssl.SSLCertVerificationError) else "the handshake broke off"
            raise Unavailable("unavailable", said) from error
        except BaseException:
            await trio.aclose_forcefully(plain)
            raise
        return stream

    def _read(self) -> ssl.SSLContext:
        import ssl

        try:
            made = ssl.create_default_context(cafile=None if self._ca is None else str(self._ca))
        except (OSError, ssl.SSLError) as error:
            raise Unprocessable("bad_settings", f"the authorities in {self._ca} cannot be read: {error}") from None
        made.minimum_version = ssl.TLSVersion.TLSv1_2
        made.set_alpn_protocols(["http/1.1"])
        return made
