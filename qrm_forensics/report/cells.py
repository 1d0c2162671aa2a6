"""One variant on one benchmark: accuracy under every policy, rates, lengths."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from qrm_forensics.compare import Interval, mean_interval, median_interval, paired, ratio_intervals
from qrm_forensics.records import Coverage
from qrm_forensics.report.claims import Ledger, Source, all_alike, count, share, where, with_interval
from qrm_forensics.report.data import BenchmarkData, Floats, RunData
from qrm_forensics.report.keys import CENTRE_COLUMNS, RATE_COLUMNS, YES_NO_COLUMNS
from qrm_forensics.report.model import Cell, Claim, Unit

#: Yes/no columns that have a section of their own.
_SHOWN_ELSEWHERE = ("symptom_", "reference_")


def build_cell(run: RunData, data: BenchmarkData, variant: str, ledger: Ledger) -> Cell:
    """All claims about one variant on one benchmark."""
    frame = data.of(variant)
    selected = data.is_selected(variant)
    at = where(variant=variant, benchmark=data.name)
    name = f"{data.name}/{variant}"
    accuracy: dict[str, Claim | None] = {}
    correct: dict[str, Claim] = {}
    missing: dict[str, Claim] = {}
    unscored: dict[str, Claim] = {}
    for policy in run.policies:
        source: Source = {"table": "verdicts", "filter": f"{at} and {where(policy=policy)}"}
        right = frame[f"right:{policy}"]
        judged = int(right.notna().sum())
        status = frame[f"status:{policy}"]
        accuracy[policy] = (
            None if selected else ledger.add(accuracy_claim(data, frame, policy, f"{name}/{policy}", source))
        )
        for found, kind, value, total in (
            (correct, "correct", int(right.sum()), judged),
            (missing, "missing", int(frame[f"missing:{policy}"].sum()), judged),
            (unscored, "unscored", int((status == "unscored").sum()), int(status.notna().sum())),
        ):
            found[policy] = ledger.add(
                count(f"{kind}/{name}/{policy}", value, f"definition.{kind}", of=total, **source)
            )
    return Cell(
        variant=variant,
        benchmark=data.name,
        coverage=data.coverage[variant],
        benchmark_size=data.size,
        n=ledger.add(count(f"n/{name}", len(frame), "definition.n", table="traces", filter=at)),
        accuracy=accuracy,
        correct=correct,
        missing=missing,
        unscored=unscored,
        scorer_gap=_scorer_gap(run, data, variant, ledger),
        rates=rates(run, data, frame, name, at, selected, ledger),
        centres=centres(run, frame, f"median/{name}", at, selected, ledger),
        means=centres(run, frame, f"mean/{name}", at, selected, ledger),
    )


def accuracy_claim(
    data: BenchmarkData, frame: pd.DataFrame, policy: str, name: str, source: Source, prefix: str = "accuracy"
) -> Claim:
    """Share right of the judged responses in ``frame``; over problems where there are several samples."""
    right, problems = finite(frame, f"right:{policy}")
    claim = share(
        *(f"{prefix}/{name}", right, problems, "definition.accuracy"), selected=False, empty="claim.no_scored", **source
    )
    if data.samples > 1 and len(right):
        index = np.unique(problems, return_inverse=True)[1]
        per_problem = np.bincount(index, right) / np.bincount(index)
        claim = Claim(
            *(claim.id, float(per_problem.mean()), Unit.SHARE, "definition.accuracy_samples"),
            denominator=len(per_problem),
            **source,
        )
        if right.min() == right.max():
            claim = with_interval(claim, *all_alike(bool(right[0]), len(per_problem)))
        else:
            claim = with_interval(claim, mean_interval(per_problem), "bootstrap-problems")
    coverage = worst_note(data, frame)
    return replace(claim, note=claim.note or coverage)


def finite(frame: pd.DataFrame, column: str) -> tuple[Floats, NDArray[np.int64]]:
    """The values of a column that are there, and the problem of each, [n] both."""
    values = frame[column].to_numpy(np.float64)
    there = np.isfinite(values)
    return values[there], frame["problem"].to_numpy(np.int64)[there]


def worst_note(data: BenchmarkData, frame: pd.DataFrame) -> str | None:
    """The note on a number over a beginning of the benchmark."""
    prefix = any(data.coverage[str(v)] is Coverage.PREFIX for v in frame["variant"].unique())
    return "claim.prefix" if prefix else None


def rates(
    run: RunData,
    data: BenchmarkData,
    frame: pd.DataFrame,
    name: str,
    at: str,
    selected: bool,
    ledger: Ledger,
    table: str = "",
) -> dict[str, Claim]:
    """Share of responses for which each yes/no column is true, by column name."""
    extra = [c for c in run.flags if c not in RATE_COLUMNS and not c.startswith(_SHOWN_ELSEWHERE)]
    found = {}
    for column in [*RATE_COLUMNS, *extra]:
        claim_id = f"rate/{name}/{column}"
        known = column in RATE_COLUMNS or column in YES_NO_COLUMNS
        definition = f"definition.column.{column}" if known else "definition.rate"
        if column not in run.tables:
            found[column] = ledger.add(Claim(claim_id, None, Unit.SHARE, definition, note="claim.no_measure"))
            continue
        values, problems = finite(frame, column)
        source: Source = {"table": run.tables[column] + table, "filter": at}
        found[column] = ledger.add(
            share(claim_id, values, problems, definition, selected=selected, of=len(frame), **source)
        )
    return found


def centres(
    run: RunData,
    frame: pd.DataFrame,
    prefix: str,
    at: str,
    selected: bool,
    ledger: Ledger,
    columns: tuple[str, ...] = tuple(CENTRE_COLUMNS),
    table: str = "",
) -> dict[str, Claim]:
    """Median or mean (as ``prefix`` begins) of each measured column over the responses that have a value.

    Intervals draw problems; a set that somebody selected is described without one.
    """
    median = prefix.startswith("median/")
    means = {} if median or selected else _mean_intervals(frame, [c for c in columns if c in run.tables])
    found = {}
    for column in columns:
        claim = Claim(f"{prefix}/{column}", None, Unit(CENTRE_COLUMNS[column]), f"definition.column.{column}")
        if column not in run.tables:
            found[column] = ledger.add(replace(claim, note="claim.no_measure"))
            continue
        values, problems = finite(frame, column)
        claim = replace(claim, table=run.tables[column] + table, filter=at)
        if not len(values):
            found[column] = ledger.add(replace(claim, note="claim.no_data"))
            continue
        claim = replace(claim, value=float(np.median(values) if median else values.mean()), denominator=len(values))
        if selected:
            found[column] = ledger.add(replace(claim, note="claim.description"))
            continue
        interval = median_interval(values, problems) if median else means[column]
        found[column] = ledger.add(with_interval(claim, interval, "bootstrap-problems"))
    return found


def _mean_intervals(frame: pd.DataFrame, columns: list[str]) -> dict[str, Interval | None]:
    """Bootstrap intervals of the means of many columns, on the same draws of problems."""
    if not columns:
        return {}
    index = np.unique(frame["problem"].to_numpy(np.int64), return_inverse=True)[1]
    values = [frame[c].to_numpy(np.float64) for c in columns]
    sums = [np.bincount(index, np.where(np.isfinite(v), v, 0)) for v in values]
    numbers = [np.bincount(index, np.isfinite(v)) for v in values]
    return dict(zip(columns, ratio_intervals(np.stack(sums, 1), np.stack(numbers, 1)), strict=True))


def _scorer_gap(run: RunData, data: BenchmarkData, variant: str, ledger: Ledger) -> Claim | None:
    """Lenient minus strict on the responses that both policies judged; None without both policies."""
    if not {"strict", "lenient"} <= set(run.policies):
        return None
    strict, lenient = data.right(variant, "strict"), data.right(variant, "lenient")
    rows = np.isfinite(strict) & np.isfinite(lenient)
    claim = Claim(
        *(f"scorer_gap/{data.name}/{variant}", None, Unit.POINTS, "definition.scorer_gap"),
        table="verdicts",
        filter=where(variant=variant, benchmark=data.name),
    )
    if not rows.any():
        return ledger.add(replace(claim, note="claim.no_scored"))
    result = paired(data.by_problem(strict, rows)[1], data.by_problem(lenient, rows)[1])
    source: Source = {"table": claim.table, "filter": claim.filter}
    name = f"scorer_gap/{data.name}/{variant}"
    ledger.add(count(f"{name}/lenient_only", result.gained, "definition.lenient_only", of=result.n, **source))
    ledger.add(count(f"{name}/strict_only", result.lost, "definition.strict_only", of=result.n, **source))
    claim = replace(claim, numerator=result.gained - result.lost, denominator=result.n)
    if data.is_selected(variant):
        return ledger.add(replace(claim, note="claim.selected"))
    return ledger.add(with_interval(replace(claim, value=result.difference), result.interval, result.interval_method))
