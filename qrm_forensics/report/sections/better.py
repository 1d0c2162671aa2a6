"""Problems on which a variant is better than its reference, with the other direction beside them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from qrm_forensics.compare.noise import own_flips
from qrm_forensics.report.claims import count, where
from qrm_forensics.report.data import BenchmarkData
from qrm_forensics.report.model import Pair
from qrm_forensics.report.nouns import Claim, Sentence, Unit
from qrm_forensics.report.pairs import shared_rows
from qrm_forensics.report.sections.material import Material
from qrm_forensics.report.sections.model import Column, Part, Problem, Section, Table, Value

#: Problems that are listed.
LISTED = 20


def build(material: Material) -> Iterable[Section]:
    """One section per benchmark with a pair (first policy); pairs on selected problems are counted, not tested."""
    for data, report in material.benchmarks():
        pairs = [p for p in report.pairs if p.policy == material.run.policy]
        if pairs:
            yield _section(material, data, pairs)


def _section(material: Material, data: BenchmarkData, pairs: list[Pair]) -> Section:
    columns = (
        Column("variant", Sentence("ui.variant")),
        Column("reference", Sentence("ui.reference")),
        Column("problems", Sentence("better.problems")),
        Column("gained", Sentence("better.gained"), "fraction"),
        Column("lost", Sentence("better.lost"), "fraction"),
        Column("by_chance", Sentence("better.by_chance")),
        Column("p", Sentence("better.p")),
        Column("told_apart", Sentence("better.more")),
    )
    tested = material.evidence.pairs.get(material.run.policy, {})
    rows: list[tuple[Value, ...]] = []
    better: list[Sentence] = []
    for pair in pairs:
        test = tested.get((data.name, pair.variant))
        more = test is not None and test.told_apart and test.difference > 0
        if more and test is not None:
            slots: dict[str, Claim | str] = {
                "variant": pair.variant,
                "reference": pair.reference,
                "gained": pair.gained,
                "lost": pair.lost,
                "p": test.p,
            }
            better.append(Sentence("better.answer", slots, "good"))
        rows.append(
            (
                *(pair.variant, pair.reference, pair.n, pair.gained, pair.lost, _by_chance(material, data, pair)),
                test.p if test is not None else None,
                None if test is None else Sentence("best.yes" if more else "best.no"),
            )
        )
    most = max(pairs, key=lambda p: float(p.gained.value or 0))
    none = Sentence(
        "better.answer_none" if most.gained.value else "better.answer_zero",
        {"variant": most.variant, "reference": most.reference, "gained": most.gained, "lost": most.lost},
    )
    gained = _by_problem(data, pairs)
    return Section(
        name="better",
        part=Part.RESULTS,
        benchmark=data.name,
        title=Sentence("better.title"),
        answer=(*(better or [none]), *((_any(material, data, pairs, len(gained)),) if gained else ())),
        tables=(
            Table("better", columns, tuple(rows), Sentence("better.caption")),
            *((_list_table(data, gained),) if gained else ()),
        ),
        notes=() if data.samples > 1 else (Sentence("better.one_sample", severity="warning"),),
    )


def _by_chance(material: Material, data: BenchmarkData, pair: Pair) -> Claim | None:
    """Gains that a second run of the reference would have over the first: sum of p (1 - p) k / (k - 1) over problems.

    None with one response per problem, which says nothing of chance.
    """
    policy = material.run.policy
    x, y = data.right(pair.reference, policy), data.right(pair.variant, policy)
    rows = shared_rows(x, y)
    problems, shares = data.by_problem(x, rows)
    samples = np.bincount(data.problem_of_row[rows], minlength=len(data.problem_ids))[problems]
    if pair.difference.value is None or samples.min() < 2:
        return None
    expected = float(own_flips(shares, samples).sum() / 2)
    return material.add(
        Claim(
            *(f"better/{data.name}/{pair.variant}/by_chance", expected, Unit.PLAIN, "definition.gained_by_chance"),
            denominator=len(problems),
            table="verdicts",
            filter=where(benchmark=data.name, policy=policy, variant=[pair.reference, pair.variant]),
        )
    )


def _by_problem(data: BenchmarkData, pairs: list[Pair]) -> dict[str, list[str]]:
    """Problem -> variants that gained it, those of the most variants first, else in the order of the benchmark."""
    found: dict[str, list[str]] = {}
    for pair in pairs:
        for problem in pair.gained_problems:
            found.setdefault(problem, []).append(pair.variant)
    order = {problem: i for i, problem in enumerate(data.problem_ids)}
    return {p: found[p] for p in sorted(found, key=lambda p: (-len(found[p]), order[p]))}


def _any(material: Material, data: BenchmarkData, pairs: list[Pair], number: int) -> Sentence:
    variants = list(dict.fromkeys([*(p.reference for p in pairs), *(p.variant for p in pairs)]))
    claim = count(
        *(f"better/{data.name}/any", number, "definition.gained_by_any"),
        table="verdicts",
        filter=where(benchmark=data.name, policy=material.run.policy, variant=variants),
    )
    return Sentence("better.any", {"any": material.add(claim), "listed": str(min(LISTED, number))})


def _list_table(data: BenchmarkData, gained: dict[str, list[str]]) -> Table:
    columns = (Column("problem", Sentence("better.problem")), Column("gained_by", Sentence("better.gained_by")))
    rows: list[tuple[Value, ...]] = [(Problem(data.name, p), ", ".join(gained[p])) for p in list(gained)[:LISTED]]
    return Table("better_problems", columns, tuple(rows), Sentence("better.list_caption", {"listed": str(LISTED)}))
