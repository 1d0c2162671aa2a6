"""Comparing two checkpoints: comparability, paired statistics, gates, slices, and one verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from qrm_forensics.compare.accuracy import Accuracy, accuracy, judged
from qrm_forensics.compare.alignment import Aligned, Rows, align, shared_scorers
from qrm_forensics.compare.comparability import Check, CheckStatus, Comparability, Severity, check
from qrm_forensics.compare.drift import Drift
from qrm_forensics.compare.flip_table import flip_table
from qrm_forensics.compare.gates import BenchmarkGates, Gate, benchmark_gates, judge
from qrm_forensics.compare.items import Facts, Side
from qrm_forensics.compare.lengths import LengthChange
from qrm_forensics.compare.rules import DEFAULT, Rules
from qrm_forensics.compare.sensitivity import Sensitivity, sensitivity
from qrm_forensics.compare.sentences import reason
from qrm_forensics.compare.slices import SliceColumn, slices
from qrm_forensics.compare.tables import TABLES
from qrm_forensics.compare.verdict import Decision, Verdict, decide


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """Everything that was found.  Where the sides are not comparable no number about the responses is computed:
    ``results``, ``gates``, ``slices``, ``lengths``, ``drifts`` and ``sensitivity`` are None.

    ``results``: accuracy per benchmark and scoring policy, the deciding policy of a benchmark first.
    ``lengths`` and ``drifts`` are by benchmark, for those that have the columns.
    """

    baseline: Facts
    candidate: Facts
    second_baseline: Facts | None
    rules: Rules
    comparability: Comparability
    decision: Decision
    results: tuple[Accuracy, ...] | None
    gates: tuple[Gate, ...] | None
    slices: tuple[SliceColumn, ...] | None
    lengths: Mapping[str, LengthChange] | None
    drifts: Mapping[str, Drift] | None
    sensitivity: tuple[Sensitivity, ...] | None
    aligned: tuple[Aligned, ...]

    @property
    def verdict(self) -> Verdict:
        return self.decision.verdict

    @property
    def exit_code(self) -> int:
        return self.decision.exit_code

    def table(self, what: str = "accuracy") -> pd.DataFrame:
        """One of ``accuracy``, ``gates``, ``slices``, ``outcomes`` and ``checks``; all but the last are empty where not comparable.

        Shares and differences are in percent and percentage points.  Raises KeyError for another name.
        """
        return TABLES[what](self)

    def flips(self) -> pd.DataFrame:
        """The problems that moved, see ``flip_table``; none where not comparable."""
        told = [r for r in self.results or () if r.same_as is None]
        by_name = {a.benchmark: a for a in self.aligned}
        return flip_table([(by_name[r.benchmark], r.scorer) for r in told])

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain JSON values; every figure once, with its unit, definition, n and interval."""
        from qrm_forensics.compare.describe import as_dict

        return as_dict(self)

    def __repr__(self) -> str:
        lines = [f"{self.candidate.name} against {self.baseline.name}: {self.verdict.replace('_', ' ')}"]
        return "\n".join([*lines, *(f"- {reason.text}" for reason in self.decision.reasons)])

    def _repr_html_(self) -> str:
        from qrm_forensics.compare.describe import as_html

        return as_html(self)


def compare(
    baseline: Side | str | Path,
    candidate: Side | str | Path,
    *,
    policy: Rules = DEFAULT,
    second_baseline: Side | str | Path | None = None,
) -> Comparison:
    """Compare ``candidate`` with ``baseline``; ``second_baseline`` is another run of the baseline, for its noise.

    A text or path is read with :func:`qrm_forensics.compare.sides.load_side`.  Raises InputError for what cannot be
    read, and for rules that ask for a column or scoring policy that is not there.
    """
    first, other = _side(baseline), _side(candidate)
    again = None if second_baseline is None else _side(second_baseline)
    comparability = check(first, other, policy)
    if again is not None:
        note = _second(first, again, policy)
        comparability = replace(comparability, checks=(*comparability.checks, note))
        usable = again if note.status is CheckStatus.OK else None
    else:
        usable = None
    second_facts = None if again is None else again.facts
    if not comparability.comparable:
        decision = decide(comparability, (), (), {}, policy)
        nothing = (None, None, None, None, None, None)
        return Comparison(first.facts, other.facts, second_facts, policy, comparability, decision, *nothing, ())
    aligned = tuple(align(first, other, s.benchmark, policy.cluster) for s in comparability.shared if s.shared)
    scorers = shared_scorers((first, other), policy.scorers)
    found = [_benchmark(a, scorers, usable, policy) for a in aligned]
    results = tuple(r for f in found for r in f.results)
    gates = judge([g for f in found for g in f.gates.gates], policy)
    truncated = {a.benchmark: _mean(a.baseline.numbers("truncated")) for a in aligned}
    return Comparison(
        baseline=first.facts,
        candidate=other.facts,
        second_baseline=second_facts,
        rules=policy,
        comparability=comparability,
        decision=decide(comparability, results, gates, truncated, policy),
        results=results,
        gates=gates,
        slices=tuple(s for f in found for s in f.slices),
        lengths={a.benchmark: f.gates.length for a, f in zip(aligned, found, strict=True) if f.gates.length},
        drifts={a.benchmark: f.gates.drift for a, f in zip(aligned, found, strict=True) if f.gates.drift},
        sensitivity=tuple(s for f in found for s in f.sensitivity),
        aligned=aligned,
    )


def _side(given: Side | str | Path) -> Side:
    if isinstance(given, Side):
        return given
    from qrm_forensics.compare.sides import load_side

    return load_side(given)


def _second(baseline: Side, second: Side, rules: Rules) -> Check:
    """Whether a second run can tell the noise of the first: another run of the same, comparable, and not a copy."""
    shown = (baseline.facts.name, second.facts.name)
    found = check(
        baseline, second, replace(rules, min_overlap=0.0, planned=None, planned_samples=None, planned_seeds=None)
    )
    if found.identical:
        said = reason("check_second_identical")
    elif found.blockers:
        said = reason("check_second_differs", note=found.blockers[0].note)
    else:
        return Check("second_baseline", CheckStatus.OK, Severity.INFO, *shown, None)
    return Check("second_baseline", CheckStatus.DIFFERS, Severity.WARNS, *shown, said)


@dataclass(frozen=True, slots=True)
class _Benchmark:
    results: tuple[Accuracy, ...]
    gates: BenchmarkGates
    slices: tuple[SliceColumn, ...]
    sensitivity: tuple[Sensitivity, ...]


def _benchmark(aligned: Aligned, scorers: Sequence[str], second: Side | None, rules: Rules) -> _Benchmark:
    again = None
    if second is not None:
        mine = (second.items["benchmark"] == aligned.benchmark).to_numpy(dtype=bool)
        again = Rows(second.items[mine], aligned.ids, second.facts.name)
    results: list[Accuracy] = []
    for scorer in scorers:
        same = next((r.scorer for r in results if _judged_alike(aligned, r.scorer, scorer)), None)
        usable = again if second is not None and scorer in second.policies else None
        result = accuracy(aligned, scorer, rules, usable, same)
        if result is not None:
            results.append(result)
    nothing = np.full(len(aligned), np.nan)
    right = (nothing, nothing)
    cut: tuple[SliceColumn, ...] = ()
    if results:
        first = results[0].scorer
        right = tuple(side.by_problem(side.right(first))[0] for side in (aligned.baseline, aligned.candidate))  # type: ignore[assignment]
        cut = slices(aligned, judged(aligned, first), first, rules)
    return _Benchmark(
        results=tuple(results),
        gates=benchmark_gates(aligned, results, right, rules),
        slices=cut,
        sensitivity=sensitivity(aligned, results, rules.alpha) if results else (),
    )


def _judged_alike(aligned: Aligned, first: str, second: str) -> bool:
    """Whether two policies give every response the same share right."""
    return all(
        bool(np.array_equal(side.right(first), side.right(second), equal_nan=True))
        for side in (aligned.baseline, aligned.candidate)
    )


def _mean(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else 0.0
