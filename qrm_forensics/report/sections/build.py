"""All sections of a report, in the order of reading within their part.

A builder is a function ``(Material) -> Iterable[Section]``.  It reads the joined tables of the run and what the
report has already computed, registers every number in the ledger, and returns sections; it writes no text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from qrm_forensics.report.sections import (
    answers,
    availability,
    best,
    better,
    budget,
    calibrations,
    conclusions,
    deterioration,
    grid,
    hypotheses,
    lengths,
    levels,
    markers,
    methods,
    onset,
    origin,
    patterns,
    performance,
    perplexity,
    repetition,
    severity,
    stability,
    thinking,
    tokens,
    totals,
    tradeoff,
    trajectory,
)
from qrm_forensics.report.sections.material import Material
from qrm_forensics.report.sections.model import Section

Builder = Callable[[Material], Iterable[Section]]

BUILDERS: tuple[Builder, ...] = (
    best.build,
    grid.build,
    methods.build,
    conclusions.build,
    perplexity.build,
    performance.build,
    levels.build,
    tradeoff.build,
    budget.build,
    thinking.build,
    calibrations.build,
    better.build,
    stability.build,
    origin.build,
    lengths.build,
    answers.build,
    severity.build,
    patterns.build,
    onset.build,
    markers.build,
    deterioration.build,
    trajectory.build,
    repetition.build,
    tokens.build,
    hypotheses.build,
    totals.build,
    availability.build,
)


def build_sections(material: Material) -> tuple[Section, ...]:
    """Every section; raises ValueError where two have the same name and benchmark, or two tables the same."""
    sections = tuple(section for build in BUILDERS for section in build(material))
    _unique("section", [(section.benchmark, section.name) for section in sections])
    _unique("table", [(section.benchmark, table.name) for section in sections for table in section.tables])
    return sections


def _unique(what: str, names: list[tuple[str | None, str]]) -> None:
    twice = sorted({str(name) for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{what} made twice: {', '.join(twice)}")
