"""What keeps trio's thread from waiting behind the others: short turns for every thread, a larger share for trio's, no long collections.

Trio, the I/O threads and the threads that compute may all want the same core. Who wakes waits for the turn of each one before it, and,
when that one holds the GIL, for a second turn in which it can let go (docs/decisions/0215-short-turns.md).
"""

from __future__ import annotations

import gc
import os
import sys
import threading
from contextlib import suppress
from typing import Final

from nova.ext.sched import set_slice

SWITCH_INTERVAL: Final = 0.0002  # seconds until a thread that computes gives the GIL to one that asks
SLICE_NS: Final = 300_000  # the kernel's own is 1.4 ms on two cores: three threads on one core then wait for 8 ms
BACK: Final = 8  # nice levels behind trio: a sixth of its share of a core that both want
YOUNG: Final = 20_000  # objects more than were freed, until the young ones are looked through: a burst of requests, not every tenth
HELD: Final = 100  # objects of one request while it is under way (86 and what its connection leaves): looking through them finds nothing
CROWD: Final = 1000  # requests for which that is taken into account: a collection that comes then takes 50 ms

_stepped = threading.local()


def short_turns() -> None:
    """For this thread and all that it starts from now on. A kernel that knows no such wish goes on as it did."""
    sys.setswitchinterval(SWITCH_INTERVAL)
    set_slice(SLICE_NS)


def step_back(behind: int = 0) -> None:
    """For this thread: one that serves or computes beside trio, which the others wait for. Threads that it starts have it too.

    behind: the process whose main thread runs trio, when it is another one. Said again, it changes nothing.
    Who uses more than an even share of a core is made to wait until the others have caught up, up to a timer tick (4 ms) each; trio, with
    which all work begins and ends, may use more. Other sessions and services notice nothing, where Linux weighs those as a whole;
    programs of the same session come before the thread that has stepped back.
    """
    if getattr(_stepped, "back", False):
        return
    _stepped.back = True
    first = behind or os.getpid()  # a thread's id, and the id of its process: the main thread's
    with suppress(OSError):  # a sandbox may forbid it: then all shares are even
        level = min(19, os.getpriority(os.PRIO_PROCESS, first) + BACK)
        if os.getpriority(os.PRIO_PROCESS, 0) < level:  # of the calling thread alone, on Linux
            os.setpriority(os.PRIO_PROCESS, 0, level)


def settle_memory() -> None:
    """What has been loaded stays for ever: keep it out of every collection, of which a full one takes 40 ms otherwise."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, 20, 20)


def under_way(requests: int) -> None:
    """So many requests are being answered: what they hold is not looked through (docs/decisions/0283-requests-under-way-are-no-garbage.md).

    Does nothing before `settle_memory`.
    """
    if gc.get_threshold()[0] >= YOUNG:
        gc.set_threshold(YOUNG + min(requests, CROWD) * HELD, 20, 20)
