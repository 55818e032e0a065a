"""`nova certs`: the certificate of https, and with `--trust` its way into the user's Chromium."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

from nova.core.clock import SystemClock, rfc3339
from nova.core.errors import Unprocessable
from nova.surface.cli.common import load, say

STORES: Final = (".pki/nssdb", "snap/chromium/current/.pki/nssdb")  # where Chromium and Chrome keep what their user trusts
SECONDS: Final = 30  # certutil answers in a moment; a store on a network that hangs does not


def arguments(parser: argparse.ArgumentParser, shared: argparse.ArgumentParser) -> None:
    parser.add_argument("--trust", action="store_true", help="let this user's Chromium trust the self-made certificate")


def run(given: argparse.Namespace) -> int:
    from nova.surface.datadir import open_data_dir
    from nova.surface.identity import certificates

    settings = load(given).settings
    made = settings.https.cert is None or settings.https.key is None
    if made:
        data = open_data_dir(Path(settings.data.dir), create=False)
        path = certificates.ensure(data.path, SystemClock()).cert
    else:
        assert settings.https.cert is not None
        path = settings.https.cert
    about = certificates.describe(path)
    name = f"Nova {about.sha256[:16]}"
    trusted = _trust(path, name) if given.trust else _trusting(name)
    value = {
        "cert": str(path), "self_made": made, "names": about.names, "ends_at": rfc3339(about.ends_at), "sha256": about.sha256,
        "spki_sha256": about.spki_sha256, "trusted_in": trusted,
    }  # fmt: skip
    lines = [
        f"certificate: {path}" + (" (self-made)" if made else ""),
        f"names: {', '.join(about.names)}",
        f"good until: {value['ends_at']}",
        f"sha256: {about.sha256}",
        *(f"trusted in: {store}" for store in trusted),
    ]
    if given.trust:
        lines.append("restart the browser; HTTP/3 needs a flag of its own there, see docs/guides/http3.md")
    elif made and not trusted:
        lines.append("`nova certs --trust` lets this user's Chromium trust it")
    say(given, value, "\n".join(lines))
    return 0


def _trusting(name: str) -> list[str]:
    """The stores that trust the certificate already. Those that cannot be looked into are left out."""
    home, program = Path(os.environ.get("HOME") or "/nonexistent"), shutil.which("certutil")
    found = []
    for store in (home / store for store in STORES):
        if program is None or not (store / "cert9.db").exists():
            continue
        # Trust is behind the name: `Nova 0123456789abcdef      P,,`.
        listed, _ = _certutil([program, "-d", f"sql:{store}", "-L"])
        if any(line.startswith(name) and "P" in line[len(name) :].partition(",")[0] for line in listed.splitlines()):
            found.append(str(store))
    return found


def _trust(cert: Path, name: str) -> list[str]:
    """The stores that trust the certificate now. Raises Unprocessable: with how to do it by hand."""
    home = Path(os.environ.get("HOME") or "/nonexistent")
    program = shutil.which("certutil")
    by_hand = f"certutil -d sql:$HOME/{STORES[0]} -A -t P,, -n '{name}' -i {cert}"
    if program is None:
        raise Unprocessable(detail=f"certutil is needed: apt-get install libnss3-tools (Debian), then again, or by hand: {by_hand}")
    if not home.is_dir():
        raise Unprocessable(detail="HOME names no directory; the store of a browser belongs to a user")
    stores = [home / store for store in STORES if store == STORES[0] or (home / store).is_dir()]
    for store in stores:
        database = f"sql:{store}"
        if not (store / "cert9.db").exists():
            store.mkdir(parents=True, exist_ok=True, mode=0o700)
            _call([program, "-d", database, "-N", "--empty-password"], by_hand)
        # P: this one certificate is trusted, and nothing that it might sign.
        _call([program, "-d", database, "-A", "-t", "P,,", "-n", name, "-i", str(cert)], by_hand)
    return [str(store) for store in stores]


def _certutil(command: list[str]) -> tuple[str, str]:
    """What it says, and why it did not work; empty: it did."""
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return "", str(error)
    return done.stdout, done.stderr.strip() if done.returncode else ""


def _call(command: list[str], by_hand: str) -> None:
    _, failure = _certutil(command)
    if failure:
        raise Unprocessable(detail=f"the browser's store cannot be written ({' '.join(failure.split())}); by hand: {by_hand}")
