"""Which shield node holds an object: rendezvous hashing with bounded loads.

Pure. Each key has its own order of the nodes (Thaler, Ravishankar 1996), so a node that leaves moves only its own keys; a node that
has more than its share of what is under way is passed over (Mirrokni, Thorup, Zadimoghaddam 2018): one hot object cannot melt one node.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from math import ceil
from typing import Final

ROOM: Final = 1.25  # a node's share above the mean; the paper's 1 + ε


def ranked(key: bytes, nodes: Sequence[bytes]) -> list[int]:
    """The nodes in the order in which `key` prefers them; the same on every edge."""
    # The node keys the hash: its length is bounded by a digest of its own.
    scores = [(blake2b(key, digest_size=8, key=blake2b(node, digest_size=16).digest()).digest(), at) for at, node in enumerate(nodes)]
    return [at for _, at in sorted(scores, reverse=True)]


def choose(key: bytes, nodes: Sequence[bytes], loads: Sequence[int]) -> list[int]:
    """The nodes to ask, best first: those with room in the key's order, then the full ones.

    loads: requests under way for each node. The first one's load is below ceil(ROOM * (all + 1) / nodes), always.
    """
    order = ranked(key, nodes)
    bound = ceil(ROOM * (sum(loads) + 1) / len(nodes)) if nodes else 0
    return [at for at in order if loads[at] < bound] + [at for at in order if loads[at] >= bound]
