"""Traces and metrics of databases, by OpenTelemetry: ``Config(telemetry=onewriter.telemetry.Telemetry())``.

Needs ``onewriter[otel]``, which is OpenTelemetry's API; a service brings its SDK and its exporters. Names and
attributes are those of the semantic conventions for databases (https://opentelemetry.io/docs/specs/semconv/database/)
where they have one, and begin with ``onewriter.`` where they have none.

Y1  A *call* has a span of kind CLIENT, which is the current one while the call runs on the caller's thread; a write of
    a task, or one that was submitted, has one that is a child of what was current when it was asked for.
    It is taken back where it is the current one still: blocks may end in another context, or in another order, than
    they began in, and an interrupt may strike in between. One that has ended is never the parent of what comes later.
Y2  A *batch* has a span of its own, the root of a trace, from the beginning of its transaction to its commit, with the
    COMMIT as its child. It links to each call that it carried, and each call links to it.
Y3  Where nobody who shared a commit is sampled, the batch has no span.
Y4  What a database counts by itself (`onewriter.Stats`) is read from it when a reader of metrics asks.
"""

from __future__ import annotations

import re
import time
import weakref
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from . import clock
from .errors import Error, MisuseError, ProgrammingError
from .shared import all_of
from .trails import SharedCommit, Trail, Watched

try:
    from opentelemetry import context as contexts
    from opentelemetry import metrics, trace
except ModuleNotFoundError as error:  # pragma: no cover - the tests have it
    msg = 'telemetry needs OpenTelemetry, which is not installed: pip install "onewriter[otel]"'
    raise ModuleNotFoundError(msg, name=error.name) from error

if TYPE_CHECKING:
    from .stats import Stats

_CALL: Final = contexts.create_key("onewriter.call")
_SYSTEM: Final = {"db.system.name": "sqlite"}
_LINKS_MAX: Final = 128  # as the SDK has it: a batch may carry more
# https://opentelemetry.io/docs/specs/semconv/database/database-metrics/#metric-dbclientoperationduration
_CALL_S: Final = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0)
_WAIT_S: Final = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
)
_SIZES: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0)
# What stands for itself in a statement: texts, blobs and numbers, with the underscores that these may have; the first
# group is what may hold an apostrophe that begins none: comments and quoted names. (https://sqlite.org/syntax/literal-value.html)
_LITERALS: Final = re.compile(
    r"""(--[^\n]*|/\*(?s:.*?)(?:\*/|\Z)|"(?:[^"]|"")*(?:"|\Z)|`(?:[^`]|``)*(?:`|\Z)|\[[^\]]*(?:\]|\Z))"""
    r"""|[xX]?'(?:[^']|'')*(?:'|\Z)"""
    r"""|\b(?:0[xX][0-9a-fA-F_]+|\d[\d_]*(?:\.[\d_]*)?(?:[eE][+-]?[\d_]+)?)\b"""
)


class Telemetry:
    """Tells OpenTelemetry of every call and every commit of the databases that it is given to.

    One object may be given to any number of databases; metrics tell them apart by ``db.namespace``, the file's path.
    """

    def __init__(
        self,
        *,
        tracer_provider: trace.TracerProvider | None = None,
        meter_provider: metrics.MeterProvider | None = None,
        query_text: bool = True,
    ) -> None:
        """Tell the given providers; the global ones where there are none.

        With *query_text* spans have the text of their statement, never its parameters. In a statement that was given no
        parameters each literal is shown as ``?``; what has double quotes is a name, and shown.
        """
        if query_text not in (True, False):
            raise ProgrammingError(f"query_text must be True or False, not {query_text!r}")
        self._query_text = query_text
        self._tracer = trace.get_tracer("onewriter", _version(), tracer_provider)
        self._databases: weakref.WeakSet[Watched] = weakref.WeakSet()
        meter = metrics.get_meter("onewriter", _version(), meter_provider)
        histogram = meter.create_histogram
        self._calls = histogram(
            "db.client.operation.duration", "s", "Duration of database client operations.",
            explicit_bucket_boundaries_advisory=_CALL_S,
        )  # fmt: skip
        self._reader_waits = histogram(
            "db.client.connection.wait_time", "s", "The time it took to obtain an open connection from the pool.",
            explicit_bucket_boundaries_advisory=_WAIT_S,
        )  # fmt: skip
        self._turn_waits = histogram(
            "onewriter.write.wait", "s", "From a call that writes to the beginning of its work.",
            explicit_bucket_boundaries_advisory=_WAIT_S,
        )  # fmt: skip
        self._commits = histogram(
            "onewriter.commit.duration", "s", "How long a COMMIT took, its sync included.",
            explicit_bucket_boundaries_advisory=_WAIT_S,
        )  # fmt: skip
        self._sizes = histogram(
            "onewriter.batch.size", "{request}", "How many requests shared a commit.",
            explicit_bucket_boundaries_advisory=_SIZES,
        )  # fmt: skip
        self._observe(meter)

    def _observe(self, meter: metrics.Meter) -> None:
        """Have what databases count by themselves read from them (Y4)."""
        counter, gauge = meter.create_observable_counter, meter.create_observable_up_down_counter
        at_moment: list[tuple[str, str, str, Callable[[Stats], float]]] = [
            ("onewriter.pending", "{request}", "Writes that wait for their turn.", lambda each: each.pending),
            ("onewriter.wal.size", "By", "Size of the -wal file.", lambda each: each.wal_bytes),
            (
                "onewriter.oldest_reader.age",
                "s",
                "How long the oldest read has kept its snapshot.",
                lambda each: each.oldest_reader_s,
            ),
        ]
        in_all: list[tuple[str, str, str, Callable[[Stats], float]]] = [
            (
                "onewriter.writes",
                "{request}",
                "Writes that were told their outcome.",
                lambda each: each.writes,
            ),
            ("onewriter.commits", "{commit}", "Transactions committed.", lambda each: each.commits),
            ("onewriter.reruns", "{request}", "Requests that had to run again.", lambda each: each.reruns),
            (
                "onewriter.busy_retries",
                "{retry}",
                "How often SQLite said busy, and nobody else heard.",
                lambda each: each.busy_retries,
            ),
        ]
        for name, unit, what, number in at_moment:
            gauge(name, [self._reader_of(number)], unit, what)
        for name, unit, what, number in in_all:
            counter(name, [self._reader_of(number)], unit, what)
        gauge(
            "db.client.connection.count",
            [self._readers],
            "{connection}",
            "The number of connections that are currently in state described by the state attribute.",
        )

    def _reader_of(
        self, number: Callable[[Stats], float]
    ) -> Callable[[metrics.CallbackOptions], Iterable[metrics.Observation]]:
        def read(_options: metrics.CallbackOptions) -> Iterable[metrics.Observation]:
            return [
                metrics.Observation(sum(map(number, each)), _attributes(path))
                for path, each in self._stats().items()
            ]

        return read

    def _readers(self, _options: metrics.CallbackOptions) -> Iterable[metrics.Observation]:
        for path, each in self._stats().items():
            known = {**_attributes(path), "db.client.connection.pool.name": path.name}
            idle, used = sum(one.readers_idle for one in each), sum(one.readers_lent for one in each)
            for state, count in (("idle", idle), ("used", used)):
                yield metrics.Observation(count, {**known, "db.client.connection.state": state})

    def _stats(self) -> dict[Path, list[Stats]]:
        """Return the numbers of the databases that are open, by their paths: one file may be open more than once."""
        found: dict[Path, list[Stats]] = {}
        for database in all_of(self._databases):
            if not database.closed:
                try:
                    found.setdefault(database.path, []).append(database.stats())
                except MisuseError:  # closed this moment, or this is a forked child
                    continue
        return found

    # --- as a listener: see `trails.Listener`

    def opened(self, database: Watched) -> None:
        """Read the numbers of *database* from now on, until it is closed."""
        self._databases.add(database)

    def asked(self, trail: Trail) -> None:
        """Begin the span of a call."""
        outer = _lasting(contexts.get_current())
        span = self._tracer.start_span(
            f"{trail.name} {trail.path.name}",
            context=outer,
            kind=trace.SpanKind.CLIENT,
            attributes=self._described(trail),
            start_time=_epoch_ns(trail.asked_at),
        )
        trail.span = kept = _Kept(span, weakref.ref(trail), outer)
        if not trail.submitted:
            contexts.attach(contexts.set_value(_CALL, kept, trace.set_span_in_context(span, outer)))

    def committed(self, commit: SharedCommit, trails: Sequence[Trail]) -> None:
        """Count a commit, and give it its spans."""
        if not trails:
            return
        known = _attributes(trails[0].path)
        self._commits.record(commit.ended_at - commit.began_at, known)
        self._sizes.record(commit.size, known)
        kept = [
            each.span for each in trails if isinstance(each.span, _Kept) and each.span.span.is_recording()
        ]
        if not kept:
            return  # Y3
        batch = self._tracer.start_span(
            f"batch {trails[0].path.name}",
            context=contexts.Context(),
            attributes={**known, "onewriter.batch.size": commit.size},
            links=[trace.Link(each.span.get_span_context()) for each in kept[:_LINKS_MAX]],
            start_time=_epoch_ns(commit.opened_at),
        )
        inner = self._tracer.start_span(
            f"COMMIT {trails[0].path.name}",
            context=trace.set_span_in_context(batch, contexts.Context()),
            kind=trace.SpanKind.CLIENT,
            attributes={**known, "db.operation.name": "COMMIT"},
            start_time=_epoch_ns(commit.began_at),
        )
        until = _epoch_ns(commit.ended_at)
        inner.end(until)
        batch.end(until)
        for each in kept:
            each.batch = batch.get_span_context()

    def ended(self, trail: Trail) -> None:
        """End the span of a call, and count it."""
        known: dict[str, str] = {**_attributes(trail.path), "db.operation.name": trail.name}
        if trail.error is not None:
            known["error.type"] = type(trail.error).__qualname__
        self._calls.record(trail.took_s, known)
        waits = self._reader_waits if trail.reads else self._turn_waits
        if trail.began_at is not None or trail.error is not None:
            pool = {"db.client.connection.pool.name": trail.path.name} if trail.reads else {}
            waits.record(trail.waited_s, {**_attributes(trail.path), **pool})
        kept = trail.span
        if isinstance(kept, _Kept):
            self._end_span(kept, trail)
            trail.span = None

    def _end_span(self, kept: _Kept, trail: Trail) -> None:
        here = contexts.get_current()
        lasting = _lasting(here)
        if lasting is not here:
            contexts.attach(lasting)
        span = kept.span
        if span.is_recording():
            if trail.began_at is not None:
                span.set_attribute("onewriter.wait.duration", trail.waited_s)
            if trail.blame:
                span.set_attribute("onewriter.wait.blame", trail.blame)
            if trail.runs > 1:
                span.set_attribute("onewriter.runs", trail.runs)
            if trail.commit is not None:
                span.set_attribute("onewriter.batch.size", trail.commit.size)
            if kept.batch is not None:
                span.add_link(kept.batch)  # Y2
            if trail.error is not None:
                _describe_error(span, trail.error)
        span.end(None if trail.ended_at is None else _epoch_ns(trail.ended_at))

    def _described(self, trail: Trail) -> dict[str, str | int]:
        found: dict[str, str | int] = {**_attributes(trail.path), "db.operation.name": trail.name}
        if trail.text is not None and self._query_text:
            found["db.query.text"] = trail.text if trail.has_params else _LITERALS.sub(_shown, trail.text)
        if trail.function is not None:
            found["code.function.name"] = trail.function
        if trail.rows is not None and trail.rows != 1:
            found["db.operation.batch.size"] = trail.rows
        return found


class _Kept:
    """What is kept of a call until its end: its span, what was current before, and the batch that carried it."""

    __slots__ = ("_trail", "batch", "outer", "span")

    def __init__(self, span: trace.Span, trail: weakref.ref[Trail], outer: contexts.Context) -> None:
        self.span, self._trail, self.outer = span, trail, outer
        self.batch: trace.SpanContext | None = None

    @property
    def is_over(self) -> bool:
        """Whether its call has ended, if only by an interrupt."""
        trail = self._trail()
        return trail is None or trail.ended_at is not None


def _lasting(context: contexts.Context) -> contexts.Context:
    """Return *context*, or where it is that of a call that is over, the one around it that is not (Y1)."""
    while isinstance(kept := context.get(_CALL), _Kept) and kept.is_over:
        if trace.get_current_span(context) is not kept.span:
            break  # a caller's own, begun inside: its to end
        context = kept.outer
    return context


def _shown(part: re.Match[str]) -> str:
    """Return what is shown of a part of a statement that is a literal, or looks as if one were in it."""
    return part[1] or "?"


def _version() -> str:
    with suppress(metadata.PackageNotFoundError):  # it was not installed, only put on the path
        return metadata.version("onewriter")
    return ""


def _attributes(path: Path) -> dict[str, str]:
    return {**_SYSTEM, "db.namespace": str(path)}


def _describe_error(span: trace.Span, error: BaseException) -> None:
    """Say on *span* what was raised: of a caller's own error the kind alone, since its message may hold anything."""
    span.set_attribute("error.type", type(error).__qualname__)
    code: Any = getattr(error, "extended_code", None) or getattr(error, "code", None)
    if isinstance(code, str):
        span.set_attribute("db.response.status_code", code)
    told = str(error) if isinstance(error, Error) else None  # no parameters are in it
    span.set_status(trace.Status(trace.StatusCode.ERROR, told))


def _epoch_ns(at: float) -> int:
    """Return a moment of `clock.now` as OpenTelemetry has it: nanoseconds since 1970."""
    return time.time_ns() - int((clock.now() - at) * 1e9)
