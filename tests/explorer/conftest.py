"""The library on logical threads, for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.explorer.library import faked


@pytest.fixture
def patch() -> Iterator[pytest.MonkeyPatch]:
    """The library runs on logical threads; what a test changes of it beside that is undone."""
    with faked() as patching:
        yield patching


@pytest.fixture
def search_all(pytestconfig: pytest.Config) -> bool:
    """Whether the long cases are to be searched."""
    return bool(pytestconfig.getoption("--search-all"))
