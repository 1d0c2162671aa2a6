"""Do failed responses repeat sentences, and refer back less?  What the reference report read as damaged attention."""

from __future__ import annotations

from collections.abc import Iterable

from qrm_forensics.report.data import BenchmarkData
from qrm_forensics.report.nouns import Claim, Sentence
from qrm_forensics.report.sections import observations
from qrm_forensics.report.sections.groups import Split, leading, number, splits
from qrm_forensics.report.sections.material import Material
from qrm_forensics.report.sections.model import Column, Part, Section, Table, Value

SHOWN = ("repeated_sentence", "self_reference")


def build(material: Material) -> Iterable[Section]:
    """One section per benchmark with failures whose sentences were counted."""
    shown = [o for o in observations.known(material.run) if o.name in SHOWN]
    if len(shown) < len(SHOWN):
        return
    for data, _ in material.benchmarks():
        found = splits(material, data)
        if any(len(s.not_right.measured(shown[0].column)) for s in found):
            yield _section(material, data, found, shown)


def _section(
    material: Material, data: BenchmarkData, found: list[Split], shown: list[observations.Observation]
) -> Section:
    rows: list[tuple[Value, ...]] = []
    for split in found:
        for group in split.groups:
            n = number(
                *(material, group, "repetition/n", len(group.frame), f"definition.failures_{group.outcome}"),
            )
            cells: list[Value] = []
            for observation in shown:
                cells.append(observations.mean(material, group, observation))
                failed = group is split.not_right
                told = observations.within(material, split, observation) if failed else None
                cells += [told.ratio, told.difference] if told else [None, None]
            rows.append((split.variant, group.label, n, *cells))
    heads = [Column("variant", Sentence("ui.variant")), Column("outcome", Sentence("failures.outcome"))]
    heads.append(Column("n", Sentence("failures.responses")))
    for observation in shown:
        heads.append(Column(observation.name, Sentence(f"observation.{observation.name}"), "ci"))
        heads.append(Column(f"{observation.name}_ratio", Sentence("failures.ratio"), "ci"))
        heads.append(Column(f"{observation.name}_difference", Sentence("failures.difference"), "ci"))
    return Section(
        name="repetition",
        part=Part.CAUSES,
        benchmark=data.name,
        title=Sentence("repetition.title"),
        answer=tuple(_answer(material, data, found, shown)),
        tables=(Table("repetition", tuple(heads), tuple(rows), Sentence("repetition.caption")),),
        notes=(Sentence("repetition.note"),),
    )


def _answer(
    material: Material, data: BenchmarkData, found: list[Split], shown: list[observations.Observation]
) -> Iterable[Sentence]:
    worst = leading(found)
    assert worst is not None  # the section is made only then
    reference = next((s for s in found if s.variant == material.references[data.name].get(worst.variant)), None)
    for observation in shown:
        slots: dict[str, Claim | str] = {
            "variant": worst.variant,
            "not_right": observations.mean(material, worst.not_right, observation),
            "right": observations.mean(material, worst.right, observation),
        }
        told = observations.within(material, worst, observation)
        read = observations.reading(told, observation.expected)
        if read == "unknown":
            yield Sentence(f"repetition.{observation.name}_unknown", slots)
            continue
        yield Sentence(f"repetition.{observation.name}_{read}", slots | {"difference": told.difference})
        if reference is None or reference is worst or not len(reference.not_right.frame):
            continue
        against = observations.beside(material, worst, reference, observation)
        second = observations.reading(against, observation.expected)
        if second == "undecided":
            yield Sentence(
                f"repetition.{observation.name}_not_specific",
                {
                    "variant": worst.variant,
                    "reference": reference.variant,
                    "difference": against.difference,
                    "failed": number(
                        *(material, reference.not_right, "repetition/n", len(reference.not_right.frame)),
                        "definition.failures_not_right",
                    ),
                },
            )
