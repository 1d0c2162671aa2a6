"""Do long responses deteriorate?  Markers in their first against their last 1,000 words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import pandas as pd

from qrm_forensics.report.claims import with_interval
from qrm_forensics.report.data import BenchmarkData
from qrm_forensics.report.nouns import Claim, Sentence, Unit
from qrm_forensics.report.sections.groups import (
    Group,
    Split,
    centre,
    leading,
    number,
    of_response,
    ratios,
    splits,
    tables,
    terms,
    told,
)
from qrm_forensics.report.sections.material import Material
from qrm_forensics.report.sections.model import Chart, Column, Look, Part, Problem, Section, Series, Table, Value

#: Columns of the first and the last 1,000 words; known from 2,000 words on.
PAIRS = {"wait": ("wait_first_1000", "wait_last_1000"), "markers": ("markers_first_1000", "markers_last_1000")}
WORST = 10


def build(material: Material) -> Iterable[Section]:
    """One section per benchmark where the ends of responses were measured; empty where none is long enough."""
    if any(c not in material.run.tables for pair in PAIRS.values() for c in pair):
        return
    for data, _ in material.benchmarks():
        found = splits(material, data)
        long = [g for s in found for g in s.groups if len(g.measured(PAIRS["wait"][0]))]
        if long:
            yield _section(material, data, found, long)
        elif found:
            yield Section(
                *("deterioration", Part.FAILURES, data.name, Sentence("deterioration.title"), ()),
                empty=Sentence("deterioration.empty", {"benchmark": data.name}),
            )


def _section(material: Material, data: BenchmarkData, found: list[Split], long: list[Group]) -> Section:
    made = {g.name: {kind: _ratio(material, g, *pair) for kind, pair in PAIRS.items()} for g in long}
    rows: tuple[tuple[Value, ...], ...] = tuple(
        (
            *(g.variant, g.label, _long(material, g)),
            *(
                value
                for kind, pair in PAIRS.items()
                for value in (
                    *(centre(material, g, "deterioration", c, "mean", Unit.PER_1000_WORDS) for c in pair),
                    made[g.name][kind],
                )
            ),
        )
        for g in long
    )
    heads = (
        Column("variant", Sentence("ui.variant")),
        Column("outcome", Sentence("failures.outcome")),
        Column("n", Sentence("deterioration.long")),
        Column("wait_first", Sentence("deterioration.wait_first"), "ci"),
        Column("wait_last", Sentence("deterioration.wait_last"), "ci"),
        Column("wait_ratio", Sentence("deterioration.wait_ratio"), "ci"),
        Column("markers_first", Sentence("deterioration.markers_first"), "ci"),
        Column("markers_last", Sentence("deterioration.markers_last"), "ci"),
        Column("markers_ratio", Sentence("deterioration.markers_ratio"), "ci"),
    )
    chart = Chart(
        name="deterioration",
        look=Look.POINTS,
        title=Sentence("deterioration.chart"),
        x_title=None,
        y_title=Sentence("deterioration.wait_ratio"),
        series=tuple(_series(made, [g for g in long if g.outcome == o], o) for o in ("right", "not_right")),
        y_unit=Unit.RATIO,
        note=Sentence("deterioration.chart_note"),
        horizontal=True,
    )
    listed = [Table("deterioration", heads, rows, Sentence("deterioration.caption"))]
    worst = _worst(material, data, found)
    if worst.rows:
        listed.append(worst)
    return Section(
        name="deterioration",
        part=Part.FAILURES,
        benchmark=data.name,
        title=Sentence("deterioration.title"),
        answer=tuple(_answer(found, made)),
        charts=(chart,),
        tables=tuple(listed),
        notes=(Sentence("deterioration.note"),),
    )


def _series(made: dict[str, dict[str, Claim]], groups: Sequence[Group], outcome: str) -> Series:
    shown = [(g, made[g.name]["wait"]) for g in groups if made[g.name]["wait"].value is not None]
    return Series(
        Sentence(f"failures.{outcome}"),
        tuple(g.variant for g, _ in shown),
        tuple(float(c.value or 0) for _, c in shown),
        tuple(c.ci_low for _, c in shown),
        tuple(c.ci_high for _, c in shown),
    )


def _long(material: Material, group: Group) -> Claim:
    first = PAIRS["wait"][0]
    return number(
        *(material, group, "deterioration/n", len(group.measured(first)), "definition.deterioration_long"),
        of=len(group.frame),
        columns=(first,),
        rows=f"{first}.notna()",
    )


def _ratio(material: Material, group: Group, first: str, last: str) -> Claim:
    """Occurrences in the last over those in the first 1,000 words, all long responses of the group together."""
    # only the long responses are drawn: a resample without one would have no ratio
    long = replace(group, frame=group.measured(first))
    ((value, interval),) = ratios(terms(long, [last], None), terms(long, [first], None))
    claim = Claim(
        *(f"deterioration/{group.name}/{last}/ratio", value, Unit.RATIO, "definition.deterioration_ratio"),
        table=tables(material.run, first, last),
        filter=group.at,
    )
    if value is None:
        claim = replace(claim, note="claim.no_ratio")
    elif group.selected:
        claim = replace(claim, note="claim.description")
    else:
        claim = with_interval(claim, interval, "bootstrap-problems")
    return material.add(claim)


def _worst(material: Material, data: BenchmarkData, found: list[Split]) -> Table:
    """The failed responses whose "wait"s rise most from the first to the last 1,000 words."""
    first, last = PAIRS["wait"]
    every = pd.concat([s.not_right.measured(first) for s in found])
    every = every.assign(_rise=every[last] - every[first])
    top = every[every["_rise"] > 0].sort_values(["_rise", "row"], ascending=[False, True]).head(WORST)
    columns = (("n_words", Unit.WORDS), (first, Unit.COUNT), (last, Unit.COUNT), ("wait_last_over_first", Unit.RATIO))
    known = [(c, u) for c, u in columns if c in material.run.tables]
    rows: list[tuple[Value, ...]] = [
        (
            str(row["variant"]),
            Problem(data.name, str(row["problem_id"])),
            *(of_response(material, data.name, row, "deterioration", c, unit) for c, unit in known),
        )
        for _, row in top.iterrows()
    ]
    heads = (
        Column("variant", Sentence("ui.variant")),
        Column("problem", Sentence("ui.problem")),
        *(Column(c, Sentence(f"deterioration.{c}")) for c, _ in known),
    )
    return Table("deterioration_worst", heads, tuple(rows), Sentence("deterioration.worst_caption"))


def _answer(found: list[Split], made: dict[str, dict[str, Claim]]) -> Iterable[Sentence]:
    """Of the leading variant; then of the right ones beside it."""
    worst = leading([s for s in found if s.not_right.name in made])
    if worst is None:
        yield Sentence("deterioration.none")
        return
    for group in (worst.not_right, worst.right):
        ratio = made.get(group.name, {}).get("wait")
        if ratio is None or ratio.value is None:
            if group is worst.not_right:
                yield Sentence("deterioration.undefined", {"variant": worst.variant})
            continue
        key = "described" if group.selected or ratio.ci_low is None else told(ratio)
        slots: dict[str, Claim | str] = {"variant": worst.variant, "ratio": ratio}
        tone = "warning" if key == "more" and group is worst.not_right else "info"
        yield Sentence(f"deterioration.{group.outcome}_{key}", slots, tone)
