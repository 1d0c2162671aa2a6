"""How does the diversity of words change along a response, and where does it collapse?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc

from qrm_forensics.report.data import BenchmarkData, RunData
from qrm_forensics.report.nouns import Claim, Sentence, Unit
from qrm_forensics.report.sections.groups import Floats, Group, Split, centre, leading, number, splits
from qrm_forensics.report.sections.material import Material
from qrm_forensics.report.sections.model import Chart, Column, Look, Part, Section, Series, Table, Value
from qrm_forensics.report.sections.telling import Telling, most_telling

CURVE, COLLAPSE = "trajectory", "collapse_at"
#: Positions at which the curves are printed, as shares of the way from the first window to the last.
POSITIONS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
_QUARTERS = {"q1": 25, "median": 50, "q3": 75}


@dataclass(frozen=True)
class Course:
    """The curves of a group, [responses, points]; only responses that are long enough have one."""

    group: Group
    values: Floats


def build(material: Material) -> Iterable[Section]:
    """One section per benchmark where curves were measured; empty where no response is long enough for one."""
    if CURVE not in material.run.curves:
        return
    for data, _ in material.benchmarks():
        found = splits(material, data)
        if not found:
            continue
        known = _curves(material.run, data)
        courses = [c for s in found for c in (_course(g, known) for g in s.groups) if len(c.values)]
        collapsed = COLLAPSE in material.run.tables and data.frame[COLLAPSE].notna().any()
        if courses or collapsed:
            yield _section(material, data, found, courses, known)
        else:
            yield Section(
                *("trajectory", Part.FAILURES, data.name, Sentence("trajectory.title"), ()),
                empty=Sentence("trajectory.empty", {"benchmark": data.name}),
            )


Key = tuple[str, str, int, int]


def _curves(run: RunData, data: BenchmarkData) -> dict[Key, list[float]]:
    table = run.curves[CURVE]
    table = table.filter(pc.and_(pc.equal(table["benchmark"], data.name), pc.is_valid(table[CURVE])))
    columns = (table[c].to_pylist() for c in ("variant", "problem_id", "sample", "seed"))
    return dict(zip(zip(*columns, strict=True), table[CURVE].to_pylist(), strict=True))


def _course(group: Group, known: Mapping[Key, list[float]]) -> Course:
    frame = group.frame
    keys = zip(*(frame[c].tolist() for c in ("variant", "problem_id", "sample", "seed")), strict=True)
    rows = [known[key] for key in keys if key in known]
    return Course(group, np.array(rows, dtype=np.float64))


def _section(
    material: Material, data: BenchmarkData, found: list[Split], courses: list[Course], known: Mapping[Key, list[float]]
) -> Section:
    charts: list[Chart] = []
    tables: list[Table] = []
    made = {c.group.name: _points(material, c) for c in courses}
    if courses:
        charts += [_chart(made, [c.group for c in courses if c.group.outcome == o], o) for o in ("not_right", "right")]
        charts = [chart for chart in charts if chart.series]
        tables.append(_table(courses, made))
        telling = most_telling(material.run, data, material.references[data.name])
        if telling is not None and telling.falls and (one := _one(data, telling, known)) is not None:
            charts.append(one)
    if COLLAPSE in material.run.tables:
        tables.append(_collapse(material, found))
    return Section(
        name="trajectory",
        part=Part.FAILURES,
        benchmark=data.name,
        title=Sentence("trajectory.title"),
        answer=tuple(_answer(material, found, made)),
        charts=tuple(charts),
        tables=tuple(t for t in tables if t.rows),
        notes=(Sentence("trajectory.note"),),
    )


def _points(material: Material, course: Course) -> dict[str, list[Claim]]:
    """Quartile -> its value at each of ``POSITIONS``."""
    group, values = course.group, course.values
    at = [round(p * (values.shape[1] - 1)) for p in POSITIONS]
    found: dict[str, list[Claim]] = {}
    for name, percent in _QUARTERS.items():
        numbers = np.percentile(values[:, at], percent, axis=0)
        found[name] = [
            material.add(
                Claim(
                    *(f"trajectory/{group.name}/{round(100 * p)}/{name}", float(x), Unit.PLAIN),
                    f"definition.trajectory_{name}",
                    denominator=len(values),
                    table=f"verdicts+{material.run.curve_tables[CURVE]}",
                    filter=f"{group.at} and {CURVE}.notna()",
                    note="claim.description",
                )
            )
            for p, x in zip(POSITIONS, numbers, strict=True)
        ]
    return found


def _chart(made: dict[str, dict[str, list[Claim]]], groups: list[Group], outcome: str) -> Chart:
    def values(claims: list[Claim]) -> tuple[float | None, ...]:
        return tuple(None if c.value is None else float(c.value) for c in claims)

    return Chart(
        name=f"trajectory_{outcome}",
        look=Look.LINES,
        title=Sentence(f"trajectory.chart_{outcome}"),
        x_title=Sentence("trajectory.position"),
        y_title=Sentence("trajectory.ttr"),
        series=tuple(
            Series(
                g.variant,
                POSITIONS,
                values(made[g.name]["median"]),
                values(made[g.name]["q1"]),
                values(made[g.name]["q3"]),
            )
            for g in groups
        ),
        x_unit=Unit.SHARE,
        y_unit=Unit.PLAIN,
        note=Sentence("trajectory.chart_note"),
    )


def _one(data: BenchmarkData, telling: Telling, known: Mapping[Key, list[float]]) -> Chart | None:
    """The curves of one problem: those of the reference and of the variant, as far as they are long enough."""
    problem, sample, seed = data.keys[telling.row]
    curves = [
        (v, known[v, problem, sample, seed])
        for v in (telling.reference, telling.variant)
        if (v, problem, sample, seed) in known
    ]
    if telling.variant not in [v for v, _ in curves]:
        return None
    return Chart(
        name="trajectory_problem",
        look=Look.LINES,
        title=Sentence("trajectory.chart_problem", {"problem": problem}),
        x_title=Sentence("trajectory.position"),
        y_title=Sentence("trajectory.ttr"),
        series=tuple(Series(v, tuple(float(x) for x in np.linspace(0, 1, len(c))), tuple(c)) for v, c in curves),
        x_unit=Unit.SHARE,
        y_unit=Unit.PLAIN,
        note=Sentence("trajectory.problem_note"),
    )


def _table(courses: list[Course], made: dict[str, dict[str, list[Claim]]]) -> Table:
    rows: list[tuple[Value, ...]] = [
        (course.group.variant, course.group.label, Sentence(f"trajectory.{name}"), *made[course.group.name][name])
        for course in courses
        for name in _QUARTERS
    ]
    heads = (
        Column("variant", Sentence("ui.variant")),
        Column("outcome", Sentence("failures.outcome")),
        Column("quartile", Sentence("trajectory.quartile")),
        *(
            Column(f"at_{round(100 * p)}", Sentence("trajectory.at", {"position": f"{round(100 * p)}"}))
            for p in POSITIONS
        ),
    )
    return Table("trajectory", heads, tuple(rows), Sentence("trajectory.caption"))


def _collapsed(material: Material, group: Group) -> Claim:
    return number(
        *(material, group, "trajectory/collapsed", len(group.measured(COLLAPSE)), "definition.trajectory_collapsed"),
        of=len(group.frame),
        columns=(COLLAPSE,),
        rows=f"{COLLAPSE}.notna()",
    )


def _collapse(material: Material, found: list[Split]) -> Table:
    """How many collapse into copying, and where."""
    rows: list[tuple[Value, ...]] = [
        (
            *(split.variant, group.label, _collapsed(material, group)),
            centre(material, group, "trajectory", COLLAPSE, "median", Unit.SHARE),
        )
        for split in found
        for group in split.groups
        if len(group.frame)
    ]
    heads = (
        Column("variant", Sentence("ui.variant")),
        Column("outcome", Sentence("failures.outcome")),
        Column("collapsed", Sentence("trajectory.collapsed"), "share"),
        Column("collapse_at", Sentence("trajectory.collapse_at"), "ci"),
    )
    return Table("collapse", heads, tuple(rows), Sentence("trajectory.collapse_caption"))


def _answer(material: Material, found: list[Split], made: dict[str, dict[str, list[Claim]]]) -> Iterable[Sentence]:
    worst = leading(found)
    if worst is None:
        yield Sentence("trajectory.no_failure", {}, "good")
        return
    group = worst.not_right
    if group.name in made:
        first, last = made[group.name]["median"][0], made[group.name]["median"][-1]
        yield Sentence("trajectory.answer", {"variant": worst.variant, "first": first, "last": last})
    if COLLAPSE in material.run.tables:
        worst = max(
            (s for s in found if len(s.not_right.frame)),
            key=lambda s: (not s.selected, len(s.not_right.measured(COLLAPSE)), s is worst),
        )
        group = worst.not_right
        slots: dict[str, Claim | str] = {
            "variant": worst.variant,
            "not_right": number(material, group, "trajectory/n", len(group.frame), "definition.failures_not_right"),
            "collapsed": _collapsed(material, group),
        }
        key = "trajectory.collapse"
        if not slots["collapsed"].value:  # type: ignore[union-attr]
            key = "trajectory.no_collapse"
        else:
            slots["median"] = centre(material, group, "trajectory", COLLAPSE, "median", Unit.SHARE)
        yield Sentence(key, slots)
