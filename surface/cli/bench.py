"""`nova bench`: the benchmark suites of a checkout."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path


def arguments(parser: argparse.ArgumentParser, shared: argparse.ArgumentParser) -> None:
    parser.add_argument("only", nargs="?", metavar="NAME", help="only benchmarks whose name has this in it")


def run(given: argparse.Namespace) -> int:
    folder = Path(__file__).resolve().parents[2] / "bench"
    if not folder.is_dir():
        from nova.core.errors import Unavailable

        raise Unavailable(detail="the benchmarks are not part of an installed package: run this in a checkout")
    command = [sys.executable, "-m", "pytest", str(folder), "-q", *(["-k", given.only] if given.only else [])]
    os.chdir(folder.parent)
    os.execv(sys.executable, command)  # noqa: S606 - our own interpreter takes this process over
