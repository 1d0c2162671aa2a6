"""A section of a report: a question, its answer in one sentence, charts, tables and quotations, all made from claims.

Every section is drawn by the same code in every format: HTML, Markdown, CSV, LaTeX and JSON.  A section holds no
prose; its title, its answer and its notes are catalogue sentences.  What it is computed from is not written down
here: it follows from the definitions of the claims that it shows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from qrm_forensics.report.nouns import Claim, Sentence, Unit


class Part(StrEnum):
    """Where in the report a section stands; sections of a part keep the order in which they were built."""

    EXECUTIVE = "executive"  # after the findings; over all benchmarks
    RESULTS = "results"  # of one benchmark, after the accuracy table
    FAILURES = "failures"  # of one benchmark, after its loops
    CAUSES = "causes"  # of one benchmark, before its cases
    APPENDIX = "appendix"  # before the definitions


@dataclass(frozen=True, slots=True)
class Quote:
    """Text that a model wrote, as a cell of a table or an example: cut, never altered.

    ``char`` is the offset of its first character in the response (code points), None where it has none.
    """

    text: str
    variant: str | None = None
    problem_id: str | None = None
    char: int | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem of a benchmark, named in a cell; HTML links it to its responses."""

    benchmark: str
    problem_id: str


#: What a cell holds: a number with evidence, words from a catalogue, a name from outside (a variant, a subject),
#: text of a model, a problem, or nothing.
Value = Claim | Sentence | Quote | Problem | str | None


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.  ``name`` is that of the CSV file; ``style`` how claims are printed in print:
    None (the value), ``ci`` (with the interval), ``fraction`` (with the counts), ``share`` (a count as a share).
    """

    name: str
    title: Sentence
    style: str | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """``name`` is unique among the tables of a report but for the benchmark; it is the name of the CSV file.

    ``total`` is a last row, ``checked`` whether it is the sum of the rows (None: it claims to be none).
    """

    name: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Value, ...], ...]
    caption: Sentence | None = None
    total: tuple[Value, ...] | None = None
    checked: bool | None = None

    def __post_init__(self) -> None:
        for row in (*self.rows, *((self.total,) if self.total is not None else ())):
            if len(row) != len(self.columns):
                raise ValueError(f"table {self.name!r}: a row of {len(row)} cells under {len(self.columns)} columns")


class Look(StrEnum):
    """How a chart is drawn."""

    BARS = "bars"  # one group of bars per x, one bar per series; x are names
    STACKED = "stacked"  # bars on top of each other; x are names
    LINES = "lines"
    STEPS = "steps"  # a step function, the value holds to the right
    POINTS = "points"  # x, y with intervals


@dataclass(frozen=True, slots=True)
class Series:
    """Points of a chart.  ``name``: a variant or other name from outside, or words.  ``x``: numbers, or names for
    bars (catalogue sentences too).  ``y`` may be None where there is nothing; ``low``, ``high`` are limits of an
    interval, of the length of ``y`` or empty.  ``labels`` are names printed at the points, of that length or empty.
    """

    name: str | Sentence
    x: tuple[float | str | Sentence, ...]
    y: tuple[float | None, ...]
    low: tuple[float | None, ...] = ()
    high: tuple[float | None, ...] = ()
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("y", "low", "high", "labels"):
            found = getattr(self, name)
            if len(found) != len(self.x) and (found or name == "y"):
                raise ValueError(f"series {self.name!r}: {len(found)} {name} for {len(self.x)} x")


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart, in values as they are stored (a share is 0..1); every one repeats numbers of a table of its section."""

    name: str
    look: Look
    title: Sentence
    x_title: Sentence | None
    y_title: Sentence | None
    series: tuple[Series, ...]
    x_unit: Unit = Unit.PLAIN
    y_unit: Unit = Unit.PLAIN
    note: Sentence | None = None
    horizontal: bool = False
    log_x: bool = False


@dataclass(frozen=True, slots=True)
class Section:
    """A question with its answer.  ``name`` is stable and unique per benchmark (``severity``).

    ``benchmark`` is None for a section over all of them.  ``answer``: the first sentence is the answer, the others
    say more.  ``empty`` says why there is nothing to show; then there are no charts, tables or quotes.
    """

    name: str
    part: Part
    benchmark: str | None
    title: Sentence
    answer: tuple[Sentence, ...]
    charts: tuple[Chart, ...] = ()
    tables: tuple[Table, ...] = ()
    quotes: tuple[Quote, ...] = ()
    notes: tuple[Sentence, ...] = ()
    empty: Sentence | None = None

    def claims(self) -> Iterator[Claim]:
        """Every claim that the section shows, in the order of reading, some more than once."""
        for sentence in (self.title, *self.answer, *self.notes, *((self.empty,) if self.empty else ())):
            yield from _of_sentence(sentence)
        for table in self.tables:
            for row in (*table.rows, *((table.total,) if table.total else ())):
                for value in row:
                    if isinstance(value, Claim):
                        yield value
                    elif isinstance(value, Sentence):
                        yield from _of_sentence(value)

    def definitions(self) -> tuple[str, ...]:
        """Keys of the definitions of what is shown, in the order of reading."""
        return tuple(dict.fromkeys(claim.definition for claim in self.claims()))


def _of_sentence(sentence: Sentence) -> Iterator[Claim]:
    return (slot for slot in sentence.slots.values() if isinstance(slot, Claim))
