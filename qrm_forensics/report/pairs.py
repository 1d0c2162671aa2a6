"""Variants against their reference, and all together, on the problems that they share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from qrm_forensics.compare import PairedCounts, length_ratio, overlap, paired, wilson
from qrm_forensics.records import Coverage
from qrm_forensics.report.claims import Ledger, Source, count, where, with_interval
from qrm_forensics.report.data import BenchmarkData, Floats, RunData, worst
from qrm_forensics.report.model import Claim, Overlap, OverlapRow, Pair, Unit

#: Up to this many variants are told apart in an overlap; up to ``_FULL_TABLE`` with the empty cells.
MAX_OVERLAP = 6
_FULL_TABLE = 4


def references(run: RunData, data: BenchmarkData) -> dict[str, str]:
    """Model -> the variant that the others of that model are compared with.

    The baseline where it answered the benchmark; else the variant with the most bits,
    preferring one whose problems nobody selected where at least two such are there.
    """
    found = {}
    for model in dict.fromkeys(run.variants[v].model for v in data.variants):
        there = [v for v in data.variants if run.variants[v].model == model]
        if run.store.baseline in there:
            found[model] = str(run.store.baseline)
            continue
        unselected = [v for v in there if not data.is_selected(v)]
        found[model] = max(unselected if len(unselected) > 1 else there, key=run.bits)
    return found


def shared_rows(first: Floats, second: Floats) -> NDArray[np.bool_]:
    """Rows (sample keys) for which both have a value."""
    return np.isfinite(first) & np.isfinite(second)


def compare(
    data: BenchmarkData, first: Floats, second: Floats, rows: NDArray[np.bool_] | None = None
) -> PairedCounts | None:
    """Two aligned columns by problem, on the sample keys where both have a value; None where there is none."""
    shared = shared_rows(first, second) if rows is None else shared_rows(first, second) & rows
    if not shared.any():
        return None
    return paired(data.by_problem(first, shared)[1], data.by_problem(second, shared)[1])


def pair_coverage(data: BenchmarkData, variants: Sequence[str]) -> Coverage:
    return worst([data.coverage[v] for v in variants])


def build_pair(
    run: RunData, data: BenchmarkData, reference: str, variant: str, policy: str, ledger: Ledger
) -> Pair | None:
    """The comparison under one policy; None where no judged problem is shared."""
    x, y = data.right(reference, policy), data.right(variant, policy)
    result = compare(data, x, y)
    if result is None:
        return None
    shared = shared_rows(x, y)
    problems, was = data.by_problem(x, shared)
    now = data.by_problem(y, shared)[1]
    coverage = pair_coverage(data, (reference, variant))
    selected = coverage is Coverage.SELECTED
    name = f"paired/{data.name}/{variant}/{policy}"
    source: Source = {
        "table": "verdicts",
        "filter": where(benchmark=data.name, policy=policy, variant=[reference, variant]),
    }

    def counted(kind: str, value: int) -> Claim:
        return ledger.add(count(f"{name}/{kind}", value, f"definition.{kind}", of=result.n, **source))

    def guarded(kind: str, value: float, unit: Unit, definition: str, numerator: int | None = None) -> Claim:
        claim = Claim(f"{name}/{kind}", None, unit, definition, numerator=numerator, denominator=result.n, **source)
        return replace(claim, note="claim.selected") if selected else replace(claim, value=value)

    difference = guarded(
        *("difference", result.difference, Unit.POINTS, "definition.difference"),
        numerator=result.gained - result.lost if result.binary else None,
    )
    if not selected:
        difference = with_interval(difference, result.interval, result.interval_method)
    return Pair(
        reference=reference,
        variant=variant,
        benchmark=data.name,
        policy=policy,
        coverage=coverage,
        n=ledger.add(count(f"{name}/n", result.n, "definition.paired_n", **source)),
        both=counted("both", result.both),
        lost=counted("lost", result.lost),
        gained=counted("gained", result.gained),
        neither=counted("neither", result.neither),
        flips=ledger.add(
            _flips(guarded("flips", result.flips, Unit.SHARE, "definition.flips", result.lost + result.gained))
        ),
        reference_accuracy=None
        if selected
        else ledger.add(_shared_accuracy(f"{name}/reference_accuracy", was, source)),
        variant_accuracy=None if selected else ledger.add(_shared_accuracy(f"{name}/variant_accuracy", now, source)),
        difference=ledger.add(difference),
        p_value=ledger.add(guarded("mcnemar_p", result.p_value, Unit.P_VALUE, "definition.mcnemar_p")),
        detectable=ledger.add(guarded("detectable", result.detectable, Unit.POINTS, "definition.detectable")),
        length_ratio=_length_ratio(run, data, reference, variant, selected, ledger),
        lost_problems=tuple(data.problem_ids[i] for i in problems[now < was]),
        gained_problems=tuple(data.problem_ids[i] for i in problems[now > was]),
    )


def _flips(claim: Claim) -> Claim:
    if claim.value is None or claim.numerator is None or claim.denominator is None:
        return claim
    return with_interval(claim, wilson(claim.numerator, claim.denominator), "wilson")


def _shared_accuracy(claim_id: str, values: Floats, source: Source) -> Claim:
    """Mean over the shared problems; Wilson for one sample each, else no interval (the difference has one)."""
    n = len(values)
    claim = Claim(claim_id, float(values.mean()), Unit.SHARE, "definition.paired_accuracy", denominator=n, **source)
    if np.isin(values, (0, 1)).all():
        right = int(values.sum())
        return with_interval(replace(claim, numerator=right), wilson(right, n), "wilson")
    return claim


def _length_ratio(
    run: RunData, data: BenchmarkData, reference: str, variant: str, selected: bool, ledger: Ledger
) -> Claim:
    claim = Claim(
        *(f"paired/{data.name}/{variant}/length_ratio", None, Unit.RATIO, "definition.length_ratio"),
        table=run.tables.get("n_words", ""),
        filter=where(benchmark=data.name, variant=[reference, variant]),
    )
    if "n_words" not in run.tables:
        return ledger.add(replace(claim, filter="", note="claim.no_measure"))
    before, after = data.aligned(reference, "n_words"), data.aligned(variant, "n_words")
    rows = shared_rows(before, after)
    rows[rows] = (before[rows] > 0) & (after[rows] > 0)
    if not rows.any():
        return ledger.add(replace(claim, note="claim.no_data"))
    ratio = np.ones(len(rows))
    ratio[rows] = np.log(after[rows] / before[rows])
    per_problem = np.exp(data.by_problem(ratio, rows)[1])
    n = len(per_problem)
    ledger.add(count(f"{claim.id}/n", n, "definition.paired_n", table=claim.table, filter=claim.filter))
    claim = replace(claim, denominator=n)
    if selected:
        return ledger.add(replace(claim, note="claim.selected"))
    result = length_ratio(np.ones(len(per_problem)), per_problem)
    assert result is not None  # there is at least one problem
    return ledger.add(with_interval(replace(claim, value=result[0]), result[1], "bootstrap-problems"))


def overlap_groups(run: RunData, data: BenchmarkData) -> tuple[list[tuple[str, ...]], list[str]]:
    """Sets of variants to tabulate together, and the variants that are in no such set.

    Per model: those with the whole benchmark; these and those with its beginning; those
    with a selected set beside their reference.  So that a small set never shrinks the table of a large one.
    """
    groups: list[tuple[str, ...]] = []
    for model, reference in references(run, data).items():
        there = [v for v in data.variants if run.variants[v].model == model]
        whole = [v for v in there if data.coverage[v] in (Coverage.FULL, Coverage.UNKNOWN)]
        beginning = [v for v in there if data.coverage[v] is Coverage.PREFIX]
        picked = [v for v in there if data.is_selected(v)]
        for members in (whole, whole + beginning if beginning else [], [reference, *picked] if picked else []):
            unique = sorted(dict.fromkeys(members), key=lambda v: (v != reference, data.variants.index(v)))
            if len(unique) > 1 and tuple(unique[:MAX_OVERLAP]) not in groups:
                groups.append(tuple(unique[:MAX_OVERLAP]))
    return groups, [v for v in data.variants if not any(v in g for g in groups)]


def build_overlap(data: BenchmarkData, variants: Sequence[str], policy: str, ledger: Ledger) -> Overlap | None:
    """The 2^k table of the problems that all ``variants`` answered and that were judged; None without any."""
    values = [data.right(v, policy) for v in variants]
    rows: NDArray[np.bool_] = np.asarray(np.isfinite(np.stack(values)).all(axis=0))
    if not rows.any():
        return None
    cells = overlap(np.stack([data.by_problem(v, rows)[1] >= 0.5 for v in values], axis=1))
    n = sum(cells.values())
    source: Source = {"table": "verdicts", "filter": where(benchmark=data.name, policy=policy, variant=list(variants))}
    name = f"overlap/{data.name}/{policy}"
    shown = []
    for right, number in cells.items():
        if number or len(variants) <= _FULL_TABLE:
            cell = ",".join(f"{v}={int(r)}" for v, r in zip(variants, right, strict=True))
            shown.append(
                OverlapRow(right, ledger.add(count(f"{name}/{cell}", number, "definition.overlap", of=n, **source)))
            )
    total = ledger.add(count(f"{name}/{','.join(variants)}/n", n, "definition.overlap_total", **source))
    if sum(int(row.count.value or 0) for row in shown) != total.value:
        raise AssertionError(f"{name}: the cells do not sum to {total.value}")
    return Overlap(data.name, policy, tuple(variants), pair_coverage(data, variants), tuple(shown), total)
