"""`nova config`: every effective setting with its value and its source."""

from __future__ import annotations

import argparse

from nova.core.settings import effective
from nova.surface.cli.common import load, say


def arguments(parser: argparse.ArgumentParser, shared: argparse.ArgumentParser) -> None:
    parser.add_argument("prefix", nargs="?", default="", help="only settings that begin with this, such as http")


def run(given: argparse.Namespace) -> int:
    lines = [line for line in effective(load(given)) if line.key.startswith(given.prefix)]
    if not lines:
        from nova.core.errors import BadRequest

        raise BadRequest(detail=f"no setting begins with {given.prefix!r}; `nova config` prints them all")
    keys = max(len(line.key) for line in lines)
    values = max(min(len(line.value), 40) for line in lines)
    for line in lines:
        text = f"{line.key:<{keys}}  {line.value:<{values}}  {line.source}"
        say(given, {"key": line.key, "value": line.value, "source": line.source}, text)
    return 0
