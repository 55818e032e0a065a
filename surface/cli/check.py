"""`nova check`: is this machine able, is this configuration right; each finding with the remedy. Exit 1 on a problem."""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Final, Literal

from nova.core.errors import NovaError
from nova.core.settings import Loaded, SettingsError
from nova.core.settings_table import Settings
from nova.core.values import Address
from nova.surface.cli.common import load, say

Level = Literal["ok", "warning", "problem"]
MARKS: Final = {"ok": "ok      ", "warning": "warning ", "problem": "PROBLEM "}

FREE_BYTES: Final = 1 << 30  # below it a day of comments and uploads may fill the disk
DESCRIPTORS: Final = 4096  # a thousand viewers with their connections, and room for files
RAM_BYTES: Final = 512 << 20  # the server, one stream and its viewers
EXPIRES_SOON: Final = 14 * 86400  # seconds
KERNELS: Final = ("engine", "http1", "rtmp", "timeline", "fmp4", "token", "session", "tls")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. remedy: what to do; empty when it is well."""

    level: Level
    name: str
    detail: str
    remedy: str = ""


def arguments(parser: argparse.ArgumentParser, shared: argparse.ArgumentParser) -> None:
    """Takes what every command takes."""


def run(given: argparse.Namespace) -> int:
    found = list(findings(given))
    for each in found:
        text = f"{MARKS[each.level]}{each.name}: {each.detail}" + (f"\n        -> {each.remedy}" if each.remedy else "")
        value = {"level": each.level, "name": each.name, "detail": each.detail, "remedy": each.remedy or None}
        say(given, value, text)
    problems = sum(each.level == "problem" for each in found)
    if not given.json:
        sys.stdout.write("everything is well\n" if not problems else f"{problems} problem{'s' * (problems > 1)}\n")
    return 1 if problems else 0


def findings(given: argparse.Namespace) -> Iterator[Finding]:
    """Everything that is looked at: first the machine, then the settings, then what they ask for."""
    yield _python()
    compiled = _compiled()
    yield compiled
    yield from _machine()
    try:
        loaded = load(given)
    except SettingsError as error:
        for problem in error.problems:
            yield Finding("problem", "settings", f"{problem}", "`nova config` lists the settings, docs/settings.md explains them")
        return
    changed = sum(source.layer != "default" for source in loaded.sources.values())
    yield Finding("ok", "settings", f"{changed} of {len(loaded.sources)} are not at their default")
    if compiled.level == "ok":  # what looks at the rest stands on it
        yield from _configured(loaded)


def _configured(loaded: Loaded) -> Iterator[Finding]:
    settings = loaded.settings
    data = Path(settings.data.dir)
    yield from _data(data)
    serving = _serving(data)
    if serving:
        yield Finding("ok", "server", f"runs as process {serving}")
    else:
        for name in ("http", "https", "rtmp", "rtmps", "grpc"):
            yield _listener(name, getattr(settings, name).listen)
        for site in settings.cdn.sites:
            if site.listen is not None:
                yield _listener(f"site:{site.name}", site.listen)
    yield from _bus(settings)
    yield _realtime(settings)
    yield from _certificates(settings)
    yield _uring(settings)
    yield _codecs()
    yield _pictures()
    yield _web()
    if settings.http.listen is not None and not settings.http.listen.loopback and settings.http.public_url is None:
        yield Finding(
            "warning", "http.public_url", "http listens beyond this machine, and URLs are made from each request's Host",
            "set http.public_url to the address that viewers use",
        )  # fmt: skip


def _python() -> Finding:
    return Finding("ok", "python", ".".join(map(str, sys.version_info[:3])))


def _compiled() -> Finding:
    for name in KERNELS:
        try:
            import_module(f"nova.ext.{name}")
        except ImportError as error:
            return Finding(
                "problem", "compiled core", f"nova.ext.{name} cannot be loaded: {error}",
                "run `make setup`; when a library is named that is not there, install it (Debian: libssl3, libsodium23)",
            )  # fmt: skip
    return Finding("ok", "compiled core", f"{len(KERNELS)} kernels loaded")


def _machine() -> Iterator[Finding]:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < DESCRIPTORS:
        yield Finding(
            "warning", "open files", f"at most {hard} connections and files at once",
            "raise the hard limit of open files (ulimit -Hn, LimitNOFILE= in systemd)",
        )  # fmt: skip
    else:
        yield Finding("ok", "open files", f"at most {hard}")
    ram = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if ram < RAM_BYTES:
        yield Finding("warning", "memory", f"{ram >> 20} MiB", "512 MiB are the least for a server with a few streams")
    else:
        yield Finding("ok", "memory", f"{ram >> 20} MiB")
    cores = len(os.sched_getaffinity(0))
    if cores < 2:
        yield Finding("warning", "processors", "one", "two let the network and the rest of the program run side by side")
    else:
        yield Finding("ok", "processors", str(cores))


def _data(path: Path) -> Iterator[Finding]:
    there = path if path.exists() else next(parent for parent in (path.absolute(), *path.absolute().parents) if parent.exists())
    if path.exists() and not path.is_dir():
        yield Finding("problem", "data directory", f"{path} is not a directory", "choose another with --data")
        return
    if not os.access(there, os.W_OK | os.X_OK):
        yield Finding("problem", "data directory", f"{there} cannot be written", "choose another with --data, or give it to this user")
        return
    if path.exists() and path.stat().st_mode & 0o077:
        yield Finding("warning", "data directory", f"others may enter {path}", f"chmod 700 {path}; `nova serve` does it")
    else:
        yield Finding("ok", "data directory", f"{path}" if path.exists() else f"{path} will be made by `nova serve`")
    free = shutil.disk_usage(there).free
    if free < FREE_BYTES:
        yield Finding("warning", "disk", f"{free >> 20} MiB free at {there}", "make room: a full disk stops uploads and new streams")
    else:
        yield Finding("ok", "disk", f"{free >> 30} GiB free")


def _serving(path: Path) -> int:
    """The process id of the server of a data directory; 0: none runs."""
    from nova.surface.datadir import DataDir, Locked

    if not path.is_dir():
        return 0
    try:
        with DataDir(path).lock("command"):
            return 0
    except Locked as locked:
        return locked.pid if locked.holder == "serve" else 0
    except (OSError, NovaError):  # the finding about the directory has said it
        return 0


def _listener(name: str, address: Address | None) -> Finding:
    from nova.surface.listeners import refusal

    if address is None:
        return Finding("ok", name, "off")
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind((address.host, address.port))
    except OSError as error:
        detail, _, remedy = refusal(name, address, error).partition("; ")
        return Finding("problem", name, detail.partition(": ")[2] or detail, remedy or f"set {name}.listen")
    return Finding("ok", name, f"{address} is free")


def _bus(settings: Settings) -> Iterator[Finding]:
    import trio

    from nova.surface.services import shared_bus

    async def asked() -> None:
        async with shared_bus(settings):
            pass

    if settings.bus.url is None:
        return
    try:
        trio.run(asked)
    except NovaError as error:
        detail, _, remedy = error.detail.removeprefix("bus.url: ").partition("; ")
        yield Finding("problem", "bus", detail, remedy or "set bus.url")
    else:
        yield Finding("ok", "bus", "Redis answers")


def _realtime(settings: Settings) -> Finding:
    from nova.core.clock import SystemClock
    from nova.core.ids import Ids
    from nova.surface.realtime import hooks_of, spaces_of

    clock = SystemClock()
    try:
        spaces_of(settings)
        hooks = hooks_of(settings, clock, Ids(clock))
    except NovaError as error:
        return Finding("problem", "realtime", error.detail, "docs/realtime.md has the rules of channels and the backend that is asked")
    return Finding("ok", "realtime", f"a backend decides about {', '.join(sorted(hooks.asks))}" if hooks else "no backend is asked")


def _uring(settings: Settings) -> Finding:
    from nova.ext.uring import available

    if settings.reactor.uring is False:
        return Finding("ok", "io_uring", "off by reactor.uring: fan-out sends by send()")
    if available():
        return Finding("ok", "io_uring", "fan-out sends by it")
    detail = "not available: fan-out sends by send()"
    if settings.reactor.uring is None:
        return Finding("ok", "io_uring", detail)
    remedy = "run Linux 6.1 or newer and allow io_uring_setup and io_uring_enter (Docker: a seccomp profile), or set reactor.uring to auto"
    return Finding("warning", "io_uring", detail, remedy)


def _certificates(settings: Settings) -> Iterator[Finding]:
    import time

    from nova.surface.listeners import CannotListen, try_context

    pairs = [("https", settings.https.cert, settings.https.key), ("rtmps", settings.rtmps.cert, settings.rtmps.key)]
    for name, cert, key in pairs:
        if cert is None or key is None:
            continue
        try:
            try_context(name, cert, key)
        except CannotListen as error:
            detail, _, remedy = error.detail.partition("; ")
            yield Finding("problem", f"{name}.cert", detail.partition(": ")[2], remedy)
            continue
        left = _ends_at(cert) - time.time()
        days = int(left // 86400)
        if left <= 0:
            yield Finding("problem", f"{name}.cert", "the certificate has expired", "renew it")
        elif left < EXPIRES_SOON:
            yield Finding("warning", f"{name}.cert", f"the certificate ends in {days} days", "renew it")
        else:
            yield Finding("ok", f"{name}.cert", f"good for {days} days")


def _ends_at(cert: Path) -> float:
    from nova.surface.identity.certificates import ends_at

    return ends_at(cert)


def _codecs() -> Finding:
    from nova.media import libav

    missing = libav.missing_codecs()
    if missing:
        return Finding("problem", "codecs", f"PyAV lacks {', '.join(missing)}", "install the `av` wheel from PyPI: `make setup`")
    return Finding("ok", "codecs", "H.264 and AAC in both directions")


def _pictures() -> Finding:
    """What the installed Pillow really has: its build succeeds without any of it."""
    try:
        import_module("nova.media.images.render")  # all that a worker loads
        from nova.media.images import codec
    except ImportError as error:
        return Finding("problem", "pictures", f"a worker process cannot load its decoders: {error}", "run `make setup`")
    has = codec.abilities()
    missing = [name for name in codec.WANTED if not has[name]]
    if missing:
        return Finding(
            "problem", "pictures", f"Pillow {codec.version()} lacks {', '.join(missing)}", "run `make setup`; it builds pillow-simd"
        )
    if "post" not in codec.version():
        return Finding("warning", "pictures", f"Pillow {codec.version()} is not pillow-simd", "uninstall `pillow`, then run `make setup`")
    formats = [name for name in ("jpeg", "png", "gif", "webp", "avif", "tiff", "heic") if has[name]]
    return Finding("ok", "pictures", f"pillow-simd {codec.version()} with {', '.join(formats)}")


def _web() -> Finding:
    from nova.surface.http import pages

    if not (pages.root() / "index.html").is_file():
        return Finding("problem", "web app", f"{pages.root()} has no pages", "install the program again")
    return Finding("ok", "web app", str(pages.root()))
