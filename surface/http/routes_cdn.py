"""`/v1/cdn`: assets, signed addresses, invalidation, prewarming, and the numbers of edges and sites."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Optional

from nova.cdn.assets import model
from nova.cdn.assets.links import Wish
from nova.cdn.assets.model import Asset, AssetId, UsageRow
from nova.cdn.assets.service import Draft
from nova.cdn.edges import Edge
from nova.cdn.invalidation import ask
from nova.cdn.invalidation.ask import Wanted
from nova.cdn.invalidation.model import Job, JobId, JobKind
from nova.core.clock import rfc3339
from nova.core.errors import BadRequest, FieldError, Forbidden, NotFound, Unavailable
from nova.core.ids import parse_id
from nova.surface.http import cursors
from nova.surface.http.bodies import merge_patch
from nova.surface.http.call import Call
from nova.surface.http.route import CURSOR, LIMIT, NO_CONTENT, Query, Reply, Route, created, page, short_text
from nova.surface.http.schema import (
    ID,
    TIME,
    URL,
    Anything,
    Array,
    Boolean,
    Choice,
    Integer,
    Number,
    Object,
    OrNull,
    Text,
    optional,
    page_of,
    read,
    read_patch,
    required,
)
from nova.surface.identity.principal import Principal
from nova.surface.identity.scopes import ADMIN, CDN_ADMIN, METRICS_READ, SERVICE

if TYPE_CHECKING:
    from nova.surface.cdn_control import CdnControl

Json = Any
FindCdn = Callable[[], Optional["CdnControl"]]  # None: it is loaded later, when no site was configured at the start

LIST: Final = "cdn_assets"
USED: Final = "cdn_usage"
SITE: Final = Text(32, 1, "[a-z0-9-]+", doc="A site of `[[cdn.sites]]`.")
TAGS: Final = Array(Text(model.TAG_MAX, 1), model.TAGS_MAX, distinct=True)
COUNT: Final = Integer(0, 2**53)
EXPIRES: Final = Integer(1, 366 * 86400, "Seconds from now.")

EDITABLE: Final = {
    "path": required(Text(model.PATH_MAX, 1, doc="Served as `/cdn/{path}`.")),
    "site": optional(OrNull(SITE)),
    "origin_path": optional(OrNull(Text(2 * model.PATH_MAX, 1, doc="Path and query at the site; null: the path."))),
    "tags": optional(TAGS, []),
    "ttl": optional(OrNull(Integer(0, model.TTL_MAX, "Seconds of freshness; null: as the origin says."))),
    "digest": optional(OrNull(Text(100, doc="`sha-256:` and 64 hexadecimal digits: answers that are something else are not served."))),
    "private": optional(Boolean("Whether its addresses must be signed."), False),
}
CREATE: Final = Object(EDITABLE, "CdnAssetCreate")
PATCH: Final = Object(
    {name: optional(OrNull(member.shape)) for name, member in EDITABLE.items()}, "CdnAssetPatch", "A merge patch (RFC 7396)."
)
ASSET: Final = Object(
    {
        "id": required(ID),
        "owner": required(Text(64)),
        **{name: required(member.shape) for name, member in EDITABLE.items()},
        "version": required(Integer(1, 2**53, "Grows with every change.")),
        "url": required(URL),
        "created_at": required(TIME),
        "updated_at": required(TIME),
    },
    "CdnAsset",
    open=True,
)
SIGN: Final = Object(
    {
        "asset": optional(OrNull(ID)),
        "site": optional(OrNull(SITE)),
        "path": optional(OrNull(Text(4096, 1, r"/[\x21-\x7e]*", doc="Path and query at `site`, instead of `asset`."))),
        "kind": optional(Choice(["token", "cloudfront"]), "token"),
        "expires_in": optional(EXPIRES, 3600),
        "not_before": optional(OrNull(TIME)),
        "address": optional(OrNull(Text(64, doc="The only client's."))),
        "folder": optional(Boolean("Good for everything below the path's folder too."), False),
        "edge": optional(OrNull(Text(128, doc="An edge of `/v1/cdn/edges`; null: this server."))),
    },
    "CdnUrlCreate",
)
SIGNED: Final = Object(
    {"url": required(URL), "expires_at": required(TIME), "cookies": required(Anything("Name to value; CloudFront's."))}, "CdnUrl", open=True
)
INVALIDATE: Final = Object(
    {
        "urls": optional(Array(Text(ask.TARGET, 1), ask.URLS), []),
        "pattern": optional(OrNull(Text(ask.PATTERN, 1, doc="A path; `*` within a segment, `**` across."))),
        "tags": optional(Array(Text(1024, 1), ask.TAGS), []),
        "site": optional(OrNull(SITE)),
        "soft": optional(Boolean("Stale instead of gone."), False),
    },
    "CdnInvalidationCreate",
)
PREWARM: Final = Object({"urls": required(Array(Text(ask.TARGET, 1), ask.URLS)), "site": optional(OrNull(SITE))}, "CdnPrewarmCreate")
JOB_EDGE: Final = Object(
    {
        "edge": required(Text(128)),
        "status": required(Choice(["pending", "acked", "failed", "away"])),
        "objects": required(COUNT),
        "latency_ms": required(COUNT),
        "detail": required(Text(200)),
    },
    "CdnJobEdge",
    open=True,
)
JOB: Final = Object(
    {
        "id": required(ID),
        "kind": required(Choice([*JobKind])),
        "status": required(Choice(["pending", "done", "failed"])),
        "edges": required(Array(JOB_EDGE, 1000)),
        "created_at": required(TIME),
        "done_at": required(OrNull(TIME)),
    },
    "CdnJob",
    open=True,
)
USAGE: Final = Object(
    {
        "hour": required(TIME),
        "site": required(Text(32)),
        "asset": required(OrNull(ID)),
        "owner": required(OrNull(Text(64))),
        "requests": required(COUNT),
        "hits": required(COUNT),
        "bytes": required(COUNT),
    },
    "CdnUsage",
    open=True,
)
USAGES: Final = Object(
    {
        "items": required(Array(USAGE, 200)),
        "cursor": required(OrNull(Text(500))),
        "total": required(Object({"requests": required(COUNT), "hits": required(COUNT), "bytes": required(COUNT)}, open=True)),
    },
    "CdnUsagePage",
    open=True,
)
EDGE: Final = Object(
    {
        "edge": required(Text(128)),
        "region": required(Text(64)),
        "url": required(URL),
        "healthy": required(Boolean()),
        "load": required(Number("Of its fetch slots, 0 to 1.")),
        "version": required(Text(12)),
        "seen_at": required(TIME),
    },
    "CdnEdge",
    open=True,
)
DEPLOYMENT: Final = Object(
    {
        "version": required(Text(12)),
        "current": required(Boolean("Whether this node has it.")),
        "sites": required(Array(Object({"site": required(SITE), "version": required(Text(12))}, open=True), 64)),
        "edges": required(Array(Object({"edge": required(Text(128)), "since": required(TIME)}, open=True), 1000)),
    },
    "CdnDeployment",
    open=True,
)
METRICS: Final = Object(
    {
        "edge": required(Text(128)),
        "total": required(Anything()),
        "sites": required(Array(Anything(), 64)),
        "jobs": required(Array(JOB, 20)),
    },
    "CdnMetrics",
    open=True,
)


@dataclass(frozen=True, slots=True)
class CdnRoutes:
    """Handlers: from a checked call to the domain and back."""

    find_cdn: FindCdn

    @property
    def cdn(self) -> CdnControl:
        return there(self.find_cdn)

    def table(self) -> list[Route]:
        """Every route under /v1/cdn."""
        base, tag = "/v1/cdn", "cdn"
        write: dict[str, Any] = {"tag": tag, "scope": CDN_ADMIN}
        look: dict[str, Any] = {"tag": tag, "access": "user"}
        text = Query(short_text(128), {"type": "string"}, None)
        time = Query(_when, {"type": "string", "format": "date-time"}, None)
        return [
            Route(
                "POST",
                f"{base}/assets",
                "register_cdn_asset",
                self.register,
                "Register an asset",
                body=CREATE,
                kind="json",
                answers={201: ASSET},
                errors=("conflict",),
                idempotent=True,
                **write,
            ),
            Route(
                "GET",
                f"{base}/assets",
                "list_cdn_assets",
                self.find,
                "List assets, newest first",
                query={"site": text, "cursor": CURSOR, "limit": LIMIT},
                answers={200: page_of(ASSET, "CdnAssetPage")},
                errors=("bad_cursor",),
                **look,
            ),
            Route(
                "GET",
                f"{base}/assets/{{id}}",
                "get_cdn_asset",
                self.get,
                "Read an asset",
                answers={200: ASSET},
                errors=("not_found",),
                **look,
            ),
            Route(
                "PATCH",
                f"{base}/assets/{{id}}",
                "update_cdn_asset",
                self.change,
                "Change an asset: its next version",
                body=PATCH,
                kind="patch",
                answers={200: ASSET},
                errors=("not_found", "conflict"),
                idempotent=True,
                **write,
            ),
            Route(
                "DELETE",
                f"{base}/assets/{{id}}",
                "delete_cdn_asset",
                self.delete,
                "Delete an asset, and what is kept of it",
                answers={204: None},
                errors=("not_found",),
                idempotent=True,
                **write,
            ),
            Route(
                "POST",
                f"{base}/urls",
                "sign_cdn_url",
                self.sign,
                "Sign the address of an asset or of a site's path",
                body=SIGN,
                kind="json",
                answers={200: SIGNED},
                errors=("not_found", "unprocessable"),
                **write,
            ),
            Route(
                "POST",
                f"{base}/invalidations",
                "invalidate_cdn",
                self.invalidate,
                "Have every edge forget",
                body=INVALIDATE,
                kind="json",
                answers={202: JOB},
                errors=("not_found",),
                idempotent=True,
                **write,
            ),
            Route(
                "GET",
                f"{base}/invalidations/{{id}}",
                "get_cdn_invalidation",
                self.job,
                "How far a job is",
                answers={200: JOB},
                errors=("not_found",),
                **look,
            ),
            Route(
                "POST",
                f"{base}/prewarm",
                "prewarm_cdn",
                self.prewarm,
                "Have every edge fetch before anybody asks",
                body=PREWARM,
                kind="json",
                answers={202: JOB},
                errors=("not_found",),
                idempotent=True,
                **write,
            ),
            Route(
                "GET",
                f"{base}/prewarm/{{id}}",
                "get_cdn_prewarm",
                self.job,
                "How far a job is",
                answers={200: JOB},
                errors=("not_found",),
                **look,
            ),
            Route(
                "GET",
                f"{base}/usage",
                "get_cdn_usage",
                self.usage,
                "What was used, by hour",
                answers={200: USAGES},
                query={"since": time, "until": time, "site": text, "asset": text, "owner": text, "cursor": CURSOR, "limit": LIMIT},
                errors=("bad_cursor",),
                **look,
            ),
            Route(
                "GET",
                f"{base}/edges",
                "list_cdn_edges",
                self.edges,
                "The edges that are there",
                answers={200: page_of(EDGE, "CdnEdgePage")},
                **look,
            ),
            Route(
                "GET",
                f"{base}/deployments",
                "list_cdn_deployments",
                self.deployments,
                "Which edge has which configuration",
                answers={200: page_of(DEPLOYMENT, "CdnDeploymentPage")},
                **look,
            ),
            Route(
                "GET",
                f"{base}/metrics",
                "get_cdn_metrics",
                self.metrics,
                "Hit ratios, origins, breakers, jobs",
                answers={200: METRICS},
                **look,
            ),
        ]

    async def register(self, call: Call) -> Reply:
        body = call.body
        draft = Draft(
            body["path"].lstrip("/"), body["site"], body["origin_path"], tuple(body["tags"]), body["ttl"], body["digest"], body["private"]
        )
        made = await self.cdn.assets.register(call.require_user().user, draft)
        return created(f"/v1/cdn/assets/{made.id}", shown_asset(made, call.base))

    async def find(self, call: Call) -> Reply:
        query = call.query
        after = None if query["cursor"] is None else cursors.decode(LIST, query["cursor"])
        found = await self.cdn.assets.find(limit=query["limit"] + 1, after=after, site=query["site"])
        more = len(found) > query["limit"]
        found = found[: query["limit"]]
        return page([shown_asset(each, call.base) for each in found], cursors.encode(LIST, found[-1].id) if more else None)

    async def get(self, call: Call) -> Reply:
        return Reply(body=shown_asset(await self.cdn.assets.get(_id(call)), call.base))

    async def change(self, call: Call) -> Reply:
        principal = call.require_user()
        before = await self.cdn.assets.owned(_id(call), principal.user, admin=principal.holds(ADMIN))
        patch = read_patch(PATCH, call.body)
        wanted = read(CREATE, merge_patch(editable(before), patch))
        return Reply(body=shown_asset(await self.cdn.assets.change(before, changes(wanted, patch)), call.base))

    async def delete(self, call: Call) -> Reply:
        principal = call.require_user()
        await self.cdn.assets.delete(await self.cdn.assets.owned(_id(call), principal.user, admin=principal.holds(ADMIN)))
        return NO_CONTENT

    async def sign(self, call: Call) -> Reply:
        return Reply(body=await signed(self.cdn, call.body, call.base))

    async def invalidate(self, call: Call) -> Reply:
        body = call.body
        wanted = Wanted(body["urls"], body["pattern"] or "", body["tags"], body["site"], body["soft"])
        job = await self.cdn.invalidate(wanted, call.require_user().user)
        return Reply(202, shown_job(job), (("Location", f"/v1/cdn/invalidations/{job.id}"),))

    async def prewarm(self, call: Call) -> Reply:
        job = await self.cdn.prewarm(call.body["urls"], call.body["site"], call.require_user().user)
        return Reply(202, shown_job(job), (("Location", f"/v1/cdn/prewarm/{job.id}"),))

    async def job(self, call: Call) -> Reply:
        return Reply(body=shown_job(await self.cdn.jobs.get(JobId(_checked(call.params["id"])))))

    async def usage(self, call: Call) -> Reply:
        query = call.query
        which = {"site": query["site"], "asset": query["asset"], "owner": whose(call.require_user(), query["owner"])}
        rows, total, cursor = await used(self.cdn, query["since"], query["until"], query["limit"], query["cursor"], **which)
        return Reply(body={"items": [shown_usage(each) for each in rows], "cursor": cursor, "total": total})

    async def edges(self, call: Call) -> Reply:
        return page([shown_edge(each) for each in self.cdn.edges.all()], None)

    async def deployments(self, call: Call) -> Reply:
        return page(deployed(self.cdn), None)

    async def metrics(self, call: Call) -> Reply:
        found, jobs = await measured(self.cdn, call.require_user())
        return Reply(body=found | {"jobs": [shown_job(job) for job in jobs]})


# Shared with gRPC.


def operates(principal: Principal) -> bool:
    """Whether somebody looks after this server, or is a service that does."""
    return any(principal.holds(scope) for scope in (CDN_ADMIN, METRICS_READ, SERVICE))


def whose(principal: Principal, owner: str | None) -> str | None:
    """Whose usage is shown, None: everybody's. A user sees his own. Raises Forbidden."""
    if operates(principal):
        return owner
    if owner not in (None, principal.user):
        raise Forbidden(detail="What others use is shown to who has the scope cdn:admin, metrics:read or service.")
    return principal.user


async def measured(cdn: CdnControl, principal: Principal) -> tuple[dict[str, Any], list[Job]]:
    """The numbers and the latest jobs. Where the origins are and what others have had done is for operators."""
    found = cdn.metrics()
    if operates(principal):
        return found, await cdn.jobs.recent(20)
    return found | {"sites": [site | {"origins": []} for site in found["sites"]]}, []


def there(find: FindCdn) -> CdnControl:
    """Raises Unavailable: the first moments of a server without sites."""
    found = find()
    if found is None:
        raise Unavailable(detail="The CDN is being loaded.", retry_after=1)
    return found


def shown_asset(asset: Asset, base: str) -> dict[str, Json]:
    return {
        "id": asset.id,
        "owner": asset.owner,
        **editable(asset),
        "version": asset.version,
        "url": f"{base}/cdn/{asset.path}?v={asset.version}",
        "created_at": rfc3339(asset.created_at / 1000),
        "updated_at": rfc3339(asset.updated_at / 1000),
    }


def editable(asset: Asset) -> dict[str, Json]:
    return {
        "path": asset.path,
        "site": asset.site,
        "origin_path": asset.origin_path,
        "tags": [*asset.tags],
        "ttl": asset.ttl,
        "digest": asset.digest,
        "private": asset.private,
    }


def changes(wanted: Mapping[str, Json], names: Mapping[str, Json]) -> dict[str, Any]:
    """The members of `wanted` that `names` has, as the domain has them."""
    found = {name: wanted[name] for name in names}
    if "tags" in found:
        found["tags"] = tuple(found["tags"])
    if "path" in found:
        found["path"] = found["path"].lstrip("/")
    if "origin_path" in found and found["origin_path"] is None:
        found["origin_path"] = f"/{wanted['path'].lstrip('/')}"
    return found


async def signed(cdn: CdnControl, body: Mapping[str, Json], base: str) -> dict[str, Json]:
    """A signed address, from the checked body of the request."""
    if (body["asset"] is None) == (body["path"] is None) or (body["path"] is not None and body["site"] is None):
        raise _wrong("/asset", "asset is wanted, or site and path")
    if body["edge"] is not None:
        found = [edge for edge in cdn.edges.all() if edge.name == body["edge"]]
        if not found:
            raise NotFound(detail="There is no such edge now.")
        base = found[0].url
    now = cdn.edges.all()[0].seen
    expires = int(now) + body["expires_in"]
    try:
        begins = 0 if body["not_before"] is None else max(0, int(_when(body["not_before"])))
    except (ValueError, OverflowError):
        raise _wrong("/not_before", "must be a time with its zone, such as 2026-01-01T00:00:00Z") from None
    wish = Wish(expires, begins, body["address"] or "", body["folder"])
    place: Asset | tuple[str, str]
    if body["asset"] is not None:
        place = await cdn.assets.get(AssetId(_checked(body["asset"])))
    else:
        place = body["site"], body["path"]
    link = await cdn.link(place, body["kind"], wish, base)
    return {"url": link.url, "expires_at": rfc3339(expires), "cookies": dict(link.cookies)}


def shown_job(job: Job) -> dict[str, Json]:
    return {
        "id": job.id,
        "kind": job.kind,
        "status": job.status,
        "edges": [
            {"edge": each.edge, "status": each.status, "objects": each.objects, "latency_ms": each.latency_ms, "detail": each.detail}
            for each in job.edges
        ],
        "created_at": rfc3339(job.created_at / 1000),
        "done_at": None if job.done_at is None else rfc3339(job.done_at / 1000),
    }


async def used(
    cdn: CdnControl, begin: float | None, end: float | None, limit: int, cursor: str | None = None, **which: str | None
) -> tuple[list[UsageRow], dict[str, int], str | None]:
    """The rows of a time, the sum of all of its rows, and the cursor of the next page. Without a time: the last day. which: site, asset,
    owner."""
    now = cdn.edges.all()[0].seen
    last = int(now) + 1 if end is None else int(end)
    first = last - 86400 if begin is None else int(begin)
    rows, sums = await cdn.assets.usage(first // 3600 * 3600, last, after=_row_after(cursor), limit=limit + 1, **which)
    more, rows = len(rows) > limit, rows[:limit]
    total = dict(zip(("requests", "hits", "bytes"), sums, strict=True))
    return rows, total, cursors.encode(USED, f"{rows[-1].window}/{rows[-1].site}/{rows[-1].asset}") if more else None


def _row_after(cursor: str | None) -> tuple[int, str, str] | None:
    if cursor is None:
        return None
    hour, _, rest = cursors.decode(USED, cursor).partition("/")
    site, _, asset = rest.partition("/")
    if not re.fullmatch("[0-9]{1,11}", hour):
        raise BadRequest("bad_cursor", "Use the cursor that the page before gave, with the same list.")
    return int(hour), site, asset


def shown_usage(row: UsageRow) -> dict[str, Json]:
    return {
        "hour": rfc3339(row.window),
        "site": row.site,
        "asset": row.asset or None,
        "owner": row.owner or None,
        "requests": row.requests,
        "hits": row.hits,
        "bytes": row.bytes,
    }


def shown_edge(edge: Edge) -> dict[str, Json]:
    return {
        "edge": edge.name,
        "region": edge.region,
        "url": edge.url,
        "healthy": edge.well and edge.current,
        "load": edge.load,
        "version": edge.version,
        "seen_at": rfc3339(edge.seen),
    }


def deployed(cdn: CdnControl) -> list[dict[str, Json]]:
    """Configurations, the one of this node first, each with the edges that have it."""
    edges, own = cdn.edges.all(), cdn.versions()
    found: dict[str, dict[str, Json]] = {}
    for edge in sorted(edges, key=lambda edge: edge.name != cdn.name):
        at = found.setdefault(
            edge.version,
            {
                "version": edge.version,
                "current": edge.sites == own,
                "sites": [{"site": name, "version": version} for name, version in edge.sites.items()],
                "edges": [],
            },
        )
        at["edges"].append({"edge": edge.name, "since": rfc3339(edge.since)})
    return list(found.values())


def _when(text: str) -> float:
    """An RFC 3339 time, or unix seconds. Raises ValueError."""
    if re.fullmatch(r"[0-9]{1,11}", text):
        return float(text)
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError("must be a time with its zone, such as 2026-01-01T00:00:00Z")
    return found.timestamp()


def _checked(text: str) -> str:
    found = parse_id(text)
    if found is None:
        raise NotFound(detail="There is nothing of that id.")
    return found


def _id(call: Call) -> AssetId:
    return AssetId(_checked(call.params["id"]))


def _wrong(pointer: str, detail: str) -> BadRequest:
    return BadRequest(detail="The body does not say what is wanted.", fields=(FieldError(pointer, "invalid_field", detail),))
