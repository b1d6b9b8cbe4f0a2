"""What a thread reports while it works, told to a caller's function on the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from onewriter.functions import check_progress


class Reports:
    """Has *tell* called on the running loop; for the thread, a function of the pages done and the pages in all.

    The thread does not wait for the loop: what *tell* raises ends the work at its next report, or, raised at the last
    one, is raised when the work is done.
    """

    def __init__(self, tell: Callable[[int, int], object]) -> None:
        """Report to *tell*, a plain function."""
        check_progress(tell)
        self._tell = tell
        self._loop = asyncio.get_running_loop()
        self._raised: BaseException | None = None  # written on the loop's thread

    def __call__(self, done: int, total: int) -> None:
        """Report, on the thread; raises what *tell* raised before."""
        self.check()
        with suppress(RuntimeError):  # the loop is closed: the work goes on, as where it was cancelled
            self._loop.call_soon_threadsafe(self._call, done, total)

    def check(self) -> None:
        """Raise what *tell* raised, if it did."""
        if self._raised is not None:
            raise self._raised

    def _call(self, done: int, total: int) -> None:
        if self._raised is None:
            try:
                self._tell(done, total)
            except Exception as error:  # noqa: BLE001 - raised by the thread, and so to the task
                self._raised = error
