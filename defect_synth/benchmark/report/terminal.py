"""Tables of the report on a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from defect_synth.benchmark.tables.report_table import ReportTable

_UNLIMITED = 10_000  # columns: lines in files and pipes are not wrapped


def report_console() -> Console:
    """Standard output, wrapped only if it is a terminal."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_UNLIMITED)


def print_table(table: ReportTable, console: Console) -> None:
    """Print a table between its title and its note."""
    columns = Table(box=None, pad_edge=False, header_style="bold")
    for i, name in enumerate(table.head):
        columns.add_column(Text(name), justify="right" if i else "left", overflow="fold")
    for row in table.rows:
        columns.add_row(*map(Text, row))
    console.print(Text(table.title, style="bold"), columns, sep="\n")
    if table.note:
        console.print(Text(table.note, style="dim"))
