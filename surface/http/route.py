"""The route table's rows: what a route takes, gives and needs. The application, the OpenAPI document, docs/api.md and
the tests are made from them.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from nova.core.errors import BadRequest, FieldError
from nova.surface.http.schema import Shape

if TYPE_CHECKING:
    from nova.surface.http.call import Call

Json = Any
Headers = tuple[tuple[str, str], ...]
BodyKind = Literal["none", "json", "patch", "form", "stream"]  # stream: the handler reads it as it comes (bodies.Incoming)
# open: anyone, a credential is optional. user: any credential. secret: the handler checks a secret of its own, and no
# credential is looked at. A scope asks for a credential with that scope.
Access = Literal["open", "user", "secret"]
Stream = Callable[[Callable[[bytes], Awaitable[None]]], Awaitable[None]]  # gets what sends a piece

LIMIT_DEFAULT: Final = 50
LIMIT_MAX: Final = 200


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: a JSON value, or bytes with their own `content_type`; body None: no body.

    stream: writes the body piece by piece, for as long as the client stays. closed: called when that has ended, or never began.
    """

    status: int = 200
    body: Json = None
    headers: Headers = ()
    content_type: str = "application/json"
    stream: Stream | None = None
    closed: Callable[[], None] | None = None


Handler = Callable[["Call"], Awaitable[Reply]]


@dataclass(frozen=True, slots=True)
class Query:
    """A query parameter: how its text is read (raises ValueError with what is wanted), and its schema."""

    read: Callable[[str], Json]
    schema: dict[str, Json]
    default: Json = None
    doc: str = ""


@dataclass(frozen=True, slots=True)
class Route:
    """One method of one path.

    path: a template; `{name}` is one segment, `{name:path}` all the rest.
    name: unique; the operationId, and the label of the route in metrics and log.
    answers: status to shape; None: no body.
    errors: codes of the error table that belong to this route, beside those that every route may give.
    idempotent: an Idempotency-Key is honoured (writes only). asks: headers that are part of what is asked then.
    form_field: a stream that comes as a form is the content of this field, for the handler and for what makes two requests the same.
    secret: the answer shows something that is not shown again; the description says so.
    query_token: `?access_token=` counts, for clients that can not set headers (SSE, WebSocket).
    """

    method: str
    path: str
    name: str
    handler: Handler = field(repr=False)
    summary: str
    tag: str
    access: Access = "open"
    scope: str = ""
    body: Shape | None = None
    kind: BodyKind = "none"
    query: Mapping[str, Query] = field(default_factory=dict)
    answers: Mapping[int, Shape | None] = field(default_factory=dict)
    errors: tuple[str, ...] = ()
    idempotent: bool = False
    asks: tuple[str, ...] = ()
    form_field: str = ""
    secret: bool = False
    query_token: bool = False
    description: str = ""
    shown: bool = True  # in the OpenAPI document
    rated: bool = True  # counts for limits.api_rate

    @property
    def parameters(self) -> list[str]:
        return re.findall(r"\{([a-z_]+)(?::path)?\}", self.path)


def page_limit(text: str) -> int:
    """How many items: more than the most is the most."""
    if not text.isascii() or not text.isdigit() or int(text[:9]) < 1:
        raise ValueError("must be a whole number from 1")
    return min(int(text[:9]), LIMIT_MAX)


def one_of(*words: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in words:
            raise ValueError(f"must be one of {', '.join(words)}")
        return text

    return read


def short_text(most: int) -> Callable[[str], str]:
    def read(text: str) -> str:
        if len(text) > most or "\0" in text:
            raise ValueError(f"must have at most {most} characters")
        return text

    return read


LIMIT: Final = Query(
    page_limit,
    {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT_DEFAULT},
    LIMIT_DEFAULT,
    f"Items of a page; more than {LIMIT_MAX} is read as {LIMIT_MAX}.",
)
CURSOR: Final = Query(short_text(500), {"type": "string"}, None, "The `cursor` of the page before.")


def read_query(route: Route, found: Mapping[str, str]) -> dict[str, Json]:
    """The parameters of `route` in `found`, defaults filled in; an empty one counts as left out, others are ignored.

    Raises BadRequest with one entry per parameter at fault.
    """
    values: dict[str, Json] = {}
    errors: list[FieldError] = []
    for name, query in route.query.items():
        text = found.get(name, "")
        try:
            values[name] = query.read(text) if text else query.default
        except ValueError as error:
            errors.append(FieldError(f"?{name}", "invalid_field", str(error)))
    if errors:
        raise BadRequest(detail="A query parameter has a value that is not allowed.", fields=errors)
    return values


def page(items: list[Json], cursor: str | None) -> Reply:
    """The list envelope."""
    return Reply(body={"items": items, "cursor": cursor})


def created(location: str, body: Json) -> Reply:
    return Reply(201, body, (("Location", location),))


NO_CONTENT: Final = Reply(204)
