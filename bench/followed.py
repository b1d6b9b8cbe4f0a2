"""What it costs to be followed or observed: the same calls where nobody does, with a log of slow ones, with telemetry.

    python -m bench.followed [write|threads|read ...] [--rounds 11] [--seconds 0.5] [--json FILE]

``write``    one thread, one small INSERT each, ``durability="normal"``
``threads``  16 threads do the same
``read``     one thread reads one row by its key

``off`` is there twice, so that the noise can be seen. ``telemetry`` has OpenTelemetry's SDK, with a processor that
hands the spans in bulk to an exporter that drops them, and metrics that nobody reads; ``sampled`` is the same with one
trace in a hundred. ``observed`` has a callback of `Database.observe` that does nothing. In each short round every way
has its turn, another way first each time; ratios are to the first ``off``, the median of those within a round.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import TraceIdRatioBased

import onewriter
from bench.rounds import Call, Figure, Report, always, arguments, compare
from onewriter import Config, Database
from onewriter.telemetry import Telemetry

INSERT = "INSERT INTO item (name) VALUES (?)"
POINT = "SELECT name FROM item WHERE id = ?"


class Nowhere(SpanExporter):
    """Drops what it is given."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Say that it was exported."""
        return SpanExportResult.SUCCESS


class Bench:
    """One database for each way."""

    def __init__(self, folder: Path, rounds: int, seconds: float) -> None:
        """Make them."""
        self.rounds, self.seconds = rounds, seconds
        self.meters = MeterProvider()
        self.tracers = [TracerProvider(sampler=TraceIdRatioBased(share)) for share in (1, 0.01)]
        telemetry = [Telemetry(tracer_provider=each, meter_provider=self.meters) for each in self.tracers]
        for each in self.tracers:
            each.add_span_processor(BatchSpanProcessor(Nowhere()))
        configs = {
            "off": Config(),
            "off, again": Config(),
            "slow_request_s=1": Config(slow_request_s=1.0),
            "telemetry": Config(telemetry=telemetry[0]),
            "telemetry, sampled": Config(telemetry=telemetry[1]),
            "observed": Config(),
        }
        self.databases = {
            way: onewriter.open(folder / f"{number}.db", config=config, durability="normal")
            for number, (way, config) in enumerate(configs.items())
        }
        for db in self.databases.values():
            db.execute("CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT)")
            db.execute_many(INSERT, [("a",)] * 1_000)
        self.databases["observed"].observe(None, id)

    def write(self) -> dict[str, Figure]:
        """One thread writes."""
        return self._compare(lambda db: lambda: db.execute(INSERT, ("b",)), 1)

    def threads(self) -> dict[str, Figure]:
        """Sixteen do."""
        return self._compare(lambda db: lambda: db.execute(INSERT, ("b",)), 16)

    def read(self) -> dict[str, Figure]:
        """One thread reads."""
        return self._compare(lambda db: lambda: db.query_one(POINT, (500,)), 1)

    def _compare(self, make: Callable[[Database], Call], threads: int) -> dict[str, Figure]:
        def calls(db: Database) -> list[Call]:
            return [make(db)] * threads

        ways = {way: partial(calls, db) for way, db in self.databases.items()}
        return compare(always(ways), self.rounds, self.seconds)

    def close(self) -> None:
        """Close them, and what they tell."""
        for db in self.databases.values():
            db.close()
        for each in self.tracers:
            each.shutdown()
        self.meters.shutdown()


def main(given: list[str] | None = None) -> int:
    """Measure and print; return the exit status."""
    parser = arguments("What it costs to be followed, by ratio.", rounds=11, seconds=0.5)
    parser.add_argument("what", nargs="*", choices=("write", "threads", "read", []), help="all by default")
    chosen = parser.parse_args(given)
    report = Report(chosen)
    with tempfile.TemporaryDirectory(prefix="onewriter-bench-") as name:
        bench = Bench(Path(name), chosen.rounds, chosen.seconds)
        for what in chosen.what or ("write", "threads", "read"):
            report.show(what, getattr(bench, what)())
        bench.close()
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
