"""Accuracy against what a checkpoint costs: bits per weight, packed size, and time per response where it was recorded."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from qrm_forensics.compare import mean_interval
from qrm_forensics.report.checkpoints import tensor_table, variant_table
from qrm_forensics.report.claims import where, with_interval
from qrm_forensics.report.data import BenchmarkData
from qrm_forensics.report.model import BenchmarkReport
from qrm_forensics.report.nouns import Claim, Sentence, Unit
from qrm_forensics.report.sections.material import Material
from qrm_forensics.report.sections.model import Chart, Column, Look, Part, Section, Series, Table, Value

_TIMES = ["variant", "benchmark", "problem_id", "completion_tokens", "seconds"]


@dataclass(frozen=True, slots=True)
class _Cost:
    bits: Claim | None
    megabytes: Claim | None
    seconds: Claim | None
    speed: Claim | None


def build(material: Material) -> Iterable[Section]:
    """One section per benchmark with at least two variants whose accuracy is known."""
    store = material.run.store
    variants, tensors = variant_table(store), tensor_table(store)
    times = store.traces(_TIMES).to_pandas()
    for data, report in material.benchmarks():
        known = {
            c.variant: a
            for c in report.cells
            if (a := c.accuracy[material.run.policy]) is not None and a.value is not None
        }
        if len(known) > 1:
            costs = {v: _cost(material, data, v, variants, tensors, times) for v in known}
            yield _section(data, report, known, costs)


def _cost(
    material: Material,
    data: BenchmarkData,
    variant: str,
    variants: pd.DataFrame,
    tensors: pd.DataFrame,
    times: pd.DataFrame,
) -> _Cost:
    bits = float(variants.loc[variants["variant"] == variant, "bits_per_weight"].astype(float).iloc[0])
    at = where(variant=variant)
    made = Claim(
        f"tradeoff/{variant}/bits_per_weight",
        bits,
        Unit.PLAIN,
        "definition.bits_per_weight",
        table="variants",
        filter=at,
    )
    own = tensors[tensors["variant"] == variant]
    size = Claim(
        *(f"tradeoff/{variant}/megabytes", float(own["bytes"].sum()) / 1e6, Unit.PLAIN, "definition.packed_size"),
        denominator=len(own),
        table="checkpoints",
        filter=at,
    )
    return _Cost(
        bits=material.add(made) if np.isfinite(bits) else None,
        megabytes=material.add(size) if len(own) else None,
        **_times(material, data, variant, times),
    )


def _times(material: Material, data: BenchmarkData, variant: str, times: pd.DataFrame) -> dict[str, Claim | None]:
    """Mean seconds per response, and tokens per second over all responses; None where they were not recorded."""
    rows = times[(times["variant"] == variant) & (times["benchmark"] == data.name)]
    rows = rows[rows["seconds"].notna() & rows["completion_tokens"].notna()]
    total = float(rows["seconds"].sum())
    if not total:
        return {"seconds": None, "speed": None}
    at = where(variant=variant, benchmark=data.name) + " and seconds.notna() and completion_tokens.notna()"
    name = f"tradeoff/{data.name}/{variant}"
    mean = Claim(
        *(f"{name}/seconds", float(rows["seconds"].mean()), Unit.SECONDS, "definition.mean_seconds"),
        denominator=len(rows),
        table="traces",
        filter=at,
    )
    if not data.is_selected(variant):
        per_problem = rows.groupby("problem_id")["seconds"].mean().to_numpy(np.float64)
        mean = with_interval(mean, mean_interval(per_problem), "bootstrap-problems")
    speed = Claim(
        *(f"{name}/speed", float(rows["completion_tokens"].sum()) / total, Unit.PLAIN, "definition.tokens_per_second"),
        denominator=len(rows),
        table="traces",
        filter=at,
    )
    return {"seconds": material.add(mean), "speed": material.add(speed)}


def _section(data: BenchmarkData, report: BenchmarkReport, known: dict[str, Claim], costs: dict[str, _Cost]) -> Section:
    names = [
        n for n in ("bits", "megabytes", "seconds", "speed") if any(getattr(c, n) is not None for c in costs.values())
    ]
    columns = (
        Column("variant", Sentence("ui.variant")),
        Column("accuracy", Sentence("performance.accuracy"), "ci"),
        *(Column(name, Sentence(f"tradeoff.{name}"), "ci" if name == "seconds" else None) for name in names),
    )
    rows: tuple[tuple[Value, ...], ...] = tuple((v, known[v], *(getattr(costs[v], n) for n in names)) for v in known)
    charts = [_chart(n, known, {v: getattr(costs[v], n) for v in known}) for n in ("bits", "seconds")]
    timed = "seconds" in names
    return Section(
        name="tradeoff",
        part=Part.RESULTS,
        benchmark=data.name,
        title=Sentence("tradeoff.title"),
        answer=(_answer(known, costs),),
        charts=tuple(c for c in charts if c is not None),
        tables=(Table("tradeoff", columns, rows, Sentence("tradeoff.caption")),),
        notes=(
            Sentence("tradeoff.simulated" if timed else "tradeoff.no_times", severity="warning" if timed else "info"),
        ),
    )


def _answer(known: dict[str, Claim], costs: dict[str, _Cost]) -> Sentence:
    """What is cheapest, and what is most accurate: two facts, without a trade between them."""
    priced = {v: c.bits for v, c in costs.items() if c.bits is not None}
    if not priced:
        return Sentence("tradeoff.answer_none")
    # of variants with as few bits the most accurate
    cheapest = min(priced, key=lambda v: (float(priced[v].value or 0), -float(known[v].value or 0)))
    highest = max(known, key=lambda v: float(known[v].value or 0))
    slots: dict[str, Claim | str] = {
        "variant": cheapest,
        "bits": priced[cheapest],
        "accuracy": known[cheapest],
        "other": highest,
        "other_accuracy": known[highest],
    }
    return Sentence("tradeoff.answer", slots)


def _chart(name: str, known: dict[str, Claim], costs: dict[str, Claim | None]) -> Chart | None:
    priced = {v: float(c.value) for v, c in costs.items() if c is not None and c.value is not None}
    if len(set(priced.values())) < 2:
        return None
    return Chart(
        name=name,
        look=Look.POINTS,
        title=Sentence(f"tradeoff.chart_{name}"),
        x_title=Sentence(f"tradeoff.{name}"),
        y_title=Sentence("performance.accuracy"),
        series=tuple(
            Series(v, (x,), (known[v].value,), (known[v].ci_low,), (known[v].ci_high,)) for v, x in priced.items()
        ),
        x_unit=Unit.PLAIN if name == "bits" else Unit.SECONDS,
        y_unit=Unit.SHARE,
    )
