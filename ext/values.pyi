from typing_extensions import Buffer

JSON: int
MSGPACK: int
DEPTH: int
KINDS: tuple[str, ...]

class ValueRefused(ValueError):
    code: str
    def __init__(self, code: str) -> None: ...

def scan(form: int, data: Buffer) -> tuple[int, int, str, bool]: ...
def convert(form: int, wanted: int, data: Buffer) -> bytes: ...
def quote(data: Buffer) -> bytes: ...
