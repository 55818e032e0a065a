"""The CDN's sites as the settings name them: built, listened for, and changed while the server runs."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import trio

from nova.cdn.cache.disk import DiskTier
from nova.cdn.ports import Admission, Fetcher
from nova.cdn.sites import Sites
from nova.core.clock import Clock
from nova.core.errors import NovaError
from nova.core.limits import Networks
from nova.core.log import Log
from nova.core.offload import Offload
from nova.core.reactor import Reactor
from nova.core.settings_table import CdnSite, Settings
from nova.surface import listeners
from nova.surface.hot_pictures import HotPictures
from nova.surface.limits import counted_by
from nova.surface.listeners import Opened

__all__ = ["HotPictures", "build", "follow_settings"]

_LOOK: Final = 1.0  # seconds between two looks at the settings file
_log = Log("nova.cdn")


def build(
    reactor: Reactor,
    settings: Settings,
    data: Path,
    clock: Clock,
    offload: Offload,
    *,
    descriptors: int,
    opened: Callable[[Opened], None],
    admission: Callable[[CdnSite], Admission | None],
    fetcher: Callable[[CdnSite], Fetcher],
    before: Callable[[], Awaitable[None]],
    called: Callable[[CdnSite], bytes | None],
) -> Sites:
    """opened: told of each listener. admission: makes a site's gate for signed URLs. fetcher: its origins. before, called: see Sites."""

    def listen(site: CdnSite, number: int) -> None:
        opened(listeners.open_site(reactor, settings, site, number, descriptors))

    exempt = Networks(settings.limits.exempt)
    disk = None
    if settings.cdn.disk:
        disk = DiskTier(data / "cdn", settings.cdn.disk, settings.cdn.policy, offload, clock)
    return Sites(
        reactor,
        settings.cdn,
        clock,
        offload,
        via=b"nova-" + secrets.token_hex(4).encode(),
        fetcher=fetcher,
        before=before,
        listen=listen,
        close=lambda site: reactor.unlisten(f"site:{site.name}"),
        admission=admission,
        counted_by=lambda peer: counted_by(peer, exempt),
        called=called,
        disk=disk,
    )


async def follow_settings(sites: Sites, path: Path | None, load: Callable[[], Settings], asked: trio.MemoryReceiveChannel[None]) -> None:
    """Apply the sites of the settings whenever their file changes, or when that is asked for (SIGHUP).

    What cannot be read or opened is told in the log, and everything stays as it is.
    """
    seen = _stamp(path)
    while True:
        with trio.move_on_after(_LOOK) as waited:
            await asked.receive()
        stamp = _stamp(path)
        if waited.cancelled_caught and stamp == seen:
            continue
        seen = stamp
        try:
            settings = await trio.to_thread.run_sync(load)
            await sites.apply(settings.cdn.sites)
        except NovaError as error:
            _log.warning("settings_not_applied", code=error.code, detail=error.detail)
        else:
            waits = [name for name, value in vars(settings.cdn).items() if name != "sites" and value != getattr(sites.config, name)]
            _log.info("settings_applied", sites=len(settings.cdn.sites), **({"needs_restart": waits} if waits else {}))


def _stamp(path: Path | None) -> tuple[int, int, int] | None:
    """What changes when a file does; None: it is not there."""
    try:
        found = None if path is None else path.stat()
    except OSError:
        return None
    return None if found is None else (found.st_mtime_ns, found.st_size, found.st_ino)
