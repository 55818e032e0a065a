from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar

DESCRIPTOR: _descriptor.FileDescriptor

class GenerateCdnUrlRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GenerateCdnUrlResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetCdnAssetRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetCdnAssetResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class RegisterCdnAssetRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class RegisterCdnAssetResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class UpdateCdnAssetRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class UpdateCdnAssetResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class InvalidateCacheRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class InvalidateCacheResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class InvalidateCachePatternRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class InvalidateCachePatternResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetCacheInvalidationStatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetCacheInvalidationStatusResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetCdnUsageStatsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetCdnUsageStatsResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetEdgeLocationsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetEdgeLocationsResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class PrewarmCacheRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class PrewarmCacheResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetDeploymentStatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetDeploymentStatusResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetCdnMetricsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetCdnMetricsResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
