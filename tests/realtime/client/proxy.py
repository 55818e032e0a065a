"""Between a client and the server: passes bytes on and cuts the connection after so many of them, as a bad network does."""

from __future__ import annotations

import trio


class Proxy:
    """cuts: for each connection in turn, the bytes that it may carry in both directions together; the last one holds for all later ones,
    None: no limit."""

    def __init__(self, target: tuple[str, int], cuts: list[int | None]) -> None:
        self._target, self._cuts = target, cuts
        self.connections = 0
        self.carried: list[int] = []  # bytes of each connection
        self.port = 0
        self._scopes: set[trio.CancelScope] = set()

    def limit(self, *cuts: int | None) -> None:
        """As `cuts` of the constructor, for connections from now on."""
        self._cuts = [None] * self.connections + list(cuts)

    def cut(self) -> None:
        """Cut every connection now."""
        for scope in self._scopes:
            scope.cancel()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.port = listeners[0].socket.getsockname()[1]
        task_status.started()
        await trio.serve_listeners(self._serve, listeners)

    async def _serve(self, client: trio.SocketStream) -> None:
        number = self.connections
        self.connections += 1
        self.carried.append(0)
        limit = self._cuts[min(number, len(self._cuts) - 1)]
        async with client:
            try:
                server = await trio.open_tcp_stream(*self._target)
            except OSError:
                return
            async with server:
                with trio.CancelScope() as scope:
                    self._scopes.add(scope)
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(self._carry, client, server, number, limit, scope)
                        nursery.start_soon(self._carry, server, client, number, limit, scope)
                self._scopes.discard(scope)

    async def _carry(self, come: trio.SocketStream, go: trio.SocketStream, number: int, limit: int | None, scope: trio.CancelScope) -> None:
        try:
            async for data in come:
                left = len(data) if limit is None else max(0, limit - self.carried[number])
                self.carried[number] += len(data)
                await go.send_all(data[:left])
                if left < len(data):
                    break
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        scope.cancel()
