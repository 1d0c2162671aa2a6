"""What do the failed responses repeat?  Classes of loops, and the types A to E of the reference study's report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pandas as pd

from qrm_forensics.metrics.loop_classes import CLASSES
from qrm_forensics.report.claims import where
from qrm_forensics.report.data import BenchmarkData
from qrm_forensics.report.keys import loop_class_key
from qrm_forensics.report.nouns import Claim, Sentence, Unit
from qrm_forensics.report.sections.groups import Group, Split, leading, number, of_response, splits
from qrm_forensics.report.sections.material import Material
from qrm_forensics.report.sections.model import Chart, Column, Look, Part, Problem, Quote, Section, Series, Table, Value

TYPE, CLASS = "loop_type_reference", "loop_class"
#: Types of the reference report; ``other`` is a loop of none of them.
TYPES = ("A", "B", "C", "D", "E", "other")
NEEDED = ("loop", "loop_repeats", "loop_unit", CLASS)


def build(material: Material) -> Iterable[Section]:
    """One section per benchmark with a failed response whose loops were looked for."""
    if any(c not in material.run.tables for c in NEEDED):
        return
    for data, _ in material.benchmarks():
        found = [s for s in splits(material, data) if len(s.not_right.measured("loop"))]
        if found:
            yield _section(material, data, found)


def _section(material: Material, data: BenchmarkData, found: list[Split]) -> Section:
    typed = TYPE in material.run.tables
    tables = []
    charts = []
    for column, kinds, shown in ((TYPE, TYPES, typed), (CLASS, CLASSES, True)):
        if not shown:
            continue
        counts = {s.variant: _counts(material, s.not_right, column, kinds) for s in found}
        present = [k for k in kinds if any(c[k].value for c in counts.values())]
        tables.append(_table(material, found, column, present, counts))
        if column == (TYPE if typed else CLASS):
            charts.append(_chart(column, present, counts))
    return Section(
        name="patterns",
        part=Part.FAILURES,
        benchmark=data.name,
        title=Sentence("patterns.title"),
        answer=tuple(_answer(material, found, typed)),
        charts=tuple(charts),
        tables=tuple(tables),
        notes=(Sentence("patterns.note"),) if typed else (),
    )


def label(column: str, kind: str) -> Sentence:
    """What a class or type is called; ``none`` is no loop."""
    if kind == "none":
        return Sentence("patterns.none")
    return Sentence(f"patterns.type_{kind}") if column == TYPE else Sentence(loop_class_key(kind))


def _looping(group: Group) -> pd.DataFrame:
    return group.frame[group.frame["loop"] == 1]


def _counts(material: Material, group: Group, column: str, kinds: Sequence[str]) -> dict[str, Claim]:
    """Kind -> responses; with ``none`` they add up to those measured, else AssertionError."""
    known, looping = group.measured("loop"), _looping(group)
    found = {
        kind: number(
            *(material, group, f"patterns/{column}/{kind}", int((looping[column] == kind).sum())),
            f"definition.patterns_{'type' if column == TYPE else 'class'}",
            of=len(known),
            columns=("loop", column),
            rows=f"loop == True and {where(**{column: kind})}",
        )
        for kind in kinds
    }
    found["none"] = number(
        *(material, group, "patterns/none", int((known["loop"] == 0).sum()), "definition.patterns_none"),
        of=len(known),
        columns=("loop",),
        rows="loop == False",
    )
    if sum(int(c.value or 0) for c in found.values()) != len(known):
        raise AssertionError(f"{group.name}: the loops by {column} do not sum to {len(known)}")
    return found


def _chart(column: str, present: list[str], counts: dict[str, dict[str, Claim]]) -> Chart:
    return Chart(
        name="patterns",
        look=Look.STACKED,
        title=Sentence("patterns.chart"),
        x_title=None,
        y_title=Sentence("failures.responses"),
        series=tuple(
            Series(label(column, kind), tuple(counts), tuple(float(c[kind].value or 0) for c in counts.values()))
            for kind in (*present, "none")
        ),
        y_unit=Unit.COUNT,
        horizontal=True,
    )


def _table(
    material: Material, found: list[Split], column: str, present: list[str], counts: dict[str, dict[str, Claim]]
) -> Table:
    """A row per variant and kind that occurs, with the response that repeats most; the loops of a variant in order."""
    rows: list[tuple[Value, ...]] = []
    for split in found:
        group = split.not_right
        looping = _looping(group)
        for kind in (*present, "none"):
            claim = counts[split.variant][kind]
            if not claim.value:
                continue
            record: tuple[Value, ...] = (None, "", "")
            if kind != "none":
                best = looping[looping[column] == kind].sort_values(
                    ["loop_repeats", "row"], ascending=[False, True], na_position="last"
                )
                record = _record(material, group.benchmark, best.iloc[0])
            rows.append((split.variant, label(column, kind), claim, *record))
    heads = (
        Column("variant", Sentence("ui.variant")),
        Column("kind", Sentence("patterns.type" if column == TYPE else "patterns.class")),
        Column("not_right", Sentence("failures.not_right"), "share"),
        Column("most_repeats", Sentence("patterns.most_repeats")),
        Column("problem", Sentence("ui.problem")),
        Column("example", Sentence("patterns.example")),
    )
    name = "loop_types" if column == TYPE else "loop_classes"
    return Table(name, heads, tuple(rows), Sentence(f"patterns.{name}_caption"))


def _record(material: Material, benchmark: str, row: pd.Series) -> tuple[Value, ...]:
    unit = row["loop_unit"]
    place = (str(row["variant"]), str(row["problem_id"]))
    return (
        of_response(material, benchmark, row, "patterns", "loop_repeats", Unit.PLAIN),
        Problem(benchmark, place[1]),
        Quote(unit, *place) if isinstance(unit, str) else None,
    )


def _answer(material: Material, found: list[Split], typed: bool) -> Iterable[Sentence]:
    worst = leading(found)
    assert worst is not None  # all of them have a response that is not right
    group = worst.not_right
    known, looping = group.measured("loop"), _looping(group)
    slots: dict[str, Claim | str] = {
        "variant": worst.variant,
        "not_right": number(
            *(material, group, "patterns/n", len(known), "definition.failures_not_right"),
            columns=("loop",),
            rows="loop.notna()",
        ),
        "loops": number(
            *(material, group, "patterns/loops", len(looping), "definition.patterns_loops"),
            of=len(known),
            columns=("loop",),
            rows="loop == True",
        ),
    }
    counted = "_counts" if worst.selected else ""
    yield Sentence(f"patterns.answer{counted}", slots, "warning" if len(looping) else "info")
    if typed and len(looping):
        outside = number(
            *(material, group, f"patterns/{TYPE}/outside", int((looping[TYPE] == "other").sum())),
            "definition.patterns_outside",
            of=len(looping),
            columns=("loop", TYPE),
            rows="loop == True and loop_type_reference == 'other'",
        )
        loops = {"variant": worst.variant, "loops": slots["loops"], "outside": outside}
        yield Sentence(f"patterns.outside{counted}", loops)
    every = pd.concat([_looping(s.not_right) for s in found])
    every = every[every["loop_repeats"].notna()]
    if len(every):
        top = every.sort_values(["loop_repeats", "row"], ascending=[False, True]).iloc[0]
        repeats = of_response(material, group.benchmark, top, "patterns", "loop_repeats", Unit.PLAIN)
        if repeats is not None:
            yield Sentence(
                "patterns.record",
                {"variant": str(top["variant"]), "problem": str(top["problem_id"]), "repeats": repeats},
            )
