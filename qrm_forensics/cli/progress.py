"""Progress: a live bar on a terminal, plain lines in a log, both on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from qrm_forensics.observing import Observer

PLAIN_EVERY_SECONDS = 10.0


@contextmanager
def observer(title: str) -> Iterator[Observer]:
    """The observer that suits standard error; rich honours NO_COLOR and TERM=dumb by itself."""
    if sys.stderr.isatty():
        bar = _Bar()
        with bar.progress:
            yield bar
    else:
        yield Plain()


class Plain:
    """One line when a step begins, one every ten seconds, one when it ends."""

    def begin(self, step: str, what: str, total: int, done: int = 0) -> None:
        self.step, self.what, self.total, self.done = step, what, total, done
        self.facts: dict[str, str] = {}
        self.start = self.last = time.monotonic()
        resumed = f", {done} already there" if done else ""
        print(f"{step}: {what} ({total}{resumed})", file=sys.stderr, flush=True)

    def advance(self, amount: int = 1, **facts: str) -> None:
        self.done += amount
        self.facts = facts
        if time.monotonic() - self.last > PLAIN_EVERY_SECONDS:
            self.last = time.monotonic()
            self._line("")

    def end(self, note: str = "") -> None:
        self._line(f"done in {time.monotonic() - self.start:.1f} s {note}".rstrip())

    def note(self, text: str) -> None:
        print(f"note: {text}", file=sys.stderr, flush=True)

    def _line(self, tail: str) -> None:
        facts = ", ".join(f"{k} {v}" for k, v in self.facts.items())
        parts = [f"{self.done}/{self.total}", *filter(None, (facts, tail))]
        print(f"{self.step}: {self.what}: {'; '.join(parts)}", file=sys.stderr, flush=True)


class _Bar:
    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        self.progress = Progress(
            TextColumn("[bold]{task.fields[step]:<9}"),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[facts]}", markup=False),
            console=Console(stderr=True),
        )
        self.task = self.progress.add_task("", step="", facts="", visible=False)

    def begin(self, step: str, what: str, total: int, done: int = 0) -> None:
        self.task = self.progress.add_task(what, total=total, completed=done, step=step, facts="")

    def advance(self, amount: int = 1, **facts: str) -> None:
        shown = "  ".join(f"{k} {v}" for k, v in facts.items())
        if shown:
            self.progress.update(self.task, advance=amount, facts=shown)
        else:
            self.progress.update(self.task, advance=amount)

    def end(self, note: str = "") -> None:
        self.progress.stop_task(self.task)

    def note(self, text: str) -> None:
        self.progress.console.print(f"note: {text}", style="yellow", markup=False, highlight=False)
