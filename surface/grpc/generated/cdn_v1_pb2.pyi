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

class GetCdnUsageStatsResponse(_message.Message):
    __slots__ = ("items", "requests", "hits", "bytes", "cursor")
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    HITS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[Usage]
    requests: int
    hits: int
    bytes: int
    cursor: str
    def __init__(self, items: _Optional[_Iterable[_Union[Usage, _Mapping]]] = ..., requests: _Optional[int] = ..., hits: _Optional[int] = ..., bytes: _Optional[int] = ..., cursor: _Optional[str] = ...) -> None: ...

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
    __slots__ = ("version", "current", "sites", "edges")
    class SitesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    VERSION_FIELD_NUMBER: _ClassVar[int]
    CURRENT_FIELD_NUMBER: _ClassVar[int]
    SITES_FIELD_NUMBER: _ClassVar[int]
    EDGES_FIELD_NUMBER: _ClassVar[int]
    version: str
    current: bool
    sites: _containers.ScalarMap[str, str]
    edges: _containers.RepeatedCompositeFieldContainer[DeploymentEdge]
    def __init__(self, version: _Optional[str] = ..., current: _Optional[bool] = ..., sites: _Optional[_Mapping[str, str]] = ..., edges: _Optional[_Iterable[_Union[DeploymentEdge, _Mapping]]] = ...) -> None: ...

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
    __slots__ = ("url", "backup", "well", "breaker", "requests", "failures", "busy", "idle", "p50_ms", "p95_ms", "p99_ms")
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
    def __init__(self, url: _Optional[str] = ..., backup: _Optional[bool] = ..., well: _Optional[bool] = ..., breaker: _Optional[str] = ..., requests: _Optional[int] = ..., failures: _Optional[int] = ..., busy: _Optional[int] = ..., idle: _Optional[int] = ..., p50_ms: _Optional[float] = ..., p95_ms: _Optional[float] = ..., p99_ms: _Optional[float] = ...) -> None: ...

class SiteMetrics(_message.Message):
    __slots__ = ("site", "counters", "hit_ratio", "down", "origins")
    class CountersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    SITE_FIELD_NUMBER: _ClassVar[int]
    COUNTERS_FIELD_NUMBER: _ClassVar[int]
    HIT_RATIO_FIELD_NUMBER: _ClassVar[int]
    DOWN_FIELD_NUMBER: _ClassVar[int]
    ORIGINS_FIELD_NUMBER: _ClassVar[int]
    site: str
    counters: _containers.ScalarMap[str, int]
    hit_ratio: float
    down: bool
    origins: _containers.RepeatedCompositeFieldContainer[OriginMetrics]
    def __init__(self, site: _Optional[str] = ..., counters: _Optional[_Mapping[str, int]] = ..., hit_ratio: _Optional[float] = ..., down: _Optional[bool] = ..., origins: _Optional[_Iterable[_Union[OriginMetrics, _Mapping]]] = ...) -> None: ...

class GetCdnMetricsResponse(_message.Message):
    __slots__ = ("edge", "counters", "hit_ratio", "sites", "jobs")
    class CountersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    EDGE_FIELD_NUMBER: _ClassVar[int]
    COUNTERS_FIELD_NUMBER: _ClassVar[int]
    HIT_RATIO_FIELD_NUMBER: _ClassVar[int]
    SITES_FIELD_NUMBER: _ClassVar[int]
    JOBS_FIELD_NUMBER: _ClassVar[int]
    edge: str
    counters: _containers.ScalarMap[str, int]
    hit_ratio: float
    sites: _containers.RepeatedCompositeFieldContainer[SiteMetrics]
    jobs: _containers.RepeatedCompositeFieldContainer[Job]
    def __init__(self, edge: _Optional[str] = ..., counters: _Optional[_Mapping[str, int]] = ..., hit_ratio: _Optional[float] = ..., sites: _Optional[_Iterable[_Union[SiteMetrics, _Mapping]]] = ..., jobs: _Optional[_Iterable[_Union[Job, _Mapping]]] = ...) -> None: ...
