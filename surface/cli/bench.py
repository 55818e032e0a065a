"""`nova bench`: the benchmark suites of a checkout."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path


def arguments(parser: argparse.ArgumentParser, shared: argparse.ArgumentParser) -> None:
    parser.add_argument("only", nargs="*", metavar="NAME", help="only benchmarks whose name has one of these in it")
    parser.add_argument("--smoke", action="store_true", help="one short pair each: does everything run? Changes no result")
    parser.add_argument("--list", action="store_true", help="name the benchmarks")
    parser.add_argument("--report", action="store_true", help="write the report from the results that are there, measure nothing")


def run(given: argparse.Namespace) -> int:
    folder = Path(__file__).resolve().parents[2] / "bench"
    if not folder.is_dir():
        from nova.core.errors import Unavailable

        raise Unavailable(detail="the benchmarks are not part of an installed package: run this in a checkout")
    command = [sys.executable, "-m", "bench", *(word for name in given.only for word in ("--only", name))]
    command += [f"--{flag}" for flag in ("smoke", "list", "report") if getattr(given, flag)]
    os.chdir(folder.parent)
    os.execv(sys.executable, command)  # noqa: S606 - our own interpreter takes this process over
