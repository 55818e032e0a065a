"""The one door to grpc: sets what its C core reads when it is loaded."""

from __future__ import annotations

import os

# Its own lines on stderr are no log lines of ours; and this process never forks, so its handlers for that are in the way.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

import grpc

__all__ = ["grpc"]
