"""`nova stream create`: streams with their keys, which are shown this once."""

from __future__ import annotations

import argparse

from nova.surface.cli.common import ask, say


def arguments(parser: argparse.ArgumentParser, shared: argparse.ArgumentParser) -> None:
    acts = parser.add_subparsers(title="commands", metavar="create", dest="act", required=True)
    create = acts.add_parser("create", parents=[shared], help="make streams: ids, keys, URLs")
    create.add_argument("--title", required=True, metavar="T")
    create.add_argument("--count", type=int, default=1, metavar="N", help="so many, numbered")
    create.add_argument("--visibility", choices=("public", "unlisted", "private"), default="public")
    create.add_argument("--user", metavar="ID", help="whose they are (default: the owner of this server)")


def run(given: argparse.Namespace) -> int:
    draft = {"title": given.title, "visibility": given.visibility}
    for made in ask(given, "stream_create", draft=draft, owner=given.user, count=given.count):
        text = "\n".join(f"{name:<12}{made[name]}" for name in ("id", "key", "rtmp_server", "rtmp_url", "watch_url", "hls_url"))
        say(given, made, text if given.count == 1 else f"{made['id']}  {made['rtmp_url']}")
    return 0
