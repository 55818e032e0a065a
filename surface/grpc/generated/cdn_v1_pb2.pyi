import datetime

from google.protobuf import field_mask_pb2 as _field_mask_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Asset(_message.Message):
    __slots__ = ("id", "owner", "path", "site", "origin_path", "tags", "ttl", "digest", "private", "version", "url", "created_at", "updated_at")
    ID_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    SITE_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_PATH_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    PRIVATE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    URL_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    UPDATED_AT_FIELD_NUMBER: _ClassVar[int]
    id: str
    owner: str
    path: str
    site: str
    origin_path: str
    tags: _containers.RepeatedScalarFieldContainer[str]
    ttl: int
    digest: str
    private: bool
    version: int
    url: str
    created_at: _timestamp_pb2.Timestamp
    updated_at: _timestamp_pb2.Timestamp
    def __init__(self, id: _Optional[str] = ..., owner: _Optional[str] = ..., path: _Optional[str] = ..., site: _Optional[str] = ..., origin_path: _Optional[str] = ..., tags: _Optional[_Iterable[str]] = ..., ttl: _Optional[int] = ..., digest: _Optional[str] = ..., private: _Optional[bool] = ..., version: _Optional[int] = ..., url: _Optional[str] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., updated_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Job(_message.Message):
    __slots__ = ("id", "kind", "status", "edges", "created_at", "done_at")
    ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    EDGES_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    DONE_AT_FIELD_NUMBER: _ClassVar[int]
    id: str
    kind: str
    status: str
    edges: _containers.RepeatedCompositeFieldContainer[JobEdge]
    created_at: _timestamp_pb2.Timestamp
    done_at: _timestamp_pb2.Timestamp
    def __init__(self, id: _Optional[str] = ..., kind: _Optional[str] = ..., status: _Optional[str] = ..., edges: _Optional[_Iterable[_Union[JobEdge, _Mapping]]] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., done_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class JobEdge(_message.Message):
    __slots__ = ("edge", "status", "objects", "latency_ms", "detail")
    EDGE_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    OBJECTS_FIELD_NUMBER: _ClassVar[int]
    LATENCY_MS_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    edge: str
    status: str
    objects: int
    latency_ms: int
    detail: str
    def __init__(self, edge: _Optional[str] = ..., status: _Optional[str] = ..., objects: _Optional[int] = ..., latency_ms: _Optional[int] = ..., detail: _Optional[str] = ...) -> None: ...

class GenerateCdnUrlRequest(_message.Message):
    __slots__ = ("asset", "site", "path", "kind", "expires_in", "not_before", "address", "folder", "edge")
    ASSET_FIELD_NUMBER: _ClassVar[int]
    SITE_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_IN_FIELD_NUMBER: _ClassVar[int]
    NOT_BEFORE_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    FOLDER_FIELD_NUMBER: _ClassVar[int]
    EDGE_FIELD_NUMBER: _ClassVar[int]
    asset: str
    site: str
    path: str
    kind: str
    expires_in: int
    not_before: _timestamp_pb2.Timestamp
    address: str
    folder: bool
    edge: str
    def __init__(self, asset: _Optional[str] = ..., site: _Optional[str] = ..., path: _Optional[str] = ..., kind: _Optional[str] = ..., expires_in: _Optional[int] = ..., not_before: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., address: _Optional[str] = ..., folder: _Optional[bool] = ..., edge: _Optional[str] = ...) -> None: ...

class GenerateCdnUrlResponse(_message.Message):
    __slots__ = ("url", "expires_at", "cookies")
    class CookiesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    URL_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    COOKIES_FIELD_NUMBER: _ClassVar[int]
    url: str
    expires_at: _timestamp_pb2.Timestamp
    cookies: _containers.ScalarMap[str, str]
    def __init__(self, url: _Optional[str] = ..., expires_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., cookies: _Optional[_Mapping[str, str]] = ...) -> None: ...

class GetCdnAssetRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class GetCdnAssetResponse(_message.Message):
    __slots__ = ("asset",)
    ASSET_FIELD_NUMBER: _ClassVar[int]
    asset: Asset
    def __init__(self, asset: _Optional[_Union[Asset, _Mapping]] = ...) -> None: ...

class RegisterCdnAssetRequest(_message.Message):
    __slots__ = ("path", "site", "origin_path", "tags", "ttl", "digest", "private")
    PATH_FIELD_NUMBER: _ClassVar[int]
    SITE_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_PATH_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    PRIVATE_FIELD_NUMBER: _ClassVar[int]
    path: str
    site: str
    origin_path: str
    tags: _containers.RepeatedScalarFieldContainer[str]
    ttl: int
    digest: str
    private: bool
    def __init__(self, path: _Optional[str] = ..., site: _Optional[str] = ..., origin_path: _Optional[str] = ..., tags: _Optional[_Iterable[str]] = ..., ttl: _Optional[int] = ..., digest: _Optional[str] = ..., private: _Optional[bool] = ...) -> None: ...

class RegisterCdnAssetResponse(_message.Message):
    __slots__ = ("asset",)
    ASSET_FIELD_NUMBER: _ClassVar[int]
    asset: Asset
    def __init__(self, asset: _Optional[_Union[Asset, _Mapping]] = ...) -> None: ...

class UpdateCdnAssetRequest(_message.Message):
    __slots__ = ("id", "path", "site", "origin_path", "tags", "ttl", "digest", "private", "update_mask")
    ID_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    SITE_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_PATH_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    PRIVATE_FIELD_NUMBER: _ClassVar[int]
    UPDATE_MASK_FIELD_NUMBER: _ClassVar[int]
    id: str
    path: str
    site: str
    origin_path: str
    tags: _containers.RepeatedScalarFieldContainer[str]
    ttl: int
    digest: str
    private: bool
    update_mask: _field_mask_pb2.FieldMask
    def __init__(self, id: _Optional[str] = ..., path: _Optional[str] = ..., site: _Optional[str] = ..., origin_path: _Optional[str] = ..., tags: _Optional[_Iterable[str]] = ..., ttl: _Optional[int] = ..., digest: _Optional[str] = ..., private: _Optional[bool] = ..., update_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ...) -> None: ...

class UpdateCdnAssetResponse(_message.Message):
    __slots__ = ("asset",)
    ASSET_FIELD_NUMBER: _ClassVar[int]
    asset: Asset
    def __init__(self, asset: _Optional[_Union[Asset, _Mapping]] = ...) -> None: ...

class InvalidateCacheRequest(_message.Message):
    __slots__ = ("urls", "tags", "site", "soft")
    URLS_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    SITE_FIELD_NUMBER: _ClassVar[int]
    SOFT_FIELD_NUMBER: _ClassVar[int]
    urls: _containers.RepeatedScalarFieldContainer[str]
    tags: _containers.RepeatedScalarFieldContainer[str]
    site: str
    soft: bool
    def __init__(self, urls: _Optional[_Iterable[str]] = ..., tags: _Optional[_Iterable[str]] = ..., site: _Optional[str] = ..., soft: _Optional[bool] = ...) -> None: ...

class InvalidateCacheResponse(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: Job
    def __init__(self, job: _Optional[_Union[Job, _Mapping]] = ...) -> None: ...

class InvalidateCachePatternRequest(_message.Message):
    __slots__ = ("pattern", "site", "soft")
    PATTERN_FIELD_NUMBER: _ClassVar[int]
    SITE_FIELD_NUMBER: _ClassVar[int]
    SOFT_FIELD_NUMBER: _ClassVar[int]
    pattern: str
    site: str
    soft: bool
    def __init__(self, pattern: _Optional[str] = ..., site: _Optional[str] = ..., soft: _Optional[bool] = ...) -> None: ...

class InvalidateCachePatternResponse(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: Job
    def __init__(self, job: _Optional[_Union[Job, _Mapping]] = ...) -> None: ...

class GetCacheInvalidationStatusRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class GetCacheInvalidationStatusResponse(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: Job
    def __init__(self, job: _Optional[_Union[Job, _Mapping]] = ...) -> None: ...

class GetCdnUsageStatsRequest(_message.Message):
    __slots__ = ("since", "until", "site", "asset", "owner", "limit", "cursor")
    SINCE_FIELD_NUMBER: _ClassVar[int]
    UNTIL_FIELD_NUMBER: _ClassVar[int]
    SITE_FIELD_NUMBER: _ClassVar[int]
    ASSET_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    since: _timestamp_pb2.Timestamp
    until: _timestamp_pb2.Timestamp
    site: str
    asset: str
    owner: str
    limit: int
    cursor: str
    def __init__(self, since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., until: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., site: _Optional[str] = ..., asset: _Optional[str] = ..., owner: _Optional[str] = ..., limit: _Optional[int] = ..., cursor: _Optional[str] = ...) -> None: ...

class Usage(_message.Message):
    __slots__ = ("hour", "site", "asset", "owner", "requests", "hits", "bytes")
    HOUR_FIELD_NUMBER: _ClassVar[int]
    SITE_FIELD_NUMBER: _ClassVar[int]
    ASSET_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    HITS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    hour: _timestamp_pb2.Timestamp
    site: str
    asset: str
    owner: str
    requests: int
    hits: int
    bytes: int
    def __init__(self, hour: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., site: _Optional[str] = ..., asset: _Optional[str] = ..., owner: _Optional[str] = ..., requests: _Optional[int] = ..., hits: _Optional[int] = ..., bytes: _Optional[int] = ...) -> None: ...

class UsageTotal(_message.Message):
    __slots__ = ("requests", "hits", "bytes")
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    HITS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    requests: int
    hits: int
    bytes: int
    def __init__(self, requests: _Optional[int] = ..., hits: _Optional[int] = ..., bytes: _Optional[int] = ...) -> None: ...

class GetCdnUsageStatsResponse(_message.Message):
    __slots__ = ("items", "cursor", "total")
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[Usage]
    cursor: str
    total: UsageTotal
    def __init__(self, items: _Optional[_Iterable[_Union[Usage, _Mapping]]] = ..., cursor: _Optional[str] = ..., total: _Optional[_Union[UsageTotal, _Mapping]] = ...) -> None: ...

class GetEdgeLocationsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class EdgeLocation(_message.Message):
    __slots__ = ("edge", "region", "url", "healthy", "load", "version", "seen_at")
    EDGE_FIELD_NUMBER: _ClassVar[int]
    REGION_FIELD_NUMBER: _ClassVar[int]
    URL_FIELD_NUMBER: _ClassVar[int]
    HEALTHY_FIELD_NUMBER: _ClassVar[int]
    LOAD_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    SEEN_AT_FIELD_NUMBER: _ClassVar[int]
    edge: str
    region: str
    url: str
    healthy: bool
    load: float
    version: str
    seen_at: _timestamp_pb2.Timestamp
    def __init__(self, edge: _Optional[str] = ..., region: _Optional[str] = ..., url: _Optional[str] = ..., healthy: _Optional[bool] = ..., load: _Optional[float] = ..., version: _Optional[str] = ..., seen_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class GetEdgeLocationsResponse(_message.Message):
    __slots__ = ("items",)
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[EdgeLocation]
    def __init__(self, items: _Optional[_Iterable[_Union[EdgeLocation, _Mapping]]] = ...) -> None: ...

class PrewarmCacheRequest(_message.Message):
    __slots__ = ("urls", "site")
    URLS_FIELD_NUMBER: _ClassVar[int]
    SITE_FIELD_NUMBER: _ClassVar[int]
    urls: _containers.RepeatedScalarFieldContainer[str]
    site: str
    def __init__(self, urls: _Optional[_Iterable[str]] = ..., site: _Optional[str] = ...) -> None: ...

class PrewarmCacheResponse(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: Job
    def __init__(self, job: _Optional[_Union[Job, _Mapping]] = ...) -> None: ...

class GetDeploymentStatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Deployment(_message.Message):
    __slots__ = ("version", "current", "edges", "sites")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    CURRENT_FIELD_NUMBER: _ClassVar[int]
    EDGES_FIELD_NUMBER: _ClassVar[int]
    SITES_FIELD_NUMBER: _ClassVar[int]
    version: str
    current: bool
    edges: _containers.RepeatedCompositeFieldContainer[DeploymentEdge]
    sites: _containers.RepeatedCompositeFieldContainer[DeploymentSite]
    def __init__(self, version: _Optional[str] = ..., current: _Optional[bool] = ..., edges: _Optional[_Iterable[_Union[DeploymentEdge, _Mapping]]] = ..., sites: _Optional[_Iterable[_Union[DeploymentSite, _Mapping]]] = ...) -> None: ...

class DeploymentSite(_message.Message):
    __slots__ = ("site", "version")
    SITE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    site: str
    version: str
    def __init__(self, site: _Optional[str] = ..., version: _Optional[str] = ...) -> None: ...

class DeploymentEdge(_message.Message):
    __slots__ = ("edge", "since")
    EDGE_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    edge: str
    since: _timestamp_pb2.Timestamp
    def __init__(self, edge: _Optional[str] = ..., since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class GetDeploymentStatusResponse(_message.Message):
    __slots__ = ("items",)
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[Deployment]
    def __init__(self, items: _Optional[_Iterable[_Union[Deployment, _Mapping]]] = ...) -> None: ...

class GetCdnMetricsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class OriginMetrics(_message.Message):
    __slots__ = ("url", "backup", "well", "breaker", "requests", "failures", "busy", "idle", "p50_ms", "p95_ms", "p99_ms", "weight", "openings")
    URL_FIELD_NUMBER: _ClassVar[int]
    BACKUP_FIELD_NUMBER: _ClassVar[int]
    WELL_FIELD_NUMBER: _ClassVar[int]
    BREAKER_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    BUSY_FIELD_NUMBER: _ClassVar[int]
    IDLE_FIELD_NUMBER: _ClassVar[int]
    P50_MS_FIELD_NUMBER: _ClassVar[int]
    P95_MS_FIELD_NUMBER: _ClassVar[int]
    P99_MS_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    OPENINGS_FIELD_NUMBER: _ClassVar[int]
    url: str
    backup: bool
    well: bool
    breaker: str
    requests: int
    failures: int
    busy: int
    idle: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    weight: int
    openings: int
    def __init__(self, url: _Optional[str] = ..., backup: _Optional[bool] = ..., well: _Optional[bool] = ..., breaker: _Optional[str] = ..., requests: _Optional[int] = ..., failures: _Optional[int] = ..., busy: _Optional[int] = ..., idle: _Optional[int] = ..., p50_ms: _Optional[float] = ..., p95_ms: _Optional[float] = ..., p99_ms: _Optional[float] = ..., weight: _Optional[int] = ..., openings: _Optional[int] = ...) -> None: ...

class SiteMetrics(_message.Message):
    __slots__ = ("site", "hit_ratio", "down", "origins", "requests", "hits", "stale", "collapsed", "misses", "fills", "passed", "validated", "failed", "limited", "assets", "bytes", "fetching", "queued", "origin_requests", "retries", "hedges", "resumes", "retry_budget")
    SITE_FIELD_NUMBER: _ClassVar[int]
    HIT_RATIO_FIELD_NUMBER: _ClassVar[int]
    DOWN_FIELD_NUMBER: _ClassVar[int]
    ORIGINS_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    HITS_FIELD_NUMBER: _ClassVar[int]
    STALE_FIELD_NUMBER: _ClassVar[int]
    COLLAPSED_FIELD_NUMBER: _ClassVar[int]
    MISSES_FIELD_NUMBER: _ClassVar[int]
    FILLS_FIELD_NUMBER: _ClassVar[int]
    PASSED_FIELD_NUMBER: _ClassVar[int]
    VALIDATED_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    LIMITED_FIELD_NUMBER: _ClassVar[int]
    ASSETS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    FETCHING_FIELD_NUMBER: _ClassVar[int]
    QUEUED_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_REQUESTS_FIELD_NUMBER: _ClassVar[int]
    RETRIES_FIELD_NUMBER: _ClassVar[int]
    HEDGES_FIELD_NUMBER: _ClassVar[int]
    RESUMES_FIELD_NUMBER: _ClassVar[int]
    RETRY_BUDGET_FIELD_NUMBER: _ClassVar[int]
    site: str
    hit_ratio: float
    down: bool
    origins: _containers.RepeatedCompositeFieldContainer[OriginMetrics]
    requests: int
    hits: int
    stale: int
    collapsed: int
    misses: int
    fills: int
    passed: int
    validated: int
    failed: int
    limited: int
    assets: int
    bytes: int
    fetching: int
    queued: int
    origin_requests: int
    retries: int
    hedges: int
    resumes: int
    retry_budget: float
    def __init__(self, site: _Optional[str] = ..., hit_ratio: _Optional[float] = ..., down: _Optional[bool] = ..., origins: _Optional[_Iterable[_Union[OriginMetrics, _Mapping]]] = ..., requests: _Optional[int] = ..., hits: _Optional[int] = ..., stale: _Optional[int] = ..., collapsed: _Optional[int] = ..., misses: _Optional[int] = ..., fills: _Optional[int] = ..., passed: _Optional[int] = ..., validated: _Optional[int] = ..., failed: _Optional[int] = ..., limited: _Optional[int] = ..., assets: _Optional[int] = ..., bytes: _Optional[int] = ..., fetching: _Optional[int] = ..., queued: _Optional[int] = ..., origin_requests: _Optional[int] = ..., retries: _Optional[int] = ..., hedges: _Optional[int] = ..., resumes: _Optional[int] = ..., retry_budget: _Optional[float] = ...) -> None: ...

class TotalMetrics(_message.Message):
    __slots__ = ("hit_ratio", "requests", "hits", "stale", "collapsed", "misses", "fills", "passed", "validated", "failed", "objects", "bytes", "stored_bytes", "promised_bytes", "evictions", "compressed", "disk_objects", "disk_bytes", "disk_writes", "disk_reads", "disk_failures", "disk_evictions")
    HIT_RATIO_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    HITS_FIELD_NUMBER: _ClassVar[int]
    STALE_FIELD_NUMBER: _ClassVar[int]
    COLLAPSED_FIELD_NUMBER: _ClassVar[int]
    MISSES_FIELD_NUMBER: _ClassVar[int]
    FILLS_FIELD_NUMBER: _ClassVar[int]
    PASSED_FIELD_NUMBER: _ClassVar[int]
    VALIDATED_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    OBJECTS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    STORED_BYTES_FIELD_NUMBER: _ClassVar[int]
    PROMISED_BYTES_FIELD_NUMBER: _ClassVar[int]
    EVICTIONS_FIELD_NUMBER: _ClassVar[int]
    COMPRESSED_FIELD_NUMBER: _ClassVar[int]
    DISK_OBJECTS_FIELD_NUMBER: _ClassVar[int]
    DISK_BYTES_FIELD_NUMBER: _ClassVar[int]
    DISK_WRITES_FIELD_NUMBER: _ClassVar[int]
    DISK_READS_FIELD_NUMBER: _ClassVar[int]
    DISK_FAILURES_FIELD_NUMBER: _ClassVar[int]
    DISK_EVICTIONS_FIELD_NUMBER: _ClassVar[int]
    hit_ratio: float
    requests: int
    hits: int
    stale: int
    collapsed: int
    misses: int
    fills: int
    passed: int
    validated: int
    failed: int
    objects: int
    bytes: int
    stored_bytes: int
    promised_bytes: int
    evictions: int
    compressed: int
    disk_objects: int
    disk_bytes: int
    disk_writes: int
    disk_reads: int
    disk_failures: int
    disk_evictions: int
    def __init__(self, hit_ratio: _Optional[float] = ..., requests: _Optional[int] = ..., hits: _Optional[int] = ..., stale: _Optional[int] = ..., collapsed: _Optional[int] = ..., misses: _Optional[int] = ..., fills: _Optional[int] = ..., passed: _Optional[int] = ..., validated: _Optional[int] = ..., failed: _Optional[int] = ..., objects: _Optional[int] = ..., bytes: _Optional[int] = ..., stored_bytes: _Optional[int] = ..., promised_bytes: _Optional[int] = ..., evictions: _Optional[int] = ..., compressed: _Optional[int] = ..., disk_objects: _Optional[int] = ..., disk_bytes: _Optional[int] = ..., disk_writes: _Optional[int] = ..., disk_reads: _Optional[int] = ..., disk_failures: _Optional[int] = ..., disk_evictions: _Optional[int] = ...) -> None: ...

class GetCdnMetricsResponse(_message.Message):
    __slots__ = ("edge", "sites", "jobs", "total")
    EDGE_FIELD_NUMBER: _ClassVar[int]
    SITES_FIELD_NUMBER: _ClassVar[int]
    JOBS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    edge: str
    sites: _containers.RepeatedCompositeFieldContainer[SiteMetrics]
    jobs: _containers.RepeatedCompositeFieldContainer[Job]
    total: TotalMetrics
    def __init__(self, edge: _Optional[str] = ..., sites: _Optional[_Iterable[_Union[SiteMetrics, _Mapping]]] = ..., jobs: _Optional[_Iterable[_Union[Job, _Mapping]]] = ..., total: _Optional[_Union[TotalMetrics, _Mapping]] = ...) -> None: ...
