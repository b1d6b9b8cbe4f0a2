"""What ``import onewriter`` loads, and what it has all the same."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import onewriter


def _in_new_interpreter(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout.strip()


def test_the_import_loads_nothing_else() -> None:
    """Neither SQLite nor asyncio, nor what else takes time: that comes with the first name that is used."""
    program = (
        "import sys; import onewriter; "
        "print(sorted({'apsw', 'asyncio', 'typing', 'dataclasses', 'logging', 'threading'} & set(sys.modules)))"
    )
    assert _in_new_interpreter(program) == "[]"


def test_the_synchronous_names_do_without_asyncio() -> None:
    """It would take longer to load than all of them."""
    program = (
        "import sys; import onewriter; onewriter.open; print('apsw' in sys.modules, 'asyncio' in sys.modules)"
    )
    assert _in_new_interpreter(program) == "True False"


def test_each_name_is_what_type_checkers_take_it_for() -> None:
    """The table of homes says the same as the imports that only type checkers see."""
    tree = ast.parse(Path(onewriter.__file__).read_text(encoding="utf-8"))
    homes = {
        alias.name: "onewriter" if node.module is None else f"onewriter.{node.module}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.level == 1
        for alias in node.names
    }
    assert set(homes) == set(onewriter.__all__)
    for name, home in homes.items():
        assert getattr(onewriter, name) is getattr(importlib.import_module(home), name)


def test_all_names_come_with_a_star() -> None:
    """In a new interpreter, where none was loaded before."""
    program = (
        "import onewriter; listed = set(onewriter.__all__) <= set(dir(onewriter))\n"
        "from onewriter import *\n"
        "print(listed, all(name in globals() for name in onewriter.__all__))"
    )
    assert _in_new_interpreter(program) == "True True"


def test_a_module_is_there_by_its_name() -> None:
    """As if it had been imported."""
    assert _in_new_interpreter("import onewriter; print(onewriter.config.Config().readers_max)") == "4"


@pytest.mark.parametrize("name", ["nothing", "_nothing", "__nothing__"])
def test_what_is_not_there_is_said_so(name: str) -> None:
    """In Python's own words."""
    with pytest.raises(AttributeError, match=f"module 'onewriter' has no attribute '{name}'"):
        getattr(onewriter, name)
