"""A logistic regression on the features, kept as plain numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qrm_forensics.early_warning.concordance import Bools, Floats, Ints

FOLDS = 5


@dataclass(frozen=True, slots=True)
class Logistic:
    """score = 1 / (1 + exp(-(intercept + sum coefficient (value - centre) / scale))), one entry per feature."""

    centre: tuple[float, ...]
    scale: tuple[float, ...]
    coefficients: tuple[float, ...]
    intercept: float

    def score(self, values: Floats) -> Floats:
        """Values [p, features] -> scores [p] in 0..1."""
        linear = (values - self.centre) / self.scale @ np.array(self.coefficients) + self.intercept
        result: Floats = 1 / (1 + np.exp(-np.clip(linear, -500, 500)))
        return result


def fit_logistic(values: Floats, failed: Bools, weight: Floats) -> Logistic:
    """Least penalised deviance (L2, C = 1) on standardised values [p, features]; ``weight`` [p] of the points."""
    from sklearn.linear_model import LogisticRegression

    centre = np.average(values, axis=0, weights=weight)
    spread = np.sqrt(np.average((values - centre) ** 2, axis=0, weights=weight))
    scale = np.where(spread > 0, spread, 1.0)
    fitted = LogisticRegression(C=1.0, max_iter=1000).fit((values - centre) / scale, failed, sample_weight=weight)
    return Logistic(
        tuple(centre.tolist()), tuple(scale.tolist()), tuple(fitted.coef_[0].tolist()), float(fitted.intercept_[0])
    )


def folds(failed: Bools, problem: Ints, seed: int) -> NDArray[np.int64]:
    """Fold 0..FOLDS-1 of each response [n]: all responses to a problem in one, failures spread evenly."""
    from sklearn.model_selection import StratifiedGroupKFold

    split = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    fold = np.empty(len(failed), dtype=np.int64)
    for number, (_, held_out) in enumerate(split.split(np.zeros(len(failed)), failed, problem)):
        fold[held_out] = number
    return fold
