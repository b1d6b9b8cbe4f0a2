"""Statements that share a commit without a savepoint each, and what becomes of them when one fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from onewriter import SQL, Database, Error, IntegrityError, ProgrammingError, Result, Transaction, writer
from tests.support.databases import Held, in_line, names, open_items
from tests.support.steps import Call, wait_until

INSERT = "INSERT INTO item (name) VALUES (?)"
# What each leaves, or would, where nothing undoes it: two rows of three; a key that points nowhere; nothing.
FAILING = {
    "or fail": "INSERT OR FAIL INTO item (name) VALUES ('x'), ('y'), ('x')",
    "deferred key": "INSERT INTO part (item, later) SELECT id, 99 FROM item LIMIT 1",
    "check": "UPDATE item SET size = CASE name WHEN 'before' THEN 5 ELSE -1 END WHERE true",
}


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    """A database whose batches close only when the line is empty."""
    with open_items(tmp_path) as opened:
        yield opened


def _insert(db: Database, name: str) -> Callable[[], Result]:
    return lambda: db.execute(INSERT, (name,))


def _error(call: Call[object]) -> BaseException | None:
    try:
        call.result()
    except Error as error:
        return error
    return None


def _together(db: Database, *asks: Callable[[], object]) -> list[BaseException | None]:
    """Bring *asks* into the line behind a write that has a commit of its own; return what each raised, in order."""
    return [_error(call) for call in in_line(db, *asks)]


@pytest.mark.parametrize("how", FAILING)
def test_what_a_bare_statement_left_is_undone(db: Database, how: str) -> None:
    """Those before and after it are committed together; the next time it has a savepoint, and nobody runs again."""
    db.execute(INSERT, ("first",))
    for round_, again in ((1, 3), (2, 3)):
        before = db.stats()
        errors = _together(
            db,
            _insert(db, f"before {round_}"),
            lambda: db.execute("UPDATE item SET size = 1 WHERE name = 'first'"),
            lambda: db.execute(SQL(FAILING[how])),
            _insert(db, f"after {round_}"),
        )
        assert [type(error) for error in errors] == [type(None), type(None), IntegrityError, type(None)]
        after = db.stats()
        assert names(db)[-2:] == [f"before {round_}", f"after {round_}"]
        assert after.commits - before.commits == 2  # the transaction's, and theirs
        assert after.reruns == again
    assert db.query("SELECT count(*) FROM part") == [(0,)]
    assert db.query("SELECT count(*) FROM item WHERE name IN ('x', 'y') OR size > 1") == [(0,)]
    assert db.check() == []


def test_a_guilty_one_that_runs_again_is_told_once(db: Database) -> None:
    """And each of two different ones fails alone, however they stand."""
    errors = _together(
        db,
        _insert(db, "one"),
        _insert(db, "one"),
        lambda: db.execute_many(INSERT, [("two",), ("three",), ("two",)]),
        lambda: db.execute("INSERT INTO nothing VALUES (1)"),
        _insert(db, "four"),
    )
    assert [type(error) for error in errors] == [
        type(None),
        IntegrityError,
        IntegrityError,
        ProgrammingError,
        type(None),
    ]
    assert names(db) == ["one", "four"]


def test_a_function_is_not_called_again_for_a_statement(db: Database) -> None:
    """Beside it each statement has a savepoint, whether it came before or after."""
    runs: list[str] = []

    def work(tx: Transaction) -> None:
        runs.append("run")
        tx.execute(INSERT, ("mine",))

    errors = _together(
        db, lambda: db.write(work), _insert(db, "one"), _insert(db, "mine"), _insert(db, "two")
    )
    assert isinstance(errors[2], IntegrityError)
    assert runs == ["run"]
    assert names(db) == ["mine", "one", "two"]
    assert db.stats().reruns == 0


def test_who_was_told_has_a_moment_to_come_back(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before a commit that waits for the disk, where more shared the last one; not where it cost nothing."""
    late: list[Call[object]] = []

    def another(_seconds: float) -> None:
        late.append(Call(_insert(db, "late"), "late"))
        wait_until(lambda: db.stats().pending == 1, "its place in line")

    monkeypatch.setattr(writer, "_sleep", another)
    for took_s, came in ((0.0, 0), (1.0, 1)):
        held = Held(db, f"held {took_s}")
        waiting = Call(_insert(db, f"waiting {took_s}"), "waiting")
        held.wait_for(1)
        assert db._core.writer is not None
        batch = db._core.writer.batch
        batch._took_s, batch._last_members = took_s, 10
        before = db.stats().commits
        held.let_go()
        waiting.result()
        held.call.result()
        assert len(late) == came
        assert db.stats().commits - before == 1
    late[0].result()
