"""Variants of one model on the problems that all of them answered: what a ranking or a mean over them may use."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from qrm_forensics.compare import mean_interval, wilson
from qrm_forensics.compare.change import Change, paired_change
from qrm_forensics.compare.rules import DEFAULT, Rules
from qrm_forensics.records import Coverage
from qrm_forensics.report.claims import Source, all_alike, where, with_interval
from qrm_forensics.report.data import BenchmarkData, Floats, RunData
from qrm_forensics.report.nouns import Claim, Unit
from qrm_forensics.report.sections.material import Material


@dataclass(frozen=True, slots=True)
class Contest:
    """``shares``: variant -> share right per problem, [n] each, over the problems that all of them have judged.

    ``left_out``: variants of the model that answered the benchmark but would shrink the set, or whose problems
    somebody selected.
    """

    data: BenchmarkData
    model: str
    reference: str | None
    shares: dict[str, Floats]
    left_out: tuple[str, ...]
    source: Source

    @property
    def n(self) -> int:
        return len(next(iter(self.shares.values())))

    def change(self, first: str, second: str, rules: Rules = DEFAULT) -> Change:
        """``second`` minus ``first``."""
        return paired_change(self.shares[first], self.shares[second], rules)

    def quantized(self, run: RunData) -> list[str]:
        return [v for v in self.shares if run.quantized(v)]


def contests(material: Material) -> Iterator[Contest]:
    """One per benchmark and model that has at least two variants with shared, unselected, judged problems.

    Where two or more variants answered the whole benchmark, those with only its beginning are left out.
    """
    run = material.run
    for data, _ in material.benchmarks():
        for model in dict.fromkeys(run.variants[v].model for v in data.variants):
            members = [v for v in data.variants if run.variants[v].model == model]
            judged = [v for v in members if not data.is_selected(v) and np.isfinite(data.right(v, run.policy)).any()]
            whole = [v for v in judged if data.coverage[v] is not Coverage.PREFIX]
            chosen = whole if len(whole) > 1 else judged
            if len(chosen) < 2:
                continue
            values = {v: data.right(v, run.policy) for v in chosen}
            rows: NDArray[np.bool_] = np.asarray(np.isfinite(np.stack(list(values.values()))).all(axis=0))
            if not rows.any():
                continue
            yield Contest(
                data=data,
                model=model,
                reference=next((material.references[data.name].get(v) for v in chosen), None),
                shares={v: data.by_problem(x, rows)[1] for v, x in values.items()},
                left_out=tuple(v for v in members if v not in chosen),
                source={
                    "table": "verdicts",
                    "filter": where(benchmark=data.name, policy=run.policy, variant=list(chosen)),
                },
            )


def contest_name(run: RunData, contest: Contest) -> str:
    """Benchmark, and the model where the run has several: a part of claim ids."""
    several = len({v.model for v in run.variants.values()}) > 1
    return f"{contest.data.name}/{contest.model}" if several else contest.data.name


def accuracy_on_shared(claim_id: str, contest: Contest, variants: Sequence[str]) -> Claim:
    """Mean over the shared problems of the share right, of one variant or the mean of several."""
    values = np.mean([contest.shares[v] for v in variants], axis=0)
    n = len(values)
    claim = Claim(
        *(claim_id, float(values.mean()), Unit.SHARE, "definition.contest_accuracy"),
        denominator=n,
        **contest.source,
    )
    if len(variants) == 1 and np.isin(values, (0, 1)).all():
        right = int(values.sum())
        return with_interval(replace(claim, numerator=right), wilson(right, n), "wilson")
    if values.min() == values.max() and values[0] in (0, 1):
        return with_interval(claim, *all_alike(bool(values[0]), n))
    return with_interval(claim, mean_interval(values), "bootstrap-problems")


def difference_claim(claim_id: str, contest: Contest, first: str, second: str, change: Change | None = None) -> Claim:
    """``second`` minus ``first`` on the shared problems, with its 95 % interval."""
    found = change or contest.change(first, second)
    claim = Claim(
        *(claim_id, found.difference, Unit.POINTS, "definition.contest_difference"),
        numerator=found.up - found.down if found.binary else None,
        denominator=found.n,
        **contest.source,
    )
    return with_interval(claim, found.interval, found.interval_method)
