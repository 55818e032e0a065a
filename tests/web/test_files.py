"""The files of web/ as files: sound HTML, fit for a strict security policy, and nothing in them that is elsewhere."""

import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from nova.surface.http import pages
from tests.web.site import WEB

PAGES = sorted(file for file in WEB.glob("*.html") if file.name != pages.SHELL)
SCRIPTS = sorted((WEB / "static/js").rglob("*.js"))
STYLES = sorted((WEB / "static/css").glob("*.css"))
IMAGES = sorted((WEB / "static/img").glob("*.svg"))
VOID = {"meta", "link", "img", "input", "br", "hr"}
ROUTES = {"/", "/go-live", "/images", "/room", "/status", "/watch", "/docs", "/healthz"}  # what the server answers beside files


def name(path: Path) -> str:
    return str(path.relative_to(WEB))


class Outline(HTMLParser):
    """Tags with their attributes, in order; refuses what is not nested."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == [], "elements that are not closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"an attribute of <{tag}> is given twice"
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open, f"</{tag}> closes nothing"
        assert self._open.pop() == tag, f"</{tag}> closes another element"

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for each, attrs in self.tags if each == tag]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_page_is_sound_html(page: Path) -> None:
    text = pages.page(page).decode()
    outline = Outline(text)
    assert "<!--" not in text, "a place of the shell is not filled"
    assert text.startswith("<!doctype html>\n")
    assert outline.of("html") == [{"lang": "en"}]
    assert {"charset": "utf-8"} in outline.of("meta")
    assert any(meta.get("name") == "viewport" for meta in outline.of("meta"))
    assert re.search(r"<title>[^<]{5,60}</title>", text)
    assert len(outline.of("main")) == 1
    ids = [attrs["id"] for _, attrs in outline.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert all("alt" in attrs for attrs in outline.of("img"))
    assert all(attrs.get("type") for attrs in outline.of("button"))
    labels = {attrs.get("for") for attrs in outline.of("label")}
    assert all(attrs.get("id") in labels or "aria-label" in attrs for attrs in outline.of("input"))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_page_needs_no_inline_script_or_style(page: Path) -> None:
    outline = Outline(pages.page(page).decode())
    assert outline.of("style") == []
    assert all(attrs.get("src") for attrs in outline.of("script"))
    assert not [attrs for _, attrs in outline.tags if "style" in attrs or any(each.startswith("on") for each in attrs)]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_everything_that_a_page_names_is_there(page: Path) -> None:
    outline = Outline(pages.page(page).decode())
    for _, attrs in outline.tags:
        for target in filter(None, (attrs.get("href"), attrs.get("src"))):
            if target.startswith("#"):
                continue
            path, _, fragment = target.partition("#")
            assert path in ROUTES or (WEB / path.lstrip("/")).is_file(), target
            if fragment:
                assert f'id="{fragment}"' in (WEB / path.lstrip("/")).read_text(encoding="utf-8"), target


@pytest.mark.parametrize("file", [WEB / pages.SHELL, *PAGES, *SCRIPTS, *STYLES, *IMAGES], ids=name)
def test_nothing_names_another_machine(file: Path) -> None:
    text = re.sub(r"http://www\.w3\.org/\d{4}/svg", "", file.read_text(encoding="utf-8"))
    assert re.findall(r"(?:https?:|wss?:|[\"'(])//[\w.]+", text) == []


@pytest.mark.parametrize("script", SCRIPTS, ids=name)
def test_script_makes_no_code_or_markup_from_text(script: Path) -> None:
    text = script.read_text(encoding="utf-8")
    assert re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|setAttribute\(\"style\"", text) == []


@pytest.mark.parametrize("script", SCRIPTS, ids=name)
def test_modules_that_a_script_imports_are_there(script: Path) -> None:
    for target in re.findall(r"(?:from|import) \"([^\"]+)\"", script.read_text(encoding="utf-8")):
        file = WEB / target.lstrip("/") if target.startswith("/") else (script.parent / target).resolve()
        assert file.is_file(), target


@pytest.mark.parametrize("script", SCRIPTS, ids=name)
def test_symbols_that_a_script_draws_are_there(script: Path) -> None:
    symbols = set(re.findall(r'id="(\w+)"', (WEB / "static/img/icons.svg").read_text(encoding="utf-8")))
    assert set(re.findall(r"icon\(\"(\w+)\"\)", script.read_text(encoding="utf-8"))) <= symbols


def test_no_file_is_left_over() -> None:
    users = [WEB / pages.SHELL, *PAGES, *SCRIPTS, *(WEB.parent / "surface/http").glob("*.py")]  # /docs is a page that the server renders
    everything = "".join(file.read_text(encoding="utf-8") for file in users)
    assert [name(file) for file in [*SCRIPTS, *STYLES, *IMAGES] if file.name not in everything] == []


def test_modules_import_in_one_direction() -> None:
    """lib knows nobody, the player knows lib, parts know both, pages know all: as the packages of the server do."""
    order = ["lib", "player", "parts", "pages"]
    for script in SCRIPTS:
        if script.parent.name not in order:
            continue
        for target in re.findall(r"from \"(\.[^\"]+)\"", script.read_text(encoding="utf-8")):
            folder = (script.parent / target).resolve().parent.name
            assert order.index(folder) <= order.index(script.parent.name), f"{name(script)} imports {target}"


def test_vendored_files_are_what_the_table_says() -> None:
    rows = re.findall(r"\| `(hls[^`]+)` \|.*`([0-9a-f]{64})` \|", (WEB / "vendor/README.md").read_text(encoding="utf-8"))
    assert dict(rows) == {
        str(file.relative_to(WEB / "vendor")): hashlib.sha256(file.read_bytes()).hexdigest() for file in (WEB / "vendor").rglob("*.mjs")
    }
    assert all((WEB / "vendor" / path).with_name("LICENSE").is_file() for path, _ in rows)
