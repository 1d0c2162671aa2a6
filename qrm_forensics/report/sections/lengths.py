"""Are failed responses longer, and how long are they?"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import numpy as np

from qrm_forensics.report.data import BenchmarkData
from qrm_forensics.report.nouns import Claim, Sentence, Unit
from qrm_forensics.report.sections.groups import Split, centre, leading, nice_width, number, ratio_claims, splits, told
from qrm_forensics.report.sections.material import Material
from qrm_forensics.report.sections.model import Chart, Column, Look, Part, Section, Series, Table, Value

COLUMN = "n_words"
#: Bins of the histogram: at most so many.
BINS = 15


def build(material: Material) -> Iterable[Section]:
    """One section per benchmark with a response that is not right and has been measured."""
    if COLUMN not in material.run.tables:
        return
    edges = bin_edges(material)
    for data, _ in material.benchmarks():
        found = splits(material, data)
        if any(len(s.not_right.measured(COLUMN)) for s in found):
            yield _section(material, data, found, edges)


def bin_edges(material: Material) -> tuple[int, ...]:
    """Lower ends of bins of equal width, 1, 2 or 5 times a power of ten, the same for all benchmarks of a report."""
    longest = 0.0
    for data in material.run.benchmarks.values():
        for split in splits(material, data):
            longest = max([longest, *split.not_right.measured(COLUMN)[COLUMN]])
    width = nice_width(longest, BINS)
    return tuple(range(0, int(longest // width + 1) * width, width))


def _section(material: Material, data: BenchmarkData, found: list[Split], edges: tuple[int, ...]) -> Section:
    ratios = {s.variant: ratio_claims(material, s, "lengths", [COLUMN], None)[COLUMN] for s in found}
    rows: list[tuple[Value, ...]] = []
    for split in found:
        for group in split.groups:
            n = number(
                *(material, group, "lengths/n", len(group.measured(COLUMN)), f"definition.failures_{group.outcome}"),
                columns=(COLUMN,),
                rows=f"{COLUMN}.notna()",
            )
            rows.append(
                (
                    *(split.variant, group.label, n),
                    *(centre(material, group, "lengths", COLUMN, how, Unit.WORDS) for how in ("mean", "median", "max")),
                    ratios[split.variant] if group is split.not_right else None,
                )
            )
    counts = {s.variant: _binned(material, s, edges) for s in found if len(s.not_right.measured(COLUMN))}
    names = tuple(
        Sentence("lengths.bin", {"low": f"{low:,}", "high": f"{high - 1:,}"})
        for low, high in pairwise((*edges, edges[-1] + _width(edges)))
    )
    chart = Chart(
        name="lengths",
        look=Look.STACKED,
        title=Sentence("lengths.chart"),
        x_title=Sentence("failures.words"),
        y_title=Sentence("failures.responses"),
        series=tuple(
            Series(variant, names, tuple(float(c.value or 0) for c in claims[:-1]))
            for variant, claims in counts.items()
        ),
        y_unit=Unit.COUNT,
    )
    heads = (
        Column("variant", Sentence("ui.variant")),
        Column("outcome", Sentence("failures.outcome")),
        Column("n", Sentence("failures.responses")),
        Column("mean_words", Sentence("failures.mean_words"), "ci"),
        Column("median_words", Sentence("failures.median_words"), "ci"),
        Column("max_words", Sentence("failures.max_words")),
        Column("ratio", Sentence("lengths.ratio"), "ci"),
    )
    bins = Table(
        name="failure_length_bins",
        columns=(
            Column("variant", Sentence("ui.variant")),
            *(Column(f"from_{low}", name, "share") for low, name in zip(edges, names, strict=True)),
            Column("total", Sentence("failures.not_right")),
        ),
        rows=tuple((variant, *claims) for variant, claims in counts.items()),
        caption=Sentence("lengths.bins_caption"),
    )
    return Section(
        name="lengths",
        part=Part.FAILURES,
        benchmark=data.name,
        title=Sentence("lengths.title"),
        answer=(_answer(material, found, ratios),),
        charts=(chart,),
        tables=(Table("length_by_outcome", heads, tuple(rows), Sentence("lengths.caption")), bins),
        notes=(Sentence("lengths.note"),),
    )


def _width(edges: tuple[int, ...]) -> int:
    return edges[1] - edges[0] if len(edges) > 1 else 1


def _binned(material: Material, split: Split, edges: tuple[int, ...]) -> list[Claim]:
    """A claim per bin, then their sum; raises AssertionError where they do not add up."""
    group = split.not_right
    values = group.measured(COLUMN)[COLUMN].to_numpy(np.float64)
    width = _width(edges)
    found = [
        number(
            *(material, group, f"lengths/bin/{low}", int(((values >= low) & (values < low + width)).sum())),
            "definition.lengths_bin",
            of=len(values),
            columns=(COLUMN,),
            rows=f"{COLUMN} >= {low} and {COLUMN} < {low + width}",
        )
        for low in edges
    ]
    total = number(
        *(material, group, "lengths/n", len(values), "definition.failures_not_right"),
        columns=(COLUMN,),
        rows=f"{COLUMN}.notna()",
    )
    if sum(int(c.value or 0) for c in found) != total.value:
        raise AssertionError(f"{group.name}: the bins do not sum to {total.value}")
    return [*found, total]


def _answer(material: Material, found: list[Split], ratios: dict[str, Claim]) -> Sentence:
    worst = leading([s for s in found if len(s.not_right.measured(COLUMN))])
    assert worst is not None  # the section is made only then
    ratio = ratios[worst.variant]
    mean = {g.outcome: centre(material, g, "lengths", COLUMN, "mean", Unit.WORDS) for g in worst.groups}
    slots: dict[str, Claim | str] = {"variant": worst.variant, "not_right": mean["not_right"]}
    if ratio.value is None:
        return Sentence("lengths.alone", slots)
    slots |= {"right": mean["right"], "ratio": ratio}
    if worst.selected:
        return Sentence("lengths.described", slots)
    return Sentence(f"lengths.{told(ratio)}", slots, "warning" if told(ratio) == "more" else "info")
