"""What a settings table is made of: sections of rows, and the kinds of value that a row's annotation names.

A section is a class whose annotated names are rows (`name: Type = row(default, doc)`) or further sections. The
annotation decides how text from the environment and values from TOML are read, and how they are shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, NamedTuple, NoReturn, Union, get_args, get_origin

from nova.core.secret import Secret, SecretUrl
from nova.core.values import (
    Address,
    ByteSize,
    Cidr,
    Rate,
    Seconds,
    Url,
    format_duration,
    format_size,
    parse_cidr,
    parse_duration,
    parse_size,
    parse_url,
)

OFF = "off"  # how an optional setting says that it is not set
REQUIRED: Any = object()  # the default of a row that has none: only in tables of a list


class Row(NamedTuple):
    """One setting.

    default, least, most: as they would stand in TOML.
    doc: what it does. why: the reason for the default or the limit.
    """

    default: object
    doc: str
    why: str = ""
    least: object = None
    most: object = None


def row(default: object, doc: str, why: str = "", *, least: object = None, most: object = None) -> Any:
    """Declare a setting; the result stands for its value, whose type is the annotation's."""
    return Row(default, doc, why, least, most)


class Section:
    """A group of settings; its values are attributes and do not change."""

    _rows: dict[str, Row]
    _sections: dict[str, type[Section]]

    def __init_subclass__(cls) -> None:
        cls._rows, cls._sections = {}, {}
        for name, annotation in cls.__annotations__.items():
            if isinstance(annotation, type) and issubclass(annotation, Section):
                cls._sections[name] = annotation
            else:
                declared = cls.__dict__[name]
                if not isinstance(declared, Row):
                    raise TypeError(f"{cls.__name__}.{name} is not declared with row()")
                cls._rows[name] = declared
                delattr(cls, name)

    def __init__(self, values: dict[str, object]) -> None:
        """values: one for every row and every section, by name."""
        self.__dict__.update(values)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.__dict__ == self.__dict__

    def __hash__(self) -> int:
        return id(type(self))  # values need not be hashable

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"settings do not change ({name})")


class Kind(NamedTuple):
    """How values of one type are read and shown. The readers raise ValueError with what is wanted."""

    name: str
    from_text: Callable[[str], object]
    from_toml: Callable[[object], object]
    show: Callable[[Any], str]


class Setting(NamedTuple):
    """A row with its full key and its kind."""

    key: str
    row: Row
    kind: Kind

    def read(self, value: object, *, text: bool) -> object:
        """`value` as this setting's type, within its limits. Raises ValueError: not readable, or outside the limits."""
        found: Any = self.kind.from_text(str(value)) if text else self.kind.from_toml(value)
        if found is None:
            return None
        if self.row.least is not None and found < (least := self.kind.from_toml(self.row.least)):
            raise ValueError(f"{self.kind.show(found)} is too little: at least {self.kind.show(least)}")
        if self.row.most is not None and found > (most := self.kind.from_toml(self.row.most)):
            raise ValueError(f"{self.kind.show(found)} is too much: at most {self.kind.show(most)}")
        return found

    def default(self) -> object:
        """Raises ValueError: there is none, it must be given."""
        if self.row.default is REQUIRED:
            raise ValueError("it must be given")
        return self.read(self.row.default, text=False)


def walk(section: type[Section], prefix: str = "") -> Iterator[Setting]:
    """Every setting of a section and of those within it, in the table's order."""
    for name, annotation in section.__annotations__.items():
        if name in section._sections:
            yield from walk(section._sections[name], f"{prefix}{name}.")
        else:
            yield Setting(prefix + name, section._rows[name], kind_of(annotation))


def lists_of(section: type[Section]) -> Iterator[tuple[str, type[Section]]]:
    """The rows that are lists of tables, with the section of each table."""
    for name, annotation in section.__annotations__.items():
        origin: Any = get_origin(annotation)
        arguments = get_args(annotation)
        if origin is tuple and isinstance(arguments[0], type) and issubclass(arguments[0], Section):
            yield name, arguments[0]


def build(section: type[Section], values: dict[str, object], prefix: str = "") -> Any:
    """The instance of `section` whose values stand in `values` by full key."""
    inner: dict[str, object] = {name: values[prefix + name] for name in section._rows}
    for name, kind in section._sections.items():
        inner[name] = build(kind, values, f"{prefix}{name}.")
    return section(inner)


def make(section: type[Section], **given: object) -> Any:
    """An instance of `section` without sections of its own, from values as they stand in TOML; what is not given has its default.

    Raises ValueError with what is wrong: a name that is not known, a value that is not readable, a row that must be given.
    """
    values: dict[str, object] = {}
    for setting in walk(section):
        try:
            values[setting.key] = setting.read(given.pop(setting.key), text=False) if setting.key in given else setting.default()
        except ValueError as error:
            raise ValueError(f"{setting.key}: {error}") from None
    if given:
        from difflib import get_close_matches  # only a mistake pays for it

        name = next(iter(given))
        near = get_close_matches(name, values, n=1, cutoff=0.6)
        raise ValueError(f"{name}: there is no such key{f'; did you mean {near[0]}?' if near else ''}")
    return section(values)


def _string(parse: Callable[[str], object]) -> Callable[[object], object]:
    def read(value: object) -> object:
        if not isinstance(value, str):
            raise ValueError(f"a string is wanted, not {_toml_type(value)}")
        return parse(value)

    return read


def _quantity(parse: Callable[[str], object], make: Callable[[float], object]) -> Callable[[object], object]:
    def read(value: object) -> object:
        if isinstance(value, int | float) and not isinstance(value, bool):
            if value < 0:
                raise ValueError("it may not be negative")
            return make(value)
        return _string(parse)(value)

    return read


def _toml_type(value: object) -> str:
    names = {bool: "a boolean", int: "an integer", float: "a number", list: "a list", dict: "a table"}
    return names.get(type(value), type(value).__name__)


def _bool_text(text: str) -> bool:
    known = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
    if text.lower() not in known:
        raise ValueError("true or false is wanted")
    return known[text.lower()]


def _bool(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("true or false is wanted")
    return value


def _int_text(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError("a whole number is wanted") from None


def _int(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError("a whole number is wanted")
    return value


def _float_text(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError("a number is wanted") from None


def _float(value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ValueError("a number is wanted")
    return float(value)


def _plain(text: str) -> str:
    if "\0" in text:
        raise ValueError("a NUL character is not allowed")
    return text


def _path(text: str) -> Path:
    if not text:
        raise ValueError("a path is wanted")
    return Path(_plain(text)).expanduser()


_KINDS: dict[object, Kind] = {
    bool: Kind("boolean", _bool_text, _bool, lambda value: str(value).lower()),
    int: Kind("integer", _int_text, _int, str),
    float: Kind("number", _float_text, _float, lambda value: f"{value:g}"),
    str: Kind("string", _plain, _string(_plain), str),
    Path: Kind("path", _path, _string(_path), str),
    Seconds: Kind("duration", parse_duration, _quantity(parse_duration, float), format_duration),
    ByteSize: Kind("size", parse_size, _quantity(parse_size, int), format_size),
    Rate: Kind("rate", Rate.parse, _string(Rate.parse), str),
    Address: Kind("host:port", Address.parse, _string(Address.parse), str),
    Cidr: Kind("network", parse_cidr, _string(parse_cidr), str),
    Url: Kind("URL", parse_url, _string(parse_url), str),
    Secret: Kind("secret", Secret.refer, _string(Secret.refer), str),
    SecretUrl: Kind("URL (password hidden)", SecretUrl.refer, _string(SecretUrl.refer), str),
}


def kind_of(annotation: Any) -> Kind:
    """The kind that an annotation names. Raises TypeError: settings have no such kind."""
    if annotation in _KINDS:
        return _KINDS[annotation]
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return _choice(arguments)
    if origin is tuple and arguments[1:] == (...,):
        if isinstance(arguments[0], type) and issubclass(arguments[0], Section):
            return _tables(arguments[0])
        return _list(kind_of(arguments[0]))
    if origin in (UnionType, Union) and len(arguments) == 2 and arguments[1] is NoneType:
        return _optional(kind_of(arguments[0]))
    raise TypeError(f"no setting has the type {annotation!r}")


def _choice(choices: tuple[str, ...]) -> Kind:
    def read(text: str) -> str:
        if text not in choices:
            raise ValueError("one of " + ", ".join(choices) + " is wanted")
        return text

    return Kind(" or ".join(choices), read, _string(read), str)


def _list(item: Kind) -> Kind:
    def from_toml(value: object) -> object:
        if not isinstance(value, list):
            raise ValueError(f"a list is wanted, not {_toml_type(value)}")
        return tuple(item.from_toml(element) for element in value)

    def from_text(text: str) -> object:
        import json  # few settings are lists

        try:
            return from_toml(json.loads(text))
        except json.JSONDecodeError:
            raise ValueError(f'a JSON list of {item.name} values such as ["…", "…"] is wanted') from None

    def show(value: tuple[object, ...]) -> str:
        import json

        shown = [element if type(element) in (bool, int, float) else item.show(element) for element in value]  # as they are read
        return json.dumps(shown, ensure_ascii=False)

    return Kind(f"list of {item.name}", from_text, from_toml, show)


def _tables(section: type[Section]) -> Kind:
    """A list of tables (`[[name]]` in TOML), each of which is a section."""

    def from_toml(value: object) -> object:
        if not isinstance(value, list) or not all(isinstance(table, dict) for table in value):
            raise ValueError(f"a list of tables is wanted, not {_toml_type(value)}")
        found = []
        for number, table in enumerate(value, 1):
            try:
                found.append(make(section, **table))
            except ValueError as error:
                raise ValueError(f"table {number}: {error}") from None
        return tuple(found)

    def from_text(text: str) -> object:
        import json

        try:
            return from_toml(json.loads(text))
        except json.JSONDecodeError:
            raise ValueError("a JSON list of objects is wanted") from None

    def show(value: tuple[Section, ...]) -> str:
        import json

        return json.dumps([_shown(table) for table in value], ensure_ascii=False)

    return Kind(f"list of tables ({section.__name__})", from_text, from_toml, show)


def _shown(table: Section) -> dict[str, object]:
    """What differs from the defaults, as it would stand in TOML; secrets are masked."""
    found: dict[str, object] = {}
    for setting in walk(type(table)):
        value = getattr(table, setting.key)
        if setting.row.default is not REQUIRED and value == setting.default():
            continue
        if isinstance(value, tuple) and not hasattr(value, "_fields"):
            import json

            found[setting.key] = json.loads(setting.kind.show(value))
        elif isinstance(value, bool) or type(value) in (int, float):
            found[setting.key] = value
        else:
            found[setting.key] = setting.kind.show(value)
    return found


def _optional(inner: Kind) -> Kind:
    def from_text(text: str) -> object:
        return None if text in ("", OFF) else inner.from_text(text)

    def from_toml(value: object) -> object:
        return None if value in ("", OFF, False) else inner.from_toml(value)

    def show(value: object) -> str:
        return OFF if value is None else inner.show(value)

    # For a switch "off" is a value, so the third state has a word of its own.
    if inner.name == "boolean":
        return Kind(
            "boolean, or auto",
            lambda text: None if text == "auto" else inner.from_text(text),
            lambda value: None if value == "auto" else inner.from_toml(value),
            lambda value: "auto" if value is None else inner.show(value),
        )
    return Kind(f"{inner.name}, or {OFF}", from_text, from_toml, show)
