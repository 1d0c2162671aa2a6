"""Which module could be at fault?  Hypotheses, what speaks for and against each, and those that a recipe rules out."""

from __future__ import annotations

from collections.abc import Iterable

from qrm_forensics.report.data import BenchmarkData
from qrm_forensics.report.nouns import Claim, Sentence, Unit
from qrm_forensics.report.sections import observations
from qrm_forensics.report.sections.groups import Split, splits
from qrm_forensics.report.sections.material import Material
from qrm_forensics.report.sections.model import Column, Part, Section, Table, Value
from qrm_forensics.report.sections.modules import MODULES, Touched, touched
from qrm_forensics.report.sections.observations import Observation


def build(material: Material) -> Iterable[Section]:
    """One section per benchmark with a quantized variant that has failures."""
    shown = observations.known(material.run)
    for data, _ in material.benchmarks():
        found = splits(material, data)
        failing = [s for s in found if len(s.not_right.frame) and material.run.quantized(s.variant)]
        if failing and shown:
            yield _section(material, data, found, failing, shown)


def _section(
    material: Material,
    data: BenchmarkData,
    found: list[Split],
    failing: list[Split],
    shown: tuple[Observation, ...],
) -> Section:
    recipes = {s.variant: touched(material.run, s.variant) for s in failing}
    return Section(
        name="hypotheses",
        part=Part.CAUSES,
        benchmark=data.name,
        title=Sentence("hypotheses.title"),
        answer=tuple(_answer(recipes)),
        tables=(
            _verdicts(material, failing, recipes, shown),
            _evidence(material, data, found, failing, recipes, shown),
        ),
        notes=(Sentence("hypotheses.note"), Sentence("hypotheses.note_intervals")),
    )


def _answer(recipes: dict[str, Touched]) -> Iterable[Sentence]:
    """First what this data cannot decide; then what the recipes rule out, a sentence per module."""
    yield Sentence("hypotheses.answer", {}, "warning")
    for module in MODULES:
        out = [v for v, t in recipes.items() if t.bits[module] is None]
        if out:
            yield Sentence(f"hypotheses.impossible_{module}", {"variants": ", ".join(out)})


def _verdicts(
    material: Material, failing: list[Split], recipes: dict[str, Touched], shown: tuple[Observation, ...]
) -> Table:
    """A row per variant, a cell per module: ruled out by the recipe, or how many observations point which way."""
    rows: list[tuple[Value, ...]] = []
    for split in failing:
        recipe = recipes[split.variant]
        row: list[Value] = [split.variant]
        for module in MODULES:
            bits = recipe.bits[module]
            if bits is None:
                row.append(Sentence(f"hypotheses.guard_{recipe.source}"))
                continue
            slots: dict[str, Claim | str] = {"bits": str(bits)}
            for kind in ("fits", "contradicts", "undecided"):
                slots[kind] = _pointing(material, split, module, kind, shown)
            judged = any(isinstance(slot, Claim) and slot.value for slot in slots.values())
            row.append(
                Sentence("hypotheses.open", slots) if judged else Sentence("hypotheses.unjudged", {"bits": str(bits)})
            )
        rows.append(tuple(row))
    heads = (
        Column("variant", Sentence("ui.variant")),
        *(Column(module, Sentence(f"hypotheses.{module}")) for module in MODULES),
    )
    return Table("hypotheses", heads, tuple(rows), Sentence("hypotheses.caption"))


def _pointing(material: Material, split: Split, module: str, kind: str, shown: tuple[Observation, ...]) -> Claim:
    """How many of the differences that the hypothesis predicts read as ``kind``; those without an interval are in none."""
    mine = [o for o in shown if module in o.hypotheses]
    claims = {o: observations.within(material, split, o) for o in mine}
    number = sum(observations.reading(c, o.expected) == kind for o, c in claims.items())
    up, down = ([c.difference.id for o, c in claims.items() if o.expected == sign] for sign in (1, -1))
    above, below = "ci_low > 0", "ci_high < 0"
    rows = {
        "fits": f"(id in {up!r} and {above}) or (id in {down!r} and {below})",
        "contradicts": f"(id in {up!r} and {below}) or (id in {down!r} and {above})",
        "undecided": f"id in {[*up, *down]!r} and ci_low <= 0 and ci_high >= 0",
    }[kind]
    return material.add(
        Claim(
            *(f"hypothesis/{split.right.benchmark}/{split.variant}/{module}/{kind}", number, Unit.COUNT),
            f"definition.hypothesis_{kind}",
            table="claims",
            filter=rows,
        )
    )


def _evidence(
    material: Material,
    data: BenchmarkData,
    found: list[Split],
    failing: list[Split],
    recipes: dict[str, Touched],
    shown: tuple[Observation, ...],
) -> Table:
    """A row per variant and observation: right, not right, their contrast, that with the reference's failures."""
    by_name = {s.variant: s for s in found}
    rows: list[tuple[Value, ...]] = []
    for split in failing:
        reference = by_name.get(material.references[data.name].get(split.variant, ""))
        for one in shown:
            values = [observations.mean(material, group, one) for group in split.groups]
            if not any(value.denominator for value in values):
                continue
            told = observations.within(material, split, one)
            against = (
                observations.beside(material, split, reference, one)
                if reference is not None and reference is not split and len(reference.not_right.frame)
                else None
            )
            open_to = any(recipes[split.variant].bits[m] is not None for m in one.hypotheses)
            read = observations.reading(told, one.expected)
            key = "reading_excluded" if read == "fits" and not open_to else f"reading_{read}"
            rows.append(
                (
                    *(split.variant, Sentence(f"observation.{one.name}"), Sentence(f"hypotheses.by_{one.name}")),
                    *values,
                    *(told.ratio, told.difference, against.difference if against else None),
                    Sentence(f"hypotheses.{key}"),
                )
            )
    heads = (
        Column("variant", Sentence("ui.variant")),
        Column("observation", Sentence("hypotheses.observation")),
        Column("expected_by", Sentence("hypotheses.expected_by")),
        Column("right", Sentence("failures.right")),
        Column("not_right", Sentence("failures.not_right")),
        Column("ratio", Sentence("failures.ratio"), "ci"),
        Column("difference", Sentence("failures.difference"), "ci"),
        Column("difference_from_reference", Sentence("hypotheses.beside"), "ci"),
        Column("reading", Sentence("hypotheses.reading")),
    )
    return Table("hypothesis_evidence", heads, tuple(rows), Sentence("hypotheses.evidence_caption"))
