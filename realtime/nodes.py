"""The nodes on one bus, as operators see them, and forgetting one that never comes back."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import Final

from nova.core.bus import Bus
from nova.core.errors import Conflict, NotFound
from nova.core.log import Log
from nova.core.values import Seconds
from nova.realtime.chat.nodes import KEEPERS, LEASE, keeper_lease
from nova.realtime.cluster import NODES, node_lease

ROWS: Final = 1000  # streams of one message

_log = Log("nova.nodes")


@dataclass(frozen=True, slots=True)
class Seen:
    """One node.

    lease: for how long it holds its lease yet, if nothing more is heard of it; None: it holds none, and is down or cut off. streams: how
    many it keeps. readers: its subscriptions, as it told some seconds ago.
    """

    node: str
    lease: Seconds | None
    streams: int
    readers: int


class Nodes:
    """Every method raises Unavailable."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def all(self) -> list[Seen]:
        """By name."""
        streams = Counter(row.decode("ascii", "replace") for row in (await self._bus.rows(KEEPERS)).values())
        told = await self._bus.rows(NODES)
        names = sorted({*streams, *told})
        return [Seen(node, await self._lease(node), streams[node], _readers(told.get(node, b""))) for node in names]

    async def _lease(self, node: str) -> Seconds | None:
        held = [await self._bus.held(name) for name in (keeper_lease(node), node_lease(node))]
        return max((each for each in held if each is not None), default=None)

    async def forget(self, node: str) -> int:
        """The streams that it kept are none from now on; how many. When it comes back, it says again which it keeps.

        Raises NotFound, Conflict: it holds its lease.
        """
        known = await self.all()
        if all(each.node != node for each in known):
            raise NotFound("not_found", f"there is no node {node[:40]!r}; `nova node list` names them")
        left = await self._lease(node)
        proof = None if left is not None else await self._bus.acquire(keeper_lease(node), "nova node forget", LEASE)
        if proof is None:  # whoever holds it meanwhile is not dead
            held = f"it holds its lease for {left or LEASE:.0f} s more"
            raise Conflict("conflict", f"node {node} is up: {held}; stop it first, and ask again {LEASE:.0f} s later")
        try:
            rows = [stream for stream, keeper in (await self._bus.rows(KEEPERS)).items() if keeper == node.encode()]
            for start in range(0, len(rows), ROWS):  # but for those that another one has said to keep meanwhile
                if not await self._bus.renew(proof, LEASE):
                    raise Conflict("conflict", f"node {node} came back: {start} of its streams were forgotten until it says them again")
                await self._bus.drop(KEEPERS, rows[start : start + ROWS], saying=node.encode())
        finally:
            await self._bus.release(proof)
        _log.info("node_forgotten", node=node, streams=len(rows))
        return len(rows)


def _readers(row: bytes) -> int:
    """0 for what a node of another version says."""
    try:
        return int(json.loads(row)["numbers"]["readers"])
    except (ValueError, KeyError, TypeError):
        return 0
