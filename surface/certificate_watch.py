"""Certificates that are renewed while the server runs: new connections get the new ones, nobody is dropped.

Files are looked at every few seconds, and when the settings are read again (SIGHUP). A pair that does not fit together, as in the moment
between two writes, changes nothing and is looked at again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trio

from nova.core.clock import Clock
from nova.core.errors import NovaError
from nova.core.log import Log
from nova.core.reactor import Reactor
from nova.core.settings_table import Settings
from nova.ext.tls import TlsContext
from nova.surface import listeners
from nova.surface.identity import certificates

LOOK: Final = 5.0  # seconds

Stamp = tuple[tuple[int, int, int] | None, ...]

_log = Log("nova.certificates")


@dataclass(frozen=True, slots=True)
class _Served:
    """A listener with a certificate: the files that it is made of, and how it is made from them."""

    name: str
    files: tuple[Path, Path]
    make: Callable[[TlsContext | None], TlsContext]


class CertificateWatch:
    """h3: gives HTTP/3 the certificate of https."""

    def __init__(self, reactor: Reactor, settings: Settings, data: Path, clock: Clock, h3: Callable[[Path, Path], None]) -> None:
        self._reactor, self._h3 = reactor, h3
        self._asked = trio.Event()
        own = (data / certificates.FOLDER / certificates.CERT, data / certificates.FOLDER / certificates.KEY)
        https, rtmps = settings.https, settings.rtmps
        self._served: list[_Served] = []
        of_https = own if https.cert is None or https.key is None else (https.cert, https.key)
        of_rtmps = of_https if rtmps.cert is None or rtmps.key is None else (rtmps.cert, rtmps.key)
        if https.listen is not None:
            self._served.append(_Served("https", of_https, lambda resume: listeners.https_context(settings, data, clock, resume)))
        if rtmps.listen is not None:
            self._served.append(_Served("rtmps", of_rtmps, lambda resume: listeners.rtmps_context(settings, data, clock, resume)))

    def look(self) -> None:
        """Read them again now, changed or not."""
        self._asked.set()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled."""
        seen = {served.name: stamp(served.files) for served in self._served}
        task_status.started()
        while True:
            with trio.move_on_after(LOOK):
                await self._asked.wait()
            asked, self._asked = self._asked.is_set(), trio.Event()
            for served in self._served:
                now = stamp(served.files)
                if (asked or now != seen[served.name]) and await self._renew(served):
                    seen[served.name] = now

    async def _renew(self, served: _Served) -> bool:
        try:
            made = await trio.to_thread.run_sync(served.make, self._reactor.tls(served.name))
            if served.name == "https":
                self._h3(*served.files)
        except (NovaError, OSError, ValueError) as error:
            _log.warning("certificate_not_renewed", listener=served.name, detail=str(error))
            return False
        self._reactor.reload_tls(served.name, made)
        _log.info("certificate_renewed", listener=served.name)
        return True


def stamp(files: Iterable[Path]) -> Stamp:
    """What changes when one of the files does."""
    found: list[tuple[int, int, int] | None] = []
    for path in files:
        try:
            status = path.stat()
        except OSError:
            found.append(None)
        else:
            found.append((status.st_mtime_ns, status.st_size, status.st_ino))
    return tuple(found)
