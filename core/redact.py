"""Takes out of a log line what must not be in it: secrets, tokens, keys, query strings, message content."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from nova.core.secret import MASK, Secret

# Fields whose value is never written, whatever it is. Compared in lower case with `-` as `_`.
HIDDEN: Final = frozenset({
    "access_token", "authorization", "body", "code_verifier", "content", "cookie", "credential", "credentials", "hook_secret", "key",
    "password", "payload", "private_key", "proxy_authorization", "secret", "session", "set_cookie", "sign_in_code", "stream_key",
    "token", "webhook_secret",
})  # fmt: skip

# Each takes time in proportion to the text, whatever the text: peers choose some of it. So no pattern may begin within
# a run of signs that it then reads to the end.
_PATTERNS: Final = (
    (re.compile(r"\b(Bearer|Basic)\s+[^\s'\",;]+", re.IGNORECASE), rf"\1 {MASK}"),
    (re.compile(r"(?<![\w-])eyJ[\w-]{4,}\.[\w-]+(?:\.[\w-]*)?"), MASK),  # a JWT, or the head and claims of a broken one
    (re.compile(r"\bsk_\w+"), f"sk_{MASK}"),  # a stream key
    (re.compile(r"/~[^/\s'\"?]+"), f"/~{MASK}"),  # a viewer's signed session prefix
    (re.compile(r"(//[^/\s:@]*):[^/\s@]*@"), rf"\1:{MASK}@"),  # the password of a URL
    (re.compile(r"#code=[^\s'\"&]+"), f"#code={MASK}"),
    # A query string: on a URL or a path; a question in prose has no `=` right behind its first word.
    (re.compile(r"\?[\w.~%\[\]-]*=[^\s'\"<>]*"), f"?{MASK}"),
    (re.compile(r"\b(access_token|token|password|secret|key)=[^\s'\"&;,]+", re.IGNORECASE), rf"\1={MASK}"),
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL), MASK),
)
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_CONTROL_IN_LINES: Final = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029]")
MAX_TEXT: Final = 4096  # characters of one value


def redact_text(text: str, limit: int = MAX_TEXT, *, lines: bool = False) -> str:
    """`text` without what looks like a secret, and cut at `limit`.

    Control characters, which a peer may send to forge lines or to move a terminal's cursor, are written as escapes;
    lines: leave the line ends, for text of our own such as a traceback.
    """
    if len(text) > limit:
        text = f"{text[:limit]}… ({len(text)} characters)"
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return (_CONTROL_IN_LINES if lines else _CONTROL).sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def redact(name: str, value: object) -> object:
    """The value of field `name` as it may be written."""
    if name.lower().replace("-", "_") in HIDDEN:
        return MASK if value else value
    if isinstance(value, str):
        return redact_text(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Secret):
        return str(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"
    if isinstance(value, Mapping):
        return {redact_text(str(key)): redact(str(key), inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [redact(name, inner) for inner in value]
    return redact_text(str(value))
