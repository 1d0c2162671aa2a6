"""Difficulty: accuracy and length by level, and whether quantization costs more on the harder problems."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from scipy.stats import linregress, t

from qrm_forensics.compare import Interval, holm
from qrm_forensics.report.claims import Source, where, with_interval
from qrm_forensics.report.data import BenchmarkData
from qrm_forensics.report.model import Category
from qrm_forensics.report.nouns import Claim, Sentence, Unit
from qrm_forensics.report.pairs import shared_rows
from qrm_forensics.report.sections.material import Material
from qrm_forensics.report.sections.model import Chart, Column, Look, Part, Section, Series, Table, Value
from qrm_forensics.report.sections.quantities import TOKENS, WORDS, Quantity, centre
from qrm_forensics.report.significance import ALPHA


def build(material: Material) -> Iterable[Section]:
    """Two sections per benchmark whose problems have at least two levels, over the variants that nobody selected for."""
    for data, report in material.benchmarks():
        levels = [c for c in report.categories if c.dimension == "level"]
        shown = [v for v in data.variants if not data.is_selected(v)]
        if len(levels) > 1 and shown:
            yield _accuracy(material, data, levels, shown)
            length = _length(material, data, levels, shown)
            if length is not None:
                yield length


def _level_columns(levels: list[Category]) -> tuple[Column, ...]:
    return tuple(Column(f"level_{c.name}", Sentence("levels.level", {"level": c.name}), "ci") for c in levels)


def _accuracy(material: Material, data: BenchmarkData, levels: list[Category], shown: list[str]) -> Section:
    policy = material.run.policy
    values = {v: [next((r.accuracy[policy] for r in c.rows if r.variant == v), None) for c in levels] for v in shown}
    trends = _trends(material, data)
    columns = (
        Column("variant", Sentence("ui.variant")),
        *_level_columns(levels),
        Column("trend", Sentence("levels.trend"), "ci"),
        Column("p", Sentence("best.p")),
    )
    rows = tuple((v, *claims, *trends.get(v, (None, None))) for v, claims in values.items())
    counts: tuple[Value, ...] = (Sentence("levels.problems"), *(_largest(c, shown) for c in levels), None, None)
    return Section(
        name="levels",
        part=Part.RESULTS,
        benchmark=data.name,
        title=Sentence("levels.title"),
        answer=_answer(trends),
        charts=_lines(
            "accuracy", Sentence("levels.chart"), Sentence("performance.accuracy"), levels, values, Unit.SHARE
        ),
        tables=(Table("levels", columns, (*rows, counts), Sentence("levels.caption")),),
    )


def _largest(category: Category, shown: list[str]) -> Claim | None:
    """Responses of the variant that answered most of the level."""
    return max(
        (r.n for r in category.rows if r.variant in shown), key=lambda claim: float(claim.value or 0), default=None
    )


def _trends(material: Material, data: BenchmarkData) -> dict[str, tuple[Claim, Claim]]:
    """Variant -> slope of the paired difference over the level, and its p after Holm over the variants.

    Least squares over problems, the interval and the test by Student's t; levels that are no numbers go by their order.
    """
    policy = material.run.policy
    order = _level_numbers(data)
    found: dict[str, tuple[float, float, float, int, Source]] = {}
    for (benchmark, variant), tested in material.evidence.pairs.get(policy, {}).items():
        if benchmark != data.name:
            continue
        x, y = data.right(tested.pair.reference, policy), data.right(variant, policy)
        rows = shared_rows(x, y)
        problems, was = data.by_problem(x, rows)
        moved = data.by_problem(y, rows)[1] - was
        level = np.array([order.get(data.problem_ids[i], np.nan) for i in problems])
        known = np.isfinite(level)
        if len(np.unique(level[known])) < 2 or known.sum() < 4 or np.ptp(moved[known]) == 0:
            continue
        line = linregress(level[known], moved[known])
        source: Source = {
            "table": "verdicts+problems",
            "filter": where(benchmark=data.name, policy=policy, variant=[tested.pair.reference, variant])
            + " and level.notna()",
        }
        found[variant] = (float(line.slope), float(line.stderr), float(line.pvalue), int(known.sum()), source)
    adjusted = holm([p for _, _, p, _, _ in found.values()])
    made = {}
    for (variant, (slope, error, _, n, source)), value in zip(found.items(), adjusted, strict=True):
        name = f"levels/{data.name}/{variant}"
        claim = Claim(f"{name}/trend", slope, Unit.POINTS, "definition.level_trend", denominator=n, **source)
        half = float(t.ppf(0.975, n - 2)) * error
        p = Claim(f"{name}/trend_p", value, Unit.P_VALUE, "definition.level_trend_p", denominator=n, **source)
        made[variant] = (
            material.add(with_interval(claim, Interval(slope - half, slope + half), "student-t")),
            material.add(p),
        )
    return made


def _level_numbers(data: BenchmarkData) -> Mapping[str, float]:
    """Problem id -> its level as a number: the level itself, or its place among the sorted levels."""
    own = data.frame[["problem_id", "level"]].dropna().drop_duplicates()
    names = sorted({str(n) for n in own["level"]})
    numbers = (
        {n: float(n) for n in names}
        if all(n.isdecimal() for n in names)
        else dict(zip(names, map(float, range(len(names))), strict=True))
    )
    return {str(i): numbers[str(level)] for i, level in zip(own["problem_id"], own["level"], strict=True)}


def _answer(trends: Mapping[str, tuple[Claim, Claim]]) -> tuple[Sentence, ...]:
    if not trends:
        return (Sentence("levels.answer_none"),)
    told = [v for v, (_, p) in trends.items() if float(p.value or 0) <= ALPHA]
    if not told:
        nearest = min(trends, key=lambda v: float(trends[v][1].value or 0))
        return (Sentence("levels.answer_flat", {"smallest_p": trends[nearest][1], "variant": nearest}),)
    told.sort(key=lambda v: float(trends[v][0].value or 0))
    return tuple(
        Sentence(
            "levels.answer_harder" if float(trends[v][0].value or 0) < 0 else "levels.answer_easier",
            {"variant": v, "trend": trends[v][0], "p": trends[v][1]},
            "bad" if float(trends[v][0].value or 0) < 0 else "info",
        )
        for v in told
    )


def _length(material: Material, data: BenchmarkData, levels: list[Category], shown: list[str]) -> Section | None:
    quantity = next((q for q in (TOKENS, WORDS) if q.column(material.run, data)), None)
    if quantity is None:
        return None
    values = {v: [_mean(material, data, v, c.name, quantity) for c in levels] for v in shown}
    columns = (Column("variant", Sentence("ui.variant")), *_level_columns(levels))
    reference = next((v for v in shown if not material.run.quantized(v)), shown[0])
    first, last = values[reference][0], values[reference][-1]
    told = first is not None and last is not None and first.value is not None and last.value is not None
    return Section(
        name="level_length",
        part=Part.RESULTS,
        benchmark=data.name,
        title=Sentence("levels.length_title"),
        answer=(
            Sentence(
                f"levels.length_answer_{quantity.name}",
                {"variant": reference, "low": levels[0].name, "high": levels[-1].name, "first": first, "last": last},
            )
            if told and first is not None and last is not None
            else Sentence("levels.length_answer_none"),
        ),
        charts=_lines(
            *("length", Sentence("levels.length_chart"), Sentence(f"levels.length_{quantity.name}")),
            *(levels, values, quantity.unit),
        ),
        tables=(
            Table(
                "level_length",
                columns,
                tuple((v, *claims) for v, claims in values.items()),
                Sentence(f"levels.length_caption_{quantity.name}"),
            ),
        ),
    )


def _mean(material: Material, data: BenchmarkData, variant: str, level: str, quantity: Quantity) -> Claim | None:
    frame = data.of(variant)
    frame = frame[frame["level"] == level]
    found = centre(
        *(material.run, data, frame, quantity, f"levels/{data.name}/{variant}/{level}/mean_{quantity.name}"),
        where(variant=variant, benchmark=data.name, level=level),
        tables="+problems",
    )
    return material.add(found) if found is not None and len(frame) else None


def _lines(
    name: str,
    title: Sentence,
    y_title: Sentence,
    levels: list[Category],
    values: Mapping[str, list[Claim | None]],
    unit: Unit,
) -> tuple[Chart, ...]:
    """A line per variant with at least two levels that have a value."""
    series = []
    for variant, claims in values.items():
        shown = [c if c is not None and c.value is not None else None for c in claims]
        if sum(c is not None for c in shown) > 1:
            series.append(
                Series(
                    variant,
                    tuple(c.name for c in levels),
                    tuple(c.value if c else None for c in shown),
                    tuple(c.ci_low if c else None for c in shown),
                    tuple(c.ci_high if c else None for c in shown),
                )
            )
    if not series:
        return ()
    return (Chart(name, Look.LINES, title, Sentence("levels.axis"), y_title, tuple(series), y_unit=unit),)
