"""The report: whole by itself, and true to the results it was made of."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import pytest

from onewriter.stress import report
from onewriter.stress.machine import file_system, machine
from onewriter.stress.measures import measures
from onewriter.stress.run import run
from onewriter.stress.settings import Settings
from onewriter.stress.sources import find
from onewriter.stress.verdict import Verdict, judge
from onewriter.stress.ways import WAYS, OneWriter, Way

VOID = {"meta", "link", "img", "br", "hr", "input"}


class Page(HTMLParser):
    """The elements of a page, each end tag held against its start tag."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def every(self, attribute: str) -> list[str]:
        """Return the attribute's value wherever it stands."""
        return [attributes[attribute] or "" for _, attributes in self.elements if attribute in attributes]


@pytest.fixture(scope="module")
def made(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> report.Run:
    """A real run of all ways."""
    return _run(folder, tmp_path_factory.mktemp("databases"), WAYS)


@pytest.fixture(scope="module")
def html(made: report.Run) -> str:
    """Its report."""
    return report.render(made)


def test_it_needs_nothing_else(html: str) -> None:
    """No script, style, image or font from elsewhere, and no address at all."""
    page = Page(html)
    assert not page.open
    assert not {"script", "link", "img", "iframe", "object", "embed"} & {tag for tag, _ in page.elements}
    assert not page.every("src")
    assert all(value.startswith("#") for value in page.every("href") + page.every("xlink:href"))
    assert not re.search(r"https?:|//[\w.-]+\.\w|@import|url\((?!#)", html)


def test_its_inner_links_lead_somewhere(html: str) -> None:
    """The figures stand in one page: their ids are their own, and what they refer to is there."""
    page = Page(html)
    ids = page.every("id")
    assert len(ids) == len(set(ids))
    referred = [value.removeprefix("#") for value in page.every("href")] + re.findall(
        r"url\(#([^)]+)\)", html
    )
    assert referred
    assert set(referred) <= set(ids)


def test_it_says_everything(html: str, made: report.Run) -> None:
    """Every way, every measure, the verdict, and what was run."""
    page = Page(html)
    text = " ".join(" ".join(page.text).split())
    for result in made.results:
        assert text.count(result.title) >= 4  # its description, the table, the figures
    for measure in measures(made.results):
        assert measure.label in text
        assert measure.meaning in text
    assert made.verdict.sentence in text
    for fact in (made.machine.sqlite, made.machine.python, made.machine.file_system, "2026-11-01", "seed 7"):
        assert fact in text
    assert sum(tag == "svg" for tag, _ in page.elements) == 4


def test_its_figures_wear_the_pages_colours(html: str) -> None:
    """No colour of matplotlib's own, which would be wrong in the light or in the dark."""
    drawn = "".join(re.findall(r"<svg.*?</svg>", html, re.DOTALL))
    assert "var(--onewriter)" in drawn
    assert not re.search(r"#[0-9a-f]{6}\b", drawn)


def test_a_name_is_only_a_name(folder: Path, tmp_path: Path) -> None:
    """A file's name that looks like HTML is shown as it is."""
    made = _run(folder, tmp_path, (OneWriter,))
    evil = Verdict(("lost",), "lost: <script>alert(1)</script> & more")
    html = report.render(
        report.Run(
            began=made.began,
            machine=made.machine,
            sources=made.sources,
            settings=made.settings,
            results=made.results,
            verdict=evil,
        )
    )
    assert "lost: &lt;script&gt;alert(1)&lt;/script&gt; &amp; more" in html
    assert "<script" not in html
    assert "onewriter stress: FAILED" in html


def test_the_file_system_is_that_of_the_folder(tmp_path: Path) -> None:
    """What the kernel mounts for itself is known everywhere; a folder has some type."""
    assert file_system(Path("/proc/self")) in {"proc", "unknown"}
    assert re.fullmatch(r"[\w.-]+", file_system(tmp_path))


def _run(folder: Path, databases: Path, ways: tuple[type[Way], ...]) -> report.Run:
    sources, settings = find(folder, seed=7), Settings(seed=7, uploaders=4)
    results = [run(way, databases / f"{way.key}.db", sources, settings, lambda _: None) for way in ways]
    return report.Run(
        began=datetime(2026, 11, 1, 12, tzinfo=UTC),
        machine=machine(databases),
        sources=sources,
        settings=settings,
        results=results,
        verdict=judge(results[0]),
    )
