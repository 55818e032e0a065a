"""An error of ours as google.rpc.Status with its details, packed by hand: three small messages do not need a library.

Source: google/rpc/status.proto, google/rpc/error_details.proto; the tests read it back with grpcio-status.
"""

from __future__ import annotations

from typing import Final

from nova.core.errors import NovaError

DOMAIN: Final = "nova"
DETAILS_KEY: Final = "grpc-status-details-bin"
_TYPE: Final = "type.googleapis.com/google.rpc."

# google.rpc.Code, by the names that the error table has.
CODES: Final = {
    "CANCELLED": 1, "UNKNOWN": 2, "INVALID_ARGUMENT": 3, "DEADLINE_EXCEEDED": 4, "NOT_FOUND": 5, "ALREADY_EXISTS": 6,
    "PERMISSION_DENIED": 7, "RESOURCE_EXHAUSTED": 8, "FAILED_PRECONDITION": 9, "ABORTED": 10, "OUT_OF_RANGE": 11,
    "UNIMPLEMENTED": 12, "INTERNAL": 13, "UNAVAILABLE": 14, "DATA_LOSS": 15, "UNAUTHENTICATED": 16,
}  # fmt: skip


def message_of(error: NovaError) -> str:
    """What a caller may read: an internal error's own text is for our log."""
    return f"{error.row.title}." if error.kind == "internal" or not error.detail else error.detail


def pack(error: NovaError, correlation_id: str) -> bytes:
    """google.rpc.Status with ErrorInfo, and RetryInfo and BadRequest where the error has them."""
    metadata = _text(1, "correlation_id") + _text(2, correlation_id)
    details = [("ErrorInfo", _text(1, error.code) + _text(2, DOMAIN) + _bytes(3, metadata))]
    if error.retry_after is not None:
        seconds = int(error.retry_after)
        nanos = int((error.retry_after - seconds) * 1e9)
        details.append(("RetryInfo", _bytes(1, _number(1, seconds) + _number(2, nanos))))
    if error.fields:
        # Field paths of google.rpc.BadRequest are dotted, ours are JSON pointers.
        violations = (
            _text(1, field.pointer.lstrip("/?").replace("/", ".")) + _text(2, field.detail) + _text(3, field.code) for field in error.fields
        )
        details.append(("BadRequest", b"".join(_bytes(1, violation) for violation in violations)))
    packed = b"".join(_bytes(3, _text(1, _TYPE + name) + _bytes(2, value)) for name, value in details)
    return _number(1, CODES[error.row.grpc]) + _text(2, message_of(error)) + packed


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value) if value else b""


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _text(field: int, value: str) -> bytes:
    return _bytes(field, value.encode())
