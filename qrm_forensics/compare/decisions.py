"""Deciding: less conservative and adjusted p-values, equivalence, power, and how many problems would do.

Signs: a difference is candidate minus baseline in 0..1 shares; ``b`` counts problems that
only the baseline has right, ``c`` those that only the candidate has right.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binom, binomtest, false_discovery_control, norm

from qrm_forensics.compare.shares import Interval, score_statistic, tango

#: Power that a detectable difference is stated for.
POWER = 0.8


def clopper_pearson(k: int, n: int, confidence: float = 0.95) -> Interval:
    """Exact interval of the share ``k / n`` (Clopper and Pearson 1934): conservative, for small n.  Raises ValueError."""
    if n < 1 or not 0 <= k <= n:
        raise ValueError(f"no share of {k} in {n}")
    interval = binomtest(k, n).proportion_ci(confidence, method="exact")
    return Interval(float(interval.low), float(interval.high))


def mcnemar_mid_p(b: int, c: int) -> float:
    """Two-sided mid-p of McNemar's exact test (Fagerland, Lydersen and Laake 2013, BMC Med. Res. Methodol. 13, 91).

    The exact p less the probability of the observed table: 2 P(X <= m) - P(X = m), X ~ Bin(b + c, 1/2),
    m = min(b, c).  1.0 without a discordant pair.
    """
    if b < 0 or c < 0:
        raise ValueError(f"counts below zero: {b}, {c}")
    n, m = b + c, min(b, c)
    if n == 0:
        return 1.0
    return min(1.0, 2 * float(binom.cdf(m, n, 0.5)) - float(binom.pmf(m, n, 0.5)))


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values that control the false discovery rate (Benjamini and Hochberg 1995), in the given order."""
    if not len(p_values):
        return []
    return [float(p) for p in false_discovery_control(np.asarray(p_values, dtype=np.float64), method="bh")]


def needed_problems(mean_square: float, difference: float, alpha: float = 0.05, power: float = POWER) -> int:
    """Problems that make ``difference`` (0..1, above zero) detectable; the inverse of ``detectable_difference``.

    n = (z_(1 - alpha/2) + z_power)^2 psi / difference^2, psi the mean squared difference per problem.
    """
    if difference <= 0:
        raise ValueError(f"no number of problems shows a difference of {difference}")
    z = float(norm.ppf(1 - alpha / 2) + norm.ppf(power))
    return max(1, math.ceil(z * z * mean_square / (difference * difference)))


@dataclass(frozen=True, slots=True)
class Equivalence:
    """Two one-sided tests (Schuirmann 1987): ``equivalent`` where the 1 - 2 alpha interval lies inside ±margin."""

    margin: float
    alpha: float
    interval: Interval | None
    p_value: float | None

    @property
    def equivalent(self) -> bool:
        return self.interval is not None and -self.margin < self.interval.low and self.interval.high < self.margin

    @property
    def not_inferior(self) -> bool:
        return self.interval is not None and self.interval.low > -self.margin


def tost(b: int, c: int, n: int, margin: float, alpha: float = 0.05) -> Equivalence:
    """Equivalence of two paired shares within ±margin, by Tango's score statistic at both margins.

    ``margin`` in 0..1 must be chosen before looking.  The p-value is the larger of the two one-sided ones.
    """
    if not 0 < margin < 1:
        raise ValueError(f"a margin lies between 0 and 1, got {margin}")
    above = float(norm.sf(score_statistic(b, c, n, -margin)))
    below = float(norm.cdf(score_statistic(b, c, n, margin)))
    return Equivalence(margin, alpha, tango(b, c, n, 1 - 2 * alpha), max(above, below))


def tost_of_interval(interval: Interval | None, margin: float, alpha: float = 0.05) -> Equivalence:
    """Equivalence from a 1 - 2 alpha interval that was made otherwise (a bootstrap, say)."""
    return Equivalence(margin, alpha, interval, None)
