"""The pages and their files, as far as the object table does not answer them itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from nova.core.errors import NotFound
from nova.surface.http.call import Call
from nova.surface.http.pages import FOLDERS, Asset
from nova.surface.http.route import Reply, Route


@dataclass(frozen=True, slots=True)
class PageRoutes:
    """assets: of pages.web_assets."""

    assets: Sequence[Asset]
    _by_path: dict[str, Asset] = field(init=False, default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self._by_path.update({asset.path.decode(): asset for asset in self.assets})

    def table(self) -> list[Route]:
        pages = sorted(path for path in self._by_path if path.count("/") == 1)
        routes = [_page(f"page_{path.strip('/').replace('-', '_') or 'home'}", path, self.file) for path in pages]
        routes += [_page(f"{route.name}_of", f"{route.path}/{{name}}", self.page_of) for route in routes if route.path != "/"]
        routes += [_page(f"file_{folder}", f"/{folder}/{{rest:path}}", self.file) for folder in FOLDERS]
        return routes

    async def file(self, call: Call) -> Reply:
        return self._reply(call, call.route.path.removesuffix("{rest:path}") + call.params.get("rest", ""))

    async def page_of(self, call: Call) -> Reply:
        """`/watch/<id>` is the page `/watch`."""
        return self._reply(call, call.route.path.rpartition("/")[0])

    def _reply(self, call: Call, path: str) -> Reply:
        asset = self._by_path.get(path)
        if asset is None:
            raise NotFound(detail="There is nothing at this path.")
        etag = asset.etag.decode()
        lines = (*asset.header_list(), ("ETag", etag))
        asked = call.headers.get("If-None-Match", "")
        if asked == "*" or etag in [each.strip().removeprefix("W/") for each in asked.split(",")]:
            return Reply(304, None, lines)
        kind = next(value for name, value in lines if name == "Content-Type")
        rest = tuple(line for line in lines if line[0] != "Content-Type")
        whole = Reply(200, asset.body, rest, kind)
        if asset.compressed is None or not _takes_gzip(call.headers.get("Accept-Encoding", "")):
            return whole
        return replace(whole, body=asset.compressed, headers=(*rest, ("Content-Encoding", "gzip")))


def _takes_gzip(accept: str) -> bool:
    for each in accept.split(","):
        coding, _, weight = each.strip().partition(";")
        if coding.strip().lower() == "gzip":
            return weight.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


def _page(name: str, path: str, handler: object) -> Route:
    return Route("GET", path, name, handler, "A page of the web app", "web", shown=False)  # type: ignore[arg-type]
