"""``onewriter top``: of a service, by real endpoints that real libraries serve; of a file, beside real processes."""

from __future__ import annotations

import io
import json
import math
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Final

import pytest
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import Observation
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import start_http_server
from rich.console import Console

import onewriter
from onewriter.commands import expositions
from onewriter.commands.commits import count
from onewriter.commands.expositions import Exposition, Series, parse, quantile
from onewriter.commands.screens import _table
from onewriter.commands.services import short
from onewriter.commands.shots import Shot
from onewriter.commands.telling import Refused
from onewriter.commands.watched import WatchedFile
from tests.support.children import child
from tests.support.commands import command, environment, inside
from tests.support.steps import LIMIT_S
from tests.support.stranger import Stranger

PATH: Final = "/srv/data/registry.db"
LABELS: Final = ["db_namespace", "db_system_name", "otel_scope_name"]
BOUNDS: Final = (0.001, 0.01, 0.1)
ALT_SCREEN, MAIN_SCREEN = "\x1b[?1049h", "\x1b[?1049l"


class Metrics:
    """What a service tells of one database, as prometheus_client makes it."""

    def __init__(self, *, path: str = PATH, system: str = "sqlite") -> None:
        """Begin with nothing done."""
        self.registry = CollectorRegistry()
        of = (path, system, "onewriter")
        pool, state = "db_client_connection_pool_name", "db_client_connection_state"
        self.writes = Counter("onewriter_writes", "", LABELS, registry=self.registry).labels(*of)
        self.commits = Counter("onewriter_commits", "", LABELS, registry=self.registry).labels(*of)
        self.pending = Gauge("onewriter_pending", "", LABELS, registry=self.registry).labels(*of)
        self.wal = Gauge("onewriter_wal_size_bytes", "", LABELS, registry=self.registry).labels(*of)
        waits = Histogram("onewriter_write_wait_seconds", "", LABELS, registry=self.registry, buckets=BOUNDS)
        self.waits = waits.labels(*of)
        used = Gauge("db_client_connection_count", "", [*LABELS, pool, state], registry=self.registry)
        self.used, self.idle = (used.labels(*of, path, each) for each in ("used", "idle"))

    @property
    def text(self) -> str:
        """What the endpoint answers."""
        return generate_latest(self.registry).decode()


@contextmanager
def served(metrics: Metrics, port: int = 0) -> Generator[int]:
    """Serve them on the loopback address, and return the port."""
    server, thread = start_http_server(port, addr="127.0.0.1", registry=metrics.registry)
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join(LIMIT_S)


@contextmanager
def answering(status: int, content: bytes, *, endless: bool = False) -> Generator[str]:
    """An endpoint that answers so, and return its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            with suppress(OSError):
                self.wfile.write(content)
                while endless:
                    self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(LIMIT_S)


@contextmanager
def topping(*arguments: str | Path) -> Generator[Iterator[dict[str, Any]]]:
    """Run ``top --json`` for the length of a block, and give the objects that it prints."""
    words = [sys.executable, "-m", "onewriter", "top", *map(str, arguments), "--json", "--interval", "0.1"]
    with subprocess.Popen(words, env=environment(), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield map(json.loads, process.stdout)
        finally:
            process.kill()


def until(told: Iterator[dict[str, Any]], is_it: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Return the first object that *is_it*."""
    deadline = time.monotonic() + LIMIT_S
    for each in told:
        if is_it(each):
            return each
        assert time.monotonic() < deadline, each
    message = "it ended"
    raise AssertionError(message)


def exposed(at: float, *metrics: Metrics) -> Exposition:
    """What several processes of a service told at the moment *at*."""
    return Exposition(at, parse("".join(each.text for each in metrics), "http://x"))


# --- what two answers say together


def test_rates_and_waits_are_those_of_the_interval() -> None:
    """What was before it does not count; of the waits the share within a bucket is taken for even."""
    metrics = Metrics()
    metrics.writes.inc(1000)
    metrics.commits.inc(1000)
    for _ in range(500):
        metrics.waits.observe(5.0)  # long ago
    before = exposed(10.0, metrics)
    metrics.writes.inc(40)
    metrics.commits.inc(10)
    metrics.pending.set(7)
    metrics.wal.set(4096)
    metrics.used.set(1)
    metrics.idle.set(3)
    for _ in range(100):
        metrics.waits.observe(0.0005)
    figures = exposed(12.0, metrics).since(before)[PATH]
    assert (figures["writes_per_s"], figures["commits_per_s"], figures["writes_per_commit"]) == (20, 5, 4)
    assert (figures["pending"], figures["wal_bytes"]) == (7, 4096)
    assert (figures["readers_used"], figures["readers_idle"]) == (1, 3)
    assert figures["write_wait_p50_s"] == pytest.approx(0.0005)
    assert figures["write_wait_p99_s"] == pytest.approx(0.00099)
    assert figures["commit_p50_s"] is figures["reruns_per_s"] is figures["oldest_reader_s"] is None
    first = before.since(None)[PATH]
    assert first["pending"] == 0
    assert first["writes_per_s"] is first["write_wait_p50_s"] is first["writes_per_commit"] is None


def test_a_service_that_was_started_anew() -> None:
    """Its counters begin at nothing: what they say is all since then, and no rate is below nothing."""
    old, new = Metrics(), Metrics()
    old.writes.inc(1000)
    old.waits.observe(0.05)
    old.waits.observe(0.05)
    new.writes.inc(6)
    new.waits.observe(0.0005)
    figures = exposed(3.0, new).since(exposed(1.0, old))[PATH]
    assert figures["writes_per_s"] == 3
    assert figures["write_wait_p99_s"] == pytest.approx(0.00099)


def test_several_processes_and_databases() -> None:
    """Counts are added up; the file is the same, so its size is not. Other systems' metrics are not ours."""
    one, two, other = Metrics(), Metrics(), Metrics(path="/srv/other.db")
    foreign = Metrics(path="app", system="postgresql")
    before = exposed(1.0, one, two)
    for each, number in ((one, 2), (two, 3), (other, 5), (foreign, 100)):
        each.writes.inc(number)
        each.wal.set(1000 * number)
        each.pending.set(number)
    now = exposed(2.0, one, two, other, foreign).since(before)
    assert set(now) == {PATH, "/srv/other.db"}
    assert (now[PATH]["writes_per_s"], now[PATH]["pending"], now[PATH]["wal_bytes"]) == (5, 5, 3000)
    assert now["/srv/other.db"]["writes_per_s"] is None  # it was not there before
    assert now["/srv/other.db"]["pending"] == 5


def test_what_opentelemetry_exports() -> None:
    """By its own exporter: the names, the labels, what it adds."""
    registry = CollectorRegistry()
    reader = PrometheusMetricReader(registry=registry)
    provider = MeterProvider(metric_readers=[reader])
    meter = provider.get_meter("onewriter", "0.1")
    of = {"db.namespace": PATH, "db.system.name": "sqlite"}
    pool = {"db.client.connection.pool.name": PATH}
    writes, commits = (
        meter.create_counter(f"onewriter.{each}", unit="{request}") for each in ("writes", "commits")
    )
    wait, commit = (
        meter.create_histogram(name, unit="s", explicit_bucket_boundaries_advisory=[0.001, 0.01])
        for name in ("onewriter.write.wait", "onewriter.commit.duration")
    )
    lent = meter.create_histogram("db.client.connection.wait_time", unit="s")
    readers = meter.create_up_down_counter("db.client.connection.count", unit="{connection}")
    for name, unit in (("pending", "{request}"), ("wal.size", "By"), ("oldest_reader.age", "s")):
        meter.create_observable_gauge(f"onewriter.{name}", [lambda _: [Observation(5, of)]], unit)
    readers.add(3, of | pool | {"db.client.connection.state": "idle"})
    readers.add(2, pool | {"db.client.connection.state": "used"})  # of a pool without our labels

    def now(at: float) -> Exposition:
        return Exposition(at, parse(generate_latest(registry).decode(), "http://x"))

    for each in (wait, commit, lent):
        each.record(0.0, of)
    writes.add(1, of)
    commits.add(1, of)
    before = now(1.0)
    writes.add(6, of)
    commits.add(2, of)
    for each in (wait, commit, lent):
        each.record(0.005, of)
    figures = now(2.0).since(before)[PATH]
    provider.shutdown()
    assert (figures["writes_per_s"], figures["commits_per_s"], figures["writes_per_commit"]) == (6, 2, 3)
    assert (figures["pending"], figures["wal_bytes"], figures["oldest_reader_s"]) == (5, 5, 5)
    assert (figures["readers_used"], figures["readers_idle"]) == (2, 3)
    for name in ("write_wait", "commit", "read_wait"):
        assert (figures[f"{name}_p50_s"] or 0) > 0.001


@pytest.mark.parametrize(
    "share, counts, value",
    [
        (0.5, {1.0: 0, 2.0: 10, math.inf: 10}, 1.5),
        (0.99, {1.0: 100, math.inf: 100}, 0.99),
        (0.5, {1.0: 0, math.inf: 10}, 1.0),  # beyond the last bound: as far as is known
        (0.5, {math.inf: 10}, None),
        (0.5, {1.0: 0, math.inf: 0}, None),
        (0.5, {}, None),
        (0.5, {1.0: 4, 2.0: 4, 3.0: 8, math.inf: 8}, 1.0),
    ],
)
def test_quantiles(share: float, counts: dict[float, float], value: float | None) -> None:
    """As Prometheus' histogram_quantile has them."""
    assert quantile(share, counts) == (None if value is None else pytest.approx(value))


def test_numbers_that_are_none() -> None:
    """Are nothing, in JSON too."""
    text = f'onewriter_pending{{db_namespace="{PATH}"}} NaN\nonewriter_writes_total{{db_namespace="{PATH}"}} +Inf\n'
    now = Exposition(2.0, parse(text, "x")).since(Exposition(1.0, parse(text, "x")))
    assert set(now[PATH].values()) == {None}
    assert Series().values == {}


def test_names_are_short_and_tell_databases_apart() -> None:
    """As much of the path as it takes."""
    assert short([PATH]) == ["registry.db"]
    assert short(["/a/x.db", "/b/x.db", "/b/y.db"]) == ["a/x.db", "b/x.db", "y.db"]
    assert short(["app", ""]) == ["app", ""]
    assert short(["/" + "n" * 50]) == ["…" + "n" * 23]
    assert "\x1b" not in short(["/\x1b[2J"])[0]


# --- of a service


def test_top_of_a_service(tmp_path: Path) -> None:
    """In JSON and in lines, a given number of times."""
    metrics = Metrics()
    metrics.pending.set(3)
    with served(metrics) as port:
        url = f"http://127.0.0.1:{port}/metrics"
        done = command(tmp_path, "top", url, "--json", "--interval", "0.1", "--count", "2")
        assert (done.returncode, done.stderr) == (0, "")
        first, second = map(json.loads, done.stdout.splitlines())
        assert first["source"] == url
        assert first["interval_s"] >= 0.1
        assert second["databases"][PATH]["pending"] == 3
        assert second["databases"][PATH]["writes_per_s"] == 0
        done = command(tmp_path, "top", url, "--interval", "0.1", "--count", "1")
        assert (done.returncode, done.stderr) == (0, "")
        (line,) = done.stdout.splitlines()
        assert f" {PATH} pending=3 writes/s=0 commits/s=0 writes-per-commit=- " in line


def test_a_service_that_goes_and_comes_back() -> None:
    """It is told while it is gone, and shown again when it is back."""
    metrics = Metrics()
    with ExitStack() as stack:
        with served(metrics) as port:
            told = stack.enter_context(topping(f"http://127.0.0.1:{port}/"))
            until(told, lambda each: "databases" in each)
        lost = until(told, lambda each: "error" in each)
        assert "cannot reach" in lost["error"]
        assert "databases" not in lost
        metrics.pending.set(4321)
        with served(metrics, port):
            back = until(told, lambda each: "databases" in each)
            assert back["databases"][PATH]["pending"] == 4321


def test_a_service_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """At first: one line, status 2. What answers and is no metrics likewise; what has none of ours is waited for."""

    def refused(url: str, word: str) -> None:
        assert inside(monkeypatch, "top", url, "--count", "1", "--json") == 2
        printed, complaint = capsys.readouterr()
        assert word in complaint
        assert len(complaint.splitlines()) == 1
        assert json.loads(printed)["error"] in complaint

    refused("http://127.0.0.1:1/", "Connection refused")
    refused("http://[", "Invalid IPv6 URL")
    refused("http://a b/", "cannot reach http://a b/")
    refused("gopher://x/", "give a path, or a URL")
    for status, content, word in (
        (200, b"<html>hello</html>", "does not answer with metrics of Prometheus"),
        (200, b"\xff\xfe\x00", "does not answer with text"),
        (404, b"nothing", "answers 404"),
        (500, b"", "answers 500"),
    ):
        with answering(status, content) as url:
            refused(url, word)
    with answering(200, b"# TYPE up gauge\nup 1\n") as url:
        assert inside(monkeypatch, "top", url, "--count", "1", "--interval", "0.1") == 0
    assert "tells of no database of onewriter" in capsys.readouterr().out


def test_an_answer_without_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Is given up, by its length or its time."""
    with answering(200, b"up 1\n" * 1000, endless=True) as url:
        monkeypatch.setattr(expositions, "_BYTES_MAX", 100_000)
        with pytest.raises(Refused, match="longer than 100,000 bytes"):
            expositions.fetch(url)
        monkeypatch.setattr(expositions, "_TIMEOUT_S", 0.1)
        monkeypatch.setattr(expositions, "_BYTES_MAX", 1 << 40)
        with pytest.raises(Refused, match="takes longer than"):
            expositions.fetch(url)


# --- of a file


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database."""
    with onewriter.open(tmp_path / "a.db") as db:
        db.execute("CREATE TABLE item (name TEXT)")
    return tmp_path / "a.db"


WRITES = """
import sys
with onewriter.open(sys.argv[1]) as db:
    print("opened", flush=True)
    for line in sys.stdin:
        for _ in range(7):
            db.execute("INSERT INTO item VALUES ('one')")
        print("written", flush=True)
"""
HOLDS = """
import sys
with onewriter.open(sys.argv[1]) as db, db.transaction() as tx:
    tx.execute("INSERT INTO item (name) VALUES ('held')")
    print("holds", flush=True)
    sys.stdin.readline()
"""


def test_commits_of_others_are_counted_exactly(path: Path) -> None:
    """By SQLite's own count; where the file was opened or closed meanwhile, it is said to be the least."""
    watched = WatchedFile(path)
    assert watched.look().told["commits_per_s"] is None
    with child(WRITES, path) as writer:
        writer.wait_for("opened")
        watched.look()
        for _ in range(3):
            writer.go_on()
            writer.wait_for("written")
            told = watched.look().told
            assert (told["commits"], told["commits_exact"]) == (7, True)
        assert watched.look().told["commits"] == 0
        writer.go_on()
        writer.wait_for("written")
    told = watched.look().told  # it was killed: its -shm is there still
    assert (told["commits"], told["commits_exact"]) == (7, True)
    with onewriter.open(path) as db:
        db.execute("INSERT INTO item VALUES ('one')")
    told = watched.look().told  # closed, and the -shm gone
    assert (told["commits"], told["commits_exact"]) == (1, False)


@pytest.mark.parametrize("mode", ["delete", "truncate", "persist", "wal"])
def test_commits_of_strangers_are_counted_too(tmp_path: Path, mode: str) -> None:
    """In every journal mode."""
    path = tmp_path / "a.db"
    with Stranger(path) as other:
        other.run(f"PRAGMA journal_mode = {mode}")
        other.run("CREATE TABLE item (a)")
        before = count(path)
        assert before is not None
        for number in range(5):
            other.run("INSERT INTO item VALUES (?)", number)
        after = count(path)
        assert after is not None
        assert after.since(before) == 5
        assert after.since(None) is None
        assert before.since(after) is None
    assert count(tmp_path / "missing.db") is None
    (tmp_path / "short.db").write_bytes(b"x")
    assert count(tmp_path / "short.db") is None
    os.mkfifo(tmp_path / "pipe")
    assert count(tmp_path / "pipe") is None


def test_top_of_a_file(path: Path, tmp_path: Path) -> None:
    """Who has the turn is told, and what is gone; in lines too."""
    with child(HOLDS, path) as holder, topping(path) as told:
        holder.wait_for("holds")
        first = until(told, lambda each: bool(each.get("turn")))
        assert first["turn"]["pid"] == holder.process.pid
        assert first["content"]["tables"] == {"item": None}
        holder.go_on()
        holder.end()
        until(told, lambda each: each.get("turn", "gone") is None)
        moved = path.rename(tmp_path / "b.db")
        lost = until(told, lambda each: "error" in each)
        assert "there is no such file" in lost["error"]
        moved.rename(path)
        until(told, lambda each: "error" not in each)
    done = command(tmp_path, "top", path, "--interval", "0.1", "--count", "1")
    assert (done.returncode, done.stderr) == (0, "")
    assert f" {path} commits/s=0 size=" in done.stdout
    done = command(tmp_path, "top", "localhost:9464/metrics")
    assert (done.returncode, done.stdout) == (2, "")
    assert "if it is a URL, begin it with http://" in done.stderr
    done = command(tmp_path, "top", "missing.db")
    assert (done.returncode, done.stdout) == (2, "")
    assert "there is no such file" in done.stderr


def test_an_interval_that_is_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Is refused, with what is allowed."""
    for interval in ("nan", "0", "-1", "1e9", "inf"):
        assert inside(monkeypatch, "top", "a.db", "--interval", interval) == 2
        assert "--interval: must be from 0.1 to 3600" in capsys.readouterr().err


# --- on a terminal

# Standard input becomes the terminal of the new session, so that Ctrl-C reaches it.
_IN_A_TERMINAL: Final = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, "-m", "onewriter", *sys.argv[1:]])
"""


class Terminal:
    """A terminal of 80 by 24 in which ``top`` runs."""

    def __init__(self, *arguments: str | Path, kind: str = "xterm") -> None:
        """Start it there."""
        self._ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (24, 80))
        self.before = termios.tcgetattr(theirs)
        self.shown = ""
        changed = environment(TERM=kind)
        del changed["COLUMNS"]
        self.process = subprocess.Popen(
            [sys.executable, "-c", _IN_A_TERMINAL, "top", *map(str, arguments), "--interval", "0.2"],
            env=changed, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        )  # fmt: skip
        self.theirs = theirs

    def wait_for(self, text: str) -> None:
        """Read until *text* was shown."""
        deadline = time.monotonic() + LIMIT_S
        while text not in self.shown:
            left = deadline - time.monotonic()
            assert left > 0, self.shown
            if select.select([self._ours], [], [], left)[0]:
                self.shown += os.read(self._ours, 65_536).decode(errors="replace")

    def press(self, keys: bytes) -> None:
        """Press them."""
        os.write(self._ours, keys)

    def end(self) -> int:
        """Wait for its end; return its status."""
        deadline = time.monotonic() + LIMIT_S
        while self.process.poll() is None:
            assert time.monotonic() < deadline, self.shown
            if select.select([self._ours], [], [], 0.05)[0]:
                self.shown += os.read(self._ours, 65_536).decode(errors="replace")
        while select.select([self._ours], [], [], 0)[0]:
            self.shown += os.read(self._ours, 65_536).decode(errors="replace")
        assert self.process.returncode is not None
        return self.process.returncode

    def close(self) -> None:
        """Take it away."""
        self.process.kill()
        self.process.wait(LIMIT_S)
        os.close(self._ours)
        os.close(self.theirs)


@contextmanager
def terminal(*arguments: str | Path, kind: str = "xterm") -> Generator[Terminal]:
    """A terminal for the length of a block."""
    opened = Terminal(*arguments, kind=kind)
    try:
        yield opened
    finally:
        opened.close()


@pytest.mark.parametrize("how, status", [("q", 0), ("ctrl-c", 130), ("sigterm", 143), ("sighup", 129)])
def test_a_live_screen(path: Path, how: str, status: int) -> None:
    """It takes the terminal, and gives it back as it was, however it is ended."""
    with terminal(path) as shown:
        shown.wait_for("q: quit")
        shown.wait_for("commits/s")
        assert ALT_SCREEN in shown.shown
        assert termios.tcgetattr(shown.theirs) != shown.before
        if how == "q":
            shown.press(b"xyzq")
        elif how == "ctrl-c":
            shown.press(b"\x03")
        else:
            shown.process.send_signal(signal.SIGTERM if how == "sigterm" else signal.SIGHUP)
        assert shown.end() == status, shown.shown
        assert shown.shown.rindex(MAIN_SCREEN) > shown.shown.rindex(ALT_SCREEN)
        assert termios.tcgetattr(shown.theirs) == shown.before
        assert "Traceback" not in shown.shown


def test_a_live_screen_of_a_service_that_goes(path: Path) -> None:
    """It says so, and shows what was last; then what comes back."""
    metrics = Metrics()
    with served(metrics) as port:
        pass
    with served(metrics, port):
        shown = Terminal(f"http://127.0.0.1:{port}/metrics")
        try:
            shown.wait_for("registry.db")
        except BaseException:
            shown.close()
            raise
    try:
        shown.wait_for("cannot reach")
        shown.shown = ""
        metrics.pending.set(4321)
        with served(metrics, port):
            shown.wait_for("4,321")
        shown.press(b"q")
        assert shown.end() == 0
    finally:
        shown.close()


def test_more_databases_than_there_is_room_for() -> None:
    """Those that fit, and how many there are beside."""
    many = [Metrics(path=f"/srv/data/database{number}.db") for number in range(9)]
    text = "".join(each.text for each in many)
    with answering(200, text.encode()) as url, terminal(url) as shown:
        shown.wait_for("and 6 more")
        shown.press(b"q")
        assert shown.end() == 0


@pytest.mark.parametrize("width", [40, 80, 120])
def test_labels_are_whole(width: int) -> None:
    """However long a value is, which is cut instead."""
    console = Console(width=width, file=io.StringIO(), highlight=False)
    rows = (("commits/s", ("1",)), ("journal mode", ("x" * 300,)))
    shot = Shot(at=datetime.now(UTC), source="a.db", heads=("",), rows=rows, told={})
    console.print(_table(shot, width, is_old=False))
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert [line.split("  ")[0] for line in lines[:2]] == ["commits/s", "journal mode"]
    assert lines[1].rstrip().endswith("x…")


def test_a_terminal_that_can_do_nothing(path: Path) -> None:
    """Has lines."""
    with terminal(path, "--count", "1", kind="dumb") as shown:
        assert shown.end() == 0
        assert "\x1b" not in shown.shown
        assert "commits/s=" in shown.shown
