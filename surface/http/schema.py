"""Shapes of request and answer bodies: checked when they come in, and written into the OpenAPI document.

A shape is a value; `check` returns what it read, defaults filled in, and appends what is wrong to `errors` with a
JSON Pointer. Unknown members of an object are errors (the contract's rule); there is no coercion between JSON types.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from nova.core.errors import BadRequest, FieldError

Json = Any  # what `json.loads` gives


class _Required:
    def __repr__(self) -> str:
        return "REQUIRED"


REQUIRED: Final = _Required()


class Shape(Protocol):
    """One JSON value: what it must look like."""

    def check(self, value: Json, pointer: str, errors: list[FieldError]) -> Json: ...
    def schema(self) -> dict[str, Json]: ...


def read(shape: Shape, value: Json) -> Json:
    """`value` as `shape` wants it. Raises BadRequest with one entry per member at fault."""
    errors: list[FieldError] = []
    found = shape.check(value, "", errors)
    if errors:
        raise BadRequest(detail="The body does not have the shape that this route takes.", fields=errors)
    return found


def read_patch(shape: Object, value: Mapping[str, Json]) -> Mapping[str, Json]:
    """`value` as a merge patch of an object with the members of `shape`, null for any of them. Raises BadRequest.

    What they must look like is what the result of the merge must look like: that is for `read`.
    """
    errors: list[FieldError] = []
    shape.check_names(value, "", errors)
    if errors:
        raise BadRequest(detail="The patch names what this resource does not have.", fields=errors)
    return value


def _wrong(errors: list[FieldError], pointer: str, detail: str) -> None:
    errors.append(FieldError(pointer, "invalid_field", detail))


def _escape(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")  # RFC 6901 section 3


@dataclass(frozen=True, slots=True)
class Text:
    """A string of `least` to `most` characters, without control characters unless `lines`."""

    most: int
    least: int = 0
    pattern: str = ""  # the whole text must match
    lines: bool = False  # line breaks and tabs are fine
    trim: bool = True  # white space at both ends is not counted and not kept
    doc: str = ""
    format: str = ""  # JSON Schema's, for the document only

    def check(self, value: Json, pointer: str, errors: list[FieldError]) -> Json:
        if not isinstance(value, str):
            return _wrong(errors, pointer, "must be a string")
        if self.trim:
            value = value.strip()
        if not self.least <= len(value) <= self.most:
            wanted = f"{self.least} to {self.most}" if self.least else f"at most {self.most}"
            return _wrong(errors, pointer, f"must have {wanted} characters")
        if self.pattern and not re.fullmatch(self.pattern, value):
            return _wrong(errors, pointer, f"must match {self.pattern}")
        allowed = "\n\r\t" if self.lines else ""
        if any((char < " " or char == "\x7f" or "\ud800" <= char <= "\udfff") and char not in allowed for char in value):
            return _wrong(errors, pointer, "must not have control characters")
        return value

    def schema(self) -> dict[str, Json]:
        out: dict[str, Json] = {"type": "string", "maxLength": self.most}
        if self.least:
            out["minLength"] = self.least
        if self.pattern:
            out["pattern"] = f"^{self.pattern}$"
        return _described(out, self.doc, self.format)


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a closed set of words."""

    words: Sequence[str]
    doc: str = ""

    def check(self, value: Json, pointer: str, errors: list[FieldError]) -> Json:
        if value not in self.words or not isinstance(value, str):
            return _wrong(errors, pointer, f"must be one of {', '.join(self.words)}")
        return value

    def schema(self) -> dict[str, Json]:
        return _described({"type": "string", "enum": list(self.words)}, self.doc)


@dataclass(frozen=True, slots=True)
class Integer:
    """A whole number within limits."""

    least: int
    most: int
    doc: str = ""

    def check(self, value: Json, pointer: str, errors: list[FieldError]) -> Json:
        if not isinstance(value, int) or isinstance(value, bool):
            return _wrong(errors, pointer, "must be a whole number")
        if not self.least <= value <= self.most:
            return _wrong(errors, pointer, f"must be from {self.least} to {self.most}")
        return value

    def schema(self) -> dict[str, Json]:
        return _described({"type": "integer", "minimum": self.least, "maximum": self.most}, self.doc)


@dataclass(frozen=True, slots=True)
class Number:
    """A number; of answers only."""

    doc: str = ""

    def check(self, value: Json, pointer: str, errors: list[FieldError]) -> Json:
        if not isinstance(value, int | float) or isinstance(value, bool):
            return _wrong(errors, pointer, "must be a number")
        return value

    def schema(self) -> dict[str, Json]:
        return _described({"type": "number"}, self.doc)


@dataclass(frozen=True, slots=True)
class Boolean:
    """true or false."""

    doc: str = ""

    def check(self, value: Json, pointer: str, errors: list[FieldError]) -> Json:
        if not isinstance(value, bool):
            return _wrong(errors, pointer, "must be true or false")
        return value

    def schema(self) -> dict[str, Json]:
        return _described({"type": "boolean"}, self.doc)


@dataclass(frozen=True, slots=True)
class Array:
    """A list of one shape. distinct: no member comes twice."""

    item: Shape
    most: int
    distinct: bool = False
    doc: str = ""

    def check(self, value: Json, pointer: str, errors: list[FieldError]) -> Json:
        if not isinstance(value, list):
            return _wrong(errors, pointer, "must be a list")
        if len(value) > self.most:
            return _wrong(errors, pointer, f"must have at most {self.most} members")
        found = [self.item.check(each, f"{pointer}/{at}", errors) for at, each in enumerate(value)]
        if self.distinct and not errors and len(set(found)) != len(found):
            return _wrong(errors, pointer, "must not have the same member twice")
        return found

    def schema(self) -> dict[str, Json]:
        out: dict[str, Json] = {"type": "array", "items": self.item.schema(), "maxItems": self.most}
        if self.distinct:
            out["uniqueItems"] = True
        return _described(out, self.doc)


@dataclass(frozen=True, slots=True)
class OrNull:
    """A shape or null."""

    shape: Shape

    def check(self, value: Json, pointer: str, errors: list[FieldError]) -> Json:
        return None if value is None else self.shape.check(value, pointer, errors)

    def schema(self) -> dict[str, Json]:
        out = self.shape.schema()
        if isinstance(out.get("type"), str):
            return {**out, "type": [out["type"], "null"]}
        return {"anyOf": [out, {"type": "null"}]}


@dataclass(frozen=True, slots=True)
class Anything:
    """Any JSON value."""

    doc: str = ""

    def check(self, value: Json, pointer: str, errors: list[FieldError]) -> Json:
        return value

    def schema(self) -> dict[str, Json]:
        return _described({}, self.doc)


@dataclass(frozen=True, slots=True)
class Member:
    """A member of an object: its shape, and what stands for it when it is left out."""

    shape: Shape
    default: Json = REQUIRED


@dataclass(frozen=True, slots=True)
class Object:
    """An object with known members.

    name: under which the OpenAPI document keeps it; empty: written in place.
    """

    members: Mapping[str, Member]
    name: str = ""
    doc: str = ""
    open: bool = field(default=False)  # answers that may gain members; never for requests

    def check(self, value: Json, pointer: str, errors: list[FieldError]) -> Json:
        if not isinstance(value, dict):
            return _wrong(errors, pointer, "must be an object")
        self.check_names(value, pointer, errors)
        found: dict[str, Json] = {}
        for name, member in self.members.items():
            if name in value:
                found[name] = member.shape.check(value[name], f"{pointer}/{name}", errors)
            elif member.default is REQUIRED:
                errors.append(FieldError(f"{pointer}/{name}", "missing_field", "is required"))
            else:
                found[name] = member.default
        return found

    def check_names(self, value: Mapping[str, Json], pointer: str, errors: list[FieldError]) -> None:
        """Only that there is no unknown member: what a merge patch must hold before it is merged."""
        unknown = [] if self.open else [name for name in value if name not in self.members]
        errors += [FieldError(f"{pointer}/{_escape(name[:100])}", "unknown_field", "is not a field of this request") for name in unknown]

    def schema(self) -> dict[str, Json]:
        if self.name:
            return {"$ref": f"#/components/schemas/{self.name}"}
        return self.inner_schema()

    def inner_schema(self) -> dict[str, Json]:
        """The schema itself, where `schema` may be a reference to it."""
        properties = {}
        for name, member in self.members.items():
            properties[name] = member.shape.schema()
            if member.default is not REQUIRED and member.default is not None and "$ref" not in properties[name]:
                properties[name]["default"] = member.default
        out: dict[str, Json] = {"type": "object", "properties": properties}
        required = [name for name, member in self.members.items() if member.default is REQUIRED]
        if required:
            out["required"] = required
        if not self.open:
            out["additionalProperties"] = False
        return _described(out, self.doc)


def required(shape: Shape) -> Member:
    return Member(shape)


def optional(shape: Shape, default: Json = None) -> Member:
    return Member(shape, default)


def _described(schema: dict[str, Json], doc: str, format: str = "") -> dict[str, Json]:
    if format:
        schema["format"] = format
    if doc:
        schema["description"] = doc
    return schema


def objects_in(shape: Shape) -> list[Object]:
    """Every named object in `shape`, itself included: the components of the OpenAPI document."""
    match shape:
        case Object():
            inner = [found for member in shape.members.values() for found in objects_in(member.shape)]
            return [shape, *inner] if shape.name else inner
        case Array():
            return objects_in(shape.item)
        case OrNull():
            return objects_in(shape.shape)
        case _:
            return []


# Shapes that several domains share.
TIME: Final = Text(40, format="date-time")
ID: Final = Text(36, format="uuid")
URL: Final = Text(2000, format="uri")


def page_of(item: Shape, name: str) -> Object:
    """The list envelope {items, cursor}."""
    return Object(
        {
            "items": required(Array(item, 200)),
            "cursor": required(OrNull(Text(500, doc="Gives the next page as `cursor`; null at the end."))),
        },
        name=name,
    )
