"""The CDN as the API and the edges see it: keys, assets, jobs, edges, deployments and numbers over the sites of this node."""

from __future__ import annotations

import json
import secrets
import socket
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import trio

from nova.cdn.assets.front import App, AssetFront
from nova.cdn.assets.links import Keys, Link, Wish, cloudfront_link, token_link
from nova.cdn.assets.model import Asset
from nova.cdn.assets.overlay import Overlay
from nova.cdn.assets.service import Assets
from nova.cdn.assets.store_sql import SqlAssets
from nova.cdn.edges import Edge, Edges
from nova.cdn.invalidation import ask
from nova.cdn.invalidation.ask import Place, Wanted
from nova.cdn.invalidation.model import Job, Warm
from nova.cdn.invalidation.service import Invalidations
from nova.cdn.invalidation.store_sql import SqlJobs
from nova.cdn.origins.fetcher import Origins
from nova.cdn.ports import Admission
from nova.cdn.signing.admission import REASONS, SiteAdmission, token_keys
from nova.cdn.signing.public_key import PrivateKey, PublicKey
from nova.cdn.sites import Sites
from nova.core.bus import Bus
from nova.core.clock import Clock
from nova.core.errors import BadRequest, FieldError, NotFound, Unavailable
from nova.core.ids import Ids
from nova.core.metrics import Metrics
from nova.core.offload import Offload
from nova.core.settings import table
from nova.core.settings_table import CdnSite, Settings
from nova.core.sql import Sql
from nova.core.values import Address
from nova.surface.identity import files
from nova.surface.urls import Urls

FOLDER: Final = "keys"
NAME: Final = "cdn.json"
COUNTED: Final = ("requests", "hits", "stale", "collapsed", "misses", "fills", "passed", "validated", "failed", "evictions")
MEMORY: Final = (("held", "bytes"), ("stored", "stored_bytes"), ("promised", "promised_bytes"))


class CdnControl:
    """What stands on the sites. opened: addresses of listeners, by name, as they open."""

    def __init__(
        self,
        settings: Settings,
        sites: Sites,
        sql: Sql,
        bus: Bus,
        clock: Clock,
        ids: Ids,
        offload: Offload,
        metrics: Metrics,
        urls: Urls,
        opened: Mapping[str, Address],
        data: Path,
    ) -> None:  # fmt: skip
        self.sites, self._clock, self._offload, self._urls, self._opened = sites, clock, offload, urls, opened
        self._settings, self._began = settings.cdn, clock.wall()
        self.name = settings.cdn.edge or f"{socket.gethostname()}-{sha256(str(data.resolve()).encode()).hexdigest()[:6]}"
        self._embedded = _embedded(data)
        self._keys: dict[str, tuple[CdnSite, Keys]] = {}
        self._admissions: dict[str, SiteAdmission] = {}
        self.edges = Edges(self._own, bus, clock)
        self.jobs = Invalidations(
            sites, SqlJobs(sql), bus, clock, edge=self.name, edges=self.edges.names, new_id=ids.new, shared=settings.bus.url is not None
        )
        self.assets = Assets(SqlAssets(sql), sites, self.jobs, clock, sites=lambda: sites.sites().keys(), new_id=ids.new)
        self._front = AssetFront(self.assets, clock, keys=lambda site: self.keys(site).tokens, site=lambda site: sites.site(site).app)
        metrics.read(
            "nova_cdn",
            "What the sites of this node did, all together.",
            "counter",
            lambda: [((name,), self.sites.stats()[""].get(name, 0)) for name in COUNTED],
            ("what",),
        )
        metrics.read(
            "nova_cdn_memory_bytes",
            "Bytes that the CDN holds in memory, those of them that are kept, and those that are on their way beside them.",
            "gauge",
            lambda: [((name,), self.sites.stats()[""][key]) for name, key in MEMORY],
            ("what",),
        )
        metrics.read(
            "nova_cdn_refused", "Requests without a good token or signature, by the reason.", "counter", self._refused, ("reason",)
        )

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Ready once everything that was told while this edge was away is done; until cancelled, when what was used is counted."""
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(self.edges.run)
                await nursery.start(self.jobs.run)
                await nursery.start(self.assets.run)
                task_status.started()
        finally:
            with trio.move_on_after(2) as scope:
                scope.shield = True
                try:
                    await self.assets.count()
                except Unavailable:
                    """The store is gone: so is the last seconds' count."""

    # What the sites are made with.

    def fetcher(self, site: CdnSite) -> Overlay:
        return Overlay(site.name, Origins(site, self._clock, self._offload), self.assets)

    def admission(self, site: CdnSite) -> Admission | None:
        """Raises Unprocessable: a key file that is none."""
        keys = self._made(site)
        if site.signing == "off":
            self._admissions.pop(site.name, None)
            return None
        public = {each.id: PublicKey.load(path) for each in site.signing_keys if (path := each.public or each.private) is not None}
        made = SiteAdmission(
            site.signing, keys.tokens, public, self._clock, self._offload, leeway=site.signing_leeway, base=site.signing_url or ""
        )
        self._admissions[site.name] = made
        return made

    def before(self, app: App) -> App:
        """`app` with the assets' paths in front of it."""
        return self._front.before(app)

    # Keys and addresses.

    def keys(self, site: str) -> Keys:
        """Raises NotFound."""
        return self._made(self.sites.site(site).config)

    def _made(self, site: CdnSite) -> Keys:
        found = self._keys.get(site.name)
        if found is None or found[0] != site:
            tokens = [(each.id, each.secret.reveal()) for each in site.signing_keys if each.secret is not None]
            private = [(each.id, each.private) for each in site.signing_keys if each.private is not None]
            # Our own key stands first: the last one that is configured signs.
            made = token_keys([self._embedded, *tokens])
            found = site, Keys(made, (private[-1][0], PrivateKey.load(private[-1][1])) if private else None)
            self._keys[site.name] = found
        return found[1]

    async def link(self, place: Asset | tuple[str, str], kind: str, wish: Wish, base: str) -> Link:
        """A signed address of an asset, or of a target of a site. base: of this server. Raises NotFound, Unprocessable, BadRequest."""
        if isinstance(place, Asset):
            keys, target, before = self.keys(place.site), f"/{place.path}?v={place.version}", f"{base}/cdn"
            if wish.folder:
                target = f"/{place.path}"
        else:
            site, target = place
            keys, before = self.keys(site), self.base_of(site, base)
        if kind == "cloudfront":
            return await cloudfront_link(before, target, keys, wish, self._offload)
        return token_link(before, target, keys, wish)

    def base_of(self, site: str, base: str) -> str:
        """What stands before a site's targets: its public address, else its prefix here, else its listener."""
        config = self.sites.site(site).config
        if config.signing_url is not None:
            return config.signing_url
        if config.prefix is not None:
            return base + config.prefix.rstrip("/")
        address = self._opened.get(f"site:{site}")
        if address is None:
            raise NotFound(detail=f"The site {site} has no listener now.")
        host = urlsplit(base).hostname or address.host
        return f"http://{Address(host if address.host in ('0.0.0.0', '::') else address.host, address.port)}"

    def called(self, site: CdnSite) -> bytes | None:
        """The Host with which viewers ask for a site, as far as the settings and the listeners tell; None: its names are not its Host's."""
        if site.host != "client":
            return None
        url = site.signing_url or self._urls.public or self._urls.listener
        address = self._opened.get(f"site:{site.name}") if site.signing_url is None else None
        if address is None:
            return ask.host_of(url)
        host = (urlsplit(url).hostname or "127.0.0.1") if address.host in ("0.0.0.0", "::") else address.host
        return ask.host_of(f"http://{Address(host, address.port)}").removesuffix(b":80")

    async def locate(self, urls: Sequence[str]) -> ask.Locate:
        """Where absolute URLs lead; assets are looked up now."""
        assets: dict[str, Place] = {}
        for url in urls[: ask.URLS]:
            path = url.partition("?")[0].partition("//")[2].partition("/")[2] if "://" in url else ""
            if path.startswith("cdn/") and not path.startswith("cdn/s/"):
                asset = await self.assets.at(path[4:])
                if asset is not None:
                    assets[url] = Place(asset.site, asset.origin_path.encode(), ask.host_of(url))
        return lambda url: assets.get(url) or ask.located(url, self._site_at)

    def _site_at(self, host: str, port: int) -> str | None:
        for name, site in self.sites.sites().items():
            if site.config.signing_url is not None and urlsplit(site.config.signing_url).netloc in (host, f"{host}:{port}"):
                return name
            address = self._opened.get(f"site:{name}")
            if address is not None and address.port == port:
                return name
        return None

    # Jobs.

    async def invalidate(self, wanted: Wanted, owner: str) -> Job:
        if wanted.site is not None:
            self.sites.site(wanted.site)
        return await self.jobs.purge(ask.purges(wanted, await self.locate(wanted.urls)), owner)

    async def prewarm(self, urls: Sequence[str], site: str | None, owner: str) -> Job:
        warms = []
        for at, place in enumerate(ask.places(urls, site, await self.locate(urls))):
            if place is None or place.site is None or place.site not in self.sites.sites():
                wrong = FieldError(f"/urls/{at}", "invalid_field", "an address of one of our sites, or a path with `site`, is wanted")
                raise BadRequest(detail="What is to be fetched is not said clearly enough.", fields=(wrong,))
            warms.append(Warm(place.site, place.target, place.host))
        return await self.jobs.prewarm(tuple(warms), owner)

    # What there is.

    def versions(self) -> dict[str, str]:
        """The version of each site's configuration: a digest of what its settings say, secrets masked."""
        show = table()["cdn.sites"].kind.show
        return {name: sha256(show((site.config,)).encode()).hexdigest()[:12] for name, site in sorted(self.sites.sites().items())}

    def _own(self) -> Edge:
        sites, versions = self.sites.sites().values(), self.versions()
        load = max((site.slots.busy / site.config.fetch_slots for site in sites), default=0.0)
        well = not sites or not all(site.fetcher.down() for site in sites)
        version = sha256(json.dumps(versions).encode()).hexdigest()[:12]
        return Edge(
            self.name,
            self._settings.region,
            self._urls.public or self._urls.listener,
            round(load, 3),
            well,
            self.jobs.current,
            version,
            self._began,
            versions,
        )

    def metrics(self) -> dict[str, Any]:
        """Every number of this node, for people and programs."""
        stats = self.sites.stats()
        sites = []
        for name, site in sorted(self.sites.sites().items()):
            fetcher = site.fetcher
            origins = fetcher.origins if isinstance(fetcher, Overlay) else None
            sites.append(
                {
                    "site": name,
                    **stats.get(name, {}),
                    "hit_ratio": _ratio(stats.get(name, {})),
                    "down": fetcher.down(),
                    "origins": [] if origins is None else [_origin(each) for each in origins.status()],
                    "origin_requests": 0 if origins is None else origins.counts.requests,
                    "retries": 0 if origins is None else origins.counts.retries,
                    "hedges": 0 if origins is None else origins.counts.hedges,
                    "resumes": 0 if origins is None else origins.counts.resumes,
                    "retry_budget": 0.0 if origins is None else round(origins.budget_left, 1),
                }
            )
        total = stats.get("", {})
        return {"edge": self.name, "total": {**total, "hit_ratio": _ratio(total)}, "sites": sites}

    def _refused(self) -> list[tuple[tuple[str], float]]:
        return [((reason,), sum(each.refused[reason] for each in self._admissions.values())) for reason in REASONS]


def _ratio(stats: Mapping[str, int]) -> float | None:
    requests = stats.get("requests", 0)
    return round(stats.get("hits", 0) / requests, 4) if requests else None


def _origin(each: Any) -> dict[str, Any]:
    def ms(seconds: float | None) -> float | None:
        return None if seconds is None else round(seconds * 1000, 2)

    return {
        "url": each.url,
        "backup": each.backup,
        "weight": each.weight,
        "well": each.well,
        "breaker": str(each.breaker),
        "openings": each.openings,
        "requests": each.requests,
        "failures": each.failures,
        "busy": each.busy,
        "idle": each.idle,
        "p50_ms": ms(each.p50),
        "p95_ms": ms(each.p95),
        "p99_ms": ms(each.p99),
    }


def _embedded(data: Path) -> tuple[str, bytes]:
    """The key of this data directory: tokens can be made without any setting. Raises Unavailable."""
    path = files.folder(data / FOLDER) / NAME
    found = files.read(path)
    if found is None:
        found = json.dumps({"id": f"n{secrets.token_hex(3)}", "key": secrets.token_hex(32)}).encode()
        files.write(path, found)
    try:
        kept = json.loads(found)
        return str(kept["id"]), bytes.fromhex(kept["key"])
    except (ValueError, KeyError, TypeError):
        raise Unavailable("storage_failed", f"{path} is damaged; move it away, then URLs that were given out are no longer good") from None
