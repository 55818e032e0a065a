"""The bus: topics, streams with cursors, and leases between the parts and processes of Nova core.

One port. Here it lives in this process; the Redis adapter passes the same contract suite.
"""

from nova.core.bus.memory import MemoryBus
from nova.core.bus.port import START, Bus, Cursor, Entry, Lease, Message, Page, Subscription

__all__ = ["START", "Bus", "Cursor", "Entry", "Lease", "MemoryBus", "Message", "Page", "Subscription"]
