from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar

DESCRIPTOR: _descriptor.FileDescriptor

class UploadVideoRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class UploadVideoResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetVideoMetadataRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetVideoMetadataResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class TranscodeVideoRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class TranscodeVideoResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetTranscodingProgressRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetTranscodingProgressResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListVideosRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListVideosResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DeleteVideoRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DeleteVideoResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
