"""`?access_token=`: for WebSocket and SSE, which cannot send a header. The reactor takes it out of what it parses; this does
the same for requests that came by h2 or h3.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import unquote_plus

NAME: Final = b"access_token"


def take_token(scope: dict[str, Any]) -> dict[str, Any]:
    """The ASGI scope without the token in its query; the token, when there was one, is at scope["nova"]["token"].

    Nothing that comes after sees it: not the application, not the log, not a redirect.
    """
    query: bytes = scope.get("query_string", b"")
    if NAME not in query and b"%" not in query:
        return scope
    kept, token = [], None
    for pair in query.split(b"&"):
        name, _, value = pair.partition(b"=")
        if unquote_plus(name.decode("latin-1")) == NAME.decode():
            token = unquote_plus(value.decode("latin-1"))  # the last one counts; none of them stays
        else:
            kept.append(pair)
    if token is None:
        return scope
    nova = {**(scope.get("nova") or {})}
    if nova.get("token") is None:
        nova["token"] = ("query", token)
    return {**scope, "query_string": b"&".join(kept), "nova": nova}
