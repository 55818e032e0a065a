import builtins
from collections.abc import Iterable

from nova.ext.buffer import Buffer
from nova.ext.objects import ObjectTable
from nova.ext.sequence import Sequence

PASS: int
ALWAYS: int
VARY: int
PIECE: int
COOKIE: int
WHOLE: int
SPENT: int
PICTURES: int

class Answer:
    @property
    def status(self) -> int: ...
    @property
    def flags(self) -> int: ...
    @property
    def born(self) -> int: ...
    @property
    def fresh_until(self) -> int: ...
    @property
    def stale_until(self) -> int: ...
    @property
    def error_until(self) -> int: ...
    @property
    def modified(self) -> int: ...
    @property
    def total(self) -> int: ...
    @property
    def growing(self) -> bool: ...
    @property
    def etag(self) -> bytes: ...
    @property
    def lines(self) -> bytes: ...
    @property
    def status_line(self) -> bytes: ...
    @property
    def encodings(self) -> int: ...
    def alternate(self, index: int) -> Answer: ...
    def body(self, first: int = 0, size: int | None = None) -> list[Buffer]: ...
    def sent(self, size: int) -> None: ...

class KeptTable:
    def __init__(self, table: ObjectTable, policy: str, capacity: int) -> None: ...
    @property
    def count(self) -> int: ...
    @property
    def bytes(self) -> int: ...
    @property
    def memory(self) -> int: ...
    @property
    def places(self) -> int: ...
    def key_hash(self, site: int, key: builtins.bytes) -> int: ...
    def keep(
        self,
        site: int,
        key: builtins.bytes,
        head: builtins.bytes,
        line_size: int,
        fields_size: int,
        body: Iterable[Buffer | builtins.bytes],
        *,
        status: int,
        flags: int,
        born: int,
        fresh_until: int,
        stale_until: int = 0,
        error_until: int = 0,
        modified: int = -1,
        etag: builtins.bytes = b"",
        weight: int = 0,
        sequence: Sequence | None = None,
        total: int = -1,
        asked: bool = False,
    ) -> tuple[int, int] | None: ...
    def freshen(
        self,
        site: int,
        key: builtins.bytes,
        old: Answer,
        head: builtins.bytes,
        line_size: int,
        fields_size: int,
        *,
        flags: int,
        born: int,
        fresh_until: int,
        stale_until: int = 0,
        error_until: int = 0,
        modified: int = -1,
        etag: builtins.bytes = b"",
        weight: int = 0,
    ) -> None: ...
    def alternate(
        self,
        site: int,
        key: builtins.bytes,
        of: Answer,
        index: int,
        head: builtins.bytes,
        line_size: int,
        fields_size: int,
        body: Iterable[Buffer | builtins.bytes],
        etag: builtins.bytes,
    ) -> bool: ...
    def settle(self, site: int, key: builtins.bytes) -> None: ...
    def lead(self, site: int, key: builtins.bytes) -> bool: ...
    def find(self, site: int, key: builtins.bytes, *, hit: bool = False) -> Answer | None: ...
    def drop(self, site: int, key: builtins.bytes) -> tuple[int, int] | None: ...
    def soften(self, site: int, key: builtins.bytes, now: int) -> bool: ...
    def spend(self, site: int, key: builtins.bytes) -> bool: ...
    def admits(self, site: int, key: builtins.bytes, weight: int) -> bool: ...
    def evict(self, capacity: int) -> list[tuple[int, builtins.bytes, int, int]]: ...
    def scan(
        self, at: int, most: int = 4096, site: int = -1, prefix: builtins.bytes = b""
    ) -> tuple[list[tuple[int, builtins.bytes, Answer]], int]: ...
    def drain_usage(self, at: int, most: int = 4096) -> tuple[list[tuple[int, builtins.bytes, int, int]], int]: ...
    def waiting(self, site: int, key: builtins.bytes) -> int: ...

def variant_key(key: bytes, names: bytes, fields: list[tuple[bytes, bytes]]) -> bytes | None: ...
