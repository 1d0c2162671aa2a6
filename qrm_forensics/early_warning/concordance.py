"""How well a score ranks: areas under the ROC curve with problems as the unit of resampling.

The area is the share of pairs, of a point of a response that failed and a point of one that did
not, in which the first has the higher score (ties count one half).  Pairs are added up per pair
of problems once, so that every resample of problems is two small matrix products.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
#: Lower and upper limit, 95 %.
Range: TypeAlias = tuple[float, float]

RESAMPLES = 2000


@lru_cache(maxsize=4)
def draws(problems: int, seed: int) -> Floats:
    """How often each problem is in each resample, float64 [RESAMPLES, problems]."""
    picked = np.random.default_rng([seed, problems]).integers(0, problems, (RESAMPLES, problems))
    flat = (picked + problems * np.arange(RESAMPLES)[:, None]).ravel()
    return np.bincount(flat, minlength=RESAMPLES * problems).reshape(RESAMPLES, problems).astype(np.float64)


def percentiles(values: Floats) -> Range | None:
    """95 % percentile interval; None where a resample has no value."""
    if not len(values) or not np.isfinite(values).all():
        return None
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def share_interval(hits: Bools, problem: Ints, problems: int, seed: int) -> Range | None:
    """95 % interval of the share of ``hits`` [n] by drawing problems.

    Where all or none hit there is no spread to draw from: Wilson's interval then, on as many
    trials as there are different problems, because responses to one problem are not independent.
    """
    if not len(hits):
        return None
    if hits.all() or not hits.any():
        trials = len(np.unique(problem))
        limits = binomtest(trials if hits.all() else 0, trials).proportion_ci(method="wilson")
        return float(limits.low), float(limits.high)
    weights = draws(problems, seed)
    above = weights @ np.bincount(problem, hits, problems)
    below = weights @ np.bincount(problem, minlength=problems)
    return percentiles(above / below) if (below > 0).all() else None


@dataclass(frozen=True, slots=True)
class Pairs:
    """Weight of the pairs in the right order, and of all pairs, by the problem of the failed and of the other point.

    Both are float64 [f, o]; ``rows`` [f] and ``columns`` [o] are the numbers of those problems, ascending.
    """

    right: Floats
    all: Floats
    rows: Ints
    columns: Ints
    problems: int

    @property
    def area(self) -> float | None:
        total = float(self.all.sum())
        return float(self.right.sum()) / total if total > 0 else None

    def resampled(self, seed: int) -> Floats:
        """The area in each resample of problems, [RESAMPLES]; NaN where it has no pair."""
        weights = draws(self.problems, seed)
        mine, theirs = weights[:, self.rows], weights[:, self.columns]
        right, total = (((mine @ m) * theirs).sum(axis=1) for m in (self.right, self.all))
        return np.where(total > 0, right / np.where(total > 0, total, 1), np.nan)

    def interval(self, seed: int) -> Range | None:
        return percentiles(self.resampled(seed))


def pooled_pairs(score: Floats, failed: Bools, weight: Floats, problem: Ints, problems: int) -> Pairs:
    """All pairs of points [p], wherever in their response; a pair weighs the product of its ``weight`` [p]."""
    other = ~failed
    order = np.argsort(score[other], kind="stable")
    ranked, weights = score[other][order], weight[other][order]
    rows, mine = np.unique(problem[failed], return_inverse=True)
    columns, owner = np.unique(problem[other][order], return_inverse=True)
    below, upto = (np.searchsorted(ranked, score[failed], side=side) for side in ("left", "right"))
    mass = weight[failed]
    right = np.zeros((len(rows), len(columns)))
    for h in range(len(columns)):
        running = np.concatenate([[0.0], np.cumsum(np.where(owner == h, weights, 0.0))])
        right[:, h] = np.bincount(mine, mass * (running[below] + running[upto]) / 2, len(rows))
    masses = [np.bincount(*x).astype(np.float64) for x in ((mine, mass, len(rows)), (owner, weights, len(columns)))]
    return Pairs(right, np.outer(*masses), rows, columns, problems)


def pairs_at(points: Ints, score: Floats, failed: Bools, problem: Ints, problems: int) -> Pairs:
    """Only pairs of points after the same number of tokens, each pair once.

    Length so far is the same within a pair, so that it alone gives exactly one half.
    """
    rows, columns = np.unique(problem[failed]), np.unique(problem[~failed])
    right, every = np.zeros((2, len(rows), len(columns)))
    for t in np.unique(points):
        here = points == t
        alike = pooled_pairs(score[here], failed[here], np.ones(int(here.sum())), problem[here], problems)
        cells = np.ix_(np.searchsorted(rows, alike.rows), np.searchsorted(columns, alike.columns))
        right[cells] += alike.right
        every[cells] += alike.all
    return Pairs(right, every, rows, columns, problems)
