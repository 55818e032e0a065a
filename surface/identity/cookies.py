"""The browser session's cookie (RFC 6265bis): HttpOnly, SameSite=Lax, for this host alone. Pure.

Over https it is called `__Host-nova_session` and Secure, and no other name counts there: a page on the plain port, or
somebody on its wire, cannot plant a session for the secure one.
"""

from __future__ import annotations

from typing import Final

NAME: Final = "nova_session"
SECURE_NAME: Final = "__Host-nova_session"


def name(*, secure: bool) -> str:
    return SECURE_NAME if secure else NAME


def find(header: str, *, secure: bool) -> str | None:
    """The session's token in a Cookie field; None when there is none, or more than one."""
    wanted = name(secure=secure)
    found = [value.strip() for key, _, value in (pair.partition("=") for pair in header.split(";")) if key.strip() == wanted]
    return found[0] if len(found) == 1 and found[0] else None


def write(token: str, max_age: float, *, secure: bool) -> str:
    """The value of Set-Cookie that starts or renews a session of `max_age` seconds."""
    return f"{name(secure=secure)}={token}; Path=/; Max-Age={max(0, int(max_age))}; HttpOnly; SameSite=Lax" + ("; Secure" if secure else "")


def clear(*, secure: bool) -> str:
    """The value of Set-Cookie that ends a session."""
    return write("", 0, secure=secure)
