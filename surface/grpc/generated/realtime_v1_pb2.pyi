from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PublishRequest(_message.Message):
    __slots__ = ("channel", "data", "data_json", "conflate_key", "idempotency_key")
    CHANNEL_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    DATA_JSON_FIELD_NUMBER: _ClassVar[int]
    CONFLATE_KEY_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    channel: str
    data: _struct_pb2.Value
    data_json: str
    conflate_key: str
    idempotency_key: str
    def __init__(self, channel: _Optional[str] = ..., data: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ..., data_json: _Optional[str] = ..., conflate_key: _Optional[str] = ..., idempotency_key: _Optional[str] = ...) -> None: ...

class PublishResponse(_message.Message):
    __slots__ = ("offset", "epoch", "durable")
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    DURABLE_FIELD_NUMBER: _ClassVar[int]
    offset: int
    epoch: str
    durable: bool
    def __init__(self, offset: _Optional[int] = ..., epoch: _Optional[str] = ..., durable: _Optional[bool] = ...) -> None: ...

class BroadcastRequest(_message.Message):
    __slots__ = ("channels", "data", "data_json")
    CHANNELS_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    DATA_JSON_FIELD_NUMBER: _ClassVar[int]
    channels: _containers.RepeatedScalarFieldContainer[str]
    data: _struct_pb2.Value
    data_json: str
    def __init__(self, channels: _Optional[_Iterable[str]] = ..., data: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ..., data_json: _Optional[str] = ...) -> None: ...

class BroadcastResult(_message.Message):
    __slots__ = ("channel", "offset", "epoch", "code")
    CHANNEL_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    channel: str
    offset: int
    epoch: str
    code: str
    def __init__(self, channel: _Optional[str] = ..., offset: _Optional[int] = ..., epoch: _Optional[str] = ..., code: _Optional[str] = ...) -> None: ...

class BroadcastResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[BroadcastResult]
    def __init__(self, results: _Optional[_Iterable[_Union[BroadcastResult, _Mapping]]] = ...) -> None: ...

class DisconnectRequest(_message.Message):
    __slots__ = ("user", "code", "reason", "channel")
    USER_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    CHANNEL_FIELD_NUMBER: _ClassVar[int]
    user: str
    code: int
    reason: str
    channel: str
    def __init__(self, user: _Optional[str] = ..., code: _Optional[int] = ..., reason: _Optional[str] = ..., channel: _Optional[str] = ...) -> None: ...

class DisconnectResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class PresenceRequest(_message.Message):
    __slots__ = ("channel", "limit", "cursor")
    CHANNEL_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    channel: str
    limit: int
    cursor: str
    def __init__(self, channel: _Optional[str] = ..., limit: _Optional[int] = ..., cursor: _Optional[str] = ...) -> None: ...

class Member(_message.Message):
    __slots__ = ("user", "client", "since")
    USER_FIELD_NUMBER: _ClassVar[int]
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    user: str
    client: str
    since: int
    def __init__(self, user: _Optional[str] = ..., client: _Optional[str] = ..., since: _Optional[int] = ...) -> None: ...

class PresenceResponse(_message.Message):
    __slots__ = ("count", "members", "more", "cursor")
    COUNT_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    count: int
    members: _containers.RepeatedCompositeFieldContainer[Member]
    more: bool
    cursor: str
    def __init__(self, count: _Optional[int] = ..., members: _Optional[_Iterable[_Union[Member, _Mapping]]] = ..., more: _Optional[bool] = ..., cursor: _Optional[str] = ...) -> None: ...

class HistoryRequest(_message.Message):
    __slots__ = ("channel", "since", "epoch", "limit")
    CHANNEL_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    channel: str
    since: int
    epoch: str
    limit: int
    def __init__(self, channel: _Optional[str] = ..., since: _Optional[int] = ..., epoch: _Optional[str] = ..., limit: _Optional[int] = ...) -> None: ...

class Publication(_message.Message):
    __slots__ = ("offset", "data_json", "at", "info_json", "data", "info")
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    DATA_JSON_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    INFO_JSON_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    INFO_FIELD_NUMBER: _ClassVar[int]
    offset: int
    data_json: str
    at: int
    info_json: str
    data: _struct_pb2.Value
    info: _struct_pb2.Value
    def __init__(self, offset: _Optional[int] = ..., data_json: _Optional[str] = ..., at: _Optional[int] = ..., info_json: _Optional[str] = ..., data: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ..., info: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ...) -> None: ...

class HistoryResponse(_message.Message):
    __slots__ = ("publications", "offset", "epoch", "more")
    PUBLICATIONS_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    publications: _containers.RepeatedCompositeFieldContainer[Publication]
    offset: int
    epoch: str
    more: bool
    def __init__(self, publications: _Optional[_Iterable[_Union[Publication, _Mapping]]] = ..., offset: _Optional[int] = ..., epoch: _Optional[str] = ..., more: _Optional[bool] = ...) -> None: ...

class ChannelsRequest(_message.Message):
    __slots__ = ("prefix", "limit")
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    prefix: str
    limit: int
    def __init__(self, prefix: _Optional[str] = ..., limit: _Optional[int] = ...) -> None: ...

class Occupied(_message.Message):
    __slots__ = ("channel", "readers")
    CHANNEL_FIELD_NUMBER: _ClassVar[int]
    READERS_FIELD_NUMBER: _ClassVar[int]
    channel: str
    readers: int
    def __init__(self, channel: _Optional[str] = ..., readers: _Optional[int] = ...) -> None: ...

class ChannelsResponse(_message.Message):
    __slots__ = ("channels", "total")
    CHANNELS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    channels: _containers.RepeatedCompositeFieldContainer[Occupied]
    total: int
    def __init__(self, channels: _Optional[_Iterable[_Union[Occupied, _Mapping]]] = ..., total: _Optional[int] = ...) -> None: ...

class InfoRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Node(_message.Message):
    __slots__ = ("node", "channels", "readers", "publications", "refused", "recovered", "not_recovered")
    NODE_FIELD_NUMBER: _ClassVar[int]
    CHANNELS_FIELD_NUMBER: _ClassVar[int]
    READERS_FIELD_NUMBER: _ClassVar[int]
    PUBLICATIONS_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    RECOVERED_FIELD_NUMBER: _ClassVar[int]
    NOT_RECOVERED_FIELD_NUMBER: _ClassVar[int]
    node: str
    channels: int
    readers: int
    publications: int
    refused: int
    recovered: int
    not_recovered: int
    def __init__(self, node: _Optional[str] = ..., channels: _Optional[int] = ..., readers: _Optional[int] = ..., publications: _Optional[int] = ..., refused: _Optional[int] = ..., recovered: _Optional[int] = ..., not_recovered: _Optional[int] = ...) -> None: ...

class InfoResponse(_message.Message):
    __slots__ = ("here", "others")
    HERE_FIELD_NUMBER: _ClassVar[int]
    OTHERS_FIELD_NUMBER: _ClassVar[int]
    here: Node
    others: _containers.RepeatedCompositeFieldContainer[Node]
    def __init__(self, here: _Optional[_Union[Node, _Mapping]] = ..., others: _Optional[_Iterable[_Union[Node, _Mapping]]] = ...) -> None: ...
