"""Paired change of length, with what was cut off told apart."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from qrm_forensics.compare.alignment import Aligned, Rows
from qrm_forensics.compare.resampling import Floats, group_sums, ratio_limits, regrouped, sign_flip
from qrm_forensics.compare.rules import Rules
from qrm_forensics.compare.shares import Interval


@dataclass(frozen=True, slots=True)
class Ratio:
    """Geometric mean over ``n`` problems of candidate / baseline length; ``narrow`` with confidence 1 - 2 alpha."""

    n: int
    ratio: float
    interval: Interval | None
    narrow: Interval | None


@dataclass(frozen=True, slots=True)
class LengthChange:
    """Lengths in ``unit`` (tokens where both sides count them, else words), exp(mean ln(candidate / baseline)).

    ``every``: all responses.  ``uncut``: problems where no response of either side was cut off; None where
    that is not known.  ``both_right``: problems that both sides solve every time.  ``cut``: problems with a
    response cut off on either side, whose length is only a lower limit.  ``empty``: problems left out because a
    response has no length.  ``baseline`` and ``candidate`` are medians.  ``p_value``: paired permutation test.
    """

    unit: str
    baseline: float
    candidate: float
    every: Ratio
    uncut: Ratio | None
    both_right: Ratio | None
    cut: int | None
    empty: int
    p_value: float


def length_change(aligned: Aligned, right: tuple[Floats, Floats], rules: Rules) -> LengthChange | None:
    """None where a side has no lengths.  ``right``: shares right of the shared problems, [problems], NaN not judged."""
    sides = (aligned.baseline, aligned.candidate)
    unit = next((u for u in ("tokens", "words") if all(np.isfinite(s.numbers(f"n_{u}")).any() for s in sides)), None)
    if unit is None:
        return None
    lengths = [side.numbers(f"n_{unit}") for side in sides]
    logs = [side.by_problem(_logs(x))[0] for side, x in zip(sides, lengths, strict=True)]
    moved = logs[1] - logs[0]
    known = np.isfinite(moved)
    if not known.any():
        return None
    cuts = [_any_cut(side) for side in sides]
    cut = None if cuts[0] is None or cuts[1] is None else cuts[0] | cuts[1]
    solved = known & (right[0] == 1) & (right[1] == 1)
    groups = regrouped(aligned.groups, known)
    return LengthChange(
        unit=unit,
        baseline=float(np.nanmedian(lengths[0])),
        candidate=float(np.nanmedian(lengths[1])),
        every=_ratio(aligned, moved, known, rules),
        uncut=None if cut is None or not (known & ~cut).any() else _ratio(aligned, moved, known & ~cut, rules),
        both_right=_ratio(aligned, moved, solved, rules) if solved.any() else None,
        cut=None if cut is None else int((known & cut).sum()),
        empty=int((~known).sum()),
        p_value=sign_flip(group_sums(moved[known], groups)).exact,
    )


def _logs(lengths: Floats) -> Floats:
    positive = lengths > 0
    return np.where(positive, np.log(np.where(positive, lengths, 1.0)), np.nan)


def _any_cut(side: Rows) -> np.ndarray | None:
    """Whether a response to each problem was cut off, bool [problems]; None where that is not known."""
    cut = side.numbers("truncated")
    if not np.isfinite(cut).all():
        return None
    return np.asarray(np.bincount(side.index, cut, side.problems) > 0)


def _ratio(aligned: Aligned, moved: Floats, rows: np.ndarray, rules: Rules) -> Ratio:
    values = moved[rows]
    by = regrouped(aligned.groups, rows)
    confidences = (1 - rules.alpha, 1 - 2 * rules.alpha)
    limits = ratio_limits(values, np.ones(len(values)), by, rules.resamples, rules.seed, confidences)
    wide, narrow = (None if i is None else Interval(math.exp(i.low), math.exp(i.high)) for i in limits)
    return Ratio(len(values), math.exp(float(values.mean())), wide, narrow)
