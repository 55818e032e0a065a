"""Short turns: who they hold for, and that what is loaded is left out of collections."""

import gc
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from nova.core import awake
from nova.core.clock import SystemClock
from nova.core.offload import CPU, Offload
from nova.core.reactor import Reactor
from nova.ext.sched import get_slice


@pytest.fixture
async def reactor() -> AsyncIterator[Reactor]:
    reactor = Reactor(SystemClock(), threads=1)
    async with trio.open_nursery() as nursery:
        await nursery.start(reactor.run)
        yield reactor
        nursery.cancel_scope.cancel()


RUN = [sys.executable, "-c"]


def test_threads_that_start_later_have_the_short_turns_too() -> None:
    script = (
        "import sys, threading\n"
        "from nova.core import awake\n"
        "from nova.ext.sched import get_slice\n"
        "before = get_slice()\n"
        "awake.short_turns()\n"
        "found = []\n"
        "thread = threading.Thread(target=lambda: found.append(get_slice())); thread.start(); thread.join()\n"
        "print(before, get_slice(), *found, sys.getswitchinterval())"
    )
    before, mine, later, interval = subprocess.run([*RUN, script], check=True, capture_output=True, text=True).stdout.split()
    # A kernel before 6.12 says 0 and keeps its own turns.
    assert int(mine) == int(later) == (awake.SLICE_NS if int(before) else 0)
    assert float(interval) == pytest.approx(awake.SWITCH_INTERVAL)


def test_turns_that_the_kernel_does_not_have_are_refused_or_bounded() -> None:
    script = (
        "from nova.ext.sched import get_slice, set_slice\n"
        "for wish in (1, 10**15):\n"
        "    print(set_slice(wish), get_slice())"
    )
    for line in subprocess.run([*RUN, script], check=True, capture_output=True, text=True).stdout.splitlines():
        refused, found = map(int, line.split())
        assert refused or found == 0 or 100_000 <= found <= 100_000_000


async def test_threads_that_compute_stand_back_once_behind_trio() -> None:
    offload = Offload([CPU])
    mine = os.getpriority(os.PRIO_PROCESS, 0)

    def level() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    found = [await offload.run(CPU, level) for _ in range(3)]
    assert found == [min(19, mine + awake.BACK)] * 3
    assert os.getpriority(os.PRIO_PROCESS, 0) == mine


async def test_io_threads_stand_back(reactor: Reactor) -> None:
    del reactor  # it runs
    mine = os.getpriority(os.PRIO_PROCESS, 0)
    levels = [os.getpriority(os.PRIO_PROCESS, int(thread.name)) for thread in Path("/proc/self/task").iterdir()]
    assert min(19, mine + awake.BACK) in levels


def test_what_is_loaded_is_not_collected_again() -> None:
    script = (
        "import gc\n"
        "from nova.core import awake\n"
        "awake.settle_memory()\n"
        "print(gc.get_freeze_count(), len(gc.get_objects()), gc.get_threshold()[0])"
    )
    frozen, looked_at, young = map(int, subprocess.run([*RUN, script], check=True, capture_output=True, text=True).stdout.split())
    assert frozen > 10 * looked_at
    assert young == awake.YOUNG


def test_asking_changes_nothing() -> None:
    assert get_slice() == get_slice()
    assert gc.isenabled()
