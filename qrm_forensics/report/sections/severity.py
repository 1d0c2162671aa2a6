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
from qrm_forensics.report.nouns import Claim, Sentence
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
    closed = [
        Sentence("severity.band", {"low": f"{low:,}", "high": f"{high - 1:,}"})
        for low, high in pairwise(BANDS)
    ]
    return (*closed, Sentence("severity.band_open", {"low": f"{BANDS[-1]:,}"}))


def _section(material: Material, data: BenchmarkData) -> Section | None:
    rows = {v: _counts(material, data, v) for v in data.variants}
    shown = {v: counts for v, counts in rows.items() if counts[-1].value}
    if not shown:
        return None
    names = band_names()
    worst = max(shown, key=lambda v: float(shown[v][-2].value or 0) / float(shown[v][-1].value or 1))
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
        y_unit=shown[worst][-1].unit,
        horizontal=True,
    )
    return Section(
        name="severity",
        part=Part.FAILURES,
        benchmark=data.name,
        title=Sentence("severity.title"),
        answer=(
            Sentence(
                "severity.answer",
                {
                    "variant": worst,
                    "most": shown[worst][-2],
                    "not_right": shown[worst][-1],
                    "low": f"{BANDS[-1]:,}",
                },
            ),
        ),
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


def _counts(material: Material, data: BenchmarkData, variant: str) -> list[Claim]:
    """A claim per band, then how many are not right and measured."""
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
            count(f"{name}/{low}", int(inside.sum()), "definition.severity", of=len(values), table=table, filter=rows)
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
