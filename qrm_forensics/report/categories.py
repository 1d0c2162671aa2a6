"""Subjects, levels and topics: each variant inside each category, beside its reference.

Subjects and levels are the dataset's own and split its problems.  Topics are the labels of the keyword taxonomy:
a problem may have several, and one without a keyword is ``other``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from qrm_forensics.benchmarks.taxonomy import LABELS, problem_categories
from qrm_forensics.compare import PairedCounts, holm
from qrm_forensics.records import Coverage
from qrm_forensics.report.cells import accuracy_claim, centres, rates
from qrm_forensics.report.claims import Ledger, Source, count, tally, where, with_interval
from qrm_forensics.report.data import BenchmarkData, RunData
from qrm_forensics.report.model import Category, CategoryRow, Claim, Sentence, Unit
from qrm_forensics.report.pairs import compare, pair_coverage

DIMENSIONS = ("subject", "level", "topic")
_CENTRES = ("n_words", "n_tokens", "mattr_500")
ALPHA = 0.05


@dataclass(frozen=True, slots=True)
class _Group:
    """The problems of one category, and the query that picks their rows."""

    dimension: str
    name: str
    problems: frozenset[str]
    query: str


@dataclass(frozen=True, slots=True)
class _Compared:
    """A variant against its reference in one category."""

    variant: str
    reference: str
    result: PairedCounts
    difference: Claim
    source: Source


def build_categories(
    run: RunData, data: BenchmarkData, references: Mapping[str, str], ledger: Ledger
) -> tuple[Category, ...]:
    """Every category of every dimension that the benchmark's problems have; p-values adjusted per dimension."""
    found = []
    for dimension in DIMENSIONS:
        parts = []
        for group in _groups(run, data, dimension):
            rows, compared = [], []
            for variant in data.variants:
                reference = references.get(variant)
                row, against = _row(run, data, group, variant, reference, ledger)
                if row is not None:
                    rows.append(row)
                if against is not None:
                    compared.append(against)
            parts.append((group.name, rows, compared))
        tested = [c for _, _, compared in parts for c in compared if c.difference.value is not None]
        adjusted = dict(zip(map(id, tested), holm([c.result.p_value for c in tested]), strict=True))
        for name, measured, compared in parts:
            tests = {
                c.variant: _holm_p(data, dimension, name, c, adjusted, ledger) for c in compared if id(c) in adjusted
            }
            rows = [replace(row, p=tests.get(row.variant)) for row in measured]
            sentences = _sentences(run, data, dimension, name, rows, compared, adjusted, ledger)
            if dimension == "topic":  # labels overlap, so that a line for each would say the same several times
                sentences = tuple(s for s in sentences if s.key == "category.drop")
            widest = max((data.coverage[r.variant] for r in rows), key=_WIDTH.index)
            found.append(Category(data.name, dimension, name, widest, tuple(rows), sentences))
    return tuple(found)


def members_of_categories(run: RunData, data: BenchmarkData) -> dict[tuple[str, str], tuple[frozenset[str], str]]:
    """(dimension, name) of every category -> its problems, and the query that picks their rows."""
    return {(g.dimension, g.name): (g.problems, g.query) for d in DIMENSIONS for g in _groups(run, data, d)}


def _holm_p(
    data: BenchmarkData, dimension: str, name: str, c: _Compared, adjusted: Mapping[int, float], ledger: Ledger
) -> Claim:
    """McNemar's p of a category, adjusted over the categories and variants of its dimension."""
    place = f"category/holm_p/{data.name}/{dimension}={name}/{c.variant}"
    return ledger.add(Claim(place, adjusted[id(c)], Unit.P_VALUE, "definition.holm_p", **c.source))


def _groups(run: RunData, data: BenchmarkData, dimension: str) -> list[_Group]:
    """The categories of a dimension that have a problem with a response."""
    if dimension == "topic":
        asked = {i: run.problems[data.name, i].question for i in data.problem_ids}
        if not any(asked.values()):  # imported verdicts come without their questions
            return []
        found = {i: problem_categories(question) for i, question in asked.items()}
        members = {label: [i for i, labels in found.items() if label in labels] for label in LABELS}
        return [_Group("topic", n, frozenset(ids), f"topic_{n} == True") for n, ids in members.items() if ids]
    own = data.frame[["problem_id", dimension]].dropna().drop_duplicates()
    names = sorted({str(n) for n in own[dimension]}, key=_natural)
    return [
        _Group(dimension, n, frozenset(own.loc[own[dimension] == n, "problem_id"]), where(**{dimension: n}))
        for n in names
    ]


_WIDTH = [Coverage.SELECTED, Coverage.UNKNOWN, Coverage.PREFIX, Coverage.FULL]


#: Levels that are words, in their order.
_DIFFICULTIES = ("easy", "medium", "hard")


def _natural(name: str) -> list[tuple[int, int, str]]:
    """Level 10 after level 9, hard after medium, other names as text."""
    if name.lower() in _DIFFICULTIES:
        return [(1, _DIFFICULTIES.index(name.lower()), "")]
    return [(0, int(p), "") if p.isdigit() and p.isascii() else (1, 0, p) for p in re.split(r"(\d+)", name) if p]


def _row(
    run: RunData, data: BenchmarkData, group: _Group, variant: str, reference: str | None, ledger: Ledger
) -> tuple[CategoryRow | None, _Compared | None]:
    frame = data.of(variant)
    frame = frame[frame["problem_id"].isin(group.problems)]
    if frame.empty:
        return None, None
    selected = data.is_selected(variant)
    at = f"{where(variant=variant, benchmark=data.name)} and {group.query}"
    place = f"{data.name}/{group.dimension}={group.name}/{variant}"
    accuracy: dict[str, Claim | None] = {}
    correct = {}
    for policy in run.policies:
        source: Source = {"table": "verdicts+problems", "filter": f"{at} and {where(policy=policy)}"}
        judged = int(frame[f"right:{policy}"].notna().sum())
        correct[policy] = ledger.add(
            count(
                *(f"category/correct/{place}/{policy}", int(frame[f"right:{policy}"].sum()), "definition.correct"),
                of=judged,
                **source,
            )
        )
        claim = None
        if not selected:
            claim = ledger.add(accuracy_claim(data, frame, policy, f"{place}/{policy}", source, "category/accuracy"))
        accuracy[policy] = claim
    against = None
    own = group.dimension != "topic"
    if reference is not None and reference != variant:
        against = _against(run, data, group, variant, reference, frame, ledger)
    row = CategoryRow(
        variant=variant,
        n=ledger.add(
            count(f"category/n/{place}", len(frame), "definition.category_n", table="traces+problems", filter=at)
        ),
        accuracy=accuracy,
        correct=correct,
        lost=_counted(against, "lost", ledger, place),
        gained=_counted(against, "gained", ledger, place),
        difference=against.difference if against else None,
        rates=rates(run, data, frame, f"category/{place}", at, selected, ledger, "+problems") if own else {},
        centres=centres(run, frame, f"median/category/{place}", at, selected, ledger, _CENTRES, "+problems")
        if own
        else {},
    )
    return row, against


def _counted(against: _Compared | None, kind: str, ledger: Ledger, place: str) -> Claim | None:
    if against is None:
        return None
    value: int = getattr(against.result, kind)
    of = against.result.n
    return ledger.add(count(f"category/{kind}/{place}", value, f"definition.{kind}", of=of, **against.source))


def _against(
    run: RunData,
    data: BenchmarkData,
    group: _Group,
    variant: str,
    reference: str,
    frame: pd.DataFrame,
    ledger: Ledger,
) -> _Compared | None:
    rows = np.zeros(len(data.keys), dtype=bool)
    rows[frame["row"].to_numpy()] = True
    result = compare(data, data.right(reference, run.policy), data.right(variant, run.policy), rows)
    if result is None:
        return None
    source: Source = {
        "table": "verdicts+problems",
        "filter": f"{where(benchmark=data.name, policy=run.policy, variant=[reference, variant])} and {group.query}",
    }
    place = f"{data.name}/{group.dimension}={group.name}/{variant}"
    claim = Claim(
        *(f"category/difference/{place}", None, Unit.POINTS, "definition.difference"),
        denominator=result.n,
        **source,
    )
    if pair_coverage(data, (reference, variant)) is Coverage.SELECTED:
        claim = replace(claim, note="claim.selected")
    else:
        claim = with_interval(replace(claim, value=result.difference), result.interval, result.interval_method)
    return _Compared(variant, reference, result, ledger.add(claim), source)


def _sentences(
    run: RunData,
    data: BenchmarkData,
    dimension: str,
    name: str,
    rows: list[CategoryRow],
    compared: list[_Compared],
    adjusted: Mapping[int, float],
    ledger: Ledger,
) -> tuple[Sentence, ...]:
    """Drops that pass the adjusted test; else what could have been missed; counts where problems were selected."""
    place = f"{data.name}/{dimension}={name}"
    sentences = []
    tested = [c for c in compared if id(c) in adjusted]
    drops = [c for c in tested if adjusted[id(c)] <= ALPHA and c.result.difference < 0]
    family = f"category/difference/{data.name}/{dimension}="

    def holm_p(c: _Compared) -> Claim:
        return _holm_p(data, dimension, name, c, adjusted, ledger)

    def size() -> Claim:
        family_id = f"family/category/{data.name}/{dimension}"
        return ledger.add(tally(family_id, len(adjusted), "definition.family", starts=family))

    for c in sorted(drops, key=lambda c: c.result.difference):
        sentences.append(
            Sentence(
                "category.drop",
                {
                    "variant": c.variant,
                    "reference": c.reference,
                    "category": name,
                    "n": ledger.add(
                        count(f"category/paired_n/{place}/{c.variant}", c.result.n, "definition.paired_n", **c.source)
                    ),
                    "lost": ledger.add(
                        count(
                            f"category/lost/{place}/{c.variant}",
                            c.result.lost,
                            "definition.lost",
                            of=c.result.n,
                            **c.source,
                        )
                    ),
                    "gained": ledger.add(
                        count(
                            f"category/gained/{place}/{c.variant}",
                            c.result.gained,
                            "definition.gained",
                            of=c.result.n,
                            **c.source,
                        )
                    ),
                    "difference": c.difference,
                    "p": holm_p(c),
                    "family": size(),
                },
                "bad",
            )
        )
    if tested and all(adjusted[id(c)] > ALPHA for c in tested):
        widest = max(tested, key=lambda c: c.result.detectable)
        missed = Claim(
            *(f"category/detectable/{place}", widest.result.detectable, Unit.POINTS, "definition.detectable"),
            denominator=widest.result.n,
            **widest.source,
        )
        number = tally(
            *(f"category/comparisons/{place}", len(tested), "definition.comparisons"),
            starts=f"category/difference/{place}/",
        )
        slots: dict[str, Claim | str] = {
            "category": name,
            "reference": tested[0].reference,
            "comparisons": ledger.add(number),
            "smallest_p": holm_p(min(tested, key=lambda c: adjusted[id(c)])),
            "family": size(),
            "detectable": ledger.add(missed),
        }
        sentences.append(Sentence("category.no_difference", slots))
    if not compared:
        sentences.append(Sentence("category.no_reference", {"category": name}))
    for row in rows:
        if data.is_selected(row.variant):
            slots = {"variant": row.variant, "category": name, "n": row.n, "correct": row.correct[run.policy]}
            sentences.append(Sentence("category.selected", slots, "warning"))
    return tuple(sentences)
