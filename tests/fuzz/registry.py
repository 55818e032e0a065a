"""The fuzz targets, by name. A module in `targets/` registers its own:

    @target("http-head", seeds=[b"GET / HTTP/1.1\\r\\n…"], words=[b"Host: ", …])
    def http_head(data: bytes) -> object: ...

A target raises for what must never happen, and nothing for input that is merely wrong. What it returns says what kind of
input this was (an answer code, a state): inputs of a kind not seen before are kept and mutated further. Hand kernels
`tests.exact.exact(data)`: the address sanitizer then sees a read behind the last byte.
"""

import importlib
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Target:
    name: str
    run: Callable[[bytes], object]
    seeds: Sequence[bytes]
    words: Sequence[bytes]  # pieces of the format: random bytes alone would not get past the first check

    def kind(self, data: bytes) -> Hashable:
        said = self.run(data)
        return said if isinstance(said, Hashable) else repr(said)


_targets: dict[str, Target] = {}


def target(
    name: str, *, seeds: Sequence[bytes], words: Sequence[bytes] = ()
) -> Callable[[Callable[[bytes], object]], Callable[[bytes], object]]:
    def register(run: Callable[[bytes], object]) -> Callable[[bytes], object]:
        assert name not in _targets, f"two fuzz targets are called {name}"
        saved = sorted((HERE / "corpus" / name).glob("*"))  # inputs that once found a bug
        _targets[name] = Target(name, run, [*seeds, *(path.read_bytes() for path in saved)], words)
        return run

    return register


def targets() -> dict[str, Target]:
    for path in sorted((HERE / "targets").glob("[a-z]*.py")):
        importlib.import_module(f"tests.fuzz.targets.{path.stem}")
    return _targets
