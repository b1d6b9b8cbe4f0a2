"""Traces and metrics by OpenTelemetry, told to its own SDK, and read through Prometheus' exporter."""

from __future__ import annotations

import contextvars
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader, NumberDataPoint
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import INVALID_SPAN, SpanKind, StatusCode, get_current_span
from prometheus_client import REGISTRY, generate_latest
from prometheus_client.parser import text_string_to_metric_families

import onewriter
from onewriter import Config, Database, IntegrityError, ProgrammingError, Transaction
from onewriter.telemetry import Telemetry
from tests.support.databases import PATIENT, Held, in_line, open_items
from tests.support.steps import Call
from tests.support.strikes import Striker

INSERT = "INSERT INTO item (name) VALUES (?)"
STRUCK = (
    *("Trails.enter", "Trails.leave", "Trails.begin", "Trails.end"),
    *("Telemetry.asked", "Telemetry.ended", "Telemetry._end_span"),
)


class Told:
    """What OpenTelemetry was told."""

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 - the provider's own
        """Keep it in memory; *options* are the tracer provider's."""
        self._spans = InMemorySpanExporter()
        self.tracers = TracerProvider(**options)
        self.tracers.add_span_processor(SimpleSpanProcessor(self._spans))
        self._reader = InMemoryMetricReader()
        self.meters = MeterProvider(metric_readers=[self._reader])
        self.telemetry = Telemetry(tracer_provider=self.tracers, meter_provider=self.meters)

    def open(
        self, folder: Path, telemetry: Telemetry | None = None, *, slow_request_s: float | None = None
    ) -> Database:
        """Open items, and forget what was told of that."""
        db = open_items(
            folder, replace(PATIENT, telemetry=telemetry or self.telemetry, slow_request_s=slow_request_s)
        )
        self._spans.clear()
        return db

    def forget(self) -> None:
        """Forget what was told."""
        self._spans.clear()

    def spans(self) -> list[ReadableSpan]:
        """Return the spans that have ended, in order."""
        return list(self._spans.get_finished_spans())

    def span(self, name: str) -> ReadableSpan:
        """Return the one of that *name*."""
        (found,) = [each for each in self.spans() if each.name == name]
        return found

    def points(self, name: str) -> list[Any]:
        """Return what a reader of metrics hears of one instrument now."""
        data = self._reader.get_metrics_data()
        assert data is not None
        return [
            point
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]


@pytest.fixture
def told() -> Iterator[Told]:
    """What is told."""
    made = Told()
    yield made
    made.meters.shutdown()
    made.tracers.shutdown()


def attributes(span: ReadableSpan) -> Mapping[str, Any]:
    """Return the attributes of *span*, but for how long it waited, which differs each time."""
    assert span.attributes is not None
    return {name: value for name, value in span.attributes.items() if name != "onewriter.wait.duration"}


def ident(span: ReadableSpan) -> int:
    """Return the identifier of *span*."""
    context = span.get_span_context()
    assert context is not None
    return context.span_id


def insert(tx: Transaction) -> None:
    """Insert an item."""
    tx.execute(INSERT, ("inserted",))


@pytest.mark.parametrize(
    "text, shown",
    [
        ("SELECT /* don't */ 'secret'", "SELECT /* don't */ ?"),
        ("SELECT -- it's\n 'secret' AS a", "SELECT -- it's\n ? AS a"),
        ("SELECT size AS \"it's\", 'secret' FROM item", 'SELECT size AS "it\'s", ? FROM item'),
        ("SELECT size AS [it's], 'secret' FROM item", "SELECT size AS [it's], ? FROM item"),
        ("SELECT size AS `it's`, 'secret' FROM item", "SELECT size AS `it's`, ? FROM item"),
        ("SELECT 1_000_000 + 1_0.5e1_0, 0xF_F", "SELECT ? + ?, ?"),
        ("SELECT 'it''s -- ' || \"name\" FROM item", 'SELECT ? || "name" FROM item'),
        ("SELECT 'secret", "SELECT ?"),
        ("SELECT 1 /* 'secret'", "SELECT ? /* 'secret'"),
    ],
)
def test_literals_are_not_shown(told: Told, tmp_path: Path, text: str, shown: str) -> None:
    """Wherever an apostrophe stands that begins none."""
    with told.open(tmp_path) as db, suppress(ProgrammingError):
        db.query(onewriter.SQL(text))
    assert attributes(told.span("SELECT items.db"))["db.query.text"] == shown


def test_a_block_may_end_in_another_context(
    told: Told, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As a generator whose steps a framework runs in copies of its context: nothing is said, nothing is left."""

    def rows(db: Database) -> Generator[object]:
        with db.stream("SELECT 1 UNION SELECT 2") as found:
            yield from found

    with told.open(tmp_path) as db:
        there, generator = contextvars.copy_context(), rows(db)
        there.run(next, generator)
        assert there.run(get_current_span) is not INVALID_SPAN
        contextvars.copy_context().run(generator.close)
        assert get_current_span() is INVALID_SPAN
        there.run(db.query, "SELECT 3")
        assert there.run(get_current_span) is INVALID_SPAN
    assert [each.parent for each in told.spans()] == [None, None]
    assert caplog.records == []


def test_blocks_may_end_in_any_order(told: Told, tmp_path: Path) -> None:
    """What comes after them is a child of none; inside, of the last that is open."""
    with (
        told.open(tmp_path) as db,
        told.tracers.get_tracer("a service").start_as_current_span("request") as request,
    ):
        first, second = db.read_transaction(), db.read_transaction()
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        db.query("SELECT 1")
        second.__exit__(None, None, None)
        assert get_current_span() is request
        db.query("SELECT 2")
    read, inner, outer, after, last = told.spans()
    assert inner.parent is not None
    assert inner.parent.span_id == ident(outer)
    assert outer.parent is not None
    assert outer.parent.span_id == ident(read)
    assert after.parent is not None
    assert after.parent.span_id == ident(last)


@pytest.mark.parametrize("call", ["query", "execute"])
def test_an_interrupted_call_is_nobodys_parent(told: Told, tmp_path: Path, call: str) -> None:
    """Wherever it struck: what the thread does next has a trace of its own."""
    with told.open(tmp_path) as db:
        number = 1
        while number < 2_000:
            number += 2
            striker = Striker(number, within=STRUCK)
            striker.run(
                partial(db.query, "SELECT 1")
                if call == "query"
                else partial(db.execute, INSERT, (f"{number}",))
            )
            told.forget()
            db.query("SELECT 2")
            assert get_current_span() is INVALID_SPAN, striker.place
            assert told.span("SELECT items.db").parent is None, striker.place
            if not striker.place:
                break
        assert 50 < number < 1_900


def test_a_call_has_a_span_by_the_conventions(told: Told, tmp_path: Path) -> None:
    """Its kind, its name and its attributes; how long it waited."""
    with told.open(tmp_path) as db:
        db.execute(INSERT, ("a",))
        db.execute_many(INSERT, [("b",), ("c",)])
        db.write(insert)
        db.query(
            "SELECT name FROM item WHERE size < 10 AND name IN ('it''s', x'00ff') OR size = 0x1F OR id = 1.5e3"
        )
    file = {"db.system.name": "sqlite", "db.namespace": str(tmp_path / "items.db")}
    calls = [each for each in told.spans() if each.name not in {"batch items.db", "COMMIT items.db"}]
    assert [each.kind for each in calls] == [SpanKind.CLIENT] * 4
    assert [each.name for each in calls] == [
        "INSERT items.db",
        "INSERT items.db",
        "write items.db",
        "SELECT items.db",
    ]
    one = {"onewriter.batch.size": 1}
    statement = {**file, "db.operation.name": "INSERT", "db.query.text": INSERT}
    assert [attributes(each) for each in calls] == [
        {**statement, **one},
        {**statement, **one, "db.operation.batch.size": 2},
        {**file, **one, "db.operation.name": "write", "code.function.name": f"{__name__}.insert"},
        {
            **file,
            "db.operation.name": "SELECT",
            "db.query.text": "SELECT name FROM item WHERE size < ? AND name IN (?, ?) OR size = ? OR id = ?",
        },
    ]
    for each in calls:
        assert each.attributes is not None
        assert each.start_time is not None
        assert each.end_time is not None
        waited_s = each.attributes["onewriter.wait.duration"]
        assert isinstance(waited_s, float)
        assert 0 <= waited_s <= (each.end_time - each.start_time) / 1e9 + 0.01  # by two clocks


def test_calls_and_the_batch_that_carried_them_link_to_each_other(told: Told, tmp_path: Path) -> None:
    """The batch is a root of its own, and the commit is its child."""
    with told.open(tmp_path) as db:
        asks: list[Callable[[], object]] = [partial(db.execute, INSERT, (name,)) for name in "abc"]
        for call in in_line(db, *asks):
            call.result()
        # The transaction in front of them has a batch of its own.
        batch = [each for each in told.spans() if each.name == "batch items.db"][-1]
        commit = [each for each in told.spans() if each.name == "COMMIT items.db"][-1]
        calls = [each for each in told.spans() if each.name == "INSERT items.db"]
    assert len(calls) == 3
    assert batch.parent is None
    assert attributes(batch)["onewriter.batch.size"] == 3
    assert {each.context.span_id for each in batch.links} == set(map(ident, calls))
    assert [[each.context.span_id for each in call.links] for call in calls] == [[ident(batch)]] * 3
    assert commit.parent is not None
    assert commit.parent.span_id == ident(batch)
    assert batch.start_time is not None
    assert commit.start_time is not None
    assert batch.start_time <= commit.start_time


def test_a_call_is_a_child_of_what_asked_for_it_and_parent_of_what_it_does(
    told: Told, tmp_path: Path
) -> None:
    """On the caller's thread, and for what was submitted; and nothing stays current."""
    tracer = told.tracers.get_tracer("service")
    with told.open(tmp_path) as db:

        def work(tx: Transaction) -> None:
            with tracer.start_as_current_span("inside"):
                insert(tx)

        with tracer.start_as_current_span("request") as request:
            db.write(work)
            db.submit(lambda tx: tx.query("SELECT 1")).result()
            db.query("SELECT 1")
        with pytest.raises(IntegrityError), db.transaction() as tx:
            insert(tx)
        with tracer.start_as_current_span("after"):
            pass
    parent = {each.name: each.parent and each.parent.span_id for each in told.spans()}
    writes = [each for each in told.spans() if each.name == "write items.db"]
    assert [each.parent and each.parent.span_id for each in writes] == [
        request.get_span_context().span_id
    ] * 2
    assert parent["inside"] == ident(writes[0])
    assert parent["SELECT items.db"] == request.get_span_context().span_id
    assert parent["transaction items.db"] is None
    assert parent["after"] is None


def test_an_error_is_told_by_its_kind_and_code(told: Told, tmp_path: Path) -> None:
    """The library's with what it says; of a caller's own the kind alone."""
    with told.open(tmp_path) as db:
        db.execute(INSERT, ("taken",))
        with pytest.raises(IntegrityError):
            db.execute(INSERT, ("taken",))

        def fail(_tx: Transaction) -> None:
            raise ValueError("a secret")

        with pytest.raises(ValueError, match="a secret"):
            db.write(fail)
    refused, failed = [each for each in told.spans() if each.status.status_code is StatusCode.ERROR]
    known = attributes(refused)
    assert known["error.type"] == "IntegrityError"
    assert known["db.response.status_code"] == "SQLITE_CONSTRAINT_UNIQUE"
    assert "UNIQUE" in (refused.status.description or "")
    assert attributes(failed)["error.type"] == "ValueError"
    assert failed.status.description is None
    assert not failed.events


def test_who_kept_a_call_waiting_is_told_where_it_matters(told: Told, tmp_path: Path) -> None:
    """As in the slow-request log, whose limit says what matters."""
    with told.open(tmp_path, slow_request_s=0.0) as db:
        held = Held(db, "holder")
        waiting = Call(partial(db.execute, INSERT, ("a",)), "waiter")
        held.wait_for(1)
        held.let_go()
        waiting.result()
    assert "holder: write(" in attributes(told.span("INSERT items.db"))["onewriter.wait.blame"]


def test_texts_are_left_out_where_that_is_asked_for(told: Told, tmp_path: Path) -> None:
    """And anything else than yes or no is refused."""
    quiet = Telemetry(tracer_provider=told.tracers, meter_provider=told.meters, query_text=False)
    with told.open(tmp_path, quiet) as db:
        db.query("SELECT 1")
    assert "db.query.text" not in attributes(told.span("SELECT items.db"))
    with pytest.raises(ProgrammingError, match="query_text must be True or False, not 'no'"):
        Telemetry(query_text="no")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


def test_what_is_not_sampled_has_no_batch(tmp_path: Path) -> None:
    """Metrics are told all the same."""
    told = Told(sampler=ALWAYS_OFF)
    with told.open(tmp_path) as db:
        db.execute(INSERT, ("a",))
        db.write(insert)
    assert told.spans() == []
    assert [each.sum for each in told.points("onewriter.batch.size")] == [3]  # with the migration's


def test_metrics_are_those_of_the_conventions_and_of_the_database(told: Told, tmp_path: Path) -> None:
    """Durations, waits, sizes of batches; the numbers of `Stats`, until it is closed."""
    (tmp_path / "other").mkdir()
    with told.open(tmp_path) as db, told.open(tmp_path / "other"):
        for name in "abc":
            db.execute(INSERT, (name,))
        with pytest.raises(IntegrityError):
            db.execute(INSERT, ("a",))
        with db.read_transaction() as tx:
            tx.query("SELECT 1")
            mine = {"db.system.name": "sqlite", "db.namespace": str(db.path)}
            used = [each for each in told.points("db.client.connection.count") if _is(each, mine)]
        calls = [each for each in told.points("db.client.operation.duration") if _is(each, mine)]
        numbers = {
            name: [each.value for each in told.points(f"onewriter.{name}") if _is(each, mine)]
            for name in (
                "writes",
                "commits",
                "pending",
                "reruns",
                "busy_retries",
                "wal.size",
                "oldest_reader.age",
            )
        }
        stats = db.stats()
        waits = [each for each in told.points("onewriter.write.wait") if _is(each, mine)]
        assert len(told.points("onewriter.pending")) == 2
    assert told.points("onewriter.pending") == []
    states = {each.attributes["db.client.connection.state"]: each.value for each in used}
    assert states == {"idle": 0, "used": 1}
    inserts = {
        each.attributes.get("error.type"): each.count
        for each in calls
        if each.attributes["db.operation.name"] == "INSERT"
    }
    assert inserts == {None: 3, "IntegrityError": 1}
    assert numbers == {
        "writes": [stats.writes],
        "commits": [stats.commits],
        "pending": [0],
        "reruns": [0],
        "busy_retries": [0],
        "wal.size": [stats.wal_bytes],
        "oldest_reader.age": [0.0],
    }
    assert [each.count for each in waits] == [5]  # the migration is one
    assert all(isinstance(each, HistogramDataPoint) for each in waits)


def _is(point: NumberDataPoint | HistogramDataPoint, known: Mapping[str, str]) -> bool:
    assert point.attributes is not None
    return known.items() <= point.attributes.items()


def test_prometheus_reads_it(tmp_path: Path) -> None:
    """By the names that its exporter makes of OpenTelemetry's."""
    reader = PrometheusMetricReader()
    meters = MeterProvider(metric_readers=[reader])
    try:
        with open_items(tmp_path, Config(telemetry=Telemetry(meter_provider=meters))) as db:
            db.execute(INSERT, ("a",))
            db.query("SELECT 1")
            families = {
                each.name: each for each in text_string_to_metric_families(generate_latest(REGISTRY).decode())
            }
    finally:
        meters.shutdown()
    kinds = {
        "db_client_operation_duration_seconds": "histogram",
        "db_client_connection_wait_time_seconds": "histogram",
        "db_client_connection_count": "gauge",
        "onewriter_write_wait_seconds": "histogram",
        "onewriter_commit_duration_seconds": "histogram",
        "onewriter_batch_size": "histogram",
        "onewriter_pending": "gauge",
        "onewriter_wal_size_bytes": "gauge",
        "onewriter_oldest_reader_age_seconds": "gauge",
        "onewriter_writes": "counter",
        "onewriter_commits": "counter",
        "onewriter_reruns": "counter",
        "onewriter_busy_retries": "counter",
    }
    assert {name: families[name].type for name in kinds} == kinds
    for name in kinds:
        assert all(each.labels["db_namespace"] == str(db.path) for each in families[name].samples)


def test_without_opentelemetry_it_says_what_to_install() -> None:
    """And everything else works."""
    program = """
import sys
sys.modules["opentelemetry"] = None
import onewriter
onewriter.open
try:
    import onewriter.telemetry
except ModuleNotFoundError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=30
    )
    assert (
        done.stdout
        == 'telemetry needs OpenTelemetry, which is not installed: pip install "onewriter[otel]"\n'
    )


def test_a_database_that_is_followed_is_forgotten_like_any_other(told: Told, tmp_path: Path) -> None:
    """What follows it keeps it weakly."""
    with pytest.warns(ResourceWarning, match="was not closed"):
        told.open(tmp_path)
    assert told.points("onewriter.pending") == []
    assert onewriter.__version__
