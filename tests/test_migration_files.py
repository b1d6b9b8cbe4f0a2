"""Migrations that are files of a folder, or of a package."""

from __future__ import annotations

import importlib
import importlib.resources
import sys
import zipfile
from pathlib import Path

import pytest

import onewriter
from onewriter import Migration, MigrationError

FILES = {
    "0001_initial_schema.sql": "CREATE TABLE t (a INTEGER PRIMARY KEY);",
    "0002_rows.sql": "\ufeffINSERT INTO t VALUES (1);\nINSERT INTO t VALUES (2);\n",
    "0010_with  spaces and ünïcode.sql": "-- onewriter: rebuild\nDELETE FROM t WHERE a = 1;",
    "README.md": "what the files are",
    "__init__.py": "",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of migrations."""
    made = tmp_path / "migrations"
    made.mkdir()
    for name, text in FILES.items():
        (made / name).write_text(text, encoding="utf-8")
    return made


def test_a_folder_is_read_in_the_order_of_versions(folder: Path, tmp_path: Path) -> None:
    """By number, not by name; what is no script is passed over."""
    (folder / "9_nine.sql").write_text("SELECT 9")
    migrations = Migration.from_dir(str(folder))
    assert [(each.version, each.name, each.rebuild) for each in migrations] == [
        (1, "initial_schema", False),
        (2, "rows", False),
        (9, "nine", False),
        (10, "with  spaces and ünïcode", True),
    ]
    assert migrations == Migration.from_dir(folder)
    with onewriter.open(tmp_path / "a.db", migrations=migrations) as db:
        assert db.query("SELECT a FROM t") == [(2,)]
        assert db.migration_status(Migration.from_dir(folder)).pending == ()


@pytest.mark.parametrize("zipped", [False, True])
def test_a_package_s_own_files(folder: Path, monkeypatch: pytest.MonkeyPatch, zipped: bool) -> None:
    """Also of a package that is in a zip file."""
    name = f"shipped_{zipped}"
    place = folder.parent / (f"{name}.zip" if zipped else "packages")
    if zipped:
        with zipfile.ZipFile(place, "w") as file:
            file.writestr(f"{name}/__init__.py", "")
            for each in folder.iterdir():
                file.write(each, f"{name}/migrations/{each.name}")
    else:
        (place / name).mkdir(parents=True)
        (place / name / "__init__.py").touch()
        folder.rename(place / name / "migrations")
    monkeypatch.setattr(sys, "path", [str(place), *sys.path])
    importlib.invalidate_caches()
    try:
        migrations = Migration.from_dir(importlib.resources.files(name) / "migrations")
    finally:
        sys.modules.pop(name, None)
    assert [each.version for each in migrations] == [1, 2, 10]


@pytest.mark.parametrize(
    "name, text, message",
    [
        ("initial.sql", b"SELECT 1", "initial.sql must be named by its version and what it does"),
        ("_1.sql", b"SELECT 1", "must be named by its version"),
        ("7.sql", b"SELECT 1", "must be named by its version"),
        ("-1_less.sql", b"SELECT 1", "must be named by its version"),
        ("\u0663_three.sql", b"SELECT 1", "must be named by its version"),
        ("0_none.sql", b"SELECT 1", "whole number above 0"),
        ("01_again.sql", b"SELECT 1", "0001_initial_schema.sql and 01_again.sql have the same version"),
        ("5_empty.sql", b"-- nothing", "migration 5 .'empty'.: the script holds no statement"),
        ("5_latin.sql", b"SELECT '\xe4'", "5_latin.sql: it is not UTF-8"),
    ],
)
def test_a_file_that_is_no_migration_is_named(folder: Path, name: str, text: bytes, message: str) -> None:
    """Before anything runs."""
    (folder / name).write_bytes(text)
    with pytest.raises(MigrationError, match=message) as caught:
        Migration.from_dir(folder)
    assert caught.value.ran == "no"


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    """A folder that is missing or a file, a file that is a folder; an empty folder has no migrations."""
    with pytest.raises(MigrationError, match=r"cannot read the migrations in .*missing: No such file"):
        Migration.from_dir(tmp_path / "missing")
    (tmp_path / "file").touch()
    with pytest.raises(MigrationError, match="Not a directory"):
        Migration.from_dir(tmp_path / "file")
    assert Migration.from_dir(tmp_path) == ()
    (tmp_path / "0001_folder.sql").mkdir()
    with pytest.raises(MigrationError, match=r"cannot read the migration .*0001_folder.sql: Is a directory"):
        Migration.from_dir(tmp_path)
