"""What a person sees while something goes on: a live bar on a terminal, plain lines anywhere else."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

LINES_PER_ACTIVITY = 10
GAP = "  "


def show_rows(
    console: Console, headings: Sequence[str], rows: Sequence[Sequence[str]], *, title: str | None = None
) -> None:
    """A table: drawn on a terminal; anywhere else plain lines, whose columns are aligned and never folded.

    A cell that is a number is set to the right.
    """
    right = [all(_is_figure(row[column]) for row in rows) for column in range(len(headings))]
    if console.is_terminal:
        table = Table(title=title, title_justify="left")
        for heading, figures in zip(headings, right, strict=True):
            table.add_column(heading, justify="right" if figures else "left", no_wrap=heading == headings[0])
        for row in rows:
            # As text: what is in brackets is no markup.
            table.add_row(*map(Text, row))
        console.print(table)
        return
    if title:
        console.print(title, highlight=False, markup=False, soft_wrap=True)
    widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
    for line in (headings, *rows):
        places = zip(line, widths, right, strict=True)
        cells = (cell.rjust(width) if figures else cell.ljust(width) for cell, width, figures in places)
        console.print(GAP.join(cells).rstrip(), highlight=False, markup=False, soft_wrap=True)


def _is_figure(cell: str) -> bool:
    return not cell.strip("0123456789.,%-+")


class Activity:
    """Something that goes on, with a count where there is one."""

    def __init__(self, console: Console, title: str, total: int | None, bar: Progress | None) -> None:
        self._console = console
        self._title = title
        self._bar = bar
        self._told = 0
        self._task = bar.add_task(title, total=total, note="") if bar is not None else None
        if bar is None:
            self._print(f"{title} ...")

    def advance_to(self, done: int, total: int | None, note: str = "") -> None:
        """Show how far it is; on plain output about ten lines in all."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, total=total, note=note)
        elif total and done * LINES_PER_ACTIVITY // total > self._told:
            self._told = done * LINES_PER_ACTIVITY // total
            self._print(f"{self._title}: {done}/{total}{'  ' + note if note else ''}")

    def say(self, sentence: str) -> None:
        """A line of its own, above the bar."""
        self._print(f"  {sentence}")

    def _print(self, line: str) -> None:
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)


class Display:
    """Writes for people on a console."""

    def __init__(self, console: Console) -> None:
        self.console = console

    @contextmanager
    def activity(self, title: str, total: int | None = None) -> Iterator[Activity]:
        """Show something that goes on while the block runs."""
        if not self.console.is_terminal:
            yield Activity(self.console, title, total, None)
            return
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            *((MofNCompleteColumn(),) if total is not None else ()),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}"),
        )
        with Progress(*columns, console=self.console, transient=False) as bar:
            yield Activity(self.console, title, total, bar)

    def say(self, sentence: str) -> None:
        """One line."""
        self.console.print(sentence, highlight=False, markup=False, soft_wrap=True)
