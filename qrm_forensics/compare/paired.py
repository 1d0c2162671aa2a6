"""Two variants on the same problems, and k variants on the same problems.

Everything works on problems: ``reference`` and ``variant`` are the shares of right
samples per problem, 0..1, aligned ([n] each).  With one sample they are 0 and 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qrm_forensics.compare.bootstrap import mean_interval
from qrm_forensics.compare.shares import Interval, detectable_difference, mcnemar_exact, tango


@dataclass(frozen=True, slots=True)
class PairedCounts:
    """How ``n`` shared problems moved.  both + lost + gained + neither == n.

    ``lost``: the variant is right less often than the reference; ``gained``: more often.
    Problems that did not move are ``both`` where at least half of the samples are
    right, else ``neither``.  ``mean_square`` is the mean squared difference per problem.
    """

    n: int
    both: int
    lost: int
    gained: int
    neither: int
    reference_mean: float
    variant_mean: float
    mean_square: float
    binary: bool
    interval: Interval | None

    @property
    def flips(self) -> float:
        return (self.lost + self.gained) / self.n

    @property
    def difference(self) -> float:
        """Variant minus reference, -1..1."""
        return self.variant_mean - self.reference_mean if not self.binary else (self.gained - self.lost) / self.n

    @property
    def p_value(self) -> float:
        """McNemar exact; with several samples the sign test on the problems that moved."""
        return mcnemar_exact(self.lost, self.gained)

    @property
    def detectable(self) -> float:
        return detectable_difference(self.mean_square, self.n)

    @property
    def interval_method(self) -> str:
        return "tango-score" if self.binary else "bootstrap-problems"


def paired(reference: ArrayLike, variant: ArrayLike) -> PairedCounts:
    """Compare per-problem shares right, [n] each; raises ValueError for no problems or unequal length.

    The interval of the difference is Tango's score interval for one sample per
    problem, and a bootstrap over problems for several (None then for one problem).
    """
    x, y = np.asarray(reference, dtype=np.float64), np.asarray(variant, dtype=np.float64)
    if x.shape != y.shape or x.ndim != 1 or not len(x):
        raise ValueError(f"not two aligned columns of problems: {x.shape}, {y.shape}")
    n = len(x)
    lost, gained = int((y < x).sum()), int((y > x).sum())
    both = int(((x == y) & (x >= 0.5)).sum())
    binary = bool(np.isin(x, (0, 1)).all() and np.isin(y, (0, 1)).all())
    return PairedCounts(
        n=n,
        both=both,
        lost=lost,
        gained=gained,
        neither=n - both - lost - gained,
        reference_mean=float(x.mean()),
        variant_mean=float(y.mean()),
        mean_square=float(((y - x) ** 2).mean()),
        binary=binary,
        interval=tango(lost, gained, n) if binary else mean_interval(y - x),
    )


def overlap(right: ArrayLike) -> dict[tuple[bool, ...], int]:
    """The full 2^k table of a bool array [n problems, k variants]; the counts sum to n.

    Order: all right first, then as binary numbers downwards.  Raises ValueError for k > 16.
    """
    table: NDArray[np.bool_] = np.asarray(right, dtype=bool)
    if table.ndim != 2 or table.shape[1] > 16:
        raise ValueError(f"not a table of problems by at most 16 variants: shape {table.shape}")
    k = table.shape[1]
    codes = table.astype(np.int64) @ (1 << np.arange(k - 1, -1, -1, dtype=np.int64))
    counts = np.bincount(codes, minlength=2**k)
    cells = list(product((True, False), repeat=k))
    return {cell: int(count) for cell, count in zip(cells, counts[::-1], strict=True)}


def length_ratio(reference: ArrayLike, variant: ArrayLike) -> tuple[float, Interval | None] | None:
    """Geometric mean of variant / reference lengths per problem, [n] each, and its 95 % bootstrap interval.

    exp(mean ln(variant / reference)); every length must be above zero.  None for no problems.
    """
    x, y = np.asarray(reference, dtype=np.float64), np.asarray(variant, dtype=np.float64)
    if not len(x):
        return None
    if (x <= 0).any() or (y <= 0).any():
        raise ValueError("a length is not above zero")
    logs = np.log(y / x)
    interval = mean_interval(logs)
    shown = Interval(float(np.exp(interval.low)), float(np.exp(interval.high))) if interval else None
    return float(np.exp(logs.mean())), shown
