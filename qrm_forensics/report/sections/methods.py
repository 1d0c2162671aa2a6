"""The quantization methods beside each other: what each was run at, and pairs of methods at the same bits."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations

from qrm_forensics.compare import holm
from qrm_forensics.compare.change import Change
from qrm_forensics.compare.rules import DEFAULT
from qrm_forensics.recipes import Recipe
from qrm_forensics.report.claims import count, where
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
from qrm_forensics.report.sections.quantities import DIVERSITY, WORDS, centre
from qrm_forensics.report.significance import ALPHA


@dataclass(frozen=True, slots=True)
class EqualBits:
    """Two variants of different methods with the same bits; ``change`` is second minus first, ``p`` after Holm."""

    contest: Contest
    bits: str
    first: str
    second: str
    change: Change
    difference: Claim
    p: Claim

    @property
    def told_apart(self) -> bool:
        return float(self.p.value or 0) <= ALPHA


def equal_bits(material: Material) -> list[EqualBits]:
    """All pairs of different methods at the same bits on the same problems; Holm over all of them."""
    run = material.run
    found: list[tuple[Contest, str, str, str, Change]] = []
    for contest in contests(material):
        recipes = {v: Recipe.parse(run.variants[v].recipe) for v in contest.quantized(run)}
        for first, second in combinations(recipes, 2):
            one, two = recipes[first], recipes[second]
            if one.method != two.method and one.config == two.config:
                found.append((contest, one.config, first, second, contest.change(first, second)))
    adjusted = holm([change.p_value(DEFAULT) for *_, change in found])
    made = []
    for (contest, bits, first, second, change), value in zip(found, adjusted, strict=True):
        name = f"methods/{contest_name(run, contest)}/{second}-{first}"
        p = Claim(
            *(f"{name}/holm_p", value, Unit.P_VALUE, "definition.contest_p"), denominator=contest.n, **contest.source
        )
        difference = material.add(difference_claim(f"{name}/difference", contest, first, second, change))
        made.append(EqualBits(contest, bits, first, second, change, difference, material.add(p)))
    return made


def build(material: Material) -> Iterable[Section]:
    """One section over all benchmarks; none where fewer than two methods share problems."""
    run = material.run
    rows: list[tuple[Value, ...]] = []
    several = False
    for contest in contests(material):
        by_method: dict[str, list[str]] = {}
        for variant in contest.shares:
            by_method.setdefault(Recipe.parse(run.variants[variant].recipe).method, []).append(variant)
        several = several or len(by_method) > 1
        rows += [_method(material, contest, method, variants) for method, variants in by_method.items()]
    if not several:
        return
    pairs = equal_bits(material)
    yield Section(
        name="methods",
        part=Part.EXECUTIVE,
        benchmark=None,
        title=Sentence("methods.title"),
        answer=_answers(pairs),
        tables=(
            *((_pair_table(pairs),) if pairs else ()),
            Table("methods", _method_columns(), tuple(rows), Sentence("methods.caption")),
        ),
        notes=(Sentence("methods.unlike", severity="warning"),),
    )


def _method_columns() -> tuple[Column, ...]:
    return (
        Column("on_benchmark", Sentence("ui.benchmark")),
        Column("method", Sentence("grid.method")),
        Column("variants", Sentence("methods.variants")),
        Column("checkpoints", Sentence("methods.checkpoints")),
        Column("accuracy", Sentence("methods.accuracy"), "ci"),
        Column("words", Sentence("performance.mean_words"), "ci"),
        Column("diversity", Sentence("performance.mean_diversity"), "ci"),
    )


def _method(material: Material, contest: Contest, method: str, variants: list[str]) -> tuple[Value, ...]:
    run, data = material.run, contest.data
    name = f"methods/{contest_name(run, contest)}/{method}"
    at = where(benchmark=data.name, variant=variants)
    frame = data.frame[data.frame["variant"].isin(variants)]
    checkpoints = count(
        f"{name}/checkpoints", len(variants), "definition.checkpoints", table="variants", filter=where(variant=variants)
    )
    measured = [centre(run, data, frame, q, f"{name}/{q.name}", at) for q in (WORDS, DIVERSITY)]
    return (
        *(data.name, method, ", ".join(variants), material.add(checkpoints)),
        material.add(accuracy_on_shared(f"{name}/accuracy", contest, variants)),
        *(material.add(claim) if claim is not None else None for claim in measured),
    )


def _pair_table(pairs: list[EqualBits]) -> Table:
    columns = (
        Column("on_benchmark", Sentence("ui.benchmark")),
        Column("bits", Sentence("methods.bits")),
        Column("first", Sentence("methods.first")),
        Column("second", Sentence("methods.second")),
        Column("difference", Sentence("methods.difference"), "ci"),
        Column("p", Sentence("best.p")),
        Column("told_apart", Sentence("best.told_apart")),
    )
    rows = tuple(
        (
            p.contest.data.name,
            p.bits,
            p.first,
            p.second,
            p.difference,
            p.p,
            Sentence("best.yes" if p.told_apart else "best.no"),
        )
        for p in pairs
    )
    return Table("methods_at_equal_bits", columns, rows, Sentence("methods.pairs_caption"))


def _answers(pairs: list[EqualBits]) -> tuple[Sentence, ...]:
    """What is told apart, the largest difference first; else that nothing is."""
    if not pairs:
        return (Sentence("methods.answer_none", severity="warning"),)
    told = sorted((p for p in pairs if p.told_apart), key=lambda p: -abs(p.change.difference))
    if not told:
        nearest = min(pairs, key=lambda p: float(p.p.value or 0))
        return (Sentence("methods.answer_tied", {"smallest_p": nearest.p}),)
    return tuple(Sentence("methods.answer", pair_slots(p)) for p in told)


def pair_slots(pair: EqualBits) -> dict[str, Claim | str]:
    """``variant`` is the better of the two."""
    better, other = (pair.second, pair.first) if pair.change.difference > 0 else (pair.first, pair.second)
    return {
        "variant": better,
        "other": other,
        "bits": pair.bits,
        "benchmark": pair.contest.data.name,
        "difference": pair.difference,
        "p": pair.p,
    }
