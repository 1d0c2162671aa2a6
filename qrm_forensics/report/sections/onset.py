"""When do loops begin?  By position in the response, and in tokens with the responses that were cut off before one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from qrm_forensics.compare import median_interval
from qrm_forensics.report.claims import count, where, with_interval
from qrm_forensics.report.data import BenchmarkData
from qrm_forensics.report.nouns import Claim, Sentence, Unit
from qrm_forensics.report.process import onset_source, onset_times, watched
from qrm_forensics.report.sections.groups import nice_width
from qrm_forensics.report.sections.material import Material
from qrm_forensics.report.sections.model import Chart, Column, Look, Part, Section, Series, Table, Value

FRACTION, TOKEN = "loop_onset_fraction", "loop_onset_token"
PARTS = 10
#: Fewer loops than this are counted and described, without a share or an interval.
FEW = 5
#: Token counts at which the share without a loop is printed: about so many.
MARKS = 8


def build(material: Material) -> Iterable[Section]:
    """One section per benchmark with a loop."""
    if any(c not in material.run.tables for c in ("loop", FRACTION, TOKEN, "n_words")):
        return
    marks = _marks(material)
    for data, _ in material.benchmarks():
        if data.frame[FRACTION].notna().any():
            yield _section(material, data, marks)


def _marks(material: Material) -> tuple[int, ...]:
    """Evenly spaced, the same for all benchmarks of a report, up to the last onset."""
    latest = max(float(d.frame[TOKEN].max(skipna=True)) for d in material.run.benchmarks.values() if len(d.frame))
    if not np.isfinite(latest):
        return ()
    width = nice_width(latest, MARKS)
    return tuple(range(width, int(latest) + 1, width))


def _section(material: Material, data: BenchmarkData, marks: tuple[int, ...]) -> Section:
    looping = [v for v in data.variants if data.of(v)[FRACTION].notna().any()]
    deciles = {v: _deciles(material, data, v) for v in looping}
    names = tuple(
        Sentence("onset.decile", {"low": f"{100 * i // PARTS}", "high": f"{100 * (i + 1) // PARTS}"})
        for i in range(PARTS)
    )
    histogram = Chart(
        name="onset_histogram",
        look=Look.STACKED,
        title=Sentence("onset.chart"),
        x_title=Sentence("onset.position"),
        y_title=Sentence("onset.loops"),
        series=tuple(
            Series(v, names, tuple(float(c.value or 0) for c in deciles[v][:-1]) if v in deciles else (0.0,) * PARTS)
            for v in data.variants
        ),
        y_unit=Unit.COUNT,
    )
    table = Table(
        name="onset_deciles",
        columns=(
            Column("variant", Sentence("ui.variant")),
            *(Column(f"decile_{i + 1}", name) for i, name in enumerate(names)),
            Column("loops", Sentence("onset.loops")),
        ),
        rows=tuple((v, *claims) for v, claims in deciles.items()),
        caption=Sentence("onset.deciles_caption"),
    )
    followed = [v for v in data.variants if not data.is_selected(v) and len(watched(data, v))]
    charts, tables = [histogram], [table]
    if followed and marks:
        curve, free = _free(material, data, followed, marks)
        charts.append(curve)
        tables.append(free)
    left_out = [v for v in looping if data.is_selected(v)]
    notes = [Sentence("onset.note")]
    if left_out:
        notes.append(Sentence("onset.left_out", {"variants": ", ".join(left_out), "benchmark": data.name}, "warning"))
    return Section(
        name="onset",
        part=Part.FAILURES,
        benchmark=data.name,
        title=Sentence("onset.title"),
        answer=tuple(_answer(material, data, v) for v in sorted(looping, key=lambda v: _order(data, v))),
        charts=tuple(charts),
        tables=tuple(tables),
        notes=tuple(notes),
    )


def _order(data: BenchmarkData, variant: str) -> tuple[bool, int]:
    return data.is_selected(variant), -int(data.of(variant)[FRACTION].notna().sum())


def _deciles(material: Material, data: BenchmarkData, variant: str) -> list[Claim]:
    """Loops by the tenth of the response in which they begin, then their sum."""
    values = data.of(variant)[FRACTION].dropna().to_numpy(np.float64)
    at = where(variant=variant, benchmark=data.name)
    table = material.run.tables[FRACTION]
    found = []
    for i in range(PARTS):
        low, high, last = i / PARTS, (i + 1) / PARTS, i == PARTS - 1
        inside = (values >= low) & ((values <= high) if last else (values < high))
        claim = count(
            *(f"onset/{data.name}/{variant}/decile/{i + 1}", int(inside.sum()), "definition.onset_decile"),
            table=table,
            filter=f"{at} and {FRACTION} >= {low} and {FRACTION} {'<=' if last else '<'} {high}",
        )
        found.append(material.add(claim))
    if sum(int(c.value or 0) for c in found) != len(values):
        raise AssertionError(f"{variant} on {data.name}: the tenths do not sum to {len(values)}")
    return [*found, _loops(material, data, variant)]


def _loops(material: Material, data: BenchmarkData, variant: str) -> Claim:
    known = data.of(variant)[FRACTION].notna()
    return material.add(
        count(
            *(f"onset/{data.name}/{variant}/placed", int(known.sum()), "definition.onset_placed"),
            table=material.run.tables[FRACTION],
            filter=f"{where(variant=variant, benchmark=data.name)} and {FRACTION}.notna()",
        )
    )


def _free(material: Material, data: BenchmarkData, variants: list[str], marks: tuple[int, ...]) -> tuple[Chart, Table]:
    """Kaplan and Meier's share without a loop: as a curve, and at round numbers of tokens."""
    series, rows = [], []
    for variant in variants:
        told = onset_times(data, variant, marks)
        source = onset_source(material.run, data, variant)
        steps = [(p.tokens, p.estimate) for p in told.loop_free.steps if p.estimate is not None]
        last = max([steps[-1][0] if steps else 0, *(p.tokens for p in told.loop_free.marks if p.estimate is not None)])
        series.append(
            Series(
                variant,
                (0.0, *(float(t) for t, _ in steps), float(last)),
                (1.0, *(float(e) for _, e in steps), float(steps[-1][1]) if steps else 1.0),
            )
        )
        row: list[Value] = [variant]
        for point in told.loop_free.marks:
            claim = Claim(
                *(f"onset/{data.name}/{variant}/free/{point.tokens}", point.estimate, Unit.SHARE),
                "definition.onset_free",
                denominator=told.n,
                note="claim.nobody_left" if point.estimate is None else None,
                **source,
            )
            if point.estimate is not None:
                method = "kaplan-meier" if told.interval_method == "log-log" else told.interval_method
                claim = with_interval(claim, point.interval, method)
            row.append(material.add(claim))
        rows.append(tuple(row))
    chart = Chart(
        name="onset_free",
        look=Look.STEPS,
        title=Sentence("onset.free_chart"),
        x_title=Sentence("onset.tokens"),
        y_title=Sentence("onset.free"),
        series=tuple(series),
        x_unit=Unit.TOKENS,
        y_unit=Unit.SHARE,
        note=Sentence("onset.free_note"),
    )
    table = Table(
        name="onset_free",
        columns=(
            Column("variant", Sentence("ui.variant")),
            *(Column(f"tokens_{m}", Sentence("onset.at_tokens", {"tokens": f"{m:,}"}), "ci") for m in marks),
        ),
        rows=tuple(rows),
        caption=Sentence("onset.free_caption"),
    )
    return chart, table


def _answer(material: Material, data: BenchmarkData, variant: str) -> Sentence:
    """Which share begins in the first half, and the median position; of a selected set counts and a description."""
    frame = data.of(variant)
    frame = frame[frame[FRACTION].notna()]
    values = frame[FRACTION].to_numpy(np.float64)
    selected = data.is_selected(variant) or len(values) < FEW
    at = where(variant=variant, benchmark=data.name)
    half = count(
        *(f"onset/{data.name}/{variant}/first_half", int((values < 0.5).sum()), "definition.onset_first_half"),
        of=None if selected else len(values),
        table=material.run.tables[FRACTION],
        filter=f"{at} and {FRACTION} < 0.5",
    )
    median = Claim(
        *(f"onset/{data.name}/{variant}/loop_onset_fraction/median", float(np.median(values)), Unit.SHARE),
        "definition.onset_median_position",
        denominator=len(values),
        table=material.run.tables[FRACTION],
        filter=at,
    )
    if selected:
        median = replace(median, note="claim.description")
    else:
        interval = median_interval(values, frame["problem"].to_numpy(np.int64))
        median = with_interval(median, interval, "bootstrap-problems")
    slots: dict[str, Claim | str] = {
        "variant": variant,
        "loops": _loops(material, data, variant),
        "half": material.add(half),
        "median": material.add(median),
    }
    known = median.ci_low is not None
    return Sentence("onset.answer_counts" if selected or not known else "onset.answer", slots)
