"""Accuracy against the thinking budget: what would be left, had every response been cut at so many tokens.

Read off one run: a response that was longer than the budget counts as not right, because nobody made it answer
early.  The paper (arXiv 2504.04823, section 4.3) forces an answer at the budget, which gives more.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from qrm_forensics.report.cells import finite
from qrm_forensics.report.claims import share, where
from qrm_forensics.report.data import BenchmarkData
from qrm_forensics.report.nouns import Claim, Sentence, Unit
from qrm_forensics.report.sections.material import Material
from qrm_forensics.report.sections.model import Chart, Column, Look, Part, Section, Series, Table, Value
from qrm_forensics.report.sections.quantities import TOKENS, WORDS, Quantity

#: Budgets in the table, at most; each is a power of two.
_BUDGETS = 10
#: A budget is enough where it leaves this share of the right responses.
KEPT = 0.95


def build(material: Material) -> Iterable[Section]:
    """One section per benchmark with lengths and an unselected variant."""
    for data, _ in material.benchmarks():
        quantity = next((q for q in (TOKENS, WORDS) if q.column(material.run, data)), None)
        shown = [v for v in data.variants if not data.is_selected(v)]
        if quantity is not None and shown:
            section = _section(material, data, quantity, shown)
            if section is not None:
                yield section


def budgets(lengths: np.ndarray) -> list[int]:
    """Powers of two from the one that the shortest twentieth is within up to the first that holds every length."""
    last = max(0, math.ceil(math.log2(max(float(lengths.max()), 1))))
    first = max(0, math.floor(math.log2(max(float(np.quantile(lengths, 0.05)), 1))))
    return [1 << k for k in range(max(first, last - _BUDGETS + 1), last + 1)]


def _section(material: Material, data: BenchmarkData, quantity: Quantity, shown: list[str]) -> Section | None:
    column = quantity.column(material.run, data)
    assert column is not None
    frame = data.frame[data.frame["variant"].isin(shown)]
    lengths, _ = finite(frame, column)
    if not len(lengths):
        return None
    grid = budgets(lengths)
    table: dict[str, list[Claim]] = {v: [_at(material, data, v, column, k) for k in grid] for v in shown}
    table = {v: claims for v, claims in table.items() if claims[-1].value is not None}
    if not table:
        return None
    columns = (
        Column("budget", Sentence(f"budget.{quantity.name}")),
        *(Column(v, Sentence("budget.variant", {"variant": v}), "ci") for v in table),
    )
    rows: tuple[tuple[Value, ...], ...] = tuple((f"{k:,}", *(table[v][i] for v in table)) for i, k in enumerate(grid))
    return Section(
        name="budget",
        part=Part.RESULTS,
        benchmark=data.name,
        title=Sentence("budget.title"),
        answer=tuple(_enough(v, grid, claims, quantity) for v, claims in table.items() if claims[-1].value),
        charts=(
            Chart(
                name="budget",
                look=Look.LINES,
                title=Sentence("budget.chart"),
                x_title=Sentence(f"budget.{quantity.name}"),
                y_title=Sentence("performance.accuracy"),
                series=tuple(
                    Series(v, tuple(float(k) for k in grid), tuple(c.value for c in claims))
                    for v, claims in table.items()
                ),
                x_unit=Unit.COUNT,
                y_unit=Unit.SHARE,
                log_x=True,
            ),
        ),
        tables=(Table("budget", columns, rows, Sentence("budget.caption")),),
        notes=(Sentence("budget.cut"), *((Sentence("budget.same_column"),) if column == "n_pseudo_tokens" else ())),
    )


def _at(material: Material, data: BenchmarkData, variant: str, column: str, budget: int) -> Claim:
    """Share right within the budget, of the judged responses whose length is known."""
    run = material.run
    frame = data.of(variant)
    frame = frame[frame[column].notna()]
    right, problems = finite(frame, f"right:{run.policy}")
    judged = frame[frame[f"right:{run.policy}"].notna()]
    within = right * (judged[column].to_numpy(np.float64) <= budget)
    return material.add(
        share(
            *(f"budget/{data.name}/{variant}/{budget}", within, problems, "definition.budget"),
            selected=False,
            table=f"verdicts+{run.tables[column]}",
            filter=where(variant=variant, benchmark=data.name, policy=run.policy) + f" and {column}.notna()",
        )
    )


def _enough(variant: str, grid: list[int], claims: list[Claim], quantity: Quantity) -> Sentence:
    """The smallest budget of the grid that leaves 95 % of the right responses."""
    all_right = float(claims[-1].value or 0)
    i = next(i for i, c in enumerate(claims) if float(c.value or 0) >= KEPT * all_right - 1e-12)
    slots: dict[str, Claim | str] = {
        "variant": variant,
        "budget": f"{grid[i]:,}",
        "accuracy": claims[i],
        "all": claims[-1],
        "kept": f"{100 * KEPT:g}",
    }
    return Sentence(f"budget.answer_{quantity.name}", slots)
