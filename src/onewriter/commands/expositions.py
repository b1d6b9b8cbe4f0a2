"""What a service exports of its databases: Prometheus' text from its endpoint, and what two of them say together.

E1  The names are those that OpenTelemetry's names become (https://opentelemetry.io/docs/specs/otel/compatibility/
    prometheus_and_openmetrics/); what is missing is None, what is not known is passed over.
E2  Several series of a database (processes, operations) are added up; of a size or an age the largest counts, since
    each process tells that of the same file.
E3  A counter that has become less was started anew: what it says is all since then
    (https://prometheus.io/docs/prometheus/latest/querying/functions/#rate).
"""

from __future__ import annotations

import http.client
import math
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

from .telling import Refused, line

_TIMEOUT_S: Final = 5.0
_BYTES_MAX: Final = 64 * 1024 * 1024
_PIECE: Final = 65_536
_ACCEPT: Final = "text/plain;version=0.0.4"
_DATABASE, _POOL, _SYSTEM, _STATE = (
    "db_namespace",
    "db_client_connection_pool_name",
    "db_system_name",
    "db_client_connection_state",
)
_POOL_METRICS: Final = "db_client_connection_"
_OURS: Final = ("onewriter_", "db_client_")
_LARGEST: Final = frozenset({"onewriter_wal_size_bytes", "onewriter_oldest_reader_age_seconds"})
_BUCKET: Final = "_bucket"
# Figures by their keys in the command's JSON, in the order of `Exposition.since`.
_RATES: Final = {
    "writes_per_s": "onewriter_writes_total",
    "commits_per_s": "onewriter_commits_total",
    "reruns_per_s": "onewriter_reruns_total",
    "busy_retries_per_s": "onewriter_busy_retries_total",
}
_GAUGES: Final = {
    "pending": "onewriter_pending",
    "readers_used": "db_client_connection_count used",
    "readers_idle": "db_client_connection_count idle",
    "wal_bytes": "onewriter_wal_size_bytes",
    "oldest_reader_s": "onewriter_oldest_reader_age_seconds",
}
_WAITS: Final = {
    "write_wait": "onewriter_write_wait_seconds",
    "commit": "onewriter_commit_duration_seconds",
    "read_wait": "db_client_connection_wait_time_seconds",
}
Figures = Mapping[str, float | None]


@dataclass(slots=True)
class Series:
    """What is told of one database: values by their names, and the buckets of histograms by their bounds."""

    values: dict[str, float] = field(default_factory=dict[str, float])
    buckets: dict[str, dict[float, float]] = field(default_factory=dict[str, dict[float, float]])

    def add(self, name: str, labels: Mapping[str, str], value: float) -> None:
        """Take one sample in (E2)."""
        if name.endswith(_BUCKET):
            bounds = self.buckets.setdefault(name.removesuffix(_BUCKET), {})
            bound = float(labels.get("le", "nan"))
            bounds[bound] = bounds.get(bound, 0.0) + value
            return
        key = f"{name} {labels[_STATE]}" if _STATE in labels else name
        known = self.values.get(key)
        if known is None:
            self.values[key] = value
        else:
            self.values[key] = max(known, value) if name in _LARGEST else known + value


@dataclass(frozen=True, slots=True)
class Exposition:
    """What an endpoint told, and when (seconds of the monotonic clock)."""

    at: float
    databases: Mapping[str, Series]

    def since(self, before: Exposition | None) -> dict[str, Figures]:
        """Return the figures of each database; rates, and those of waits, since *before*: None where there is none."""
        return {
            name: _figures(series, None if before is None else before.databases.get(name), before, self.at)
            for name, series in sorted(self.databases.items())
        }


def fetch(url: str) -> Exposition:
    """Ask the endpoint at *url*, for some seconds at most.

    Raises:
        Refused: it cannot be reached, or does not answer with metrics; the message says so.
    """
    at = time.monotonic()
    try:
        text = _get(url, at + _TIMEOUT_S).decode()
    except urllib.error.HTTPError as error:
        error.close()
        raise Refused(f"{url} answers {error.code} {error.reason}; is it the path of its metrics?") from error
    except UnicodeError as error:
        raise Refused(f"{url} does not answer with text of Prometheus: {error}") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        reason = getattr(reason, "strerror", None) or reason or type(error).__name__
        raise Refused(
            f"cannot reach {url}: {reason}; is the service running, and is it its address?"
        ) from error
    return Exposition(at, parse(text, url))


def _get(url: str, deadline: float) -> bytes:
    request = urllib.request.Request(url, headers={"Accept": _ACCEPT})  # noqa: S310 - the caller has seen to it
    answer, length = list[bytes](), 0
    with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response:  # noqa: S310
        while piece := response.read1(_PIECE):
            answer.append(piece)
            length += len(piece)
            if length > _BYTES_MAX:
                raise OSError(f"its answer is longer than {_BYTES_MAX:,} bytes")
            if time.monotonic() > deadline:
                raise OSError(f"its answer takes longer than {_TIMEOUT_S:g} s")
    return b"".join(answer)


def parse(text: str, url: str) -> dict[str, Series]:
    """Return what the *text* of *url* tells of each database.

    Raises:
        Refused: it is none of Prometheus'.
    """
    found: dict[str, Series] = {}
    pools: list[tuple[str, Mapping[str, str], float]] = []
    try:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name.startswith(_OURS) and (sample.labels.get(_SYSTEM) or "sqlite") == "sqlite":
                    if name := sample.labels.get(_DATABASE):  # an exporter may fill in empty ones
                        found.setdefault(name, Series()).add(sample.name, sample.labels, sample.value)
                    elif sample.name.startswith(_POOL_METRICS) and _POOL in sample.labels:
                        pools.append((sample.name, sample.labels, sample.value))
    except Exception as error:  # what the parser raises is whatever its steps do
        raise Refused(
            f"{url} does not answer with metrics of Prometheus: {line(str(error))[:100]}"
        ) from error
    for name, labels, value in pools:  # another library's pool may have a name of its own
        if (series := found.get(labels[_POOL])) is not None:
            series.add(name, labels, value)
    return found


# --- two of them together


def _figures(now: Series, before: Series | None, earlier: Exposition | None, at: float) -> Figures:
    passed = at - earlier.at if earlier is not None and before is not None else 0.0
    figures: dict[str, float | None] = {key: _finite(now.values.get(name)) for key, name in _GAUGES.items()}
    for key, name in _RATES.items():
        more = _more(now.values.get(name), None if before is None else before.values.get(name))
        figures[key] = more / passed if more is not None and passed > 0 else None
    writes, commits = figures["writes_per_s"], figures["commits_per_s"]
    figures["writes_per_commit"] = writes / commits if writes is not None and commits else None
    for key, name in _WAITS.items():
        counts = _counts(now.buckets.get(name), None if before is None else before.buckets.get(name))
        for percent in (50, 99):
            figures[f"{key}_p{percent}_s"] = quantile(percent / 100, counts)
    return figures


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _more(now: float | None, before: float | None) -> float | None:
    """Return by how much a counter has grown (E3)."""
    if now is None or before is None or not math.isfinite(now - before):
        return None
    return now - before if now >= before else now


def _counts(now: Mapping[float, float] | None, before: Mapping[float, float] | None) -> dict[float, float]:
    """Return how many were up to each bound since *before*; nothing where that cannot be told."""
    if not now or not before or any(map(math.isnan, now)):
        return {}
    more = {bound: count - before.get(bound, 0.0) for bound, count in now.items()}
    return dict(now) if any(each < 0 for each in more.values()) else more


def quantile(share: float, counts: Mapping[float, float]) -> float | None:
    """Return the value that the *share* of what was counted does not exceed, evenly spread within its bucket.

    *counts* are cumulative, by the upper bounds. None where nothing was counted. What lies beyond the last bound is
    taken to be there (https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile).
    """
    bounds: Iterable[tuple[float, float]] = sorted(counts.items())
    total = counts.get(math.inf, max(counts.values(), default=0.0))
    if not total or not math.isfinite(total):
        return None
    lower = below = 0.0
    for bound, count in bounds:
        if count >= share * total:
            if math.isinf(bound):
                return lower or None
            return lower + (bound - lower) * (share * total - below) / (count - below)
        lower, below = bound, count
    return lower
