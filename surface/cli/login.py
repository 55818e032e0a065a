"""`nova login`: a new sign-in URL, good once and for `auth.sign_in_ttl`."""

from __future__ import annotations

import argparse

from nova.surface.cli.common import ask, say


def arguments(parser: argparse.ArgumentParser, shared: argparse.ArgumentParser) -> None:
    parser.add_argument("--user", metavar="ID", help="for this user instead of the owner of this server")


def run(given: argparse.Namespace) -> int:
    made = ask(given, "login", user=given.user)
    say(given, made, made["url"])
    return 0
