from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar

DESCRIPTOR: _descriptor.FileDescriptor

class CreateConversationRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class CreateConversationResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetConversationRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetConversationResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListConversationsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListConversationsResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class AddMembersRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class AddMembersResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class RemoveMemberRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class RemoveMemberResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class SendMessageRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class SendMessageResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetMessagesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetMessagesResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class AckMessagesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class AckMessagesResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class PublishKeysRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class PublishKeysResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ClaimKeysRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ClaimKeysResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
