"""Errors that the reactor's trio half answers itself, in the shape of all others (RFC 9457)."""

from __future__ import annotations

import json
import secrets

from nova.core.errors import NovaError, problem


def refusal(error: NovaError) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Status, header fields and body of the answer."""
    correlation_id = secrets.token_hex(16)  # no application has seen the request, so nobody else has made one
    body = json.dumps(problem(error, correlation_id), separators=(",", ":")).encode()
    fields = [
        (b"content-type", b"application/problem+json"),
        (b"cache-control", b"no-store"),
        (b"access-control-allow-origin", b"*"),
        (b"x-correlation-id", correlation_id.encode()),
        (b"content-length", b"%d" % len(body)),
    ]
    if error.retry_after is not None:
        fields.append((b"retry-after", b"%d" % max(1, round(error.retry_after))))
    return error.row.status, fields, body
