"""The tables of a page: accuracy, outcomes, lengths, loops and markers of every variant in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from qrm_forensics.compare import length_ratio, ratio_interval
from qrm_forensics.records import Coverage
from qrm_forensics.report.category_pages.members import OUTCOME, Members
from qrm_forensics.report.cells import centres, finite
from qrm_forensics.report.claims import Ledger, count, share, where, with_interval
from qrm_forensics.report.data import BenchmarkData, RunData
from qrm_forensics.report.model import CategoryRow
from qrm_forensics.report.nouns import Claim, Sentence, Unit
from qrm_forensics.report.pairs import pair_coverage, shared_rows
from qrm_forensics.report.sections.model import Column, Table, Value
from qrm_forensics.symptoms import OUTCOME_NAMES

_VARIANT = Column("variant", Sentence("ui.variant"))
_RATES = ("loop", "truncated")
_CENTRES = ("n_words", "loop_onset_fraction", "mattr_500")
_MARKERS = ("wait_count", "markers_total")


def results(
    run: RunData,
    data: BenchmarkData,
    members: Members,
    rows: Mapping[str, CategoryRow],
    references: Mapping[str, str],
    ledger: Ledger,
) -> Table:
    """Accuracy beside the reference, with lengths.  ``rows``: what the report has computed of each variant here."""
    columns = [_VARIANT, Column("n", Sentence("ui.n"))]
    columns += [Column(f"correct_{p}", Sentence("ui.correct_of", {"policy": p}), "fraction") for p in run.policies]
    columns += [Column(f"accuracy_{p}", Sentence("ui.accuracy_of", {"policy": p}), "ci") for p in run.policies]
    columns += [
        Column("difference", Sentence("ui.difference"), "ci"),
        Column("holm_p", Sentence("page.holm_p")),
        Column("lost", Sentence("ui.lost")),
        Column("gained", Sentence("ui.gained")),
        Column("median_n_words", Sentence("ui.median_of", {"column": "n_words"}), "ci"),
        Column("length_ratio", Sentence("ui.length_ratio"), "ci"),
    ]
    made: list[tuple[Value, ...]] = []
    for variant, row in rows.items():
        values: list[Value] = [variant, row.n]
        values += [row.correct.get(p) for p in run.policies]
        values += [row.accuracy.get(p) for p in run.policies]
        values += [row.difference, row.p, row.lost, row.gained, _words(run, data, members, variant, ledger)]
        reference = references.get(variant)
        ratio = None
        if reference is not None and reference != variant:
            ratio = _length_ratio(run, data, members, reference, variant, ledger)
        made.append((*values, ratio))
    return _shown("category_results", columns, made)


def _words(run: RunData, data: BenchmarkData, members: Members, variant: str, ledger: Ledger) -> Claim | None:
    return _centres(run, data, members, variant, ledger).get("n_words")


def outcomes(run: RunData, data: BenchmarkData, members: Members, ledger: Ledger) -> Table | None:
    """How the responses ended; those of a variant add up.  None where no outcome was judged."""
    if OUTCOME not in run.tables:
        return None
    found = {v: frame[OUTCOME].dropna() for v, frame in members.frames.items()}
    shown = [o for o in OUTCOME_NAMES if any((values == o).any() for values in found.values())]
    if not shown:
        return None
    style = "fraction" if any(data.is_selected(v) for v in found) else "share"
    columns = [_VARIANT, *(Column(o, Sentence("page.outcome_name", {"outcome": o}), style) for o in shown)]
    rows: list[tuple[Value, ...]] = []
    for variant, values in found.items():
        at, place = members.at(data, variant), members.place(data, variant)
        source = run.tables[OUTCOME] + members.joined
        counts: list[Value] = [
            ledger.add(
                count(
                    *(f"category/outcome/{place}/{o}", int((values == o).sum()), "definition.outcome"),
                    of=len(values),
                    table=source,
                    filter=f"{at} and {where(outcome=o)}",
                )
            )
            for o in shown
        ]
        total = count(
            *(f"category/outcome/{place}/total", len(values), "definition.outcome_total"), table=source, filter=at
        )
        rows.append((variant, *counts, ledger.add(total)))
    return Table("category_outcomes", (*columns, Column("total", Sentence("ui.total"))), tuple(rows))


def process(run: RunData, data: BenchmarkData, members: Members, ledger: Ledger) -> Table | None:
    """Loops, cut-offs, diversity and markers.  None where none of it was measured."""
    columns = [_VARIANT]
    columns += [Column(c, Sentence("page.column", {"column": c}), "ci") for c in _RATES if c in run.tables]
    shown = [c for c in _CENTRES[1:] if c in run.tables]
    columns += [Column(f"median_{c}", Sentence("ui.median_of", {"column": c}), "ci") for c in shown]
    counted = [c for c in _MARKERS if c in run.tables] if "n_words" in run.tables else []
    columns += [Column(c, Sentence(f"page.{c}"), "ci") for c in counted]
    if len(columns) == 1:
        return None
    rows: list[tuple[Value, ...]] = []
    for variant in members.frames:
        values: list[Value] = [_rate(run, data, members, variant, c, ledger) for c in _RATES if c in run.tables]
        known = _centres(run, data, members, variant, ledger)
        values += [known[c] for c in shown]
        values += [_per_1000(run, data, members, variant, c, ledger) for c in counted]
        rows.append((variant, *values))
    return _shown("category_process", columns, rows)


def _shown(name: str, columns: list[Column], rows: list[tuple[Value, ...]]) -> Table:
    """A page's tables have the same columns on every page, so that they can be one file."""
    return Table(name, tuple(columns), tuple(rows))


def _rate(run: RunData, data: BenchmarkData, members: Members, variant: str, column: str, ledger: Ledger) -> Claim:
    frame = members.frames[variant]
    values, problems = finite(frame, column)
    return ledger.add(
        share(
            f"rate/category/{members.place(data, variant)}/{column}",
            values,
            problems,
            f"definition.column.{column}",
            selected=data.is_selected(variant),
            of=len(frame),
            table=run.tables[column] + members.joined,
            filter=members.at(data, variant),
        )
    )


def _centres(run: RunData, data: BenchmarkData, members: Members, variant: str, ledger: Ledger) -> dict[str, Claim]:
    columns = tuple(c for c in _CENTRES if c in run.tables)
    name, at = f"median/category/{members.place(data, variant)}", members.at(data, variant)
    known = {}
    for column in columns:
        try:
            known[column] = ledger.get(f"{name}/{column}")
        except KeyError:
            made = centres(
                *(run, members.frames[variant], name, at, data.is_selected(variant), ledger, (column,)), members.joined
            )
            known[column] = made[column]
    return known


def _per_1000(run: RunData, data: BenchmarkData, members: Members, variant: str, column: str, ledger: Ledger) -> Claim:
    """Occurrences per 1,000 words over all words of the responses; the interval draws problems."""
    frame = members.frames[variant]
    marks, words = frame[column].to_numpy(np.float64), frame["n_words"].to_numpy(np.float64)
    there = np.isfinite(marks) & np.isfinite(words)
    marks, words = marks[there], words[there]
    name = column.removesuffix("_count")
    claim = Claim(
        f"category/marker/{members.place(data, variant)}/{name}",
        None,
        Unit.PER_1000_WORDS,
        "definition.marker",
        table="+".join(dict.fromkeys([run.tables[column], run.tables["n_words"]])) + members.joined,
        filter=members.at(data, variant),
    )
    if not words.sum():
        return ledger.add(replace(claim, note="claim.no_data"))
    claim = replace(claim, value=float(1000 * marks.sum() / words.sum()))
    claim = replace(claim, numerator=int(marks.sum()), denominator=int(words.sum()))
    if data.is_selected(variant):
        return ledger.add(replace(claim, note="claim.description"))
    index = np.unique(frame["problem"].to_numpy(np.int64)[there], return_inverse=True)[1]
    interval = ratio_interval(np.bincount(index, 1000 * marks), np.bincount(index, words))
    return ledger.add(with_interval(claim, interval, "bootstrap-problems"))


def _length_ratio(
    run: RunData, data: BenchmarkData, members: Members, reference: str, variant: str, ledger: Ledger
) -> Claim | None:
    """Words of the variant by words of the reference, problem by problem, as for the whole benchmark."""
    if "n_words" not in run.tables:
        return None
    before, after = data.aligned(reference, "n_words"), data.aligned(variant, "n_words")
    rows = shared_rows(before, after) & members.rows(data, variant)
    rows[rows] = (before[rows] > 0) & (after[rows] > 0)
    claim = Claim(
        *(f"category/length_ratio/{members.place(data, variant)}", None, Unit.RATIO, "definition.length_ratio"),
        table=run.tables["n_words"] + members.joined,
        filter=f"{where(benchmark=data.name, variant=[reference, variant])} and {members.query}",
    )
    if not rows.any():
        return ledger.add(replace(claim, note="claim.no_data"))
    logs = np.zeros(len(rows))
    logs[rows] = np.log(after[rows] / before[rows])
    per_problem = np.exp(data.by_problem(logs, rows)[1])
    claim = replace(claim, denominator=len(per_problem))
    if pair_coverage(data, (reference, variant)) is Coverage.SELECTED:
        return ledger.add(replace(claim, note="claim.selected"))
    result = length_ratio(np.ones(len(per_problem)), per_problem)
    if result is None:  # there is at least one problem
        raise AssertionError(claim.id)
    return ledger.add(with_interval(replace(claim, value=result[0]), result[1], "bootstrap-problems"))


def true_in(frame: pd.DataFrame, column: str) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Whether a yes/no column is true; null and unmeasured are not."""
    return (frame[column] == 1).to_numpy() if column in frame else np.zeros(len(frame), dtype=bool)
