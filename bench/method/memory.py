"""Memory of a server: what its processes hold in RAM, and every byte of its memfds and shared memory, counted once.

Resident size alone would miss a memfd that is not mapped; its sum over processes would count a shared page twice.
"""

import os
from pathlib import Path

from bench.method.cpu import PROC, tree


def bytes_held(pid: int, *tmpfs: Path) -> int:
    """tmpfs: directories in RAM that belong to the server too (nginx-rtmp keeps its media there)."""
    total = 0
    shared: dict[tuple[int, int], int] = {}  # (device, inode): bytes
    for process in tree(pid):
        for line in (PROC / str(process) / "status").read_text().splitlines():
            if line.startswith(("RssAnon:", "RssFile:")):
                total += int(line.split()[1]) * 1024
        for name in ("fd", "map_files"):
            for link in (PROC / str(process) / name).iterdir():
                try:
                    if os.readlink(link).startswith(("/memfd:", "/dev/shm/", "/SYSV", "/dev/zero")):
                        info = os.stat(link)
                        shared[info.st_dev, info.st_ino] = info.st_blocks * 512
                except OSError:
                    continue
    total += sum(shared.values())
    return total + sum(path.stat().st_blocks * 512 for directory in tmpfs for path in directory.rglob("*") if path.is_file())
