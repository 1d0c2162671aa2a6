"""Out of fold, always: scores by models that saw no response to the same problem, thresholds from the other folds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from qrm_forensics.early_warning.concordance import Bools, Floats, Ints, pooled_pairs
from qrm_forensics.early_warning.model import FOLDS, fit_logistic, folds


@dataclass(frozen=True, slots=True)
class Points:
    """The points [p] of n responses: ``values`` [p, features], ``position`` in pseudo-tokens and ``response`` 0..n-1.

    Of each response [n]: whether it ``failed``, and the number of its ``problem``.
    """

    values: Floats
    position: Ints
    response: Ints
    failed: Bools
    problem: Ints

    @property
    def weight(self) -> Floats:
        """Weight of each point [p]: one per response, shared by its points."""
        result: Floats = 1 / np.bincount(self.response, minlength=len(self.failed))[self.response]
        return result

    def of(self, chosen: Bools) -> Points:
        """The points of the ``chosen`` responses [n], which are numbered anew."""
        here = chosen[self.response]
        number = np.cumsum(chosen) - 1
        return Points(
            self.values[here],
            self.position[here],
            number[self.response[here]],
            self.failed[chosen],
            self.problem[chosen],
        )

    def highest(self, score: Floats) -> Floats:
        """The highest score of each response [n], -inf without a point."""
        top = np.full(len(self.failed), -np.inf)
        np.maximum.at(top, self.response, score)
        return top


#: (points to learn from, points to score) -> scores of the latter.
Scorer: TypeAlias = Callable[[Points, Points], Floats]


def by_model(train: Points, test: Points) -> Floats:
    """Scores of a logistic regression on the features."""
    return fit_logistic(train.values, train.failed[train.response], train.weight).score(test.values)


def by_length(train: Points, test: Points) -> Floats:
    """The trivial predictor: length so far, or its negative where the failures among ``train`` come early."""
    failed, problem = train.failed[train.response], train.problem[train.response]
    area = pooled_pairs(train.position.astype(np.float64), failed, train.weight, problem, int(problem.max()) + 1).area
    score: Floats = test.position * np.float64(1 if area is None or area >= 0.5 else -1)
    return score


def out_of_fold(points: Points, scorer: Scorer, fold: Ints) -> Floats:
    """Score of each point [p] by a scorer that learned from the other folds; ``fold`` of each response [n]."""
    score = np.empty(len(points.response))
    for k in range(FOLDS):
        score[(fold == k)[points.response]] = scorer(points.of(fold != k), points.of(fold == k))
    return score


def threshold(points: Points, score: Floats, allowed: float) -> float | None:
    """A level that at most the share ``allowed`` of the responses that did not fail rise above.

    None where not even one of them may: there are too few to set such a share.
    """
    tops = np.sort(points.highest(score)[~points.failed])[::-1]
    may = int(allowed * len(tops) + 1e-9)
    return float(tops[may]) if may >= 1 else None


def thresholds(
    points: Points, scorer: Scorer, fold: Ints, allowed: Sequence[float], seed: int
) -> dict[float, Floats | None]:
    """Threshold of each fold [FOLDS] for each allowed share; None where a fold cannot set one.

    The scores that a threshold is set on are out of fold within the other folds: a model's scores
    of what it learned from would be too good, and the threshold too low.
    """
    found: dict[float, list[float | None]] = {share: [] for share in allowed}
    for k in range(FOLDS):
        train = points.of(fold != k)
        score = out_of_fold(train, scorer, folds(train.failed, train.problem, seed))
        for share in allowed:
            found[share].append(threshold(train, score, share))
    return {share: None if None in levels else np.array(levels, dtype=np.float64) for share, levels in found.items()}


def first_above(points: Points, score: Floats, level: Floats) -> Floats:
    """Position of the first point of each response [n] whose score is above ``level`` [n]; NaN without one."""
    above = np.flatnonzero(score > level[points.response])
    alarm = np.full(len(points.failed), np.inf)
    np.minimum.at(alarm, points.response[above], points.position[above])
    return np.where(np.isfinite(alarm), alarm, np.nan)
