"""Reads the settings: table < TOML file < environment < `--set`, and remembers where each value came from."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

from nova.core.errors import Unprocessable
from nova.core.settings_schema import Setting, build, walk
from nova.core.settings_table import Settings, contradictions

FILE: Final = "nova.toml"  # read from the working directory when no file is named
PREFIX: Final = "NOVA_"

# Not settings, and still named NOVA_…: what builds and their tests read, and the variables that Kubernetes puts into every
# container of a namespace with a service called `nova` (NOVA_SERVICE_HOST, NOVA_PORT_8080_TCP_ADDR …).
_FOREIGN: Final = re.compile(r"NOVA_(?:EXT|SANITIZE|VARIANT|SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT(?:_\d+_(?:TCP|UDP|SCTP)(?:_\w+)?)?)")


class Problem(NamedTuple):
    """One thing that is wrong, with the remedy."""

    key: str
    place: str
    text: str

    def __str__(self) -> str:
        return f"{self.key} ({self.place}): {self.text}" if self.place else f"{self.key}: {self.text}"


class SettingsError(Unprocessable):
    """The settings make no sense; `problems` holds every reason, the text is one line."""

    code = "bad_settings"

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        more = len(problems) - 1
        super().__init__(detail=f"{problems[0]}" + (f" (and {more} more: `nova check` lists them)" if more else ""))


class Source(NamedTuple):
    """Where a value came from: `default`, `file`, `environment` or `flag`, and which one."""

    layer: str
    place: str = ""

    def __str__(self) -> str:
        return self.place or self.layer


Raw = tuple[str, object, bool, Source]  # key, value as found, whether it is text, where it was found


class Loaded(NamedTuple):
    settings: Settings
    sources: Mapping[str, Source]  # by full key, every setting


@cache
def table() -> Mapping[str, Setting]:
    """Every setting by its full key, in the table's order."""
    return {setting.key: setting for setting in walk(Settings)}


def environment_name(key: str) -> str:
    """The variable of a setting: `http.listen` is NOVA_HTTP_LISTEN, `grpc.tls.cert` is NOVA_GRPC_TLS__CERT."""
    section, _, rest = key.partition(".")
    return f"{PREFIX}{section}_{rest.replace('.', '__')}".upper()


def load(
    file: Path | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    overrides: Sequence[str] = (),
) -> Loaded:
    """The effective settings.

    file: the TOML file, which must exist; None reads `nova.toml` of the working directory when there is one.
    environ: the process's own when None.
    overrides: `section.key=value` texts, the last one wins.
    Raises SettingsError with everything that is wrong, not only the first.
    """
    problems: list[Problem] = []
    values: dict[str, object] = {}
    sources: dict[str, Source] = {}
    for layer in (
        _from_file(file, problems),
        _from_environment(os.environ if environ is None else environ, problems),
        _from_overrides(overrides, problems),
    ):
        for key, raw, text, source in layer:
            try:
                values[key] = table()[key].read(raw, text=text)
            except ValueError as error:
                problems.append(Problem(key, source.place, str(error)))
            sources[key] = source
    if problems:
        raise SettingsError(problems)
    for key, setting in table().items():
        if key not in values:
            values[key], sources[key] = setting.default(), Source("default")
    settings: Settings = build(Settings, values)
    problems = [Problem(key, sources[key].place, text) for key, text in contradictions(settings)]
    if problems:
        raise SettingsError(problems)
    return Loaded(settings, sources)


def value_of(settings: Settings, key: str) -> object:
    """The value of a full key. Raises AttributeError: no such key."""
    found: object = settings
    for name in key.split("."):
        found = getattr(found, name)
    return found


class Line(NamedTuple):
    """One line of `nova config`."""

    key: str
    value: str  # as the setting's reader takes it; secrets are masked
    source: str


def effective(loaded: Loaded) -> Iterator[Line]:
    """Every setting with its value and its source, in the table's order."""
    for key, setting in table().items():
        yield Line(key, setting.kind.show(value_of(loaded.settings, key)), str(loaded.sources[key]))


def _from_file(file: Path | None, problems: list[Problem]) -> Iterator[Raw]:
    path = Path(FILE) if file is None else file
    if file is None and not path.exists():
        return
    import tomllib  # most starts have no file

    try:
        content = path.read_text(encoding="utf-8")
        document = tomllib.loads(content)
    except FileNotFoundError:
        problems.append(Problem(str(path), "", "there is no such settings file; `--config` names one"))
        return
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        problems.append(Problem(str(path), "", f"the settings file cannot be read: {error}"))
        return
    for key, value in _flatten(document, ""):
        line = _line_of(content, key)
        source = Source("file", f"{path} line {line}" if line else str(path))
        if key in table():
            yield key, value, False, source
        else:
            problems.append(_unknown(key, source))


def _flatten(found: Mapping[str, object], prefix: str) -> Iterator[tuple[str, object]]:
    for name, value in found.items():
        key = prefix + name
        # A table is a section unless the table of settings has a row of that very name.
        if isinstance(value, dict) and key not in table():
            yield from _flatten(value, f"{key}.") if value else iter(())
        else:
            yield key, value


def _line_of(content: str, key: str) -> int:
    """The line that sets `key`, by its text; 0 when it is written in a way that this reader does not follow."""
    section = ""
    for number, line in enumerate(content.splitlines(), 1):
        if header := re.match(r"\s*\[+\s*([\w.\- ]+?)\s*\]+", line):
            section = header[1].replace(" ", "") + "."
            if section == f"{key}.":  # a list of tables
                return number
        elif (name := re.match(r"\s*([\w.\- ]+?)\s*=", line)) and section + name[1].replace(" ", "") == key:
            return number
    return 0


def _from_environment(environ: Mapping[str, str], problems: list[Problem]) -> Iterator[Raw]:
    # `__` nests everywhere, a single `_` after the section is enough: both spellings lead to the key.
    known = {environment_name(key): key for key in table()}
    known |= {f"{PREFIX}{key.replace('.', '__')}".upper(): key for key in table()}
    for name, value in sorted(environ.items()):
        if not name.startswith(PREFIX) or _FOREIGN.fullmatch(name):
            continue
        source = Source("environment", name)
        if name in known:
            yield known[name], value, True, source
        else:
            nearest = _nearest(name, known)
            problems.append(Problem(name, "environment", f"there is no such setting{nearest}"))


def _from_overrides(overrides: Sequence[str], problems: list[Problem]) -> Iterator[Raw]:
    for override in overrides:
        key, equals, value = override.partition("=")
        key = key.strip()
        source = Source("flag", f"--set {key}")
        if not equals:
            problems.append(Problem(key, "--set", "section.key=value is wanted"))
        elif key in table():
            yield key, value, True, source
        else:
            problems.append(_unknown(key, source))


def _unknown(key: str, source: Source) -> Problem:
    return Problem(key, source.place, f"there is no such setting{_nearest(key, table())}")


def _nearest(name: str, known: Mapping[str, object]) -> str:
    from difflib import get_close_matches  # only a mistake pays for it

    # A bare key without its section is the likeliest mistake of all, after a typing error.
    found = get_close_matches(name, known, n=1, cutoff=0.6) or [key for key in known if key.endswith(f".{name}")][:1]
    return f"; did you mean {found[0]}?" if found else "; `nova config` lists all"
