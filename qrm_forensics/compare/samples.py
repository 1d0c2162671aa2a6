"""Several samples per problem: pass@k, what varies, and which problems a variant solves always, sometimes, never."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike


def pass_at_k(samples: int, right: int, k: int) -> float:
    """Unbiased chance that at least one of k samples is right: 1 - C(n - c, k) / C(n, k) (Chen et al. 2021, arXiv 2107.03374, eq. 1).

    ``samples`` is n, ``right`` is c.  Raises ValueError unless 0 <= c <= n and 1 <= k <= n.
    """
    if not 0 <= right <= samples or not 1 <= k <= samples:
        raise ValueError(f"no pass@{k} of {right} right in {samples} samples")
    if samples - right < k:
        return 1.0
    return 1 - math.comb(samples - right, k) / math.comb(samples, k)


def mean_pass_at_k(right: ArrayLike, samples: ArrayLike, k: int) -> float:
    """Mean of pass@k over problems; ``right`` and ``samples`` are counts per problem, [n] each."""
    pairs = zip(np.asarray(samples, dtype=np.int64), np.asarray(right, dtype=np.int64), strict=True)
    return float(np.mean([pass_at_k(int(n), int(c), k) for n, c in pairs]))


@dataclass(frozen=True, slots=True)
class VarianceSplit:
    """The variance of a mean accuracy: which problems were asked, and which samples were drawn.

    ``sampling`` is mean(p (1 - p) / (k - 1)) / n, ``items`` what remains of var(p) / n
    (never below zero); ``enough_samples`` where sampling is the smaller part.
    """

    problems: int
    samples: float
    items: float
    sampling: float

    @property
    def enough_samples(self) -> bool:
        return self.sampling < self.items


def variance_split(shares: ArrayLike, samples: ArrayLike) -> VarianceSplit | None:
    """Split the variance of the mean of per-problem ``shares`` right, [n], each from ``samples`` >= 2 draws, [n].

    Law of total variance (arXiv 2411.00640, sec. 2; 2512.21326).  None below two problems or two samples each.
    """
    p, k = np.asarray(shares, dtype=np.float64), np.asarray(samples, dtype=np.float64)
    if len(p) < 2 or (k < 2).any():
        return None
    n = len(p)
    sampling = float(np.mean(p * (1 - p) / (k - 1))) / n
    total = float(p.var(ddof=1)) / n
    return VarianceSplit(n, float(k.mean()), max(0.0, total - sampling), sampling)


@dataclass(frozen=True, slots=True)
class Steadiness:
    """How many problems all, some or none of the samples solve."""

    always: int
    sometimes: int
    never: int


def steadiness(shares: ArrayLike) -> Steadiness:
    """Count problems by their share of right samples, [n]."""
    p = np.asarray(shares, dtype=np.float64)
    return Steadiness(int((p == 1).sum()), int(((p > 0) & (p < 1)).sum()), int((p == 0).sum()))
