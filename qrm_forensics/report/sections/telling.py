"""The problem that shows a loss of diversity best, chosen by one rule for every section that shows a single problem."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qrm_forensics.report.data import BenchmarkData, RunData

#: Mean type-token ratio over all windows of 100 words: it does not fall with the length of a response.
DIVERSITY = "mattr_100"


@dataclass(frozen=True)
class Telling:
    """``row``: index of its sample key; ``falls``: whether the diversity of both responses is known."""

    variant: str
    reference: str
    row: int
    falls: bool


def most_telling(run: RunData, data: BenchmarkData, references: dict[str, str]) -> Telling | None:
    """Of all responses that are not right where the reference is, the one whose diversity falls most beside it.

    Where both responses are long enough (100 words) for no such pair, or in none it falls, the one with the lowest
    diversity; None without such a response.
    """
    if DIVERSITY not in run.tables:
        return None
    best: tuple[bool, float] | None = None
    found: Telling | None = None
    for variant, reference in references.items():
        if variant == reference:
            continue
        lost = (data.right(reference, run.policy) == 1) & (data.right(variant, run.policy) == 0)
        after = data.aligned(variant, DIVERSITY)
        for falls, loss in ((True, data.aligned(reference, DIVERSITY) - after), (False, 1 - after)):
            loss = np.where(lost & np.isfinite(loss), loss, -np.inf)
            row = int(loss.argmax())
            weight = (falls, float(loss[row]))
            if loss[row] > 0 and (best is None or weight > best):
                best, found = weight, Telling(variant, reference, row, falls)
    return found
