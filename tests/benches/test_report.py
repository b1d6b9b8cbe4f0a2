"""The report of a run: whole, by itself, and plain about what failed."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from bench import report
from bench.contenders import ALL
from bench.loads.base import Json, Seen
from bench.results import Results, Standing
from onewriter.stress.waits import Waits

pytestmark = pytest.mark.leaves_behind("matplotlib keeps its fonts open")
LOADS = ("small-4-full", "small-16-full", "mixed-4-90", "import")


def _seen(per_s: int, **given: int) -> Seen:
    waits = Waits()
    for _ in range(per_s):
        waits.record(1 / per_s)
    return Seen(
        began=0.0,
        ended=1.0,
        done=Counter(write=per_s),
        waits={"write": waits},
        rss_bytes=30_000_000,
        errors=Counter(given),
    )


def _about(**more: object) -> Json:
    contenders = {
        key: {"title": each.title, "how": each.how, "limit": each.limit} for key, each in ALL.items()
    }
    names = [
        "processor",
        "cores",
        "file_system",
        "system",
        "python",
        "sqlite",
        "apsw",
        "commit",
        "changed",
        "rounds",
        "seconds",
    ]
    return {**dict.fromkeys(names, "so <much>"), "contenders": contenders, **more}


@pytest.fixture
def found() -> Results:
    """Three who took part, of whom one failed now and then and one is a limit."""
    standings = [
        Standing(load=name, entry=entry, version=f"{entry} 1.0", rounds={0: _seen(100 * place), 1: seen})
        for name in LOADS
        for place, (entry, seen) in enumerate(
            {
                "onewriter": _seen(400),
                "locked": _seen(100),
                "apsw-deferred": _seen(50, **{"BusyError: database is <locked>": 7}),
                "ceiling": _seen(900),
            }.items(),
            start=1,
        )
    ]
    return Results(_about(), standings)


def test_it_needs_nothing_else(found: Results, tmp_path: Path) -> None:
    """One file: no script, no address, nothing that is loaded from elsewhere."""
    path = tmp_path / "run.html"
    report.write(found, path)
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"<script|<link|<img|url\((?!#)|https?://", text)
    for name in (*LOADS, "onewriter", "one locked connection", "a limit: one thread alone"):
        assert name in text
    assert text.count("<svg") >= 3
    assert 'id="small-0-' in text  # ids of one figure are no other's


def test_what_failed_is_said(found: Results) -> None:
    """How many, of how many, and why; as text."""
    text = report.render(found)
    assert "apsw-deferred: failed 7 of 357 calls: BusyError: database is &lt;locked&gt;" in text
    assert "so &lt;much&gt;" in text


def test_what_failed_in_many_ways_is_counted_whole(found: Results) -> None:
    """The most frequent ones by name, and how many there were of others."""
    errors = {f"kind {number}": 10 - number for number in range(8)}
    standing = Standing(load="small-4-full", entry="locked", version="", rounds={0: _seen(100, **errors)})
    text = report.render(Results(_about(), [standing]))
    assert "10 of 152 calls: kind 0; " in text
    assert "; 12 of 3 more kinds" in text
    assert "did not start" in text


def test_figures_are_told_apart(found: Results) -> None:
    """By their durability and size; and tasks are no threads."""
    names = [f"{part}-{size}" for part in ("upload-1", "upload-16") for size in ("64k", "1m")]
    names += ["tasks-100-full", "tasks-1000-full"]
    standings = [
        Standing(load=name, entry="onewriter", version="1", rounds={0: _seen(100)}) for name in names
    ]
    text = report.render(Results(_about(), standings))
    titles = re.findall(r"<h3>(\w+: rate by .*?)</h3>", text)
    assert len(titles) == len(set(titles)) == 3
    assert "tasks: rate by tasks, full" in titles


def test_a_verdict_is_shown(found: Results) -> None:
    """With the noise that it is judged by."""
    verdicts = [
        {"load": "small-4-full", "ratio": 0.7, "bound": 0.05, "word": "slower"},
        {"load": "import", "ratio": 1.0, "bound": 0.1, "word": "no different"},
    ]
    text = report.render(Results(_about(verdicts=verdicts), found.standings))
    assert "beside itself, as it was" in text
    assert re.search(
        r'small-4-full</th><td class="bad">0\.70</td>\s*<td>± 5 %</td><td class="bad">slower', text
    )
    assert re.search(
        r'import</th><td class="">1\.00</td>\s*<td>± 10 %</td><td class="good">no different', text
    )
