"""`nova node list|forget`: the servers that share one Redis."""

from __future__ import annotations

import argparse

from nova.surface.cli.common import ask, say


def arguments(parser: argparse.ArgumentParser, shared: argparse.ArgumentParser) -> None:
    acts = parser.add_subparsers(title="commands", metavar="list|forget", dest="act", required=True)
    acts.add_parser("list", parents=[shared], help="list the nodes: up or gone, streams that each keeps, subscriptions")
    forget = acts.add_parser("forget", parents=[shared], help="forget a node that never comes back: its streams are 404, not 503")
    forget.add_argument("node", metavar="NODE", help="as `nova node list` names it")


def run(given: argparse.Namespace) -> int:
    if given.act == "forget":
        done = ask(given, "node_forget", node=given.node)
        say(given, done, f"forgot {done['node']} and {done['streams']} streams")
        return 0
    for node in ask(given, "node_list"):
        state = "gone" if node["lease_s"] is None else "up"
        say(given, node, f"{node['node']:<12}{state:<6}{node['streams']} streams, {node['readers']} readers")
    return 0
