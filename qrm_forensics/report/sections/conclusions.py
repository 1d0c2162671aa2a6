"""Conclusions: what this data recommends, and what it does not show."""

from __future__ import annotations

from collections.abc import Iterable

from qrm_forensics.report.nouns import Sentence
from qrm_forensics.report.sections.advice import Advice, all_advice
from qrm_forensics.report.sections.material import Material
from qrm_forensics.report.sections.methods import equal_bits
from qrm_forensics.report.sections.model import Column, Part, Section, Table


def build(material: Material) -> Iterable[Section]:
    """One section over all benchmarks; empty with its reason where nothing can be compared."""
    title = Sentence("conclusions.title")
    if not material.evidence.pairs.get(material.run.policy):
        yield Section("conclusions", Part.EXECUTIVE, None, title, (), empty=Sentence("conclusions.empty"))
        return
    found = all_advice(material, equal_bits(material))
    given = [a for a in found if a.given]
    other = [a for a in found if not a.given]
    yield Section(
        name="conclusions",
        part=Part.EXECUTIVE,
        benchmark=None,
        title=title,
        answer=tuple(a.text for a in given) or (Sentence("conclusions.none", severity="warning"),),
        tables=(
            *((_table("recommendations", "conclusions.given", given),) if given else ()),
            *((_table("not_shown", "conclusions.not_shown", other),) if other else ()),
        ),
        notes=(Sentence("conclusions.rules"),),
    )


def _table(name: str, title: str, advice: list[Advice]) -> Table:
    columns = (Column("recommendation", Sentence(title)), Column("evidence", Sentence("conclusions.evidence")))
    return Table(name, columns, tuple((a.text, a.evidence) for a in advice))
