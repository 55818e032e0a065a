"""Health, readiness, metrics, and the description of the API."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from nova.core.metrics import Metrics
from nova.surface.http.call import Call
from nova.surface.http.route import Reply, Route
from nova.surface.http.schema import Anything, Boolean, Choice, Object, Text, required
from nova.surface.identity.principal import require

Checks = Callable[[], Awaitable[Mapping[str, tuple[bool, str]]]]  # name to (ok, detail)

HEALTH = Object({"status": required(Choice(["ok"]))}, "Health", open=True)
CHECK = Object({"ok": required(Boolean()), "detail": required(Text(500))}, "Check")
READY = Object(
    {"status": required(Choice(["ready", "not_ready"])), "checks": required(Object({}, doc="Name to Check.", open=True))},
    "Readiness",
    open=True,
)


@dataclass(frozen=True, slots=True)
class SystemRoutes:
    """checks: what `/readyz` asks. open_metrics: http listens on loopback only, so whoever reaches it may read them.

    describe: the OpenAPI document and the page `/docs`, made once all routes are known.
    """

    checks: Checks
    metrics: Metrics
    open_metrics: Callable[[], bool]
    describe: Callable[[], tuple[bytes, bytes]]

    def table(self) -> list[Route]:
        return [
            Route("GET", "/healthz", "healthz", self.healthz, "Is the process alive?", "system", "secret", answers={200: HEALTH}),
            Route("GET", "/readyz", "readyz", self.readyz, "Should it get traffic?", "system", "secret", answers={200: READY, 503: READY}),
            Route("GET", "/metrics", "metrics", self.scrape, "Metrics for Prometheus", "system", answers={200: None},
                  errors=("missing_scope",),
                  description="Open while http listens on loopback, else it needs the scope `metrics:read`."),
            Route("GET", "/openapi.json", "openapi", self.openapi, "This document", "system", "secret", answers={200: Anything()}),
            Route("GET", "/docs", "docs", self.docs, "This document as a page", "system", "secret", answers={200: None}),
        ]  # fmt: skip

    async def healthz(self, call: Call) -> Reply:
        return Reply(body={"status": "ok"}, headers=(("Cache-Control", "no-store"),))

    async def readyz(self, call: Call) -> Reply:
        checks = await self.checks()
        ready = all(ok for ok, _ in checks.values())
        body = {
            "status": "ready" if ready else "not_ready",
            "checks": {name: {"ok": ok, "detail": detail} for name, (ok, detail) in checks.items()},
        }
        return Reply(200 if ready else 503, body, (("Cache-Control", "no-store"),))

    async def scrape(self, call: Call) -> Reply:
        if not self.open_metrics():
            require(call.principal, "metrics:read")
        content_type, body = self.metrics.expose(call.headers.get("Accept", ""))
        return Reply(200, body, (("Cache-Control", "no-store"),), content_type)

    async def openapi(self, call: Call) -> Reply:
        return Reply(200, self.describe()[0], (("Cache-Control", "no-cache"),), "application/json")

    async def docs(self, call: Call) -> Reply:
        return Reply(200, self.describe()[1], (("Cache-Control", "no-cache"),), "text/html; charset=utf-8")
