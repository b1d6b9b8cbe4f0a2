"""Splitting a script: by SQLite's own rule, in time that grows with its length alone."""

from __future__ import annotations

import time

import pytest

from onewriter import DataError, ProgrammingError
from onewriter.statements import Statement, count, split


@pytest.mark.parametrize(
    "script, texts",
    [
        ("", []),
        (" ;\n;; -- nothing; at all\n/* nor; here */", []),
        ("SELECT 1", ["SELECT 1"]),
        ("SELECT 1;SELECT 2", ["SELECT 1;", "SELECT 2"]),
        ("SELECT 1; -- done; really", ["SELECT 1;"]),
        (
            "SELECT 'a;b', \"c;d\", `e;f`, [g;h]; SELECT 2;",
            ["SELECT 'a;b', \"c;d\", `e;f`, [g;h];", "SELECT 2;"],
        ),
        ("SELECT 'it''s; so'; SELECT 2", ["SELECT 'it''s; so';", "SELECT 2"]),
        ("SELECT 1 /* ; */ + -- ;\n 2; SELECT 3", ["SELECT 1 /* ; */ + -- ;\n 2;", "SELECT 3"]),
        ("SELECT '-- no comment;'; SELECT 2", ["SELECT '-- no comment;';", "SELECT 2"]),
        ("SELECT 'never closed; SELECT 2;", ["SELECT 'never closed; SELECT 2;"]),
        ("SELECT 1 /* never closed; SELECT 2;", ["SELECT 1 /* never closed; SELECT 2;"]),
        ("\ufeffSELECT 1; SELECT 2", ["SELECT 1;", "SELECT 2"]),
        ("SELECT 1\r\n;\r\nSELECT 2\r\n", ["SELECT 1\r\n;", "SELECT 2"]),
    ],
)
def test_statements_end_where_sqlite_says(script: str, texts: list[str]) -> None:
    """Semicolons in strings, names and comments end nothing."""
    assert [statement.text for statement in split(script)] == texts
    assert count(script) == len(texts)


@pytest.mark.parametrize(
    "create", ["CREATE TRIGGER", "create temp trigger", "CREATE /* ; */ TEMPORARY\nTRIGGER"]
)
@pytest.mark.parametrize("mark", ["", "\ufeff", "-- first;\n"])
def test_a_trigger_is_one_statement(create: str, mark: str) -> None:
    """Its body has semicolons, and a CASE has an END of its own."""
    trigger = (
        f"{create} x AFTER INSERT ON t BEGIN SELECT CASE WHEN 1 THEN 2 END; UPDATE t SET a = 'END;'; END;"
    )
    assert [statement.text for statement in split(f"{mark}{trigger} SELECT 1")] == [trigger, "SELECT 1"]


def test_lines_are_those_of_the_script() -> None:
    """A statement's line is that of its first word, counted from 1."""
    script = "-- one\n\nSELECT\n1; SELECT 2;\n/* five\n*/ SELECT 'a\nb';\n\nSELECT 3"
    assert list(split(script)) == [
        Statement("SELECT\n1;", 3),
        Statement("SELECT 2;", 4),
        Statement("SELECT 'a\nb';", 6),
        Statement("SELECT 3", 9),
    ]


def test_a_text_that_sqlite_would_cut_short_is_refused() -> None:
    """A NUL ends a text for SQLite; what is not Unicode it cannot have."""
    with pytest.raises(ProgrammingError, match="NUL"):
        list(split("SELECT 1\0; SELECT 2"))
    with pytest.raises(DataError, match="Unicode"):
        list(split("SELECT '\ud800'"))


def test_a_long_script_takes_its_length_in_time() -> None:
    """A text with a million semicolons in one string, and many statements: it took minutes once."""
    script = "INSERT INTO t VALUES ('" + "a;" * 1_000_000 + "');\n" + "INSERT INTO t VALUES (1);\n" * 50_000
    started = time.process_time()
    assert count(script) == 50_001
    assert time.process_time() - started < 5
