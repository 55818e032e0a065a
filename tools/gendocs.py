"""Writes the pages of docs/ that are made from tables: settings, errors, the HTTP API. `make docs` runs it, a test compares."""

from pathlib import Path

from nova.core.errors import CLASSES, TABLE
from nova.core.settings import environment_name, load, table
from nova.core.settings_schema import REQUIRED, Section, Setting, lists_of, walk
from nova.core.settings_table import Settings
from nova.realtime import close_codes
from nova.surface.http import api, docs_page

ROOT = Path(__file__).resolve().parent.parent
MADE = "<!-- Made by `make docs` from {}; edit that. -->\n\n"


def settings_page() -> str:
    """`docs/settings.md`."""
    page = [
        MADE.format("core/settings_table.py"),
        "# Settings\n\n",
        "Every setting has a default; none must be set. A value is taken from, in rising order:\n\n"
        "1. the default below;\n"
        "2. the TOML file that `--config` names, else `nova.toml` in the working directory when there is one;\n"
        "3. the environment: `NOVA_<SECTION>_<KEY>`, with `__` for every further dot, lists as JSON;\n"
        "4. `--set section.key=value`, the last one wins.\n\n"
        "`nova config` prints what is in force and where each value came from, with secrets masked; `nova check` says\n"
        "what is wrong and how to mend it. A key that does not exist is an error that names the nearest one.\n\n"
        "```toml\n"
        "# nova.toml\n"
        "[http]\n"
        'listen = "0.0.0.0:8080"\n'
        'public_url = "https://live.example.org"\n'
        'trusted_proxies = ["10.0.0.0/8"]\n\n'
        "[live]\n"
        'part_target = "200ms"\n'
        "```\n\n",
        "| type | written as |\n|---|---|\n"
        "| duration | `200ms`, `10s`, `15m`, `24h`, `30d`; a bare number in TOML is seconds |\n"
        "| size | `64KiB`, `16MiB`, `10MB`; a bare number is bytes |\n"
        "| rate | `20/s`, `5/min`, `100/10s`: so many at once, refilled evenly |\n"
        "| host:port | `127.0.0.1:8080`, `[::1]:8080`, `:8080` for every interface, port 0 for a free one |\n"
        "| network | `10.0.0.0/8`, `::1` |\n"
        "| secret | the text, or `file:PATH`, or `env:NAME` to keep it elsewhere |\n"
        "| …, or off | `off` when it is not set |\n",
    ]
    for name, section in Settings._sections.items():
        page.append(f"\n## {name}\n\n{section.__doc__}\n\n")
        page.append("| setting | type | default | what it does |\n|---|---|---|---|\n")
        page.extend(_row(setting) for setting in table().values() if setting.key.split(".")[0] == name)
        page.extend(_nested(section))
        page.extend(_tables(section, name))
    return "".join(page)


def _nested(section: type[Section]) -> list[str]:
    return [f"\n`{name}`: {inner.__doc__}\n" for name, inner in section._sections.items()]


def _tables(section: type[Section], name: str) -> list[str]:
    """The rows of tables that a section has lists of, and of those within them."""
    page = []
    for key, inner in lists_of(section):
        page.append(f"\n### {name}.{key}\n\n{inner.__doc__}\n\n| key | type | default | what it does |\n|---|---|---|---|\n")
        for setting in walk(inner):
            default = "must be given" if setting.row.default is REQUIRED else f"`{setting.kind.show(setting.default())}`"
            page.append(_cells(f"`{setting.key}`", setting, default))
        page.extend(_tables(inner, f"{name}.{key}"))
    return page


def _row(setting: Setting) -> str:
    return _cells(f"`{setting.key}`<br>`{environment_name(setting.key)}`", setting, f"`{setting.kind.show(setting.default())}`")


def _cells(key: str, setting: Setting, default: str) -> str:
    text = setting.row.doc
    if setting.row.why:
        text += f" *{setting.row.why}*"
    limits = [f"{word} {bound}" for word, bound in (("at least", setting.row.least), ("at most", setting.row.most)) if bound is not None]
    if limits:
        text += f" ({', '.join(limits)})"
    cells = (key, setting.kind.name, default, text)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def errors_page() -> str:
    """`docs/errors.md`."""
    page = [
        MADE.format("core/errors.py"),
        "# Errors\n\n"
        "One table of codes for every protocol. Codes are added, never renamed: a client may match on them.\n\n"
        "- **HTTP**: `application/problem+json` (RFC 9457) with `type` (`urn:nova:problem:<code>`), `title`, `status`, `detail`,\n"
        "  `code`, `correlation_id`, and `errors: [{pointer, code, detail}]` when fields are at fault.\n"
        '- **gRPC**: the status, and `ErrorInfo{reason: <code>, domain: "nova"}` in its details.\n'
        "- **WebSocket**: `{id, error: {code, message, retry_ms?}}` as the reply to a command; the close code when the error ends\n"
        "  the connection or a subscription (`unsub`). 4000-4199: come back, with back-off. 4200-4299: get a new token first.\n"
        "  4300-4499: do not come back.\n\n"
        "Where it is known when another try makes sense, it is said: `Retry-After` in seconds over HTTP, `RetryInfo` over gRPC,\n"
        "`retry_ms` over WebSocket. `title` is the code's own sentence, `detail` (`message` over WebSocket) that of the case.\n\n"
        "| code | class | HTTP | gRPC | close | title |\n|---|---|---|---|---|---|\n",
    ]
    for row in TABLE.values():
        kind = CLASSES[row.parent].__name__
        page.append(f"| `{row.code}` | {kind} | {row.status} | {row.grpc} | {row.close} | {row.title} |\n")
    return "".join(page)


def api_page() -> str:
    """`docs/api.md`."""
    return MADE.format("surface/http/routes_*.py") + docs_page.markdown(api.described(load(environ={}).settings))


def close_codes_page() -> str:
    """`docs/close-codes.md`."""
    return (
        MADE.format("realtime/close_codes.py") + "# Close codes\n\n"
        "Why the server closes a WebSocket. The number alone says what a client does next, also for codes that it does not know:\n"
        "4000 to 4199 come back with back-off, 4200 to 4299 get a new token first, 4300 to 4499 stay away. A connection that breaks\n"
        "without a close frame (1006, which is never sent) is worth another try, and so is one that a proxy closes (1001, 1012, 1013).\n"
        "[WebSocket](websocket.md) has the rules.\n\n"
        + close_codes.markdown()
    )


PAGES = {
    "docs/settings.md": settings_page,
    "docs/errors.md": errors_page,
    "docs/close-codes.md": close_codes_page,
    "docs/api.md": api_page,
}


def main() -> None:
    for path, make in PAGES.items():
        (ROOT / path).write_text(make(), encoding="utf-8")


if __name__ == "__main__":
    main()
