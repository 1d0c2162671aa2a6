"""How hard do the failures repeat themselves?  Responses that are not right, by how often they say "Wait".

The bands are those of the reference study's report on MATH-500 (0-50, 50-200, 200-500, 500-1,000, 1,000 and more), each
with its lower end and without its upper end, so that they add up; that report's bands share their ends.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import pandas as pd

from qrm_forensics.report.claims import count, where
from qrm_forensics.report.data import BenchmarkData
from qrm_forensics.report.nouns import Claim, Sentence, Unit
from qrm_forensics.report.sections.material import Material
from qrm_forensics.report.sections.model import Chart, Column, Look, Part, Section, Series, Table

COLUMN = "wait_count"
#: Lower ends of the bands, in occurrences of the marker.
BANDS = (0, 50, 200, 500, 1000)


def build(material: Material) -> Iterable[Section]:
    """One section per benchmark, over the variants with a response that is not right (first policy)."""
    if COLUMN not in material.run.tables:
        return
    for data, _ in material.benchmarks():
        if section := _section(material, data):
            yield section


def band_names() -> tuple[Sentence, ...]:
    """``0-49`` … ``1,000 or more`` as sentences with the ends as slots."""
    closed = [Sentence("severity.band", {"low": f"{low:,}", "high": f"{high - 1:,}"}) for low, high in pairwise(BANDS)]
    return (*closed, Sentence("severity.band_open", {"low": f"{BANDS[-1]:,}"}))


def _section(material: Material, data: BenchmarkData) -> Section | None:
    rows = {v: _counts(material, data, v) for v in data.variants}
    shown = {v: counts for v, counts in rows.items() if counts[-1].value}
    if not shown:
        return None
    names = band_names()
    heads = (
        Column("variant", Sentence("ui.variant")),
        *(Column(f"from_{low}", name, "share") for low, name in zip(BANDS, names, strict=True)),
        Column("not_right", Sentence("severity.not_right")),
    )
    chart = Chart(
        name="severity",
        look=Look.STACKED,
        title=Sentence("severity.chart"),
        x_title=None,
        y_title=Sentence("severity.chart_y"),
        series=tuple(
            Series(name, tuple(shown), tuple(float(counts[i].value or 0) for counts in shown.values()))
            for i, name in enumerate(names)
        ),
        y_unit=Unit.COUNT,
        horizontal=True,
    )
    return Section(
        name="severity",
        part=Part.FAILURES,
        benchmark=data.name,
        title=Sentence("severity.title"),
        answer=(_answer(data, shown),),
        charts=(chart,),
        tables=(
            Table(
                name="severity",
                columns=heads,
                rows=tuple((variant, *counts) for variant, counts in shown.items()),
                caption=Sentence("severity.caption"),
            ),
        ),
    )


def _answer(data: BenchmarkData, shown: dict[str, list[Claim]]) -> Sentence:
    """Of the variant that reaches the highest band, with the most of its responses there; unselected ones first."""

    def reached(variant: str) -> int:
        return max((i for i, claim in enumerate(shown[variant][:-1]) if claim.value), default=0)

    def weight(variant: str) -> tuple[bool, int, float]:
        counts, top = shown[variant], reached(variant)
        share = float(counts[top].value or 0) / float(counts[-1].value or 1)
        return not data.is_selected(variant), top, share if top else float(counts[-1].value or 0)

    worst = max(shown, key=weight)
    top = reached(worst)
    slots: dict[str, Claim | str] = {"variant": worst, "not_right": shown[worst][-1]}
    if top == 0:
        return Sentence("severity.answer_low", slots | {"high": f"{BANDS[1]:,}"})
    slots |= {"most": shown[worst][top], "low": f"{BANDS[top]:,}"}
    return Sentence("severity.answer_counts" if data.is_selected(worst) else "severity.answer", slots, "warning")


def _counts(material: Material, data: BenchmarkData, variant: str) -> list[Claim]:
    """A claim per band (of a selected set without a denominator), then how many are not right and measured."""
    run = material.run
    frame = data.of(variant)
    values: pd.Series[float] = frame.loc[frame[f"right:{run.policy}"] == 0, COLUMN].dropna()
    table = f"verdicts+{run.tables[COLUMN]}"
    at = where(variant=variant, benchmark=data.name, policy=run.policy, status=["wrong", "missing"])
    name = f"severity/{data.name}/{variant}"
    found = []
    for low, high in zip(BANDS, (*BANDS[1:], None), strict=True):
        inside = (values >= low) & (values < high) if high is not None else values >= low
        rows = f"{at} and {COLUMN} >= {low}" + (f" and {COLUMN} < {high}" if high is not None else "")
        found.append(
            count(
                *(f"{name}/{low}", int(inside.sum()), "definition.severity"),
                of=None if data.is_selected(variant) else len(values),
                table=table,
                filter=rows,
            )
        )
    found.append(
        count(
            f"{name}/not_right",
            len(values),
            "definition.severity_total",
            table=table,
            filter=f"{at} and {COLUMN}.notna()",
        )
    )
    return [material.add(claim) for claim in found]
