"""`python -m tests.fuzz [--only NAME] [--seconds N | --runs N] [--seed N] [--replay FILE]`: runs the fuzz targets, one after the other.

A failing input is left in `build/fuzz/` and named, with the command that runs it again. Put it into `tests/fuzz/corpus/NAME/`
once the bug is fixed. `python -m tests.fuzz.sanitized` does the same with kernels built for the address sanitizer.
"""

import argparse
import faulthandler
import hashlib
import mmap
import random
import sys
import time
import traceback
from pathlib import Path

from tests.fuzz.mutate import MAX_INPUT, mutate
from tests.fuzz.registry import Target, targets

FOUND = Path("build/fuzz")
HANG_SECONDS = 20  # for a thousand inputs, which take well under one


class Found(Exception):
    """A target failed; the cause says how."""

    def __init__(self, name: str, data: bytes) -> None:
        super().__init__(f"fuzz target {name} failed on {data[:200]!r}, {len(data)} bytes")
        self.data = data


def fuzz(target: Target, seed: int, seconds: float, runs: int, last: mmap.mmap | None = None) -> tuple[int, int]:
    """(inputs run, kinds seen). Raises Found."""
    rng = random.Random(f"{target.name}:{seed}")
    corpus, kinds = list(target.seeds), set()
    deadline = time.monotonic() + seconds
    done = 0
    while done < runs and (done % 64 or time.monotonic() < deadline):
        data = target.seeds[done] if done < len(target.seeds) else mutate(rng, corpus, target.words)
        if done % 1000 == 0:
            faulthandler.dump_traceback_later(HANG_SECONDS, exit=True)
        if last is not None:  # what the process was doing, should it die
            last[:4] = len(data).to_bytes(4, "little")
            last[4 : 4 + len(data)] = data
        try:
            kind = target.kind(data)
        except Exception as error:
            raise Found(target.name, data) from error
        if kind not in kinds and len(corpus) < 10_000:
            kinds.add(kind)
            corpus.append(data)
        done += 1
    faulthandler.cancel_dump_traceback_later()
    return done, len(kinds)


def keep(name: str, data: bytes) -> Path:
    FOUND.mkdir(parents=True, exist_ok=True)
    path = FOUND / f"{name}-{hashlib.sha256(data).hexdigest()[:12]}"
    path.write_bytes(data)
    return path


def main() -> int:
    known = targets()
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Run the fuzz targets.")
    parser.add_argument("--only", choices=sorted(known), action="append", help="this target; may be repeated")
    parser.add_argument("--seconds", type=float, default=10, help="for each target (10)")
    parser.add_argument("--runs", type=int, default=2**62, help="inputs for each target, at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--replay", type=Path, help="run this file's input and nothing else")
    parser.add_argument("--last", type=Path, help="keep the input that is being run in this file")
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args()
    if options.list:
        print("\n".join(sorted(known)))
        return 0
    for name in options.only or sorted(known):
        if options.replay:
            print(name, known[name].kind(options.replay.read_bytes()))
            continue
        last = None
        if options.last:
            options.last.write_bytes(bytes(4 + max(MAX_INPUT, *map(len, known[name].seeds))))  # seeds may be longer
            with open(options.last, "r+b") as file:
                last = mmap.mmap(file.fileno(), 0)
        try:
            done, kinds = fuzz(known[name], options.seed, options.seconds, options.runs, last)
        except Found as found:
            path = keep(name, found.data)
            traceback.print_exception(found)
            print(f"again: python -m tests.fuzz --only {name} --replay {path}", file=sys.stderr)
            return 1
        print(f"{name}: {done} inputs, {kinds} kinds")
    return 0


if __name__ == "__main__":
    sys.exit(main())
