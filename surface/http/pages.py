"""The web app: every file below `web/`, ready to be sent; and which page answers which path.

`web/NAME.html` answers `/NAME` and `/NAME/<one segment>` (its script reads the rest of the path); `index.html` answers `/`. Such a file is
what a page has of its own; what all pages have is `shell.html`, into which it is put once, when everything is read.
Files change with a release only, so browsers keep them and ask again by ETag.
"""

from __future__ import annotations

import gzip
import mimetypes
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

import nova
from nova.surface.http import headers

FOLDERS: Final = ("static", "vendor")
ERROR_PAGE: Final = "error.html"
SHELL: Final = "shell.html"
COMPRESS_FROM: Final = 1024  # bytes; below it a packet more or less decides nothing
_TEXT: Final = ("text/", "application/javascript", "application/json", "image/svg+xml")
_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".json": "application/json",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
}


@dataclass(frozen=True, slots=True)
class Asset:
    """One file under one path.

    headers: complete lines, without length, date and ETag.
    etag: with its quotes. compressed: the body in gzip, when that is smaller.
    """

    path: bytes
    headers: bytes
    body: bytes
    etag: bytes
    compressed: bytes | None = None

    def header_list(self) -> list[tuple[str, str]]:
        lines = self.headers.decode("ascii").split("\r\n")
        return [(name, value) for name, _, value in (line.partition(": ") for line in lines) if name]


def root() -> Path:
    """The folder `web`: inside an installed package, beside it in a checkout."""
    inside = Path(nova.__file__).parent / "web"
    return inside if inside.is_dir() else Path(nova.__file__).resolve().parent.parent / "web"


def web_assets(folder: Path | None = None) -> list[Asset]:
    """Everything that is served under a fixed path. Reads and compresses: call it off the event loop."""
    return list(_found(root() if folder is None else folder))


def error_page(folder: Path | None = None) -> bytes:
    """What a browser sees where there is nothing."""
    return page((root() if folder is None else folder) / ERROR_PAGE)


def page(file: Path) -> bytes:
    """The whole page: the file's lines of the head, and behind an empty line its `<main>`, each in its place of the shell."""
    head, _, main = file.read_text(encoding="utf-8").partition("\n\n")
    shell = file.with_name(SHELL).read_text(encoding="utf-8")
    return shell.replace("  <!-- head -->", head).replace("  <!-- main -->\n", main).encode()


def _found(folder: Path) -> Iterator[Asset]:
    for name in FOLDERS:
        for file in sorted((folder / name).rglob("*")):
            if file.is_file() and not file.name.startswith("."):
                yield _asset("/" + file.relative_to(folder).as_posix(), file, file.read_bytes())
    for file in sorted(folder.glob("*.html")):
        if file.name not in (ERROR_PAGE, SHELL):
            yield _asset("/" if file.stem == "index" else f"/{file.stem}", file, page(file))


def _asset(path: str, file: Path, body: bytes) -> Asset:
    kind = _TYPES.get(file.suffix) or mimetypes.guess_type(file.name)[0] or "application/octet-stream"
    lines = [("Content-Type", kind), headers.NO_SNIFF]
    # Asked for anew each time, 304 when it is the same: a page of one release with a module of another does not work.
    # Vendored libraries change their bytes with their version only, and a page works with the version before.
    lines.append(("Cache-Control", "public, max-age=3600" if path.startswith("/vendor/") else "no-cache"))
    if file.suffix in (".html", ".svg"):  # an SVG opened by itself is a page, too
        lines += headers.PAGE
    etag = urlsafe_b64encode(sha256(body).digest()[:12])
    compressed = None
    if len(body) >= COMPRESS_FROM and kind.startswith(_TEXT):
        # mtime 0: the same release gives the same bytes on every node.
        compressed = gzip.compress(body, 6, mtime=0)
        lines.append(("Vary", "Accept-Encoding"))
    text = "".join(f"{name}: {value}\r\n" for name, value in lines)
    return Asset(path.encode(), text.encode("ascii"), body, b'"' + etag + b'"', compressed)
