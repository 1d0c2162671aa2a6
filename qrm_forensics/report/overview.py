"""The table that a reader sees first: one row per variant of a benchmark, one column per figure, nothing new computed.

Language and markup are the template's (``parts/overview.html.j2``): this says which claims stand where, which columns
are shown until the reader chooses others, and how long the bar in a cell is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from qrm_forensics.records import Coverage
from qrm_forensics.report.model import BenchmarkReport, Cell
from qrm_forensics.report.nouns import Claim, Sentence
from qrm_forensics.report.tables import centre_columns, rate_columns

#: Measured columns that are shown until the reader chooses others.
SHOWN = frozenset({"loop", "truncated", "n_words", "n_tokens"})
#: Lexical diversity: the first of these that was measured (short responses have no window of 500 words).
DIVERSITY = ("mattr_500", "ttr")
#: The discourse marker that the reference study counted.
MARKER = "wait"


class Bar(StrEnum):
    """How a number is drawn in its cell; the number is always printed too."""

    SPAN = "span"  # a share on a scale from 0 to 1, with its interval
    SIGNED = "signed"  # to the left or the right of zero, as long as the largest of the column allows
    SIZE = "size"  # from zero, as long as the largest of the column allows


@dataclass(frozen=True, slots=True)
class OverviewColumn:
    """``name`` is that of the column in the page's address; ``extent`` the largest value that its bars have to hold."""

    name: str
    title: Sentence
    small: Sentence | None
    bar: Bar | None
    shown: bool
    extent: float


@dataclass(frozen=True, slots=True)
class OverviewRow:
    """One variant; ``claims`` in the order of the columns, None where there is no such figure."""

    variant: str
    reference: bool
    coverage: Coverage
    claims: tuple[Claim | None, ...]


@dataclass(frozen=True, slots=True)
class Overview:
    columns: tuple[OverviewColumn, ...]
    rows: tuple[OverviewRow, ...]


def bar(column: OverviewColumn, claim: Claim | None) -> float | None:
    """Length of the bar of a cell as a share of the largest, -1..1; None where the cell has no bar."""
    if claim is None or claim.value is None or column.bar in (None, Bar.SPAN) or not column.extent:
        return None
    return float(claim.value) / column.extent


def overview(benchmark: BenchmarkReport, policies: Sequence[str]) -> Overview:
    """The overview of a benchmark; ``policies`` in the order of display, the first one is shown."""
    first = policies[0]
    pairs = {(p.variant, p.policy): p for p in benchmark.pairs}
    waits = {row.variant: row.overall for row in benchmark.markers if row.marker == MARKER}
    columns: list[OverviewColumn] = []
    found: list[list[Claim | None]] = []

    def add(
        name: str,
        title: Sentence,
        get: Callable[[Cell], Claim | None],
        *,
        bar: Bar | None = None,
        shown: bool = True,
        small: Sentence | None = None,
    ) -> None:
        claims = [get(cell) for cell in benchmark.cells]
        if any(c is not None for c in claims):
            extent = max((abs(float(c.value)) for c in claims if c is not None and c.value is not None), default=0.0)
            # A column in which nothing is known is there for the asking only.
            told = shown and any(c is not None and (c.value is not None or c.numerator is not None) for c in claims)
            columns.append(OverviewColumn(name, title, small, bar, told, extent))
            found.append(claims)

    add("n", Sentence("ui.n"), lambda c: c.n)
    for policy in policies:
        title = Sentence("ui.accuracy_of", {"policy": policy})
        add(f"accuracy.{policy}", title, _accuracy(policy), bar=Bar.SPAN, shown=policy == first)
    if benchmark.pairs:
        for policy in policies:
            add(
                f"difference.{policy}",
                Sentence("ui.overview.difference", {"policy": policy}),
                lambda c, policy=policy: p.difference if (p := pairs.get((c.variant, policy))) else None,  # type: ignore[misc]
                bar=Bar.SIGNED,
                shown=policy == first,
            )
        add("lost", Sentence("ui.lost"), lambda c: p.lost if (p := pairs.get((c.variant, first))) else None)
        add("gained", Sentence("ui.gained"), lambda c: p.gained if (p := pairs.get((c.variant, first))) else None)
    rates = rate_columns(benchmark)
    for name in [r for r in rates if r in SHOWN]:
        add(name, _measured(name), lambda c, name=name: c.rates.get(name), bar=Bar.SIZE)  # type: ignore[misc]
    add("missing", Sentence("ui.missing"), lambda c: c.missing.get(first), bar=Bar.SIZE)
    centres = centre_columns(benchmark)
    shown = SHOWN | {next((name for name in DIVERSITY if name in centres), "")}
    for name in sorted(centres, key=lambda name: name not in shown):
        add(
            name,
            _measured(name),
            lambda c, name=name: c.centres.get(name),  # type: ignore[misc]
            bar=Bar.SIZE,
            shown=name in shown,
            small=Sentence("ui.median"),
        )
        if name == "n_words":
            add("wait", Sentence("ui.overview.wait"), lambda c: waits.get(c.variant), bar=Bar.SIZE)
    if "n_words" not in centres:
        add("wait", Sentence("ui.overview.wait"), lambda c: waits.get(c.variant), bar=Bar.SIZE)
    for name in [r for r in rates if r not in SHOWN]:
        add(name, _measured(name), lambda c, name=name: c.rates.get(name), bar=Bar.SIZE, shown=False)  # type: ignore[misc]
    rows = tuple(
        OverviewRow(c.variant, c.variant == benchmark.reference, c.coverage, tuple(column[i] for column in found))
        for i, c in enumerate(benchmark.cells)
    )
    return Overview(tuple(columns), rows)


def _accuracy(policy: str) -> Callable[[Cell], Claim | None]:
    """The accuracy; of problems that somebody selected, how many were right."""
    return lambda cell: cell.accuracy.get(policy) or cell.correct.get(policy)


def _measured(name: str) -> Sentence:
    return Sentence("ui.overview.column", {"column": name})
