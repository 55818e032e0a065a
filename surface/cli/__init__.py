"""`nova`: the command line. Each command is a module that is imported when it runs; nothing else is paid for at start."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Final

# Name, module, one line. The order is that of the help.
COMMANDS: Final = (
    ("serve", "serve", "run the server"),
    ("check", "check", "is this machine able, is this configuration right"),
    ("config", "config", "print the effective settings, each with its source"),
    ("certs", "certs", "show the certificate of https; let the browser trust it"),
    ("login", "login", "make a new sign-in URL"),
    ("token", "token", "mint a token for a user"),
    ("user", "user", "add, list and delete users"),
    ("stream", "stream", "make streams: ids, keys, URLs"),
    ("node", "node", "list the nodes on one Redis; forget one that never comes back"),
    ("publish", "publish", "send a media file as RTMP"),
    ("bench", "bench", "run benchmarks"),
)


class _Parser(argparse.ArgumentParser):
    """argparse's errors as ours: one line with the remedy, exit 2."""

    def error(self, message: str) -> None:  # type: ignore[override]
        self.exit(2, f"nova: {message}; see `{self.prog} --help`\n")


def parser(command: str | None = None) -> argparse.ArgumentParser:
    """The whole parser; with `command` only that one has its own arguments, which saves importing the others."""
    top = _Parser(prog="nova", description="Nova core: RTMP in, LL-HLS out, channels, shield.")
    top.add_argument("--version", action="store_true", help="print the version")
    # The same options stand behind a command and behind its own commands: only what was given may overwrite.
    top.set_defaults(config=None, data=None, overrides=[], json=False)
    shared = _shared()
    commands = top.add_subparsers(title="commands", metavar="COMMAND", dest="command", parser_class=_Parser)
    for name, module, text in COMMANDS:
        child = commands.add_parser(name, parents=[shared], help=text, description=text[0].upper() + text[1:] + ".")
        if command in (None, name):
            import_module(f"nova.surface.cli.{module}").arguments(child, shared)
    return top


def _shared() -> _Parser:
    parser = _Parser(add_help=False, argument_default=argparse.SUPPRESS)
    group = parser.add_argument_group("every command takes")
    group.add_argument("--config", type=Path, metavar="FILE", help="settings file (default: nova.toml when there is one)")
    group.add_argument("--data", metavar="DIR", help="data directory (default: ./nova-data)")
    group.add_argument("--set", action="append", metavar="section.key=value", dest="overrides", help="one setting; may be repeated")
    group.add_argument("--json", action="store_true", help="one JSON object a line on stdout")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit code: 0 done, 1 it could not be done, 2 asked for in a way that can not work."""
    given = list(sys.argv[1:] if argv is None else argv)
    named = next((word for word in given if not word.startswith("-")), None)
    top = parser(named if named in {name for name, _, _ in COMMANDS} else None)
    arguments = top.parse_args(given)
    if arguments.version:
        from nova import __version__

        sys.stdout.write(f"nova {__version__}\n")
        return 0
    if arguments.command is None:
        top.print_help()
        return 2
    module = {name: module for name, module, _ in COMMANDS}[arguments.command]
    from nova.surface.cli.common import guarded

    return guarded(import_module(f"nova.surface.cli.{module}").run, arguments)
