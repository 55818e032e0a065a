"""`nova user add|list|delete`."""

from __future__ import annotations

import argparse

from nova.surface.cli.common import ask, say


def arguments(parser: argparse.ArgumentParser, shared: argparse.ArgumentParser) -> None:
    acts = parser.add_subparsers(title="commands", metavar="add|list|delete", dest="act", required=True)
    add = acts.add_parser("add", parents=[shared], help="add a user, or rename one")
    add.add_argument("id", nargs="?", metavar="ID", help="1 to 64 of A-Z a-z 0-9 _ - (default: a new UUID)")
    add.add_argument("--name", default="", help="shown to others")
    acts.add_parser("list", parents=[shared], help="list the users")
    delete = acts.add_parser("delete", parents=[shared], help="delete a user; its tokens end")
    delete.add_argument("id", metavar="ID")


def run(given: argparse.Namespace) -> int:
    if given.act == "add":
        made = ask(given, "user_add", user=given.id, name=given.name)
        say(given, made, made["id"])
    elif given.act == "delete":
        ask(given, "user_delete", user=given.id)
        say(given, {"id": given.id}, f"deleted {given.id}")
    else:
        page = {"after": ""}
        while page["after"] is not None:
            page = ask(given, "user_list", after=page["after"] or None)
            for user in page["items"]:
                say(given, user, f"{user['id']}  {user['name']}{'  (owner)' if user['owner'] else ''}")
    return 0
