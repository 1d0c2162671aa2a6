"""Accuracy against what a checkpoint costs: bits per weight, packed size, memory, and time where it was recorded.

Time is drawn against accuracy only for checkpoints that run as they would be used: a simulated one (rounded weights,
computed in full precision) is as fast per token as the original, whatever its bits.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from qrm_forensics.compare import mean_interval
from qrm_forensics.report.checkpoints import tensor_table, variant_table
from qrm_forensics.report.claims import where, with_interval
from qrm_forensics.report.data import BenchmarkData
from qrm_forensics.report.latency import backends, footprint_table, latency_table, realization
from qrm_forensics.report.nouns import Claim, Sentence, Unit
from qrm_forensics.report.sections.material import Material
from qrm_forensics.report.sections.model import Chart, Column, Look, Part, Section, Series, Table, Value

#: Columns of the measured table that a backend may not tell.
_SIZES = ("disk", "weights", "peak")
_TIMES = ["variant", "benchmark", "problem_id", "completion_tokens", "seconds"]


@dataclass(frozen=True, slots=True)
class _Cost:
    bits: Claim | None
    megabytes: Claim | None
    seconds: Claim | None
    speed: Claim | None
    #: ``original``, ``packed``, ``simulated`` or None where that is not known.
    realization: str | None = None
    latency: Claim | None = None
    alone_speed: Claim | None = None
    disk: Claim | None = None
    weights: Claim | None = None
    peak: Claim | None = None

    @property
    def timed(self) -> bool:
        return self.seconds is not None or self.latency is not None

    @property
    def real(self) -> bool:
        """Whether its time is that of the checkpoint in use."""
        return self.realization in ("original", "packed")


def build(material: Material) -> Iterable[Section]:
    """One section per benchmark with at least two variants whose accuracy is known."""
    store = material.run.store
    variants, tensors = variant_table(store), tensor_table(store)
    times = store.traces(_TIMES).to_pandas()
    alone, footprint = latency_table(store), footprint_table(store)
    for data, report in material.benchmarks():
        known = {
            c.variant: a
            for c in report.cells
            if (a := c.accuracy[material.run.policy]) is not None and a.value is not None
        }
        if len(known) > 1:
            costs = {
                v: replace(
                    _cost(material, data, v, variants, tensors, times),
                    realization=realization(store, material.run.variants[v]),
                    **_alone(material, data, v, alone),
                    **_footprint(material, v, footprint),
                )
                for v in known
            }
            yield _section(data, known, costs, backends(store))


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
    times_of = _times(material, data, variant, times)
    return _Cost(
        bits=material.add(made) if np.isfinite(bits) else None,
        megabytes=material.add(size) if len(own) else None,
        seconds=times_of["seconds"],
        speed=times_of["speed"],
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


def _alone(material: Material, data: BenchmarkData, variant: str, table: pd.DataFrame) -> dict[str, Claim | None]:
    """Mean seconds of a response that was alone in flight, and tokens per second over these; None where none was timed."""
    rows = table[(table["variant"] == variant) & (table["benchmark"] == data.name)]
    if rows.empty:
        return {"latency": None, "alone_speed": None}
    at = where(variant=variant, benchmark=data.name)
    name = f"tradeoff/{data.name}/{variant}"
    seconds = rows["seconds"].to_numpy(np.float64)
    mean = Claim(
        *(f"{name}/latency", float(seconds.mean()), Unit.SECONDS, "definition.latency"),
        denominator=len(rows),
        table="latency",
        filter=at,
    )
    if len(rows) > 1:
        mean = with_interval(mean, mean_interval(seconds), "bootstrap-problems")
    counted = rows[rows["tokens"].notna()]
    total = float(counted["seconds"].sum())
    speed = Claim(
        *(f"{name}/alone_speed", float(counted["tokens"].sum()) / total if total else None, Unit.PLAIN),
        "definition.alone_speed",
        denominator=len(counted),
        table="latency",
        filter=f"{at} and tokens.notna()",
    )
    return {"latency": material.add(mean), "alone_speed": material.add(speed) if total else None}


def _footprint(material: Material, variant: str, table: pd.DataFrame) -> dict[str, Claim | None]:
    """Megabytes on disk, of the weights in memory, and of memory at most; None where it was not measured."""
    rows = table[table["variant"] == variant]
    found: dict[str, Claim | None] = {}
    for name, column in (("disk", "disk_bytes"), ("weights", "weights_bytes"), ("peak", "peak_bytes")):
        value = rows[column].iloc[0] if len(rows) else None
        definition = f"definition.footprint_{name}"
        found[name] = (
            material.add(
                Claim(
                    *(f"tradeoff/{variant}/{name}", float(value) / 1e6, Unit.PLAIN, definition),
                    table="footprint",
                    filter=where(variant=variant),
                )
            )
            if value is not None and np.isfinite(float(value))
            else None
        )
    return found


def _section(data: BenchmarkData, known: dict[str, Claim], costs: dict[str, _Cost], backend: str) -> Section:
    names = [
        n for n in ("bits", "megabytes", "seconds", "speed") if any(getattr(c, n) is not None for c in costs.values())
    ]
    columns = (
        Column("variant", Sentence("ui.variant")),
        Column("accuracy", Sentence("performance.accuracy"), "ci"),
        *(Column(name, Sentence(f"tradeoff.{name}"), "ci" if name == "seconds" else None) for name in names),
    )
    rows: tuple[tuple[Value, ...], ...] = tuple((v, known[v], *(getattr(costs[v], n) for n in names)) for v in known)
    priced = [_chart(n, known, {v: getattr(costs[v], n) for v in known}) for n in ("bits", "megabytes")]
    # only those whose time is that of the checkpoint in use
    time = "latency" if any(c.latency is not None for c in costs.values()) else "seconds"
    priced.append(_chart(time, known, {v: getattr(c, time) for v, c in costs.items() if c.real}))
    measured = _measured(costs)
    return Section(
        name="tradeoff",
        part=Part.RESULTS,
        benchmark=data.name,
        title=Sentence("tradeoff.title"),
        answer=(_answer(known, costs),),
        charts=tuple(c for c in priced if c is not None),
        tables=(
            Table("tradeoff", columns, rows, Sentence("tradeoff.caption")),
            *((measured,) if measured is not None else ()),
        ),
        notes=_notes(costs, backend),
    )


def _measured(costs: dict[str, _Cost]) -> Table | None:
    """What the pass with one response in flight has measured."""
    if all(c.latency is None for c in costs.values()):
        return None
    names = ["latency", *(["alone_speed"] if any(c.alone_speed is not None for c in costs.values()) else []), *_SIZES]
    return Table(
        "latency",
        (
            Column("variant", Sentence("ui.variant")),
            Column("realization", Sentence("tradeoff.realization")),
            *(Column(n, Sentence(f"tradeoff.{n}"), "ci" if n == "latency" else None) for n in names),
        ),
        tuple(
            (v, Sentence(f"tradeoff.is_{c.realization or 'unknown'}"), *(_cell(c, n) for n in names))
            for v, c in costs.items()
        ),
        Sentence("tradeoff.caption_latency"),
    )


def _cell(cost: _Cost, name: str) -> Value:
    """A size that was not measured says so: an empty cell would leave open whether there is one."""
    value: Claim | None = getattr(cost, name)
    return Sentence("tradeoff.not_measured") if value is None and name in _SIZES else value


def _notes(costs: dict[str, _Cost], backend: str) -> tuple[Sentence, ...]:
    """What the times do not say."""
    if not any(c.timed for c in costs.values()):
        return (Sentence("tradeoff.no_times"),)
    unreal = [v for v, c in costs.items() if c.timed and not c.real]
    refused = (Sentence("tradeoff.simulated", {"variants": ", ".join(unreal)}, "warning"),) if unreal else ()
    batch = (Sentence("tradeoff.batch"),) if any(c.seconds is not None for c in costs.values()) else ()
    asked = () if any(c.latency is not None for c in costs.values()) else (Sentence("tradeoff.ask_latency"),)
    silent = [v for v, c in costs.items() if c.latency is not None and c.weights is None]
    slots: dict[str, Claim | str] = {"variants": ", ".join(silent), "backend": backend}
    return refused + batch + asked + ((Sentence("tradeoff.no_memory", slots),) if silent else ())


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
        x_unit=Unit.PLAIN if name in ("bits", "megabytes") else Unit.SECONDS,
        y_unit=Unit.SHARE,
    )
