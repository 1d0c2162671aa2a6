"""Accuracy against length when a model is made to think less or more (arXiv 2504.04823, section 4.3).

Every point was generated under its budget.  What would be left of one run if it had been cut is another question and
another section (:mod:`qrm_forensics.report.sections.budget`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from qrm_forensics.recipes import Thinking, thinking_of, variant_name
from qrm_forensics.report.cells import accuracy_claim
from qrm_forensics.report.claims import count, where, with_interval
from qrm_forensics.report.data import BenchmarkData, RunData
from qrm_forensics.report.nouns import Claim, Sentence, Unit
from qrm_forensics.report.pairs import compare
from qrm_forensics.report.sections.material import Material
from qrm_forensics.report.sections.model import Chart, Column, Look, Part, Section, Series, Table, Value
from qrm_forensics.report.sections.quantities import TOKENS, centre
from qrm_forensics.report.thinking import damage_notice, forced_table, is_free


@dataclass(frozen=True, slots=True)
class _Point:
    """One checkpoint under one budget."""

    variant: str
    base: str
    mode: Thinking
    accuracy: Claim
    tokens: Claim | None
    forced: Claim | None
    from_free: Claim | None
    from_baseline: Claim | None

    @property
    def x(self) -> float:
        return float(self.tokens.value or 0) if self.tokens is not None else 0.0


def build(material: Material) -> Iterable[Section]:
    """One section per benchmark that was answered under a budget."""
    run = material.thinking
    if run is None:
        return
    forced = forced_table(run.store)
    for data in run.benchmarks.values():
        shown = [v for v in data.variants if not data.is_selected(v)]
        if all(is_free(v) for v in shown):
            continue
        points = [p for v in shown if (p := _point(material, run, data, v, forced)) is not None]
        if points:
            lost = damage_notice(run.store, [(v, data.name) for v in data.variants])
            yield _section(run, data, points, lost)


def _point(material: Material, run: RunData, data: BenchmarkData, variant: str, forced: pd.DataFrame) -> _Point | None:
    base, mode = thinking_of(variant)
    frame = data.of(variant)
    at = where(variant=variant, benchmark=data.name)
    judged = f"{at} and {where(policy=run.policy)}"
    accuracy = accuracy_claim(
        data, frame, run.policy, f"{data.name}/{variant}/{run.policy}", {"table": "verdicts", "filter": judged}
    )
    if accuracy.value is None:
        return None
    tokens = centre(run, data, frame, TOKENS, f"thinking/{data.name}/{variant}/tokens", at)
    own = forced[(forced["variant"] == variant) & (forced["benchmark"] == data.name)]
    touched = count(
        *(f"thinking/{data.name}/{variant}/forced", int((own["forced"] > 0).sum()), "definition.thinking_forced"),
        of=len(own),
        table="forced",
        filter=at,
    )
    baseline = variant_name(run.store.baseline or "", mode)
    return _Point(
        variant=variant,
        base=base,
        mode=mode,
        accuracy=material.add(accuracy),
        tokens=material.add(tokens) if tokens is not None else None,
        forced=material.add(touched) if len(own) else None,
        from_free=None if is_free(variant) else _difference(material, run, data, variant, base, "from_free"),
        from_baseline=None
        if baseline == variant
        else _difference(material, run, data, variant, baseline, "from_baseline"),
    )


def _difference(
    material: Material, run: RunData, data: BenchmarkData, variant: str, reference: str, name: str
) -> Claim | None:
    """Accuracy minus that of ``reference`` on the problems that both answered; None without such a problem or another model."""
    if reference not in data.variants or run.variants[reference].model != run.variants[variant].model:
        return None
    result = compare(data, data.right(reference, run.policy), data.right(variant, run.policy))
    if result is None:
        return None
    claim = Claim(
        *(f"thinking/{data.name}/{variant}/{name}", result.difference, Unit.POINTS, "definition.difference"),
        denominator=result.n,
        table="verdicts",
        filter=where(benchmark=data.name, policy=run.policy, variant=[reference, variant]),
    )
    return material.add(with_interval(claim, result.interval, result.interval_method))


def _section(run: RunData, data: BenchmarkData, points: list[_Point], lost: Sentence | None) -> Section:
    by_base: dict[str, list[_Point]] = {}
    for point in points:
        by_base.setdefault(point.base, []).append(point)
    lines = {base: sorted(own, key=lambda p: p.x) for base, own in by_base.items()}
    drawn = {base: own for base, own in lines.items() if all(p.tokens is not None for p in own)}
    pseudo = TOKENS.column(run, data) == "n_pseudo_tokens"
    columns = (
        Column("variant", Sentence("ui.variant")),
        Column("thinking", Sentence("thinking.mode")),
        Column("tokens", Sentence("thinking.tokens"), "ci"),
        Column("accuracy", Sentence("performance.accuracy"), "ci"),
        Column("from_free", Sentence("thinking.from_free"), "ci"),
        Column("from_baseline", Sentence("thinking.from_baseline"), "ci"),
        Column("forced", Sentence("thinking.forced"), "fraction"),
    )
    rows: tuple[tuple[Value, ...], ...] = tuple(
        (p.base, str(p.mode), p.tokens, p.accuracy, p.from_free, p.from_baseline, _forced(p))
        for own in lines.values()
        for p in own
    )
    return Section(
        name="thinking",
        part=Part.RESULTS,
        benchmark=data.name,
        title=Sentence("thinking.title"),
        answer=tuple(_answer(own) for own in lines.values()),
        charts=(_curve(drawn),) if drawn else (),
        tables=(Table("thinking", columns, rows, Sentence("thinking.caption", {"policy": run.policy})),),
        notes=(
            *((lost,) if lost is not None else ()),
            Sentence("thinking.modes"),
            Sentence("thinking.apart"),
            *((Sentence("budget.same_column"),) if pseudo else ()),
        ),
    )


def _forced(point: _Point) -> Value:
    """How many responses have forced text; without a budget that is no question, and without a record no zero."""
    if point.forced is not None or point.mode.kind == "free":
        return point.forced
    return Sentence("thinking.unknown")


def _answer(own: list[_Point]) -> Sentence:
    """How right it is when it thinks freely, and the ends of what budgets make of that: facts, no trend."""
    free = next((p for p in own if p.mode.kind == "free"), None)
    budgets = [p for p in own if p.mode.kind != "free"]
    if free is None or not budgets:
        return Sentence("thinking.answer_one", {"variant": own[0].variant, "accuracy": own[0].accuracy})
    low = min(budgets, key=lambda p: (float(p.accuracy.value or 0), p.x))
    high = max(budgets, key=lambda p: (float(p.accuracy.value or 0), -p.x))
    slots: dict[str, Claim | str] = {"variant": free.variant, "accuracy": free.accuracy, "low": low.accuracy}
    if len(budgets) == 1:
        return Sentence("thinking.answer_one_budget", {**slots, "low_mode": str(low.mode)})
    if low.accuracy.value == high.accuracy.value:
        return Sentence("thinking.answer_all_equal", slots)
    ends: dict[str, Claim | str] = {
        "low_mode": str(low.mode),
        "high": high.accuracy,
        "high_mode": str(high.mode),
    }
    return Sentence("thinking.answer", slots | ends)


def _curve(lines: dict[str, list[_Point]]) -> Chart:
    return Chart(
        name="thinking",
        look=Look.LINES,
        title=Sentence("thinking.chart"),
        x_title=Sentence("thinking.tokens"),
        y_title=Sentence("performance.accuracy"),
        series=tuple(
            Series(
                base,
                tuple(p.x for p in own),
                tuple(p.accuracy.value for p in own),
                tuple(p.accuracy.ci_low for p in own),
                tuple(p.accuracy.ci_high for p in own),
                tuple(str(p.mode) for p in own),
            )
            for base, own in lines.items()
        ),
        x_unit=Unit.TOKENS,
        y_unit=Unit.SHARE,
    )
