"""Questions of one node to another over the bus, and their answers.

Each node hears on a topic of its own. What is asked and answered is the caller's; here it is told who asked, and for how long
somebody waits. A question has a ticket at the bus: whoever is asked takes it before anything is changed, whoever asked takes it back
when no answer came in time. One of them gets it, whatever the clocks of both say and however long one of them was asleep. Nothing is asked
twice.
"""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

import trio

from nova.core.bus.port import QUEUE, Bus
from nova.core.errors import Unavailable
from nova.core.guard import guard, guarded
from nova.core.log import Log
from nova.core.values import Seconds

ANSWERING: Final = 256  # questions that are worked on at the same time; one more is told that it is one too many
REFUSING: Final = 256  # that are being told so; what comes beyond is dropped, and its asker is told when nothing has come in time
WORKING: Final = 3.0  # seconds that one is worked on; whoever asked has given up then
DIGITS: Final = 18  # of a question's number
AGAIN: Final = 1.0  # seconds after which another try makes sense

_log = Log("nova.calls")


@dataclass(slots=True)
class _Waiting:
    """node: which one was asked; what another one says under this number is no answer."""

    node: bytes
    answer: bytes | None = None
    come: trio.Event = field(default_factory=trio.Event)


class Calls:
    """topic: the beginning of the nodes' topics. node: this one. answer: what it says to a question and its ticket; never empty."""

    def __init__(self, bus: Bus, topic: str, node: str, answer: Callable[[bytes, str], Awaitable[bytes]]) -> None:
        self._bus, self._topic, self._node, self._answer = bus, topic, node, answer
        self._numbers = itertools.count(1)
        self._waiting: dict[int, _Waiting] = {}
        self._taken = 0  # questions that have a task

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Hear the others; until cancelled. Raises Unavailable: not at the start."""
        async with self._bus.subscribe([f"{self._topic}.{self._node}"], queue=QUEUE) as messages, trio.open_nursery() as nursery:
            task_status.started()
            async for message in messages:
                with guarded(_log):  # whatever stands on the bus, the others are heard
                    self._heard(nursery, message.data)

    def _heard(self, nursery: trio.Nursery, data: bytes) -> None:
        kind, _, rest = data.partition(b" ")
        node, number, body = rest.split(b" ", 2) if rest.count(b" ") > 1 else (b"", b"", b"")
        if kind not in (b"?", b"!") or not number.isdigit() or len(number) > DIGITS:
            _log.peer("message_not_understood", size_bytes=len(data))
            return
        if kind == b"?":
            asker = node.decode()
            if self._taken < ANSWERING + REFUSING:
                self._taken += 1
                nursery.start_soon(guard, _log, self._work, asker, int(number), body, self._taken <= ANSWERING)
            else:
                _log.peer("question_dropped", node=asker)
        elif (waiting := self._waiting.get(int(number))) is not None and waiting.node == node:
            waiting.answer = body
            waiting.come.set()

    async def ask(self, node: str, question: bytes, within: Seconds, *, changes: bool = False) -> bytes | None:
        """What `node` answers; None: it is not there. changes: it takes the question's ticket before it does anything.

        Raises TooLarge; Unavailable `node_unavailable`: it says nothing within `within`, and then it does not do it later either. When it
        had begun by then, it is waited for until it must have ended. Unavailable of the bus: then whether it is done is not known.
        """
        number = next(self._numbers)
        waiting = self._waiting[number] = _Waiting(node.encode())
        ticket = self._ticket(self._node, number) if changes else ""
        begun = False
        try:
            asked = b"? %s %d " % (self._node.encode(), number) + question
            if not await self._bus.publish(f"{self._topic}.{node}", asked, ticket=ticket):
                return None
            with trio.move_on_after(within):
                await waiting.come.wait()
            if waiting.answer is None and changes and not await self._bus.take(ticket):
                begun = True
                with trio.move_on_after(WORKING):
                    await waiting.come.wait()
        finally:
            del self._waiting[number]
        if waiting.answer is None:
            detail = "may have begun with this, and does not say what became of it" if begun else "says nothing"
            raise Unavailable("node_unavailable", f"the node that keeps this {detail}", retry_after=AGAIN)
        if not waiting.answer:
            raise Unavailable("overloaded", "the node that keeps this has too many questions", retry_after=AGAIN)
        return waiting.answer

    async def _work(self, node: str, number: int, question: bytes, wanted: bool) -> None:
        answer = b""
        try:
            with trio.CancelScope(shield=True):  # what was begun is answered, also when this node ends meanwhile
                if wanted:
                    with trio.move_on_after(WORKING) as working:
                        answer = await self._answer(question, self._ticket(node, number))
                    if working.cancelled_caught:
                        return  # nobody waits any more
                await self._bus.publish(f"{self._topic}.{node}", b"! %s %d " % (self._node.encode(), number) + answer)
        finally:
            self._taken -= 1

    def _ticket(self, asker: str, number: int) -> str:
        return f"{self._topic}.{asker}.{number}"
