"""`/docs`: the OpenAPI document as one plain page, without scripts and without anything from elsewhere; and docs/api.md."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Any, Final

Json = Any

_HEAD: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>API · Nova</title>
<link rel="icon" href="/static/img/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="/static/css/base.css">
<link rel="stylesheet" href="/static/css/docs.css">
</head>
<body>
<main class="docs">
"""


def page(document: Json) -> bytes:
    """document: of openapi.document."""
    return "".join(_html(document)).encode()


def _html(document: Json) -> Iterator[str]:
    yield _HEAD
    info = document["info"]
    yield f"<h1>{escape(info['title'])} {escape(info['version'])}</h1>\n<p>{_code(info['description'])}</p>\n"
    yield '<p><a href="/openapi.json">openapi.json</a> · <a href="/">Home</a></p>\n'
    for tag, operations in _by_tag(document).items():
        yield f"<h2>{escape(tag)}</h2>\n"
        for path, method, operation in operations:
            yield f'<details id="{escape(operation["operationId"])}"><summary><b class="method">{method.upper()}</b>'
            yield f" <code>{escape(path)}</code> <span>{escape(operation['summary'])}</span></summary>\n"
            if "description" in operation:
                yield f"<p>{_code(operation['description'])}</p>\n"
            rows = [
                (each["name"], each["in"], _type(each["schema"]), each.get("description", "")) for each in operation.get("parameters", [])
            ]
            rows += [
                (name + ("" if needed else "?"), "body", _type(schema), schema.get("description", ""))
                for name, needed, schema in _members(document, operation.get("requestBody"))
            ]
            if rows:
                yield "<table>\n"
                for name, place, kind, text in rows:
                    yield f"<tr><td><code>{escape(name)}</code></td><td>{place}</td><td>{escape(kind)}</td><td>{_code(text)}</td></tr>\n"
                yield "</table>\n"
            yield "<ul>\n"
            for status, answer in operation["responses"].items():
                _, schema = _content(answer)
                yield f"<li><b>{status}</b> {escape(_type(schema))} <span>{escape(answer['description'])}</span></li>\n"
            yield "</ul></details>\n"
    yield "<h2>Shapes</h2>\n"
    for name, schema in document["components"]["schemas"].items():
        yield f'<details id="shape-{escape(name)}"><summary><code>{escape(name)}</code></summary><table>\n'
        needed = schema.get("required", [])
        for member, inner in schema.get("properties", {}).items():
            mark = "" if member in needed else "?"
            yield f"<tr><td><code>{escape(member)}{mark}</code></td><td>{escape(_type(inner))}</td>"
            yield f"<td>{_code(inner.get('description', ''))}</td></tr>\n"
        yield "</table></details>\n"
    yield "</main>\n</body>\n</html>\n"


def markdown(document: Json) -> str:
    """docs/api.md."""
    return "".join(_markdown(document))


def _markdown(document: Json) -> Iterator[str]:
    yield "# HTTP API\n\n`/openapi.json` says the same for machines, `/docs` for people with a browser.\n"
    yield f"{document['info']['description']}\nConventions of all routes: [http.md](http.md).\n"
    for tag, operations in _by_tag(document).items():
        yield f"\n## {tag}\n\n| Route | What it does | Takes | Gives | Refuses with |\n|---|---|---|---|---|\n"
        for path, method, operation in operations:
            text = " ".join(filter(None, (operation["summary"] + ".", operation.get("description", ""))))
            takes = [f"`?{each['name']}`" for each in operation.get("parameters", []) if each["in"] == "query"]
            takes += [f"`{name}`" + ("" if needed else "?") for name, needed, _ in _members(document, operation.get("requestBody"))]
            gives, refuses = [], []
            for status, answer in operation["responses"].items():
                kind, schema = _content(answer)
                if kind == "application/problem+json":
                    refuses += [f"`{code}`" for code in answer["description"].split(", ")]
                else:
                    gives.append(f"{status} {_type(schema)}".strip())
            row = (f"`{method.upper()} {path}`", text, " ".join(takes), ", ".join(gives), " ".join(refuses))
            yield "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |\n"


def _by_tag(document: Json) -> dict[str, list[tuple[str, str, Json]]]:
    found: dict[str, list[tuple[str, str, Json]]] = {tag["name"]: [] for tag in document["tags"]}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            found[operation["tags"][0]].append((path, method, operation))
    return found


def _content(answer: Json) -> tuple[str, Json]:
    """Media type and schema of an answer; empty ones for no body."""
    for kind, content in answer.get("content", {}).items():
        return kind, content["schema"]
    return "", {}


def _members(document: Json, body: Json) -> Iterator[tuple[str, bool, Json]]:
    """Name, whether it is required, and schema of each member of a request body."""
    if not body:
        return
    schema = next(iter(body["content"].values()))["schema"]
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    for name, inner in schema.get("properties", {}).items():
        yield name, name in schema.get("required", []), inner


def _type(schema: Json) -> str:
    """A schema in a few words."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "enum" in schema:
        return " | ".join(schema["enum"])
    kind = schema.get("type", "")
    if isinstance(kind, list):
        return " | ".join(_type({**schema, "type": each}) for each in kind)
    if kind == "array":
        return f"[{_type(schema['items'])}]"
    return str(schema.get("format") or kind)


def _code(text: str) -> str:
    """Text with `code` spans as HTML."""
    parts = escape(text).split("`")
    return "".join(f"<code>{part}</code>" if at % 2 else part for at, part in enumerate(parts))
