"""The responses of a variant that are right and those that are not, and claims about them.

All sections on failures split by the first scoring policy: *right* is correct, *not right* is wrong or without an
answer; what could not be judged is in neither.  Of problems that somebody selected there are counts and descriptions,
no shares and no intervals.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from qrm_forensics.compare import Interval, median_interval, ratio_interval
from qrm_forensics.compare.bootstrap import problem_weights
from qrm_forensics.records import Status
from qrm_forensics.report.claims import count, where, with_interval
from qrm_forensics.report.data import BenchmarkData, RunData
from qrm_forensics.report.nouns import Claim, Sentence, Unit
from qrm_forensics.report.sections.material import Material

Floats = NDArray[np.float64]
RIGHT, NOT_RIGHT = "right", "not_right"
_STATUSES = {RIGHT: [Status.CORRECT], NOT_RIGHT: [Status.WRONG, Status.MISSING]}


@dataclass(frozen=True)
class Group:
    """Responses of a variant with one outcome.  ``at``: the query that picks their verdicts."""

    benchmark: str
    variant: str
    outcome: str
    frame: pd.DataFrame
    at: str
    selected: bool

    @property
    def name(self) -> str:
        return f"{self.benchmark}/{self.variant}/{self.outcome}"

    @property
    def label(self) -> Sentence:
        return Sentence(f"failures.{self.outcome}")

    def measured(self, column: str) -> pd.DataFrame:
        """Those of which the column is known."""
        return self.frame[self.frame[column].notna()]


@dataclass(frozen=True)
class Split:
    """Both groups of a variant."""

    variant: str
    right: Group
    not_right: Group

    @property
    def selected(self) -> bool:
        return self.right.selected

    @property
    def groups(self) -> tuple[Group, Group]:
        return self.right, self.not_right


def splits(material: Material, data: BenchmarkData) -> list[Split]:
    """Every variant that was judged, in the order of the report; made once per benchmark."""
    name = f"splits/{data.name}"
    if name not in material.kept:
        material.kept[name] = _splits(material.run, data)
    found: list[Split] = material.kept[name]
    return found


def _splits(run: RunData, data: BenchmarkData) -> list[Split]:
    found = []
    for variant in data.variants:
        frame = data.of(variant)
        outcome = frame[f"right:{run.policy}"]

        def group(kind: str, value: int, variant: str = variant, frame: pd.DataFrame = frame) -> Group:
            at = where(
                variant=variant, benchmark=data.name, policy=run.policy, status=[str(s) for s in _STATUSES[kind]]
            )
            rows = frame[frame[f"right:{run.policy}"] == value]
            return Group(data.name, variant, kind, rows, at, data.is_selected(variant))

        if outcome.notna().any():
            found.append(Split(variant, group(RIGHT, 1), group(NOT_RIGHT, 0)))
    return found


def leading(found: Sequence[Split]) -> Split | None:
    """The variant that an answer speaks of: the one with most responses that are not right, unselected before selected."""
    failing = [s for s in found if len(s.not_right.frame)]
    return max(failing, key=lambda s: (not s.selected, len(s.not_right.frame)), default=None)


def tables(run: RunData, *columns: str) -> str:
    """The verdicts joined to the tables of these columns."""
    return "+".join(dict.fromkeys(["verdicts", *(run.tables[c] for c in columns)]))


def number(
    material: Material,
    group: Group,
    name: str,
    value: int,
    definition: str,
    *,
    of: int | None = None,
    columns: Sequence[str] = (),
    rows: str = "",
) -> Claim:
    """A count in a group; of a selected set without its denominator, as it is no share of anything."""
    return material.add(
        count(
            f"{name.partition('/')[0]}/{group.name}/{name.partition('/')[2]}",
            value,
            definition,
            of=None if group.selected else of,
            table=tables(material.run, *columns),
            filter=group.at + (f" and {rows}" if rows else ""),
        )
    )


def flagged(material: Material, group: Group, section: str, column: str, definition: str | None = None) -> Claim:
    """How many of a group have a yes/no column true, of those of which it is known; no value where it is of none."""
    known = group.measured(column)
    if known.empty:
        claim = Claim(f"{section}/{group.name}/{column}", None, Unit.COUNT, definition or f"definition.column.{column}")
        return material.add(replace(claim, note="claim.no_data"))
    return number(
        material,
        group,
        f"{section}/{column}",
        int((known[column] == 1).sum()),
        definition or f"definition.column.{column}",
        of=len(known),
        columns=(column,),
        rows=f"{column} == True",
    )


def centre(material: Material, group: Group, section: str, column: str, how: str, unit: Unit) -> Claim:
    """``mean``, ``median`` or ``max`` of a column in a group, with the interval of a bootstrap over problems."""
    if known := material.known(f"{section}/{group.name}/{column}/{how}"):
        return known
    rows = group.measured(column)
    claim = Claim(
        *(f"{section}/{group.name}/{column}/{how}", None, unit, f"definition.column.{column}"),
        table=tables(material.run, column),
        filter=group.at,
        note="claim.no_data",
    )
    if rows.empty:
        return material.add(claim)
    values, problems = rows[column].to_numpy(np.float64), rows["problem"].to_numpy(np.int64)
    claim = replace(claim, value=float(getattr(np, how)(values)), denominator=len(values), note=None)
    if group.selected:
        return material.add(replace(claim, note="claim.description"))
    if how == "max":
        return material.add(claim)
    if how == "median":
        interval = median_interval(values, problems)
    else:
        index = np.unique(problems, return_inverse=True)[1]
        interval = ratio_interval(np.bincount(index, values), np.bincount(index))
    return material.add(with_interval(claim, spread(interval), "bootstrap-problems"))


def spread(interval: Interval | None) -> Interval | None:
    """None instead of an interval without width: resamples that are all the same tell nothing of chance."""
    return interval if interval is not None and interval.low < interval.high else None


@dataclass(frozen=True)
class Terms:
    """Tops and bottoms of a rate per response: [n, columns] each, NaN where unknown, and their problems [n]."""

    problems: NDArray[np.int64]
    above: Floats
    below: Floats


def terms(group: Group, tops: Sequence[str], bottom: str | None) -> Terms:
    """Of a group; without ``bottom`` the rate is a mean over responses."""
    frame = group.frame
    above = np.stack([frame[c].to_numpy(np.float64) for c in tops], axis=1)
    below = np.ones(above.shape) if bottom is None else np.repeat(
        frame[bottom].to_numpy(np.float64)[:, None], len(tops), axis=1
    )  # fmt: skip
    return Terms(frame["problem"].to_numpy(np.int64), above, below)


Compared = list[tuple[float | None, Interval | None]]


def ratios(over: Terms, under: Terms) -> Compared:
    """Rate in ``over`` / rate in ``under`` per column; None where one does not exist or the lower one is 0."""
    return _compared(over, under, np.divide)


def differences(over: Terms, under: Terms) -> Compared:
    """Rate in ``over`` - rate in ``under`` per column; None where one does not exist."""
    return _compared(over, under, np.subtract)


def _compared(over: Terms, under: Terms, how: np.ufunc) -> Compared:
    """Two rates per column, sum(above) / sum(below) each, with the percentile interval of a bootstrap over problems.

    Problems are drawn, and both rates are made again from the drawn ones, since how many responses are right is chance,
    too.  There is no interval where the comparison does not exist in some resample.
    """
    names = np.unique(np.concatenate([over.problems, under.problems]))
    sums = []
    for side in (over, under):
        index = np.searchsorted(names, side.problems)
        known = np.isfinite(side.above) & np.isfinite(side.below)
        for values in (side.above, side.below):
            shown = np.where(known, values, 0)
            sums.append(
                np.stack([np.bincount(index, column, len(names)) for column in shown.T], axis=1)
                if len(names)
                else np.zeros((0, shown.shape[1]))
            )
    with np.errstate(divide="ignore", invalid="ignore"):
        one = [s.sum(axis=0) for s in sums]
        values = how(one[0] / one[1], one[2] / one[3])
        if len(names) > 1:
            weights, _ = problem_weights(np.arange(len(names)), len(names))
            many = [weights @ s for s in sums]
            drawn = how(many[0] / many[1], many[2] / many[3])
        else:
            drawn = np.full((1, len(values)), np.nan)
    found: Compared = []
    for value, draws in zip(values, drawn.T, strict=True):
        limits = np.percentile(draws, [2.5, 97.5]) if np.isfinite(draws).all() else None
        if limits is not None and limits[0] == limits[1]:
            limits = None  # resamples that are all the same tell nothing of chance
        found.append(
            (
                float(value) if np.isfinite(value) else None,
                None if limits is None else Interval(float(limits[0]), float(limits[1])),
            )
        )
    return found


def ratio_claims(
    material: Material,
    split: Split,
    section: str,
    tops: Sequence[str],
    bottom: str | None,
    definition: str = "definition.failures_ratio",
) -> dict[str, Claim]:
    """Column -> its rate in the responses that are not right over that in the right ones."""
    told = ratios(terms(split.not_right, tops, bottom), terms(split.right, tops, bottom))
    at = where(
        variant=split.variant,
        benchmark=split.right.benchmark,
        policy=material.run.policy,
        status=[str(s) for kind in (RIGHT, NOT_RIGHT) for s in _STATUSES[kind]],
    )
    found = {}
    for column, (value, interval) in zip(tops, told, strict=True):
        claim = Claim(
            *(f"{section}/{split.right.benchmark}/{split.variant}/{column}/ratio", value, Unit.RATIO, definition),
            table=tables(material.run, column, *([bottom] if bottom else [])),
            filter=at,
        )
        if value is None:
            claim = replace(claim, note="claim.no_ratio")
        elif split.selected:
            claim = replace(claim, note="claim.description")
        else:
            claim = with_interval(claim, interval, "bootstrap-problems")
        found[column] = material.add(claim)
    return found


def told(claim: Claim) -> str:
    """``more`` or ``less`` where the interval of a ratio excludes 1, else ``same``."""
    if claim.ci_low is not None and claim.ci_low > 1:
        return "more"
    if claim.ci_high is not None and claim.ci_high < 1:
        return "less"
    return "same"


def nice_width(longest: float, bins: int) -> int:
    """The smallest of 1, 2, 5, 10, 20, ... of which at most ``bins`` cover 0 to ``longest``."""
    widths: Iterator[int] = (w for k in range(300) for w in (10**k, 2 * 10**k, 5 * 10**k))
    return next(w for w in widths if w * bins > longest)


def where_response(row: pd.Series, benchmark: str) -> str:
    """The query for one response, given its row of the joined frame."""
    names = where(variant=str(row["variant"]), benchmark=benchmark, problem_id=str(row["problem_id"]))
    return f"{names} and sample == {int(row['sample'])} and seed == {int(row['seed'])}"


def of_response(
    material: Material, benchmark: str, row: pd.Series, section: str, column: str, unit: Unit
) -> Claim | None:
    """The value of a measured column of one response, None where it is not known."""
    value = row[column]
    if not np.isfinite(value):
        return None
    key = f"{benchmark}/{row['variant']}/{row['problem_id']}/{row['sample']}/{row['seed']}"
    return material.add(
        Claim(
            *(f"{section}/response/{key}/{column}", float(value), unit, f"definition.column.{column}"),
            table=material.run.tables[column],
            filter=where_response(row, benchmark),
        )
    )
