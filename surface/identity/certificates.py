"""The self-made certificate of https: for localhost, the machine's name and loopback, kept in the data directory.

`cryptography` is loaded only when a certificate is made. When it ends, and for which names it is, stands beside it in
`names.json`, so that a warm start reads three small files and no X.509.
"""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nova.core.clock import Clock
from nova.core.errors import Unavailable
from nova.surface.identity import files

LIFE: Final = 397 * 86400  # seconds; browsers refuse longer ones
RENEW: Final = 30 * 86400  # seconds before its end
ADDRESSES: Final = ("127.0.0.1", "::1")
FOLDER: Final = "tls"  # in the data directory
CERT: Final = "cert.pem"
KEY: Final = "key.pem"


@dataclass(frozen=True, slots=True)
class Certificate:
    """Where a certificate and its key lie (PEM). ends_at: unix seconds; fresh: it was made by this call."""

    cert: Path
    key: Path
    ends_at: float
    fresh: bool


def names_of_machine() -> tuple[str, ...]:
    """The names for which the certificate is made: localhost and this machine's."""
    name = socket.gethostname().lower().rstrip(".")
    usable = name.isascii() and 0 < len(name) <= 64 and all(part and part.strip("-") for part in name.split("."))
    return ("localhost", name) if usable and name != "localhost" else ("localhost",)


def ensure(data: Path, clock: Clock, names: tuple[str, ...] | None = None) -> Certificate:
    """The certificate in `data`/tls, made when it is missing, for other names, or about to end.

    Blocks for some 30 ms when it makes one. Raises Unavailable: it cannot be read or written.
    """
    wanted = names or names_of_machine()
    folder = files.folder(data / FOLDER)
    cert, key, note = folder / CERT, folder / KEY, folder / "names.json"
    now = clock.wall()
    known = _note(note)
    if known is not None and known[0] == wanted and now < known[1] - RENEW and files.read(cert) and files.read(key):
        return Certificate(cert, key, known[1], False)
    ends_at = now + LIFE
    cert_pem, key_pem = _make(wanted, now, ends_at)
    # The note goes last: without it the next start makes a new pair, so a half-written one is never used.
    note.unlink(missing_ok=True)
    files.write(key, key_pem)
    files.write(cert, cert_pem)
    files.write(note, json.dumps({"names": wanted, "ends_at": ends_at}).encode())
    return Certificate(cert, key, ends_at, True)


def ends_at(cert: Path) -> float:
    """When the first certificate of a PEM chain ends, in unix seconds. Raises Unavailable: there is none in it."""
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificate(cert.read_bytes()).not_valid_after_utc.timestamp()
    except (OSError, ValueError) as error:
        raise Unavailable("storage_failed", f"{cert}: {error}") from None


@dataclass(frozen=True, slots=True)
class Description:
    """What a person compares. Digests are SHA-256 in hex, and in base64 of the public key (what Chromium's flags take)."""

    names: tuple[str, ...]
    ends_at: float
    sha256: str
    spki_sha256: str


def describe(cert: Path) -> Description:
    """The first certificate of a PEM chain. Raises Unavailable: there is none in it."""
    from base64 import b64encode
    from hashlib import sha256

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization

    try:
        found = x509.load_pem_x509_certificate(cert.read_bytes())
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        names = x509.SubjectAlternativeName([])
    except (OSError, ValueError) as error:
        raise Unavailable("storage_failed", f"{cert}: {error}") from None
    spki = found.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return Description(
        (*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress))),
        found.not_valid_after_utc.timestamp(),
        found.fingerprint(hashes.SHA256()).hex(),
        b64encode(sha256(spki).digest()).decode(),
    )


def _note(path: Path) -> tuple[tuple[str, ...], float] | None:
    data = files.read(path)
    if data is None:
        return None
    try:
        found = json.loads(data)
        return tuple(found["names"]), float(found["ends_at"])
    except (ValueError, KeyError, TypeError):
        return None


def _make(names: tuple[str, ...], now: float, ends_at: float) -> tuple[bytes, bytes]:
    """A certificate that signs itself, and its key. P-256: every browser takes it (Ed25519 they do not)."""
    from datetime import UTC, datetime
    from ipaddress import ip_address

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[-1]), x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Nova, self-made")])
    alternatives = [*(x509.DNSName(each) for each in names), *(x509.IPAddress(ip_address(each)) for each in ADDRESSES)]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # An hour back: a browser's clock may be behind ours.
        .not_valid_before(datetime.fromtimestamp(now - 3600, UTC))
        .not_valid_after(datetime.fromtimestamp(ends_at, UTC))
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return made.public_bytes(serialization.Encoding.PEM), pem
