r"""Do failed responses answer at all?  ``\boxed{}`` and the end of the thinking in right responses and in the others."""

from __future__ import annotations

from collections.abc import Iterable

from qrm_forensics.report.data import BenchmarkData
from qrm_forensics.report.nouns import Claim, Sentence, Unit
from qrm_forensics.report.sections.groups import Group, Split, flagged, leading, number, splits
from qrm_forensics.report.sections.material import Material
from qrm_forensics.report.sections.model import Chart, Column, Look, Part, Section, Series, Table, Value

#: Yes/no columns in the order of the table.
COLUMNS = ("boxed", "boxed_after_think", "closed", "truncated")


def build(material: Material) -> Iterable[Section]:
    r"""One section per benchmark with failures whose boxes were looked for."""
    columns = [c for c in COLUMNS if c in material.run.tables]
    if "boxed" not in columns:
        return
    for data, _ in material.benchmarks():
        found = splits(material, data)
        if any(len(s.not_right.measured("boxed")) for s in found):
            yield _section(material, data, found, columns)


def _section(material: Material, data: BenchmarkData, found: list[Split], columns: list[str]) -> Section:
    several = "n_boxed" in material.run.tables
    rows: list[tuple[Value, ...]] = []
    for split in found:
        for group in split.groups:
            rows.append(
                (
                    split.variant,
                    group.label,
                    number(
                        *(material, group, "answers/n", len(group.frame), f"definition.failures_{group.outcome}"),
                    ),
                    _missing(material, group),
                    *(flagged(material, group, "answers", c) for c in columns),
                    *([_several(material, group)] if several else []),
                )
            )
    heads = (
        Column("variant", Sentence("ui.variant")),
        Column("outcome", Sentence("failures.outcome")),
        Column("n", Sentence("failures.responses")),
        Column("missing", Sentence("answers.missing"), "share"),
        *(Column(c, Sentence(f"answers.{c}"), "share") for c in columns),
        *([Column("boxed_more_than_once", Sentence("answers.several"), "share")] if several else []),
    )
    failing = [s for s in found if len(s.not_right.frame) and not s.selected]
    chart = Chart(
        name="answers",
        look=Look.BARS,
        title=Sentence("answers.chart"),
        x_title=None,
        y_title=None,
        series=tuple(
            Series(
                Sentence(f"failures.{outcome}"),
                tuple(s.variant for s in failing),
                tuple(_share(flagged(material, g, "answers", "boxed")) for s in failing for g in s.groups if g.outcome == outcome),
            )
            for outcome in ("right", "not_right")
        ),
        y_unit=Unit.SHARE,
        horizontal=True,
    )  # fmt: skip
    return Section(
        name="answers",
        part=Part.FAILURES,
        benchmark=data.name,
        title=Sentence("answers.title"),
        answer=(_answer(material, found, columns),),
        charts=(chart,) if failing else (),
        tables=(Table("answers_by_outcome", heads, tuple(rows), Sentence("answers.caption")),),
        notes=(Sentence("answers.note"),),
    )


def _share(claim: Claim) -> float | None:
    return float(claim.value or 0) / claim.denominator if claim.denominator else None


def _missing(material: Material, group: Group) -> Claim:
    """Those that the scorer found no answer in; none of the right ones, by the meaning of right."""
    frame = group.frame[f"missing:{material.run.policy}"]
    return number(
        *(material, group, "answers/missing", int(frame.sum()), "definition.answers_missing"),
        of=len(frame),
        rows="status == 'missing'",
    )


def _several(material: Material, group: Group) -> Claim:
    known = group.measured("n_boxed")["n_boxed"]
    return number(
        *(material, group, "answers/several", int((known > 1).sum()), "definition.answers_several"),
        of=len(known),
        columns=("n_boxed",),
        rows="n_boxed > 1",
    )


def _answer(material: Material, found: list[Split], columns: list[str]) -> Sentence:
    worst = leading([s for s in found if len(s.not_right.measured("boxed"))])
    assert worst is not None  # the section is made only then
    group = worst.not_right
    slots: dict[str, Claim | str] = {
        "variant": worst.variant,
        "policy": material.run.policy,
        "not_right": number(material, group, "answers/n", len(group.frame), "definition.failures_not_right"),
        "missing": _missing(material, group),
        "boxed": flagged(material, group, "answers", "boxed"),
    }
    if len(worst.right.frame):
        slots["right"] = number(material, worst.right, "answers/n", len(worst.right.frame), "definition.failures_right")
        slots["right_boxed"] = flagged(material, worst.right, "answers", "boxed")
    key = ("answers.alone" if not len(worst.right.frame) else "answers.answer") + ("_counts" if worst.selected else "")
    return Sentence(key, slots, "warning" if slots["missing"].value else "info")  # type: ignore[union-attr]
