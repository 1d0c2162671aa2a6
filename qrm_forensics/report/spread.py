"""Beyond averages: distributions on common bins, markers in right and wrong responses, the worst loops."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from qrm_forensics.compare import ratio_intervals
from qrm_forensics.report.claims import Ledger, where, with_interval
from qrm_forensics.report.data import BenchmarkData, RunData
from qrm_forensics.report.keys import CENTRE_COLUMNS, DISTRIBUTION_COLUMNS
from qrm_forensics.report.model import Claim, Distribution, LoopRow, MarkerRow, Unit

_BINS = 24
_WORST_LOOPS = 15
#: Columns that lie between 0 and 1 by definition, so that every report bins them alike.
_UNIT_RANGE = ("loop_onset_fraction", "mattr_500")


def build_distributions(run: RunData, data: BenchmarkData) -> tuple[Distribution, ...]:
    """Histograms of the columns that have any finite value."""
    found = []
    for column in DISTRIBUTION_COLUMNS:
        if column not in run.tables:
            continue
        values = {v: data.of(v)[column].to_numpy(np.float64) for v in data.variants}
        finite = {v: x[np.isfinite(x)] for v, x in values.items()}
        top = max((float(x.max()) for x in finite.values() if len(x)), default=None)
        if top is None:
            continue
        edges = np.linspace(0, 1 if column in _UNIT_RANGE else max(top, 1.0), _BINS + 1)
        found.append(
            Distribution(
                column=column,
                benchmark=data.name,
                unit=Unit(CENTRE_COLUMNS[column]),
                edges=tuple(float(e) for e in edges),
                counts={v: tuple(int(c) for c in np.histogram(x, edges)[0]) for v, x in finite.items()},
                n={v: len(x) for v, x in finite.items()},
            )
        )
    return tuple(found)


def build_markers(run: RunData, data: BenchmarkData, ledger: Ledger) -> tuple[MarkerRow, ...]:
    """Occurrences per 1,000 words over all, right and not right responses (first policy)."""
    if "n_words" not in run.tables or not run.markers:
        return ()
    made = {(v, kind): _per_1000(run, data, v, kind, ledger) for v in data.variants for kind in _KINDS}
    return tuple(
        MarkerRow(variant, _named(marker), *(made[variant, kind][marker] for kind in _KINDS))
        for marker in run.markers
        for variant in data.variants
    )


_KINDS = ("overall", "right", "wrong")


def _named(column: str) -> str:
    """The marker that a column counts."""
    return column.removesuffix("_count").replace("_", " ")


def _per_1000(run: RunData, data: BenchmarkData, variant: str, kind: str, ledger: Ledger) -> dict[str, Claim]:
    """The rate of every marker in all, the right or the other responses of a variant."""
    frame = data.of(variant)
    outcome = frame[f"right:{run.policy}"].to_numpy(np.float64)
    chosen = {"overall": np.ones(len(frame), dtype=bool), "right": outcome == 1, "wrong": outcome == 0}[kind]
    columns = [*run.markers, "n_words"]
    values = np.stack([frame[c].to_numpy(np.float64) for c in columns], axis=1)
    chosen &= np.isfinite(values).all(axis=1)
    values = np.where(chosen[:, None], values, 0)
    # problems without a chosen response stay in the draw: how many responses are right is chance, too
    index = np.unique(frame["problem"].to_numpy(np.int64), return_inverse=True)[1]
    sums = np.stack([np.bincount(index, values[:, i]) for i in range(len(columns))], axis=1)
    words = np.repeat(sums[:, -1:], len(run.markers), axis=1)
    described = data.is_selected(variant)
    intervals = [None] * len(run.markers) if described else ratio_intervals(1000 * sums[:, :-1], words)
    at = where(variant=variant, benchmark=data.name)
    if kind != "overall":
        at += f" and {where(policy=run.policy, status=['correct'] if kind == 'right' else ['wrong', 'missing'])}"
    found = {}
    for i, marker in enumerate(run.markers):
        tables = dict.fromkeys([run.tables[marker], run.tables["n_words"]] + ["verdicts"] * (kind != "overall"))
        claim = Claim(
            f"marker/{data.name}/{variant}/{marker.removesuffix('_count')}/{kind}",
            None,
            Unit.PER_1000_WORDS,
            "definition.marker" if kind == "overall" else f"definition.marker_{kind}",
            table="+".join(tables),
            filter=at,
        )
        hits, n_words = int(sums[:, i].sum()), int(sums[:, -1].sum())
        if not n_words:
            found[marker] = ledger.add(replace(claim, note="claim.no_data"))
            continue
        claim = replace(claim, value=1000 * hits / n_words, numerator=hits, denominator=n_words)
        if described:
            found[marker] = ledger.add(replace(claim, note="claim.description"))
        else:
            # resamples that are all the same tell nothing of chance
            interval = intervals[i]
            known = interval if interval is not None and interval.low < interval.high else None
            found[marker] = ledger.add(with_interval(claim, known, "bootstrap-problems"))
    return found


def build_loops(run: RunData, data: BenchmarkData) -> tuple[tuple[LoopRow, ...], int]:
    """The looping responses with the most repeats, and how many responses loop in all."""
    if "loop" not in run.tables:
        return (), 0
    looping = data.frame[data.frame["loop"] == 1]
    repeats = looping["loop_repeats"] if "loop_repeats" in looping else pd.Series(np.nan, looping.index)
    worst = looping.assign(_repeats=repeats.fillna(0)).sort_values(
        ["_repeats", "row", "variant"], ascending=[False, True, True]
    )
    rows = [
        LoopRow(
            variant=str(r["variant"]),
            problem_id=str(r["problem_id"]),
            onset_share=number(r, "loop_onset_fraction"),
            onset=whole(r, "loop_onset_token"),
            period=whole(r, "loop_period"),
            repeats=number(r, "loop_repeats"),
            unit=text(r, "loop_unit"),
            n_tokens=whole(r, "n_tokens"),
            kind=text(r, "loop_class"),
        )
        for r in worst.head(_WORST_LOOPS).to_dict("records")
    ]
    return tuple(rows), len(looping)


def number(row: Mapping[Hashable, object], column: str) -> float | None:
    """A measured number of one response, or None where it is null or was not measured."""
    value = row.get(column)
    return float(value) if isinstance(value, int | float) and np.isfinite(value) else None


def whole(row: Mapping[Hashable, object], column: str) -> int | None:
    value = number(row, column)
    return None if value is None else int(value)


def text(row: Mapping[Hashable, object], column: str) -> str | None:
    value = row.get(column)
    return value if isinstance(value, str) else None
