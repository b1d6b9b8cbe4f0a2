"""What the person at the terminal sees: a bar a way, the table, the verdict.

Where output is no terminal (a pipe, a log) there is no bar and no control code, only plain lines.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.table import Table
from rich.text import Text

from .measures import measures, notes
from .progress import OnProgress, Progress
from .run import Result
from .settings import Settings
from .sources import Sources
from .verdict import Verdict


class Terminal:
    """Prints to standard output; rich decides what it can show."""

    def __init__(self, console: Console | None = None) -> None:
        """Print to *console*, or to standard output."""
        self._console = console or Console(highlight=False)

    def announce(self, sources: Sources, settings: Settings) -> None:
        """Say what is about to be uploaded."""
        left_out = (
            f" ({sources.unreadable:,} more cannot be read and are left out)" if sources.unreadable else ""
        )
        self.say(
            f"{len(sources.files):,} files, {sources.total_bytes / 1e6:,.1f} MB, of {sources.folder}{left_out}\n"
            f"{settings.who}, {settings.chunk_bytes:,} bytes a write, "
            f"durability {settings.durability}"
        )

    @contextmanager
    def way(self, title: str, files: int) -> Generator[OnProgress]:
        """Show how a way gets on, while the block runs."""
        if self._console.is_terminal:
            with self._bar(title, files) as show:
                yield show
        else:
            self.say(f"{title}: uploading")
            yield self._plain(title)

    def results(self, results: Sequence[Result], verdict: Verdict) -> None:
        """Show the table of all ways, and the verdict."""
        table = Table(header_style="bold", title_style="")
        table.add_column("")
        for result in results:
            table.add_column(result.title, justify="right", overflow="fold")
        for measure in measures(results):
            cells = zip(measure.values, measure.bad, strict=True)
            table.add_row(measure.label, *(Text(value, "red" if bad else "") for value, bad in cells))
        self._console.print(table)
        for result in results:
            for note in notes(result):
                self.say(f"{result.title}: {note}")
        self._console.print(Text(verdict.sentence, "bold green" if verdict.passed else "bold red"))

    def say(self, text: str) -> None:
        """Print *text* as it is."""
        self._console.print(Text(text))  # not a bare string: a file's name may look like markup

    @contextmanager
    def _bar(self, title: str, files: int) -> Generator[OnProgress]:
        columns = (
            TextColumn("{task.description:<29}", markup=False),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("[red]{task.fields[failed]}"),
            TimeElapsedColumn(),
        )
        # Drawn when there is something new, not by a thread of rich's: two cores have enough to do.
        with Bars(*columns, console=self._console, auto_refresh=False, expand=True) as bars:
            task = bars.add_task(title, total=files, failed="")

            def show(progress: Progress) -> None:
                failed = f"{progress.failed:,} failed" if progress.failed else ""
                bars.update(task, completed=progress.done + progress.failed, failed=failed, refresh=True)

            yield show

    def _plain(self, title: str) -> OnProgress:
        def show(progress: Progress) -> None:
            if progress.reading_back:
                self.say(f"{title}: {progress.done:,} done, {progress.failed:,} failed; reading back")

        return show
