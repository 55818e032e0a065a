"""What keeps trio's thread from waiting behind the others: short turns for every thread, and no long collections.

Trio, the I/O threads and the threads that compute may all want the same core. Who wakes waits for the turn of each one before it, and,
when that one holds the GIL, for a second turn in which it can let go (docs/decisions/0215-short-turns.md).
"""

from __future__ import annotations

import gc
import sys
from typing import Final

from nova.ext.sched import set_slice

SWITCH_INTERVAL: Final = 0.0002  # seconds until a thread that computes gives the GIL to one that asks
SLICE_NS: Final = 300_000  # the kernel's own is 1.4 ms on two cores: three threads on one core then wait for 8 ms
YOUNG: Final = 20_000  # objects more than were freed, until the young ones are looked through: a burst of requests, not every tenth


def short_turns() -> None:
    """For this thread and all that it starts from now on. A kernel that knows no such wish goes on as it did."""
    sys.setswitchinterval(SWITCH_INTERVAL)
    set_slice(SLICE_NS)


def settle_memory() -> None:
    """What has been loaded stays for ever: keep it out of every collection, of which a full one takes 40 ms otherwise."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, 20, 20)
