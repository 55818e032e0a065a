"""CdnService: the CDN over gRPC. Fields and rules are those of `/v1/cdn`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from nova.cdn.assets.model import Asset, AssetId
from nova.cdn.assets.service import Draft
from nova.cdn.invalidation.ask import Wanted
from nova.cdn.invalidation.model import Job, JobId
from nova.core.errors import BadRequest, FieldError, NotFound
from nova.core.ids import parse_id
from nova.surface.grpc.call import Call, Handlers
from nova.surface.http import routes_cdn
from nova.surface.http.route import LIMIT_DEFAULT, LIMIT_MAX
from nova.surface.http.schema import read
from nova.surface.identity.scopes import ADMIN
from nova.surface.urls import Urls

if TYPE_CHECKING:
    from nova.surface.cdn_control import CdnControl
    from nova.surface.grpc.generated import cdn_v1_pb2 as pb

SERVICE: Final = "/nova.cdn.v1.CdnService"
WRITE: Final = "cdn:admin"
_CHANGEABLE: Final = ("path", "site", "origin_path", "tags", "ttl", "digest", "private")


class CdnService:
    """Handlers over the domain. Every one raises NovaError as the domain does."""

    def __init__(self, find: routes_cdn.FindCdn, urls: Urls) -> None:
        self._find, self._urls = find, urls

    @property
    def _cdn(self) -> CdnControl:
        return routes_cdn.there(self._find)

    def handlers(self) -> Handlers:
        """By full method."""
        return {
            f"{SERVICE}/GenerateCdnUrl": self.generate_cdn_url,
            f"{SERVICE}/GetCdnAsset": self.get_cdn_asset,
            f"{SERVICE}/RegisterCdnAsset": self.register_cdn_asset,
            f"{SERVICE}/UpdateCdnAsset": self.update_cdn_asset,
            f"{SERVICE}/InvalidateCache": self.invalidate_cache,
            f"{SERVICE}/InvalidateCachePattern": self.invalidate_cache_pattern,
            f"{SERVICE}/GetCacheInvalidationStatus": self.get_cache_invalidation_status,
            f"{SERVICE}/GetCdnUsageStats": self.get_cdn_usage_stats,
            f"{SERVICE}/GetEdgeLocations": self.get_edge_locations,
            f"{SERVICE}/PrewarmCache": self.prewarm_cache,
            f"{SERVICE}/GetDeploymentStatus": self.get_deployment_status,
            f"{SERVICE}/GetCdnMetrics": self.get_cdn_metrics,
        }

    async def generate_cdn_url(self, request: pb.GenerateCdnUrlRequest, call: Call) -> pb.GenerateCdnUrlResponse:
        from nova.surface.grpc.generated import cdn_v1_pb2 as pb

        call.require(WRITE)
        body = {
            "asset": request.asset or None, "site": request.site or None, "path": request.path or None, "kind": request.kind or "token",
            "expires_in": request.expires_in or 3600, "address": request.address or None, "folder": request.folder,
            "edge": request.edge or None,
            "not_before": request.not_before.ToJsonString() if request.HasField("not_before") else None,
        }  # fmt: skip
        made = await routes_cdn.signed(self._cdn, read(routes_cdn.SIGN, body), self._base())
        shown = pb.GenerateCdnUrlResponse(url=made["url"], cookies=made["cookies"])
        _time(shown.expires_at, made["expires_at"])
        return shown

    async def get_cdn_asset(self, request: pb.GetCdnAssetRequest, call: Call) -> pb.GetCdnAssetResponse:
        from nova.surface.grpc.generated import cdn_v1_pb2 as pb

        call.require()
        return pb.GetCdnAssetResponse(asset=self._asset(await self._cdn.assets.get(AssetId(_id(request.id)))))

    async def register_cdn_asset(self, request: pb.RegisterCdnAssetRequest, call: Call) -> pb.RegisterCdnAssetResponse:
        from nova.surface.grpc.generated import cdn_v1_pb2 as pb

        owner = call.require(WRITE).user
        body = read(
            routes_cdn.CREATE,
            {
                "path": request.path, "site": request.site or None, "origin_path": request.origin_path or None, "tags": list(request.tags),
                "ttl": request.ttl if request.HasField("ttl") else None, "digest": request.digest or None, "private": request.private,
            },
        )  # fmt: skip
        draft = Draft(
            body["path"].lstrip("/"), body["site"], body["origin_path"], tuple(body["tags"]), body["ttl"], body["digest"], body["private"]
        )  # fmt: skip
        return pb.RegisterCdnAssetResponse(asset=self._asset(await self._cdn.assets.register(owner, draft)))

    async def update_cdn_asset(self, request: pb.UpdateCdnAssetRequest, call: Call) -> pb.UpdateCdnAssetResponse:
        from nova.surface.grpc.generated import cdn_v1_pb2 as pb

        principal = call.require(WRITE)
        before = await self._cdn.assets.owned(AssetId(_id(request.id)), principal.user, admin=principal.holds(ADMIN))
        given = _given(request)
        wanted = read(routes_cdn.CREATE, routes_cdn.editable(before) | given)
        changed = await self._cdn.assets.change(before, routes_cdn.changes(wanted, given))
        return pb.UpdateCdnAssetResponse(asset=self._asset(changed))

    async def invalidate_cache(self, request: pb.InvalidateCacheRequest, call: Call) -> pb.InvalidateCacheResponse:
        from nova.surface.grpc.generated import cdn_v1_pb2 as pb

        owner = call.require(WRITE).user
        body = read(
            routes_cdn.INVALIDATE,
            {"urls": list(request.urls), "tags": list(request.tags), "site": request.site or None, "soft": request.soft},
        )  # fmt: skip
        job = await self._cdn.invalidate(Wanted(body["urls"], "", body["tags"], body["site"], body["soft"]), owner)
        return pb.InvalidateCacheResponse(job=_job(job))

    async def invalidate_cache_pattern(self, request: pb.InvalidateCachePatternRequest, call: Call) -> pb.InvalidateCachePatternResponse:
        from nova.surface.grpc.generated import cdn_v1_pb2 as pb

        owner = call.require(WRITE).user
        body = read(routes_cdn.INVALIDATE, {"pattern": request.pattern or None, "site": request.site or None, "soft": request.soft})
        job = await self._cdn.invalidate(Wanted((), body["pattern"] or "", (), body["site"], body["soft"]), owner)
        return pb.InvalidateCachePatternResponse(job=_job(job))

    async def get_cache_invalidation_status(
        self, request: pb.GetCacheInvalidationStatusRequest, call: Call
    ) -> pb.GetCacheInvalidationStatusResponse:
        from nova.surface.grpc.generated import cdn_v1_pb2 as pb

        call.require()
        return pb.GetCacheInvalidationStatusResponse(job=_job(await self._cdn.jobs.get(JobId(_id(request.id)))))

    async def get_cdn_usage_stats(self, request: pb.GetCdnUsageStatsRequest, call: Call) -> pb.GetCdnUsageStatsResponse:
        from nova.surface.grpc.generated import cdn_v1_pb2 as pb

        principal = call.require()
        begin, end = (
            getattr(request, name).ToMilliseconds() / 1000 if request.HasField(name) else None for name in ("since", "until")
        )  # fmt: skip
        limit = min(request.limit, LIMIT_MAX) if request.limit > 0 else LIMIT_DEFAULT
        which = {"site": request.site or None, "asset": request.asset or None, "owner": routes_cdn.whose(principal, request.owner or None)}
        rows, total, cursor = await routes_cdn.used(self._cdn, begin, end, limit, request.cursor or None, **which)
        shown = pb.GetCdnUsageStatsResponse(total=pb.UsageTotal(**total), cursor=cursor or "")
        for row in rows:
            item = shown.items.add(
                site=row.site, asset=row.asset, owner=row.owner, requests=row.requests, hits=row.hits, bytes=row.bytes
            )  # fmt: skip
            item.hour.FromSeconds(row.window)
        return shown

    async def get_edge_locations(self, request: pb.GetEdgeLocationsRequest, call: Call) -> pb.GetEdgeLocationsResponse:
        from nova.surface.grpc.generated import cdn_v1_pb2 as pb

        call.require()
        shown = pb.GetEdgeLocationsResponse()
        for edge in map(routes_cdn.shown_edge, self._cdn.edges.all()):
            seen = edge.pop("seen_at")
            _time(shown.items.add(**edge).seen_at, seen)
        return shown

    async def prewarm_cache(self, request: pb.PrewarmCacheRequest, call: Call) -> pb.PrewarmCacheResponse:
        from nova.surface.grpc.generated import cdn_v1_pb2 as pb

        owner = call.require(WRITE).user
        body = read(routes_cdn.PREWARM, {"urls": list(request.urls), "site": request.site or None})
        return pb.PrewarmCacheResponse(job=_job(await self._cdn.prewarm(body["urls"], body["site"], owner)))

    async def get_deployment_status(self, request: pb.GetDeploymentStatusRequest, call: Call) -> pb.GetDeploymentStatusResponse:
        from nova.surface.grpc.generated import cdn_v1_pb2 as pb

        call.require()
        shown = pb.GetDeploymentStatusResponse()
        for found in routes_cdn.deployed(self._cdn):
            item = shown.items.add(version=found["version"], current=found["current"])
            for site in found["sites"]:
                item.sites.add(**site)
            for edge in found["edges"]:
                _time(item.edges.add(edge=edge["edge"]).since, edge["since"])
        return shown

    async def get_cdn_metrics(self, request: pb.GetCdnMetricsRequest, call: Call) -> pb.GetCdnMetricsResponse:
        from nova.surface.grpc.generated import cdn_v1_pb2 as pb

        found, jobs = await routes_cdn.measured(self._cdn, call.require())
        shown = pb.GetCdnMetricsResponse(edge=found["edge"], total=pb.TotalMetrics(**_known(found["total"])))
        for site in found["sites"]:
            origins = [pb.OriginMetrics(**_known(origin)) for origin in site["origins"]]
            shown.sites.add(**_known(site) | {"origins": origins})
        shown.jobs.extend(map(_job, jobs))
        return shown

    def _base(self) -> str:
        return self._urls.base("http", "")

    def _asset(self, asset: Asset) -> pb.Asset:
        from nova.surface.grpc.generated import cdn_v1_pb2 as pb

        members = routes_cdn.shown_asset(asset, self._base())
        made, changed = members.pop("created_at"), members.pop("updated_at")
        shown = pb.Asset(**{name: value for name, value in members.items() if value is not None})
        _time(shown.created_at, made)
        _time(shown.updated_at, changed)
        return shown


def _job(job: Job) -> pb.Job:
    from nova.surface.grpc.generated import cdn_v1_pb2 as pb

    shown = pb.Job(id=job.id, kind=job.kind, status=job.status)
    for each in job.edges:
        shown.edges.add(edge=each.edge, status=each.status, objects=each.objects, latency_ms=each.latency_ms, detail=each.detail)
    shown.created_at.FromMilliseconds(job.created_at)
    if job.done_at is not None:
        shown.done_at.FromMilliseconds(job.done_at)
    return shown


def _given(request: pb.UpdateCdnAssetRequest) -> dict[str, Any]:
    """The fields to set. Raises BadRequest: the mask names something else."""
    values: dict[str, Any] = {
        name: getattr(request, name) if request.HasField(name) else None for name in _CHANGEABLE if name != "tags"
    } | {"tags": list(request.tags)}  # fmt: skip
    values["private"] = bool(values["private"])
    named = list(request.update_mask.paths)
    if not named:
        return {name: value for name, value in values.items() if (value if name == "tags" else request.HasField(name))}
    for name in named:
        if name not in values:
            wrong = FieldError("/update_mask", "unknown_field", f"{name[:40]!r} is not a field that can be changed")
            raise BadRequest("unknown_field", wrong.detail, fields=(wrong,))
    return {name: values[name] for name in named}


def _known(found: Mapping[str, Any]) -> dict[str, Any]:
    """What has a value yet."""
    return {name: value for name, value in found.items() if value is not None}


def _time(field: Any, text: str) -> None:
    field.FromDatetime(datetime.fromisoformat(text))


def _id(text: str) -> str:
    """Raises NotFound for what can not be an id."""
    found = parse_id(text)
    if found is None:
        raise NotFound(detail="There is nothing of that id.")
    return found
