"""Two sides laid beside each other: the problems that both have, and per-problem values of any column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from qrm_forensics.compare.items import ITEM_KEY, Side, listed
from qrm_forensics.compare.resampling import Floats, Ints, regrouped
from qrm_forensics.errors import InputError
from qrm_forensics.records import Status

_RIGHT = {str(Status.CORRECT): 1.0, str(Status.WRONG): 0.0, str(Status.MISSING): 0.0, str(Status.UNSCORED): np.nan}


class Rows:
    """The responses of one side to the shared problems of one benchmark, ordered by problem, sample and seed."""

    def __init__(self, frame: pd.DataFrame, ids: NDArray[np.object_], name: str) -> None:
        self.name = name
        names = frame["problem_id"].astype(str).to_numpy(dtype=object)
        where = pd.Index(ids).get_indexer(pd.Index(names))
        order = np.lexsort((frame["seed"].to_numpy(np.int64), frame["sample"].to_numpy(np.int64), where))
        order = order[where[order] >= 0]
        self.frame = frame.iloc[order].reset_index(drop=True)
        self.index: Ints = where[order].astype(np.int64)
        self.problems = len(ids)

    def numbers(self, column: str) -> Floats:
        """A column of numbers or yes/no, [rows]; NaN where null, all NaN where there is no such column."""
        if column not in self.frame:
            return np.full(len(self.frame), np.nan)
        values = self.frame[column]
        if values.dtype == object:
            values = values.astype("Float64") if values.notna().any() else values.astype("float64")
        return values.to_numpy(dtype=np.float64, na_value=np.nan)

    def texts(self, column: str) -> NDArray[np.object_]:
        """A column as text, [rows]; None where null."""
        if column not in self.frame:
            return np.full(len(self.frame), None, dtype=object)
        values = self.frame[column]
        found: NDArray[np.object_] = values.astype(str).to_numpy(dtype=object, copy=True)
        found[values.isna().to_numpy(dtype=bool)] = None
        return found

    def right(self, scorer: str) -> Floats:
        """1 correct, 0 wrong or without an answer, NaN not judged, [rows].  Raises InputError for an unknown status."""
        statuses = self.texts(f"status_{scorer}")
        unknown = {s for s in statuses if s is not None} - _RIGHT.keys()
        if unknown:
            raise InputError(
                f"{self.name}: status_{scorer} holds {listed(sorted(unknown))}; a status is one of {', '.join(_RIGHT)}"
            )
        return np.array([np.nan if s is None else _RIGHT[s] for s in statuses], dtype=np.float64)

    def counts(self, scorer: str) -> dict[str, int]:
        """How many responses have each status; those with none count as unscored."""
        statuses = [Status.UNSCORED if s is None else s for s in self.texts(f"status_{scorer}")]
        return {str(status): statuses.count(status) for status in Status}

    def by_problem(self, values: Floats) -> tuple[Floats, Ints]:
        """Mean of the known values of each problem, NaN where there is none, and how many are known; [problems] each."""
        known = np.isfinite(values)
        count = np.bincount(self.index[known], minlength=self.problems)
        total = np.bincount(self.index[known], values[known], minlength=self.problems)
        return np.where(count > 0, total / np.maximum(count, 1), np.nan), count.astype(np.int64)

    def samples(self) -> Ints:
        """Responses per problem, [problems]."""
        return np.bincount(self.index, minlength=self.problems).astype(np.int64)

    def first_text(self, column: str) -> NDArray[np.object_]:
        """The first known text of each problem, [problems]; None where there is none."""
        found = np.full(self.problems, None, dtype=object)
        for i, value in zip(self.index[::-1], self.texts(column)[::-1], strict=True):
            if value is not None:
                found[i] = value
        return found


@dataclass(frozen=True, slots=True)
class Aligned:
    """The problems of one benchmark that both sides have, sorted by id.  ``groups``: index of each one's group, [n]."""

    benchmark: str
    ids: NDArray[np.object_]
    baseline: Rows
    candidate: Rows
    groups: Ints | None

    def __len__(self) -> int:
        return len(self.ids)

    def groups_of(self, rows: NDArray[np.bool_]) -> Ints | None:
        """Groups of the chosen problems, [chosen]."""
        return regrouped(self.groups, rows)


def problem_ids(side: Side, benchmark: str) -> set[str]:
    items = side.items
    return set(items.loc[(items["benchmark"] == benchmark).to_numpy(dtype=bool), "problem_id"].astype(str))


def benchmarks(side: Side) -> list[str]:
    return sorted(set(side.items["benchmark"].astype(str)))


def align(baseline: Side, candidate: Side, benchmark: str, cluster: str | None = None) -> Aligned:
    """The shared problems of ``benchmark``; ``cluster`` is a column of the baseline that groups them.

    A problem whose group is not known is its own.  Raises InputError where the baseline has no such column.
    """
    ids = np.array(sorted(problem_ids(baseline, benchmark) & problem_ids(candidate, benchmark)), dtype=object)
    first, second = (_rows(side, benchmark, ids) for side in (baseline, candidate))
    groups = None
    if cluster is not None:
        if cluster not in baseline.items:
            raise InputError(f"{baseline.facts.name} has no column {cluster!r} to group problems by")
        names = [
            f"={i}" if name is None else f"+{name}" for i, name in zip(ids, first.first_text(cluster), strict=True)
        ]
        groups = np.unique(np.array(names, dtype=object).astype(str), return_inverse=True)[1].astype(np.int64)
    return Aligned(benchmark, ids, first, second, groups)


def _rows(side: Side, benchmark: str, ids: NDArray[np.object_]) -> Rows:
    mine = (side.items["benchmark"] == benchmark).to_numpy(dtype=bool)
    return Rows(side.items[mine], ids, side.facts.name)


def check_items(side: Side) -> None:
    """Raises InputError for items without a key column, and for a key that is there twice."""
    lacking = [name for name in ITEM_KEY if name not in side.items]
    if lacking:
        raise InputError(f"{side.facts.name}: the items lack the column(s) {', '.join(lacking)}")
    twice = side.items.duplicated(list(ITEM_KEY))
    if twice.any():
        first = side.items.loc[twice.to_numpy(dtype=bool), list(ITEM_KEY)].iloc[0]
        raise InputError(
            f"{side.facts.name}: {int(twice.sum())} items are there twice, the first being "
            f"{', '.join(f'{k}={v}' for k, v in first.items())}; every response must be there once"
        )


def identical(baseline: Side, candidate: Side) -> bool:
    """Whether both sides hold the same responses: the same items with the same values in every column of either."""
    if set(baseline.items.columns) != set(candidate.items.columns) or len(baseline.items) != len(candidate.items):
        return False
    first, second = (
        side.items.sort_values(list(ITEM_KEY), kind="stable").reset_index(drop=True) for side in (baseline, candidate)
    )
    return all(_same(first[name], second[name]) for name in first.columns)


def _same(first: pd.Series, second: pd.Series) -> bool:
    a, b = first.isna().to_numpy(dtype=bool), second.isna().to_numpy(dtype=bool)
    return bool((a == b).all()) and bool((first[~a].to_numpy(object) == second[~b].to_numpy(object)).all())


def shared_scorers(sides: Sequence[Side], wanted: tuple[str, ...] | None) -> tuple[str, ...]:
    """The policies by which every side was judged, in the order of the first side, or ``wanted`` in its order.

    Raises InputError for a wanted one that did not judge every side.
    """
    common = [p for p in sides[0].policies if all(p in side.policies for side in sides[1:])]
    for name in wanted or ():
        if name not in common:
            raise InputError(
                f"the rules ask for the scoring policy {name!r}; both sides were judged by {', '.join(common) or 'none'}"
            )
    return tuple(common) if wanted is None else wanted
