"""Variants that differ in their calibration only, beside each other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from qrm_forensics.compare import holm
from qrm_forensics.compare.rules import DEFAULT
from qrm_forensics.errors import ForensicsError
from qrm_forensics.recipes import Recipe
from qrm_forensics.report.nouns import Claim, Sentence, Unit
from qrm_forensics.report.sections.contests import Contest, contest_name, contests, difference_claim
from qrm_forensics.report.sections.material import Material
from qrm_forensics.report.sections.model import Column, Part, Section, Table, Value
from qrm_forensics.report.significance import ALPHA
from qrm_forensics.store import Store
from qrm_forensics.weights import MANIFEST, read_json


@dataclass(frozen=True, slots=True)
class Calibrated:
    """What a checkpoint was calibrated with: the hash of its tokens, and what to call it."""

    variant: str
    rest: str
    tokens: str
    name: str


def calibrations(store: Store, variants: Sequence[str]) -> list[Calibrated]:
    """Of the variants whose manifest names a calibration; ``rest`` is the model and the whole recipe.

    A preset is part of the recipe: it changes the arithmetic as well as the calibration.
    """
    found = []
    known = {v.id: v for v in store.variants}
    for variant in variants:
        try:
            manifest = read_json(store.checkpoint_dir(variant) / MANIFEST)
        except ForensicsError:
            continue
        used: Any = manifest.get("calibration") if isinstance(manifest, dict) else None
        if not isinstance(used, dict) or not used.get("token_sha256"):
            continue
        rest = f"{known[variant].model} {Recipe.parse(known[variant].recipe)}"
        name = f"{used.get('file')}, {used.get('samples')} × {used.get('length')}, {used.get('arrangement')}"
        found.append(Calibrated(variant, rest, str(used["token_sha256"]), name))
    return found


def build(material: Material) -> Iterable[Section]:
    """One section per benchmark with two checkpoints of one recipe that were calibrated with different tokens."""
    for contest in contests(material):
        made = calibrations(material.run.store, list(contest.shares))
        pairs = [(a, b) for a, b in combinations(made, 2) if a.rest == b.rest and a.tokens != b.tokens]
        if pairs:
            yield _section(material, contest, pairs)


def _section(material: Material, contest: Contest, pairs: list[tuple[Calibrated, Calibrated]]) -> Section:
    changes = [contest.change(a.variant, b.variant) for a, b in pairs]
    adjusted = holm([change.p_value(DEFAULT) for change in changes])
    rows: list[tuple[Value, ...]] = []
    told: list[Sentence] = []
    for (a, b), change, value in zip(pairs, changes, adjusted, strict=True):
        name = f"calibration/{contest_name(material.run, contest)}/{b.variant}-{a.variant}"
        difference = material.add(difference_claim(f"{name}/difference", contest, a.variant, b.variant, change))
        p = material.add(
            Claim(
                *(f"{name}/holm_p", value, Unit.P_VALUE, "definition.contest_p"),
                denominator=contest.n,
                **contest.source,
            )
        )
        if value <= ALPHA:
            better, other = (b, a) if change.difference > 0 else (a, b)
            slots: dict[str, Claim | str] = {"variant": better.variant, "other": other.variant}
            told.append(Sentence("calibration.answer", slots | {"difference": difference, "p": p}))
        rows.append(
            (a.variant, a.name, b.variant, b.name, difference, p, Sentence("best.yes" if value <= ALPHA else "best.no"))
        )
    columns = (
        Column("first", Sentence("methods.first")),
        Column("first_calibration", Sentence("calibration.data")),
        Column("second", Sentence("methods.second")),
        Column("second_calibration", Sentence("calibration.data")),
        Column("difference", Sentence("methods.difference"), "ci"),
        Column("p", Sentence("best.p")),
        Column("told_apart", Sentence("best.told_apart")),
    )
    several = len({v.model for v in material.run.variants.values()}) > 1
    name = (
        f"calibration-{list(dict.fromkeys(v.model for v in material.run.variants.values())).index(contest.model) + 1}"
        if several
        else "calibration"
    )
    return Section(
        name=name,
        part=Part.RESULTS,
        benchmark=contest.data.name,
        title=Sentence("calibration.title"),
        answer=tuple(told) or (Sentence("calibration.answer_none"),),
        tables=(Table(name, columns, tuple(rows), Sentence("calibration.caption")),),
    )
