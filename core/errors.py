"""The error tree and its table: one row per code says how HTTP, gRPC and WebSocket tell it.

Shape: `raise NotFound("stream_not_live", "…")`. A finer code is a new row under the class it refines; codes are added,
never renamed. `docs/errors.md` and the metric label `code` are made from this table.

Sources: RFC 9457 (problem details), google.rpc.Code names, RFC 6455 section 7.4 (close codes).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final, NamedTuple


class Row(NamedTuple):
    """How one error code looks on each wire."""

    code: str
    parent: str  # the code of the class that raises it; its own code for the class itself
    status: int  # HTTP status
    grpc: str  # name of the gRPC status
    close: int  # WebSocket close code, when the error ends the connection: 40xx come back, 42xx new token, 43xx stay away
    title: str  # the same for every occurrence (RFC 9457 section 3.1.3)


def _rows(*rows: tuple[str, str, int, str, int, str]) -> dict[str, Row]:
    return {row[0]: Row(*row) for row in rows}


# fmt: off
TABLE: Final[dict[str, Row]] = _rows(
    # code                      class                 HTTP gRPC                   close  title
    ("bad_request",             "bad_request",        400, "INVALID_ARGUMENT",    4300, "The request is malformed"),
    ("unknown_field",           "bad_request",        400, "INVALID_ARGUMENT",    4300, "The request has a field that is not known"),
    ("invalid_field",           "bad_request",        400, "INVALID_ARGUMENT",    4300, "A field has a value that is not allowed"),
    ("missing_field",           "bad_request",        400, "INVALID_ARGUMENT",    4300, "A required field is missing"),
    ("unknown_command",         "bad_request",        400, "INVALID_ARGUMENT",    4300, "The command is not known"),
    ("too_deep",                "bad_request",        400, "INVALID_ARGUMENT",    4300, "The data nests too deep"),
    ("bad_cursor",              "bad_request",        400, "INVALID_ARGUMENT",    4300, "The cursor is not one of ours"),
    ("bad_options",             "bad_request",        400, "INVALID_ARGUMENT",    4300, "The image options are not valid"),
    ("users_unknown",           "bad_request",        400, "INVALID_ARGUMENT",    4300, "One or more users do not exist"),
    ("unauthenticated",         "unauthenticated",    401, "UNAUTHENTICATED",     4200, "Credentials are missing or not valid"),
    ("bad_token",               "unauthenticated",    401, "UNAUTHENTICATED",     4201, "The token is not valid"),
    ("token_expired",           "unauthenticated",    401, "UNAUTHENTICATED",     4202, "The token has expired"),
    ("token_revoked",           "unauthenticated",    401, "UNAUTHENTICATED",     4203, "The token was revoked"),
    ("bad_sign_in_code",        "unauthenticated",    401, "UNAUTHENTICATED",     4204, "The sign-in code is not valid any more"),
    ("forbidden",               "forbidden",          403, "PERMISSION_DENIED",   4301, "This is not allowed"),
    ("bad_origin",              "forbidden",          403, "PERMISSION_DENIED",   4302, "Requests from this origin are not allowed"),
    ("missing_scope",           "forbidden",          403, "PERMISSION_DENIED",   4303, "The token lacks the scope that this needs"),
    ("guests_forbidden",        "forbidden",          403, "PERMISSION_DENIED",   4304, "Guests are not admitted"),
    ("bad_signature",           "forbidden",          403, "PERMISSION_DENIED",   4301, "The signature or token of the address is not good"),
    ("bad_stream_key",          "forbidden",          403, "PERMISSION_DENIED",   4305, "The stream key is not valid"),
    ("banned",                  "forbidden",          403, "PERMISSION_DENIED",   4301, "The user is banned from this chat"),
    ("chat_disabled",           "forbidden",          403, "PERMISSION_DENIED",   4301, "The chat of this stream is switched off"),
    ("url_expired",             "forbidden",          403, "PERMISSION_DENIED",   4301, "The URL has expired"),
    ("source_forbidden",        "forbidden",          403, "PERMISSION_DENIED",   4301, "Images of this source are not served"),
    ("not_found",               "not_found",          404, "NOT_FOUND",           4306, "There is nothing here"),
    ("stream_not_live",         "not_found",          404, "NOT_FOUND",           4306, "The stream is not live"),
    ("method_not_allowed",      "method_not_allowed", 405, "UNIMPLEMENTED",       4307, "The method is not allowed here"),
    ("request_timeout",         "request_timeout",    408, "DEADLINE_EXCEEDED",   4004, "The request did not arrive in time"),
    ("conflict",                "conflict",           409, "ALREADY_EXISTS",      4308, "This conflicts with what exists"),
    ("id_in_use",               "conflict",           409, "ABORTED",             4308, "Another command with this id is not answered yet"),
    ("request_in_progress",     "conflict",           409, "ABORTED",             4308, "The same request is being worked on"),
    ("upload_offset",           "conflict",           409, "ABORTED",             4308, "The upload continues at another offset"),
    ("precondition_failed",     "precondition_failed", 412, "FAILED_PRECONDITION", 4308, "A precondition does not hold"),
    ("too_large",               "too_large",          413, "RESOURCE_EXHAUSTED",  1009, "The request is too large"),
    ("image_too_large",         "too_large",          413, "RESOURCE_EXHAUSTED",  1009, "The image is above a limit"),
    ("target_too_long",         "target_too_long",    414, "RESOURCE_EXHAUSTED",  1009, "The request target is too long"),
    ("unsupported_type",        "unsupported_type",   415, "INVALID_ARGUMENT",    4309, "The media type is not supported"),
    ("unsupported_image",       "unsupported_type",   415, "INVALID_ARGUMENT",    4309, "The bytes are no image that is read here"),
    ("expectation_failed",      "expectation_failed", 417, "FAILED_PRECONDITION", 4310, "The expectation is not known"),
    ("unprocessable",           "unprocessable",      422, "FAILED_PRECONDITION", 4310, "The request cannot be carried out as it is"),
    ("bad_settings",            "unprocessable",      422, "FAILED_PRECONDITION", 4310, "The settings make no sense"),
    ("idempotency_mismatch",    "unprocessable",      422, "FAILED_PRECONDITION", 4310, "The idempotency key was used for another request"),
    ("bad_image",               "unprocessable",      422, "FAILED_PRECONDITION", 4310, "The image cannot be decoded"),
    ("image_too_costly",        "unprocessable",      422, "FAILED_PRECONDITION", 4310, "The image takes more than it may"),
    ("malware",                 "unprocessable",      422, "FAILED_PRECONDITION", 4310, "The content was refused by the scanner"),
    ("digest_mismatch",         "unprocessable",      422, "FAILED_PRECONDITION", 4310, "The content does not match its digest"),
    ("text_refused",            "unprocessable",      422, "FAILED_PRECONDITION", 4310, "The text has words that are not wanted here"),
    ("checksum_mismatch",       "checksum_mismatch",  460, "FAILED_PRECONDITION", 4310, "The bytes do not match their checksum"),
    ("upgrade_required",        "upgrade_required",   426, "FAILED_PRECONDITION", 4310, "This protocol is spoken in another version here"),
    ("rate_limited",            "rate_limited",       429, "RESOURCE_EXHAUSTED",  4003, "Too many requests"),
    ("slow_mode",               "rate_limited",       429, "RESOURCE_EXHAUSTED",  4003, "The chat is in slow mode"),
    ("quota_exceeded",          "rate_limited",       429, "RESOURCE_EXHAUSTED",  4003, "A limit on how many of these may exist is reached"),
    ("head_too_large",          "head_too_large",     431, "RESOURCE_EXHAUSTED",  1009, "The request head is too large"),
    ("internal",                "internal",           500, "INTERNAL",            4000, "The server failed"),
    ("not_yet",                 "not_yet",            501, "UNIMPLEMENTED",       4311, "This is not available yet"),
    ("unknown_coding",          "not_yet",            501, "UNIMPLEMENTED",       4311, "The transfer coding is not known"),
    ("origin_unreachable",      "bad_gateway",        502, "UNAVAILABLE",         4001, "No origin could be reached"),
    ("origin_broken",           "bad_gateway",        502, "UNAVAILABLE",         4001, "The origin's answer is broken"),
    ("bad_gateway",             "bad_gateway",        502, "UNAVAILABLE",         4001, "What stands behind this server failed"),
    ("loop",                    "bad_gateway",        502, "FAILED_PRECONDITION", 4310, "The request has come back to where it was"),
    ("unavailable",             "unavailable",        503, "UNAVAILABLE",         4001, "The service is not available now"),
    ("node_unavailable",        "unavailable",        503, "UNAVAILABLE",         4001, "The node that keeps this does not answer"),
    ("overloaded",              "unavailable",        503, "UNAVAILABLE",         4001, "The server is at its limit"),
    ("storage_full",            "unavailable",        503, "UNAVAILABLE",         4001, "The server's storage is full"),
    ("origin_busy",             "unavailable",        503, "UNAVAILABLE",         4001, "Too many requests wait for the origin"),
    ("storage_failed",          "unavailable",        503, "UNAVAILABLE",         4001, "The server's storage failed"),
    ("shutting_down",           "unavailable",        503, "UNAVAILABLE",         4002, "The server is shutting down"),
    ("deadline",                "deadline",           504, "DEADLINE_EXCEEDED",   4004, "The work took too long"),
    ("origin_timeout",          "deadline",           504, "DEADLINE_EXCEEDED",   4004, "The origin did not answer in time"),
    ("not_in_cache",            "deadline",           504, "NOT_FOUND",           4306, "Only a stored answer was asked for, and there is none"),
    ("unknown_version",         "unknown_version",    505, "UNIMPLEMENTED",       4311, "This version of HTTP is not spoken here"),
)
# fmt: on


class FieldError(NamedTuple):
    """What is wrong with one field of a request.

    pointer: JSON Pointer (RFC 6901) into the body, e.g. `/title`; for a query parameter `?limit`.
    """

    pointer: str
    code: str
    detail: str

    def as_dict(self) -> dict[str, str]:
        return {"pointer": self.pointer, "code": self.code, "detail": self.detail}


class NovaError(Exception):
    """Root of the tree.

    code: a row of TABLE under this class; the class's own code when left out.
    detail: facts for the caller about this occurrence; never content, keys or tokens.
    retry_after: seconds after which another try makes sense; None: what the class says (`patience`).
    fields: one entry per field at fault.
    """

    code: str = "internal"
    kind: ClassVar[str] = "internal"
    patience: ClassVar[float | None] = None

    def __init__(
        self,
        code: str | None = None,
        detail: str = "",
        *,
        retry_after: float | None = None,
        fields: Sequence[FieldError] = (),
    ) -> None:
        self.code = type(self).code if code is None else code
        row = TABLE[self.code]
        if row.parent != self.kind and type(self) is not NovaError:
            raise ValueError(f"code {self.code!r} belongs to {row.parent!r}, not to {type(self).__name__}")
        self.detail = detail
        self.retry_after = self.patience if retry_after is None else retry_after
        self.fields = tuple(fields)
        super().__init__(f"{self.code}: {detail}" if detail else self.code)

    @property
    def row(self) -> Row:
        return TABLE[self.code]


class BadRequest(NovaError):
    """The caller sent something that can never work."""

    code = kind = "bad_request"


class Unauthenticated(NovaError):
    """No credential, or one that does not hold."""

    code = kind = "unauthenticated"


class Forbidden(NovaError):
    """The caller is known and may not."""

    code = kind = "forbidden"


class NotFound(NovaError):
    """Nothing here, or nothing that this caller may know of."""

    code = kind = "not_found"


class MethodNotAllowed(NovaError):
    """The path exists, the method does not."""

    code = kind = "method_not_allowed"


class Conflict(NovaError):
    """The state of the thing forbids it now."""

    code = kind = "conflict"


class RequestTimeout(NovaError):
    """The request itself came too slowly."""

    code = kind = "request_timeout"


class TargetTooLong(NovaError):
    """A request target above its limit."""

    code = kind = "target_too_long"


class ExpectationFailed(NovaError):
    """An `Expect` that is not known here."""

    code = kind = "expectation_failed"


class UpgradeRequired(NovaError):
    """A protocol that is spoken here in another version."""

    code = kind = "upgrade_required"


class HeadTooLarge(NovaError):
    """A request head above its limit."""

    code = kind = "head_too_large"


class UnknownVersion(NovaError):
    """A version of HTTP that is not spoken here."""

    code = kind = "unknown_version"


class PreconditionFailed(NovaError):
    """The thing is not in the state that the request names (If-Match, If-Unmodified-Since)."""

    code = kind = "precondition_failed"


class TooLarge(NovaError):
    """A body, message or frame above its limit."""

    code = kind = "too_large"


class UnsupportedType(NovaError):
    """A media type that is not read here."""

    code = kind = "unsupported_type"


class Unprocessable(NovaError):
    """Well formed, and still not possible."""

    code = kind = "unprocessable"


class ChecksumMismatch(NovaError):
    """The bytes of an upload are not those that their checksum announced (tus 1.0.0, checksum extension)."""

    code = kind = "checksum_mismatch"


class RateLimited(NovaError):
    """Above a rate or a count; carries `retry_after`."""

    code = kind = "rate_limited"
    patience = 1.0


class Internal(NovaError):
    """A bug of ours. Its detail stays in the log."""

    code = kind = "internal"


class NotYet(NovaError):
    """Part of the contract that this version does not serve."""

    code = kind = "not_yet"


class BadGateway(NovaError):
    """What stands behind us failed, or answered what is no answer."""

    code = kind = "bad_gateway"


class Unavailable(NovaError):
    """Something that we need is down or full; carries `retry_after`."""

    code = kind = "unavailable"
    patience = 1.0


class Deadline(NovaError):
    """The time for this work is over."""

    code = kind = "deadline"


CLASSES: Final[dict[str, type[NovaError]]] = {
    kind.kind: kind
    for kind in (
        BadRequest, Unauthenticated, Forbidden, NotFound, MethodNotAllowed, RequestTimeout, Conflict, PreconditionFailed, TooLarge,
        TargetTooLong, UnsupportedType, ExpectationFailed, Unprocessable, UpgradeRequired, ChecksumMismatch, RateLimited, HeadTooLarge,
        Internal, NotYet, BadGateway, Unavailable, Deadline, UnknownVersion,
    )
}  # fmt: skip


def of(code: str, detail: str = "", *, retry_after: float | None = None, fields: Sequence[FieldError] = ()) -> NovaError:
    """The error of `code`, in the class that its row names. Raises KeyError: no such row."""
    return CLASSES[TABLE[code].parent](code, detail, retry_after=retry_after, fields=fields)


def type_uri(code: str) -> str:
    """The `type` member of a problem: a name, not an address; `docs/errors.md` explains each."""
    return f"urn:nova:problem:{code}"


def problem(error: NovaError, correlation_id: str) -> dict[str, object]:
    """`error` as a problem details object (RFC 9457 section 3), ready for JSON."""
    row = error.row
    # An internal error's text was written for us: it may name tables, files or peers.
    detail = "" if error.kind == "internal" else error.detail
    body: dict[str, object] = {
        "type": type_uri(row.code),
        "title": row.title,
        "status": row.status,
        "detail": detail or f"{row.title}.",
        "code": row.code,
        "correlation_id": correlation_id,
    }
    if error.fields:
        body["errors"] = [field.as_dict() for field in error.fields]
    return body
