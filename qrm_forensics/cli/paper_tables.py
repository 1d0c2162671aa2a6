"""The paper's two tables in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qrm_forensics.report.i18n import Texts
    from qrm_forensics.report.paper_tables import PaperTable


def print_tables(tables: Sequence[PaperTable], texts: Texts, *, error: bool) -> None:
    """Print both halves of every table, with its notes; on standard error where the output is for a program."""
    from rich.table import Table
    from rich.text import Text

    from qrm_forensics.cli.console import PipedConsole
    from qrm_forensics.report.paper_tables import notes, printed, title

    console = PipedConsole(stderr=error, highlight=False)
    for table in tables:
        for sd in (False, True):
            titles, rows = printed(table, texts, sd=sd)
            shown = Table(title=Text(title(table, texts, sd=sd)), title_justify="left", header_style="bold")
            for i, name in enumerate(titles):
                shown.add_column(Text(name), justify="right" if i else "left", overflow="fold")
            for row in rows:
                # a name from outside is no markup
                shown.add_row(*(Text(c) for c in row))
            console.print(shown)
        for note in notes(table, texts):
            console.print(Text(note, style="dim"))
        console.print()
