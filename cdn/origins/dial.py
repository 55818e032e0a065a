"""Connections to origins: a name's addresses, looked up and checked, connected to in turn, under TLS where the URL says so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import trio

from nova.cdn.errors import OriginError
from nova.cdn.origins.addresses import Guard, public_only
from nova.cdn.origins.ask import Where
from nova.cdn.origins.names import PATIENCE, Lookup, Names, addresses_of
from nova.cdn.origins.wire import Call, Wire
from nova.core.errors import NovaError
from nova.core.limits import parse_address
from nova.core.tls.client import ClientTls

ADDRESSES: Final = 8  # of one name that are tried


class Dialer:
    """Opens connections to one origin. Its guard remembers what kind of addresses it had.

    tls: for https. name: the certificate's, when it is not the host of the URL. public: only public addresses. keep: seconds for which
    the addresses of a name are used before it is looked up again.
    """

    def __init__(
        self, where: Where, *, timeout: float, tls: ClientTls, name: str | None = None, public: bool = False, keep: float,
        lookup: Lookup = addresses_of,
    ) -> None:  # fmt: skip
        self.where = where
        self._timeout, self._tls, self._name = timeout, tls, name
        literal = parse_address(where.host) is not None
        self._guard = None if public else Guard(literal=literal)
        self._names = None  # nothing is to be looked up, nothing to be checked
        if public or not literal:
            self._names = Names(where.host, where.port, self._admitted, keep=keep, patience=timeout * PATIENCE, lookup=lookup)

    @property
    def first(self) -> str | None:
        """The address that the next connection tries first, None: it is to be looked up."""
        return self.where.host if self._names is None else self._names.best

    async def dial(self) -> tuple[trio.abc.Stream, Wire]:
        """A connection, and the socket under it. Raises OriginError `origin_unreachable`."""
        call, address = None, self.first
        if address is not None:
            try:
                call = self._call(address)
            except OriginError:
                if self._names is None:
                    raise
                self._names.failed(address)
            if call is not None and call.there and not self.where.secure:
                wire = call.wire()
                return wire, wire
        with trio.move_on_after(self._timeout) as scope:
            return await self._dial(call)
        assert scope.cancelled_caught
        raise OriginError("origin_unreachable", f"{self.where.host} could not be connected to within {self._timeout:g} s")

    async def _dial(self, call: Call | None) -> tuple[trio.abc.Stream, Wire]:
        """call: to the first address, when it is on its way already."""
        where = self.where
        try:
            addresses = [where.host] if self._names is None else await self._names.addresses()
        except BaseException:
            if call is not None:
                call.give_up()
            raise
        wire = await self._connect(addresses, call)
        if not where.secure:
            return wire, wire
        try:
            return await self._tls.secure(wire, self._name or where.host), wire
        except NovaError as error:
            raise OriginError("origin_unreachable", f"TLS with {where.host} failed: {error.detail}") from error

    def _admitted(self, found: Sequence[str]) -> list[str]:
        admitted = public_only(found) if self._guard is None else self._guard.admit(found)
        if found and not admitted:
            raise OriginError("origin_unreachable", f"the addresses of {self.where.host} are not of the kind that they may be")
        return admitted[:ADDRESSES]

    def _call(self, address: str) -> Call:
        try:
            return Call(address, self.where.port)
        except OSError as error:
            raise self._unreachable(error) from error

    async def _made(self, call: Call) -> Wire:
        try:
            await call.wait()
        except OSError as error:
            call.give_up()
            raise self._unreachable(error) from error
        except BaseException:
            call.give_up()
            raise
        return call.wire()

    async def _connect(self, addresses: Sequence[str], call: Call | None) -> Wire:
        """To the first address that takes it; a silent one leaves the others their share of the time."""
        failure: OriginError | None = None
        for at, address in enumerate(addresses):
            left = max(0.0, trio.current_effective_deadline() - trio.current_time())
            try:
                with trio.move_on_after(left / (len(addresses) - at)):
                    begun, call = call or self._call(address), None
                    return await self._made(begun)
            except OriginError as error:
                failure = error
            if self._names is not None:
                self._names.failed(address)
        if self._names is not None:
            self._names.lost()
        raise failure or self._unreachable(None)

    def _unreachable(self, error: OSError | None) -> OriginError:
        said = "no address answered in time" if error is None else error.strerror or type(error).__name__
        return OriginError("origin_unreachable", f"{self.where.host} cannot be connected to: {said}")
