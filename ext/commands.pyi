from typing_extensions import Buffer

MAX_COMMANDS: int
COMMANDS: tuple[str, ...]
FRAME_ERRORS: tuple[str, ...]
ERRORS: dict[str, str]

class FrameRefused(ValueError):
    code: str
    def __init__(self, code: str) -> None: ...

def read(form: int, data: Buffer, room: int = 128) -> list[dict[str, object]]: ...
def valid_channel(name: bytes) -> bool: ...
