"""Gates: what a checkpoint must not do worse, each with its own margin, paired test, interval and adjusted p-value.

A gate is *worse* where the change for the worse is told apart from none (adjusted p at most alpha) and is at
least the margin (for accuracy: the floor).  It is *ok* where the interval with confidence 1 - 2 alpha rules a change
beyond the margin out.  Everything else is *unknown*: not measured, or too few problems to tell.

All gates of a comparison are one family for Holm's adjustment, whatever the benchmark or policy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from qrm_forensics.compare.accuracy import Accuracy
from qrm_forensics.compare.alignment import Aligned
from qrm_forensics.compare.change import Change, paired_change
from qrm_forensics.compare.drift import Drift, outcome_drift
from qrm_forensics.compare.lengths import LengthChange, length_change
from qrm_forensics.compare.resampling import Floats
from qrm_forensics.compare.rules import Rules
from qrm_forensics.compare.shares import Interval, holm

#: Gates of a yes/no column of the items.
YES_NO = ("loop", "truncated", "missing_answer")


class GateStatus(StrEnum):
    OK = "ok"
    WORSE = "worse"
    UNKNOWN = "unknown"


class Why(StrEnum):
    """Why a gate is as it is."""

    RULED_OUT = "ruled-out"  # a change beyond the margin is ruled out
    BEYOND_MARGIN = "beyond-margin"
    TOO_FEW = "too-few-problems"  # neither
    NOT_MEASURED = "not-measured"
    NO_NOISE_FLOOR = "no-noise-floor"


@dataclass(frozen=True, slots=True)
class Gate:
    """One gate on one benchmark.  ``harm`` is +1 where a rise is for the worse, -1 where a fall is.

    ``baseline``, ``candidate`` and ``change`` are shares and their difference (``unit`` ``points``); for ``length``
    medians and the geometric mean ratio less one (``ratio``).
    ``margin`` is in the unit of ``change``.  ``interval`` belongs to ``change``; None where there is none.
    ``family``: how many p-values were adjusted together.  ``detail``: the category of outcomes, or the unit of length.
    """

    name: str
    benchmark: str
    scorer: str | None
    unit: str
    harm: int
    margin: float
    n: int
    baseline: float | None = None
    candidate: float | None = None
    change: float | None = None
    interval: Interval | None = None
    narrow: Interval | None = None
    method: str = ""
    p_value: float | None = None
    p_adjusted: float | None = None
    family: int = 0
    status: GateStatus = GateStatus.UNKNOWN
    why: Why = Why.NOT_MEASURED
    detail: str = ""

    @property
    def harm_done(self) -> float | None:
        """The change counted so that above zero is for the worse."""
        return None if self.change is None else self.harm * self.change

    @property
    def worst(self) -> float | None:
        """The largest change for the worse that the 1 - 2 alpha interval leaves open; above zero is for the worse."""
        if self.narrow is None:
            return None
        return self.narrow.high if self.harm > 0 else -self.narrow.low


@dataclass(frozen=True, slots=True)
class BenchmarkGates:
    """Gates of one benchmark before adjustment, with the length and outcome figures behind two of them."""

    gates: tuple[Gate, ...]
    length: LengthChange | None
    drift: Drift | None


def with_change(gate: Gate, change: Change, rules: Rules) -> Gate:
    """The gate with the figures of a paired change, not yet adjusted."""
    return replace(
        gate,
        n=change.n,
        baseline=change.baseline,
        candidate=change.candidate,
        change=change.difference,
        interval=change.interval,
        narrow=change.narrow,
        method=f"{change.test}, {change.interval_method}",
        p_value=change.p_value(rules),
        why=Why.TOO_FEW,
    )


def accuracy_gate(found: Accuracy, rules: Rules) -> Gate | None:
    """None without a margin, and for a policy that judged as another one did."""
    margin = rules.margin("accuracy")
    if margin is None or found.same_as is not None:
        return None
    empty = Gate("accuracy", found.benchmark, found.scorer, "points", -1, margin, found.n)
    return with_change(empty, found.change, rules)


def _flips_gate(found: Accuracy, rules: Rules, margin: float) -> Gate:
    """Flips in excess of the noise floor; without a floor nothing tells damage from sampling."""
    empty = Gate("flips", found.benchmark, found.scorer, "points", 1, margin, found.n)
    if found.noise_floor is None:
        return replace(empty, candidate=found.flips.rate, why=Why.NO_NOISE_FLOOR)
    return with_change(empty, found.noise_floor.excess, rules)


def _yes_no_gate(aligned: Aligned, column: str, rules: Rules, margin: float) -> Gate:
    x, y = (side.by_problem(side.numbers(column))[0] for side in (aligned.baseline, aligned.candidate))
    rows = np.isfinite(x) & np.isfinite(y)
    empty = Gate(column, aligned.benchmark, None, "points", 1, margin, int(rows.sum()))
    if not rows.any():
        return empty
    return with_change(empty, paired_change(x[rows], y[rows], rules, aligned.groups_of(rows)), rules)


def _length_gate(benchmark: str, found: LengthChange | None, margin: float) -> Gate:
    empty = Gate("length", benchmark, None, "ratio", 1, margin, 0)
    if found is None:
        return empty
    wide, narrow = (
        None if limits is None else Interval(limits.low - 1, limits.high - 1)
        for limits in (found.every.interval, found.every.narrow)
    )
    return replace(
        empty,
        n=found.every.n,
        baseline=found.baseline,
        candidate=found.candidate,
        change=found.every.ratio - 1,
        interval=wide,
        narrow=narrow,
        method="paired-permutation, bootstrap of log-ratios",
        p_value=found.p_value,
        why=Why.TOO_FEW,
        detail=found.unit,
    )


def _outcomes_gate(benchmark: str, found: Drift | None, rules: Rules, margin: float) -> Gate:
    """The way to fail whose share rose most clearly; its p-value is already adjusted for the number of categories.

    A distance between outcomes alone says that things changed, not that they became worse, and is not gated.
    """
    empty = Gate("outcomes", benchmark, None, "points", 1, margin, 0)
    top = None if found is None else found.foremost
    if found is None:
        return empty
    if top is None:  # nobody failed on either side
        return with_change(empty, paired_change(np.zeros(found.n), np.zeros(found.n), rules), rules)
    gate = with_change(empty, top.change, rules)
    open_to = [c.change.narrow.high for c in found.categories if c.failing and c.change.narrow is not None]
    narrow = None if gate.narrow is None else Interval(gate.narrow.low, max(open_to))
    return replace(gate, narrow=narrow, p_value=top.p_adjusted, detail=top.category)


def benchmark_gates(
    aligned: Aligned, results: Sequence[Accuracy], right: tuple[Floats, Floats], rules: Rules
) -> BenchmarkGates:
    """Every gate that the rules have a margin for, not yet adjusted.

    ``results``: accuracy of this benchmark, the deciding policy first.  ``right``: shares right under it, [problems].
    """
    length, drift = length_change(aligned, right, rules), outcome_drift(aligned, rules)
    gates = [accuracy_gate(found, rules) for found in results]
    margins = {name: rules.margin(name) for name in rules.margins}
    if (margin := margins.get("flips")) is not None and results:
        gates.append(_flips_gate(results[0], rules, margin))
    for column in YES_NO:
        if (margin := margins.get(column)) is not None:
            gates.append(_yes_no_gate(aligned, column, rules, margin))
    if (margin := margins.get("length")) is not None:
        gates.append(_length_gate(aligned.benchmark, length, margin))
    if (margin := margins.get("outcomes")) is not None:
        gates.append(_outcomes_gate(aligned.benchmark, drift, rules, margin))
    return BenchmarkGates(tuple(g for g in gates if g is not None), length, drift)


def judge(gates: Sequence[Gate], rules: Rules) -> tuple[Gate, ...]:
    """Adjust all p-values as one family and give every gate its status."""
    tested = [i for i, g in enumerate(gates) if g.p_value is not None]
    adjusted = dict(zip(tested, holm([gates[i].p_value or 0.0 for i in tested]), strict=True))
    return tuple(_judged(g, adjusted.get(i), len(tested), rules) for i, g in enumerate(gates))


def _judged(gate: Gate, p_adjusted: float | None, family: int, rules: Rules) -> Gate:
    harm, worst = gate.harm_done, gate.worst
    if p_adjusted is None or harm is None:
        return gate
    found = replace(gate, p_adjusted=p_adjusted, family=family)
    least = rules.floor / 100 if gate.name == "accuracy" else gate.margin
    told_apart = p_adjusted <= rules.alpha and harm > 0 and harm >= least - 1e-12
    if told_apart:
        return replace(found, status=GateStatus.WORSE, why=Why.BEYOND_MARGIN)
    if worst is not None and worst < gate.margin:
        return replace(found, status=GateStatus.OK, why=Why.RULED_OUT)
    return found
