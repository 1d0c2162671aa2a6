"""Accuracy of two sides on the problems that both have a verdict for, under one scoring policy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from qrm_forensics.compare.alignment import Aligned, Rows
from qrm_forensics.compare.change import Change, mean_limits, paired_change
from qrm_forensics.compare.decisions import Equivalence
from qrm_forensics.compare.noise import Flips, NoiseFloor, flips, noise_floor
from qrm_forensics.compare.repeats import Repeats, repeats
from qrm_forensics.compare.resampling import Floats, Ints, ratio_limits
from qrm_forensics.compare.rules import Rules
from qrm_forensics.compare.shares import Interval


@dataclass(frozen=True, slots=True)
class Judged:
    """Per-problem shares right of the problems that both sides have a verdict for, [n] each.

    ``rows`` picks them among the shared problems, ``baseline_samples`` counts the verdicts behind each.
    """

    rows: np.ndarray
    baseline: Floats
    candidate: Floats
    baseline_samples: Ints
    candidate_samples: Ints
    groups: Ints | None

    def __len__(self) -> int:
        return len(self.baseline)


def judged(aligned: Aligned, scorer: str) -> Judged:
    """Responses without a verdict leave the mean of their problem; a problem without any leaves the comparison."""
    x, k = aligned.baseline.by_problem(aligned.baseline.right(scorer))
    y, m = aligned.candidate.by_problem(aligned.candidate.right(scorer))
    rows = (k > 0) & (m > 0)
    return Judged(rows, x[rows], y[rows], k[rows], m[rows], aligned.groups_of(rows))


@dataclass(frozen=True, slots=True)
class Recovery:
    """Candidate's accuracy over the baseline's, with a paired bootstrap interval."""

    ratio: float
    interval: Interval | None


@dataclass(frozen=True, slots=True)
class Accuracy:
    """One benchmark under one scoring policy.  both + lost + gained + neither == n problems.

    ``lost`` and ``gained``: problems that the candidate has right less and more often; those that did not move are
    ``both`` where at least half of the samples are right.  ``not_judged``: shared problems without a verdict on
    a side; ``baseline_statuses`` and ``candidate_statuses`` count responses to shared problems.
    ``equivalence`` and ``needed`` (problems that would make the margin detectable) are None without a margin.
    ``same_as``: another policy that judged every problem the same; such a result is not tested again.
    ``noise_floor`` is None where nothing tells the noise of the baseline, ``repeats`` with one sample per problem.
    """

    benchmark: str
    scorer: str
    n: int
    not_judged: int
    baseline_statuses: Mapping[str, int]
    candidate_statuses: Mapping[str, int]
    both: int
    lost: int
    gained: int
    neither: int
    change: Change
    baseline_interval: Interval | None
    candidate_interval: Interval | None
    interval_method: str
    flips: Flips
    noise_floor: NoiseFloor | None
    detectable: float
    needed: int | None
    equivalence: Equivalence | None
    recovery: Recovery | None
    repeats: Repeats | None
    same_as: str | None = None

    def unscored(self, side: str) -> float:
        """Share of responses without a verdict, of ``baseline`` or ``candidate``."""
        statuses = self.baseline_statuses if side == "baseline" else self.candidate_statuses
        return statuses["unscored"] / max(sum(statuses.values()), 1)


def accuracy(
    aligned: Aligned, scorer: str, rules: Rules, second: Rows | None = None, same_as: str | None = None
) -> Accuracy | None:
    """Compare under one policy; ``second`` is a second run of the baseline.  None where no problem has two verdicts."""
    pair = judged(aligned, scorer)
    if not len(pair):
        return None
    x, y = pair.baseline, pair.candidate
    change = paired_change(x, y, rules, pair.groups)
    again = None if second is None else second.by_problem(second.right(scorer))[0][pair.rows]
    both = int(((np.abs(x - y) <= 1e-12) & (x >= 0.5)).sum())
    margin = rules.margin("accuracy")
    (first_limits, method), (second_limits, _) = (mean_limits(side, rules, pair.groups) for side in (x, y))
    return Accuracy(
        benchmark=aligned.benchmark,
        scorer=scorer,
        n=change.n,
        not_judged=len(aligned) - change.n,
        baseline_statuses=aligned.baseline.counts(scorer),
        candidate_statuses=aligned.candidate.counts(scorer),
        both=both,
        lost=change.down,
        gained=change.up,
        neither=change.n - both - change.down - change.up,
        change=change,
        baseline_interval=first_limits,
        candidate_interval=second_limits,
        interval_method=method,
        flips=flips(x, y, rules, pair.groups),
        noise_floor=noise_floor(x, y, pair.baseline_samples, again, rules, pair.groups),
        detectable=change.detectable(rules),
        needed=None if margin is None else change.needed(rules, margin),
        equivalence=None if margin is None else change.equivalence(rules, margin),
        recovery=_recovery(pair, rules),
        repeats=repeats(aligned, pair.rows, scorer, x, y, (pair.baseline_samples, pair.candidate_samples), rules),
        same_as=same_as,
    )


def _recovery(pair: Judged, rules: Rules) -> Recovery | None:
    below = float(pair.baseline.sum())
    if below <= 0:
        return None
    limits = ratio_limits(pair.candidate, pair.baseline, pair.groups, rules.resamples, rules.seed, (1 - rules.alpha,))
    return Recovery(float(pair.candidate.sum()) / below, limits[0])
