"""CPU time of a server: every task of every process below it, in nanoseconds.

`/proc/PID/stat` counts in ticks of 10 ms and would hide a tenth of a short run; schedstat's first field is the time that the
scheduler gave to a task. A task that ends takes its schedstat with it: then the ticks, which the process keeps, are used.
"""

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PROC = Path("/proc")
TICK = 1 / os.sysconf("SC_CLK_TCK")


def tree(pid: int) -> list[int]:
    """The process and its descendants."""
    parents: dict[int, list[int]] = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            try:
                parent = int(_stat(int(entry.name))[1])
            except OSError:
                continue  # it ended meanwhile
            parents.setdefault(parent, []).append(int(entry.name))
    found = [pid]
    for at in found:
        found.extend(parents.get(at, ()))
    return found


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the third on: state, parent …"""
    return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()


@dataclass(frozen=True, slots=True)
class Reading:
    tasks: dict[tuple[int, int], int]  # (process, task): nanoseconds
    ticks: float  # seconds, those of ended tasks and children included

    def until(self, later: "Reading") -> float:
        """CPU seconds between two readings."""
        spent = sum(ns - self.tasks.get(task, 0) for task, ns in later.tasks.items()) / 1e9
        if self.tasks.keys() <= later.tasks.keys():
            return spent
        return max(spent, later.ticks - self.ticks)


def read(pid: int) -> Reading:
    tasks: dict[tuple[int, int], int] = {}
    ticks = 0.0
    for process in tree(pid):
        try:
            ticks += sum(int(field) for field in _stat(process)[11:15]) * TICK  # utime stime cutime cstime
            for task in (PROC / str(process) / "task").iterdir():
                tasks[process, int(task.name)] = int((task / "schedstat").read_text().split()[0])
        except OSError:
            continue  # ended between the listing and the reading
    return Reading(tasks, ticks)


@cache
def cores() -> tuple[int, int]:
    """(the server's core, the load generator's core), as they were before this process pinned itself.

    Raises SystemExit on a machine with one core.
    """
    usable = sorted(os.sched_getaffinity(0))
    if len(usable) < 2:
        raise SystemExit("the benchmarks need two cores: one for the server, one for the load generator")
    return usable[0], usable[1]
