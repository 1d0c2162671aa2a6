"""How much of a conclusion is the scorer: the same responses under two policies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from qrm_forensics.compare.accuracy import Accuracy
from qrm_forensics.compare.alignment import Aligned


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """Two policies on one benchmark, over ``n`` problems (of the first policy).

    ``baseline_disagreements`` and ``candidate_disagreements``: responses that one calls right and the other does not;
    ``*_gap``: accuracy under ``second`` less that under ``first``, 0..1.  ``robust``: both policies see the change with
    the same sign and both or neither tell it apart at the unadjusted level.
    """

    benchmark: str
    first: str
    second: str
    n: int
    baseline_disagreements: int
    candidate_disagreements: int
    baseline_gap: float
    candidate_gap: float
    robust: bool


def sensitivity(aligned: Aligned, results: Sequence[Accuracy], alpha: float) -> tuple[Sensitivity, ...]:
    """The first policy of ``results`` (of this benchmark) beside each other one."""
    found = []
    for other in results[1:]:
        first = results[0]
        counts = []
        for side in (aligned.baseline, aligned.candidate):
            a, b = side.right(first.scorer), side.right(other.scorer)
            counts.append(int((np.isfinite(a) & np.isfinite(b) & (a != b)).sum()))
        signs = {int(np.sign(r.change.difference)) for r in (first, other)}
        apart = {r.change.p_exact <= alpha for r in (first, other)}
        found.append(
            Sensitivity(
                benchmark=aligned.benchmark,
                first=first.scorer,
                second=other.scorer,
                n=first.n,
                baseline_disagreements=counts[0],
                candidate_disagreements=counts[1],
                baseline_gap=other.change.baseline - first.change.baseline,
                candidate_gap=other.change.candidate - first.change.candidate,
                robust=len(signs) == 1 and len(apart) == 1,
            )
        )
    return tuple(found)
