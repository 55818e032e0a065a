"""`python -m bench [--only NAME …] [--smoke] [--pairs N] [--seconds S] [--report] [--list]`: runs benchmarks, then writes the report.

The same as `make bench` and `nova bench`. NAME is a part of a benchmark's name, such as `object-hit` or `rtmp`.
"""

import argparse
import sys
from pathlib import Path

import pytest

from bench.report import write_report

HERE = Path(__file__).parent


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="nova bench", description="Measure Nova core beside the programs that people would otherwise use."
    )
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="benchmarks with this in their name; may be repeated")
    parser.add_argument("--smoke", action="store_true", help="one short pair each: does everything run? Changes no result")
    parser.add_argument("--pairs", type=int, help="anchor and ours, this many times (7)")
    parser.add_argument("--seconds", type=float, help="length of one measured window (3)")
    parser.add_argument("--list", action="store_true", help="name the benchmarks")
    parser.add_argument("--report", action="store_true", help="write the report from the results that are there, measure nothing")
    options = parser.parse_args(arguments)
    if options.report:
        print(write_report())
        return 0
    command = ["-o", "python_files=bench_*.py", "-o", "python_functions=bench_*", "-o", "faulthandler_timeout=900"]
    command += ["-p", "no:cacheprovider", "--benchmark-columns=rounds", "-q", str(HERE)]
    if options.list:
        command.append("--collect-only")
    if options.only:
        command += ["-k", " or ".join(name.replace("-", "_") for name in options.only)]
    if options.smoke:
        command.append("--smoke")
    for name in ("pairs", "seconds"):
        if (value := getattr(options, name)) is not None:
            command.append(f"--{name}={value}")
    code = int(pytest.main(command))
    if code == 0 and not options.smoke and not options.list:
        print(write_report())
    return code


if __name__ == "__main__":
    sys.exit(main())
