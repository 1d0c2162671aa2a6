"""Shares of counted things: intervals, exact paired tests, detectable effects, adjustment.

Pure functions on counts; ``b`` counts what the reference had right and the variant
wrong, ``c`` the other way.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from scipy.optimize import brentq
from scipy.stats import binom, norm

#: Two-sided 95 %.
Z95 = float(norm.ppf(0.975))


class Interval(NamedTuple):
    """Lower and upper limit of an interval, of 95 % where nothing else is said."""

    low: float
    high: float


def wilson(k: int, n: int, confidence: float = 0.95) -> Interval:
    """Score interval of the share ``k / n`` (Wilson 1927), in 0..1.

    Raises ValueError unless 0 <= k <= n and n >= 1.
    """
    if n < 1 or not 0 <= k <= n:
        raise ValueError(f"no share of {k} in {n}")
    z = float(norm.ppf(0.5 + confidence / 2))
    z2 = z * z
    p = k / n
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = z * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    # at the ends the limit is exactly 0 or 1; rounding must not push it inside the share
    return Interval(0.0 if k == 0 else max(0.0, centre - half), 1.0 if k == n else min(1.0, centre + half))


def mcnemar_exact(b: int, c: int) -> float:
    """Two-sided exact p-value that ``b`` and ``c`` are equally likely (McNemar 1947, binomial form).

    p = min(1, 2 P(Bin(b + c, 1/2) <= min(b, c))); 1.0 without a discordant pair.  With
    several samples per problem it is the sign test on problems that became worse and better.
    """
    if b < 0 or c < 0:
        raise ValueError(f"counts below zero: {b}, {c}")
    return min(1.0, 2 * float(binom.cdf(min(b, c), b + c, 0.5))) if b + c else 1.0


def score_statistic(b: int, c: int, n: int, difference: float) -> float:
    """Tango's (1998) score statistic of the hypothesis that the true difference is ``difference``, -1..1.

    (c - b - n d) / sqrt(n (2 q(d) + d (1 - d))), where q(d) is the constrained maximum-likelihood
    estimate of the share that ``b`` counts.
    """
    # 2n q^2 + B q + C = 0 is the likelihood equation under p_c - p_b = d
    linear = -b - c + (2 * n - c + b) * difference
    constant = -b * difference * (1 - difference)
    q = (math.sqrt(max(0.0, linear * linear - 8 * n * constant)) - linear) / (4 * n)
    return (c - b - n * difference) / math.sqrt(max(n * (2 * q + difference * (1 - difference)), 1e-300))


def tango(b: int, c: int, n: int, confidence: float = 0.95) -> Interval:
    """Score interval of the paired difference (c - b) / n (Tango 1998, Stat. Med. 17, 891), -1..1.

    The limits are the differences at which ``score_statistic`` is +-z.  Raises ValueError
    unless 0 <= b + c <= n, n >= 1.
    """
    if n < 1 or b < 0 or c < 0 or b + c > n:
        raise ValueError(f"no paired table with b={b}, c={c}, n={n}")
    z = float(norm.ppf(0.5 + confidence / 2))
    centre, edge = (c - b) / n, 1 - 1e-12
    low = -1.0 if b == n else brentq(lambda d: score_statistic(b, c, n, d) - z, -edge, centre, xtol=1e-12)
    high = 1.0 if c == n else brentq(lambda d: score_statistic(b, c, n, d) + z, centre, edge, xtol=1e-12)
    return Interval(float(low), float(high))


def detectable_difference(mean_square: float, n: int, alpha: float = 0.05, power: float = 0.8) -> float:
    """Smallest true paired difference found with ``power`` at the two-sided level ``alpha``, in 0..1.

    (z_(1 - alpha/2) + z_power) sqrt(psi / n) with psi the mean of the squared per-problem differences,
    which is (b + c) / n for one sample per problem (arXiv 2411.00640, power).  An
    observed psi below one discordant problem counts as one, because none seen is not none.
    """
    if n < 1:
        raise ValueError("no problems")
    psi = max(mean_square, 1 / n)
    return min(1.0, float(norm.ppf(1 - alpha / 2) + norm.ppf(power)) * math.sqrt(psi / n))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's (1979) step-down adjusted p-values, in the given order."""
    m = len(p_values)
    adjusted = [0.0] * m
    running = 0.0
    for rank, i in enumerate(sorted(range(m), key=lambda i: p_values[i])):
        running = max(running, min(1.0, (m - rank) * p_values[i]))
        adjusted[i] = running
    return adjusted
