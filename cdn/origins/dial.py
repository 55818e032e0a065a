"""Connections to origins: a name's addresses, looked up and checked, connected to in turn, under TLS where the URL says so."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Final

import trio

from nova.cdn.errors import OriginError
from nova.cdn.origins.addresses import Guard, public_only
from nova.cdn.origins.ask import Where
from nova.core.errors import NovaError
from nova.core.limits import parse_address
from nova.core.tls.client import ClientTls

ADDRESSES: Final = 8  # of one name that are tried


class Dialer:
    """Opens connections to one origin. Its guard remembers what kind of addresses it had.

    tls: for https. name: the certificate's, when it is not the host of the URL. public: only public addresses.
    """

    def __init__(self, where: Where, *, timeout: float, tls: ClientTls, name: str | None = None, public: bool = False) -> None:
        self.where = where
        self._timeout, self._tls, self._name = timeout, tls, name
        self._guard = None if public else Guard(literal=parse_address(where.host) is not None)

    async def dial(self) -> tuple[trio.abc.Stream, trio.SocketStream]:
        """A connection, and the socket under it. Raises OriginError `origin_unreachable`."""
        with trio.move_on_after(self._timeout) as scope:
            return await self._dial()
        assert scope.cancelled_caught
        raise OriginError("origin_unreachable", f"{self.where.host} could not be connected to within {self._timeout:g} s")

    async def _dial(self) -> tuple[trio.abc.Stream, trio.SocketStream]:
        where = self.where
        plain = await self._connect(self._admitted(await addresses_of(where.host, where.port)))
        if not where.secure:
            return plain, plain
        try:
            return await self._tls.secure(plain, self._name or where.host), plain
        except NovaError as error:
            raise OriginError("origin_unreachable", f"TLS with {where.host} failed: {error.detail}") from error

    def _admitted(self, found: Sequence[str]) -> list[str]:
        admitted = public_only(found) if self._guard is None else self._guard.admit(found)
        if found and not admitted:
            raise OriginError("origin_unreachable", f"the addresses of {self.where.host} are not of the kind that they may be")
        return admitted[:ADDRESSES]

    async def _connect(self, addresses: Sequence[str]) -> trio.SocketStream:
        """To the first address that takes it; a silent one leaves the others their share of the time."""
        failure: OSError | None = None
        for at, address in enumerate(addresses):
            left = max(0.0, trio.current_effective_deadline() - trio.current_time())
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            sock = trio.socket.socket(family, socket.SOCK_STREAM)
            try:
                with trio.move_on_after(left / (len(addresses) - at)):
                    await sock.connect((address, self.where.port))
                    return trio.SocketStream(sock)
            except OSError as error:
                failure = error
            except BaseException:
                sock.close()
                raise
            sock.close()
        said = "no address answered in time" if failure is None else failure.strerror or type(failure).__name__
        raise OriginError("origin_unreachable", f"{self.where.host} cannot be connected to: {said}") from failure


async def addresses_of(host: str, port: int) -> list[str]:
    """Every address of a name, in the system's order. Raises OriginError."""
    try:
        found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        raise OriginError("origin_unreachable", f"the name {host} has no address") from None
    return list(dict.fromkeys(str(each[4][0]) for each in found))
