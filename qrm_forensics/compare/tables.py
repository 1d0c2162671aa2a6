"""A comparison as pandas tables; shares in percent, differences in percentage points."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

import pandas as pd

from qrm_forensics.compare.accuracy import Accuracy
from qrm_forensics.compare.shares import Interval

if TYPE_CHECKING:
    from qrm_forensics.compare.comparison import Comparison

Row = dict[str, object]


def _percent(value: float | None) -> float | None:
    return None if value is None else 100 * value


def _limits(interval: Interval | None, name: str = "") -> Row:
    low, high = (None, None) if interval is None else interval
    return {f"{name}low": _percent(low), f"{name}high": _percent(high)}


def _table(rows: list[Row], columns: tuple[str, ...]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list(columns)).convert_dtypes()


ACCURACY = (
    *("benchmark", "scorer", "n", "not_judged", "baseline", "baseline_low", "baseline_high"),
    *("candidate", "candidate_low", "candidate_high", "difference", "low", "high", "lost", "gained", "both", "neither"),
    *("flips", "flips_low", "flips_high", "noise_flips", "excess_flips", "excess_low", "excess_high"),
    *(
        "p_exact",
        "p_mid",
        "p_adjusted",
        "family",
        "detectable",
        "detectable_in_family",
        "needed",
        "equivalent",
        "equivalence_p",
    ),
    *("recovery", "recovery_low", "recovery_high"),
)


def accuracy_table(comparison: Comparison) -> pd.DataFrame:
    """``detectable_in_family`` allows for the adjustment of the gates; it is empty where accuracy is not gated."""
    gates = {(g.benchmark, g.scorer): g for g in comparison.gates or () if g.name == "accuracy"}
    rows = []
    for r in comparison.results or ():
        row = _accuracy(r)
        gate = gates.get((r.benchmark, r.scorer))
        if gate is not None and gate.family:
            row |= {"p_adjusted": gate.p_adjusted, "family": gate.family}
            row["detectable_in_family"] = 100 * r.change.detectable(comparison.rules, gate.family)
        rows.append(row)
    return _table(rows, ACCURACY)


def _accuracy(r: Accuracy) -> Row:
    excess = None if r.noise_floor is None else r.noise_floor.excess
    same = r.equivalence
    return {
        "benchmark": r.benchmark,
        "scorer": r.scorer,
        "n": r.n,
        "not_judged": r.not_judged,
        "baseline": 100 * r.change.baseline,
        **_limits(r.baseline_interval, "baseline_"),
        "candidate": 100 * r.change.candidate,
        **_limits(r.candidate_interval, "candidate_"),
        "difference": 100 * r.change.difference,
        **_limits(r.change.interval),
        "lost": r.lost,
        "gained": r.gained,
        "both": r.both,
        "neither": r.neither,
        "flips": 100 * r.flips.rate,
        **_limits(r.flips.interval, "flips_"),
        "noise_flips": None if excess is None else 100 * excess.baseline,
        "excess_flips": None if excess is None else 100 * excess.difference,
        **_limits(None if excess is None else excess.interval, "excess_"),
        "p_exact": r.change.p_exact,
        "p_mid": r.change.p_mid,
        "detectable": 100 * r.detectable,
        "needed": r.needed,
        "equivalent": None if same is None else same.equivalent,
        "equivalence_p": None if same is None else same.p_value,
        "recovery": None if r.recovery is None else 100 * r.recovery.ratio,
        **_limits(None if r.recovery is None else r.recovery.interval, "recovery_"),
    }


GATES = (
    *("gate", "benchmark", "scorer", "status", "why", "detail", "n", "baseline", "candidate"),
    *("change", "low", "high", "margin", "p", "p_adjusted", "family"),
)


def gates_table(comparison: Comparison) -> pd.DataFrame:
    """Of the length, ``baseline`` and ``candidate`` are medians and the change is percent of the baseline's."""
    rows: list[Row] = []
    for g in comparison.gates or ():
        scale = 1 if g.unit == "ratio" else 100
        rows.append(
            {
                "gate": g.name,
                "benchmark": g.benchmark,
                "scorer": g.scorer,
                "status": str(g.status),
                "why": str(g.why),
                "detail": g.detail or None,
                "n": g.n,
                "baseline": None if g.baseline is None else scale * g.baseline,
                "candidate": None if g.candidate is None else scale * g.candidate,
                "change": _percent(g.change),
                **_limits(g.interval),
                "margin": 100 * g.margin,
                "p": g.p_value,
                "p_adjusted": g.p_adjusted,
                "family": g.family or None,
            }
        )
    return _table(rows, GATES)


SLICES = (
    *("benchmark", "scorer", "column", "value", "n", "baseline", "candidate", "difference", "low", "high"),
    *("lost", "gained", "p", "p_adjusted", "family", "tier", "outcome_blind"),
)


def slices_table(comparison: Comparison) -> pd.DataFrame:
    """``tier`` counts from 1, the least harmed; slices of one tier are not ranked."""
    rows: list[Row] = []
    for column in comparison.slices or ():
        tiers = {name: i for i, tier in enumerate(column.ranking.tiers, 1) for name in tier}
        for s in column.slices:
            rows.append(
                {
                    "benchmark": s.benchmark,
                    "scorer": s.scorer,
                    "column": s.column,
                    "value": s.value,
                    "n": s.n,
                    "baseline": 100 * s.change.baseline,
                    "candidate": 100 * s.change.candidate,
                    "difference": 100 * s.change.difference,
                    **_limits(s.change.interval),
                    "lost": s.change.down,
                    "gained": s.change.up,
                    "p": s.p_value,
                    "p_adjusted": s.p_adjusted,
                    "family": s.family,
                    "tier": tiers[s.value],
                    "outcome_blind": column.blind,
                }
            )
    return _table(rows, SLICES)


OUTCOMES = ("benchmark", "outcome", "n", "baseline", "candidate", "difference", "low", "high", "p", "p_adjusted")


def outcomes_table(comparison: Comparison) -> pd.DataFrame:
    rows: list[Row] = [
        {
            "benchmark": benchmark,
            "outcome": c.category,
            "n": c.change.n,
            "baseline": 100 * c.change.baseline,
            "candidate": 100 * c.change.candidate,
            "difference": 100 * c.change.difference,
            **_limits(c.change.interval),
            "p": c.change.p_value(comparison.rules),
            "p_adjusted": c.p_adjusted,
        }
        for benchmark, drift in (comparison.drifts or {}).items()
        for c in drift.categories
    ]
    return _table(rows, OUTCOMES)


CHECKS = ("check", "benchmark", "status", "severity", "baseline", "candidate", "note")


def checks_table(comparison: Comparison) -> pd.DataFrame:
    rows: list[Row] = [
        {
            "check": c.name,
            "benchmark": c.benchmark,
            "status": str(c.status),
            "severity": str(c.severity),
            "baseline": c.baseline,
            "candidate": c.candidate,
            "note": c.note,
        }
        for c in comparison.comparability.checks
    ]
    return _table(rows, CHECKS)


TABLES: Mapping[str, Callable[[Comparison], pd.DataFrame]] = MappingProxyType(
    {
        "accuracy": accuracy_table,
        "gates": gates_table,
        "slices": slices_table,
        "outcomes": outcomes_table,
        "checks": checks_table,
    }
)
