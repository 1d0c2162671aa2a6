"""One response under a model that learned from others: the curve that a reader of a trace looks at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from qrm_forensics.early_warning.cases import collect
from qrm_forensics.early_warning.evaluate import ALLOWED
from qrm_forensics.early_warning.features import prefixes
from qrm_forensics.early_warning.model import Logistic, fit_logistic, folds
from qrm_forensics.early_warning.protocol import by_model, out_of_fold, threshold


@dataclass(frozen=True, slots=True)
class WarningModel:
    """A fitted model, and the thresholds for each allowed share of false alarms (None: too few to set it).

    ``without``: the problem whose responses it did not see.
    """

    target: str
    step: int
    logistic: Logistic
    thresholds: Mapping[float, float | None]
    n: int
    failed: int
    without: str | None


@dataclass(frozen=True, slots=True)
class WarningCurve:
    """Scores [p] of one response after ``tokens`` [p] pseudo-tokens, and where it alarms for each allowed share."""

    tokens: tuple[int, ...]
    scores: tuple[float, ...]
    alarms: Mapping[float, int | None]


def fit(
    texts: Sequence[str | None],
    closed: Sequence[bool | None],
    groups: Sequence[str],
    *,
    without: str | None = None,
    target: str = "unclosed",
    onset: Sequence[float | None] | None = None,
    tokens: Sequence[int | None] | None = None,
    step: int | None = None,
    seed: int = 0,
) -> WarningModel:
    """The model of ``evaluate`` (same arguments) from all responses but those to the problem ``without``.

    Its thresholds are set on scores out of fold.  Raises ValueError also where there is too little to learn from.
    """
    kept = [i for i, group in enumerate(groups) if group != without]

    cases = collect(
        [texts[i] for i in kept],
        [closed[i] for i in kept],
        [groups[i] for i in kept],
        target=target,
        onset=None if onset is None else [onset[i] for i in kept],
        tokens=None if tokens is None else [tokens[i] for i in kept],
        step=step,
    )
    short = cases.shortage()
    if short is not None:
        raise ValueError(
            f"too few to learn from: {short.found} {short.what.replace('_', ' ')}, {short.needed} are needed"
        )
    points = cases.points
    score = out_of_fold(points, by_model, folds(points.failed, points.problem, seed))
    return WarningModel(
        target=target,
        step=cases.step,
        logistic=fit_logistic(points.values, points.failed[points.response], points.weight),
        thresholds={allowed: threshold(points, score, allowed) for allowed in ALLOWED},
        n=len(points.failed),
        failed=int(points.failed.sum()),
        without=without,
    )


def curve(text: str, model: WarningModel, *, closed: bool = True) -> WarningCurve:
    """Score one response as it would have been while it was written, up to its ``</think>`` if it ``closed``.

    For an honest picture of a response of a study, the model is one fitted ``without`` its problem.
    """
    read = prefixes(text, closed, model.step)
    scores = model.logistic.score(read.values)
    alarms: dict[float, int | None] = {}
    for allowed, level in model.thresholds.items():
        above = np.flatnonzero(scores > level) if level is not None else np.empty(0, np.int64)
        alarms[allowed] = int(read.points[above[0]]) if len(above) else None
    return WarningCurve(tuple(read.points.tolist()), tuple(scores.tolist()), alarms)
