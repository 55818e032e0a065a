"""Short turns: who they hold for, and that what is loaded is left out of collections."""

import gc
import os
import subprocess
import sys

import pytest

from nova.core import awake
from nova.ext.sched import get_slice

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
    script = "from nova.ext.sched import get_slice, set_slice\nfor wish in (1, 10**15):\n    print(set_slice(wish), get_slice())"
    for line in subprocess.run([*RUN, script], check=True, capture_output=True, text=True).stdout.splitlines():
        refused, found = map(int, line.split())
        assert refused or found == 0 or 100_000 <= found <= 100_000_000


LEVELS = """
import os, sys, threading, trio
from pathlib import Path
from nova.core import awake
from nova.core.clock import SystemClock
from nova.core.offload import CPU, Offload
from nova.core.reactor import Reactor

def level(): return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

async def main():
    reactor = Reactor(SystemClock(), threads=1)
    async with trio.open_nursery() as nursery:
        await nursery.start(reactor.run)
        while not reactor.engine.stats()["turns"]:
            await trio.sleep(0.001)
        levels = [os.getpriority(os.PRIO_PROCESS, int(each.name)) for each in Path("/proc/self/task").iterdir()]
        offload = Offload([CPU])
        found = [await offload.run(CPU, level) for _ in range(3)]
        nursery.cancel_scope.cancel()
    print(level(), *sorted(levels), *found)

trio.run(main)
"""


@pytest.mark.parametrize("given", [0, 3, 15])
def test_threads_beside_trio_stand_back_and_trio_does_not(given: int) -> None:
    """In a process of its own: the main thread and one of the reactor; then a thread that computes, three times the same."""
    mine = os.getpriority(os.PRIO_PROCESS, 0)
    program = ["nice", "-n", str(given), *RUN, LEVELS]
    levels = [int(word) for word in subprocess.run(program, check=True, capture_output=True, text=True).stdout.split()]
    level, back = min(19, mine + given), min(19, mine + given + awake.BACK)
    assert levels == [level, level, back, back, back, back]


def test_a_process_that_computes_stands_back_from_whichever_thread_it_was_started() -> None:
    script = "import os\nfrom nova.core import awake\nawake.step_back(os.getppid())\nprint(os.getpriority(os.PRIO_PROCESS, 0))"
    mine = os.getpriority(os.PRIO_PROCESS, 0)
    for already in (0, 5, awake.BACK):
        done = subprocess.run(["nice", "-n", str(already), *RUN, script], check=True, capture_output=True, text=True)
        assert int(done.stdout) == min(19, mine + awake.BACK)


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


def test_what_requests_hold_is_not_looked_through_while_they_are_under_way() -> None:
    script = (
        "import gc\n"
        "from nova.core import awake\n"
        "def begins(requests):\n"
        "    awake.under_way(requests)\n"
        "    return gc.get_threshold()[0]\n"
        "before = gc.get_threshold()[0] == begins(100)\n"
        "awake.settle_memory()\n"
        "print(int(before), begins(100), begins(10**6), begins(0))"
    )
    before, hundred, many, none = map(int, subprocess.run([*RUN, script], check=True, capture_output=True, text=True).stdout.split())
    assert before
    assert (hundred, many, none) == (awake.YOUNG + 100 * awake.HELD, awake.YOUNG + awake.CROWD * awake.HELD, awake.YOUNG)


def test_asking_changes_nothing() -> None:
    assert get_slice() == get_slice()
    assert gc.isenabled()
