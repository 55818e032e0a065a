"""Mutual TLS of the gRPC listener, with certificates that can be replaced while it runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nova.core import errors
from nova.core.log import Log
from nova.surface.grpc.library import grpc


@dataclass(frozen=True, slots=True)
class Tls:
    """Our chain and key, and the authority that a client's certificate must come from (PEM files)."""

    cert: Path
    key: Path
    client_ca: Path


class Certificates:
    """The files of the listener, read again when one changes: new connections get them, none is closed."""

    def __init__(self, tls: Tls, log: Log) -> None:
        self._tls = tls
        self._log = log
        self._seen: tuple[int, ...] = ()

    def credentials(self) -> grpc.ServerCredentials:
        """Raises Unavailable: a file cannot be read, or the key does not fit the certificate."""
        try:
            self._seen = self._changed()
            first = self._read()
        except OSError as error:  # ssl.SSLError is one
            raise errors.Unavailable("unavailable", f"grpc.tls.*: {error}") from None
        return grpc.dynamic_ssl_server_credentials(first, self._fetch, require_client_authentication=True)

    def _changed(self) -> tuple[int, ...]:
        return tuple(path.stat().st_mtime_ns for path in (self._tls.cert, self._tls.key, self._tls.client_ca))

    def _read(self) -> grpc.ServerCertificateConfiguration:
        import ssl  # most servers have no TLS here

        # grpc takes any bytes and then refuses every handshake: a half-written or wrong file shows here.
        trial = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        trial.load_cert_chain(self._tls.cert, self._tls.key)
        trial.load_verify_locations(self._tls.client_ca)
        pair = (self._tls.key.read_bytes(), self._tls.cert.read_bytes())
        return grpc.ssl_server_certificate_configuration([pair], root_certificates=self._tls.client_ca.read_bytes())

    def _fetch(self) -> grpc.ServerCertificateConfiguration | None:
        """A thread of grpc's, for each new connection. None keeps what is there."""
        try:
            seen = self._changed()
            if seen == self._seen:
                return None
            self._seen = seen
            return self._read()
        except OSError as error:
            self._log.warning("grpc_certificate_not_read", reason=str(error))
            return None
