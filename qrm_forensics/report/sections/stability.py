"""Several samples per problem: which problems are right always, sometimes and never, and how far apart the passes are."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from qrm_forensics.report.claims import count, where
from qrm_forensics.report.data import BenchmarkData
from qrm_forensics.report.nouns import Claim, Sentence, Unit
from qrm_forensics.report.sections.material import Material
from qrm_forensics.report.sections.model import Chart, Column, Look, Part, Section, Series, Table, Value

KINDS = ("always", "sometimes", "never")


def build(material: Material) -> Iterable[Section]:
    """One section per benchmark with a variant that has several judged responses to some problem."""
    for data, _ in material.benchmarks():
        rows = {v: counts for v in data.variants if (counts := _counts(material, data, v)) is not None}
        if rows:
            yield _section(material, data, rows)


def _counts(material: Material, data: BenchmarkData, variant: str) -> list[Claim] | None:
    """Problems with at least two judged responses: always, sometimes, never right, and all of them."""
    policy = material.run.policy
    right = data.right(variant, policy)
    judged = np.isfinite(right)
    number = np.bincount(data.problem_of_row[judged], minlength=len(data.problem_ids))
    hits = np.bincount(data.problem_of_row[judged], right[judged], minlength=len(data.problem_ids))
    several = number > 1
    if not several.any():
        return None
    n = int(several.sum())
    always, never = int((hits == number)[several].sum()), int((hits == 0)[several].sum())
    values = {"always": always, "sometimes": n - always - never, "never": never}
    at = where(variant=variant, benchmark=data.name, policy=policy) + " and status != 'unscored'"
    name = f"stability/{data.name}/{variant}"
    found = [
        count(f"{name}/{kind}", values[kind], f"definition.stability_{kind}", of=n, table="verdicts", filter=at)
        for kind in KINDS
    ]
    found.append(count(f"{name}/problems", n, "definition.stability_problems", table="verdicts", filter=at))
    return [material.add(claim) for claim in found]


def _passes(material: Material, data: BenchmarkData, variant: str) -> tuple[Claim | None, Claim | None]:
    """Lowest and highest accuracy of one pass over the benchmark: a seed, or a sample where there is one seed."""
    policy = material.run.policy
    frame = data.of(variant)
    frame = frame[frame[f"right:{policy}"].notna()]
    by = next((c for c in ("seed", "sample") if frame[c].nunique() > 1), None)
    if by is None or data.is_selected(variant):
        return None, None
    means = frame.groupby(by)[f"right:{policy}"].mean()
    at = where(variant=variant, benchmark=data.name, policy=policy) + " and status != 'unscored'"
    made = []
    for kind, value, which in (("lowest", means.min(), means.idxmin()), ("highest", means.max(), means.idxmax())):
        claim = Claim(
            *(f"stability/{data.name}/{variant}/{kind}", float(value), Unit.SHARE, "definition.stability_pass"),
            denominator=int((frame[by] == which).sum()),
            table="verdicts",
            filter=f"{at} and {by} == {which}",
        )
        made.append(material.add(claim))
    return made[0], made[1]


def _section(material: Material, data: BenchmarkData, rows: dict[str, list[Claim]]) -> Section:
    columns = (
        Column("variant", Sentence("ui.variant")),
        *(Column(kind, Sentence(f"stability.{kind}"), "share") for kind in KINDS),
        Column("problems", Sentence("stability.problems")),
        Column("lowest", Sentence("stability.lowest")),
        Column("highest", Sentence("stability.highest")),
    )
    table: list[tuple[Value, ...]] = [(v, *claims, *_passes(material, data, v)) for v, claims in rows.items()]
    unsteady = max(rows, key=lambda v: float(rows[v][1].value or 0) / float(rows[v][3].value or 1))
    slots: dict[str, Claim | str] = {
        "variant": unsteady,
        "sometimes": rows[unsteady][1],
        "problems": rows[unsteady][3],
        "always": rows[unsteady][0],
        "never": rows[unsteady][2],
    }
    chart = Chart(
        name="stability",
        look=Look.STACKED,
        title=Sentence("stability.chart"),
        x_title=None,
        y_title=Sentence("stability.problems"),
        series=tuple(
            Series(Sentence(f"stability.{kind}"), tuple(rows), tuple(float(c[i].value or 0) for c in rows.values()))
            for i, kind in enumerate(KINDS)
        ),
        y_unit=Unit.COUNT,
        horizontal=True,
    )
    return Section(
        name="stability",
        part=Part.RESULTS,
        benchmark=data.name,
        title=Sentence("stability.title"),
        answer=(Sentence("stability.answer", slots),),
        charts=(chart,),
        tables=(Table("stability", columns, tuple(table), Sentence("stability.caption")),),
    )
