"""How the mean of a per-problem value changed between two sides: estimate, intervals, test, what could have been seen.

The unit is the problem throughout.  With one response per problem a value is 0 or 1 and the classical paired
methods hold; with several it is a share, and means over problems are tested and resampled as such.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from qrm_forensics.compare.decisions import Equivalence, mcnemar_mid_p, needed_problems, tost, tost_of_interval
from qrm_forensics.compare.resampling import Floats, Ints, group_sums, ratio_limits, sign_flip
from qrm_forensics.compare.rules import Rules
from qrm_forensics.compare.shares import Interval, mcnemar_exact, tango, wilson

#: With fewer units that moved, a bootstrap has too few distinct values to draw from.
FEW = 10


@dataclass(frozen=True, slots=True)
class Change:
    """Candidate minus baseline over ``n`` problems in ``units`` groups (``units`` == n without groups).

    ``down`` and ``up``: problems whose value is lower and higher for the candidate.  ``interval`` holds the
    difference with confidence 1 - alpha, ``narrow`` with 1 - 2 alpha (for equivalence).  ``mean_square`` is the mean
    squared difference per problem, times the design effect of the groups where that is above one.
    ``binary``: every value is 0 or 1 and no two problems share a group.
    """

    n: int
    units: int
    baseline: float
    candidate: float
    difference: float
    interval: Interval | None
    narrow: Interval | None
    interval_method: str
    down: int
    up: int
    p_exact: float
    p_mid: float
    test: str
    mean_square: float
    design_effect: float
    binary: bool

    def p_value(self, rules: Rules) -> float:
        """The p-value that the rules decide by."""
        return self.p_mid if rules.test == "mid-p" else self.p_exact

    def detectable(self, rules: Rules, family: int = 1) -> float:
        """Smallest true difference found with the power of the rules; of ``family`` tests, in the worst case of Holm."""
        z = float(norm.ppf(1 - rules.alpha / (2 * family)) + norm.ppf(rules.power))
        return min(1.0, z * math.sqrt(self._psi / self.n))

    def needed(self, rules: Rules, margin: float) -> int:
        """Problems of this kind that would make ``margin`` (a share) detectable."""
        return needed_problems(self._psi, margin, rules.alpha, rules.power)

    @property
    def _psi(self) -> float:
        """The mean square, but where fewer than ten moved at least that of one whole problem: none seen is not none."""
        return self.mean_square if self.down + self.up >= FEW else max(self.mean_square, 1 / self.n)

    def equivalence(self, rules: Rules, margin: float) -> Equivalence:
        """Two one-sided tests at the level alpha."""
        if self.binary:
            return tost(self.down, self.up, self.n, margin, rules.alpha)
        return tost_of_interval(self.narrow, margin, rules.alpha)


def paired_change(baseline: Floats, candidate: Floats, rules: Rules, groups: Ints | None = None) -> Change:
    """Compare per-problem values in 0..1 (or their like), aligned, [n] each; ``groups`` [n] are indices 0.. .

    One response per problem: McNemar's exact test and Tango's score interval.  Else: the paired permutation
    test of the mean, and bootstrap percentiles over groups, widened to Tango's interval of the counts that went down and
    up where fewer than ten did.  Raises ValueError for no problems and for unequal length.
    """
    if baseline.shape != candidate.shape or baseline.ndim != 1 or not len(baseline):
        raise ValueError(f"not two aligned columns of problems: {baseline.shape}, {candidate.shape}")
    n = len(baseline)
    moved = candidate - baseline
    down, up = int((moved < -1e-12).sum()), int((moved > 1e-12).sum())
    grouped = groups is not None and int(groups.max()) + 1 < n
    both = np.concatenate([baseline, candidate])
    binary = not grouped and bool(((both == 0) | (both == 1)).all())
    wide, narrow = 1 - rules.alpha, 1 - 2 * rules.alpha
    effect = 1.0
    if binary:
        intervals: list[Interval | None] = [tango(down, up, n, wide), tango(down, up, n, narrow)]
        p_exact, p_mid = mcnemar_exact(down, up), mcnemar_mid_p(down, up)
    else:
        by = groups if grouped else None
        units = group_sums(moved, by)
        intervals = _resampled(moved, units, by, rules, (wide, narrow))
        p_exact, p_mid = sign_flip(units)
        effect = _design_effect(moved, by)
    return Change(
        n=n,
        units=int(groups.max()) + 1 if grouped and groups is not None else n,
        baseline=float(baseline.mean()),
        candidate=float(candidate.mean()),
        difference=(up - down) / n if binary else float(moved.mean()),
        interval=intervals[0],
        narrow=intervals[1],
        interval_method="tango-score" if binary else f"bootstrap-{'groups' if grouped else 'problems'}",
        down=down,
        up=up,
        p_exact=p_exact,
        p_mid=p_mid,
        test="mcnemar" if binary else "paired-permutation",
        mean_square=float((moved**2).mean()) * effect,
        design_effect=effect,
        binary=binary,
    )


def _resampled(
    moved: Floats, units: Floats, groups: Ints | None, rules: Rules, confidences: tuple[float, ...]
) -> list[Interval | None]:
    drawn = ratio_limits(moved, np.ones(len(moved)), groups, rules.resamples, rules.seed, confidences)
    down, up = int((units < -1e-12).sum()), int((units > 1e-12).sum())
    if down + up >= FEW:
        return drawn
    # What moved in so few may move in others that were not asked: no problem moves by more than one.
    return [hull(i, tango(down, up, len(units), c)) for i, c in zip(drawn, confidences, strict=True)]


def hull(first: Interval | None, second: Interval) -> Interval:
    """The smallest interval that holds both."""
    return second if first is None else Interval(min(first.low, second.low), max(first.high, second.high))


def _design_effect(moved: Floats, groups: Ints | None) -> float:
    """Variance of the mean with groups over that without, not below one (arXiv 2411.00640, sec. 2.2)."""
    centred = moved - moved.mean()
    alone = float((centred**2).sum())
    return max(1.0, float((group_sums(centred, groups) ** 2).sum()) / alone) if alone > 0 else 1.0


def mean_limits(values: Floats, rules: Rules, groups: Ints | None = None) -> tuple[Interval | None, str]:
    """Interval of the mean of per-problem shares, [n] in 0..1, and its method.

    Wilson's for zeros and ones without groups; else a bootstrap over groups, widened to Wilson's where fewer than
    ten problems are anything but zero, or anything but one.
    """
    grouped = groups is not None and int(groups.max()) + 1 < len(values)
    confidence = 1 - rules.alpha
    n = len(values)
    if not grouped and bool(((values == 0) | (values == 1)).all()):
        return wilson(int(values.sum()), n, confidence), "wilson"
    ones = np.ones(n)
    drawn = ratio_limits(values, ones, groups if grouped else None, rules.resamples, rules.seed, (confidence,))[0]
    if min(int((values > 0).sum()), int((values < 1).sum())) < FEW:
        drawn = hull(drawn, wilson(round(float(values.sum())), n, confidence))
    return drawn, f"bootstrap-{'groups' if grouped else 'problems'}"
