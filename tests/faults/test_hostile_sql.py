"""Any text in the place of SQL: the call ends with a value or an error of the library's, and the database works on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import apsw
import hypothesis
import pytest
from hypothesis import strategies as st

import onewriter
from onewriter import Database, ProgrammingError, statements
from tests.support.hostile import (
    ASYNC_DOORS,
    DOORS,
    QUICK,
    attempt,
    attempt_async,
    check_works,
    open_hostile,
    strange_values,
)
from tests.support.oracle import MIGRATION, Ledger
from tests.support.places import in_memory

CONFIG: Final = replace(QUICK, statement_timeout_s=0.1)
SLACK_S: Final = 10.0  # for a machine that pauses; where the time is the square of the length it is minutes
_WORDS: Final = """
SELECT INSERT UPDATE DELETE REPLACE INTO VALUES FROM WHERE t a b c * , ( ) ; = < > || . + - / % ~ & 1 0 -1 1e999 0x7f
NULL 'text' "name" [a] `b` x'00' 'it''s' ? ?1 ?32767 ?0 :a @a $a $a::b(c) #1 AS JOIN LEFT ON USING GROUP BY ORDER LIMIT
HAVING UNION ALL EXCEPT WITH RECURSIVE r(x) CREATE TEMP TABLE TRIGGER INDEX VIEW VIRTUAL BEGIN COMMIT ROLLBACK END
SAVEPOINT s RELEASE TO ATTACH DETACH ':memory:' PRAGMA journal_mode writable_schema user_version query_only locking_mode
wal_checkpoint integrity_check foreign_keys recursive_triggers VACUUM ANALYZE REINDEX EXPLAIN QUERY PLAN RETURNING ON
CONFLICT DO NOTHING UPSERT IF NOT EXISTS DROP ALTER RENAME COLUMN ADD STRICT WITHOUT ROWID PRIMARY KEY UNIQUE CHECK
REFERENCES DEFERRABLE CASE WHEN THEN ELSE CAST LIKE GLOB MATCH REGEXP IN BETWEEN IS COLLATE NOCASE OVER PARTITION
RAISE(IGNORE) RAISE(ROLLBACK,'x') sqlite_schema sqlite_sequence json_each('[1]') json('{') zeroblob(1000000000)
randomblob(9) load_extension('x') abs(-9223372036854775808) printf('%.*c',1000000000,'x') char(0) readfile('x')
sqlite3_unlock writefile('x','y') fts3_tokenizer('x') edit('x') hex(zeroblob(1000000)) likelihood(1,2) group_concat(a)
"""
_WHOLE: Final = (
    "SELECT * FROM t",
    "INSERT INTO t VALUES (1, 2, 3) RETURNING a",
    "INSERT OR ROLLBACK INTO t VALUES (1, 2, 3)",
    "WITH RECURSIVE r(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM r) SELECT count(*) FROM r",
    "CREATE TRIGGER tr AFTER INSERT ON t BEGIN SELECT RAISE(ROLLBACK, 'no'); END",
    "CREATE TABLE u AS SELECT * FROM t",
    "DROP TABLE t",
    "PRAGMA journal_mode = DELETE",
    "PRAGMA temp_store = 2",
    "PRAGMA user_version = 7",
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "END",
    "VACUUM INTO 'copy.db'",
    "ATTACH 'other.db' AS other",
    "SELECT 1; SELECT 2",
    "SELECT randomblob(1e9)",
)
_BLANKS: Final = (
    " ",
    " ",
    " ",
    "",
    "\n",
    "\t",
    "\0",
    "\ud800",
    "\ufeff",
    "--x\n",
    "/*",
    "*/",
    "--",
    "'",
    '"',
    "\x1b",
)
FRAGMENTS: Final = st.one_of(
    st.sampled_from(_WORDS.split()), st.sampled_from(_WHOLE), st.sampled_from(_BLANKS), st.text(max_size=5)
)


def _joined(parts: list[str], blank: str) -> str:
    return blank.join(parts)


TEXTS: Final = st.builds(_joined, st.lists(FRAGMENTS, max_size=14), st.sampled_from(_BLANKS))
PARAMS: Final = st.sampled_from(((), (1,), ("x", 2), {}, {"a": 1}, {"a": 1, "b": None}, [None] * 5))


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    """A database that may be maltreated."""
    with in_memory(tmp_path / "disk") as folder, open_hostile(folder / "a.db", CONFIG) as opened:
        yield opened


@pytest.fixture
def examples(pytestconfig: pytest.Config) -> int:
    """How many texts are drawn: more with a longer ``--soak``."""
    soak_s: float | None = pytestconfig.getoption("--soak")
    return max(1, int((soak_s or 0.0) * 100))


def test_any_text_is_done_or_refused(db: Database, seed: int, examples: int) -> None:
    """Words, whole statements and noise in any order, by every door."""
    ledger = Ledger()

    @hypothesis.seed(seed)
    @hypothesis.settings(max_examples=examples, database=None)
    @hypothesis.given(sql=TEXTS, params=PARAMS, door=st.sampled_from(list(DOORS)))
    def ask(sql: str, params: object, door: str) -> None:
        attempt(lambda: DOORS[door](db, sql, params), (door, sql, params))
        stats = db.stats()
        assert (stats.pending, stats.readers_lent) == (0, 0)

    ask()
    check_works(db, ledger)
    assert db.check() == []


def test_any_text_of_a_task_is_done_or_refused(tmp_path: Path, seed: int, examples: int) -> None:
    """The same by asyncio."""
    open_hostile(tmp_path / "a.db", CONFIG).close()
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        db = runner.run(onewriter.aio.open(tmp_path / "a.db", config=CONFIG, migrations=[MIGRATION]))

        @hypothesis.seed(seed)
        @hypothesis.settings(max_examples=max(1, examples // 4), database=None)
        @hypothesis.given(sql=TEXTS, params=PARAMS, door=st.sampled_from(list(ASYNC_DOORS)))
        def ask(sql: str, params: object, door: str) -> None:
            attempt_async(loop, lambda: ASYNC_DOORS[door](db, sql, params), (door, sql, params))

        ask()
        runner.run(db.close())
    with open_hostile(tmp_path / "a.db") as again:
        check_works(again, Ledger())


@pytest.mark.parametrize("door", DOORS)
def test_what_is_no_text_is_refused(db: Database, door: str) -> None:
    """Whatever it is; a text of a caller's own class is one."""
    for value in strange_values():
        attempt(lambda: DOORS[door](db, value, ()), (door, value))  # noqa: B023 - called at once
    check_works(db, Ledger())


LONG: Final[dict[str, str]] = {
    "brackets": "SELECT " + "(" * 100_000,
    "closed brackets": "SELECT " + "(" * 5_000 + "1" + ")" * 5_000,
    "cases": "SELECT " + "CASE WHEN 1 THEN " * 20_000,
    "selects": "SELECT * FROM (" * 20_000,
    "unions": " UNION ALL ".join(["SELECT 1"] * 20_000),
    "sums": "SELECT 1" + "+1" * 100_000,
    "columns": "SELECT " + ",".join(["1"] * 50_000),
    "values": "VALUES " + ",".join(["(1)"] * 100_000),
    "a name": "SELECT " + "a" * 1_000_000,
    "a text": "SELECT '" + "a" * 1_000_000 + "'",
    "an open text": "SELECT '" + "a;" * 500_000,
    "quotes": "'" * 1_000_001,
    "comments": "/*" * 500_000,
    "closed comments": "/**/" * 200_000 + "SELECT 1",
    "lines": "--\n" * 200_000 + "SELECT 1",
    "semicolons": ";" * 1_000_000,
    "statements": "SELECT 1;" * 20_000,
    "a trigger": "CREATE TRIGGER tr AFTER INSERT ON t BEGIN " + "SELECT 1;" * 20_000 + "END;",
    "an open trigger": "CREATE TRIGGER x" + ";" * 100_000,
    "ends": "CREATE TRIGGER x" + ";END " * 50_000,
    "explained": "EXPLAIN " + "1 " * 50_000,
    "parameters": "SELECT " + ",".join(["?"] * 40_000),
    "names": "SELECT "
    + ",".join(f":a{number}" for number in range(5_000)),  # SQLite takes their square in time
    "a number": "SELECT ?" + "9" * 100_000,
    "open names": "SELECT " + ":a(" * 200_000,
    "colons": "SELECT " + ":" * 1_000_000,
    "double colons": "SELECT " + "$a::" * 200_000,
    "signs": "SELECT " + "@" * 500_000,
    "json": "SELECT json('" + "[" * 100_000 + "')",
    "blanks": " " * 1_000_000,
}


@pytest.mark.parametrize("text", LONG)
def test_a_long_text_takes_no_longer_than_its_length(db: Database, text: str) -> None:
    """Deep or long in whatever way; looked at by the library too, for its statements and its parameters' names."""
    began = time.monotonic()
    for door, params in (("query", ()), ("execute", {"a": 1}), ("execute_many", {"a": 1}), ("script", ())):
        attempt(lambda: DOORS[door](db, LONG[text], params), (door, text))  # noqa: B023 - called at once
    assert time.monotonic() - began < 4 * CONFIG.statement_timeout_s + SLACK_S
    check_works(db, Ledger())


TOKENS: Final = (
    *(
        "create",
        "CREATE",
        "temp",
        "temporary",
        "trigger",
        "TRIGGER",
        "end",
        "END",
        "explain",
        "query",
        "select",
    ),
    *(
        ";",
        ";",
        ";",
        " ",
        " ",
        "\n",
        "\t",
        "\v",
        "--x\n",
        "/*;*/",
        "'a;b'",
        '"end"',
        "[;]",
        "`;`",
        "x",
        "$",
        "1",
    ),
    *("(", ")", "'", "/*", "--", "é", "\ufeff", "\xa0", "\u2028", "_", "-", "/"),
)


def _by_sqlite(script: str) -> list[str]:
    """Return the statements of *script* by SQLite's own function, which is asked at every semicolon."""
    found: list[str] = []
    start = statements._skip(script, 0)
    while start < len(script):
        ends = (end for end in range(start + 1, len(script) + 1) if script[end - 1] == ";")
        end = next((end for end in ends if apsw.complete(script[start:end])), None)
        if end is None:
            return [*found, script[start:].rstrip()]
        found.append(script[start:end])
        start = statements._skip(script, end)
    return found


def test_statements_end_where_sqlite_says(seed: int, examples: int) -> None:
    """Also in triggers, and in what is none."""

    @hypothesis.seed(seed)
    @hypothesis.settings(max_examples=examples, database=None)
    @hypothesis.given(st.lists(st.sampled_from(TOKENS), max_size=24).map("".join))
    def compare(script: str) -> None:
        assert [each.text for each in statements.split(script)] == _by_sqlite(script)

    compare()


def test_the_judge_sees_another_error(db: Database) -> None:
    """The test of the test: what is neither the library's nor the caller's own is told."""

    def raises() -> None:
        raise LookupError("slipped out")

    with pytest.raises(AssertionError, match="'a case' raised LookupError"):
        attempt(raises, "a case")
    assert isinstance(attempt(lambda: db.query("nonsense"), ""), ProgrammingError)
    assert attempt(lambda: db.query("SELECT 1"), "") is None


def test_the_judge_sees_a_database_that_lost_a_write(db: Database) -> None:
    """The test of the test: a row that is gone is missed."""
    ledger = Ledger()
    check_works(db, ledger)
    db.execute("DELETE FROM unit WHERE rowid = 3")
    with pytest.raises(AssertionError, match="half-done"):
        check_works(db, ledger)
