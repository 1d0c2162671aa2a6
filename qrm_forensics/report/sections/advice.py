"""The fixed list of recommendations, each with the evidence that it needs.

A recommendation is given only where its test passes; else it is listed with what this data shows instead.  The margin of
"keeps its accuracy" is that of the gate (two points) and was fixed beforehand.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from qrm_forensics.compare import holm, mcnemar_exact
from qrm_forensics.compare.change import Change, paired_change
from qrm_forensics.compare.rules import DEFAULT, MARGINS
from qrm_forensics.compare.tiers import rank
from qrm_forensics.recipes import Recipe
from qrm_forensics.report.claims import Source, count, with_interval
from qrm_forensics.report.model import Pair
from qrm_forensics.report.nouns import Claim, Sentence, Unit
from qrm_forensics.report.pairs import shared_rows
from qrm_forensics.report.sections.contests import contest_name, contests, difference_claim
from qrm_forensics.report.sections.material import Material
from qrm_forensics.report.sections.methods import EqualBits, pair_slots
from qrm_forensics.report.significance import ALPHA, TestedPair

#: Largest difference to the reference that is no change, a share.
MARGIN = MARGINS["accuracy"] / 100


@dataclass(frozen=True, slots=True)
class Advice:
    """``rule`` names the recommendation; ``evidence`` says why it is given, or why not."""

    rule: str
    given: bool
    text: Sentence
    evidence: Sentence


@dataclass(frozen=True, slots=True)
class Kept:
    """A variant against its reference on one benchmark, for equivalence within the margin."""

    pair: Pair
    change: Change
    equivalent: bool
    difference: Claim
    needed: Claim

    @property
    def low(self) -> float:
        return self.difference.ci_low if self.difference.ci_low is not None else -1.0


def all_advice(material: Material, pairs: list[EqualBits]) -> list[Advice]:
    """Every recommendation that this run's variants call for, given or not, in a fixed order."""
    kept = equivalences(material)
    made = [*_highest(material), *_groups(material, kept), *_memory(kept, material), *_methods(pairs)]
    return [*made, *_loops(material), *_scorer(material), *_more_problems(material, kept)]


def equivalences(material: Material) -> dict[str, list[Kept]]:
    """Quantized variant -> its comparisons.

    Two one-sided tests within the margin; the level is divided by the number of variants (Bonferroni), because each
    may be recommended.  A variant has to pass on every benchmark, which needs no further adjustment.
    """
    run = material.run
    tested = [t.pair for (_, v), t in material.evidence.pairs.get(run.policy, {}).items() if run.quantized(v)]
    number = len({pair.variant for pair in tested})
    found: dict[str, list[Kept]] = {}
    for pair in tested:
        data = run.benchmarks[pair.benchmark]
        x, y = data.right(pair.reference, run.policy), data.right(pair.variant, run.policy)
        rows = shared_rows(x, y)
        change = paired_change(
            data.by_problem(x, rows)[1], data.by_problem(y, rows)[1], replace(DEFAULT, alpha=ALPHA / number)
        )
        equivalence = change.equivalence(replace(DEFAULT, alpha=ALPHA / number), MARGIN)
        source: Source = {"table": pair.difference.table, "filter": pair.difference.filter}
        name = f"advice/{pair.benchmark}/{pair.variant}"
        claim = Claim(
            *(f"{name}/difference", change.difference, Unit.POINTS, "definition.advice_difference"),
            denominator=change.n,
            **source,
        )
        interval = equivalence.interval
        found.setdefault(pair.variant, []).append(
            Kept(
                pair,
                change,
                equivalence.equivalent,
                material.add(with_interval(claim, interval, change.interval_method)),
                material.add(
                    count(f"{name}/needed", change.needed(DEFAULT, MARGIN), "definition.advice_needed", **source)
                ),
            )
        )
    return found


def _highest(material: Material) -> Iterator[Advice]:
    """Where accuracy counts most: the variants that are not told apart from the best, if the others are."""
    for contest in contests(material):
        ranking = rank(contest.shares)
        name = f"advice/{contest_name(material.run, contest)}/highest"
        top = ranking.tiers[0]
        slots: dict[str, Claim | str] = {"benchmark": contest.data.name, "variants": ", ".join(top)}
        if len(ranking.tiers) > 1:
            second = ranking.tiers[1][0]
            test = next(t for t in ranking.pairs if {t.first, t.second} == {top[-1], second})
            difference = material.add(difference_claim(f"{name}/difference", contest, second, top[-1]))
            slots |= {"variant": top[-1], "other": second, "difference": difference}
        else:
            test = min(ranking.pairs, key=lambda t: t.p_adjusted)
        p = Claim(
            *(f"{name}/holm_p", test.p_adjusted, Unit.P_VALUE, "definition.contest_p"),
            denominator=contest.n,
            **contest.source,
        )
        slots["p"] = material.add(p)
        given = len(ranking.tiers) > 1
        yield _advice("highest", given, slots)


#: Recommendations whose wording names what was found, so that one that is not given has a wording of its own.
_NAMED = ("highest", "memory", "method", "loops")


def _advice(rule: str, given: bool, slots: dict[str, Claim | str], reason: str = "not") -> Advice:
    """The evidence of ``keep_weights`` and ``keep_kv`` is worded alike.  ``reason``: why it is not given."""
    text = f"advice.{rule}" if given or rule not in _NAMED else f"advice.{rule}_rule"
    evidence = f"advice.{rule.partition('_')[0]}.{'because' if given else reason}"
    return Advice(rule, given, Sentence(text, slots), Sentence(evidence, slots))


def kind_of(recipe: Recipe) -> tuple[str, str]:
    """What a recipe rounds (``weights``, ``kv``, ``all``), and its bits: ``3``, ``4``, ``w8a8kv8``."""
    if recipe.weight_bits and not recipe.activation_bits and not recipe.kv_bits:
        return "weights", str(recipe.weight_bits)
    if recipe.kv_bits and not recipe.weight_bits and not recipe.activation_bits:
        return "kv", str(recipe.kv_bits)
    parts = (("w", recipe.weight_bits), ("a", recipe.activation_bits), ("kv", recipe.kv_bits))
    return "all", "".join(f"{name}{bits}" for name, bits in parts if bits)


def _groups(material: Material, kept: dict[str, list[Kept]]) -> Iterator[Advice]:
    """For each kind and number of bits: may be used, or should be avoided, or neither is shown."""
    groups: dict[tuple[str, str], list[str]] = {}
    for variant in kept:
        groups.setdefault(kind_of(Recipe.parse(material.run.variants[variant].recipe)), []).append(variant)
    for (kind, bits), variants in sorted(groups.items(), key=lambda g: (g[0][0] != "weights", g[0][0], g[0][1])):
        slots: dict[str, Claim | str] = {"bits": bits, "variants": ", ".join(variants), "margin": f"{100 * MARGIN:g}"}
        members = [k for v in variants for k in kept[v]]
        weakest = min(members, key=lambda k: k.low)
        keeps = all(k.equivalent for k in members)
        losses = {v: _loss(material, v) for v in variants}
        avoid = all(loss is not None for loss in losses.values())
        if not avoid:
            # an interval that lies below the margin says more than that equivalence was not shown
            reason = (
                "lower" if weakest.difference.ci_high is not None and weakest.difference.ci_high < -MARGIN else "not"
            )
            yield _advice(f"keep_{kind}", keeps, slots | _kept_slots(weakest), reason)
        if not keeps:
            yield _avoid(material, f"avoid_{kind}", slots, losses)


def _kept_slots(kept: Kept) -> dict[str, Claim | str]:
    return {
        "variant": kept.pair.variant,
        "reference": kept.pair.reference,
        "benchmark": kept.pair.benchmark,
        "difference": kept.difference,
        "n": kept.pair.n,
        "needed": kept.needed,
    }


def _loss(material: Material, variant: str) -> TestedPair | None:
    """The largest loss of a variant that every policy tells apart; None where there is none."""
    found = []
    first = material.evidence.pairs[material.run.policy]
    for (benchmark, v), tested in first.items():
        tests = [pairs[benchmark, v] for pairs in material.evidence.pairs.values() if (benchmark, v) in pairs]
        if v == variant and all(t.told_apart and t.difference < 0 for t in tests):
            found.append(tested)
    return min(found, key=lambda t: t.difference, default=None)


def _avoid(
    material: Material, rule: str, slots: dict[str, Claim | str], losses: dict[str, TestedPair | None]
) -> Advice:
    told = [loss for loss in losses.values() if loss is not None]
    if len(told) == len(losses):
        smallest = max(told, key=lambda t: t.difference)
        return _advice(rule, True, slots | _pair_slots(smallest))
    # the variant without a loss that is told apart, with the largest loss that it could have
    tests = [t for (_, v), t in material.evidence.pairs[material.run.policy].items() if losses.get(v, t) is None]
    return _advice(rule, False, slots | _pair_slots(min(tests, key=lambda t: t.difference)))


def _pair_slots(tested: TestedPair) -> dict[str, Claim | str]:
    pair = tested.pair
    return {
        "variant": pair.variant,
        "reference": pair.reference,
        "benchmark": pair.benchmark,
        "difference": pair.difference,
        "p": tested.p,
        "n": pair.n,
        "detectable": pair.detectable,
    }


def _memory(kept: dict[str, list[Kept]], material: Material) -> Iterator[Advice]:
    """Where memory is short: of the variants that keep their accuracy the one with the fewest bits."""
    if not kept:
        return
    bits = {v: material.run.bits(v) for v in kept}
    whole = [v for v in kept if all(k.equivalent for k in kept[v])]
    weakest = {v: min(kept[v], key=lambda k: k.low) for v in kept}
    if whole:
        chosen = min(whole, key=lambda v: (bits[v], -weakest[v].low))
    else:
        chosen = max(kept, key=lambda v: weakest[v].low)
    slots = _kept_slots(weakest[chosen]) | {"margin": f"{100 * MARGIN:g}"}
    yield _advice("memory", bool(whole), slots)


def _methods(pairs: list[EqualBits]) -> Iterator[Advice]:
    """At equal bits: the method that is told apart as better."""
    for pair in pairs:
        yield _advice("method", pair.told_apart, pair_slots(pair))


def _loops(material: Material) -> Iterator[Advice]:
    """Stop loops, where a variant loops more than its reference."""
    rises = material.evidence.loops
    for rise in rises:
        if rise.rose:
            yield _advice("loops", True, rise.slots)
    if rises and not any(rise.rose for rise in rises):
        yield _advice("loops", False, max(rises, key=lambda r: r.result.difference).slots)


def _scorer(material: Material) -> Iterator[Advice]:
    """State the scoring policy, where two policies differ on some variant by at least two points."""
    gaps = []
    for report in material.reports:
        for cell in report.cells:
            gap = cell.scorer_gap
            if gap is not None and gap.value is not None:
                one, other = (material.ledger.get(f"{gap.id}/{kind}") for kind in ("lenient_only", "strict_only"))
                gaps.append((cell, gap, mcnemar_exact(int(other.value or 0), int(one.value or 0))))
    if not gaps:
        return
    adjusted = holm([p for _, _, p in gaps])
    order = sorted(range(len(gaps)), key=lambda i: -abs(float(gaps[i][1].value or 0)))
    largest = order[0]
    cell, gap, _ = gaps[largest]
    p = Claim(
        *(f"{gap.id}/holm_p", adjusted[largest], Unit.P_VALUE, "definition.scorer_gap_p"),
        denominator=gap.denominator,
        table=gap.table,
        filter=gap.filter,
    )
    slots: dict[str, Claim | str] = {"variant": cell.variant, "benchmark": cell.benchmark, "gap": gap}
    given = adjusted[largest] <= ALPHA and abs(float(gap.value or 0)) >= MARGIN
    yield _advice("scorer", given, slots | {"p": material.add(p), "margin": f"{100 * MARGIN:g}"})


def _more_problems(material: Material, kept: dict[str, list[Kept]]) -> Iterator[Advice]:
    """More problems, where a comparison is neither told apart nor shown to be the same."""
    tests = material.evidence.pairs.get(material.run.policy, {})
    open_ = [
        k
        for comparisons in kept.values()
        for k in comparisons
        if not k.equivalent and not tests[k.pair.benchmark, k.pair.variant].told_apart
    ]
    if open_:
        hardest = max(open_, key=lambda k: float(k.needed.value or 0))
        yield _advice("problems", True, _kept_slots(hardest) | {"margin": f"{100 * MARGIN:g}"})
    elif kept:
        yield _advice("problems", False, {"margin": f"{100 * MARGIN:g}"})
