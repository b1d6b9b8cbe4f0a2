"""Somebody who follows a database's requests, and keeps what he hears."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from onewriter import Config, traced, tracing
from onewriter.trails import SharedCommit, Trail, Trails, Watched


class Follower:
    """A listener that notes everything, and looks whether each trail is told in order."""

    def __init__(self) -> None:
        """Begin with nothing heard."""
        self.databases: list[Watched] = []
        self.began: list[Trail] = []
        self.over: list[Trail] = []
        self.commits: list[tuple[SharedCommit, list[Trail]]] = []
        # What each ended with: a trail lets go of its error.
        self.errors: dict[Trail, type[BaseException] | None] = {}
        self.wrong: list[str] = []
        self.at_commit: Callable[[], object] = int

    def opened(self, database: Watched) -> None:
        self.databases.append(database)

    def asked(self, trail: Trail) -> None:
        self.began.append(trail)

    def committed(self, commit: SharedCommit, trails: Sequence[Trail]) -> None:
        self.commits.append((commit, list(trails)))
        self.wrong += [f"{each.name} ended before its commit" for each in trails if each in self.errors]
        if not commit.opened_at <= commit.began_at <= commit.ended_at:
            self.wrong.append(f"the commit's times are in disorder: {commit}")
        self.at_commit()

    def ended(self, trail: Trail) -> None:
        if trail in self.errors:
            self.wrong.append(f"{trail.name} ended twice")
        self.errors[trail] = None if trail.error is None else type(trail.error)
        self.over.append(trail)

    def only(self, name: str) -> Trail:
        """Return the one trail of that *name*, which has ended."""
        (found,) = [each for each in self.over if each.name == name]
        return found

    def check(self) -> None:
        """Look whether each has ended once, in order."""
        assert self.wrong == []
        assert len(self.over) == len(self.began)
        assert set(self.over) == set(self.began)
        for each in self.over:
            assert each.ended_at is not None
            assert each.asked_at <= (each.began_at or each.ended_at) <= each.ended_at
            assert each.error is None, "it keeps its error"


class Idle:
    """A listener that looks whether each trail is told in order, and keeps nothing."""

    def opened(self, database: Watched) -> None:
        pass

    def asked(self, trail: Trail) -> None:
        assert trail.ended_at is None

    def committed(self, commit: SharedCommit, trails: Sequence[Trail]) -> None:
        assert all(each.ended_at is None and each.commit is commit for each in trails)

    def ended(self, trail: Trail) -> None:
        assert trail.ended_at is not None


def always() -> None:
    """Have somebody follow every database from now on."""
    chosen = tracing.trails_of

    def trails_of(path: Path, config: Config) -> Trails:
        return chosen(path, config) or Trails(path, [Idle()])

    tracing.trails_of = trails_of
    traced.trails_of = trails_of  # type: ignore[attr-defined] # it has it from there


class Broken:
    """A listener that raises wherever it is asked."""

    def opened(self, database: Watched) -> None:
        raise RuntimeError("broken follower")

    def asked(self, trail: Trail) -> None:
        raise RuntimeError("broken follower")

    def committed(self, commit: SharedCommit, trails: Sequence[Trail]) -> None:
        raise RuntimeError("broken follower")

    def ended(self, trail: Trail) -> None:
        raise RuntimeError("broken follower")
