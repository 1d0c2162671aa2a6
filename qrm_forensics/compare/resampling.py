"""Tests and intervals of a mean over problems, where problems may come in groups.

A group (a passage, a year of a contest, paraphrases of one question) is drawn and turned round as one, because
its problems are not independent (arXiv 2411.00640, sec. 2.2).  Without groups every problem is its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, t

from qrm_forensics.compare.shares import Interval

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_BLOCK = 512  # resamples turned into weights at a time
_CACHED = 1 << 25  # weights that are worth keeping, bytes
_SMALL = 1 << 22
_FEW_ROWS = 200
_WORK = 1 << 27  # steps that an exact distribution may take
_DISTINCT = 512  # more distinct differences than this have no common unit worth looking for
_COARSE = 1023  # levels that differences are rounded to where it would take more


class SignFlip(NamedTuple):
    """Two-sided p-values of the paired permutation test."""

    exact: float
    mid: float


def sign_flip(differences: Floats, groups: Ints | None = None) -> SignFlip:
    """Paired permutation test that the mean of ``differences``, [n], is zero, by its whole distribution.

    Where the two sides are exchangeable, the sign of each difference (of the sum of each group, ``groups`` [n] being
    indices 0..) is as likely to be either (Fisher 1935; Pitman 1937; the distribution by
    convolution, Pagano and Tritchler 1983, JASA 78, 435).  For differences of -1, 0 and 1 it is McNemar's exact
    test, and its mid-p.  Differences of too fine a grain are rounded to 1023 levels first, which keeps the test valid;
    where thousands of them make that too long, the distribution is taken to be its normal limit.
    """
    sums = group_sums(differences, groups)
    sums = sums[np.abs(sums) > 1e-12]
    moved = _whole(sums)
    if moved is None:
        p = float(2 * norm.sf(abs(sums.sum()) / math.sqrt(float((sums**2).sum()))))
        return SignFlip(p, p)
    observed = int(abs(moved.sum()))
    if observed == 0:
        return SignFlip(1.0, 1.0)
    total = int(np.abs(moved).sum())
    chance = np.zeros(total + 1)  # of the sum of those with a plus sign
    chance[0] = 1.0
    for size in np.abs(moved).tolist():
        chance *= 0.5
        chance[size:] += chance[: total + 1 - size].copy()
    beyond = (total + observed) // 2  # total and observed are both odd or both even
    tail, at = 2 * float(chance[beyond:].sum()), float(chance[beyond])
    return SignFlip(min(1.0, tail), min(1.0, tail - at))


def _whole(values: Floats) -> Ints | None:
    """Values as whole multiples of a common unit, int64; rounded where none is coarse enough; None where too many."""
    if not values.size:
        return np.zeros(0, dtype=np.int64)
    scaled = values / np.abs(values).min()
    distinct = np.unique(np.abs(scaled))
    unit = 1 << 20  # no unit
    if len(distinct) <= _DISTINCT:
        unit = math.lcm(*(Fraction(v).limit_denominator(4096).denominator for v in distinct.tolist()))
    whole = np.round(scaled * unit) if unit < 1 << 20 else scaled
    exact = unit < 1 << 20 and bool(np.abs(whole - scaled * unit).max() < 1e-6)
    if not exact or np.abs(whole).sum() * len(whole) > _WORK:
        whole = np.round(values / np.abs(values).max() * _COARSE)
        if np.abs(whole).sum() * len(whole) > _WORK:
            return None
    found: Ints = whole[whole != 0].astype(np.int64)
    return np.asarray(found // np.gcd.reduce(found), dtype=np.int64)


def _draw(n: int, resamples: int, seed: int) -> Iterator[NDArray[np.uint8]]:
    """How often each of ``n`` units is in each resample, [block, n] at a time."""
    generator = np.random.default_rng([seed, n])
    for start in range(0, resamples, _BLOCK):
        rows = min(_BLOCK, resamples - start)
        drawn = generator.integers(0, n, (rows, n)) + n * np.arange(rows)[:, None]
        # one unit is drawn about once; 255 times is out of the question
        yield np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n).astype(np.uint8)


@lru_cache(maxsize=2)
def _kept(n: int, resamples: int, seed: int) -> tuple[NDArray[np.uint8], ...]:
    return tuple(_draw(n, resamples, seed))


@lru_cache(maxsize=32)
def _kept_small(n: int, resamples: int, seed: int) -> tuple[NDArray[np.uint8], ...]:
    """Apart, so that the slices of a benchmark do not push out the weights of the whole."""
    return tuple(_draw(n, resamples, seed))


def bootstrap_sums(columns: Floats, resamples: int, seed: int) -> Floats:
    """Sums of ``columns``, [units, m], over units drawn with replacement: [resamples, m].

    The draw depends on the number of units and on ``seed``; of very many units with few different rows, how often
    each row is drawn is drawn instead, which is the same distribution.
    """
    n = len(columns)
    if n * resamples <= _CACHED:
        blocks = (_kept_small if n * resamples <= _SMALL else _kept)(n, resamples, seed)
        return np.concatenate([block.astype(np.float64) @ columns for block in blocks])
    rows, counts = np.unique(columns, axis=0, return_counts=True)
    if len(rows) <= _FEW_ROWS:
        drawn = np.random.default_rng([seed, n]).multinomial(n, counts / n, resamples)
        return np.asarray(drawn @ rows, dtype=np.float64)
    return np.concatenate([block.astype(np.float64) @ columns for block in _draw(n, resamples, seed)])


def group_sums(values: Floats, groups: Ints | None) -> Floats:
    """Sums of ``values`` [n] over the problems of each group, [groups]; the values themselves without groups."""
    return values if groups is None else np.bincount(groups, values).astype(np.float64)


def regrouped(groups: Ints | None, rows: NDArray[np.bool_]) -> Ints | None:
    """Groups of the chosen problems as indices 0.. without gaps, [chosen]."""
    return None if groups is None else np.unique(groups[rows], return_inverse=True)[1].astype(np.int64)


def expanded(n: int, confidence: float) -> tuple[float, float]:
    """The two percentiles of a bootstrap over ``n`` units whose interval covers what a t interval would.

    Phi(-sqrt(n / (n - 1)) t) with t of n - 1 degrees of freedom: plain percentiles are too narrow
    by that factor (Hesterberg 2015, The American Statistician 69, 371, sec. 5.3).
    """
    low = float(norm.cdf(-math.sqrt(n / (n - 1)) * t.ppf(0.5 + confidence / 2, n - 1)))
    return 100 * low, 100 * (1 - low)


def ratio_limits(
    above: Floats,
    below: Floats,
    groups: Ints | None,
    resamples: int,
    seed: int,
    confidences: tuple[float, ...] = (0.95,),
) -> list[Interval | None]:
    """Bootstrap intervals of sum(above) / sum(below) over problems, [n] each; with ones below, of a mean.

    One per confidence; None below two groups, and where a resample has nothing below.
    """
    limits = many_ratio_limits(above[:, None], below[:, None], groups, resamples, seed, confidences)
    return [low_high[0] for low_high in limits]


def many_ratio_limits(
    above: Floats,
    below: Floats,
    groups: Ints | None,
    resamples: int,
    seed: int,
    confidences: tuple[float, ...] = (0.95,),
) -> list[list[Interval | None]]:
    """``ratio_limits`` of the columns of two tables, [n, m] each, over the same resamples: [confidences][m]."""
    m = above.shape[1]
    units = np.stack([group_sums(column, groups) for column in np.concatenate([above, below], axis=1).T], axis=1)
    if len(units) < 2:
        return [[None] * m for _ in confidences]
    sums = bootstrap_sums(units, resamples, seed)
    top, bottom = sums[:, :m], sums[:, m:]
    empty = np.atleast_1d((bottom <= 0).any(axis=0))
    ratios = top / np.where(bottom > 0, bottom, 1)
    ends = [p for confidence in confidences for p in expanded(len(units), confidence)]
    values = np.percentile(ratios, ends, axis=0)
    return [
        [None if empty[j] else Interval(float(values[2 * i, j]), float(values[2 * i + 1, j])) for j in range(m)]
        for i in range(len(confidences))
    ]
