"""Are the failures losses of quantization, or problems that the reference does not solve either?"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from qrm_forensics.report.claims import count, where
from qrm_forensics.report.data import BenchmarkData
from qrm_forensics.report.nouns import Claim, Sentence, Unit
from qrm_forensics.report.sections.material import Material
from qrm_forensics.report.sections.model import Chart, Column, Look, Part, Section, Series, Table


@dataclass(frozen=True)
class Origin:
    """Responses of a variant that are not right, by what its reference did with the same problem, sample and seed.

    ``lost`` + ``hard`` + ``unpaired`` == ``not_right``; ``gained``: right, and the reference is not.
    """

    variant: str
    reference: str
    selected: bool
    not_right: Claim
    lost: Claim
    hard: Claim
    unpaired: Claim
    gained: Claim


def build(material: Material) -> Iterable[Section]:
    """One section per benchmark that has a variant beside its reference."""
    for data, _ in material.benchmarks():
        pairs = [(v, r) for v, r in material.references[data.name].items() if v != r]
        found = [_origin(material, data, variant, reference) for variant, reference in pairs]
        if found:
            yield _section(material, data, found)


def _origin(material: Material, data: BenchmarkData, variant: str, reference: str) -> Origin:
    policy = material.run.policy
    x, y = data.right(reference, policy), data.right(variant, policy)
    selected = data.is_selected(variant) or data.is_selected(reference)
    failed = y == 0
    total = int(failed.sum())
    name = f"origin/{data.name}/{variant}"
    both = where(benchmark=data.name, policy=policy, variant=[reference, variant])

    def counted(kind: str, rows: np.ndarray[tuple[int, ...], np.dtype[np.bool_]], of: int | None = total) -> Claim:
        made = count(
            *(f"{name}/{kind}", int(rows.sum()), f"definition.origin_{kind}"),
            of=None if selected else of,
            table="verdicts",
            filter=both,
        )
        return material.add(made)

    own = where(benchmark=data.name, policy=policy, variant=variant, status=["wrong", "missing"])
    return Origin(
        variant=variant,
        reference=reference,
        selected=selected,
        not_right=material.add(
            count(f"{name}/not_right", total, "definition.failures_not_right", table="verdicts", filter=own)
        ),
        lost=counted("lost", failed & (x == 1)),
        hard=counted("hard", failed & (x == 0)),
        unpaired=counted("unpaired", failed & np.isnan(x)),
        gained=counted("gained", (y == 1) & (x == 0), None),
    )


def _section(material: Material, data: BenchmarkData, found: list[Origin]) -> Section:
    tested = material.evidence.pairs[material.run.policy]
    failing = [o for o in found if o.not_right.value]
    unpaired = any(o.unpaired.value for o in found)
    heads = (
        Column("variant", Sentence("ui.variant")),
        Column("reference", Sentence("ui.reference")),
        Column("not_right", Sentence("failures.not_right")),
        Column("lost", Sentence("origin.lost"), "share"),
        Column("hard", Sentence("origin.hard"), "share"),
        Column("unpaired", Sentence("origin.unpaired"), "share"),
        Column("gained", Sentence("origin.gained")),
        Column("p", Sentence("origin.p")),
    )
    kinds = ("lost", "hard", "unpaired") if unpaired else ("lost", "hard")
    chart = Chart(
        name="origin",
        look=Look.STACKED,
        title=Sentence("origin.chart"),
        x_title=None,
        y_title=Sentence("failures.responses"),
        series=tuple(
            Series(
                Sentence(f"origin.{kind}"),
                tuple(o.variant for o in failing),
                tuple(float(getattr(o, kind).value) for o in failing),
            )
            for kind in kinds
        ),
        y_unit=Unit.COUNT,
        horizontal=True,
    )
    rows = tuple(
        (
            *(o.variant, o.reference, o.not_right, o.lost, o.hard, o.unpaired, o.gained),
            tested[data.name, o.variant].p if (data.name, o.variant) in tested else None,
        )
        for o in found
    )
    return Section(
        name="origin",
        part=Part.FAILURES,
        benchmark=data.name,
        title=Sentence("origin.title"),
        answer=tuple(_answer(material, data, found, failing)),
        charts=(chart,) if failing else (),
        tables=(Table("origin", heads, rows, Sentence("origin.caption", {"policy": material.run.policy})),),
        notes=(Sentence("origin.note"),),
    )


def _answer(material: Material, data: BenchmarkData, found: list[Origin], failing: list[Origin]) -> Iterable[Sentence]:
    if not failing:
        yield Sentence("origin.none", {"benchmark": data.name, "policy": material.run.policy}, "good")
        return
    worst = max(failing, key=lambda o: (not o.selected, float(o.lost.value or 0), float(o.not_right.value or 0)))
    key = "origin.answer_counts" if worst.selected else "origin.answer"
    slots: dict[str, Claim | str] = {
        "variant": worst.variant,
        "reference": worst.reference,
        "not_right": worst.not_right,
        "lost": worst.lost,
        "hard": worst.hard,
    }
    yield Sentence(key, slots, "warning" if worst.lost.value else "info")
    tested = material.evidence.pairs[material.run.policy]
    for one in found:
        pair = tested.get((data.name, one.variant))
        if pair is None:
            continue
        more = pair.told_apart and pair.difference < 0
        fewer = pair.told_apart and pair.difference > 0
        yield Sentence(
            "origin.excess" if more else "origin.fewer" if fewer else "origin.chance",
            {
                "variant": one.variant,
                "lost": one.lost,
                "gained": one.gained,
                "p": pair.p,
                "family": pair.family,
            },
            "bad" if more else "good" if fewer else "info",
        )
