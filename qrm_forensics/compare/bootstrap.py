"""Bootstrap over problems: percentile intervals of means, medians and ratios, reproducible and fast.

Problems are drawn with replacement; all samples of a drawn problem come with it,
because samples of one problem are not independent.  Every draw comes from the one
seed ``SEED``, and depends on the number of problems only, so that the same table
gives the same interval whatever else is computed.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qrm_forensics.compare.shares import Interval

SEED = 20250401
RESAMPLES = 2000

Floats = NDArray[np.float64]


def _draws(n: int) -> NDArray[np.int64]:
    return np.random.default_rng([SEED, n]).integers(0, n, (RESAMPLES, n))


@lru_cache(maxsize=8)
def _weights(n: int) -> Floats:
    """How often each of ``n`` problems is in each resample, float64 [RESAMPLES, n]."""
    flat = (_draws(n) + n * np.arange(RESAMPLES)[:, None]).ravel()
    return np.bincount(flat, minlength=RESAMPLES * n).reshape(RESAMPLES, n).astype(np.float64)


@lru_cache(maxsize=512)
def _median_ranks(n: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Ranks of the two middle values in each resample of ``n`` sorted values, int64 [RESAMPLES] each.

    The median of a resample of sorted values sits at the median rank, so ranks do for every column.
    """
    middle = ((n - 1) // 2, n // 2)
    ranks = np.partition(_draws(n), middle, axis=1)
    return ranks[:, middle[0]].copy(), ranks[:, middle[1]].copy()


def _percentiles(values: Floats) -> Interval | None:
    if not np.isfinite(values).all():
        return None
    low, high = np.percentile(values, [2.5, 97.5])
    return Interval(float(low), float(high))


def _grouped(groups: ArrayLike, n: int) -> tuple[NDArray[np.int64], int]:
    """Group index 0.. of each value, in order of first appearance (so the order of problems decides the draw)."""
    names = np.asarray(groups)
    if names.shape != (n,):
        raise ValueError(f"{n} values but groups of shape {names.shape}")
    _, first, index = np.unique(names, return_index=True, return_inverse=True)
    position = np.empty(len(first), dtype=np.int64)
    position[np.argsort(first)] = np.arange(len(first))
    return position[index], len(first)


def problem_weights(groups: ArrayLike, n: int) -> tuple[Floats, NDArray[np.int64]]:
    """The resamples themselves, for statistics that are no mean, median or ratio.

    ``groups`` [n] names the problem of each of ``n`` responses.  Returns how often each problem is in
    each resample, float64 [RESAMPLES, problems] (shared, not to be written to), and the problem of
    each response as an index into it, int64 [n].
    """
    index, count = _grouped(groups, n)
    return _weights(count), index


def mean_interval(values: ArrayLike) -> Interval | None:
    """95 % percentile interval of the mean of per-problem values, [n]; None below two values."""
    x = np.asarray(values, dtype=np.float64)
    return _percentiles(_weights(len(x)) @ x / len(x)) if len(x) > 1 else None


def ratio_intervals(numerators: ArrayLike, denominators: ArrayLike) -> list[Interval | None]:
    """95 % percentile intervals of sum(numerators) / sum(denominators), [problems, columns] each.

    A mean over responses is such a ratio: per problem, the sum of its values and how many
    there are (0 where none).  None below two problems, or where a resample has no denominator at all.
    """
    x, y = np.asarray(numerators, dtype=np.float64), np.asarray(denominators, dtype=np.float64)
    if x.ndim != 2 or x.shape != y.shape:
        raise ValueError(f"not two aligned tables of problems by columns: {x.shape}, {y.shape}")
    if len(x) < 2:
        return [None] * x.shape[1]
    above, below = _weights(len(x)) @ x, _weights(len(x)) @ y
    empty = np.atleast_1d((below <= 0).any(axis=0))
    ratios = above / np.where(below > 0, below, 1)
    return [None if none else _percentiles(ratio) for none, ratio in zip(empty, ratios.T, strict=True)]


def ratio_interval(numerators: ArrayLike, denominators: ArrayLike) -> Interval | None:
    """``ratio_intervals`` of one column, [problems] each."""
    return ratio_intervals(np.asarray(numerators)[:, None], np.asarray(denominators)[:, None])[0]


def median_interval(values: ArrayLike, groups: ArrayLike | None = None) -> Interval | None:
    """95 % percentile interval of the median, [n]; ``groups`` [n] names the problem of each value.

    None below two problems.
    """
    x = np.asarray(values, dtype=np.float64)
    index, count = (np.arange(len(x)), len(x)) if groups is None else _grouped(groups, len(x))
    if count < 2:
        return None
    if count == len(x):
        low, high = _median_ranks(len(x))
        ordered = np.sort(x)
        return _percentiles((ordered[low] + ordered[high]) / 2)
    order = np.argsort(x, kind="stable")
    cumulative = np.cumsum(_weights(count)[:, index[order]], axis=1)
    total = cumulative[:, -1:]
    # position of the weighted middle values; with an even total the two middle ones are averaged
    lower = (cumulative < np.ceil(total / 2)).sum(axis=1)
    upper = (cumulative < np.floor(total / 2) + 1).sum(axis=1)
    return _percentiles((x[order][lower] + x[order][upper]) / 2)
