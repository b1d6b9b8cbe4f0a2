"""The documentation site: it builds, loads nothing from elsewhere, and leaves out nothing that is public.

T1  It builds without a warning: mkdocs warns of a page without a place, and of a link or an anchor without an end.
T2  Each page that was built links to what is there, anchors included, and loads nothing from another host.
T3  Each public name has its place in the reference, with its docstring; each error and each limit stands in its table.
T4  The page of the commands has each command, and each option that ``--help`` names.
T5  Each picture is a part of one page, so that it has the page's colours.
T6  The search finds what a newcomer looks for, whatever is written around a word; no table shows a backslash.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import onewriter
from tests.house import ROOT
from tests.support.commands import command

BUILD_S = 100
SOUGHT = {
    *(
        "backup",
        "database",
        "docker",
        "fastapi",
        "flask",
        "gunicorn",
        "ids",
        "list",
        "locked",
        "metrics",
        "pool",
    ),
    *("pytest", "retry", "sqlalchemy", "testing", "timeout", "transaction", "waitress"),
}
# What makes a browser load something when it shows a page; a link that is followed by hand is not among it.
LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "use": "href", "link": "href"}
NOT_LOADED = {"canonical", "next", "prev"}
IN_CSS = re.compile(r"(?:url\(|@import)\s*['\"]?(?P<address>[^'\")\s]+)")


class Page(HTMLParser):
    """What one page has: its anchors, where it links to, and what it loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if (of := LOADED.get(tag)) in values and not NOT_LOADED & set(values.get("rel", "").split()):
            self.loads.append(values[of or ""])
        self.loads += [found["address"] for found in IN_CSS.finditer(values.get("style", ""))]


def faults(site: Path) -> Iterator[str]:
    """Yield what breaks T2, in words."""
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}
    for path, page in pages.items():
        name = path.relative_to(site)
        yield from (f"{name} loads {each}" for each in page.loads if _is_elsewhere(each))
        for link in [*page.links, *page.loads]:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            base = site if parts.path.startswith("/") else path.parent
            target = (base / unquote(parts.path).lstrip("/")).resolve() if parts.path else path
            if target.is_dir():
                target /= "index.html"
            if not target.is_file():
                yield f"{name} links to {link}, which is not there"
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
                yield f"{name} links to {link}, which has no such anchor"
    for path in site.rglob("*.css"):
        for found in IN_CSS.finditer(path.read_text(encoding="utf-8")):
            if _is_elsewhere(found["address"]):
                yield f"{path.relative_to(site)} loads {found['address']}"


def _is_elsewhere(address: str) -> bool:
    parts = urlsplit(address)
    return bool(parts.netloc) or parts.scheme not in {"", "data"}


def build(config: Path, site: Path) -> subprocess.CompletedProcess[str]:
    """Build what *config* describes into the folder *site*, as scripts/docs does.

    Without ``--quiet``, by which warnings are not told and not counted either, so that ``--strict`` lets them pass.
    """
    environment = {
        "NO_MKDOCS_2_WARNING": "1",
        "PYTHONPATH": str(ROOT / "src"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", config, "-d", site],
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=BUILD_S,
    )


def test_the_site_is_whole(tmp_path: Path) -> None:
    """It builds without a word, every link has its end, nothing comes from outside, and every name is there."""
    site = tmp_path / "site"
    done = build(ROOT / "mkdocs.yml", site)
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stderr.splitlines() if not line.startswith("INFO ")] == []
    assert sorted(faults(site)) == []
    anchors: set[str] = set()
    for path in (site / "reference").glob("*.html"):
        anchors |= Page(path.read_text(encoding="utf-8")).anchors
    assert sorted(public_names() - anchors) == []
    pictures = sum(path.read_text(encoding="utf-8").count('class="picture"') for path in site.glob("*.html"))
    assert pictures == len(list((ROOT / "docs" / "assets").glob("*.svg")))
    assert [path.name for path in site.rglob("*.html") if r"\|" in path.read_text(encoding="utf-8")] == []
    assert sorted(SOUGHT - words(site / "search" / "search_index.json")) == []
    _check_commands((site / "reference" / "commands.html").read_text(encoding="utf-8"), tmp_path)


def words(index: Path) -> set[str]:
    """Return the words that the search knows, as it takes titles and texts apart."""
    told = json.loads(index.read_text(encoding="utf-8"))
    texts = (f"{each['title']} {each['text']}" for each in told["docs"])
    text = re.sub(r"<[^>]*>", " ", " ".join(texts)).lower()
    return set(re.split(told["config"]["separator"], text))


def public_names() -> set[str]:
    """Return all that a user may write, by the names under which the reference has it."""
    names = {f"onewriter.{name}" for name in onewriter.__all__ if name not in {"aio", "converters"}}
    names |= {f"onewriter.aio.{name}" for name in onewriter.aio.__all__}
    names |= {"onewriter.converters.register", "onewriter.converters.to_sql"}
    names.add("onewriter.telemetry.Telemetry")
    classes = (onewriter.Database, onewriter.Transaction, onewriter.ReadTransaction, onewriter.aio.Database)
    for each in classes:
        where = "onewriter.aio" if each.__module__.startswith("onewriter.aio") else "onewriter"
        public = (name for name in dir(each) if not name.startswith("_"))
        names |= {f"{where}.{each.__name__}.{name}" for name in public if name not in INSIDE}
    return names


INSIDE = {"disown", "end"}  # called by the library itself


def _check_commands(page: str, folder: Path) -> None:
    listed = command(folder, "--help").stdout
    names = re.findall(r"^[│ ]*([a-z]+) {2,}", listed, re.MULTILINE)
    assert {"check", "migrate", "snapshot", "stress"} <= set(names)
    for name in names:
        assert f'id="onewriter-{name}"' in page
        section = page.split(f'id="onewriter-{name}"')[1].partition("<h2")[0]
        options = set(re.findall(r"--[a-z][a-z-]*", command(folder, name, "--help").stdout))
        assert options
        assert sorted(option for option in options if option not in section) == []


def test_every_error_is_in_the_table() -> None:
    """Each class has one row of the page that says what to do."""
    page = (ROOT / "docs" / "howto" / "errors.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([A-Z]\w+)` \|", page, re.MULTILINE)
    assert sorted(rows) == sorted(each.__name__ for each in _errors())


def test_the_tree_of_errors_is_right() -> None:
    """Each error hangs below the one that it is a kind of."""
    page = (ROOT / "docs" / "reference" / "errors.md").read_text(encoding="utf-8")
    above: list[type] = []
    for marks, name in re.findall(
        r"^([│├└─ ]*)([A-Z]\w+)", page.partition("```text\n")[2].partition("```")[0], re.MULTILINE
    ):
        each: type[onewriter.Error] = getattr(onewriter, name)
        above = above[: len(marks) // 3]
        assert [base for base in each.__mro__[1:] if base in _errors()] == above[::-1]
        above.append(each)


def _errors() -> list[type[onewriter.Error]]:
    public = (getattr(onewriter, name) for name in onewriter.__all__)
    return [each for each in public if isinstance(each, type) and issubclass(each, onewriter.Error)]


def test_every_limit_is_in_the_table() -> None:
    """Each field of `Config` has one row, with its default."""
    page = (ROOT / "docs" / "howto" / "configuration.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]+?) \|", page.partition("## Every field")[2], re.MULTILINE))
    shown = {name: eval(default) for name, default in rows.items()}
    assert shown == {field.name: field.default for field in dataclasses.fields(onewriter.Config)}


CONFIG = """
site_name: a site
theme: {name: material, font: false}
validation: {nav: {omitted_files: warn}, links: {anchors: warn}}
"""


def test_a_link_without_an_end_fails(tmp_path: Path) -> None:
    """The test of the test: mkdocs warns of each, and a warning fails (T1)."""
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "index.md").write_text("[one](gone.md) [two](#nowhere) [three](other.md#lost)")
    (docs / "other.md").write_text("# Other")
    (tmp_path / "mkdocs.yml").write_text(CONFIG)
    done = build(tmp_path / "mkdocs.yml", tmp_path / "site")
    assert done.returncode != 0
    warnings = [line for line in done.stderr.splitlines() if line.startswith("WARNING")]
    assert [
        word for word in ("gone.md", "#nowhere", "#lost") if not any(word in line for line in warnings)
    ] == []
    (docs / "index.md").write_text("[four](other.md#other)")
    assert build(tmp_path / "mkdocs.yml", tmp_path / "site").returncode == 0


@pytest.mark.parametrize(
    "page, words",
    [
        ('<a href="gone.html">', "not there"),
        ('<a href="#gone">', "no such anchor"),
        ('<script src="https://example.net/x.js">', "loads https://example.net/x.js"),
        ('<link rel="stylesheet" href="//example.net/x.css">', "loads //example.net/x.css"),
        ('<p style="background: url(http://example.net/x.png)">', "loads http://example.net/x.png"),
    ],
)
def test_a_fault_of_a_page_is_found(page: str, words: str, tmp_path: Path) -> None:
    """The test of the test (T2)."""
    (tmp_path / "index.html").write_text(f'<p id="here"><a href="#here"><a href="https://example.net">{page}')
    found = list(faults(tmp_path))
    assert len(found) == 1
    assert words in found[0]
    (tmp_path / "index.html").write_text('<p id="here"><a href="#here"><a href="https://example.net">')
    (tmp_path / "sheet.css").write_text("@import 'https://example.net/x.css'; a { background: url(x.png) }")
    assert list(faults(tmp_path)) == ["sheet.css loads https://example.net/x.css"]
