"""The error tree and its table."""

import re

import pytest

from nova.core import errors
from nova.core.errors import CLASSES, TABLE, BadRequest, FieldError, Internal, NotFound, Unavailable

GRPC = {
    "INVALID_ARGUMENT", "UNAUTHENTICATED", "PERMISSION_DENIED", "NOT_FOUND", "UNIMPLEMENTED", "ALREADY_EXISTS", "ABORTED",
    "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "INTERNAL", "UNAVAILABLE", "DEADLINE_EXCEEDED",
}  # fmt: skip


@pytest.mark.parametrize("row", TABLE.values(), ids=lambda row: row.code)
def test_row_is_sound(row: errors.Row) -> None:
    assert re.fullmatch(r"[a-z][a-z_]*", row.code)
    assert TABLE[row.parent].status == row.status, "a finer code keeps the status of its class"
    assert row.parent in CLASSES
    assert 400 <= row.status < 600
    assert row.grpc in GRPC
    assert row.close == 1009 or 4000 <= row.close < 4500
    assert not row.title.endswith(".")


@pytest.mark.parametrize("kind", CLASSES.values(), ids=lambda kind: kind.__name__)
def test_every_class_has_its_row(kind: type[errors.NovaError]) -> None:
    assert kind().row.code == kind.kind


def test_codes_of_the_contract_keep_their_status() -> None:
    contract = {
        "bad_request": 400, "unauthenticated": 401, "forbidden": 403, "not_found": 404, "method_not_allowed": 405, "conflict": 409,
        "too_large": 413, "unsupported_type": 415, "unprocessable": 422, "rate_limited": 429, "internal": 500, "unavailable": 503,
        "deadline": 504, "not_yet": 501, "stream_not_live": 404, "bad_origin": 403, "users_unknown": 400,
    }  # fmt: skip
    assert {code: TABLE[code].status for code in contract} == contract


def test_code_of_another_class_is_refused() -> None:
    with pytest.raises(ValueError, match="belongs to"):
        BadRequest("stream_not_live")
    with pytest.raises(KeyError):
        NotFound("no_such_code")


def test_of_finds_the_class() -> None:
    error = errors.of("overloaded", "publishers", retry_after=2)
    assert type(error) is Unavailable
    assert (error.code, error.retry_after) == ("overloaded", 2)


def test_problem_is_what_rfc_9457_says() -> None:
    error = NotFound("stream_not_live", "The stream ended.")
    assert errors.problem(error, "c-1") == {
        "type": "urn:nova:problem:stream_not_live",
        "title": "The stream is not live",
        "status": 404,
        "detail": "The stream ended.",
        "code": "stream_not_live",
        "correlation_id": "c-1",
    }


def test_problem_lists_fields() -> None:
    error = BadRequest("invalid_field", fields=[FieldError("/title", "missing_field", "A title is needed.")])
    body = errors.problem(error, "c-1")
    assert body["errors"] == [{"pointer": "/title", "code": "missing_field", "detail": "A title is needed."}]
    assert body["detail"] == "A field has a value that is not allowed."


def test_problem_of_a_bug_keeps_its_text_to_us() -> None:
    body = errors.problem(Internal(detail="table users is locked"), "c-1")
    assert "users" not in str(body)
