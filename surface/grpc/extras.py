"""Health and reflection, as grpc's own libraries serve them; loaded when first asked for."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any, Final

from nova.surface.grpc.library import grpc
from nova.surface.grpc.services import SERVICES

HEALTH: Final = "grpc.health.v1.Health"
REFLECTION: Final = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")


class _Collector:
    """Takes the place of a server when generated code registers its handlers."""

    def __init__(self) -> None:
        self.handlers: dict[str, grpc.RpcMethodHandler] = {}

    def add_generic_rpc_handlers(self, handlers: Any) -> None:
        """The same ones as below, packed."""

    def add_registered_method_handlers(self, service: str, handlers: dict[str, grpc.RpcMethodHandler]) -> None:
        self.handlers.update(handlers)


class Extras:
    """reflections: streams of reflection at once; each holds a thread for as long as its client likes."""

    def __init__(self, reflections: int) -> None:
        self._lock = threading.Lock()
        self._serving = False
        self._health: Any = None
        self._health_handlers: dict[str, grpc.RpcMethodHandler] = {}
        self._reflection_handlers: dict[str, grpc.RpcMethodHandler] = {}
        self._free = threading.BoundedSemaphore(reflections)

    def set_serving(self, serving: bool) -> None:
        with self._lock:
            self._serving = serving
            self._tell()

    def find(self, method: str) -> grpc.RpcMethodHandler | None:
        """The handler of a full method; None: not one of these."""
        _, service, name = method.split("/", 2) if method.count("/") == 2 else ("", "", "")
        if service != HEALTH and service not in REFLECTION:
            return None
        with self._lock:
            if service == HEALTH:
                return self._load_health().get(name)
            return self._load_reflection().get(name)

    def _load_health(self) -> dict[str, grpc.RpcMethodHandler]:
        if self._health is None:
            from grpc_health.v1 import health, health_pb2_grpc

            self._health = health.HealthServicer(experimental_non_blocking=True)  # Watch holds no thread then
            self._tell()
            collector = _Collector()
            health_pb2_grpc.add_HealthServicer_to_server(self._health, collector)
            self._health_handlers = collector.handlers
        return self._health_handlers

    def _tell(self) -> None:
        if self._health is not None:
            from grpc_health.v1 import health_pb2

            status = health_pb2.HealthCheckResponse.SERVING if self._serving else health_pb2.HealthCheckResponse.NOT_SERVING
            for name in ("", *(service.full_name for service in SERVICES)):
                self._health.set(name, status)

    def _load_reflection(self) -> dict[str, grpc.RpcMethodHandler]:
        if not self._reflection_handlers:
            from grpc_health.v1 import health_pb2  # noqa: F401 - its descriptors
            from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

            names = [service.module.DESCRIPTOR.services_by_name[service.name].full_name for service in SERVICES]
            collector = _Collector()
            servicer = reflection.ReflectionServicer([*names, HEALTH, REFLECTION[1]])
            reflection_pb2_grpc.add_ServerReflectionServicer_to_server(servicer, collector)
            # v1 has the messages of v1alpha under another name.
            self._reflection_handlers = {name: self._bounded(handler) for name, handler in collector.handlers.items()}
        return self._reflection_handlers

    def _bounded(self, handler: grpc.RpcMethodHandler) -> grpc.RpcMethodHandler:
        def serve(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
            if not self._free.acquire(blocking=False):
                context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "Too many streams of reflection are open.")
            try:
                yield from handler.stream_stream(requests, context)
            finally:
                self._free.release()

        return grpc.stream_stream_rpc_method_handler(serve, handler.request_deserializer, handler.response_serializer)
