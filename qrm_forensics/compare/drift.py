"""Whether responses end otherwise than they did: the outcome categories of two sides on the same problems."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qrm_forensics.compare.alignment import Aligned, Rows
from qrm_forensics.compare.change import Change, paired_change
from qrm_forensics.compare.resampling import Floats, group_sums, regrouped
from qrm_forensics.compare.rules import Rules
from qrm_forensics.compare.shares import holm

_UNKNOWN = "unassigned"
_BLOCK = 512  # exchanges at a time


@dataclass(frozen=True, slots=True)
class CategoryChange:
    """One category: its share on both sides, and Holm's p-value among the categories of the benchmark."""

    category: str
    change: Change
    p_adjusted: float

    @property
    def failing(self) -> bool:
        """Whether it is a way to fail: neither a correct outcome nor one that could not be told."""
        return not self.category.startswith("correct") and self.category != _UNKNOWN


@dataclass(frozen=True, slots=True)
class Drift:
    """``distance``: half the summed absolute change of the shares (total variation), 0..1, over ``n`` problems.

    ``by_chance``: its mean where the sides are exchanged at random, which is what to expect of no drift.
    ``p_value``: how often such an exchange gives as large a distance.
    """

    n: int
    distance: float
    by_chance: float
    p_value: float
    categories: tuple[CategoryChange, ...]

    @property
    def foremost(self) -> CategoryChange | None:
        """The way to fail whose share rose most clearly: the smallest adjusted p-value, then the largest rise.

        Where none rose, the one that fell least; None where nobody failed.
        """
        failing = [c for c in self.categories if c.failing]
        rose = [c for c in failing if c.change.difference > 0]
        if rose:
            return min(rose, key=lambda c: (c.p_adjusted, -c.change.difference, c.category))
        return max(failing, key=lambda c: c.change.difference, default=None)


def outcome_drift(aligned: Aligned, rules: Rules) -> Drift | None:
    """None where a side has no outcomes.  A response without one is left out of its problem's shares."""
    names = sorted(
        {v for side in (aligned.baseline, aligned.candidate) for v in side.texts("outcome") if v is not None}
    )
    if not names:
        return None
    shares = [_shares(side, names) for side in (aligned.baseline, aligned.candidate)]
    known: NDArray[np.bool_] = np.isfinite(shares[0][:, 0]) & np.isfinite(shares[1][:, 0])
    if not known.any():
        return None
    x, y = (side[known] for side in shares)
    groups = regrouped(aligned.groups, known)
    units = np.stack([group_sums(column, groups) for column in (y - x).T], axis=1)
    distance = float(np.abs(units.sum(axis=0)).sum()) / (2 * len(x))
    exchanged = _exchanged(units, rules.resamples, rules.seed) / (2 * len(x))
    changes = [paired_change(x[:, j], y[:, j], rules, groups) for j in range(len(names))]
    adjusted = holm([c.p_value(rules) for c in changes])
    return Drift(
        n=len(x),
        distance=distance,
        by_chance=float(exchanged.mean()),
        p_value=float(1 + (exchanged >= distance - 1e-9).sum()) / (1 + rules.resamples),
        categories=tuple(CategoryChange(*found) for found in zip(names, changes, adjusted, strict=True)),
    )


def _shares(side: Rows, names: list[str]) -> Floats:
    """Share of the responses to each problem in each category, [problems, names]; NaN where none is known."""
    outcomes = side.texts("outcome")
    known = np.array([v is not None for v in outcomes])
    columns = [side.by_problem(np.where(known, (outcomes == name).astype(np.float64), np.nan))[0] for name in names]
    return np.stack(columns, axis=1)


def _exchanged(units: Floats, resamples: int, seed: int) -> Floats:
    """Summed absolute change [resamples] where the sides of each unit, [units, categories], are exchanged at random."""
    generator = np.random.default_rng([seed, len(units), 1])
    found = []
    for start in range(0, resamples, _BLOCK):
        rows = min(_BLOCK, resamples - start)
        signs = generator.integers(0, 2, (rows, len(units)), dtype=np.int8).astype(np.float64) * 2 - 1
        found.append(np.abs(signs @ units).sum(axis=1))
    return np.concatenate(found)
