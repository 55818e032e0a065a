"""Header fields as caches read them: Cache-Control and its targeted forms, dates, Age, Via, and what belongs to one hop only.

Pure. RFC 9110 (5.6, 7.6), RFC 9111 (5), RFC 9213 (2.1), RFC 8941 (3.2: dictionaries, of which directives are a part).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from typing import Final

from nova.cdn.ports import Fields
from nova.ext.httpfields import parse_date
from nova.ext.kept import variant_key

MAX_SECONDS: Final = 2**31  # RFC 9111, 1.2.2: what is larger counts as this
# RFC 9110, 7.6.1; Proxy-* as RFC 9111, 3.1 has it.
HOP_BY_HOP: Final = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade", b"http2-settings",
     b"proxy-authenticate", b"proxy-authorization", b"proxy-authentication-info")
)  # fmt: skip

_NOTHING: Final[frozenset[bytes]] = frozenset()
CODINGS: Final = ((1, b"gzip"), (2, b"br"), (4, b"zstd"))  # bits of Accept-Encoding in a variant's name
SAYS_NOTHING: Final = 8  # in their place: there is no Accept-Encoding, which takes any
_TOKEN: Final = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_DIRECTIVE: Final = re.compile(rb"[ \t,]*(%s)(?:=(?:(%s)|\"((?:[^\"\\]|\\.)*)\")?)?[ \t]*(?=,|$)" % (_TOKEN, _TOKEN))
_QUOTED: Final = re.compile(rb"\"(?:[^\"\\]|\\.)*\"")
_WORD: Final = re.compile(_TOKEN)
_STRICT: Final = frozenset((b"no-store", b"no-cache", b"private", b"must-revalidate"))
_KEY: Final = re.compile(rb"[a-z*][a-z0-9_.*-]*")
_BARE: Final = re.compile(
    rb"""(?P<number>-?\d{1,15}(?:\.\d{1,3})?)|"(?P<string>(?:[ !#-\[\]-~]|\\["\\])*)"|(?P<token>[A-Za-z*][!#$%&'*+.^_`|~:/0-9A-Za-z-]*)"""
    rb"|:(?P<bytes>[A-Za-z0-9+/=]*):|\?(?P<bool>[01])"
)

Directives = Mapping[bytes, bytes | None]


def values(fields: Fields, name: bytes) -> list[bytes]:
    return [value for found, value in fields if found == name]


def value(fields: Fields, name: bytes) -> bytes | None:
    """The value of the first line of that name."""
    for found, text in fields:
        if found == name:
            return text
    return None


def items(fields: Fields, name: bytes) -> list[bytes]:
    """The elements of a comma-separated list over all its lines, without quoted strings; empty ones are left out."""
    found = []
    for each, line in fields:
        if each == name:
            found += [item for part in line.split(b",") if (item := part.strip(b" \t"))]
    return found


def directives(lines: Iterable[bytes]) -> Directives:
    """Cache-Control (RFC 9111, 5.2): names in lower case, arguments without quotes. Of two with one name the first counts (4.2.1), but the
    field names of two no-cache or private are put together, and without any it is meant for the whole answer.

    What is no directive is skipped, after a look for what would forbid something: `private; max-age=60` was written by somebody who does
    not want it kept.
    """
    found: dict[bytes, bytes | None] = {}
    for line in lines:
        at = 0
        while at < len(line):
            match = _DIRECTIVE.match(line, at)
            if match is None:
                end = _end_of_member(line, at)
                found |= dict.fromkeys(_STRICT & {word.lower() for word in _WORD.findall(line, at, end)})
                at = end + 1
                continue
            name, argument = match[1].lower(), match[2]
            if match[3] is not None:
                argument = re.sub(rb"\\(.)", rb"\1", match[3])
            if name in found and name in (b"no-cache", b"private"):
                before = found[name]
                found[name] = before + b"," + argument if before and argument else None
            else:
                found.setdefault(name, argument)
            at = match.end() + 1
    return found


def _end_of_member(line: bytes, at: int) -> int:
    """Where the member of a list ends that begins at `at`: at a comma outside quotes, of which one that is never closed is none."""
    while True:
        comma, quote = line.find(b",", at), line.find(b'"', at)
        if quote < 0 or 0 <= comma < quote:
            return len(line) if comma < 0 else comma
        closed = _QUOTED.match(line, quote)
        if closed is None:
            return len(line) if comma < 0 else comma
        at = closed.end()


def dictionary(lines: Iterable[bytes]) -> Directives | None:
    """A targeted field (RFC 9213, 2.1): a dictionary of structured fields whose values are read as directives; None when it is
    empty or not one, for then it counts as absent. The last of two with one name counts (RFC 8941, 3.2)."""
    text = b",".join(lines).strip(b" ")
    found: dict[bytes, bytes | None] = {}
    at = 0
    while at < len(text):
        key = _KEY.match(text, at)
        if key is None:
            return None
        at = key.end()
        argument: bytes | None = None
        if text[at : at + 1] == b"=":
            if text[at + 1 : at + 2] == b"(":
                end = text.find(b")", at)
                if end < 0:
                    return None
                argument, at = text[at + 1 : end + 1], end + 1
            else:
                bare = _BARE.match(text, at + 1)
                if bare is None:
                    return None
                at = bare.end()
                argument = bare["number"] or bare["token"] or bare["string"] or b""
                if bare["bool"] is not None:
                    argument = None
                    if bare["bool"] == b"0":
                        argument = b"?0"
                elif bare["number"] is None:
                    argument = b'"' + argument  # not a number: no lifetime
        while text[at : at + 1] == b";":  # parameters mean nothing here
            parameter = re.compile(rb';[ ]*[a-z*][a-z0-9_.*-]*(?:=("(?:[^"\\]|\\.)*"|[^;, "]+))?').match(text, at)
            if parameter is None:
                return None
            at = parameter.end()
        if argument == b"?0":
            found.pop(key[0], None)
        else:
            found[key[0]] = argument
        rest = re.compile(rb"[ \t]*,[ \t]*").match(text, at)
        if rest is None:
            return found if at == len(text) else None
        at = rest.end()
        if at == len(text):
            return None  # a comma with nothing behind it
    return found or None


def delta(text: bytes | None) -> int | None:
    """Delta-seconds (RFC 9111, 1.2.2); None: not one."""
    if text is None or not text.isdigit():
        return None
    return MAX_SECONDS if len(text) > 10 else min(int(text), MAX_SECONDS)


def age(fields: Fields) -> int:
    """Age (RFC 9111, 5.1): the first value counts, one that is not valid is ignored."""
    found = value(fields, b"age")
    return 0 if found is None else delta(found.split(b",")[0].strip(b" \t")) or 0


def date(fields: Fields, name: bytes, now: float) -> int | None:
    """A date field as unix seconds; None: absent or not a date."""
    found = value(fields, name)
    if found is None:
        return None
    seconds = parse_date(found, int(now))
    return None if seconds < 0 else seconds


def connection_named(fields: Fields) -> frozenset[bytes]:
    """What Connection names, which goes no further (RFC 9110, 7.6.1)."""
    found = items(fields, b"connection")
    return frozenset([item.lower() for item in found]) if found else _NOTHING


def end_to_end(fields: Fields, also: Set[bytes] = _NOTHING) -> list[tuple[bytes, bytes]]:
    """`fields` without those of one hop, and without those of `also`."""
    gone = HOP_BY_HOP | also if also else HOP_BY_HOP
    if named := connection_named(fields):
        gone |= named
    return [field for field in fields if field[0] not in gone]


def with_via(fields: Sequence[tuple[bytes, bytes]], minor: int, name: bytes) -> list[tuple[bytes, bytes]]:
    """Via with this hop behind those before it (RFC 9110, 7.6.3)."""
    line = b", ".join([*items(fields, b"via"), b"1.%d %s" % (minor, name)])
    found = [field for field in fields if field[0] != b"via"]
    found.append((b"via", line))
    return found


def has_looped(fields: Fields, name: bytes) -> bool:
    """Whether the request has been here before."""
    found = items(fields, b"via")
    return bool(found) and any(item.split(b" ")[1:2] == [name] for item in found)


def split_lines(lines: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Field lines as they are kept, as pairs."""
    for line in lines.split(b"\r\n"):
        if line:
            name, _, found = line.partition(b": ")
            yield name, found


def accepted(fields: Fields) -> set[bytes]:
    """Those of gzip, br and zstd that Accept-Encoding takes (RFC 9110, 12.5.3), as the I/O threads read it: what is kept under their name
    for it must suit everybody who has that name."""
    key = variant_key(b"/", b"accept-encoding\n", [field for field in fields if field[0] == b"accept-encoding"])
    return set() if key is None else {coding for bit, coding in CODINGS if (key[2] - 48) & bit}


def takes_coding(request: Fields, coding: bytes | None) -> bool:
    """Whether an answer in this coding suits all requests whose Accept-Encoding has the same place in the cache, which is what `accepted`
    says of it. What a request that says nothing gets, the origin gives to all that say nothing."""
    if coding is None or _coding(coding) == b"identity" or value(request, b"accept-encoding") is None:
        return True
    return _coding(coding) in accepted(request)


def _coding(name: bytes) -> bytes:
    name = name.strip().lower()
    return b"gzip" if name == b"x-gzip" else name
