"""Whether onewriter kept its word. The other ways are shown beside it and never judged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .run import Result

_NAMES_MAX = 3


@dataclass(frozen=True, slots=True)
class Verdict:
    """The judgement on one result.

    Attributes:
        reasons: each broken promise, with what broke it; empty where all were kept.
        sentence: all of it in one sentence.
    """

    reasons: tuple[str, ...]
    sentence: str

    @property
    def passed(self) -> bool:
        """Whether every promise was kept."""
        return not self.reasons


def judge(result: Result, *beside: Result) -> Verdict:
    """Hold *result* against: no busy error, no failed upload, no lost or wrong blob, a sound file, no process lost.

    Of the ways *beside* it only this matters, that none lost a process: it would have had less to do than the others.
    """
    reasons = tuple(_reasons(result))
    if reasons:
        return Verdict(reasons, f"{result.title} FAILED: {'; '.join(reasons)}.")
    spoilt = tuple(f"{other.title}: {reason}" for other in beside for reason in _losses(other))
    if spoilt:
        return Verdict(spoilt, f"The run FAILED: {'; '.join(spoilt)}.")
    done, unreadable = len(result.tally.done), len(result.tally.unreadable)
    exception = f" ({unreadable:,} could no longer be read from the source)" if unreadable else ""
    return Verdict(
        (),
        f"{result.title} passed: {done:,} of {result.files:,} uploads done{exception}, none failed, none heard "
        '"database is locked", and every blob reads back with its digest.',
    )


def _reasons(result: Result) -> list[str]:
    tally, audit = result.tally, result.audit
    reasons = list(_losses(result))
    if tally.busy:
        reasons.append(f'{_count(tally.busy, "write")} heard "database is locked"')
    if tally.failed:
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in tally.errors.most_common())
        # A process that was lost has told how many failed, and not how.
        reasons.append(f"{_count(tally.failed, 'upload')} failed" + (f" ({kinds})" if kinds else ""))
    if audit.lost:
        reasons.append(f"{_count(len(audit.lost), 'acknowledged upload')} lost: {_listed(audit.lost)}")
    if audit.wrong:
        reasons.append(f"{_count(len(audit.wrong), 'blob')} wrong: {_listed(audit.wrong)}")
    if audit.unsound:
        reasons.append(f"the file is not sound: {_listed(audit.unsound)}")
    return reasons


def _losses(result: Result) -> Iterator[str]:
    for share in result.shares:
        if share.lost:
            done = f"{len(share.tally.done):,} of its {_count(share.files, 'upload')} done"
            yield f"process {share.number} of {len(result.shares)} {share.lost}, {done}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _NAMES_MAX
    return ", ".join(names[:_NAMES_MAX]) + (f" and {more:,} more" if more > 0 else "")
