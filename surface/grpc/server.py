"""The gRPC listener: grpcio's sync server on a bounded pool of threads.

Our calls go to trio over the bridge; health, reflection and what is not served yet are answered by the threads themselves.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import trio

from nova.core import awake, errors
from nova.core.lifecycle import cleanup
from nova.core.log import Log
from nova.core.offload import NETWORK, Offload
from nova.core.values import Address
from nova.surface.grpc.bridge import Bridge, Errand
from nova.surface.grpc.call import CORRELATION, Admit, Call, Handler, Handlers
from nova.surface.grpc.extras import Extras
from nova.surface.grpc.library import grpc
from nova.surface.grpc.services import METHODS, Service
from nova.surface.grpc.status import DETAILS_KEY, message_of, pack
from nova.surface.grpc.tls import Certificates, Tls
from nova.surface.identity.principal import acting
from nova.surface.listeners import refusal

WAITING_PER_THREAD: Final = 16  # calls that may wait for a thread; a burst is served, a flood refused (RESOURCE_EXHAUSTED)
METADATA_BYTES: Final = 16 * 1024  # of a call; a token has one or two KiB
STREAMS_PER_CONNECTION: Final = 128
DRAIN_LONGEST: Final = 3600.0  # seconds; the lifecycle ends the drain when the grace time is over

Observe = Callable[[str, str, float], None]  # method of the table, gRPC code, seconds


@dataclass(frozen=True, slots=True)
class Config:
    """Settings of section `grpc`."""

    listen: Address
    tls: Tls | None
    insecure: bool
    max_message: int
    threads: int


def _unobserved(method: str, code: str, seconds: float) -> None:
    """Nobody measures."""


class GrpcServer:
    """A listener. `run` is its task, `drain` and `set_serving` are for the lifecycle.

    handlers: by full method; methods of the table without one answer `not_yet`. admit: who asks.
    observe: called in gRPC's threads.
    """

    def __init__(self, config: Config, handlers: Handlers, admit: Admit, offload: Offload, *, observe: Observe = _unobserved) -> None:
        unknown = handlers.keys() - METHODS.keys()
        if unknown:
            raise ValueError(f"not in the table of services: {sorted(unknown)}")
        self._config = config
        self._log = Log("nova.grpc")
        self._bridge = Bridge(self._log)
        self._offload = offload
        self._extras = Extras(reflections=max(1, config.threads // 4))
        self._router = _Router(handlers, admit, self._bridge, self._extras, observe)
        self._server: grpc.Server | None = None
        self.address: Address | None = None

    def set_serving(self, serving: bool) -> None:
        """What health answers for every service."""
        self._extras.set_serving(serving)

    async def run(self, *, task_status: trio.TaskStatus[Address]) -> None:
        """Listen, report the address, serve until cancelled.

        Raises Unavailable: the address cannot be had, or TLS files cannot be read; the text has the remedy.
        """
        async with trio.open_nursery() as nursery:
            await nursery.start(self._bridge.serve)
            server, address = self._make()
            try:
                server.start()
                self._server = server
                self.address = address
                task_status.started(address)
                await trio.sleep_forever()
            finally:
                self.set_serving(False)
                ended = server.stop(None)
                # Cancelled calls still pass the bridge, which ends after this.
                with cleanup():
                    await self._offload.run(NETWORK, ended.wait, abandon=True)

    async def drain(self) -> None:
        """Health says NOT_SERVING, no new calls, wait for those under way."""
        self.set_serving(False)
        if self._server is not None:
            ended = self._server.stop(DRAIN_LONGEST)
            await self._offload.run(NETWORK, ended.wait, abandon=True)

    def _make(self) -> tuple[grpc.Server, Address]:
        config = self._config
        if config.tls is None and not config.insecure and not config.listen.loopback:
            raise errors.Unavailable("unavailable", f"gRPC on {config.listen} needs mTLS: set grpc.tls.*, or grpc.insecure = true")
        server = grpc.server(
            ThreadPoolExecutor(max_workers=config.threads, thread_name_prefix="nova-grpc", initializer=awake.step_back),
            handlers=(self._router,),
            options=(
                # On by default: a second server would share the port unnoticed.
                ("grpc.so_reuseport", 0),
                ("grpc.max_receive_message_length", config.max_message),
                ("grpc.max_send_message_length", config.max_message),
                ("grpc.max_metadata_size", METADATA_BYTES),
                ("grpc.max_concurrent_streams", STREAMS_PER_CONNECTION),
            ),
            maximum_concurrent_rpcs=config.threads * (1 + WAITING_PER_THREAD),
        )
        try:
            if config.tls is None:
                port = server.add_insecure_port(str(config.listen))
            else:
                port = server.add_secure_port(str(config.listen), Certificates(config.tls, self._log).credentials())
        except RuntimeError:
            raise errors.Unavailable("unavailable", _why(config.listen)) from None
        return server, Address(config.listen.host, port)


def _why(address: Address) -> str:
    """grpc does not say why a port is not to be had; a plain socket does."""
    try:
        with socket.create_server((address.host, address.port), family=socket.AF_INET6 if ":" in address.host else socket.AF_INET):
            return f"grpc.listen: cannot listen on {address}"
    except OSError as error:
        return refusal("grpc", address, error)


class _Router(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Finds the handler of a method."""

    def __init__(self, handlers: Handlers, admit: Admit, bridge: Bridge, extras: Extras, observe: Observe) -> None:
        self._admit = admit
        self._bridge = bridge
        self._extras = extras
        self._observe = observe
        self._methods = {method: self._unary(method, *found, handlers.get(method)) for method, found in METHODS.items()}

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        return self._methods.get(details.method) or self._extras.find(details.method)

    def _unary(self, method: str, service: Service, call: str, handler: Handler | None) -> grpc.RpcMethodHandler:
        def serve(data: bytes, context: grpc.ServicerContext) -> Any:
            started = time.monotonic()
            metadata = {name: value for name, value in context.invocation_metadata() if isinstance(value, str)}
            correlation = metadata.get("x-correlation-id", "")
            if not CORRELATION.fullmatch(correlation):
                correlation = os.urandom(16).hex()
            answer, error = None, None
            try:
                if handler is None:
                    raise errors.NotYet("not_yet", f"{call} comes with a later version")
                answer = self._cross(method, handler, service.request(call, data), context, metadata, correlation)
            except errors.NovaError as failed:
                error = failed
            trailer: list[tuple[str, str | bytes]] = [("x-correlation-id", correlation)]
            if error is not None:
                trailer.append((DETAILS_KEY, pack(error, correlation)))
            context.set_trailing_metadata(tuple(trailer))
            self._observe(method, "OK" if error is None else error.row.grpc, time.monotonic() - started)
            if error is not None:
                context.abort(grpc.StatusCode[error.row.grpc], message_of(error))
            return answer

        return grpc.unary_unary_rpc_method_handler(serve, None, lambda message: message.SerializeToString())

    def _cross(
        self, method: str, handler: Handler, request: Any, context: grpc.ServicerContext, metadata: dict[str, str], correlation: str
    ) -> Any:
        """Do the call in trio and wait for it. Raises NovaError."""
        authorization = metadata.pop("authorization", "")
        for_user = metadata.get("x-nova-user", "")

        async def work() -> Any:
            principal = await self._admit(authorization)
            if for_user:
                if principal is None:
                    raise errors.Unauthenticated("unauthenticated", "x-nova-user needs a token with the scope service")
                principal = acting(principal, for_user)
            return await handler(request, Call(method, principal, correlation, context.peer(), metadata))

        errand = Errand(work, context.time_remaining(), correlation)
        if not context.add_callback(lambda: self._bridge.cancel(errand)):
            raise errors.Deadline("deadline", "the call has ended already")
        return self._bridge.do(errand)
