"""Estimators for times with competing causes, on counts at the distinct times (Aalen-Johansen; Kaplan-Meier as one cause).

Causes are numbers: 0 censored, 1 and 2 the events.  At equal times events come before censoring.
Every function takes arrays [..., m] over m ascending distinct times; leading axes are resamples.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Tally(NamedTuple):
    """Responses (or their weights) at each distinct time, [..., m] each: at risk, and events of cause 1 and 2."""

    at_risk: Floats
    first: Floats
    second: Floats


class Sample:
    """Times [n] and causes [n] in order of time; ``starts`` [m] is where each of the distinct ``times`` [m] begins."""

    def __init__(self, times: Floats, causes: Ints) -> None:
        self.order = np.argsort(times, kind="stable")
        self.sorted = times[self.order]
        self.causes = causes[self.order]
        self.times, self.starts = np.unique(self.sorted, return_index=True)

    def __len__(self) -> int:
        return len(self.order)

    def tally(self, weights: Floats | None = None) -> Tally:
        """Counts [m], or sums of ``weights`` of the responses as they were given, [..., n], as [..., m]."""
        ordered = np.ones(len(self)) if weights is None else weights[..., self.order]
        leaving, first, second = (
            np.add.reduceat(ordered * kind, self.starts, axis=-1)
            for kind in (np.ones(len(self)), self.causes == 1, self.causes == 2)
        )
        gone = np.cumsum(leaving, axis=-1)
        return Tally(gone[..., -1:] - gone + leaving, first, second)

    def at_risk(self, tokens: Floats | Ints) -> Ints:
        """Responses observed for at least so many tokens, int64 like ``tokens``."""
        return len(self) - np.searchsorted(self.sorted, tokens)


def incidence(at_risk: Floats, events: Floats, of_cause: Floats) -> Floats:
    """F_k(t) = sum over t_j <= t of S(t_j-) d_kj / n_j, with S over ``events`` of every cause (Aalen and Johansen 1978).

    With one cause (``of_cause`` the same as ``events``) it is 1 - Kaplan-Meier.
    """
    some = np.where(at_risk > 0, at_risk, 1)
    survival = np.cumprod(1 - events / some, axis=-1)
    before = np.concatenate([np.ones_like(survival[..., :1]), survival[..., :-1]], axis=-1)
    result: Floats = np.minimum(np.cumsum(before * of_cause / some, axis=-1), 1.0)
    return result


def incidence_variance(at_risk: Floats, events: Floats, of_cause: Floats) -> Floats:
    """Variance of F_k at each time, [m], by the delta method (Marubini and Valsecchi 1995, ch. 10).

    sum (F(t) - F_j)^2 d_j / (n_j (n_j - d_j)) + sum S_{j-1}^2 d_kj (n_j - d_kj) / n_j^3
    - 2 sum (F(t) - F_j) S_{j-1} d_kj / n_j^2, over t_j <= t.  It is Greenwood's where there is one
    cause, and F (1 - F) / n where nothing is censored.
    """
    f = incidence(at_risk, events, of_cause)
    before = np.append(1.0, np.cumprod(1 - events / at_risk)[:-1])
    left = at_risk - events
    # where everyone has left F no longer changes, so that the term is 0
    a = np.where(left > 0, events / (at_risk * np.where(left > 0, left, 1)), 0.0)
    c = before * of_cause / at_risk**2
    spread = f * f * np.cumsum(a) - 2 * f * np.cumsum(a * f) + np.cumsum(a * f * f)
    own = np.cumsum(before**2 * of_cause * (at_risk - of_cause) / at_risk**3)
    shared = 2 * (f * np.cumsum(c) - np.cumsum(c * f))
    result: Floats = np.maximum(spread + own - shared, 0.0)
    return result
