"""The best and the worst quantized variant of each benchmark, and whether they are told apart from the next one."""

from __future__ import annotations

from collections.abc import Iterable

from qrm_forensics.compare.tiers import PairTest, Ranking, rank
from qrm_forensics.report.nouns import Claim, Sentence, Unit
from qrm_forensics.report.sections.contests import (
    Contest,
    accuracy_on_shared,
    contest_name,
    contests,
    difference_claim,
)
from qrm_forensics.report.sections.material import Material
from qrm_forensics.report.sections.model import Column, Part, Section, Table, Value

#: A loss of less than this is what the reference study's report calls maintained accuracy.
WITHIN = 0.05

_COLUMNS = (
    Column("on_benchmark", Sentence("ui.benchmark")),
    Column("place", Sentence("best.place")),
    Column("variant", Sentence("ui.variant")),
    Column("accuracy", Sentence("best.accuracy"), "ci"),
    Column("difference", Sentence("best.difference"), "ci"),
    Column("next", Sentence("best.next")),
    Column("to_next", Sentence("best.to_next"), "ci"),
    Column("p", Sentence("best.p")),
    Column("told_apart", Sentence("best.told_apart")),
)


def build(material: Material) -> Iterable[Section]:
    """One section over all benchmarks; none where nowhere two quantized variants share problems."""
    run = material.run
    answers: list[Sentence] = []
    notes: list[Sentence] = []
    rows: list[tuple[Value, ...]] = []
    for contest in contests(material):
        quantized = contest.quantized(run)
        if len(quantized) < 2:
            continue
        ranking = rank({v: contest.shares[v] for v in quantized})
        order = list(ranking.estimates)
        ends = [_end(material, contest, ranking, "best", order), _end(material, contest, ranking, "worst", order[::-1])]
        rows += [row for _, row in ends]
        answers += [sentence for sentence, _ in ends]
        answers += _within(material, contest)
        if contest.left_out:
            notes.append(
                Sentence("best.left_out", {"variants": ", ".join(contest.left_out), "benchmark": contest.data.name})
            )
    if rows:
        yield Section(
            name="best",
            part=Part.EXECUTIVE,
            benchmark=None,
            title=Sentence("best.title"),
            answer=tuple(answers),
            tables=(Table("best", _COLUMNS, tuple(rows), Sentence("best.caption")),),
            notes=tuple(notes),
        )


def _end(
    material: Material, contest: Contest, ranking: Ranking, place: str, order: list[str]
) -> tuple[Sentence, tuple[Value, ...]]:
    """``order``: from this end of the ranking inwards."""
    variant, nearest = order[0], order[1]
    name = f"best/{contest_name(material.run, contest)}/{place}"
    tests = {frozenset((t.first, t.second)): t for t in ranking.pairs}
    test = tests[frozenset((variant, nearest))]
    accuracy = material.add(
        accuracy_on_shared(f"contest/{contest_name(material.run, contest)}/{variant}", contest, [variant])
    )
    against: Claim | None = None
    if contest.reference is not None and contest.reference != variant and contest.reference in contest.shares:
        against = material.add(difference_claim(f"{name}/difference", contest, contest.reference, variant))
    to_next = material.add(difference_claim(f"{name}/to_next", contest, nearest, variant))
    p = material.add(_p(f"{name}/holm_p", test, contest))
    tied = [v for v in order[1:] if not tests[frozenset((variant, v))].told_apart]
    slots: dict[str, Claim | str] = {
        "variant": variant,
        "benchmark": contest.data.name,
        "accuracy": accuracy,
        "other": nearest,
        "to_next": to_next,
        "p": p,
        "variants": ", ".join(tied),
    }
    told = "tied" if tied else "apart"
    sentence = Sentence(f"best.{place}_{told}", slots)
    row: tuple[Value, ...] = (
        *(contest.data.name, Sentence(f"best.{place}"), variant, accuracy, against, nearest, to_next, p),
        Sentence("best.yes" if test.told_apart else "best.no"),
    )
    return sentence, row


def _p(claim_id: str, test: PairTest, contest: Contest) -> Claim:
    return Claim(
        *(claim_id, test.p_adjusted, Unit.P_VALUE, "definition.contest_p"),
        denominator=contest.n,
        **contest.source,
    )


def _within(material: Material, contest: Contest) -> list[Sentence]:
    """How many variants lose less than five points, by the estimate and by the whole interval."""
    policy = material.run.policy
    pairs = [
        tested.pair.difference
        for (benchmark, variant), tested in material.evidence.pairs.get(policy, {}).items()
        if benchmark == contest.data.name and variant in contest.shares
    ]
    if not pairs:
        return []
    named = f"id in {[claim.id for claim in pairs]!r}"
    name = f"best/{contest_name(material.run, contest)}/within"
    found = {
        "estimate": (sum(float(c.value or 0) > -WITHIN for c in pairs), f"{named} and value > {-WITHIN}"),
        "sure": (
            sum(c.ci_low is not None and c.ci_low > -WITHIN for c in pairs),
            f"{named} and ci_low > {-WITHIN}",
        ),
        "compared": (len(pairs), named),
    }
    slots: dict[str, Claim | str] = {
        kind: material.add(
            Claim(f"{name}/{kind}", value, Unit.COUNT, f"definition.within_{kind}", table="claims", filter=rows)
        )
        for kind, (value, rows) in found.items()
    }
    return [Sentence("best.within", slots | {"benchmark": contest.data.name, "points": f"{100 * WITHIN:g}"})]
