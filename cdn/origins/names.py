"""The addresses of an origin's name: looked up off the loop, once for the connections of a while."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import trio

from nova.cdn.errors import OriginError
from nova.core.log import Log

GONE: Final = frozenset((socket.EAI_NONAME, socket.EAI_NODATA))  # the name has no address; every other failure says nothing of it
PATIENCE: Final = 0.25  # share of a connection's time after which a look-up is not waited for when older addresses are known

_log = Log("nova.cdn.origins")
Lookup = Callable[[str, int], Awaitable[Sequence[str]]]


async def addresses_of(host: str, port: int) -> list[str]:
    """Every address of a name, in the system's order. Raises OSError, mostly gaierror."""
    found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(each[4][0]) for each in found))


class _Look:
    """One look-up, and who waits for it. found, error: what it came to; neither: whoever had begun it has left."""

    def __init__(self) -> None:
        self.done = trio.Event()
        self.found: list[str] | None = None
        self.error: OriginError | None = None


class Names:
    """Addresses of one host, those first that did not fail last.

    The system's resolver tells no time to live, so that one look-up serves for `keep` seconds, 0: for one connection. While the resolver
    fails, or takes more than `patience` seconds, older addresses go on. admit: those that may be connected to; raises OriginError.
    """

    def __init__(
        self,
        host: str,
        port: int,
        admit: Callable[[Sequence[str]], list[str]],
        *,
        keep: float,
        patience: float,
        lookup: Lookup = addresses_of,
    ) -> None:
        self._host, self._port, self._admit, self._lookup = host, port, admit, lookup
        self._keep, self._patience = keep, patience
        self._found: list[str] = []
        self._until = 0.0
        self._look: _Look | None = None

    @property
    def best(self) -> str | None:
        """The address to be tried first, None: it must be waited for."""
        return self._found[0] if self._found and trio.current_time() < self._until else None

    async def addresses(self) -> list[str]:
        """In the order in which they are to be tried. Raises OriginError."""
        while trio.current_time() >= self._until or not self._found:
            if self._look is None or not self._keep:
                return await self._look_up()
            look = self._look
            await look.done.wait()
            if look.error is not None:
                raise OriginError(look.error.code, look.error.detail)
            if look.found is not None:
                return look.found
        return self._found

    def failed(self, address: str) -> None:
        """There was no connection to it: it comes last."""
        if address in self._found:
            self._found = [each for each in self._found if each != address] + [address]

    def lost(self) -> None:
        """None of them took a connection: the name may mean others by now, and the next connection asks."""
        self._until = 0.0

    async def _look_up(self) -> list[str]:
        look = self._look = _Look()
        try:
            look.found = self._admit(await self._asked())
        except OriginError as error:
            look.error = error
            raise
        finally:
            if self._look is look:
                self._look = None
            look.done.set()
        self._found, self._until = look.found, trio.current_time() + self._keep
        return look.found

    async def _asked(self) -> Sequence[str]:
        old, why = self._found, "it takes too long"
        try:
            with trio.move_on_after(self._patience if old else float("inf")):
                return await self._lookup(self._host, self._port)
        except OSError as error:
            if not old or (isinstance(error, socket.gaierror) and error.errno in GONE):
                raise OriginError("origin_unreachable", f"the name {self._host} has no address") from None
            why = error.strerror or type(error).__name__
        _log.warning("origin_name_not_looked_up", host=self._host, why=why)
        return old
