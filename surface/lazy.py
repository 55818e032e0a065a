"""The application, loaded when it is first needed: its libraries take longer to import than the server may take to be ready."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import trio

App = Callable[[Any, Any, Any], Awaitable[None]]


class LazyApp:
    """An ASGI application that loads another one; requests that come before wait for it.

    load: makes it; runs in a thread, so that the sockets are served meanwhile. loaded: called after it, in the trio thread.
    """

    def __init__(self, load: Callable[[], App], loaded: Callable[[], None]) -> None:
        self._load = load
        self._tell = loaded
        self._app: App | None = None
        self._wanted = trio.Event()
        self._loaded = trio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if self._app is None:
            self._wanted.set()
            await self._loaded.wait()
            assert self._app is not None
        await self._app(scope, receive, send)

    def want(self) -> None:
        """Load it now, before the first request."""
        self._wanted.set()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Load it once it is wanted; then there is nothing to do until cancelled."""
        task_status.started()
        await self._wanted.wait()
        # A single-use limiter: the load must not wait behind other blocking calls.
        self._app = await trio.to_thread.run_sync(self._load, limiter=trio.CapacityLimiter(1))
        self._tell()
        self._loaded.set()
        await trio.sleep_forever()
