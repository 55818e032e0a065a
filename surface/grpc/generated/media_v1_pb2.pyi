from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar

DESCRIPTOR: _descriptor.FileDescriptor

class GetVideoRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetVideoResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetUserVideosRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetUserVideosResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class CreateVideoRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class CreateVideoResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListReelsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListReelsResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetReelRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetReelResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class CreateReelRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class CreateReelResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetUploadRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetUploadResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class UpdateUploadProgressRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class UpdateUploadProgressResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class StartUploadRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class StartUploadResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class CompleteUploadRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class CompleteUploadResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
