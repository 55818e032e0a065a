"""The bus: topics, streams with cursors, and leases between the parts and processes of Nova core.

One port. `MemoryBus` lives in this process; `shared.RedisBus` joins several, and passes the same contract suite.
"""

from nova.core.bus.memory import MemoryBus
from nova.core.bus.port import (
    NOTHING_SEEN,
    START,
    Added,
    Bus,
    Cursor,
    Entry,
    Follower,
    Keep,
    Lease,
    Message,
    Page,
    Quota,
    Seen,
    Subscription,
    Tail,
    Told,
)

__all__ = [
    "NOTHING_SEEN", "START", "Added", "Bus", "Cursor", "Entry", "Follower", "Keep", "Lease", "MemoryBus", "Message", "Page", "Quota",
    "Seen", "Subscription", "Tail", "Told",
]  # fmt: skip
