"""`nova token`: mint a bearer token; makes the user when needed."""

from __future__ import annotations

import argparse

from nova.core.values import parse_duration
from nova.surface.cli.common import ask, say


def arguments(parser: argparse.ArgumentParser, shared: argparse.ArgumentParser) -> None:
    parser.add_argument("--user", metavar="ID", required=True, help="1 to 64 of A-Z a-z 0-9 _ -")
    parser.add_argument(
        "--scope", action="append", default=[], metavar="S", help="may be repeated; without it those of a user; admin only by name"
    )
    parser.add_argument("--ttl", type=_duration, metavar="1h", help="how long it lives (default: auth.token_ttl)")


def run(given: argparse.Namespace) -> int:
    scopes = [scope for text in given.scope for scope in text.replace(",", " ").split()]
    made = ask(given, "token", user=given.user, scopes=scopes, ttl=given.ttl)
    say(given, made, made["token"])
    return 0


def _duration(text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
