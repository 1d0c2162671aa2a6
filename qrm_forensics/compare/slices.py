"""Where it happened: the paired change within slices of the problems.

Slices are made from what is known of the problem, and from the *baseline's* responses only; length bands are
quarters of the baseline's length, cut before any verdict is looked at.  Slicing by how a response ended is allowed and
marked: problems that were picked for how one run went move back by themselves in another.

All slices of a benchmark under one policy are one family for Benjamini and Hochberg's adjustment: slices explore,
they do not gate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from qrm_forensics.compare.accuracy import Judged
from qrm_forensics.compare.alignment import Aligned
from qrm_forensics.compare.change import Change, paired_change
from qrm_forensics.compare.decisions import benjamini_hochberg
from qrm_forensics.compare.resampling import regrouped
from qrm_forensics.compare.rules import SLICES, Rules
from qrm_forensics.compare.tiers import Ranking, rank_groups
from qrm_forensics.errors import InputError

BANDS = 4
#: A column of numbers with more distinct values than this is cut into bands.
_DISTINCT = 12
#: More slices than this are names of problems rather than kinds of them.
_MOST = 40
_OUTCOMES = ("status_", "outcome", "missing_answer", "boxed", "closed", "finish", "truncated", "loop")


@dataclass(frozen=True, slots=True)
class Slice:
    """The change within one slice; ``family`` slices were adjusted together."""

    benchmark: str
    scorer: str
    column: str
    value: str
    change: Change
    p_value: float
    p_adjusted: float
    family: int

    @property
    def n(self) -> int:
        return self.change.n


@dataclass(frozen=True, slots=True)
class SliceColumn:
    """All slices of one column.  ``left_out``: problems without a value.  ``ranking``: by change, the least harmed first.

    ``blind``: the column says nothing about how the baseline's responses ended.
    """

    benchmark: str
    scorer: str
    column: str
    slices: tuple[Slice, ...]
    left_out: int
    ranking: Ranking
    blind: bool


def slices(aligned: Aligned, pair: Judged, scorer: str, rules: Rules) -> tuple[SliceColumn, ...]:
    """Slices by the columns of the rules; those that the rules do not name are skipped where there are none.

    Raises InputError for a column that the rules name and that the baseline lacks, and for one with too many values.
    """
    named = rules.slices
    kinds = {column: slice_values(aligned, column) for column in (SLICES if named is None else named)}
    for column, values in kinds.items():
        if named is not None and values is None:
            raise InputError(f"{aligned.baseline.name} has no column {column!r} to slice by")
    found = [
        _column(aligned, pair, scorer, column, values[pair.rows], rules)
        for column, values in kinds.items()
        if values is not None
    ]
    found = [f for f in found if f.slices]
    every = [s for f in found for s in f.slices]
    adjusted = iter(benjamini_hochberg([s.p_value for s in every]))
    return tuple(
        replace(f, slices=tuple(replace(s, p_adjusted=next(adjusted), family=len(every)) for s in f.slices))
        for f in found
    )


def slice_values(aligned: Aligned, column: str) -> NDArray[np.object_] | None:
    """The slice of each shared problem by the baseline's ``column``, [problems]; None where it is not known at all."""
    side = aligned.baseline
    if column == "length_band":
        for unit in ("tokens", "words"):
            lengths = side.by_problem(side.numbers(f"n_{unit}"))[0]
            if np.isfinite(lengths).any():
                return bands(lengths, unit)
        return None
    if column not in side.frame or not side.frame[column].notna().any():
        return None
    kind = side.frame[column].dtype
    if getattr(kind, "kind", "O") in "iuf":
        means = side.by_problem(side.numbers(column))[0]
        if len(np.unique(means[np.isfinite(means)])) > _DISTINCT:
            return bands(means, "")
    found = side.first_text(column)
    count = len({v for v in found if v is not None})
    if count > _MOST:
        raise InputError(f"{side.name}: column {column!r} has {count} values; slices are at most {_MOST}")
    return found


def bands(values: np.ndarray, unit: str) -> NDArray[np.object_]:
    """Quarters of the known values, [n]; None where not known.  Equal values share a band."""
    known = np.isfinite(values)
    edges = np.unique(np.quantile(values[known], np.arange(1, BANDS) / BANDS))
    index = np.searchsorted(edges, values[known], side="left")
    names = {}
    for band in np.unique(index):
        inside = values[known][index == band]
        low, high = f"{inside.min():,.4g}", f"{inside.max():,.4g}"
        if inside.max() >= 1000 or (inside == inside.round()).all():
            low, high = f"{inside.min():,.0f}", f"{inside.max():,.0f}"
        names[band] = f"{low}–{high}{' ' if unit else ''}{unit}"
    found = np.full(len(values), None, dtype=object)
    found[known] = [names[i] for i in index]
    return found


def _column(
    aligned: Aligned, pair: Judged, scorer: str, column: str, values: NDArray[np.object_], rules: Rules
) -> SliceColumn:
    made, moved = [], {}
    for value in _ordered(values):
        rows: NDArray[np.bool_] = np.asarray(values == value, dtype=bool)
        x, y = pair.baseline[rows], pair.candidate[rows]
        change = paired_change(x, y, rules, regrouped(pair.groups, rows))
        p = change.p_value(rules)
        made.append(Slice(aligned.benchmark, scorer, column, value, change, p, p, 1))
        moved[value] = y - x
    return SliceColumn(
        benchmark=aligned.benchmark,
        scorer=scorer,
        column=column,
        slices=tuple(made),
        left_out=int(sum(v is None for v in values)),
        ranking=rank_groups(moved, rules),
        blind=not column.startswith(_OUTCOMES),
    )


def _ordered(values: NDArray[np.object_]) -> Sequence[str]:
    """Slices by name; those that begin with a number by that number."""

    def key(value: str) -> tuple[float, str]:
        first = value.split("–")[0].replace(",", "")
        try:
            return (float(first), value)
        except ValueError:
            return (float("inf"), value)

    return sorted({v for v in values if v is not None}, key=key)
